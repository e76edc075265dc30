//! What is ordered: as records of a topic of incoming orders, one partition for each client.

use serde::{Deserialize, Serialize};

/// Items that there is enough of.
const PLENTIFUL_ITEMS: u16 = 56;
/// Items that are sold out early in a run: their orders are refused, and must leave nothing anywhere.
const SCARCE_ITEMS: u16 = 8;
/// Pieces of each plentiful item, more than any run sells.
const PLENTY: i64 = 1_000_000;
/// Pieces of each scarce item.
const FEW: i64 = 1;
/// Pieces of one order.
const MAX_PIECES: i64 = 3;

/// An order as it comes in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Order {
    /// Unique, and the same in all four systems.
    pub id: String,
    pub item: String,
    pub pieces: i64,
}

/// Where an order came from: a partition of the topic of incoming orders, and the offset in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    pub partition: i32,
    pub offset: i64,
}

/// So many orders for one partition.
pub fn random(partition: i32, count: u64, rng: &mut fastrand::Rng) -> Vec<Order> {
    let order = |number| Order {
        id: format!("order-{partition:02}-{number:06}"),
        item: item(rng.u16(..PLENTIFUL_ITEMS + SCARCE_ITEMS)),
        pieces: rng.i64(1..=MAX_PIECES),
    };
    (0..count).map(order).collect()
}

/// What is in stock at the beginning: items and their pieces.
pub fn opening_stock() -> Vec<(String, i64)> {
    let pieces = |number| if number < PLENTIFUL_ITEMS { PLENTY } else { FEW };
    (0..PLENTIFUL_ITEMS + SCARCE_ITEMS)
        .map(|number| (item(number), pieces(number)))
        .collect()
}

fn item(number: u16) -> String {
    format!("item-{number:02}")
}
