//! What a one-shot branch does: statements with parameters, as bytes of an operation.
//!
//! The encoding is JSON with a version, so that any language can write it:
//!
//! ```json
//! {"handfast_sql": 1, "statements": [
//!   {"sql": "UPDATE accounts SET balance = balance - $1 WHERE id = $2 AND balance >= $1",
//!    "params": [250, "alice"], "expect_rows": 1}]}
//! ```
//!
//! `params` may be left out; see [`Parameter`] for its values. With `expect_rows` the branch is refused unless the statement
//! changed (or, for a query, returned) exactly so many rows. A field that is not known is an error: a misspelled
//! `expect_rows` must not be a condition that is never checked.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::parameter::Parameter;
use crate::resource::Refusal;

/// The version of the encoding that this build writes and reads.
pub const OPERATION_VERSION: u32 = 1;
/// The most statements of one operation.
pub const MAX_STATEMENTS: usize = 1_000;
/// The most parameters of one statement: what the wire protocol of PostgreSQL can count.
pub const MAX_PARAMETERS: usize = 65_535;

/// What a one-shot branch does: its statements, in one transaction, in order.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct SqlOperation {
    /// One after the other.
    pub statements: Vec<Statement>,
}

/// One SQL statement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// The text, with `$1`, `$2` … for the parameters.
    pub sql: String,
    /// The values for `$1`, `$2` …
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<Parameter>,
    /// Refuse unless the statement changed, or returned, exactly so many rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect_rows: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Encoded {
    handfast_sql: u32,
    statements: Vec<Statement>,
}

#[derive(Deserialize)]
struct Version {
    handfast_sql: u32,
}

impl SqlOperation {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more statement.
    #[must_use]
    pub fn then(
        mut self,
        sql: impl Into<String>,
        params: impl IntoIterator<Item = impl Into<Parameter>>,
    ) -> Self {
        let params = params.into_iter().map(Into::into).collect();
        self.statements.push(Statement {
            sql: sql.into(),
            params,
            expect_rows: None,
        });
        self
    }

    /// Refuse unless the last statement touches exactly so many rows.
    #[must_use]
    pub fn expecting(mut self, rows: u64) -> Self {
        if let Some(last) = self.statements.last_mut() {
            last.expect_rows = Some(rows);
        }
        self
    }

    /// As the bytes of an operation.
    pub fn encode(&self) -> Bytes {
        let encoded = Encoded {
            handfast_sql: OPERATION_VERSION,
            statements: self.statements.clone(),
        };
        serde_json::to_vec(&encoded)
            .expect("statements have text keys only, so JSON can say them")
            .into()
    }

    /// Back from bytes; what cannot be read or may not run is refused in words.
    pub fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        let malformed = |what: String| Refusal::permanent("MALFORMED_OPERATION", what);
        let version: Version = serde_json::from_slice(bytes).map_err(|error| {
            malformed(format!(
                "the operation is not JSON with a number in \"handfast_sql\": {error}"
            ))
        })?;
        if version.handfast_sql != OPERATION_VERSION {
            return Err(malformed(format!(
                "the operation is of version {}; this build reads version {OPERATION_VERSION}",
                version.handfast_sql
            )));
        }
        let encoded: Encoded = serde_json::from_slice(bytes)
            .map_err(|error| malformed(format!("the operation cannot be read: {error}")))?;
        if encoded.statements.len() > MAX_STATEMENTS {
            return Err(malformed(format!(
                "an operation has at most {MAX_STATEMENTS} statements, not {}",
                encoded.statements.len()
            )));
        }
        for statement in &encoded.statements {
            check(&statement.sql, statement.params.len())?;
        }
        Ok(SqlOperation {
            statements: encoded.statements,
        })
    }
}

/// Statements that would end or leave the branch's transaction, or that it could not be prepared with. PostgreSQL knows a
/// statement by its first word, and takes one statement at a time here, so looking at that word misses none.
const NOT_IN_A_BRANCH: [&str; 14] = [
    "ABORT",
    "BEGIN",
    "COMMIT",
    "COPY",
    "DEALLOCATE",
    "END",
    "LISTEN",
    "NOTIFY",
    "PREPARE",
    "RELEASE",
    "ROLLBACK",
    "SAVEPOINT",
    "START",
    "UNLISTEN",
];

/// Refuses what cannot be part of a branch.
pub(super) fn check(sql: &str, params: usize) -> Result<(), Refusal> {
    if params > MAX_PARAMETERS {
        return Err(Refusal::permanent(
            "MALFORMED_OPERATION",
            format!("a statement has at most {MAX_PARAMETERS} parameters, not {params}"),
        ));
    }
    let word = first_word(sql);
    if NOT_IN_A_BRANCH
        .iter()
        .any(|refused| word.eq_ignore_ascii_case(refused))
    {
        return Err(Refusal::permanent(
            "STATEMENT_NOT_ALLOWED",
            format!(
                "{} cannot be part of a branch: the coordinator begins and ends its transaction, and PostgreSQL prepares \
                 none that listens or notifies",
                word.to_ascii_uppercase()
            ),
        ));
    }
    Ok(())
}

/// The first word, past spaces, semicolons and comments (which nest).
fn first_word(sql: &str) -> &str {
    let mut rest = sql;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ';' || c == '\u{b}');
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.find(['\n', '\r']).map_or("", |end| &comment[end..]);
        } else if rest.starts_with("/*") {
            rest = after_block_comment(rest);
        } else {
            let end = rest
                .find(|c: char| !c.is_ascii_alphabetic())
                .unwrap_or(rest.len());
            return &rest[..end];
        }
    }
}

fn after_block_comment(sql: &str) -> &str {
    let (mut depth, mut at) = (0, 0);
    while at < sql.len() {
        let rest = &sql.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return &sql[at..];
            }
        } else {
            at += 1;
        }
    }
    ""
}

#[cfg(test)]
mod tests;
