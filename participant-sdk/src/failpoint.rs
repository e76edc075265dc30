//! Named points at which a process can be made to die, for tests that kill real processes.
//!
//! `HANDFAST_FAILPOINT=after_prepare_sync:3` aborts the process when it passes that point for the third time. Unset, a
//! point costs one load of a word that never changes.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The environment variable: `name` or `name:n`.
pub const VARIABLE: &str = "HANDFAST_FAILPOINT";

/// The points of a participant, in the order in which a branch passes them.
pub const NAMES: [&str; 11] = [
    "after_prepare_received",
    "after_reserve",
    "after_prepare_append",
    "after_prepare_sync",
    "after_vote_sent",
    "after_commit_received",
    "after_commit_append",
    "after_commit_sync",
    "after_abort_received",
    "after_abort_sync",
    "after_ack_sent",
];

/// The points of the files resource, which lie between those of its participant, in order.
pub const FILES_NAMES: [&str; 7] = [
    "files_after_staged",
    "files_after_promise",
    "files_after_current",
    "files_after_rename",
    "files_after_renames",
    "files_after_marker",
    "files_after_fence",
];

/// The points of the try/confirm/cancel resource, in order.
pub const TCC_NAMES: [&str; 4] = [
    "tcc_after_intent",
    "tcc_after_try",
    "tcc_after_confirm",
    "tcc_after_cancel",
];

fn is_known(name: &str) -> bool {
    NAMES.contains(&name) || FILES_NAMES.contains(&name) || TCC_NAMES.contains(&name)
}

struct Armed {
    name: String,
    passes_left: AtomicU64,
}

static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

/// Checks the environment variable, so that a mistyped point fails a test instead of letting it pass.
///
/// # Errors
/// Words that name the known points.
pub fn check() -> Result<(), String> {
    match armed() {
        Some(armed) if !is_known(&armed.name) => Err(format!(
            "{VARIABLE} names {:?}; known are {}",
            armed.name,
            [&NAMES[..], &FILES_NAMES, &TCC_NAMES].concat().join(", ")
        )),
        _ => Ok(()),
    }
}

/// Dies here if this point is armed and was passed often enough.
pub(crate) fn pass(name: &'static str) {
    let Some(armed) = armed() else { return };
    debug_assert!(is_known(name), "{name} is a listed point");
    if armed.name == name && armed.passes_left.fetch_sub(1, Ordering::Relaxed) == 1 {
        eprintln!("failpoint {name}: aborting");
        std::process::abort();
    }
}

fn armed() -> Option<&'static Armed> {
    ARMED
        .get_or_init(|| parse(&std::env::var(VARIABLE).ok()?))
        .as_ref()
}

fn parse(text: &str) -> Option<Armed> {
    let (name, passes) = text.split_once(':').unwrap_or((text, "1"));
    let passes_left = AtomicU64::new(passes.parse().unwrap_or(1).max(1));
    (!name.is_empty()).then(|| Armed {
        name: name.to_owned(),
        passes_left,
    })
}
