//! What a scenario does, and when.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use super::ClusterOf;
use super::point::{Point, parse_node};
use crate::disk::Kept;
use crate::trace::Node;

/// A fault: one thing that is done at one moment.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptedFault {
    /// At which protocol point.
    pub at: Option<Point>,
    /// Or at which virtual time, in milliseconds.
    pub at_ms: Option<u64>,
    /// Milliseconds that pass between the point and the fault.
    #[serde(default)]
    pub later_ms: u64,
    /// What is done.
    #[serde(rename = "do")]
    pub action: Action,
    /// To whom. Frames and calls are the ones that the point names.
    #[serde(default, deserialize_with = "node")]
    pub node: Option<Node>,
    /// For how long, in milliseconds, where it lasts: until a restart, a repair, an arrival.
    #[serde(default = "half_a_second")]
    pub for_ms: u64,
    /// Or until all of these points have come, counted from the beginning of the run.
    #[serde(default)]
    pub until: Vec<Point>,
    /// By how many milliseconds a clock jumps: ahead, or back if it is negative.
    pub by_ms: Option<i64>,
    /// What a power loss leaves of what was not synced, or what a failing write or sync has done all the same.
    pub keep: Option<Keep>,
    /// Whether the point need not come.
    #[serde(default)]
    pub optional: bool,
    /// How many more like it there are, each at and to the next node, and later by `step_ms`.
    #[serde(default)]
    pub repeated: u8,
    /// See `repeated`.
    #[serde(default)]
    pub step_ms: u64,
}

/// What is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// The process dies; it is started again.
    Kill,
    /// The machine loses power; it is started again.
    PowerLoss,
    /// The process stands still.
    Pause,
    /// The process is asked to shut down.
    Drain,
    /// The wall clock of the coordinator's machine jumps, `by_ms`. A process that runs reads it no more; the next one does.
    ClockJumps,
    /// The standby takes up the log while the coordinator's process stands still; that one goes on later.
    TakeOver,
    /// A second process is started on the same directory.
    SecondProcess,
    /// The frame is lost.
    Drop,
    /// The frame, and all behind it, takes longer.
    Delay,
    /// The frame takes longer, and those behind it overtake it.
    Overtake,
    /// The frame arrives twice.
    Duplicate,
    /// Another instance of the resource votes yes, with its next frame, for the branches that the frame asks for.
    StrayVote,
    /// Nothing gets through to or from the participant, or for calls of the client, and nobody is told.
    Cut,
    /// Nothing gets through to the coordinator.
    CutOut,
    /// Nothing gets through from the coordinator.
    CutIn,
    /// The request is lost.
    LoseRequest,
    /// The answer is lost.
    LoseAnswer,
    /// The request arrives twice.
    DoubleRequest,
    /// The next sync fails. It may have done its work all the same: `keep = "everything"`.
    SyncFails,
    /// The next write fails half-way, or as `keep` says.
    WriteFails,
    /// The disk takes nothing more.
    DiskFull,
    /// The disk does nothing.
    DiskStalls,
    /// The machine goes off, a bit of its oldest segment changes, it is started; the bit is repaired later.
    FlipBit,
    /// A copy is made of the disk.
    Backup,
    /// The machine goes off, gets the copy back, and is started; what was there is put back later.
    Restore,
    /// The machine goes off and is started with an empty disk; what was there is put back later.
    Empty,
    /// The store loses what it has prepared, as a failover does.
    LosePrepared,
    /// Somebody rolls back by hand what the store has prepared.
    RollBackByHand,
    /// Somebody commits by hand what the store has prepared.
    CommitByHand,
    /// The store shows as prepared again what it has committed, as a restored one does.
    Resurrect,
    /// The store holds a prepared branch that no coordinator knows.
    ForeignBranch,
    /// That branch is gone.
    DropForeign,
    /// The store has no room for further promises.
    NoSlots,
    /// Scans of the store fail.
    ScanFails,
    /// Another store answers behind the name.
    OtherStore,
    /// The store is an older life of itself.
    OlderLife,
}

/// What a power loss leaves of what was not synced, or what a failing write or sync has done all the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// Nothing.
    Nothing,
    /// All of it.
    Everything,
    /// Every other sector and name.
    Some,
    /// What became of old segments, and nothing else.
    Removals,
}

