//! The transaction of one branch, from BEGIN to the promise.
//!
//! ```text
//!  ├─ one round trip ─────────────┤                ├──────────────────┤├─ one round trip ─────────────────────┤
//!  who serves us? already known? ; BEGIN, limits ─► statements … ─► still ours? ─► marker, PREPARE TRANSACTION, list
//!                                                                   wrote anything?
//! ```
//!
//! `PREPARE TRANSACTION` answers without an error in a block that has failed, and rolls it back: its command tag is then
//! ROLLBACK (PostgreSQL manual, "PREPARE TRANSACTION"). The driver does not show the tag, so the promise is believed only
//! when the server's own list of prepared transactions has it. Outside of any block, several statements sent together are a
//! block of their own, which *can* be prepared: so it is checked before that the transaction is still the branch's.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row, SimpleQueryMessage};

use super::connection::{Backend, Lease};
use super::failure::{describe, is_marker_collision, refusal};
use super::markers;
use super::{Parameter, gid, replication};
use crate::resource::{BranchKey, Refusal, SeenLog, Vote};
use crate::resources::sql::running::RunningWork;

/// PostgreSQL takes 0 for "no limit", so a limit is never shorter than this.
const MIN_LIMIT: Duration = Duration::from_millis(1);
/// The longest that it takes, a little less than 25 days.
const MAX_LIMIT: Duration = Duration::from_millis(i32::MAX as u64);

/// An open transaction with one branch's work.
pub(super) struct BranchTransaction {
    lease: Lease,
    work: Arc<RunningWork<Backend>>,
    branch: BranchKey,
    gid: String,
}

/// How long the transaction may wait; the server enforces it even when this process stands still.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// One statement.
    pub statement: Duration,
    /// Between statements.
    pub idle: Duration,
}

/// What the server holds of a branch before any work.
pub(super) enum Begun {
    /// Nothing: the work may begin.
    Open(Box<BranchTransaction>),
    /// The branch is prepared already: the same vote again.
    AlreadyPrepared,
    /// It has ended, so this is a late duplicate.
    Ended(Refusal),
}

/// The end of a try to promise.
pub(super) enum Promise {
    /// Known.
    Vote(Vote),
    /// The connection was lost at a moment when the branch may have become prepared.
    Unknown(Refusal),
}

impl BranchTransaction {
    /// Opens the transaction, unless the server knows the branch already.
    pub async fn begin(
        lease: Lease,
        work: Arc<RunningWork<Backend>>,
        branch: BranchKey,
        session: &str,
        limits: Limits,
    ) -> Result<Begun, tokio_postgres::Error> {
        let gid = gid::encode(branch);
        let begin = format!("BEGIN; {} SET LOCAL handfast.branch = '{gid}'", limits.sql());
        // Sent in this order in one go. What is known must not be asked inside of the transaction: the question would take
        // its snapshot, after which the application could not choose the isolation level.
        let (known, ()) = try_join(known(&lease, branch, &gid), lease.batch_execute(&begin)).await?;
        work.runs_on(Backend {
            process: known.process,
            application_name: session.to_owned(),
        });
        let transaction = BranchTransaction {
            lease,
            work,
            branch,
            gid,
        };
        if known.prepared {
            transaction.lease.batch_execute("ROLLBACK").await?;
            replication::catch_up(&transaction.lease).await?;
            transaction.give_back();
            return Ok(Begun::AlreadyPrepared);
        }
        if let Some(state) = known.ended {
            transaction.roll_back().await;
            return Ok(Begun::Ended(ended_refusal(branch, &state)));
        }
        Ok(Begun::Open(Box::new(transaction)))
    }

    /// Runs one statement; how many rows it changed or returned.
    pub async fn execute(&self, sql: &str, params: &[Parameter]) -> Result<u64, tokio_postgres::Error> {
        self.lease.execute_typed(sql, &untyped(params)).await
    }

