//! What an error of PostgreSQL means for whoever asked.
//!
//! | SQLSTATE | in work | elsewhere |
//! |---|---|---|
//! | 40001, 40P01, 55P03, 57014: serialization, deadlock, lock timeout, cancelled | refused, retryable | again later |
//! | 08…, 53…, 57P0…, 25P03: connection, resources and prepared slots, shutdown, idle too long | refused, retryable | again later |
//! | 28…, 3D000, 42501: login, database, privilege | refused | only a person can mend it |
//! | any other | refused: the server's words | again later |

use deadpool_postgres::{HookError, PoolError};
use tokio_postgres::error::{DbError, SqlState};

use crate::resource::{Refusal, ResourceError};

/// An error in the server's words, with its SQLSTATE; or what broke, down to its cause.
pub(super) fn describe(error: &tokio_postgres::Error) -> String {
    use std::error::Error;
    let Some(database) = error.as_db_error() else {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        return text;
    };
    let part =
        |name: &str, text: Option<&str>| text.map(|text| format!("; {name}: {text}")).unwrap_or_default();
    format!(
        "{} (SQLSTATE {}{}{})",
        database.message(),
        database.code().code(),
        part("detail", database.detail()),
        part("hint", database.hint())
    )
}

/// Work failed and is rolled back.
pub(super) fn refusal(error: &tokio_postgres::Error) -> Refusal {
    let message = describe(error);
    let Some(code) = error.code() else {
        return Refusal::retryable(
            "DATABASE_UNREACHABLE",
            format!("the connection to the database broke: {message}"),
        );
    };
    let reason = format!("SQLSTATE_{}", code.code());
    if is_retryable(code) {
        Refusal::retryable(reason, message)
    } else {
        Refusal::permanent(reason, message)
    }
}

fn is_retryable(code: &SqlState) -> bool {
    let passing = [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::QUERY_CANCELED,
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
    ];
    passing.contains(code) || code.code().starts_with("08") || code.code().starts_with("53")
}

/// No connection could be had for the work.
pub(super) fn no_connection(error: &ResourceError) -> Refusal {
    Refusal {
        reason: "DATABASE_UNREACHABLE".to_owned(),
        message: error.message.clone(),
        retryable: !error.permanent,
    }
}

/// A call that is not work failed; `doing` says what was tried.
pub(super) fn resource_error(doing: &str, error: &tokio_postgres::Error) -> ResourceError {
    let message = format!("{doing}: {}", describe(error));
    match error.code().map(|code| code.code()) {
        Some("28P01" | "28000") => ResourceError::permanent(format!(
            "{message}; check the user and the password in the URL, or PGPASSWORD, and the server's pg_hba.conf"
        )),
        Some("3D000") => ResourceError::permanent(format!("{message}; check the database name in the URL")),
        Some("42501") => ResourceError::permanent(format!(
            "{message}; every instance must log in as the same user, and that user must own schema handfast"
        )),
        None if error.to_string().starts_with("invalid configuration") => ResourceError::permanent(message),
        _ => ResourceError::transient(message),
    }
}

/// The pool gave no connection.
pub(super) fn pool_error(error: &PoolError) -> ResourceError {
    match error {
        PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => {
            resource_error("connecting to PostgreSQL", error)
        }
        PoolError::Timeout(_) => ResourceError::transient(format!(
            "no connection to PostgreSQL in time ({error}): all are busy, or the server does not answer"
        )),
        _ => ResourceError::transient(format!("no connection to PostgreSQL: {error}")),
    }
}

/// The prepared transaction of that name does not exist.
pub(super) fn is_absent(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::UNDEFINED_OBJECT)
}

/// Somebody else holds a lock for longer than we were ready to wait.
pub(super) fn is_lock_timeout(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE)
}

/// Our own unique key for markers and fences was hit, and not one of the application's.
pub(super) fn is_marker_collision(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|error: &DbError| {
        *error.code() == SqlState::UNIQUE_VIOLATION
            && error.schema() == Some("handfast")
            && error.table() == Some("marker")
    })
}
