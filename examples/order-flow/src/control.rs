//! The control: clients without a coordinator. Each order goes to one system after the other, each on its own, durable, and tried
//! again when there is no answer, as applications do. What no system can do alone is to promise.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use crate::asked::Told;
use crate::clients::Work;
use crate::orders::{Order, Place};
use crate::systems::Systems;
use crate::systems::stock_database::Taken;

/// How often a system that does not answer is tried.
const TRIES: u32 = 3;
/// How long an answer is waited for.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// How long a client waits before it tries again.
const PAUSE: Duration = Duration::from_millis(100);

/// One client after the other for a partition, until the work is over.
pub async fn take_orders(work: Arc<Work>, partition: u16) {
    let Some(death) = work.deaths.get(usize::from(partition)) else {
        return;
    };
    while !work.is_over() {
        tokio::select! {
            biased;
            () = death.notified() => {}
            lived = live(&work, partition) => {
                if lived.is_err() {
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

async fn live(work: &Work, partition: u16) -> anyhow::Result<()> {
    for (order, place) in work.systems.events.next_orders(i32::from(partition)).await? {
        if work.is_over() {
            return Ok(());
        }
        work.book.take(&order, place);
        let told = match carry_out(&work.systems, &order, place).await {
            Ok(Taken::Yes) => Told::Committed,
            Ok(Taken::OutOfStock) => Told::Refused,
            // A system stays silent: the order is left as it is, and the next one is taken.
            Err(_) => Told::Unknown,
        };
        work.book.tell(&order, told);
    }
    Ok(())
}

async fn carry_out(systems: &Systems, order: &Order, place: Place) -> anyhow::Result<Taken> {
    if tried(|| systems.stock.take(order)).await? == Taken::OutOfStock {
        return Ok(Taken::OutOfStock);
    }
    tried(|| systems.orders.insert(order, place)).await?;
    tried(|| systems.events.publish(order, place)).await?;
    tried(|| async { systems.invoices.write(order) }).await?;
    tried(|| systems.events.commit(place)).await?;
    Ok(Taken::Yes)
}

/// Tries until there is an answer, or too often.
async fn tried<T, F>(step: impl Fn() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let mut last = None;
    for _ in 0..TRIES {
        match tokio::time::timeout(ANSWER_WITHIN, step()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => last = Some(error),
            Err(late) => last = Some(late.into()),
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(last.context("nothing was tried")?)
}
