//! A tiny participant with a defect of choice: what the kit must catch. Without a defect it is right, and must pass.
//!
//! It is written on the wire alone. Its store is one text file of lines that are appended and synced; see `store`.
#![allow(
    clippy::unwrap_used,
    reason = "a test program: whatever goes wrong ends the process"
)]

mod session;
mod store;

use std::path::PathBuf;
use std::time::Duration;

use session::Lost;
use store::Store;

/// The wait before it dials again.
const WAIT: Duration = Duration::from_millis(100);

/// What is wrong with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Defect {
    None,
    /// Says yes first and writes the promise down a moment later.
    VotesBeforeDurable,
    /// Acknowledges a commit first and writes it down a moment later.
    AcknowledgesBeforeDurable,
    /// Takes the absence of a branch for its successful commit.
    AbsenceIsDone,
    /// Aborts what is in doubt when its session is lost.
    AbortsByItself,
    /// Applies the operation again when a commit is repeated.
    AppliesTwice,
    /// Acknowledges the abort of an unknown branch and does not fence it.
    DoesNotFence,
    /// Takes every transaction for its own coordinator's.
    ForgetsWhoseBranch,
    /// Shows nothing of what it was told of the coordinator's log.
    RemembersNothingSeen,
    /// Drops the branch when it is told that its end is long ago.
    DropsWhatIsFinished,
    /// Says that it committed what was left to it, and writes it down a moment later.
    CommitsBeforeDurable,
    /// Answers the question how a branch came out with abort, whatever it has.
    AlwaysSaysAbort,
    /// Takes the absence of a branch for its abort when it is asked how it came out, and does not fence it.
    AbsenceIsAborted,
    /// Reads whatever comes, and never notices that nothing comes.
    WaitsForEver,
}

const DEFECTS: [(&str, Defect); 14] = [
    ("none", Defect::None),
    ("votes-before-durable", Defect::VotesBeforeDurable),
    ("acknowledges-before-durable", Defect::AcknowledgesBeforeDurable),
    ("absence-is-done", Defect::AbsenceIsDone),
    ("aborts-by-itself", Defect::AbortsByItself),
    ("applies-twice", Defect::AppliesTwice),
    ("does-not-fence", Defect::DoesNotFence),
    ("forgets-whose-branch", Defect::ForgetsWhoseBranch),
    ("remembers-nothing-seen", Defect::RemembersNothingSeen),
    ("drops-what-is-finished", Defect::DropsWhatIsFinished),
    ("commits-before-durable", Defect::CommitsBeforeDurable),
    ("always-says-abort", Defect::AlwaysSaysAbort),
    ("absence-is-aborted", Defect::AbsenceIsAborted),
    ("waits-for-ever", Defect::WaitsForEver),
];

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let (defect, path) = (
        arguments.next().unwrap(),
        PathBuf::from(arguments.next().unwrap()),
    );
    let defect = DEFECTS.iter().find(|(name, _)| *name == defect).unwrap().1;
    let (address, resource) = (
        std::env::var("HANDFAST_COORDINATOR").unwrap(),
        std::env::var("HANDFAST_RESOURCE").unwrap(),
    );
    let mut store = Store::open(&path, defect);
    let instance = store::random_16();
    loop {
        let Lost(why) = session::run(&mut store, defect, &address, &resource, instance).await;
        eprintln!("no session: {why}");
        store.write_late_lines();
        if defect == Defect::AbortsByItself {
            store.abort_everything();
        }
        tokio::time::sleep(WAIT).await;
    }
}
