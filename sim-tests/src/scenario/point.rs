//! Protocol points: moments that a scenario names, as the simulator can see them from outside.
//!
//! ```text
//!   vote-prepared p1 t0 #2      the second time that p1 votes yes in transaction 0
//!   synced-decided c0           the decision is durable, and the process has not learned it yet
//!   writes-record p0 #*         every time that p0 is about to write to its journal
//! ```
//!
//! Messages are seen at the participant's end of the wire, before anything is done to them. What goes to a disk is seen
//! just before it is written, once it is written and not synced, and once it is synced and the process waits to hear so.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use crate::trace::Node;

macro_rules! steps {
    ($($(#[doc = $doc:literal])* $name:ident = $word:literal,)*) => {
        /// What happens at a point.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Step { $($(#[doc = $doc])* $name,)*
            /// Something goes to a disk.
            Disk(Moment, Matter),
        }

        impl Step {
            /// As it is written, except for disks.
            const WORDS: &[(&str, Step)] = &[$(($word, Step::$name),)*];
        }
    };
}

steps! {
    /// A process begins.
    Starts = "starts",
    /// A coordinator serves.
    Serves = "serves",
    /// A process ends by itself.
    Ends = "ends",
    /// A participant says hello.
    Hello = "hello",
    /// It is welcome.
    Welcome = "welcome",
    /// It joins a transaction.
    Enlist = "enlist",
    /// It has joined.
    Enlisted = "enlisted",
    /// It may not join.
    EnlistRefused = "enlist-refused",
    /// It is asked to prepare.
    Prepare = "prepare",
    /// It votes yes.
    VotePrepared = "vote-prepared",
    /// It has changed nothing.
    VoteReadOnly = "vote-read-only",
    /// It has committed at once.
    VoteCommitted = "vote-committed",
    /// It votes no.
    VoteRefused = "vote-refused",
    /// It is told to commit.
    Commit = "commit",
    /// It is told to abort.
    Abort = "abort",
    /// It is asked how a delegated branch came out.
    Resolve = "resolve",
    /// It has done as it was told.
    AckDone = "ack-done",
    /// It cannot tell what became of the branch.
    AckHazard = "ack-hazard",
    /// The branch ended the other way.
    AckContrary = "ack-contrary",
    /// A scan shows a branch as prepared.
    InDoubtPrepared = "in-doubt-prepared",
    /// A scan shows work that still runs.
    InDoubtPreparing = "in-doubt-preparing",
    /// A scan shows a marker.
    InDoubtMarker = "in-doubt-marker",
    /// A scan shows the marker of a commit.
    InDoubtCommitted = "in-doubt-committed",
    /// A scan is complete.
    ScanComplete = "scan-complete",
    /// A scan is answered: not decided.
    AnswerWait = "answer-wait",
    /// A scan is answered: ended.
    AnswerFinished = "answer-finished",
    /// A scan is answered: forgotten.
    AnswerForgotten = "answer-forgotten",
    /// A scan is answered: somebody else's.
    AnswerNotMine = "answer-not-mine",
    /// It may let go of its marker.
    Forget = "forget",
    /// Either side says goodbye.
    Goodbye = "goodbye",
    /// A session is over at the participant's end.
    SessionOver = "session-over",
    /// A client begins with a transaction.
    Begun = "begun",
    /// An interactive transaction has an id.
    Opened = "opened",
    /// A client is told that all of it happens.
    ToldCommitted = "told-committed",
    /// A client is told that nothing of it happens.
    ToldAborted = "told-aborted",
    /// A client is told that nobody can tell.
    ToldUnknown = "told-unknown",
    /// A client is told that a participant deviates.
    ToldHeuristic = "told-heuristic",
    /// A client is told that nothing was executed.
    ToldRejected = "told-rejected",
    /// Whoever looks is shown a decision to commit.
    ReadCommitted = "read-committed",
    /// Whoever looks is shown a decision to abort.
    ReadAborted = "read-aborted",
    /// A client calls a coordinator.
    Call = "call",
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident: $($(#[doc = $variant:literal])* $word:ident = $text:literal,)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum $name { $($(#[doc = $variant])* $word,)* }

        impl $name {
            const WORDS: &[(&str, $name)] = &[$(($text, $name::$word),)*];

            /// As it is written.
            pub fn word(self) -> &'static str {
                match self { $($name::$word => $text,)* }
            }
        }
    };
}

words! {
    /// When, in the life of what goes to a disk.
    Moment:
    /// Just before it is written.
    Writes = "writes",
    /// Written, not synced.
    Wrote = "wrote",
    /// Synced; the process does not know it yet.
    Synced = "synced",
    /// Renamed; the directory is not synced.
    Renamed = "renamed",
    /// Removed; the directory is not synced.
    Removed = "removed",
}

words! {
    /// What goes to a disk.
    Matter:
    /// Records of any kind: all that can be said of a participant's journal.
    Record = "record",
    /// The beginning of an epoch.
    Epoch = "epoch",
    /// A resource's identity.
    Resource = "resource",
    /// Sealed branches.
    Registered = "registered",
    /// A branch that is left to its participant.
    Delegated = "delegated",
    /// A decision.
    Decided = "decided",
    /// A deviation.
    Deviated = "deviated",
    /// The end of a transaction.
    Ended = "ended",
    /// The forget-horizon.
    Horizon = "horizon",
    /// A checkpoint.
    Checkpoint = "checkpoint",
    /// A segment: its seal, its header, its name.
    Segment = "segment",
    /// Zeros over a torn tail.
    Cut = "cut",
    /// The next segment, while it is made: its name if it is made of an old one, and its zeros.
    Spare = "spare",
}

/// A point that a scenario names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Point {
    /// What happens.
    pub step: Step,
    /// To whom; anybody if it is not said.
    pub node: Option<Node>,
    /// In which transaction; any if it is not said.
    pub transaction: Option<u32>,
    /// Which time; every time for `None`.
    pub nth: Option<u32>,
}

