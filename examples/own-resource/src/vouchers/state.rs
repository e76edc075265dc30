//! What the vouchers are worth, what is promised of them, who has drawn from them; and all of it as text.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::str::FromStr;

use handfast_participant::ids::{BranchId, Epoch, LogId, StoreId, TransactionId};
use handfast_participant::{BranchKey, Completion, Decision, Refusal, SeenLog};

/// What each voucher is worth at the beginning.
const WORTH: u64 = 100;

/// An operation: `VOUCHER AMOUNT REFERENCE`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Draw {
    /// Which voucher.
    pub voucher: u64,
    /// How much is taken from it.
    pub amount: u64,
    /// For what, without spaces.
    pub reference: String,
}

/// How far a branch is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Its amount is set aside.
    Promised(Draw),
    /// Its amount is taken. The marker.
    Committed(Draw),
    /// It must never be promised any more. The fence.
    Aborted,
}

/// Everything that the service knows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct State {
    /// Made once.
    pub store: Option<StoreId>,
    /// What was seen of coordinators' logs.
    pub seen: Vec<SeenLog>,
    /// Branches that the coordinator may still ask for.
    pub branches: BTreeMap<BranchKey, Phase>,
    /// What was drawn, in order.
    pub drawn: Vec<Draw>,
}

impl Draw {
    /// From an operation; `None` if it is none.
    pub fn parse(operation: &[u8]) -> Option<Draw> {
        str::from_utf8(operation).ok()?.parse().ok()
    }
}

impl FromStr for Draw {
    type Err = ();

    fn from_str(text: &str) -> Result<Draw, ()> {
        let words: Vec<&str> = text.split(' ').collect();
        match words.as_slice() {
            [voucher, amount, reference] if !reference.is_empty() => Ok(Draw {
                voucher: voucher.parse().map_err(drop)?,
                amount: amount.parse().map_err(drop)?,
                reference: (*reference).to_owned(),
            }),
            _ => Err(()),
        }
    }
}

impl fmt::Display for Draw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.voucher, self.amount, self.reference)
    }
}

impl State {
    /// What is left of a voucher when everything that is promised is drawn.
    pub fn free(&self, voucher: u64) -> u64 {
        let promised = self.branches.values().filter_map(|phase| match phase {
            Phase::Promised(draw) => Some(draw),
            Phase::Committed(_) | Phase::Aborted => None,
        });
        let taken = self.drawn.iter().chain(promised);
        let taken: u64 = taken
            .filter(|draw| draw.voucher == voucher)
            .map(|draw| draw.amount)
            .sum();
        WORTH.saturating_sub(taken)
    }

    /// Sets the amount aside. A promise that stands is given again.
    pub fn promise(&mut self, branch: BranchKey, draw: Draw, seen: SeenLog) -> Result<(), Refusal> {
        match self.branches.get(&branch) {
            Some(Phase::Promised(_)) => return Ok(()),
            Some(Phase::Committed(_) | Phase::Aborted) => {
                return Err(Refusal::permanent("FENCED", "the branch was decided already"));
            }
            None => {}
        }
        let free = self.free(draw.voucher);
        if draw.amount > free {
            let words = format!("voucher {} is worth {free}", draw.voucher);
            return Err(Refusal::retryable("WORTH_LESS", words));
        }
        match self.seen.iter_mut().find(|known| known.log == seen.log) {
            Some(known) => {
                known.epoch = known.epoch.max(seen.epoch);
                known.lsn = known.lsn.max(seen.lsn);
            }
            None => self.seen.push(seen),
        }
        self.branches.insert(branch, Phase::Promised(draw));
        Ok(())
    }

    /// Carries out a decision. Repeated, it changes nothing.
    pub fn finish(&mut self, branch: BranchKey, decision: Decision) -> Completion {
        match (self.branches.get(&branch).cloned(), decision) {
            (Some(Phase::Promised(draw)), Decision::Commit) => {
                self.drawn.push(draw.clone());
                self.branches.insert(branch, Phase::Committed(draw));
                Completion::Done
            }
            (Some(Phase::Promised(_)) | None, Decision::Abort) => {
                self.branches.insert(branch, Phase::Aborted);
                Completion::Done
            }
            (Some(Phase::Committed(_)), Decision::Commit) | (Some(Phase::Aborted), Decision::Abort) => {
                Completion::Done
            }
            (Some(Phase::Committed(_)), Decision::Abort) => {
                Completion::Contrary("the marker says committed".to_owned())
            }
            (Some(Phase::Aborted), Decision::Commit) => {
                Completion::Contrary("the fence says aborted".to_owned())
            }
            (None, Decision::Commit) => Completion::Hazard("neither promised nor marked".to_owned()),
        }
    }

    /// The mistake: what was committed already is drawn once more.
    pub(super) fn repeat(&mut self, branch: BranchKey) {
        if let Some(Phase::Committed(draw)) = self.branches.get(&branch) {
            self.drawn.push(draw.clone());
        }
    }

    /// As it stands in the file.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let mut line = |words: fmt::Arguments<'_>| {
            let _ = writeln!(text, "{words}");
        };
        if let Some(store) = self.store {
            line(format_args!("store {}", store.0));
        }
        for SeenLog { log, epoch, lsn } in &self.seen {
            line(format_args!("seen {} {} {lsn}", log.0, epoch.0));
        }
        for (branch, phase) in &self.branches {
            let BranchKey {
                log,
                transaction,
                branch,
            } = branch;
            let name = format!("{} {transaction} {}", log.0, branch.0);
            match phase {
                Phase::Promised(draw) => line(format_args!("promised {name} {draw}")),
                Phase::Committed(draw) => line(format_args!("committed {name} {draw}")),
                Phase::Aborted => line(format_args!("aborted {name}")),
            }
        }
        for draw in &self.drawn {
            line(format_args!("drawn {draw}"));
        }
        line(format_args!("end"));
        text
    }

    /// From a file; `None` if it is damaged.
    pub fn from_text(text: &[u8]) -> Option<State> {
        let mut state = State::default();
        for line in str::from_utf8(text).ok()?.lines() {
            let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
            match kind {
                "store" => state.store = Some(StoreId(rest.parse().ok()?)),
                "seen" => state.seen.push(seen(rest)?),
                "promised" | "committed" | "aborted" => {
                    let mut words = rest.splitn(4, ' ');
                    let branch = BranchKey {
                        log: LogId(words.next()?.parse().ok()?),
                        transaction: words.next()?.parse::<TransactionId>().ok()?,
                        branch: BranchId(words.next()?.parse().ok()?),
                    };
                    let draw = words.next().and_then(|words| words.parse().ok());
                    let phase = match kind {
                        "promised" => Phase::Promised(draw?),
                        "committed" => Phase::Committed(draw?),
                        _ => Phase::Aborted,
                    };
                    state.branches.insert(branch, phase);
                }
                "drawn" => state.drawn.push(rest.parse().ok()?),
                "end" => return Some(state),
                _ => return None,
            }
        }
        None
    }
}

fn seen(words: &str) -> Option<SeenLog> {
    let mut words = words.split(' ');
    Some(SeenLog {
        log: LogId(words.next()?.parse().ok()?),
        epoch: Epoch(words.next()?.parse().ok()?),
        lsn: words.next()?.parse().ok()?,
    })
}
