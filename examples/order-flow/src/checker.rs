//! The verdict on each order, from what the four systems hold and what the clients were told. Nothing else is asked: not the
//! coordinator, not its log, not the agents.

use std::collections::{BTreeMap, BTreeSet};

use crate::asked::{Asked, Told};
use crate::report::Report;
use crate::systems::{Holdings, Systems};

/// What all four hold.
#[derive(Clone, Debug, Default)]
pub struct Found {
    pub orders: Holdings,
    pub stock: Holdings,
    pub events: Holdings,
    pub invoices: Holdings,
    /// The offset of the last order of each partition, as the orders' rows have it.
    pub last_offsets: BTreeMap<i32, i64>,
    /// The consumer group's offset of each partition: that of the next order.
    pub group_offsets: BTreeMap<i32, i64>,
    /// Pieces in stock and in movements together.
    pub pieces: i64,
}

impl Found {
    /// Reads all four.
    pub async fn read(systems: &Systems) -> anyhow::Result<Found> {
        let (orders, last_offsets) = systems.orders.holdings().await?;
        let (stock, pieces) = systems.stock.holdings().await?;
        let (events, group_offsets) = systems.events.holdings().await?;
        Ok(Found {
            orders,
            stock,
            events,
            invoices: systems.invoices.holdings()?,
            last_offsets,
            group_offsets,
            pieces,
        })
    }

    fn all(&self) -> [(&'static str, &Holdings); 4] {
        [
            ("PostgreSQL", &self.orders),
            ("MariaDB", &self.stock),
            ("Kafka", &self.events),
            ("files", &self.invoices),
        ]
    }
}

/// Judges all orders; fills in the counts of `report`.
pub fn judge(asked: &[Asked], found: &Found, report: &mut Report) {
    let all = found.all();
    let mut strangers: BTreeSet<&String> = all.iter().flat_map(|(_, held)| held.orders.keys()).collect();
    report.asked = asked.len() as u64;
    for Asked {
        order,
        told,
        was_unknown,
        ..
    } in asked
    {
        strangers.remove(&order.id);
        report.unknown_then_resolved += u64::from(*was_unknown && *told != Told::Unknown);
        match told {
            Told::Committed => report.committed += 1,
            Told::Refused => report.refused += 1,
            Told::Unknown => report.unknown += 1,
            Told::Failed(words) => {
                report.failed += 1;
                report.failures.insert(order.id.clone(), words.clone());
            }
        }
        let counts = all.map(|(_, held)| held.count(&order.id));
        if counts.iter().any(|&count| count > 1) {
            report.doubled += 1;
        } else if counts.contains(&1) && counts.contains(&0) {
            report.half_done += 1;
        } else if counts.contains(&1) {
            report.refused_but_done += u64::from(*told == Told::Refused);
        } else {
            report.lost += u64::from(*told == Told::Committed);
        }
    }
    // An order that nobody took is one too many.
    report.doubled += strangers.len() as u64;
    for (name, held) in all {
        report.held.push((name.to_owned(), held.orders.len() as u64));
        report.left_prepared += held.prepared;
    }
    report.offsets_out_of_step = out_of_step(found);
    report.pieces_after = found.pieces;
}

/// Partitions whose group is not right behind the last order that was carried out.
fn out_of_step(found: &Found) -> u64 {
    let partitions: BTreeSet<&i32> = found
        .last_offsets
        .keys()
        .chain(found.group_offsets.keys())
        .collect();
    let is_out = |partition: &&&i32| {
        let next = found.last_offsets.get(partition).map(|last| last + 1);
        next != found.group_offsets.get(partition).copied()
    };
    partitions.iter().filter(is_out).count() as u64
}

#[cfg(test)]
mod tests;
