//! Kafka: orders come in on one topic, and each that is carried out is an event on another one. How far the incoming orders are
//! done is the position of a consumer group.
//!
//! Everything is read as any consumer of what is committed would, by code that knows nothing of Handfast.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use handfast_participant::resources::kafka::KafkaOperation;
use handfast_servers::KafkaView;
use handfast_servers::kafka::{Committed, NewRecord};

use super::Holdings;
use crate::orders::{Order, Place};

/// The name under which it takes part.
pub const NAME: &str = "order-events";
/// Where its agents write down what they have promised.
pub const JOURNAL: &str = "handfast-order-events";

/// Orders come in here, in one partition for each client.
pub const INCOMING: &str = "incoming-orders";
/// An event for each order that was carried out.
pub const EVENTS: &str = "order-events";
/// Partitions of the events.
pub const EVENT_PARTITIONS: i32 = 4;
/// Whose positions tell how far the incoming orders are done.
const GROUP: &str = "order-flow";

/// The most orders that are brought in at once.
const BATCH: usize = 1_000;
/// How long a position may stay part of an undecided transaction, when nothing is killed any more.
const STABLE_WITHIN: Duration = Duration::from_secs(60);
/// How often a position is asked for meanwhile.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// The broker, and its topics.
#[derive(Clone, Copy, Debug)]
pub struct Events {
    pub broker: KafkaView,
    /// How many partitions the incoming orders have.
    pub partitions: i32,
}

impl Events {
    /// Writes the incoming orders of one partition.
    pub fn bring_in(&self, partition: i32, orders: &[Order]) -> anyhow::Result<()> {
        for orders in orders.chunks(BATCH) {
            let record = |order: &Order| {
                let value = serde_json::to_vec(order)?.into();
                anyhow::Ok(NewRecord { key: None, value })
            };
            let records = orders.iter().map(record).collect::<anyhow::Result<Vec<_>>>()?;
            self.broker.write(INCOMING, partition, &records)?;
        }
        Ok(())
    }

    /// The order as an operation of a transaction: its event, and how far its partition is done with it.
    pub fn operation(&self, order: &Order, place: Place) -> Bytes {
        KafkaOperation::new()
            .record(EVENTS, order.id.clone(), event(order))
            .position(GROUP, INCOMING, place.partition, place.offset + 1)
            .encode()
    }

    /// The order without a coordinator: its event by itself, acknowledged by the broker.
    pub async fn publish(&self, order: &Order, place: Place) -> anyhow::Result<()> {
        let record = NewRecord {
            key: Some(order.id.clone().into()),
            value: event(order).into(),
        };
        let partition = place.partition % EVENT_PARTITIONS;
        self.ask(move |broker| broker.write(EVENTS, partition, &[record]))
            .await
    }

    /// How far the partition is done, without a coordinator: the position by itself.
    pub async fn commit(&self, place: Place) -> anyhow::Result<()> {
        self.ask(move |broker| broker.commit(GROUP, INCOMING, place.partition, place.offset + 1))
            .await
    }

    /// Incoming orders of a partition from where the group has come. An error while a transaction over it is undecided.
    pub async fn next_orders(&self, partition: i32) -> anyhow::Result<Vec<(Order, Place)>> {
        let records = self
            .ask(move |broker| {
                let next = match broker.committed(GROUP, INCOMING, partition)? {
                    Committed::Nothing => 0,
                    Committed::At(next) => next,
                    Committed::Unstable => bail!("the group's position is part of an undecided transaction"),
                };
                broker.read_committed_from(INCOMING, partition, next)
            })
            .await?;
        let mut orders = Vec::with_capacity(records.len());
        for record in records {
            let place = Place {
                partition,
                offset: record.offset,
            };
            orders.push((
                serde_json::from_slice(&record.value.context("an order without words")?)?,
                place,
            ));
        }
        Ok(orders)
    }

    /// How many transactions are open.
    pub async fn prepared(&self) -> anyhow::Result<u64> {
        let open = self.ask(|broker| broker.open_transactions()).await?;
        Ok(open as u64)
    }

    /// What it holds for a reader of what is committed, and the group's position in each partition of incoming orders.
    pub async fn holdings(&self) -> anyhow::Result<(Holdings, BTreeMap<i32, i64>)> {
        let prepared = self.prepared().await?;
        let events = *self;
        self.ask(move |_| {
            let mut holdings = Holdings {
                prepared,
                ..Holdings::default()
            };
            // Behind the last stable offset a reader would wait for what is undecided.
            holdings.prepared += u64::from(!events.broker.is_stable(EVENTS)?);
            for record in events.broker.read_committed(EVENTS)? {
                let key = record.key.context("an event without a key")?;
                holdings.note(String::from_utf8_lossy(&key));
            }
            Ok((holdings, events.positions()?))
        })
        .await
    }

    fn positions(&self) -> anyhow::Result<BTreeMap<i32, i64>> {
        let mut positions = BTreeMap::new();
        for partition in 0..self.partitions {
            let give_up_at = Instant::now() + STABLE_WITHIN;
            loop {
                match self.broker.committed(GROUP, INCOMING, partition)? {
                    Committed::At(next) => drop(positions.insert(partition, next)),
                    Committed::Nothing => {}
                    Committed::Unstable if Instant::now() > give_up_at => {
                        bail!("the group's position in partition {partition} stays undecided")
                    }
                    Committed::Unstable => {
                        std::thread::sleep(ASK_EVERY);
                        continue;
                    }
                }
                break;
            }
        }
        Ok(positions)
    }

    /// Asks the broker where waiting for it hurts nobody.
    async fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(KafkaView) -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let broker = self.broker;
        tokio::task::spawn_blocking(move || ask(broker)).await?
    }
}

fn event(order: &Order) -> String {
    format!("{} pieces of {} sold", order.pieces, order.item)
}
