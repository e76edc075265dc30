//! PostgreSQL: a row for each order, with the place where it came from.

use std::collections::BTreeMap;

use anyhow::Context;
use bytes::Bytes;
use handfast_participant::resources::sql::{Parameter, SqlOperation};
use tokio_postgres::{Client, NoTls};

use super::Holdings;
use crate::orders::{Order, Place};

/// The name under which it takes part.
pub const NAME: &str = "orders-db";

// No unique constraint: an order that is there twice must be seen, not prevented.
const TABLE: &str = "CREATE TABLE orders (id text NOT NULL, item text NOT NULL, pieces bigint NOT NULL, \
                     partition_number integer NOT NULL, partition_offset bigint NOT NULL)";
const INSERT: &str = "INSERT INTO orders VALUES ($1, $2, $3, $4, $5)";

/// Where it is.
pub struct OrdersDatabase {
    pub url: String,
}

impl OrdersDatabase {
    /// Makes the table.
    pub async fn make_table(&self) -> anyhow::Result<()> {
        self.connect().await?.batch_execute(TABLE).await?;
        Ok(())
    }

    /// The order as an operation of a transaction.
    pub fn operation(&self, order: &Order, place: Place) -> Bytes {
        SqlOperation::new()
            .then(
                INSERT,
                [
                    Parameter::from(order.id.as_str()),
                    order.item.as_str().into(),
                    order.pieces.into(),
                    i64::from(place.partition).into(),
                    place.offset.into(),
                ],
            )
            .expecting(1)
            .encode()
    }

    /// The order without a coordinator: on its own, and durable.
    pub async fn insert(&self, order: &Order, place: Place) -> anyhow::Result<()> {
        self.connect()
            .await?
            .execute(
                INSERT,
                &[
                    &order.id,
                    &order.item,
                    &order.pieces,
                    &place.partition,
                    &place.offset,
                ],
            )
            .await?;
        Ok(())
    }

    /// How many branches are prepared now.
    pub async fn prepared(&self) -> anyhow::Result<u64> {
        let row = self
            .connect()
            .await?
            .query_one("SELECT count(*) FROM pg_prepared_xacts", &[])
            .await?;
        Ok(row.get::<_, i64>(0).unsigned_abs())
    }

    /// What it holds, and the offset of the last order of each partition.
    pub async fn holdings(&self) -> anyhow::Result<(Holdings, BTreeMap<i32, i64>)> {
        let mut holdings = Holdings {
            prepared: self.prepared().await?,
            ..Holdings::default()
        };
        let mut last = BTreeMap::new();
        let rows = "SELECT id, partition_number, partition_offset FROM orders ORDER BY partition_offset";
        for row in self.connect().await?.query(rows, &[]).await? {
            holdings.note(row.get::<_, String>(0));
            last.insert(row.get(1), row.get(2));
        }
        Ok((holdings, last))
    }

    async fn connect(&self) -> anyhow::Result<Client> {
        let (client, connection) = tokio_postgres::connect(&self.url, NoTls)
            .await
            .context("PostgreSQL cannot be reached")?;
        tokio::spawn(connection);
        Ok(client)
    }
}
