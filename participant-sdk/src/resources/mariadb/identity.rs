//! Which store a database is, and how a copy of it is told from the original.
//!
//! The store id is a row that is made once, so it comes along with every copy. The row also says where it was made. Neither
//! MariaDB nor the name of a database tells servers apart for certain, so three things are compared:
//!
//! | database name | server's own id | when the table was made | it is |
//! |---|---|---|---|
//! | same | same | any | the store |
//! | same | different | same | the store, its server moved (a new network card, container or port), or a clone of its disk: the generation grows |
//! | same | different | different | a copy on another server (dump, replica): refused until a person says which |
//! | different | any | any | a copy beside the original: refused likewise |
//!
//! A move and a clone (a snapshot of a volume or of a virtual machine) look the same. So the generation grows, durably: the
//! coordinator says so, and from then on takes nothing from the lower one. Of a store and its clone never both take part.
//!
//! A copy of the files that runs beside its original on the same machine and port cannot be told from it.

use handfast_proto::ids::{Generation, StoreId};
use mysql_async::{Conn, Error, Row};

use super::connection::{batch, column};
use super::failure::{is_no_such_table, resource_error};
use super::preconditions::{self, Server};
use super::schema::{FROM_LAYOUT_1, LAYOUT};
use crate::resource::{ResourceError, StoreIdentity};
use crate::runtime::random_bits;

/// The store that a session was opened on, and where it was then.
#[derive(Clone, Debug)]
pub(super) struct Opened {
    pub store: StoreId,
    generation: u64,
    place: Place,
}

impl Opened {
    /// What the coordinator is told.
    pub fn identity(&self) -> StoreIdentity {
        StoreIdentity {
            store: self.store,
            generation: Generation(self.generation),
            attached: false,
        }
    }
}

/// Where a row was made, or where we are.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Place {
    database: String,
    server: String,
    /// Seconds since 1970.
    made_at: i64,
}

/// An identity for people.
pub(super) struct Described {
    pub store: StoreId,
    pub words: String,
}

struct Stored {
    layout: i64,
    store: StoreId,
    generation: u64,
    place: Place,
}

/// Reads the identity, and makes it on the first time.
pub(super) async fn establish(conn: &mut Conn) -> Result<Opened, ResourceError> {
    let failed = |error: Error| resource_error("reading the identity of the database", &error);
    let here = here(conn).await.map_err(failed)?;
    make(conn, &here).await.map_err(failed)?;
    let mut stored = stored(conn).await.map_err(failed)?;
    compare(&stored, &here)?;
    if stored.place != here {
        tracing::warn!(was = ?stored.place, is = ?here, "the server of this store has moved, or is a clone of it");
        stored.generation = follow(conn, &here).await.map_err(failed)?;
    }
    Ok(Opened {
        store: stored.store,
        generation: stored.generation,
        place: here,
    })
}

/// Reads the identity that was made before, and says in words what it is.
pub(super) async fn look_up(conn: &mut Conn) -> Result<Described, ResourceError> {
    let failed = |error: Error| resource_error("reading the identity of the database", &error);
    let here = here(conn).await.map_err(failed)?;
    let stored = stored(conn).await.map_err(failed)?;
    compare(&stored, &here)?;
    let grows = match is_same_server(&stored.place, &here) {
        true => "",
        false => ", and grows when it is opened: the server has moved, or is a clone",
    };
    Ok(Described {
        store: stored.store,
        words: format!("{}, generation {}{grows}", stored.store, stored.generation),
    })
}

/// Whether the row was made here.
fn compare(stored: &Stored, here: &Place) -> Result<(), ResourceError> {
    if stored.layout == 1 {
        return Err(ResourceError::permanent(format!(
            "the handfast_ tables have layout 1, and this build reads layout {LAYOUT}; stop all agents of this database, and run in it, \
             once: {FROM_LAYOUT_1}"
        )));
    }
    if stored.layout != LAYOUT {
        return Err(ResourceError::permanent(format!(
            "the handfast_ tables have layout {}, and this build reads layout {LAYOUT}; use the build that made them, or a \
             later one that can convert them",
            stored.layout
        )));
    }
    let there = &stored.place;
    if there.database != here.database || !(is_same_server(there, here) || there.made_at == here.made_at) {
        return Err(copied(stored, here));
    }
    Ok(())
}

fn is_same_server(there: &Place, here: &Place) -> bool {
    there.server == here.server && !here.server.is_empty()
}

