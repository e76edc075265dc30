//! What an error of MariaDB means for whoever asked.
//!
//! | error | in work | elsewhere |
//! |---|---|---|
//! | 1205, 1213, 1613, 1614, 1020: lock wait, deadlock, row changed since it was read | refused, retryable | again later |
//! | 1969, 3024, 1317, 1927, 1053: statement too long, interrupted, connection or server ended | refused, retryable | again later |
//! | 1040, 1203, 1226, 1021, 1114, 1637 …: connections, memory, disk, transactions | refused, retryable | again later |
//! | 1290, 1792, 1836: read-only for now | refused, retryable | again later |
//! | 1044, 1045, 1049, 1142, 1143, 1227, 1698 …: login, database, privilege | refused | only a person can mend it |
//! | any other | refused: the server's words | again later |

use mysql_async::{DriverError, Error, ServerError};

use crate::resource::{Refusal, ResourceError};

const RETRYABLE: [u16; 29] = [
    1020, 1021, 1037, 1038, 1040, 1041, 1053, 1114, 1152, 1158, 1159, 1160, 1161, 1184, 1203, 1205, 1206,
    1213, 1226, 1290, 1317, 1613, 1614, 1637, 1836, 1927, 1969, 3024, 1180,
];
const LOGIN: [u16; 5] = [1045, 1130, 1251, 1698, 1862];
const NO_DATABASE: [u16; 2] = [1044, 1049];
const NO_PRIVILEGE: [u16; 4] = [1142, 1143, 1227, 1370];

/// `XAER_NOTA`: this connection may not finish such a transaction, or there is none. Never a proof that it is done.
const NOT_A_TRANSACTION: u16 = 1397;
/// Answers of `XA COMMIT` and `XA ROLLBACK` that say that the transaction has been rolled back.
const ROLLED_BACK: [u16; 3] = [1402, 1613, 1614];
const DUPLICATE_XID: u16 = 1440;
const DUPLICATE_KEY: u16 = 1062;
const NULL_REFUSED: u16 = 1048;
const NO_SAVEPOINTS: u16 = 1178;
/// A savepoint that was just set is forgotten at once if there is no transaction.
const NO_SUCH_SAVEPOINT: u16 = 1305;
const NOT_IN_THIS_STATE: u16 = 1399;
const NO_SUCH_TABLE: u16 = 1146;
const LOCK_WAIT: u16 = 1205;
const DEADLOCK: u16 = 1213;
const NO_SUCH_THREAD: u16 = 1094;
const RECOVER_REFUSED: u16 = 1401;

/// An error in the server's words, with its number; or what broke, down to its cause.
pub(super) fn describe(error: &Error) -> String {
    match error {
        Error::Server(ServerError { code, message, state }) => {
            format!("{message} (error {code}, SQLSTATE {state})")
        }
        other => {
            use std::error::Error;
            let mut text = other.to_string();
            let mut source = other.source();
            while let Some(cause) = source {
                let cause_text = cause.to_string();
                if !text.contains(&cause_text) {
                    text = format!("{text}: {cause_text}");
                }
                source = cause.source();
            }
            text
        }
    }
}

/// The number of the server's error; `None` if the connection broke.
pub(super) fn code(error: &Error) -> Option<u16> {
    match error {
        Error::Server(error) => Some(error.code),
        _ => None,
    }
}

/// Work failed and is rolled back.
pub(super) fn refusal(error: &Error) -> Refusal {
    let message = describe(error);
    match error {
        Error::Server(server) => {
            let reason = format!("SQL_ERROR_{}", server.code);
            if RETRYABLE.contains(&server.code) {
                Refusal::retryable(reason, message)
            } else {
                Refusal::permanent(reason, message)
            }
        }
        _ => Refusal::retryable(
            "DATABASE_UNREACHABLE",
            format!("the connection to the database broke: {message}"),
        ),
    }
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
pub(super) fn resource_error(doing: &str, error: &Error) -> ResourceError {
    let message = format!("{doing}: {}", describe(error));
    match (error, code(error)) {
        (_, Some(code)) if LOGIN.contains(&code) => ResourceError::permanent(format!(
            "{message}; check the user and the password, and from which hosts the server lets that user in"
        )),
        (_, Some(code)) if NO_DATABASE.contains(&code) => ResourceError::permanent(format!(
            "{message}; check the database name in the URL, and that the user may use it"
        )),
        (_, Some(code)) if NO_PRIVILEGE.contains(&code) => ResourceError::permanent(format!(
            "{message}; every instance must log in as the same user, and that user needs SELECT, INSERT, UPDATE and DELETE on \
             the handfast_ tables"
        )),
        (_, Some(RECOVER_REFUSED)) => ResourceError::permanent(format!(
            "{message}; let an administrator run: GRANT XA_RECOVER_ADMIN ON *.* TO <the participant's user>"
        )),
        (Error::Driver(DriverError::UnknownAuthPlugin { .. } | DriverError::MysqlOldPasswordDisabled), _) => {
            ResourceError::permanent(format!(
                "{message}; give the user a password that other programs can use"
            ))
        }
        _ => ResourceError::transient(message),
    }
}

/// A table that was named does not exist.
pub(super) fn is_no_such_table(error: &Error) -> bool {
    code(error) == Some(NO_SUCH_TABLE)
}

/// There is none, or there was one and the server has rolled it back.
pub(super) fn is_gone(error: &Error) -> bool {
    code(error).is_some_and(|code| code == NOT_A_TRANSACTION || ROLLED_BACK.contains(&code))
}

/// A transaction of that name exists already.
pub(super) fn is_duplicate(error: &Error) -> bool {
    code(error) == Some(DUPLICATE_XID)
}

/// Why the statements of a promise failed, none of which is an application's.
pub(super) enum Refused {
    /// The marker's own condition did not hold.
    Marker,
    /// The unique key for markers and fences was hit.
    Fence,
    /// A table that was written to cannot do savepoints: it cannot be rolled back either.
    Savepoint,
    /// The branch's transaction is not there any more, or not open.
    Transaction,
    /// As everywhere else.
    Otherwise,
}

impl Refused {
    pub fn by(error: &Error) -> Self {
        match code(error) {
            Some(NULL_REFUSED) => Refused::Marker,
            Some(DUPLICATE_KEY) => Refused::Fence,
            Some(NO_SAVEPOINTS) => Refused::Savepoint,
            Some(NO_SUCH_SAVEPOINT | NOT_A_TRANSACTION | NOT_IN_THIS_STATE) => Refused::Transaction,
            _ => Refused::Otherwise,
        }
    }
}

/// Somebody else holds a lock for longer than we were ready to wait.
pub(super) fn is_lock_wait(error: &Error) -> bool {
    matches!(code(error), Some(LOCK_WAIT | DEADLOCK))
}

/// The connection that was to end has ended already.
pub(super) fn is_no_such_thread(error: &Error) -> bool {
    code(error) == Some(NO_SUCH_THREAD)
}