/// Something that happened, as points name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Occurrence {
    /// What.
    pub step: Step,
    /// To whom.
    pub node: Option<Node>,
    /// In which transaction.
    pub transaction: Option<u32>,
}

impl Point {
    /// Whether this is what happened, whichever time.
    pub fn is(&self, occurrence: &Occurrence) -> bool {
        self.step == occurrence.step
            && (self.node.is_none() || self.node == occurrence.node)
            && (self.transaction.is_none() || self.transaction == occurrence.transaction)
    }
}

impl Step {
    /// Whether it can be seen there.
    pub fn is_at(self, node: Node) -> bool {
        match node {
            Node::Coordinator(_) => matches!(self, Step::Starts | Step::Serves | Step::Ends | Step::Disk(..)),
            Node::Client(_) => matches!(self, Step::Starts) || self.is_a_clients(),
            Node::Participant(_) => !matches!(self, Step::Serves | Step::Call) && !self.is_a_clients(),
        }
    }

    /// Where it can be seen, in words.
    pub fn whose(self) -> &'static str {
        match self {
            Step::Call => "no node; leave it out",
            Step::Serves => "coordinators",
            Step::Starts => "processes of any kind",
            Step::Ends | Step::Disk(..) => "coordinators and participants",
            step if step.is_a_clients() => "clients",
            _ => "participants",
        }
    }

    /// Whether one can tell of which transaction it is.
    pub fn has_transaction(self) -> bool {
        !matches!(
            self,
            Step::Starts
                | Step::Serves
                | Step::Ends
                | Step::Hello
                | Step::Welcome
                | Step::ScanComplete
                | Step::Goodbye
                | Step::SessionOver
                | Step::Call
                | Step::Disk(..)
        )
    }

    fn is_a_clients(self) -> bool {
        matches!(
            self,
            Step::Begun
                | Step::Opened
                | Step::ToldCommitted
                | Step::ToldAborted
                | Step::ToldUnknown
                | Step::ToldHeuristic
                | Step::ToldRejected
                | Step::ReadCommitted
                | Step::ReadAborted
        )
    }
}

impl FromStr for Step {
    type Err = String;

    fn from_str(word: &str) -> Result<Step, String> {
        let on_disk = || {
            let (moment, matter) = word.split_once('-')?;
            let moment = find(Moment::WORDS, moment)?;
            Some(Step::Disk(moment, find(Matter::WORDS, matter)?))
        };
        find(Step::WORDS, word).or_else(on_disk).ok_or_else(|| {
            format!(
                "`{word}` is no protocol point; there are {}, and for disks {} with -{}",
                all(Step::WORDS),
                all(Moment::WORDS),
                all(Matter::WORDS)
            )
        })
    }
}

impl TryFrom<String> for Point {
    type Error = String;

    fn try_from(text: String) -> Result<Point, String> {
        let mut words = text.split_whitespace();
        let step = words.next().ok_or("a protocol point has a name")?.parse()?;
        let mut point = Point {
            step,
            node: None,
            transaction: None,
            nth: Some(1),
        };
        for word in words {
            let number = || word[1..].parse().ok();
            match word.as_bytes()[0] {
                b'#' if word == "#*" => point.nth = None,
                b'#' if number().is_some_and(|nth| nth > 0) => point.nth = number(),
                b't' if number().is_some() => point.transaction = number(),
                _ => point.node = Some(parse_node(word).map_err(|_| {
                    format!(
                        "`{word}` is neither a node (c0, p1, a2) nor a transaction (t0) nor a count (#2, #*)"
                    )
                })?),
            }
        }
        Ok(point)
    }
}

/// A node by its name in reports.
pub fn parse_node(word: &str) -> Result<Node, String> {
    let number = word.get(1..).and_then(|number| number.parse().ok());
    match (word.as_bytes().first(), number) {
        (Some(b'c'), Some(number)) => Ok(Node::Coordinator(number)),
        (Some(b'p'), Some(number)) => Ok(Node::Participant(number)),
        (Some(b'a'), Some(number)) => Ok(Node::Client(number)),
        _ => Err(format!(
            "`{word}` is no node; coordinators are c0, c1 …, participants p0, p1 …, clients a0, a1 …"
        )),
    }
}

fn find<T: Copy>(words: &[(&str, T)], word: &str) -> Option<T> {
    words
        .iter()
        .find(|(text, _)| *text == word)
        .map(|(_, found)| *found)
}

fn all<T>(words: &[(&str, T)]) -> String {
    let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    words.join(", ")
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Disk(moment, matter) => write!(f, "{}-{}", moment.word(), matter.word()),
            step => {
                let word = Step::WORDS.iter().find(|(_, known)| known == step);
                f.write_str(word.map_or("?", |(word, _)| word))
            }
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.step.fmt(f)?;
        if let Some(node) = self.node {
            write!(f, " {node}")?;
        }
        if let Some(transaction) = self.transaction {
            write!(f, " t{transaction}")?;
        }
        match self.nth {
            Some(1) => Ok(()),
            Some(nth) => write!(f, " #{nth}"),
            None => f.write_str(" #*"),
        }
    }
}