/// Whether a new connection leads to the store that was opened, in the same life and with settings that may promise; if not,
/// in words what it leads to. An address can change hands between two connections, and settings can change at any time.
pub(super) async fn recognize(conn: &mut Conn, opened: &Opened) -> Result<Option<String>, Error> {
    let ask = format!(
        "{}; SELECT DATABASE(), ({MADE_AT}), (SELECT CONCAT(store_id, ' ', generation) FROM handfast_store)",
        preconditions::settings()
    );
    let rows = match batch(conn, &ask).await {
        Err(error) if is_no_such_table(&error) => {
            return Ok(Some("a database without an identity".to_owned()));
        }
        rows => rows?,
    };
    let Some((row, settings)) = rows.split_last() else {
        return Err(Error::Other("the server did not say where it is".into()));
    };
    let server = Server::of_settings(settings)?;
    let here = Place {
        database: column(row, 0)?,
        server: server.id().to_owned(),
        made_at: column(row, 1)?,
    };
    let stored: Option<String> = column(row, 2)?;
    if here != opened.place || stored != Some(format!("{:032x} {}", opened.store.0, opened.generation)) {
        return Ok(Some(format!(
            "store {}, {}",
            stored.as_deref().unwrap_or("without an identity"),
            whereabouts(&here)
        )));
    }
    Ok(server
        .first_broken()
        .map(|finding| format!("the same store, which may not promise any more: {finding}")))
}

/// When the table was made: seconds since 1970.
const MADE_AT: &str = "SELECT COALESCE(UNIX_TIMESTAMP(CREATE_TIME), 0) FROM information_schema.TABLES \
                       WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'handfast_store'";

async fn here(conn: &mut Conn) -> Result<Place, Error> {
    let server = Server::of_settings(&batch(conn, &preconditions::settings()).await?)?;
    let rows = batch(conn, &format!("SELECT DATABASE(), ({MADE_AT})")).await?;
    let row = only(&rows)?;
    Ok(Place {
        database: column(row, 0)?,
        server: server.id().to_owned(),
        made_at: column(row, 1)?,
    })
}

async fn make(conn: &mut Conn, here: &Place) -> Result<(), Error> {
    let store = format!("{:032x}", random_bits());
    use mysql_async::prelude::Queryable;
    conn.exec_drop(
        "INSERT IGNORE INTO handfast_store (layout, store_id, generation, database_name, server_id, made_at) \
         VALUES (?, ?, 1, ?, ?, ?)",
        (LAYOUT, store, &here.database, &here.server, here.made_at),
    )
    .await
}

/// Notes where the store is now; the generation that it has there. Of several instances that follow at once the first does it.
async fn follow(conn: &mut Conn, here: &Place) -> Result<u64, Error> {
    use mysql_async::prelude::Queryable;
    // Assignments are carried out from left to right: the first one still sees the old id.
    conn.exec_drop(
        "UPDATE handfast_store SET generation = generation + IF(server_id = ?, 0, 1), server_id = ?, made_at = ? \
         WHERE database_name = ?",
        (&here.server, &here.server, here.made_at, &here.database),
    )
    .await?;
    Ok(stored(conn).await?.generation)
}

async fn stored(conn: &mut Conn) -> Result<Stored, Error> {
    let rows = batch(
        conn,
        "SELECT layout, store_id, generation, database_name, server_id, made_at FROM handfast_store",
    )
    .await?;
    let row = only(&rows)?;
    let id: String = column(row, 1)?;
    let id = u128::from_str_radix(&id, 16).map_err(|_| {
        Error::Other(format!("handfast_store holds {id:?} where a store id should be").into())
    })?;
    Ok(Stored {
        layout: column(row, 0)?,
        store: StoreId(id),
        generation: column(row, 2)?,
        place: Place {
            database: column(row, 3)?,
            server: column(row, 4)?,
            made_at: column(row, 5)?,
        },
    })
}

fn only(rows: &[Row]) -> Result<&Row, Error> {
    rows.first()
        .ok_or_else(|| Error::Other("table handfast_store has no row or cannot be seen".into()))
}

fn whereabouts(place: &Place) -> String {
    format!(
        "database {} on server {:?} (table made at {})",
        place.database, place.server, place.made_at
    )
}

fn copied(stored: &Stored, here: &Place) -> ResourceError {
    ResourceError::permanent(format!(
        "this database is a copy: its identity {} was made in {}, but this is {}. If the original still exists, this copy \
         needs an identity and a resource name of its own: run DELETE FROM handfast_store and start under another name. If \
         the original is gone for good and this takes its place, run: UPDATE handfast_store SET generation = generation + 1, \
         database_name = DATABASE(), server_id = '{}', made_at = {}",
        stored.store,
        whereabouts(&stored.place),
        whereabouts(here),
        here.server,
        here.made_at
    ))
}
