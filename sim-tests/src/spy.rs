//! Somebody who looks while others work: what `List` and `Get` tell must be as true as an answer to a commit.
//!
//! A decision that is told before it is durable shows as one that has changed, once a crash has taken it back.

use std::time::Duration;

use handfast_participant::Client;
use handfast_proto::v1;
use madsim::time::sleep;

use crate::intent::Intent;
use crate::trace::{Decision, Event, Node, Transaction};
use crate::world::World;

/// How often a spy looks while an intent is pursued.
const LOOKS: u64 = 4;

/// Looks at what is live, and at the intent's own key.
pub async fn look(world: &World, client: &Client, intent: &Intent) {
    for look in 1..=LOOKS {
        sleep(Duration::from_millis(2 + intent.pause_ms * look / LOOKS)).await;
        let live = v1::ListRequest {
            page_size: 0,
            page_token: String::new(),
            live_only: true,
        };
        if let Ok(page) = client.list(live).await {
            page.transactions
                .iter()
                .for_each(|found| tell(world, intent, found));
        }
        if let Some(key) = intent.key()
            && let Ok(found) = client.get_by_key(key).await
        {
            tell(world, intent, &found);
        }
    }
}

fn tell(world: &World, intent: &Intent, found: &v1::Transaction) {
    let decision = match found.outcome() {
        v1::Outcome::Committed => Decision::Commit,
        v1::Outcome::Aborted => Decision::Abort,
        v1::Outcome::Unspecified | v1::Outcome::Unknown | v1::Outcome::Heuristic => return,
    };
    if let Ok(id) = found.transaction_id.parse() {
        let coordinator = intent.coordinator;
        let transaction = Transaction { coordinator, id };
        world.record(&Event::Read(Node::Client(intent.client), transaction, decision));
    }
}
