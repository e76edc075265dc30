//! The transaction of one branch, from XA START to the promise.
//!
//! ```text
//!  ├─ one round trip ─────────────────────┤                ├─ only if no row was touched ─┤├─ one round trip ────────────┤
//!  limits; the branch's lock; already ended? ; XA START ─► statements … ─► did anything write? ─► all undoable? marker,
//!                                                                                                 XA END, XA PREPARE
//! ```
//!
//! - Whether the branch wrote is asked of the session's own counters: an XA transaction that only read can be prepared and is
//!   listed like any other.
//! - Whether it wrote to tables that cannot be rolled back is known to the server, which warns of it when a savepoint is rolled
//!   back to (error 1196). A savepoint that is set and rolled back to at the very end undoes nothing, and asks.
//! - `XA END` fails if a statement has left the branch's transaction.

use std::sync::Arc;

use mysql_async::prelude::Queryable;
use mysql_async::{Error, Params, Row, Value};

use super::connection::{Lease, column, partial_batch};
use super::failure::{Refused, describe, is_duplicate, refusal};
use super::holders::{self, ConnectionId};
use super::parameter::{size, value};
use super::server::{Flavor, Limits};
use super::session::Session;
use super::statements::locks_what_it_reads;
use super::{Parameter, markers, scan};
use crate::resource::{BranchKey, Refusal, SeenLog, Vote};
use crate::resources::sql::running::RunningWork;

/// An open transaction with one branch's work.
pub(super) struct BranchTransaction {
    lease: Lease,
    work: Arc<RunningWork<ConnectionId>>,
    branch: BranchKey,
    xid: String,
    flavor: Flavor,
    /// The most bytes of one statement with its values.
    largest: usize,
    /// A row was touched, or may be locked: there is something to promise.
    touched: bool,
}

/// What the server holds of a branch before any work.
pub(super) enum Begun {
    /// Nothing: the work may begin.
    Open(Box<BranchTransaction>),
    /// The branch is prepared already: the same vote again.
    AlreadyPrepared,
    /// It has ended, or somebody works on it: this is a duplicate.
    Refused(Refusal),
    /// Its name is taken, and whether it is prepared was not answered.
    Unknown(Refusal),
}

/// The end of a try to promise.
pub(super) enum Promise {
    /// Known; a prepared branch stays with its connection.
    Vote(Vote),
    /// It is prepared, and this connection holds it.
    Prepared(Lease),
    /// The connection was lost at a moment when the branch may have become prepared.
    Unknown(Refusal),
}

/// Why a statement failed.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// The server refused it, or the connection broke.
    #[error("{}", describe(.0))]
    Failed(#[from] mysql_async::Error),
    /// It has another number of `?` than of values.
    #[error("the statement has {wanted} parameters, and {given} values were given")]
    ParametersDiffer {
        /// How many `?` the server found.
        wanted: usize,
        /// How many values came along.
        given: usize,
    },
    /// The server would end the connection instead of answering.
    #[error(
        "the statement and its values have {size} bytes, and the server takes {largest}; raise max_allowed_packet, or write in \
         smaller pieces"
    )]
    TooLarge {
        /// Its bytes.
        size: usize,
        /// The most that the server takes.
        largest: usize,
    },
}

impl StatementError {
    pub(super) fn refusal(&self) -> Refusal {
        match self {
            StatementError::Failed(error) => refusal(error),
            StatementError::ParametersDiffer { .. } => {
                Refusal::permanent("PARAMETERS_DIFFER", self.to_string())
            }
            StatementError::TooLarge { .. } => Refusal::permanent("STATEMENT_TOO_LARGE", self.to_string()),
        }
    }
}

/// The session's counters of what was written, in their order.
const WRITE_COUNTERS: [&str; 3] = ["Handler_delete", "Handler_update", "Handler_write"];

impl BranchTransaction {
    /// Opens the transaction, unless the server knows the branch already.
    pub async fn begin(
        session: &Session,
        mut lease: Lease,
        work: Arc<RunningWork<ConnectionId>>,
        branch: BranchKey,
        limits: Limits,
    ) -> Result<Begun, Error> {
        let (xid, flavor) = (session.xid(branch), session.flavor);
        // After a reset the server's own character set is back.
        let start = format!(
            "SET NAMES utf8mb4; SET SESSION autocommit = 1, {}; SET SESSION TRANSACTION ISOLATION LEVEL {}; \
             SELECT GET_LOCK({}, 0), CONNECTION_ID(); {}; XA START {xid}",
            limits.assignments(flavor),
            session.options.isolation.sql(),
            holders::lock(branch),
            markers::select_state(branch)
        );
        let (rows, started) = partial_batch(&mut lease, &start).await;
        let started = match started {
            Ok(()) => true,
            Err(error) if is_duplicate(&error) => false,
            Err(error) => return Err(error),
        };
        let locked = column::<Option<i64>>(first(&rows)?, 0)? == Some(1);
        if locked {
            work.runs_on(column(first(&rows)?, 1)?);
        }
        let ended: Option<String> = rows.get(1).map(|row| column(row, 0)).transpose()?;
        let mut transaction = BranchTransaction {
            lease,
            work,
            branch,
            xid,
            flavor,
            largest: session.largest_statement,
            touched: false,
        };
        if started && locked && ended.is_none() {
            return Ok(Begun::Open(Box::new(transaction)));
        }
        if started && !transaction.undo().await {
            return Err(Error::Other(
                "a transaction that is not wanted cannot be ended".into(),
            ));
        }
        let begun = match ended {
            Some(state) => Begun::Refused(ended_refusal(branch, &state)),
            None => match scan::is_prepared(&mut transaction.lease, session, branch).await {
                Ok(true) => Begun::AlreadyPrepared,
                Ok(false) => Begun::Refused(Refusal::retryable(
                    "BRANCH_BUSY",
                    format!("another connection works on branch {branch}"),
                )),
                Err(error) => return Ok(Begun::Unknown(refusal(&error))),
            },
        };
        transaction.unlock_and_give_back().await;
        Ok(begun)
    }

