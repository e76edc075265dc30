//! How the journal answers a session: the table of `journal.rs`, and one sync for whatever has gathered.

use handfast_wal::{Disk, Lsn, Space, WalError};

use super::branches::BranchState;
use super::record::Record;
use super::{Answer, Journal, JournalError};
use crate::failpoint;
use crate::participant::ParticipantError;
use crate::resource::{BranchKey, Completion, Decision, Refusal, Reservation, SeenLog, Staged, Vote, Work};
use crate::session::{Engine, EngineError, Opened, Outbox, PrepareRequest, Progress};

/// Answers that wait for a sync; with more, no further frame is taken in.
const WAITING_ANSWERS: usize = 100_000;

impl From<JournalError> for EngineError {
    fn from(error: JournalError) -> Self {
        EngineError::Fatal(ParticipantError::Journal(error))
    }
}

impl From<WalError> for EngineError {
    fn from(error: WalError) -> Self {
        JournalError::Log(error).into()
    }
}

impl<S: Staged, D: Disk> Engine for Journal<S, D> {
    /// Votes of the session before are never sent. Their branches stay, and the scan of the next Hello shows them.
    fn session_lost(&mut self) {
        self.waiting.clear();
        self.recent.clear();
        self.scan_is_wanted = false;
    }

    async fn reach(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    async fn open(&mut self) -> Result<Opened, EngineError> {
        let durable = self.log.flush().await?;
        self.state.staged.synced(durable.0);
        let seen = self.state.seen.values().copied().collect();
        Ok(Opened {
            identity: self.identity,
            seen,
            lines: self.state.lines(),
            one_phase: true,
        })
    }

    fn prepare(&mut self, request: PrepareRequest, outbox: &mut Outbox) {
        failpoint::pass("after_prepare_received");
        let branch = request.branch;
        if let Some((lsn, vote)) = self.vote(request) {
            match lsn <= self.log.durable() {
                true => outbox.vote(branch, &vote),
                false => self.answer(lsn, Answer::Vote(branch, vote)),
            }
        }
    }

    fn decide(&mut self, branch: BranchKey, decision: Decision, seen: SeenLog, outbox: &mut Outbox) {
        failpoint::pass(match decision {
            Decision::Commit => "after_commit_received",
            Decision::Abort => "after_abort_received",
        });
        match self.carry_out(branch, decision, seen) {
            Ok((lsn, completion)) if lsn <= self.log.durable() => outbox.ack(branch, decision, &completion),
            Ok((lsn, completion)) => self.answer(lsn, Answer::Ack(branch, decision, completion)),
            // Not acknowledged, so the coordinator sends it again. An error that is final shows in `progress`.
            Err(error) => tracing::warn!(%branch, ?decision, %error, "could not note a decision"),
        }
    }

    /// The marker proves a commit; without one the abort leaves a fence, with which a late prepare collides.
    fn resolve(&mut self, branch: BranchKey, seen: SeenLog, outbox: &mut Outbox) {
        let found = match self.state.branches.get(&branch) {
            Some(BranchState::Committed { .. }) => Decision::Commit,
            Some(
                BranchState::Prepared { .. } | BranchState::Aborted { .. } | BranchState::Deviated { .. },
            )
            | None => Decision::Abort,
        };
        self.decide(branch, found, seen, outbox);
    }

    fn forget(&mut self, branch: BranchKey) {
        if matches!(
            self.state.branches.get(&branch),
            Some(BranchState::Prepared { .. }) | None
        ) {
            return;
        }
        // Unforced: lost, it is asked for again by the next scan after the restart.
        match self.append(&Record::Forgotten { branch }) {
            Ok(_) => {
                self.state.branches.remove(&branch);
                let words = "the branch was decided and forgotten already";
                self.recent.fence(branch, words);
            }
            Err(error) => tracing::debug!(%branch, %error, "could not note that a branch is forgotten"),
        }
    }

    fn scan(&mut self) {
        self.scan_is_wanted = true;
        self.log.replenish();
    }

    fn start(&mut self) {
        self.checkpointing
            .begin_if_due(&mut self.log, &self.options, || self.state.snapshot());
        if !self.log.has_room() {
            // Nothing is taken in until there is room, so nobody else may ever demand that this be written.
            self.log.force(self.log.accepted());
        }
        self.log.start();
    }

    fn has_room(&self) -> bool {
        self.log.has_room() && self.waiting.len() < WAITING_ANSWERS
    }

    async fn progress(&mut self, outbox: &mut Outbox) -> Result<Progress, EngineError> {
        if std::mem::take(&mut self.scan_is_wanted) {
            return Ok(Progress::Scanned(self.state.lines_through(self.log.durable().0)));
        }
        let durable = tokio::select! { biased;
            durable = self.log.completed() => durable?,
            written = self.checkpointing.written() => {
                written?;
                return Ok(Progress::Moved);
            }
        };
        self.state.staged.synced(durable.0);
        self.say(durable, outbox);
        Ok(Progress::Moved)
    }

    async fn close(&mut self, outbox: &mut Outbox) -> Result<(), EngineError> {
        let durable = self.log.flush().await?;
        self.state.staged.synced(durable.0);
        self.say(durable, outbox);
        Ok(())
    }
}

impl<S: Staged, D: Disk> Journal<S, D> {
    /// The vote, and the record that must be durable before it is said.
    fn vote(&mut self, request: PrepareRequest) -> Option<(Lsn, Vote)> {
        let PrepareRequest {
            branch,
            work,
            seen,
            delegated,
            ..
        } = request;
        match self.state.branches.get(&branch) {
            Some(BranchState::Prepared { at, .. }) => {
                return Some((Lsn(*at), Vote::Prepared { prepared_for: None }));
            }
            Some(BranchState::Committed { at }) if delegated => return Some((Lsn(*at), Vote::Committed)),
            Some(
                BranchState::Committed { .. } | BranchState::Aborted { .. } | BranchState::Deviated { .. },
            ) => {
                let refusal = Refusal::permanent("FENCED", "the branch was decided already");
                return Some((Lsn::ZERO, Vote::Refused(refusal)));
            }
            None => {}
        }
        if let Some(vote) = self.recent.get(&branch) {
            let after = match &vote {
                Vote::ReadOnly => self.at_once,
                _ => Lsn::ZERO,
            };
            return Some((after, vote));
        }
        let at_once = delegated && !self.recent.may_have_dropped(&branch);
        match self.promise(branch, work, seen, at_once) {
            Ok(Some(lsn)) if at_once => Some((lsn, Vote::Committed)),
            Ok(Some(lsn)) => Some((lsn, Vote::Prepared { prepared_for: None })),
            Ok(None) => {
                self.recent.keep(branch, Vote::ReadOnly);
                // What it has read may be the effect of a commit at once whose sync is under way, and might never have been.
                Some((self.at_once, Vote::ReadOnly))
            }
            Err(refusal) => Some((Lsn::ZERO, self.refuse(branch, refusal))),
        }
    }

