//! What a one-shot branch does: statements with parameters, as bytes of an operation.
//!
//! The encoding is JSON with a version, so that any language can write it, and the same for every database; how a statement
//! names its parameters is the database's own business (`$1` in PostgreSQL, `?` in MariaDB):
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
/// The most parameters of one statement: what the wire protocols of PostgreSQL and MariaDB can count.
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
    /// The text, with the database's own signs for the parameters: `$1`, `$2` … or `?`.
    pub sql: String,
    /// The values for them, in order.
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

    /// Back from bytes; what cannot be read is refused in words. Whether the statements may run in a branch is asked of the
    /// database that they are meant for.
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
        if let Some(statement) = encoded
            .statements
            .iter()
            .find(|statement| statement.params.len() > MAX_PARAMETERS)
        {
            return Err(too_many_parameters(statement.params.len()));
        }
        Ok(SqlOperation {
            statements: encoded.statements,
        })
    }
}

/// More parameters than the wire can count.
pub(in crate::resources) fn too_many_parameters(params: usize) -> Refusal {
    Refusal::permanent(
        "MALFORMED_OPERATION",
        format!("a statement has at most {MAX_PARAMETERS} parameters, not {params}"),
    )
}

#[cfg(test)]
mod tests;