    /// Runs one statement and gives its rows, at most `max_rows` of them; `None` if there are more.
    pub async fn query(
        &self,
        sql: &str,
        params: &[Parameter],
        max_rows: usize,
    ) -> Result<Option<Vec<Row>>, tokio_postgres::Error> {
        use futures_util::TryStreamExt;
        let params = params
            .iter()
            .map(|param| (param as &(dyn ToSql + Sync), Type::UNKNOWN));
        let stream = self.lease.query_typed_raw(sql, params).await?;
        futures_util::pin_mut!(stream);
        let (mut rows, mut too_many) = (Vec::new(), false);
        while let Some(row) = stream.try_next().await? {
            too_many |= rows.len() == max_rows;
            if !too_many {
                rows.push(row);
            }
        }
        Ok((!too_many).then_some(rows))
    }

    /// The entry of this work in the register.
    pub fn work(&self) -> Arc<RunningWork<Backend>> {
        self.work.clone()
    }

    /// Whether the connection is lost, and all of the work with it.
    pub fn is_lost(&self) -> bool {
        self.lease.is_closed()
    }

    /// Sets other limits.
    pub async fn limit(&self, limits: Limits) -> Result<(), tokio_postgres::Error> {
        self.lease.batch_execute(&limits.sql()).await
    }

    /// Undoes everything.
    pub async fn roll_back(self) {
        if self.lease.batch_execute("ROLLBACK").await.is_ok() {
            self.give_back();
        }
    }

    /// Undoes everything and refuses.
    pub async fn refuse(self, refusal: Refusal) -> Vote {
        self.roll_back().await;
        Vote::Refused(refusal)
    }

    /// Nothing is open any more.
    fn give_back(self) {
        if self.work.settle() {
            self.lease.give_back();
        }
    }

    /// Writes the marker, prepares and looks whether it holds.
    pub async fn promise(self, seen: SeenLog) -> Promise {
        match self.state().await {
            Err(error) => return Promise::Vote(self.refuse(refusal(&error)).await),
            Ok(State::Foreign(refusal)) => {
                // What a statement did outside of our transaction cannot be taken back; the connection is not reused.
                tracing::error!(branch = %self.branch, reason = %refusal.message, "a statement left its branch");
                self.work.settle();
                return Promise::Vote(Vote::Refused(refusal));
            }
            Ok(State::Unfit(refusal)) => return Promise::Vote(self.refuse(refusal).await),
            Ok(State::ReadOnly) => {
                self.roll_back().await;
                return Promise::Vote(Vote::ReadOnly);
            }
            Ok(State::Wrote) => {}
        }
        // An application may have weakened synchronous_commit for itself; the vote must not be.
        let last = format!(
            "{}; RESET synchronous_commit;",
            markers::insert_marker(self.branch, seen)
        );
        match prepare_transaction(&self.lease, &last, &self.gid).await {
            Ok(true) => {
                self.give_back();
                Promise::Vote(Vote::Prepared { prepared_for: None })
            }
            Ok(false) => Promise::Vote(self.refuse(failed_block()).await),
            Err(error) => self.after_error(&error).await,
        }
    }

    /// Whatever was reported, the list decides: the error may have come after the promise had been made.
    async fn after_error(self, error: &tokio_postgres::Error) -> Promise {
        let unknown = Promise::Unknown(refusal(error));
        if error.as_db_error().is_none() || self.lease.batch_execute("ROLLBACK").await.is_err() {
            return unknown;
        }
        let Ok(known) = known(&self.lease, self.branch, &self.gid).await else {
            return unknown;
        };
        if known.prepared && replication::catch_up(&self.lease).await.is_err() {
            return unknown;
        }
        let vote = match known.ended {
            _ if known.prepared => Vote::Prepared { prepared_for: None },
            Some(state) if is_marker_collision(error) => Vote::Refused(ended_refusal(self.branch, &state)),
            _ => Vote::Refused(promise_refusal(error)),
        };
        self.give_back();
        Promise::Vote(vote)
    }