    /// Runs one statement; how many rows it touched or returned.
    pub async fn execute(&mut self, sql: &str, params: &[Parameter]) -> Result<u64, StatementError> {
        let mut rows = 0;
        let touched = self.run(sql, params, |_| rows += 1).await?;
        Ok(touched.unwrap_or(rows))
    }

    /// Runs one statement and gives its rows, at most `max_rows` of them; `None` if there are more.
    pub async fn query(
        &mut self,
        sql: &str,
        params: &[Parameter],
        max_rows: usize,
    ) -> Result<Option<Vec<Row>>, StatementError> {
        let (mut rows, mut too_many) = (Vec::new(), false);
        self.run(sql, params, |row| {
            too_many |= rows.len() == max_rows;
            if !too_many {
                rows.push(row);
            }
        })
        .await?;
        Ok((!too_many).then_some(rows))
    }

    /// Runs one statement; how many rows it touched, or `None` if it returned rows instead.
    async fn run(
        &mut self,
        sql: &str,
        params: &[Parameter],
        mut each: impl FnMut(Row),
    ) -> Result<Option<u64>, StatementError> {
        let size = sql.len() + params.iter().map(size).sum::<usize>();
        if size > self.largest {
            return Err(StatementError::TooLarge {
                size,
                largest: self.largest,
            });
        }
        let statement = self.lease.prep(sql).await?;
        let (wanted, given) = (usize::from(statement.num_params()), params.len());
        if wanted != given {
            return Err(StatementError::ParametersDiffer { wanted, given });
        }
        let values: Vec<Value> = params.iter().map(value).collect();
        let values = if values.is_empty() {
            Params::Empty
        } else {
            Params::Positional(values)
        };
        let mut answer = self.lease.exec_iter(&statement, values).await?;
        let returns = !answer.columns_ref().is_empty();
        while !answer.is_empty() {
            answer.for_each(&mut each).await?;
        }
        let touched = answer.affected_rows();
        answer.drop_result().await?;
        self.touched |= (!returns && touched > 0) || locks_what_it_reads(sql);
        Ok((!returns).then_some(touched))
    }

    /// The entry of this work in the register.
    pub fn work(&self) -> Arc<RunningWork<ConnectionId>> {
        self.work.clone()
    }

    /// Whether the connection is known to be lost, and all of the work with it.
    pub fn is_lost(&self) -> bool {
        self.lease.is_disconnected()
    }

    /// Sets other limits.
    pub async fn limit(&mut self, limits: Limits) -> Result<(), Error> {
        let set = format!("SET SESSION {}", limits.assignments(self.flavor));
        self.lease.batch(&set).await.map(drop)
    }

    /// Undoes everything; whether that is certain.
    pub async fn roll_back(mut self) -> bool {
        let undone = self.undo().await;
        if undone {
            self.unlock_and_give_back().await;
        }
        undone
    }

    /// After a deadlock the server has undone the work already, and takes no `XA END` any more.
    async fn undo(&mut self) -> bool {
        let end = format!("XA END {0}; XA ROLLBACK {0}", self.xid);
        match self.lease.batch(&end).await {
            Ok(_) => true,
            Err(Error::Server(_)) => {
                let roll_back = format!("XA ROLLBACK {}", self.xid);
                self.lease.batch(&roll_back).await.is_ok()
            }
            Err(_) => false,
        }
    }

    /// Undoes everything and refuses.
    pub async fn refuse(self, refusal: Refusal) -> Vote {
        self.roll_back().await;
        Vote::Refused(refusal)
    }

    /// Nothing is open any more.
    async fn unlock_and_give_back(mut self) {
        let unlock = format!("DO RELEASE_LOCK({})", holders::lock(self.branch));
        if self.lease.batch(&unlock).await.is_ok() && self.work.settle() {
            self.lease.give_back();
        }
    }

