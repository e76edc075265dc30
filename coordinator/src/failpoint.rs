//! Named points at which a test makes the process die: `HANDFAST_FAILPOINT=name[:n]` aborts at the n-th passing.
//!
//! Unset, a point costs one load. What must never live here: anything but dying.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::runtime;

/// The environment variable that arms a point.
pub const VARIABLE: &str = "HANDFAST_FAILPOINT";

/// How long bytes that were handed to the transport get to leave, where a point promises that they were sent.
const LINGER: Duration = Duration::from_millis(150);

macro_rules! points {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// A point in the life of a transaction, of a start or of a checkpoint.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Point {
            $($(#[$doc])* $name,)*
        }

        impl Point {
            /// All of them.
            pub const ALL: &[Point] = &[$(Point::$name),*];

            /// As it stands in the environment variable.
            pub fn as_str(self) -> &'static str {
                match self { $(Point::$name => $text,)* }
            }
        }
    };
}

points! {
    /// A Prepare is about to be put into a frame.
    BeforePrepareSend = "before_prepare_send";
    /// A frame with a Prepare was sent, and no other since.
    AfterPrepareSend = "after_prepare_send";
    /// A decision is about to be appended.
    BeforeDecisionAppend = "before_decision_append";
    /// A decision is appended and not written.
    AfterDecisionAppend = "after_decision_append";
    /// A batch with a decision is on its way to the disk.
    BeforeDecisionSync = "before_decision_sync";
    /// A decision is durable; nobody was told.
    AfterDecisionSync = "after_decision_sync";
    /// A client was answered.
    AfterReply = "after_reply";
    /// A frame with a Commit was sent, and no other since.
    AfterFirstCommitSend = "after_first_commit_send";
    /// All frames of a turn that sent Commits were sent.
    AfterCommitsSend = "after_commits_send";
    /// An End is about to be appended.
    BeforeEndAppend = "before_end_append";
    /// An End is appended and not written.
    AfterEndAppend = "after_end_append";
    /// A record was replayed.
    DuringRecovery = "during_recovery";
    /// A record of a checkpoint was written.
    DuringCheckpoint = "during_checkpoint";
    /// A checkpoint is durable and nothing was removed yet.
    AfterCheckpointBeforeTruncate = "after_checkpoint_before_truncate";
    /// The log is taken up and nobody is served yet.
    BeforeServing = "before_serving";
}

struct Armed {
    point: Point,
    left: AtomicU64,
}

static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

/// Arms the point that the environment names. Call it before anything passes a point.
pub fn arm_from_environment() -> Result<(), String> {
    let armed = match std::env::var(VARIABLE) {
        Ok(text) if !text.is_empty() => Some(parse(&text)?),
        _ => None,
    };
    let _ = ARMED.set(armed);
    Ok(())
}

fn parse(text: &str) -> Result<Armed, String> {
    let (name, passings) = text.split_once(':').unwrap_or((text, "1"));
    let point = Point::ALL.iter().copied().find(|point| point.as_str() == name);
    let (Some(point), Ok(left @ 1..)) = (point, passings.parse()) else {
        let names: Vec<_> = Point::ALL.iter().map(|point| point.as_str()).collect();
        return Err(format!(
            "{VARIABLE}={text:?} is no failpoint; give name or name:n, where name is one of {}",
            names.join(", ")
        ));
    };
    Ok(Armed {
        point,
        left: AtomicU64::new(left),
    })
}

/// Counts a passing; true at the one at which the process is to die.
pub fn passes(point: Point) -> bool {
    match ARMED.get() {
        Some(Some(armed)) if armed.point == point => armed.left.fetch_sub(1, Ordering::Relaxed) == 1,
        _ => false,
    }
}

/// Dies here, if this is the passing.
pub fn hit(point: Point) {
    if passes(point) {
        die(point);
    }
}

/// Dies once what was handed to the transport had time to leave.
pub async fn linger_and_die(point: Point) -> ! {
    runtime::sleep(LINGER).await;
    die(point)
}

fn die(point: Point) -> ! {
    tracing::error!(
        failpoint = point.as_str(),
        "the process dies, as a failpoint asks"
    );
    std::process::abort()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_has_a_name_and_perhaps_a_count() {
        let armed = parse("after_reply:3").unwrap();
        assert_eq!((armed.point, armed.left.into_inner()), (Point::AfterReply, 3));
        assert_eq!(parse("after_reply").unwrap().left.into_inner(), 1);
    }

    #[test]
    fn an_unknown_point_is_refused_with_the_names_of_all() {
        for text in ["nowhere", "after_reply:0", "after_reply:x"] {
            let error = parse(text).err().unwrap();
            assert!(error.contains("before_decision_sync"), "{error}");
        }
    }
}
