//! Somebody who looks while others work: what `List`, `Get` and `Watch` show must be as true as an answer to a commit.
//!
//! A decision that is shown before it is durable shows as one that has changed, once a crash has taken it back.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::Either;
use handfast_ids::TransactionId;
use handfast_participant::Client;
use handfast_proto::alarm::once::{sleep, timeout};
use handfast_proto::v1;

use crate::intent::Intent;
use crate::trace::{Decision, Event, Node, Transaction};
use crate::workload::side_by_side;
use crate::world::World;

/// How often a spy looks while an intent is pursued.
const LOOKS: u64 = 4;

/// For how many times the intent's pause a transaction is watched, at most.
const WATCHED_PAUSES: u64 = 10;

/// How long a spy waits for one answer. It would wait longer for a coordinator that is gone, and its client with it.
const PATIENCE: Duration = Duration::from_millis(500);

/// Looks at what is live, at what was live at an earlier look, and at the intent's own key; and watches the newest that
/// the first look shows.
pub async fn look(world: &World, client: &Client, intent: &Intent) {
    let mut known = BTreeSet::new();
    // In boxes: a look is large, and whoever awaits it is moved several times before it runs.
    Box::pin(look_once(world, client, intent, 1, &mut known)).await;
    let watched = known.last().copied();
    let looks = async {
        for look in 2..=LOOKS {
            Box::pin(look_once(world, client, intent, look, &mut known)).await;
        }
    };
    let watching = async {
        if let Some(id) = watched {
            let longest = Duration::from_millis(intent.pause_ms * WATCHED_PAUSES);
            // It may never end.
            let _ = timeout(longest, Box::pin(watch(world, client, intent, id))).await;
        }
    };
    side_by_side([Either::Left(looks), Either::Right(watching)]).await;
}

async fn look_once(
    world: &World,
    client: &Client,
    intent: &Intent,
    look: u64,
    known: &mut BTreeSet<TransactionId>,
) {
    sleep(Duration::from_millis(2 + intent.pause_ms * look / LOOKS)).await;
    // One that was live at the last look: decided meanwhile, ended, or forgotten.
    let earlier = match look % 2 {
        0 => known.first(),
        _ => known.last(),
    };
    if let Some(id) = earlier.copied()
        && let Ok(Ok(found)) = timeout(PATIENCE, client.get(id)).await
    {
        tell(world, intent, &found);
    }
    let live = v1::ListRequest {
        page_size: 0,
        page_token: String::new(),
        live_only: true,
    };
    if let Ok(Ok(page)) = timeout(PATIENCE, client.list(live)).await {
        for found in &page.transactions {
            tell(world, intent, found);
            known.extend(found.transaction_id.parse::<TransactionId>().ok());
        }
    }
    if look % 2 == 0
        && let Some(key) = intent.key()
        && let Ok(Ok(found)) = timeout(PATIENCE, client.get_by_key(key)).await
    {
        tell(world, intent, &found);
    }
}

/// Follows a transaction. What it shows as decided it never shows as undecided again, also after a restart: only what
/// survives one is shown, or that nobody knows until a store has been asked. A process that another has replaced may show what was so
/// before.
async fn watch(world: &World, client: &Client, intent: &Intent, id: TransactionId) {
    let mut watch = client.watch(id);
    let mut shown = None;
    while let Ok(Some(found)) = watch.next().await {
        let is_open = matches!(
            found.state(),
            v1::TransactionState::Active | v1::TransactionState::Preparing
        );
        if let (Some(decision), true, false) = (shown, is_open, world.plan.has_standby) {
            world.violated(format!(
                "a watch of {id} has shown {decision:?} and shows {:?}",
                found.state()
            ));
        }
        shown = tell(world, intent, &found).or(shown);
    }
}

/// The decision that this shows, if it shows one.
fn decision(found: &v1::Transaction) -> Option<Decision> {
    let told = match found.outcome() {
        v1::Outcome::Committed => Some(Decision::Commit),
        v1::Outcome::Aborted => Some(Decision::Abort),
        v1::Outcome::Unspecified | v1::Outcome::Unknown | v1::Outcome::Heuristic => None,
    };
    let implied = match found.state() {
        v1::TransactionState::Committing => Some(Decision::Commit),
        v1::TransactionState::Aborting | v1::TransactionState::NoEffects => Some(Decision::Abort),
        _ => None,
    };
    told.or(implied)
}

fn tell(world: &World, intent: &Intent, found: &v1::Transaction) -> Option<Decision> {
    let decision = decision(found)?;
    let id = found.transaction_id.parse().ok()?;
    let coordinator = intent.coordinator;
    let transaction = Transaction { coordinator, id };
    world.record(&Event::Read(Node::Client(intent.client), transaction, decision));
    Some(decision)
}
