//! One text file: a line for each thing that happened, appended and synced.
//!
//! ```text
//!   store ID                    seen LOG EPOCH LSN
//!   prepared BRANCH OPERATION   committed BRANCH      aborted BRANCH      forgotten BRANCH
//!   applied OPERATION           an effect
//! ```

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use handfast_proto::v1::{AckKind, DecisionKind};

use crate::Defect;

/// The log in hex, the transaction in hex, the branch.
pub type Branch = (String, String, u32);

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    Prepared(String),
    Committed(String),
    Aborted,
}

pub struct Store {
    file: File,
    defect: Defect,
    pub id: [u8; 16],
    pub branches: BTreeMap<Branch, State>,
    pub seen: BTreeMap<String, (u32, u64)>,
    /// Lines that a participant with a defect writes too late.
    late: String,
}

impl Store {
    pub fn open(path: &Path, defect: Defect) -> Store {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        let mut store = Store {
            file,
            defect,
            id: random_16(),
            branches: BTreeMap::new(),
            seen: BTreeMap::new(),
            late: String::new(),
        };
        for line in text.lines() {
            store.fold(line);
        }
        store.write(&format!("store {}\n", hex(&store.id)));
        store
    }

    /// Checks and promises. An operation is `N` or `read`; `no` is refused.
    pub fn prepare(
        &mut self,
        branch: Branch,
        operation: &[u8],
        seen: (u32, u64),
    ) -> Result<Vote, &'static str> {
        match self.branches.get(&branch) {
            Some(State::Prepared(_)) => return Ok(Vote::Prepared),
            Some(_) => return Err("FENCED"),
            None => {}
        }
        let Checked::Change(operation) = check(operation)? else {
            return Ok(Vote::ReadOnly);
        };
        let (epoch, lsn) = seen;
        let lines = format!(
            "seen {} {epoch} {lsn}\nprepared {} {operation}\n",
            branch.0,
            name(&branch)
        );
        lines.lines().for_each(|line| self.fold(line));
        match self.defect {
            Defect::VotesBeforeDurable => self.late.push_str(&lines),
            _ => self.write(&lines),
        }
        Ok(Vote::Prepared)
    }

    /// Checks, applies and marks in one step what is left to it.
    pub fn prepare_and_commit(
        &mut self,
        branch: Branch,
        operation: &[u8],
        (epoch, lsn): (u32, u64),
    ) -> Result<Vote, &'static str> {
        match self.branches.get(&branch) {
            Some(State::Prepared(_)) => return Ok(Vote::Prepared),
            Some(State::Committed(_)) => return Ok(Vote::Committed),
            Some(State::Aborted) => return Err("FENCED"),
            None => {}
        }
        let Checked::Change(operation) = check(operation)? else {
            return Ok(Vote::ReadOnly);
        };
        let lines = format!(
            "seen {} {epoch} {lsn}\ncommitted {} {operation}\napplied {operation}\n",
            branch.0,
            name(&branch)
        );
        lines.lines().for_each(|line| self.fold(line));
        match self.defect {
            Defect::CommitsBeforeDurable => self.late.push_str(&lines),
            _ => self.write(&lines),
        }
        Ok(Vote::Committed)
    }

    /// How a branch came out: a marker proves a commit, and all else is to be aborted.
    pub fn found(&self, branch: &Branch) -> DecisionKind {
        match self.branches.get(branch) {
            Some(State::Committed(_)) if self.defect != Defect::AlwaysSaysAbort => DecisionKind::Commit,
            _ => DecisionKind::Abort,
        }
    }

    pub fn commit(&mut self, branch: Branch) -> AckKind {
        let (operation, is_repeated) = match self.branches.get(&branch) {
            Some(State::Prepared(operation)) => (operation.clone(), false),
            Some(State::Committed(operation)) => (operation.clone(), true),
            Some(State::Aborted) => return AckKind::Contrary,
            None if self.defect == Defect::AbsenceIsDone => return AckKind::Done,
            None => return AckKind::Hazard,
        };
        if is_repeated && self.defect != Defect::AppliesTwice {
            return AckKind::Done;
        }
        let lines = format!("committed {} {operation}\napplied {operation}\n", name(&branch));
        self.branches.insert(branch, State::Committed(operation));
        match self.defect {
            Defect::AcknowledgesBeforeDurable => self.late.push_str(&lines),
            _ => self.write(&lines),
        }
        AckKind::Done
    }

    pub fn abort(&mut self, branch: Branch) -> AckKind {
        match self.branches.get(&branch) {
            Some(State::Committed(_)) => return AckKind::Contrary,
            Some(State::Aborted) => return AckKind::Done,
            None if self.defect == Defect::DoesNotFence => return AckKind::Done,
            Some(State::Prepared(_)) | None => {}
        }
        self.write(&format!("aborted {}\n", name(&branch)));
        self.branches.insert(branch, State::Aborted);
        AckKind::Done
    }

    pub fn forget(&mut self, branch: &Branch) {
        if matches!(
            self.branches.get(branch),
            Some(State::Committed(_) | State::Aborted)
        ) {
            self.drop_branch(branch);
        }
    }

    /// Takes a branch away, whatever it is.
    pub fn drop_branch(&mut self, branch: &Branch) {
        self.branches.remove(branch);
        self.write(&format!("forgotten {}\n", name(branch)));
    }

    pub fn abort_everything(&mut self) {
        let is_prepared = |(_, state): &(&Branch, &State)| matches!(state, State::Prepared(_));
        let prepared: Vec<Branch> = self
            .branches
            .iter()
            .filter(is_prepared)
            .map(|(branch, _)| branch.clone())
            .collect();
        for branch in prepared {
            self.abort(branch);
        }
    }

    /// What should have been written before it was said.
    pub fn write_late_lines(&mut self) {
        let late = std::mem::take(&mut self.late);
        self.write(&late);
    }

    fn write(&mut self, lines: &str) {
        // One call, so that kill -9 leaves all of it or nothing.
        self.file.write_all(lines.as_bytes()).unwrap();
        self.file.sync_all().unwrap();
    }

    fn fold(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["store", id] => self.id.copy_from_slice(&unhex(id)),
            ["seen", log, epoch, lsn] => {
                let seen = self.seen.entry((*log).to_owned()).or_default();
                *seen = (*seen).max((epoch.parse().unwrap(), lsn.parse().unwrap()));
            }
            ["prepared", log, transaction, number, operation] => {
                let branch = read_branch(log, transaction, number);
                self.branches
                    .insert(branch, State::Prepared((*operation).to_owned()));
            }
            ["committed", log, transaction, number, operation] => {
                let branch = read_branch(log, transaction, number);
                self.branches
                    .insert(branch, State::Committed((*operation).to_owned()));
            }
            ["aborted", log, transaction, number] => {
                self.branches
                    .insert(read_branch(log, transaction, number), State::Aborted);
            }
            ["forgotten", log, transaction, number] => {
                self.branches.remove(&read_branch(log, transaction, number));
            }
            _ => assert_eq!(words[0], "applied", "{line}"),
        }
    }
}

enum Checked {
    Change(String),
    Nothing,
}

fn check(operation: &[u8]) -> Result<Checked, &'static str> {
    let operation = String::from_utf8_lossy(operation).into_owned();
    match operation.as_str() {
        "read" => Ok(Checked::Nothing),
        number if number.parse::<u64>().is_ok() => Ok(Checked::Change(operation)),
        _ => Err("BAD_OPERATION"),
    }
}

pub enum Vote {
    Prepared,
    Committed,
    ReadOnly,
}

fn name((log, transaction, number): &Branch) -> String {
    format!("{log} {transaction} {number}")
}

fn read_branch(log: &str, transaction: &str, number: &str) -> Branch {
    (log.to_owned(), transaction.to_owned(), number.parse().unwrap())
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
        .collect()
}

#[allow(clippy::disallowed_methods, reason = "a real process makes real ids")]
pub fn random_16() -> [u8; 16] {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}
