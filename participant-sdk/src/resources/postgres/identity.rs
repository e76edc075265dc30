//! Which store a database is, and how a copy of it is told from the original.
//!
//! The store id is a row that is made once, so it comes along with every copy. The row also says where it was made:
//!
//! | system identifier, database | timeline | it is |
//! |---|---|---|
//! | same | same | the store |
//! | same | higher | the store after a failover or a restore: the generation grows, durably |
//! | same | lower | not explained by any of these: refused |
//! | different | any | a copy (dump, template, upgrade): refused until a person says which of the two it is |
//!
//! A copy of the files that runs beside its original without having been promoted cannot be told from it.

use handfast_proto::ids::{Generation, StoreId};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};
use uuid::Uuid;

use super::failure::resource_error;
use super::preconditions;
use super::schema::{FROM_LAYOUT_1, LAYOUT};
use crate::resource::{ResourceError, StoreIdentity};
use crate::runtime::random_bits;

/// The store that a session was opened on, and where it was then.
#[derive(Debug)]
pub(super) struct Opened {
    store: StoreId,
    generation: i64,
    place: Place,
}

impl Opened {
    /// What the coordinator is told.
    pub fn identity(&self) -> StoreIdentity {
        StoreIdentity {
            store: self.store,
            generation: Generation(u64::try_from(self.generation).unwrap_or_default()),
            attached: false,
        }
    }
}

/// Where a row was made, or where we are.
#[derive(PartialEq, Eq, Debug)]
struct Place {
    system_identifier: i64,
    database_oid: u32,
    database_name: String,
    timeline: i32,
}

struct Stored {
    layout: i32,
    store: StoreId,
    generation: i64,
    place: Place,
}

/// Reads the identity, makes it on the first time, and lets the generation grow after a failover.
pub(super) async fn establish(client: &Client) -> Result<Opened, ResourceError> {
    let failed =
        |error: tokio_postgres::Error| resource_error("reading the identity of the database", &error);
    let here = here(client).await.map_err(failed)?;
    make(client, &here).await.map_err(failed)?;
    let mut stored = stored(client).await.map_err(failed)?;
    compare(&stored, &here)?;
    if here.timeline > stored.place.timeline {
        tracing::warn!(
            from = stored.place.timeline,
            to = here.timeline,
            "the database has failed over or was restored"
        );
        stored.generation = grow(client, here.timeline).await.map_err(failed)?;
    }
    Ok(Opened {
        store: stored.store,
        generation: stored.generation,
        place: here,
    })
}

/// Whether a new connection leads to the store that was opened, in the same life and as durable; if not, in words what it
/// leads to. An address can change hands between two connections, and a server can take over or be set up anew.
pub(super) async fn recognize(
    client: &Client,
    opened: &Opened,
) -> Result<Option<String>, tokio_postgres::Error> {
    let asked = client
        .query_typed(
            &format!(
                "SELECT {HERE}, s.store_id, s.generation, current_setting('synchronous_commit') \
                 FROM pg_control_system() c, pg_database d, handfast.store s WHERE d.datname = current_database()"
            ),
            &[],
        )
        .await;
    let rows = match asked {
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => Vec::new(),
        asked => asked?,
    };
    let Some(row) = rows.first() else {
        return Ok(Some("a database without an identity".to_owned()));
    };
    let (here, there) = (place(row, 0)?, &opened.place);
    let store = StoreId(row.try_get::<_, Uuid>(4)?.as_u128());
    let generation: i64 = row.try_get(5)?;
    let place_of = |place: &Place| (place.system_identifier, place.database_oid, place.timeline);
    if (store, generation, place_of(&here)) != (opened.store, opened.generation, place_of(there)) {
        return Ok(Some(format!(
            "store {store}, generation {generation}, in {}",
            whereabouts(&here)
        )));
    }
    let commit: String = row.try_get(6)?;
    Ok(preconditions::is_weak(&commit)
        .then(|| format!("the same store with synchronous_commit = {commit}, which it did not have before")))
}

/// Reads the identity that was made before, and says in words what it is.
pub(super) async fn look_up(client: &Client) -> Result<String, ResourceError> {
    let failed =
        |error: tokio_postgres::Error| resource_error("reading the identity of the database", &error);
    let (here, stored) = (
        here(client).await.map_err(failed)?,
        stored(client).await.map_err(failed)?,
    );
    compare(&stored, &here)?;
    let grows = match here.timeline > stored.place.timeline {
        true => ", and grows when it is opened: the database has failed over or was restored",
        false => "",
    };
    Ok(format!(
        "{}, generation {}{grows}",
        stored.store, stored.generation
    ))
}

