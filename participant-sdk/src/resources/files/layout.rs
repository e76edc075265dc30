//! What lies where below the root, and what the resource writes down of a branch.

use handfast_proto::ids::{BranchId, Epoch, LogId, TransactionId};
use serde::{Deserialize, Serialize};

use super::operation::Mode;
use crate::resource::{BranchKey, Refusal, SeenLog};

/// Everything of the resource's own is below this folder of the root.
pub(super) const OWN: &str = ".handfast";
/// Held by the one process that may write.
pub(super) const LOCK: &str = ".handfast/LOCK";
/// Which store this is.
pub(super) const STORE: &str = ".handfast/store";
/// The last commit. Replacing it is what commits.
pub(super) const CURRENT: &str = ".handfast/CURRENT";
/// The highest positions of coordinators' logs among branches that are forgotten.
pub(super) const SEEN: &str = ".handfast/seen";
/// One file a branch.
pub(super) const BRANCHES: &str = ".handfast/branches";
/// Contents that were promised and are not in place yet.
pub(super) const STAGED: &str = ".handfast/staged";
/// What a name ends with while its file is being written.
pub(super) const UNFINISHED: &str = ".new";
/// The version of all of this.
pub(super) const LAYOUT: u32 = 1;

/// Bytes of a path, and of each of its parts.
const PATH_BYTES: usize = 1_024;
const PART_BYTES: usize = 200;

/// Where a branch stands, told by how its file is named.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    Prepared,
    Committed,
    Aborted,
    /// Told to commit, and what was promised was gone: a hazard, until an operator has resolved it and it is forgotten.
    Lost,
}

impl Phase {
    const ALL: [(Phase, &str); 4] = [
        (Phase::Prepared, ".prepared"),
        (Phase::Committed, ".committed"),
        (Phase::Aborted, ".aborted"),
        (Phase::Lost, ".lost"),
    ];

    /// Whether contents may still be staged: promised, or left for whoever repairs a loss by hand.
    pub fn keeps_contents(self) -> bool {
        matches!(self, Phase::Prepared | Phase::Lost)
    }

    fn ending(self) -> &'static str {
        Phase::ALL
            .iter()
            .find(|(phase, _)| *phase == self)
            .map_or("", |(_, ending)| ending)
    }
}

/// What a branch's file says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    pub layout: u32,
    /// What the coordinator's log was when it asked.
    pub epoch: u32,
    pub lsn: u64,
    /// Empty for a fence.
    pub files: Vec<StagedFile>,
    /// What was found to be gone, of a branch that is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
}

/// A file that was promised.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StagedFile {
    pub path: String,
    /// Its name in [`STAGED`].
    pub staged: String,
    pub bytes: u64,
    /// Of its contents; promises of earlier builds have none. Readers have no use for it, so [`CURRENT`] does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crc32c: Option<u32>,
    pub mode: Mode,
}

/// What [`CURRENT`] says.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Current {
    pub layout: u32,
    /// Grows by one with each commit.
    pub sequence: u64,
    /// The name of the branch.
    pub branch: String,
    /// Read from its staged name as long as there is one, else from its path.
    pub files: Vec<StagedFile>,
}

/// What [`SEEN`] says of one log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct SeenLine {
    pub log: String,
    pub epoch: u32,
    pub lsn: u64,
}

impl SeenLine {
    pub fn of(seen: &SeenLog) -> Self {
        SeenLine {
            log: format!("{:032x}", seen.log.0),
            epoch: seen.epoch.0,
            lsn: seen.lsn,
        }
    }

    pub fn read(&self) -> Option<SeenLog> {
        Some(SeenLog {
            log: LogId(u128::from_str_radix(&self.log, 16).ok()?),
            epoch: Epoch(self.epoch),
            lsn: self.lsn,
        })
    }
}

/// The name of a branch.
pub(super) fn branch_name(branch: BranchKey) -> String {
    format!(
        "{:032x}_{:032x}_{:x}",
        branch.log.0,
        branch.transaction.as_u128(),
        branch.branch.0
    )
}

/// The file of a branch in this phase.
pub(super) fn branch_file(branch: BranchKey, phase: Phase) -> String {
    format!("{BRANCHES}/{}{}", branch_name(branch), phase.ending())
}

/// Back from the name of a branch's file.
pub(super) fn branch_of(file: &str) -> Option<(BranchKey, Phase)> {
    let (name, phase) = Phase::ALL
        .iter()
        .find_map(|(phase, ending)| Some((file.strip_suffix(ending)?, *phase)))?;
    let mut parts = name.split('_');
    let mut number = || u128::from_str_radix(parts.next()?, 16).ok();
    let key = BranchKey {
        log: LogId(number()?),
        transaction: TransactionId::from_u128(number()?).ok()?,
        branch: BranchId(u32::try_from(number()?).ok()?),
    };
    Some((key, phase))
}

/// Where the content of a branch's file number `n` waits.
pub(super) fn staged_name(branch: BranchKey, n: usize) -> String {
    format!("{}.{n}", branch_name(branch))
}

/// The folder of a path; the root is the empty text.
pub(super) fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Refuses what does not stay below the root by its text alone. Links are looked for where the path is used.
pub(super) fn check_path(path: &str) -> Result<(), Refusal> {
    let refuse = |why: &str| {
        let message = format!(
            "the path {:?} {why}; write a path below the root, such as 2026/invoice-4711.txt",
            path.chars().take(PATH_BYTES).collect::<String>()
        );
        Err(Refusal::permanent("PATH_NOT_ALLOWED", message))
    };
    if path.is_empty() || path.len() > PATH_BYTES {
        return refuse("is empty or too long");
    }
    if path.starts_with('/') {
        return refuse("is absolute");
    }
    if path.chars().any(char::is_control) || path.contains('\\') {
        return refuse("has control characters or a backslash");
    }
    for part in path.split('/') {
        match part {
            ".." => return refuse("leads upwards"),
            "" | "." => return refuse("has an empty part"),
            _ if part.len() > PART_BYTES => return refuse("has a part that is too long"),
            _ => {}
        }
    }
    if path.split('/').next() == Some(OWN) {
        return refuse("is where the resource keeps its own files");
    }
    Ok(())
}
