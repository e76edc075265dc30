//! The clients: each takes the incoming orders of its partition, one after the other, and carries each out in one transaction.
//!
//! A client keeps nothing that matters. When it dies, the next one in its place begins where the consumer group's offset says
//! that its partition is done, and asks again under the same keys: what was decided before is answered, not done again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use handfast_participant::{Client, ClientError, Key, Outcome, Transaction};
use tokio::sync::Notify;

use crate::asked::{Asked, Book, Told};
use crate::orders::{Order, Place};
use crate::systems::{Systems, events, invoices, orders_database, stock_database};

/// After this time an undecided transaction aborts.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a client asks for one outcome before it looks whether it should stop.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long one outcome is asked for at the end, when nothing is killed any more.
const FINAL_PATIENCE: Duration = Duration::from_secs(60);
/// How often an order is carried out anew because a system was down or busy. No run lasts that long.
const MAX_ATTEMPTS: u32 = 10_000;
/// How long a client waits after an abort that may pass, and before it looks for its place again.
const PAUSE: Duration = Duration::from_millis(100);

/// What all clients share.
pub struct Work {
    pub coordinator: SocketAddr,
    pub systems: Systems,
    pub book: Book,
    /// When keys expire, in milliseconds since the Unix epoch.
    pub keys_expire_at_ms: u64,
    pub is_over: AtomicBool,
    /// One for each client: it dies when notified.
    pub deaths: Vec<Notify>,
}

impl Work {
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }
}

/// One client after the other for a partition, until the work is over.
pub async fn take_orders(work: Arc<Work>, partition: u16) {
    let Some(death) = work.deaths.get(usize::from(partition)) else {
        return;
    };
    while !work.is_over() {
        tokio::select! {
            biased;
            // Its connection closes in the middle of whatever it does, and it never hears the answer.
            () = death.notified() => {}
            lived = live(&work, partition) => {
                if lived.is_err() {
                    // The broker is away, or does not tell the group's position yet.
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

async fn live(work: &Work, partition: u16) -> anyhow::Result<()> {
    let client = Client::connect([work.coordinator.to_string()])?;
    for (order, place) in work.systems.events.next_orders(i32::from(partition)).await? {
        if work.is_over() {
            return Ok(());
        }
        work.book.take(&order, place);
        let told = carry_out(work, &client, &order, place, PATIENCE).await;
        let is_unknown = told == Told::Unknown;
        work.book.tell(&order, told);
        if is_unknown {
            return Ok(());
        }
    }
    Ok(())
}

/// Asks again for what is unknown, with the same keys, when nothing is killed any more.
pub async fn resolve(work: &Work) -> anyhow::Result<()> {
    let client = Client::connect([work.coordinator.to_string()])?;
    let is_unknown = |asked: &Asked| asked.told == Told::Unknown;
    // In the order of their places: the group's offset must not go back.
    for Asked { order, place, .. } in work.book.read().into_iter().filter(is_unknown) {
        work.book.take(&order, place);
        let told = carry_out(work, &client, &order, place, FINAL_PATIENCE).await;
        work.book.tell(&order, told);
    }
    Ok(())
}

/// Carries an order out: an attempt that aborts because a system is down or busy is followed by the next one, under a key of its
/// own. `patience` is how long one outcome is asked for.
async fn carry_out(work: &Work, client: &Client, order: &Order, place: Place, patience: Duration) -> Told {
    for attempt in 1..=MAX_ATTEMPTS {
        match execute(work, client, order, place, attempt, patience).await {
            Some(told) => return told,
            None => tokio::time::sleep(PAUSE).await,
        }
    }
    Told::Unknown
}

/// One attempt. `None`: it aborted, for good under this key, and the same order may succeed under the next.
async fn execute(
    work: &Work,
    client: &Client,
    order: &Order,
    place: Place,
    attempt: u32,
    patience: Duration,
) -> Option<Told> {
    let systems = &work.systems;
    let transaction = Transaction::new()
        .operation(orders_database::NAME, systems.orders.operation(order, place))
        .operation(stock_database::NAME, systems.stock.operation(order))
        .operation(events::NAME, systems.events.operation(order, place))
        .operation(invoices::NAME, systems.invoices.operation(order))
        .key(Key::expiring_at_ms(
            format!("{}/{attempt}", order.id),
            work.keys_expire_at_ms,
        ))
        .timeout(TRANSACTION_TIMEOUT);
    let give_up_at = Instant::now() + patience;
    loop {
        match client.execute_until_known(transaction.clone(), patience).await {
            Ok(Outcome::Committed { .. }) => return Some(Told::Committed),
            Ok(Outcome::Aborted { retryable: true, .. }) => return None,
            Ok(Outcome::Aborted {
                refusal: Some(refusal),
                ..
            }) if stock_database::is_out_of_stock(&refusal) => return Some(Told::Refused),
            Ok(Outcome::Aborted { reason, message, .. }) => {
                return Some(Told::Failed(format!("{reason}: {message}")));
            }
            Ok(Outcome::Heuristic { evidence, .. }) => return Some(Told::Failed(format!("{evidence:?}"))),
            Ok(Outcome::Unknown { .. }) => return Some(Told::Unknown),
            // Nothing was executed, and the key is still free: the same request may be made again.
            Err(ClientError::Retry { retry_after, .. }) if Instant::now() < give_up_at => {
                tokio::time::sleep(retry_after.unwrap_or(PAUSE)).await;
            }
            Err(_) => return Some(Told::Unknown),
        }
    }
}
