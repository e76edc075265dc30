//! Who owes an answer for too long: a resource that has not acknowledged a decision, or has not said how what was left to it
//! came out, for longer than [`Limits::overdue_after_ms`].
//!
//! ```text
//!   look(now) ── a survey is due ──► one step of it ──► more: at the next look
//!                                          └──► complete: alarms that are raised, repeated, or over
//! ```
//!
//! Ids sort by time, and nobody can owe for longer than a transaction has lived. So a survey walks the table from the
//! oldest id to the first that is too young: it reads nothing where nobody owes. A step looks at a bounded number of
//! branches, so that a million that are overdue hold up nobody.
//!
//! It changes nothing of the protocol, which is why it stands beside the coordinator and not in it.

use std::collections::BTreeMap;

use handfast_ids::{ResourceName, TransactionId};

use crate::branch::BranchState;
use crate::coordinator::Coordinator;
use crate::resources::ResourceIndex;
use crate::transaction::Transaction;
use crate::{Limits, Moment};

/// Branches that one step looks at; a transaction is never split.
const BRANCHES_PER_STEP: usize = 4096;

/// Surveys while the bound passes once: how much later than that an alarm may be raised.
const SURVEYS_PER_BOUND: u64 = 30;

/// The longest time between two surveys.
const SURVEY_PERIOD_MAX_MS: u64 = 10_000;

/// The longest time between two alarms for what lasts.
const REPEAT_MAX_MS: u64 = 6 * 3600 * 1000;

/// What a resource owes for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Overdue {
    /// So many transactions.
    pub transactions: usize,
    /// The one that is owed for longest.
    pub oldest: TransactionId,
    /// For so many milliseconds. What an earlier process decided counts from its beginning: the log does not say when it was
    /// decided.
    pub oldest_ms: u64,
}

/// What an operator must hear of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Alarm {
    /// A resource owes for too long.
    Raised {
        /// Which.
        resource: ResourceName,
        /// Whether it has a session now.
        connected: bool,
        /// What it owes.
        overdue: Overdue,
        /// How often this was told before, at growing distances.
        repeats: u32,
    },
    /// A resource for which an alarm was raised owes nothing for too long any more.
    Over {
        /// Which.
        resource: ResourceName,
        /// Milliseconds since the first alarm.
        lasted_ms: u64,
    },
}

/// Looks for what is overdue, a step at a time, and remembers for whom an alarm is raised.
#[derive(Clone, Debug)]
pub struct OverdueWatch {
    next_survey: Moment,
    survey: Option<Survey>,
    standing: BTreeMap<ResourceIndex, Standing>,
}

/// A survey that is not complete.
#[derive(Clone, Debug, Default)]
struct Survey {
    /// The last transaction that it has seen.
    after: Option<TransactionId>,
    found: BTreeMap<ResourceIndex, Found>,
}

#[derive(Clone, Copy, Debug)]
struct Found {
    overdue: Overdue,
    /// So that a transaction with many branches at one resource counts once.
    last: TransactionId,
}

/// An alarm that is raised.
#[derive(Clone, Debug)]
struct Standing {
    resource: ResourceName,
    overdue: Overdue,
    surveyed: Moment,
    raised: Moment,
    repeats: u32,
    repeat_at: Moment,
    distance_ms: u64,
}

impl OverdueWatch {
    /// The first survey comes after a while: after a start, participants have to dial in first.
    pub fn new(now: Moment, limits: &Limits) -> Self {
        OverdueWatch {
            next_survey: Moment(now.0.saturating_add(period_ms(limits))),
            survey: None,
            standing: BTreeMap::new(),
        }
    }

    /// Goes on with the survey that is under way, or begins one if it is time. Call it again and again; each call looks at a
    /// bounded number of branches.
    pub fn look(&mut self, now: Moment, core: &Coordinator) -> Vec<Alarm> {
        if self.survey.is_none() && now >= self.next_survey {
            self.survey = Some(Survey::default());
        }
        let Some(survey) = &mut self.survey else {
            return Vec::new();
        };
        if !survey.step(now, core) {
            return Vec::new();
        }
        let found = std::mem::take(&mut survey.found);
        self.survey = None;
        self.next_survey = Moment(now.0.saturating_add(period_ms(&core.limits)));
        self.compare(now, core, &found)
    }

