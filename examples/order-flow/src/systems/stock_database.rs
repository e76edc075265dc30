//! MariaDB: the pieces of each item, and a movement for each order.

use anyhow::Context;
use bytes::Bytes;
use handfast_participant::client::RefusedBy;
use handfast_participant::resources::sql::{Parameter, SqlOperation};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, TxOpts};

use super::Holdings;
use crate::orders::Order;

/// The name under which it takes part.
pub const NAME: &str = "stock-db";

const TABLES: [&str; 2] = [
    "CREATE TABLE stock (item varchar(40) PRIMARY KEY, pieces bigint NOT NULL CHECK (pieces >= 0)) ENGINE=InnoDB",
    // No unique constraint: a movement that is there twice must be seen, not prevented.
    "CREATE TABLE movements (order_id varchar(40) NOT NULL, item varchar(40) NOT NULL, pieces bigint NOT NULL, INDEX (order_id)) \
     ENGINE=InnoDB",
];
const TAKE: &str = "UPDATE stock SET pieces = pieces - ? WHERE item = ? AND pieces >= ?";
const MOVE: &str = "INSERT INTO movements VALUES (?, ?, ?)";

/// Where it is.
pub struct StockDatabase {
    pub url: String,
}

/// Whether these words of an abort say that there was not enough: `TAKE` touched no row.
pub fn is_out_of_stock(refusal: &RefusedBy) -> bool {
    refusal.resource == NAME && refusal.reason == "ROWS_DIFFER"
}

/// How taking from stock went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    Yes,
    /// There is not enough.
    OutOfStock,
}

impl StockDatabase {
    /// Makes the tables with what is in stock.
    pub async fn make_tables(&self, stock: Vec<(String, i64)>) -> anyhow::Result<()> {
        let mut connection = self.connect().await?;
        for table in TABLES {
            connection.query_drop(table).await?;
        }
        connection
            .exec_batch("INSERT INTO stock VALUES (?, ?)", stock)
            .await?;
        Ok(connection.disconnect().await?)
    }

    /// The order as an operation of a transaction: refused unless there is enough.
    pub fn operation(&self, order: &Order) -> Bytes {
        let (id, item, pieces) = (order.id.as_str(), order.item.as_str(), order.pieces);
        SqlOperation::new()
            .then(TAKE, [Parameter::from(pieces), item.into(), pieces.into()])
            .expecting(1)
            .then(MOVE, [Parameter::from(id), item.into(), pieces.into()])
            .expecting(1)
            .encode()
    }

    /// The order without a coordinator: a transaction of this database alone.
    pub async fn take(&self, order: &Order) -> anyhow::Result<Taken> {
        let mut connection = self.connect().await?;
        let mut transaction = connection.start_transaction(TxOpts::default()).await?;
        transaction
            .exec_drop(TAKE, (order.pieces, order.item.as_str(), order.pieces))
            .await?;
        if transaction.affected_rows() == 0 {
            transaction.rollback().await?;
            return Ok(Taken::OutOfStock);
        }
        transaction
            .exec_drop(MOVE, (order.id.as_str(), order.item.as_str(), order.pieces))
            .await?;
        transaction.commit().await?;
        Ok(Taken::Yes)
    }

    /// How many branches are prepared now.
    pub async fn prepared(&self) -> anyhow::Result<u64> {
        let mut connection = self.connect().await?;
        let rows: Vec<mysql_async::Row> = connection.query("XA RECOVER").await?;
        connection.disconnect().await?;
        Ok(rows.len() as u64)
    }

    /// What it holds, and the pieces in stock and in movements together.
    pub async fn holdings(&self) -> anyhow::Result<(Holdings, i64)> {
        let mut holdings = Holdings {
            prepared: self.prepared().await?,
            ..Holdings::default()
        };
        let mut connection = self.connect().await?;
        let mut pieces: i64 = connection
            .query_first("SELECT CAST(sum(pieces) AS SIGNED) FROM stock")
            .await?
            .context("there is no stock")?;
        let movements: Vec<(String, i64)> =
            connection.query("SELECT order_id, pieces FROM movements").await?;
        for (id, moved) in movements {
            holdings.note(id);
            pieces += moved;
        }
        connection.disconnect().await?;
        Ok((holdings, pieces))
    }

    async fn connect(&self) -> anyhow::Result<Conn> {
        let options = Opts::from_url(&self.url)?;
        Conn::new(options).await.context("MariaDB cannot be reached")
    }
}