    /// Writes the marker and prepares, unless there is nothing to promise.
    pub async fn promise(mut self, seen: SeenLog) -> Promise {
        match self.wrote().await {
            Err(error) => return Promise::Vote(self.refuse(refusal(&error)).await),
            Ok(false) => {
                let branch = self.branch;
                let vote = if self.roll_back().await {
                    Vote::ReadOnly
                } else {
                    Vote::Refused(left_its_branch(branch))
                };
                return Promise::Vote(vote);
            }
            Ok(true) => {}
        }
        // A statement may have released all locks of its session, ours among them.
        let last = format!(
            "SAVEPOINT handfast; ROLLBACK TO SAVEPOINT handfast; SET {} = @@warning_count; {}; \
             DO IF(IS_USED_LOCK({lock}) = CONNECTION_ID(), 1, GET_LOCK({lock}, 0)); XA END {xid}; XA PREPARE {xid}",
            markers::UNTRANSACTED,
            markers::insert_marker(self.branch, seen, self.flavor),
            lock = holders::lock(self.branch),
            xid = self.xid
        );
        match self.lease.batch(&last).await {
            Ok(_) if self.flavor.detaches_on_prepare() => {
                self.unlock_and_give_back().await;
                Promise::Vote(Vote::Prepared { prepared_for: None })
            }
            // Doomed while it was prepared: the connection is being ended, and the abort that does it rolls the branch back.
            Ok(_) if !self.work.settle() => Promise::Vote(Vote::Prepared { prepared_for: None }),
            Ok(_) => Promise::Prepared(self.lease),
            Err(error) => self.after_error(&error).await,
        }
    }

    /// The server has refused the promise, or the connection is lost.
    async fn after_error(mut self, error: &Error) -> Promise {
        if !matches!(error, Error::Server(_)) {
            return Promise::Unknown(refusal(error));
        }
        let refused = match Refused::by(error) {
            Refused::Marker => self.why_refused().await,
            Refused::Fence => ended_refusal(self.branch, "its marker or fence is there"),
            Refused::Savepoint => not_transactional(self.branch),
            Refused::Transaction => left_its_branch(self.branch),
            Refused::Otherwise => refusal(error),
        };
        if self.undo().await {
            self.unlock_and_give_back().await;
            Promise::Vote(Vote::Refused(refused))
        } else {
            Promise::Unknown(refused)
        }
    }

    /// Why the marker's own condition did not hold.
    async fn why_refused(&mut self) -> Refusal {
        let select = format!("SELECT {}", markers::UNTRANSACTED);
        let warned: Option<i64> = match self.lease.batch(&select).await {
            Ok(rows) => first(&rows).and_then(|row| column(row, 0)).ok().flatten(),
            Err(_) => None,
        };
        if warned.is_some_and(|warned| warned > 0) {
            not_transactional(self.branch)
        } else {
            left_its_branch(self.branch)
        }
    }

    /// Whether there is anything to promise. Triggers, functions and procedures write without telling: the session's counters
    /// know of them too.
    async fn wrote(&mut self) -> Result<bool, Error> {
        if self.touched {
            return Ok(true);
        }
        let shown = format!(
            "SHOW SESSION STATUS WHERE Variable_name IN ('{}')",
            WRITE_COUNTERS.join("', '")
        );
        let mut shown = self
            .lease
            .batch(&shown)
            .await?
            .iter()
            .map(|row| Ok((column(row, 0)?, column(row, 1)?)))
            .collect::<Result<Vec<(String, u64)>, Error>>()?;
        shown.sort();
        // With rows missing (the branch may have set sql_select_limit) nothing is known; to promise nothing too much is safe.
        let none_wrote = shown.len() == WRITE_COUNTERS.len()
            && shown
                .iter()
                .zip(WRITE_COUNTERS)
                .all(|((name, count), counter)| name.eq_ignore_ascii_case(counter) && *count == 0);
        Ok(!none_wrote)
    }
}

fn first(rows: &[Row]) -> Result<&Row, Error> {
    rows.first()
        .ok_or_else(|| Error::Other("the server gave no row where one must be".into()))
}

fn ended_refusal(branch: BranchKey, state: &str) -> Refusal {
    Refusal::permanent(
        "BRANCH_ENDED",
        format!("branch {branch} has ended already: {state}; this work came too late"),
    )
}

fn not_transactional(branch: BranchKey) -> Refusal {
    tracing::error!(%branch, "a branch wrote to a table that cannot be rolled back; that stays");
    Refusal::permanent(
        "NOT_TRANSACTIONAL",
        "a statement wrote to a table that cannot be rolled back (not InnoDB); what it wrote there stays, everything else is \
         undone",
    )
}

fn left_its_branch(branch: BranchKey) -> Refusal {
    tracing::error!(%branch, "a statement left its branch");
    Refusal::permanent(
        "TRANSACTION_ENDED",
        "a statement ended the branch's transaction; what it did may have been committed by itself",
    )
}