    async fn state(&self) -> Result<State, tokio_postgres::Error> {
        let row = self
            .lease
            .query_typed_one(
                "SELECT current_setting('handfast.branch', true) IS NOT DISTINCT FROM $1, current_user = session_user, \
                 pg_current_xact_id_if_assigned() IS NOT NULL",
                &[(&self.gid, Type::TEXT)],
            )
            .await?;
        let (ours, same_user, wrote): (bool, bool, bool) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        Ok(match (ours, same_user, wrote) {
            (false, ..) => State::Foreign(Refusal::permanent(
                "TRANSACTION_ENDED",
                "a statement ended the branch's transaction; what it did may have been committed by itself",
            )),
            (true, false, _) => State::Unfit(Refusal::permanent(
                "ROLE_CHANGED",
                "a statement changed the role, and the prepared transaction would belong to that role; end with RESET ROLE",
            )),
            (true, true, false) => State::ReadOnly,
            (true, true, true) => State::Wrote,
        })
    }
}

enum State {
    Wrote,
    ReadOnly,
    Unfit(Refusal),
    Foreign(Refusal),
}

impl Limits {
    fn sql(self) -> String {
        let statement = self.statement.clamp(MIN_LIMIT, MAX_LIMIT).as_millis();
        let idle = self.idle.clamp(MIN_LIMIT, MAX_LIMIT).as_millis();
        format!(
            "SET LOCAL statement_timeout = {statement}; SET LOCAL lock_timeout = {statement}; \
             SET LOCAL idle_in_transaction_session_timeout = {idle};"
        )
    }
}

/// Runs the last statements of the transaction that is open on the connection, prepares it under `gid`, and says whether the
/// server then lists it.
async fn prepare_transaction(client: &Client, last: &str, gid: &str) -> Result<bool, tokio_postgres::Error> {
    let sql =
        format!("{last} PREPARE TRANSACTION '{gid}'; SELECT gid FROM pg_prepared_xact() WHERE gid = '{gid}'");
    let answers = client.simple_query(&sql).await?;
    Ok(answers
        .iter()
        .any(|answer| matches!(answer, SimpleQueryMessage::Row(row) if row.get(0) == Some(gid))))
}

/// What the server knows of a branch, and who of its processes answers.
pub(super) struct Known {
    process: i32,
    /// It is in the list of prepared transactions.
    pub prepared: bool,
    /// The state in its marker row.
    ended: Option<String>,
}

/// Asks what the server knows of a branch.
pub(super) async fn known(
    client: &Client,
    branch: BranchKey,
    gid: &str,
) -> Result<Known, tokio_postgres::Error> {
    let row = client
        .query_typed_one(
            "SELECT pg_backend_pid(), EXISTS (SELECT FROM pg_prepared_xact() WHERE gid = $1), \
             (SELECT state FROM handfast.marker WHERE log_id = $2 AND transaction_id = $3 AND branch = $4)",
            &[
                (&gid, Type::TEXT),
                (&uuid::Uuid::from_u128(branch.log.0), Type::UUID),
                (&uuid::Uuid::from_u128(branch.transaction.as_u128()), Type::UUID),
                (&i64::from(branch.branch.0), Type::INT8),
            ],
        )
        .await?;
    Ok(Known {
        process: row.try_get(0)?,
        prepared: row.try_get(1)?,
        ended: row.try_get(2)?,
    })
}

fn untyped(params: &[Parameter]) -> Vec<(&(dyn ToSql + Sync), Type)> {
    params
        .iter()
        .map(|param| (param as &(dyn ToSql + Sync), Type::UNKNOWN))
        .collect()
}

fn ended_refusal(branch: BranchKey, state: &str) -> Refusal {
    Refusal::permanent(
        "BRANCH_ENDED",
        format!("branch {branch} has ended already: {state}; this work came too late"),
    )
}

fn failed_block() -> Refusal {
    Refusal::permanent(
        "TRANSACTION_FAILED",
        "a statement had failed, so PREPARE TRANSACTION rolled the branch back instead",
    )
}

fn promise_refusal(error: &tokio_postgres::Error) -> Refusal {
    match error.code().map(|code| code.code()) {
        Some("53200") => Refusal::retryable(
            "PREPARED_SLOTS_FULL",
            format!(
                "{}; branches wait for their decisions, or the setting is too low",
                describe(error)
            ),
        ),
        Some("55000") => Refusal::permanent(
            "PREPARED_TRANSACTIONS_OFF",
            format!(
                "{}; set max_prepared_transactions and restart the server",
                describe(error)
            ),
        ),
        _ => refusal(error),
    }
}

#[cfg(test)]
mod tests;