    /// What is overdue by the last complete survey, by resource. Those that owe nothing for too long are not among them.
    pub fn overdue(&self, now: Moment) -> impl Iterator<Item = (&ResourceName, Overdue)> {
        self.standing.values().map(move |standing| {
            let since = now.0.saturating_sub(standing.surveyed.0);
            let overdue = Overdue {
                oldest_ms: standing.overdue.oldest_ms.saturating_add(since),
                ..standing.overdue
            };
            (&standing.resource, overdue)
        })
    }

    fn compare(
        &mut self,
        now: Moment,
        core: &Coordinator,
        found: &BTreeMap<ResourceIndex, Found>,
    ) -> Vec<Alarm> {
        let mut alarms = Vec::new();
        self.standing.retain(|index, standing| {
            let lasts = found.contains_key(index);
            if !lasts {
                alarms.push(Alarm::Over {
                    resource: standing.resource.clone(),
                    lasted_ms: now.0.saturating_sub(standing.raised.0),
                });
            }
            lasts
        });
        let bound_ms = core.limits.overdue_after_ms;
        for (&index, &Found { overdue, .. }) in found {
            let resource = core.resources.get(index);
            let standing = self.standing.entry(index).or_insert_with(|| Standing {
                resource: resource.name.clone(),
                overdue,
                surveyed: now,
                raised: now,
                repeats: 0,
                repeat_at: now,
                distance_ms: bound_ms,
            });
            (standing.overdue, standing.surveyed) = (overdue, now);
            if now < standing.repeat_at {
                continue;
            }
            alarms.push(Alarm::Raised {
                resource: resource.name.clone(),
                connected: resource.is_connected(),
                overdue,
                repeats: standing.repeats,
            });
            standing.repeats = standing.repeats.saturating_add(1);
            standing.repeat_at = Moment(now.0.saturating_add(standing.distance_ms));
            standing.distance_ms = standing
                .distance_ms
                .saturating_mul(2)
                .min(REPEAT_MAX_MS.max(bound_ms));
        }
        alarms
    }
}

impl Survey {
    /// Looks at the next ones; true if that was the last of them.
    fn step(&mut self, now: Moment, core: &Coordinator) -> bool {
        let wall_ms = core.mint.wall_ms(now);
        let mut looked_at = 0;
        for (transaction, entry) in core.table.after(self.after) {
            let age_ms = wall_ms.saturating_sub(transaction.milliseconds());
            if age_ms < core.limits.overdue_after_ms {
                return true;
            }
            if looked_at >= BRANCHES_PER_STEP {
                return false;
            }
            looked_at += entry.branches.len().max(1);
            self.after = Some(transaction);
            self.count(
                transaction,
                entry,
                entry.owed_since.ms_until(now).unwrap_or(age_ms),
                core,
            );
        }
        true
    }

    fn count(&mut self, transaction: TransactionId, entry: &Transaction, owed_ms: u64, core: &Coordinator) {
        // What is not durable is told to nobody, and so nobody owes it.
        let told = entry
            .state
            .told_after()
            .is_none_or(|lsn| lsn <= core.cursors.durable);
        if !told || owed_ms < core.limits.overdue_after_ms {
            return;
        }
        let owing = entry
            .branches
            .iter()
            .filter(|branch| matches!(branch.state, BranchState::Delivering(_) | BranchState::Asked));
        for branch in owing {
            let first = Found {
                overdue: Overdue {
                    transactions: 1,
                    oldest: transaction,
                    oldest_ms: owed_ms,
                },
                last: transaction,
            };
            let found = self.found.entry(branch.resource).or_insert(first);
            if found.last == transaction {
                continue;
            }
            found.last = transaction;
            found.overdue.transactions += 1;
            if owed_ms > found.overdue.oldest_ms {
                (found.overdue.oldest, found.overdue.oldest_ms) = (transaction, owed_ms);
            }
        }
    }
}

fn period_ms(limits: &Limits) -> u64 {
    (limits.overdue_after_ms / SURVEYS_PER_BOUND).clamp(1, SURVEY_PERIOD_MAX_MS)
}

#[cfg(test)]
mod tests;
