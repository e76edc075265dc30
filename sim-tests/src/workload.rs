//! What applications do: every kind of request that there is, each as a careful application would make it.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{Either, join};
use futures_util::stream::FuturesUnordered;
use handfast_participant::client::{ActiveTransaction, ClientOptions};
use handfast_participant::{Client, ClientError, Key, Outcome, Transaction as Request, Wait};
use handfast_proto::alarm::once::{sleep, timeout};

use crate::intent::{Finish, Intent, Part, Style, Work};
use crate::plan::{Fault, Plan};
use crate::processes::resolved;
use crate::random::{self, happens};
use crate::spy;
use crate::trace::{Event, Node, Told, Transaction};
use crate::world::World;

/// For how long an application asks again under its key. Longer than any outage that the nemesis makes.
const KEYED_PATIENCE: Duration = Duration::from_secs(12);

/// How long a service waits for its enlistment.
const ENLIST_PATIENCE: Duration = Duration::from_millis(1500);

/// Keys expire after any run: its clock begins somewhere in 2022. In Unix milliseconds.
pub const KEYS_EXPIRE_AT_MS: u64 = (2024 - 1970) * 365 * 24 * 3_600_000;

/// When an expired key has expired, in Unix milliseconds.
pub const LONG_AGO_MS: u64 = 1;

/// What the clients want under this plan.
pub fn intents(plan: &Plan) -> Vec<Intent> {
    if let Some(scenario) = &plan.scenario {
        return scenario.intents();
    }
    let random = &mut random::stream(plan.seed, "workload");
    let mut intents: Vec<Intent> = Vec::new();
    for number in 0..plan.intents {
        let mut intent = intent(plan, random, number);
        let reuses = plan.has(Fault::KeyReused) && happens(random, 100);
        let earlier =
            random::pick(random, &intents).filter(|earlier| earlier.coordinator == intent.coordinator);
        if reuses
            && let Some(key) = earlier.and_then(Intent::key).map(str::to_owned)
            && let Style::Keyed { key: own, .. } = &mut intent.style
        {
            *own = key;
        }
        intents.push(intent);
    }
    intents
}

fn intent(plan: &Plan, random: &mut fastrand::Rng, number: u32) -> Intent {
    let coordinator = random.u8(..plan.coordinators);
    let can_interact = plan.databases > 0;
    let style = match random.u8(..10) {
        0..4 => Style::OneShot,
        7..10 if can_interact => Style::Interactive(finish(plan, random)),
        _ => {
            let at_once = if plan.has(Fault::SameKeyAtOnce) && random.u8(..4) == 0 {
                random.u8(2..4)
            } else {
                1
            };
            let has_expired = plan.has(Fault::KeyExpired) && random.u8(..10) == 0;
            Style::Keyed {
                key: Intent::key_of(number),
                at_once,
                expires_at_ms: if has_expired {
                    LONG_AGO_MS
                } else {
                    KEYS_EXPIRE_AT_MS
                },
            }
        }
    };
    let is_interactive = matches!(style, Style::Interactive(_));
    let candidates: Vec<u8> = (0..plan.participants())
        .filter(|participant| {
            *participant >= plan.ledgers
                || (participant % plan.coordinators == coordinator && !is_interactive)
        })
        .collect();
    let count = if random.u8(..8) == 0 {
        1
    } else {
        random.usize(2..=3)
    };
    let participants: Vec<u8> = match candidates.is_empty() {
        true => vec![0],
        false => (0..count)
            .map(|_| candidates[random.usize(..candidates.len())])
            .collect(),
    };
    Intent {
        number,
        client: u8::try_from(number % u32::from(plan.clients)).expect("there are few clients"),
        coordinator,
        style,
        parts: participants
            .into_iter()
            .map(|participant| part(plan, random, participant))
            .collect(),
        timeout_ms: random.u64(300..3000),
        waits_for_all: random.u8(..4) == 0,
        pause_ms: random.u64(..60),
        does_not_wait: false,
        is_watched: random.u8(..10) == 0,
        is_scripted: false,
    }
}

