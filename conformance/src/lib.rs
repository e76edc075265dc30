//! Proves that a participant, written in any language, keeps its promises: plays the coordinator against it, kills its process
//! at every step, repeats, reorders and withholds messages, lies about epochs and logs, and reports what is wrong and why it matters.
//!
//! ```text
//!   run ──► Trial ──► FakeCoordinator ◄── Link ◄──── dials in ── participant (any language)
//!    │        │             sessions       cut, freeze               ▲         │ effects
//!    │        └── cases/*: one file a group      start, kill -9 ─────┘         ▼
//!    └──► Report                                             a command, a file or a function
//! ```
//!
//! The rules that are checked stand in `docs/guide/another-language.md`. It knows the wire and nothing else of Handfast: what it
//! judges must not be what it is made of.
//!
//! What must never live here: the SDK, the coordinator, and anything that a participant in another language could not do.
#![deny(missing_docs)]

mod branch;
mod cases;
mod coordinator;
mod effects;
mod fault;
mod link;
mod operations;
mod options;
mod process;
mod report;
mod run;
mod session;
mod trial;

pub use cases::{Case, GROUPS, Group};
pub use effects::Effects;
pub use operations::{Operations, Template};
pub use options::{DEFAULT_PATIENCE, Options};
pub use report::{CaseReport, Report, Verdict};
pub use run::{ConformanceError, run};