/// Whose matter a fault is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Whom {
    Anybody,
    Coordinator,
    ParticipantOrClient,
    /// A process that keeps a log on its disk.
    Disk,
    Database,
}

impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Whom::Anybody => "a node",
            Whom::Coordinator => "a coordinator (c0 …)",
            Whom::ParticipantOrClient => "a participant (p0 …) or a client (a0 …)",
            Whom::Disk => "a process that keeps a log: a coordinator (c0 …) or a ledger, the first participants of [cluster]",
            Whom::Database => "a database: a participant behind the ledgers of [cluster]",
        })
    }
}

impl Action {
    /// Whether it is done to the frame at hand.
    pub fn is_of_a_frame(self) -> bool {
        matches!(
            self,
            Action::Drop | Action::Delay | Action::Overtake | Action::Duplicate | Action::StrayVote
        )
    }

    /// To whom it can be done. Otherwise it would silently do nothing.
    pub(super) fn concerns(self, cluster: &ClusterOf, node: Node) -> bool {
        let is_database = |number: u8| number >= cluster.ledgers;
        match (self.whom(), node) {
            (Whom::Anybody, _) => true,
            (Whom::Coordinator, Node::Coordinator(_))
            | (Whom::ParticipantOrClient, Node::Participant(_) | Node::Client(_))
            | (Whom::Disk, Node::Coordinator(_)) => true,
            (Whom::Disk, Node::Participant(number)) => !is_database(number),
            (Whom::Database, Node::Participant(number)) => is_database(number),
            _ => false,
        }
    }

    /// Whose matter it is.
    pub(super) fn whom(self) -> Whom {
        match self {
            Action::Drain | Action::ClockJumps | Action::TakeOver | Action::SecondProcess => {
                Whom::Coordinator
            }
            Action::Cut | Action::CutOut | Action::CutIn => Whom::ParticipantOrClient,
            Action::SyncFails
            | Action::WriteFails
            | Action::DiskFull
            | Action::DiskStalls
            | Action::FlipBit
            | Action::Backup
            | Action::Restore
            | Action::Empty => Whom::Disk,
            Action::LosePrepared
            | Action::RollBackByHand
            | Action::CommitByHand
            | Action::Resurrect
            | Action::ForeignBranch
            | Action::DropForeign
            | Action::NoSlots
            | Action::ScanFails
            | Action::OtherStore
            | Action::OlderLife => Whom::Database,
            _ => Whom::Anybody,
        }
    }

    /// Whether it can last until a point comes.
    pub fn may_wait(self) -> bool {
        matches!(
            self,
            Action::Kill | Action::PowerLoss | Action::Pause | Action::TakeOver
        )
    }

    /// Whether it is done to the call at hand.
    pub fn is_of_a_call(self) -> bool {
        matches!(
            self,
            Action::LoseRequest | Action::LoseAnswer | Action::DoubleRequest
        )
    }
}

impl ScriptedFault {
    /// It, and all like it.
    pub(super) fn all(&self) -> impl Iterator<Item = ScriptedFault> {
        (0..=self.repeated).map(|number| {
            let mut fault = self.clone();
            fault.later_ms += self.step_ms * u64::from(number);
            fault.node = self.node.map(|node| node.plus(number));
            if let Some(point) = &mut fault.at {
                point.node = point.node.map(|node| node.plus(number));
            }
            fault
        })
    }

    /// For how long.
    pub fn duration(&self) -> Duration {
        Duration::from_millis(self.for_ms)
    }

    /// What is left, or done all the same.
    pub fn kept(&self) -> Kept {
        match self.keep {
            None => Kept::ByChance,
            Some(Keep::Nothing) => Kept::Nothing,
            Some(Keep::Everything) => Kept::Everything,
            Some(Keep::Some) => Kept::EveryOther,
            Some(Keep::Removals) => Kept::Removals,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = format!("{self:?}");
        for (at, letter) in name.char_indices() {
            if letter.is_uppercase() && at > 0 {
                f.write_str(" ")?;
            }
            write!(f, "{}", letter.to_ascii_lowercase())?;
        }
        Ok(())
    }
}

fn half_a_second() -> u64 {
    500
}

fn node<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Node>, D::Error> {
    let word = String::deserialize(deserializer)?;
    parse_node(&word).map(Some).map_err(serde::de::Error::custom)
}