fn finish(plan: &Plan, random: &mut fastrand::Rng) -> Finish {
    match random.u8(..12) {
        0 => Finish::Abort,
        1 => Finish::Leave,
        2 | 3 if plan.has(Fault::CommitAndAbort) => Finish::CommitAndAbort,
        4 if plan.has(Fault::Miscounts) => Finish::Miscount,
        _ => Finish::Commit,
    }
}

fn part(plan: &Plan, random: &mut fastrand::Rng, participant: u8) -> Part {
    let is_database = participant >= plan.ledgers;
    let work = match random.u8(..20) {
        0 if plan.has(Fault::VotesNo) => Work::Refuse,
        1..4 if plan.has(Fault::ReadsOnly) => Work::Read,
        _ => {
            let amount = if random.bool() {
                random.i32(1..30)
            } else {
                -random.i32(1..30)
            };
            Work::Add {
                account: random.u8(..plan.accounts),
                amount,
            }
        }
    };
    let slow_ms = match is_database && plan.has(Fault::SlowPrepare) && random.u8(..10) == 0 {
        true => random.u16(1..2500),
        false => 0,
    };
    let promise_ms = match is_database && plan.has(Fault::PromiseExpires) && random.u8(..10) == 0 {
        true => random.u16(200..3000),
        false => 0,
    };
    Part {
        participant,
        work,
        slow_ms,
        promise_ms,
    }
}

/// A client does what it wants, one after the other, from where its last process was.
pub async fn run(world: &World, number: u8) {
    let mine: Vec<&Intent> = world
        .intents
        .iter()
        .filter(|intent| intent.client == number && !world.plan.left_out.contains(&intent.number))
        .collect();
    let clients: Vec<Client> = (0..world.plan.coordinators)
        .filter_map(|coordinator| client_of(world, coordinator))
        .collect();
    let mut may_have_asked = world.is_restarted(number);
    let mut under_way = FuturesUnordered::new();
    while let Some(intent) = mine.get(world.begun(number)) {
        // After a crash an application knows only that it may have asked. Under a key it can ask again.
        if !may_have_asked || intent.key().is_some() {
            sleep(Duration::from_millis(intent.pause_ms)).await;
            world.record(&Event::Begun(Node::Client(number), intent.number));
            let client = &clients[usize::from(intent.coordinator)];
            let pursued = Box::pin(pursue(world, client, intent));
            if intent.does_not_wait {
                under_way.push(pursued);
            } else if intent.is_watched {
                side_by_side([
                    Either::Left(pursued),
                    Either::Right(Box::pin(spy::look(world, client, intent))),
                ])
                .await;
            } else {
                pursued.await;
            }
        }
        may_have_asked = false;
        world.advance(number);
        if !mine
            .get(world.begun(number))
            .is_some_and(|next| next.does_not_wait)
        {
            while under_way.next().await.is_some() {}
        }
    }
    world.client_done(number);
}

/// Runs all of them to their ends. Only what was woken is looked at again: everybody waits with a timer, and a look costs.
pub async fn side_by_side(all: impl IntoIterator<Item: Future<Output = ()>>) {
    let mut all: FuturesUnordered<_> = all.into_iter().collect();
    while all.next().await.is_some() {}
}

fn client_of(world: &World, coordinator: u8) -> Option<Client> {
    let options = ClientOptions {
        default_timeout: Duration::from_secs(2),
        answer_margin: Duration::from_secs(1),
        read_patience: Duration::from_secs(3),
        connect_timeout: Duration::from_millis(500),
        backoff_first: Duration::from_millis(20),
        backoff_longest: Duration::from_millis(500),
        ..ClientOptions::new(resolved(world, coordinator))
    };
    Client::with_options(options).ok()
}

async fn pursue(world: &World, client: &Client, intent: &Intent) {
    match &intent.style {
        Style::OneShot => tell(world, intent, client.execute(one_shot(world, intent)).await),
        Style::Keyed {
            key,
            at_once,
            expires_at_ms,
        } => {
            let request = one_shot(world, intent).key(Key::expiring_at_ms(key.clone(), *expires_at_ms));
            let ask = || {
                Box::pin(async {
                    tell(
                        world,
                        intent,
                        client.execute_until_known(request.clone(), KEYED_PATIENCE).await,
                    );
                })
            };
            side_by_side((0..*at_once).map(|_| ask())).await;
        }
        Style::Interactive(finish) => Box::pin(interact(world, client, intent, *finish)).await,
    }
}

