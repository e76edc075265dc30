//! What looking at a store's preconditions comes to, line by line, for `handfast-agent check` and for logs.

use std::fmt;

/// One precondition of a store, as it was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// What was looked at, in the store's own words, such as `max_prepared_transactions`.
    pub what: String,
    /// What was found there, such as `64`.
    pub found: String,
    /// What follows from it.
    pub verdict: Verdict,
}

/// What follows from what was found. The text says what to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is as it must be.
    Holds,
    /// The store can take part, but something is better changed.
    Advice(String),
    /// The store cannot take part until somebody mends this.
    Broken(String),
}

impl Finding {
    /// It is as it must be.
    pub fn holds(what: impl Into<String>, found: impl Into<String>) -> Self {
        Finding {
            what: what.into(),
            found: found.into(),
            verdict: Verdict::Holds,
        }
    }

    /// The store can take part, but something is better changed.
    pub fn advice(what: impl Into<String>, found: impl Into<String>, todo: impl Into<String>) -> Self {
        Finding {
            what: what.into(),
            found: found.into(),
            verdict: Verdict::Advice(todo.into()),
        }
    }

    /// The store cannot take part until somebody mends this.
    pub fn broken(what: impl Into<String>, found: impl Into<String>, todo: impl Into<String>) -> Self {
        Finding {
            what: what.into(),
            found: found.into(),
            verdict: Verdict::Broken(todo.into()),
        }
    }

    /// Whether the store cannot take part.
    pub fn is_broken(&self) -> bool {
        matches!(self.verdict, Verdict::Broken(_))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { what, found, verdict } = self;
        match verdict {
            Verdict::Holds => write!(f, "{what}: {found}"),
            Verdict::Advice(todo) | Verdict::Broken(todo) => write!(f, "{what}: {found}; {todo}"),
        }
    }
}