/// Whether the row was made here.
fn compare(stored: &Stored, here: &Place) -> Result<(), ResourceError> {
    if stored.layout == 1 {
        return Err(ResourceError::permanent(format!(
            "schema handfast has layout 1, and this build reads layout {LAYOUT}; stop all agents of this database, and run in it, once: \
             {FROM_LAYOUT_1}"
        )));
    }
    if stored.layout != LAYOUT {
        return Err(ResourceError::permanent(format!(
            "schema handfast has layout {}, and this build reads layout {LAYOUT}; use the build that made it, or a later one \
             that can convert it",
            stored.layout
        )));
    }
    let there = &stored.place;
    if (there.system_identifier, there.database_oid) != (here.system_identifier, here.database_oid)
        || here.timeline < there.timeline
    {
        return Err(copied(stored, here));
    }
    Ok(())
}

fn place(row: &Row, first: usize) -> Result<Place, tokio_postgres::Error> {
    Ok(Place {
        system_identifier: row.try_get(first)?,
        database_oid: row.try_get(first + 1)?,
        database_name: row.try_get(first + 2)?,
        timeline: row.try_get(first + 3)?,
    })
}

/// Columns of a [`Place`]. The timeline is read from the name of the WAL file being written: after a promotion the control
/// file still says the old one until the next checkpoint.
const HERE: &str = "c.system_identifier, d.oid, d.datname::text, \
                    ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int";

async fn here(client: &Client) -> Result<Place, tokio_postgres::Error> {
    let row = client
        .query_typed_one(
            &format!(
                "SELECT {HERE} FROM pg_control_system() c, pg_database d WHERE d.datname = current_database()"
            ),
            &[],
        )
        .await?;
    place(&row, 0)
}

async fn make(client: &Client, here: &Place) -> Result<(), tokio_postgres::Error> {
    client
        .execute_typed(
            "INSERT INTO handfast.store \
             (layout, store_id, generation, system_identifier, database_oid, database_name, timeline) \
             SELECT $1, $2, 1, $3, $4, $5, $6 WHERE NOT EXISTS (SELECT FROM handfast.store) ON CONFLICT DO NOTHING",
            &[
                (&LAYOUT, Type::INT4),
                (&Uuid::from_u128(random_bits()), Type::UUID),
                (&here.system_identifier, Type::INT8),
                (&here.database_oid, Type::OID),
                (&here.database_name, Type::TEXT),
                (&here.timeline, Type::INT4),
            ],
        )
        .await
        .map(drop)
}

async fn stored(client: &Client) -> Result<Stored, tokio_postgres::Error> {
    let row = client
        .query_typed_one(
            "SELECT layout, store_id, generation, system_identifier, database_oid, database_name, timeline \
             FROM handfast.store",
            &[],
        )
        .await?;
    Ok(Stored {
        layout: row.try_get(0)?,
        store: StoreId(row.try_get::<_, Uuid>(1)?.as_u128()),
        generation: row.try_get(2)?,
        place: place(&row, 3)?,
    })
}

async fn grow(client: &Client, timeline: i32) -> Result<i64, tokio_postgres::Error> {
    client
        .execute_typed(
            "UPDATE handfast.store SET generation = generation + 1, timeline = $1 WHERE timeline < $1",
            &[(&timeline, Type::INT4)],
        )
        .await?;
    Ok(stored(client).await?.generation)
}

fn whereabouts(place: &Place) -> String {
    format!(
        "system {}, database {} (oid {}), timeline {}",
        place.system_identifier, place.database_name, place.database_oid, place.timeline
    )
}

fn copied(stored: &Stored, here: &Place) -> ResourceError {
    let there = &stored.place;
    ResourceError::permanent(format!(
        "this database is a copy: its identity {} was made in {}, but this is {}. If the original still exists, this copy \
         needs an identity and a resource name of its own: run DELETE FROM handfast.store and start under another name. If \
         the original is gone for good and this takes its place, run: UPDATE handfast.store SET generation = generation + 1, \
         system_identifier = {}, database_oid = {}, database_name = current_database(), timeline = {}",
        stored.store,
        whereabouts(there),
        whereabouts(here),
        here.system_identifier,
        here.database_oid,
        here.timeline
    ))
}