fn one_shot(world: &World, intent: &Intent) -> Request {
    let parts = intent.parts.iter().enumerate();
    let transaction = parts.fold(Request::new(), |transaction, (number, part)| {
        let resource = crate::chaos::resource_name(part.participant);
        transaction.operation(resource, world.operation(intent, number))
    });
    transaction
        .timeout(Duration::from_millis(intent.timeout_ms))
        .wait(wait(intent))
}

fn wait(intent: &Intent) -> Wait {
    if intent.waits_for_all {
        Wait::Applied
    } else {
        Wait::Decided
    }
}

async fn interact(world: &World, client: &Client, intent: &Intent, finish: Finish) {
    let mut transaction = match client.begin(Some(Duration::from_millis(intent.timeout_ms))).await {
        Ok(transaction) => transaction,
        Err(error) => return tell(world, intent, Err(error)),
    };
    let opened = Transaction {
        coordinator: intent.coordinator,
        id: transaction.id(),
    };
    world.record(&Event::Opened(Node::Client(intent.client), intent.number, opened));
    let mut has_worked = true;
    for number in 0..intent.parts.len() {
        has_worked &= work(world, intent, number, &mut transaction).await;
    }
    let finish = match finish {
        // A careful application commits only what was done.
        Finish::Commit | Finish::CommitAndAbort | Finish::Miscount if !has_worked => Finish::Abort,
        finish => finish,
    };
    match finish {
        Finish::Commit | Finish::CommitWhatJoined => {
            tell(world, intent, transaction.commit(wait(intent)).await);
        }
        Finish::Abort => tell(world, intent, transaction.abort().await),
        Finish::CommitAndAbort => {
            let (committed, aborted) = join(
                Box::pin(transaction.commit(wait(intent))),
                Box::pin(transaction.abort()),
            )
            .await;
            tell(world, intent, committed);
            tell(world, intent, aborted);
        }
        Finish::Miscount => {
            // Work that was not done, or a branch that never joined: its enlistment was lost.
            let joined = u32::try_from(intent.parts.len()).unwrap_or(u32::MAX);
            match intent.number % 2 {
                0 => transaction.expect(handfast_ids::BranchId(0), 17),
                _ => transaction.expect(handfast_ids::BranchId(joined), 1),
            }
            tell(world, intent, transaction.commit(wait(intent)).await);
        }
        Finish::Leave => {}
    }
}

/// Calls the service of a part: it joins, and works. False if it could not.
async fn work(world: &World, intent: &Intent, number: usize, transaction: &mut ActiveTransaction) -> bool {
    let turn = intent.number as usize + number;
    let Some(service) = world.service(intent.parts[number].participant, intent.coordinator, turn) else {
        return false;
    };
    let Ok(Ok(branch)) = timeout(ENLIST_PATIENCE, service.joining.enlist(transaction.id())).await else {
        return false;
    };
    let worked = service.speaker.work(&branch, intent.operation(number));
    transaction.expect(branch.branch().branch, u64::from(worked));
    worked
}

fn tell(world: &World, intent: &Intent, outcome: Result<Outcome, ClientError>) {
    let name = |id| Transaction {
        coordinator: intent.coordinator,
        id,
    };
    let told = match outcome {
        Ok(Outcome::Committed { transaction }) => Told::Committed(name(transaction)),
        Ok(Outcome::Aborted {
            transaction, reason, ..
        }) => Told::Aborted(transaction.map(name), reason),
        Ok(Outcome::Unknown { transaction, .. }) => Told::Unknown(transaction.map(name)),
        Ok(Outcome::Heuristic { transaction, .. }) => Told::Heuristic(name(transaction)),
        Err(error) => {
            let reason = error.reason().map(|reason| format!("{reason:?}"));
            Told::Rejected(reason.unwrap_or_else(|| "unreachable".to_owned()))
        }
    };
    world.record(&Event::Told(Node::Client(intent.client), intent.number, told));
}
