//! The three servers and the folder of invoices, started and filled with what the orders need.

use std::path::Path;

use anyhow::anyhow;
use demonstration::storm::Cast;
use handfast_servers::{KafkaBroker, MariadbServer, PostgresServer};

use crate::orders;
use crate::systems::Systems;
use crate::systems::events::{EVENT_PARTITIONS, EVENTS, Events, INCOMING};
use crate::systems::invoices::Invoices;
use crate::systems::orders_database::OrdersDatabase;
use crate::systems::stock_database::StockDatabase;

const POSTGRES_SETTINGS: [&str; 2] = ["max_prepared_transactions=256", "max_connections=200"];

/// How many incoming orders each client finds for each second of the run, more than it can take.
const ORDERS_PER_SECOND: u64 = 100;

/// How often each server is killed in a round. A broker is slow to come back.
const DATABASE_SHARE: usize = 2;
const BROKER_SHARE: usize = 1;

/// The servers, which end when this is dropped.
pub struct Servers {
    postgres: PostgresServer,
    mariadb: MariadbServer,
    kafka: KafkaBroker,
    stock: String,
}

impl Servers {
    /// Starts all three at once.
    pub fn start(dir: &Path) -> anyhow::Result<Servers> {
        std::thread::scope(|scope| {
            let postgres =
                scope.spawn(|| PostgresServer::start_in(&dir.join("postgres"), &POSTGRES_SETTINGS));
            let mariadb = scope.spawn(|| MariadbServer::start(&[]));
            let kafka = scope.spawn(|| KafkaBroker::start(&[]));
            let panicked = |_| anyhow!("the thread that starts a server has panicked");
            let mariadb = mariadb.join().map_err(panicked)??;
            Ok(Servers {
                postgres: postgres.join().map_err(panicked)??,
                kafka: kafka.join().map_err(panicked)??,
                stock: mariadb.create_database()?,
                mariadb,
            })
        })
    }

    /// Makes tables, topics and the folder, and brings the orders in.
    pub async fn fill(
        &self,
        dir: &Path,
        clients: u16,
        seconds: u64,
        rng: &mut fastrand::Rng,
    ) -> anyhow::Result<Systems> {
        let systems = Systems {
            orders: OrdersDatabase {
                url: self.postgres.url("postgres"),
            },
            stock: StockDatabase {
                url: self.mariadb.url(&self.stock),
            },
            events: Events {
                broker: self.kafka.view(),
                partitions: i32::from(clients),
            },
            invoices: Invoices {
                folder: dir.join("invoices"),
            },
        };
        systems.orders.make_table().await?;
        systems.stock.make_tables(orders::opening_stock()).await?;
        std::fs::create_dir_all(&systems.invoices.folder)?;
        self.kafka.create_topic(INCOMING, i32::from(clients))?;
        self.kafka.create_topic(EVENTS, EVENT_PARTITIONS)?;
        for partition in 0..i32::from(clients) {
            let orders = orders::random(partition, seconds * ORDERS_PER_SECOND, rng);
            systems.events.bring_in(partition, &orders)?;
        }
        Ok(systems)
    }

    /// Puts them where the storm reaches them.
    pub fn into_cast(self, cast: Cast) -> Cast {
        cast.with("postgres", DATABASE_SHARE, self.postgres)
            .with("mariadb", DATABASE_SHARE, self.mariadb)
            .with("kafka", BROKER_SHARE, self.kafka)
    }
}
