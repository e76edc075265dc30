//! Why a case does not come out right.

/// What a step of a case comes to.
pub(crate) type Checked<T = ()> = Result<T, Fault>;

/// Why a case ended before its last step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// The participant did what it must not do, or did not do what it must: what was expected and what was seen.
    Wrong(String),
    /// It could not be tried, and what to give so that it can.
    NotChecked(String),
    /// What could be looked at is right; what could not, and what to give so that it can.
    PartlyChecked(String),
    /// The kit itself or the machine failed.
    Kit(String),
}

/// The participant is wrong.
pub(crate) fn wrong<T>(words: impl Into<String>) -> Checked<T> {
    Err(Fault::Wrong(words.into()))
}

/// The participant is wrong unless this holds.
pub(crate) fn must(holds: bool, otherwise: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { wrong(otherwise()) }
}
