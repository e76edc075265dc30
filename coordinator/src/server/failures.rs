//! The core's refusals as failures of the wire: each says what happened and what to do. The one place for that.

use std::time::Duration;

use handfast_core::{CloseReason, Rejection};
use handfast_proto::status::{Failure, Reason};

/// How long a caller is asked to wait for a resource that has no session.
const DOWN_RETRY: Duration = Duration::from_millis(500);

/// How long a caller is asked to wait for a coordinator that is shutting down.
const DRAINING_RETRY: Duration = Duration::from_secs(1);

/// Why a request was not executed.
pub fn of_rejection(rejection: Rejection) -> Failure {
    let milliseconds = Duration::from_millis;
    match rejection {
        Rejection::Draining => {
            let message = "the coordinator is shutting down; nothing was executed, send the request again once it is back";
            Failure::new(Reason::Draining, message).retry_after(DRAINING_RETRY)
        }
        Rejection::LogSpaceLow => Failure::new(
            Reason::LogSpaceLow,
            "the disk of the coordinator's log is nearly full; nothing was executed, and decided transactions still \
             finish. Free some space on that disk",
        ),
        Rejection::TableFull { retry_after_ms } => Failure::new(
            Reason::TableFull,
            "as many transactions are live as may be; nothing was executed, send the request again after the suggested \
             wait. If this lasts, look with `handfast tx in-doubt` for what is stuck",
        )
        .retry_after(milliseconds(retry_after_ms)),
        Rejection::KeysFull { retry_after_ms } => Failure::new(
            Reason::KeysFull,
            "as many idempotency keys are held as may be; nothing was executed. Let keys expire sooner, or raise \
             limits.keys",
        )
        .retry_after(milliseconds(retry_after_ms)),
        Rejection::ResourceBacklog { resource, retry_after_ms } => Failure::new(
            Reason::ResourceBacklog,
            format!(
                "resource {resource} has as many unfinished branches as it may; nothing was executed, send the request \
                 again after the suggested wait"
            ),
        )
        .retry_after(milliseconds(retry_after_ms)),
        Rejection::UnknownResource { resource } => Failure::new(
            Reason::UnknownResource,
            format!(
                "no participant ever dialed in as {resource}; nothing was executed. Correct the name, or start that \
                 participant"
            ),
        ),
        Rejection::ResourceDown { resource } => Failure::new(
            Reason::ResourceDown,
            format!(
                "resource {resource} has no session now; nothing was executed, send the request again once its \
                 participant is back"
            ),
        )
        .retry_after(DOWN_RETRY),
        Rejection::NoBranches => Failure::new(
            Reason::NoBranches,
            "the request has no operation; give at least one",
        ),
        Rejection::TooManyBranches { found, limit } => Failure::new(
            Reason::TooManyBranches,
            format!("the transaction has {found} branches and may have {limit}; nothing was executed, use fewer"),
        ),
        Rejection::OperationTooLarge { resource, found, limit } => Failure::new(
            Reason::OperationTooLarge,
            format!(
                "the operation for {resource} has {found} bytes and may have {limit}; nothing was executed. Send a \
                 reference to the data instead"
            ),
        ),
        Rejection::KeyMismatch { transaction } => Failure::new(
            Reason::KeyMismatch,
            format!(
                "the key was used for another request or with another time of expiry, transaction {transaction}; nothing was \
                 executed. Use a new key for a new intent, and the same request and time for a retry"
            ),
        ),
        Rejection::KeyExpired => Failure::new(
            Reason::KeyExpired,
            "the key's time is over; nothing was executed. Whether it was ever used is no longer known here: look at \
             the data itself before you use a new key",
        ),
        Rejection::KeyTooLong { limit_ms } => Failure::new(
            Reason::KeyRetentionTooLong,
            format!(
                "the key asks to be kept for longer than {limit_ms} ms from now, which is what this coordinator grants; \
                 nothing was executed, let it expire sooner"
            ),
        ),
        Rejection::UnknownTransaction { transaction } => Failure::new(
            Reason::UnknownTransaction,
            format!(
                "there is no active transaction {transaction}; nothing of it was executed, and nothing ever will be. \
                 Begin a new one"
            ),
        ),
        Rejection::Forgotten { transaction } => Failure::new(
            Reason::Forgotten,
            format!(
                "transaction {transaction} is older than what is kept; its outcome cannot be told from here. Look at the \
                 data itself"
            ),
        ),
        Rejection::NotMine { transaction } => Failure::new(
            Reason::NotMine,
            format!(
                "transaction {transaction} belongs to another coordinator, or this one never minted its id; correct the id, or ask \
                 the other"
            ),
        ),
        Rejection::TooManyWaiters { transaction } => Failure::new(
            Reason::TooManyWaiters,
            format!("as many callers wait for transaction {transaction} as may; ask again in a while"),
        ),
    }
}

/// Why a session was ended by the coordinator.
pub fn of_close(reason: &CloseReason) -> Failure {
    match reason {
        CloseReason::StoreMismatch { expected, found } => Failure::new(
            Reason::StoreMismatch,
            format!(
                "this name belongs to store {expected}, and store {found} has dialed in: a wrong database, or a clone. \
                 Point the participant to its own store, or give the clone a new name and a new store id"
            ),
        ),
        CloseReason::StoreHasAnotherName { store, name } => Failure::new(
            Reason::StoreHasAnotherName,
            format!(
                "store {store} takes part as {name}: one store has one name, because each of two would be shown the other's branches. \
                 Dial in as {name}, from as many instances as you like, or give this participant a store of its own"
            ),
        ),
        CloseReason::GenerationLower { expected, found } => Failure::new(
            Reason::GenerationLower,
            format!(
                "generation {expected} of this store was seen, and generation {found} has dialed in: an older copy. \
                 Start the newer one, or raise the generation if this one is meant to take over"
            ),
        ),
        CloseReason::Superseded => Failure::new(
            Reason::Superseded,
            "a newer session of the same participant took this one's place; dial in again only if you are the newer one",
        ),
        CloseReason::TooManyResources { limit } => Failure::new(
            Reason::TooManyResources,
            format!(
                "the coordinator knows {limit} resource names, which is the limit; raise limits.resources"
            ),
        ),
    }
}
