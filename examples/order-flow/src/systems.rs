//! The four systems of an order. Each file knows one of them: its tables, topics or folder, the order as an operation of a
//! transaction, the same without a coordinator, and how to read what the system itself holds.

pub mod events;
pub mod invoices;
pub mod orders_database;
pub mod stock_database;

use std::collections::BTreeMap;

use events::Events;
use invoices::Invoices;
use orders_database::OrdersDatabase;
use stock_database::StockDatabase;

/// All four.
pub struct Systems {
    pub orders: OrdersDatabase,
    pub stock: StockDatabase,
    pub events: Events,
    pub invoices: Invoices,
}

/// What a system holds, read from the system alone.
#[derive(Clone, Debug, Default)]
pub struct Holdings {
    /// How often each order is there.
    pub orders: BTreeMap<String, u64>,
    /// What still waits for a decision.
    pub prepared: u64,
}

impl Holdings {
    /// One order more.
    pub fn note(&mut self, id: impl Into<String>) {
        *self.orders.entry(id.into()).or_default() += 1;
    }

    /// How often this order is there.
    pub fn count(&self, id: &str) -> u64 {
        self.orders.get(id).copied().unwrap_or_default()
    }
}
