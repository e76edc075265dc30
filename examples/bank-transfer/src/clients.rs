//! The clients: they make transfers, and write down what they were told.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use handfast_participant::{Client, ClientError, Key, Outcome, Transaction};

use crate::bare;
use crate::schedule::Schedule;
use crate::side::Sides;
use crate::transfers::{Name, Transfer};

/// How long a client asks for an outcome before it puts the question off to the end of the run.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long the outcome is asked for at the end, when nothing is killed any more.
const FINAL_PATIENCE: Duration = Duration::from_secs(30);

/// How often an application without a coordinator tries a store that does not answer.
const BARE_TRIES: u32 = 3;

/// How long a client waits after an abort that may pass.
const AFTER_ABORT: Duration = Duration::from_millis(100);

/// What a client was told of a transfer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    Committed,
    Aborted,
    Unknown,
}

/// A transfer that was asked for, and the answer.
#[derive(Clone, Debug)]
pub struct Asked {
    pub transfer: Transfer,
    pub told: Told,
    /// The first answer was lost, and the outcome was learned by asking again with the same key.
    pub resolved: bool,
}

/// What all clients share.
pub struct Work {
    pub schedule: RefCell<Schedule>,
    pub asked: RefCell<Vec<Asked>>,
    pub expires_at_ms: u64,
}

impl Work {
    fn next(&self) -> Option<(Transfer, Instant)> {
        self.schedule.borrow_mut().next(Instant::now())
    }
}

/// One client with a coordinator: one transaction a transfer, and its id as the key.
pub async fn transact(client: Client, sides: Rc<Sides>, work: Rc<Work>) {
    while let Some((transfer, due)) = work.next() {
        tokio::time::sleep_until(due.into()).await;
        let (told, resolved) = execute(&client, &sides, &transfer, work.expires_at_ms, PATIENCE).await;
        work.asked.borrow_mut().push(Asked {
            transfer,
            told,
            resolved,
        });
    }
}

/// Asks again for what is unknown, with the same keys.
pub async fn resolve(client: &Client, sides: &Sides, work: &Work) {
    let unknown: Vec<usize> = {
        let asked = work.asked.borrow();
        (0..asked.len())
            .filter(|&index| asked[index].told == Told::Unknown)
            .collect()
    };
    for index in unknown {
        let transfer = work.asked.borrow()[index].transfer.clone();
        let (told, _) = execute(client, sides, &transfer, work.expires_at_ms, FINAL_PATIENCE).await;
        let entry = &mut work.asked.borrow_mut()[index];
        entry.told = told;
        entry.resolved = told != Told::Unknown;
    }
}

/// What came of it, and whether that was learned only by asking again after an answer had been lost.
async fn execute(
    client: &Client,
    sides: &Sides,
    transfer: &Transfer,
    expires_at_ms: u64,
    patience: Duration,
) -> (Told, bool) {
    let transaction = [
        (transfer.from, &transfer.from_account, -transfer.amount),
        (transfer.from.other(), &transfer.to_account, transfer.amount),
    ]
    .into_iter()
    .fold(Transaction::new(), |transaction, (side, account, amount)| {
        transaction.operation(
            side.as_str(),
            sides.get(side).operation(&transfer.id, account, amount),
        )
    })
    .key(Key::expiring_at_ms(&transfer.id, expires_at_ms))
    .timeout(Duration::from_secs(2));
    let give_up_at = Instant::now() + patience;
    let mut doubted = false;
    loop {
        let answer = match doubted {
            false => client.execute_once(transaction.clone()).await,
            true => client.execute_until_known(transaction.clone(), patience).await,
        };
        match answer {
            Ok(Outcome::Committed { .. }) => return (Told::Committed, doubted),
            Ok(Outcome::Aborted { retryable, .. }) => {
                // A store is down or busy. The abort is final under this key; the next transfer waits a little.
                if retryable {
                    tokio::time::sleep(AFTER_ABORT).await;
                }
                return (Told::Aborted, doubted);
            }
            Ok(Outcome::Unknown { .. }) if !doubted => doubted = true,
            Ok(Outcome::Unknown { .. } | Outcome::Heuristic { .. }) => return (Told::Unknown, false),
            // Nothing was executed, and the key is still free: the same request may be made again.
            Err(ClientError::Retry { retry_after, .. }) if Instant::now() < give_up_at => {
                tokio::time::sleep(retry_after.unwrap_or(Duration::from_millis(50))).await;
            }
            Err(_) => return (Told::Unknown, false),
        }
    }
}

/// One client without a coordinator: a debit, then a credit, each tried again when there is no answer.
pub fn without_coordinator(
    addresses: [SocketAddr; 2],
    next: impl Fn() -> Option<(Transfer, Instant)>,
    tell: impl Fn(Asked),
) {
    while let Some((transfer, due)) = next() {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let debit = ask(
            addresses,
            transfer.from,
            &transfer.id,
            &transfer.from_account,
            -transfer.amount,
        );
        let told = match debit {
            Told::Committed => {
                let to = transfer.from.other();
                match ask(addresses, to, &transfer.id, &transfer.to_account, transfer.amount) {
                    // The debit is made; a store that refuses or is silent now leaves half a transfer.
                    Told::Aborted => Told::Unknown,
                    told => told,
                }
            }
            told => told,
        };
        tell(Asked {
            transfer,
            told,
            resolved: false,
        });
    }
}

fn ask(addresses: [SocketAddr; 2], side: Name, reference: &str, account: &str, amount: i64) -> Told {
    for _ in 0..BARE_TRIES {
        match bare::ask(addresses[side as usize], reference, account, amount) {
            Ok(true) => return Told::Committed,
            Ok(false) => return Told::Aborted,
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
    Told::Unknown
}