    /// Reserves and notes the promise, or with it that it was kept at once; `None` if there is nothing to promise.
    fn promise(
        &mut self,
        branch: BranchKey,
        work: Work,
        seen: SeenLog,
        at_once: bool,
    ) -> Result<Option<Lsn>, Refusal> {
        let Work::Operation(operation) = work else {
            let message = "this resource takes part in one-shot transactions only";
            return Err(Refusal::permanent("NOT_INTERACTIVE", message));
        };
        if self.state.branches.len() >= self.options.branches {
            return Err(Refusal::retryable(
                "BACKLOG",
                "as many branches are unfinished as the journal holds",
            ));
        }
        if self.log.space() == Space::Low {
            return Err(Refusal::retryable(
                "STORE_FULL",
                "the disk of the journal is full; decisions still fit",
            ));
        }
        if self.state.reserve(branch, &operation)? == Reservation::Nothing {
            return Ok(None);
        }
        failpoint::pass("after_reserve");
        let noted = operation.clone();
        let record = match at_once {
            true => Record::CommittedAtOnce {
                branch,
                seen,
                operation: noted,
            },
            false => Record::Prepared {
                branch,
                seen,
                operation: noted,
            },
        };
        match self.append(&record) {
            Ok(lsn) if at_once => {
                failpoint::pass("after_commit_append");
                self.at_once = lsn;
                self.state.committed_at_once(lsn.0, branch, seen, &operation);
                Ok(Some(lsn))
            }
            Ok(lsn) => {
                failpoint::pass("after_prepare_append");
                self.state.prepared(lsn.0, branch, seen, operation);
                Ok(Some(lsn))
            }
            Err(error) => {
                self.state.staged.release(branch, &operation);
                Err(match error {
                    WalError::RecordTooLarge { .. } => {
                        Refusal::permanent("OPERATION_TOO_LARGE", error.to_string())
                    }
                    _ => Refusal::retryable("JOURNAL_BUSY", error.to_string()),
                })
            }
        }
    }

