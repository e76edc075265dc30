//! What clients were told of each order.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::orders::{Order, Place};

/// What a client was told last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    Committed,
    /// Not enough is in stock: it must leave nothing anywhere.
    Refused,
    /// Nothing yet, or that it cannot be told.
    Unknown,
    /// Anything else that ends it, and should never: a hazard, or a refusal for another reason. In words.
    Failed(String),
}

/// An order that a client has taken.
#[derive(Clone, Debug)]
pub struct Asked {
    pub order: Order,
    pub place: Place,
    pub told: Told,
    /// It was unknown at first, or the client died over it.
    pub was_unknown: bool,
}

/// All orders that were taken, by their ids.
#[derive(Default)]
pub struct Book {
    orders: Mutex<BTreeMap<String, Asked>>,
}

impl Book {
    /// A client takes an order; one that is there already was taken by a client that died over it.
    pub fn take(&self, order: &Order, place: Place) {
        let mut orders = self.orders();
        let new = Asked {
            order: order.clone(),
            place,
            told: Told::Unknown,
            was_unknown: false,
        };
        orders
            .entry(order.id.clone())
            .and_modify(|asked| asked.was_unknown |= asked.told == Told::Unknown)
            .or_insert(new);
    }

    /// A client was told something.
    pub fn tell(&self, order: &Order, told: Told) {
        if let Some(asked) = self.orders().get_mut(&order.id) {
            asked.was_unknown |= told == Told::Unknown;
            asked.told = told;
        }
    }

    /// How many were taken, and how many of them committed.
    pub fn counts(&self) -> (usize, usize) {
        let orders = self.orders();
        let is_committed = |asked: &&Asked| asked.told == Told::Committed;
        (orders.len(), orders.values().filter(is_committed).count())
    }

    /// All of them, in the order of their places.
    pub fn read(&self) -> Vec<Asked> {
        let mut asked: Vec<Asked> = self.orders().values().cloned().collect();
        asked.sort_by_key(|asked| asked.place);
        asked
    }

    fn orders(&self) -> MutexGuard<'_, BTreeMap<String, Asked>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