    /// Carries a decision out, as the table says, and the record that must be durable before that is said.
    fn carry_out(
        &mut self,
        branch: BranchKey,
        decision: Decision,
        seen: SeenLog,
    ) -> Result<(Lsn, Completion), WalError> {
        let record = match (self.state.branches.get(&branch), decision) {
            (Some(BranchState::Prepared { .. }), Decision::Commit) => Record::Committed { branch, seen },
            (Some(BranchState::Prepared { .. }) | None, Decision::Abort) => Record::Aborted { branch, seen },
            (Some(BranchState::Committed { at }), Decision::Commit)
            | (Some(BranchState::Aborted { at }), Decision::Abort) => {
                return Ok((Lsn(*at), Completion::Done));
            }
            (Some(BranchState::Committed { .. }), Decision::Abort) => {
                let evidence = "the journal holds a marker: the branch was committed".to_owned();
                return Ok((Lsn::ZERO, Completion::Contrary(evidence)));
            }
            (Some(BranchState::Aborted { .. }), Decision::Commit) => {
                let evidence = "the journal holds a fence: the branch was aborted".to_owned();
                return Ok((Lsn::ZERO, Completion::Contrary(evidence)));
            }
            (
                Some(BranchState::Deviated {
                    at,
                    deviation,
                    evidence,
                }),
                decision,
            ) => {
                return Ok((Lsn(*at), deviation.completion(decision, evidence)));
            }
            (None, Decision::Commit) => {
                let evidence = "the journal holds neither the prepared branch nor a marker of it".to_owned();
                return Ok((Lsn::ZERO, Completion::Hazard(evidence)));
            }
        };
        let lsn = self.append(&record)?;
        if decision == Decision::Commit {
            failpoint::pass("after_commit_append");
        }
        self.state
            .fold(lsn.0, record)
            .expect("the table allows this record for this branch");
        Ok((lsn, Completion::Done))
    }

    /// Says what waited for records through `durable`.
    fn say(&mut self, durable: Lsn, outbox: &mut Outbox) {
        while let Some((lsn, _)) = self.waiting.front()
            && *lsn <= durable
            && let Some((_, answer)) = self.waiting.pop_front()
        {
            match answer {
                Answer::Vote(branch, vote) => {
                    failpoint::pass("after_prepare_sync");
                    outbox.vote(branch, &vote);
                }
                Answer::Ack(branch, decision, completion) => {
                    failpoint::pass(match decision {
                        Decision::Commit => "after_commit_sync",
                        Decision::Abort => "after_abort_sync",
                    });
                    outbox.ack(branch, decision, &completion);
                }
            }
        }
    }
}
