//! Which statements can be part of a branch.

use crate::resource::Refusal;
use crate::resources::sql::operation::{MAX_PARAMETERS, SqlOperation, too_many_parameters};

/// An operation from its bytes, if it may run here.
pub(super) fn decode(bytes: &[u8]) -> Result<SqlOperation, Refusal> {
    let operation = SqlOperation::decode(bytes)?;
    for statement in &operation.statements {
        check(&statement.sql, statement.params.len())?;
    }
    Ok(operation)
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

/// The schema that our tables are in.
const SCHEMA: &str = "handfast";

/// Refuses what cannot be part of a branch.
pub(super) fn check(sql: &str, params: usize) -> Result<(), Refusal> {
    if params > MAX_PARAMETERS {
        return Err(too_many_parameters(params));
    }
    if names_our_schema(sql) {
        return Err(Refusal::permanent(
            "STATEMENT_NOT_ALLOWED",
            "a statement names schema handfast, which is Handfast's own: what stands there proves how branches ended; if this is \
             only text, pass it as a parameter",
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

/// Whether our schema is named: before a point, along with what sets or changes schemas, or in escapes that could hide it. Says
/// yes too often (in text, too) rather than too seldom. What functions do is not seen here; that is what privileges are for.
fn names_our_schema(sql: &str) -> bool {
    let lower = sql.to_ascii_lowercase();
    let in_a_name = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    let words = || lower.split(|c: char| !in_a_name(c));
    let changes_schemas =
        words().any(|word| matches!(word, "schema" | "schemas" | "search_path" | "set_config"));
    let named = lower.match_indices(SCHEMA).any(|(at, _)| {
        let (before, after) = (&lower[..at], &lower[at + SCHEMA.len()..]);
        let alone = !before.ends_with(in_a_name) && !after.starts_with(in_a_name);
        let after = skip(after.strip_prefix('"').unwrap_or(after));
        alone && (changes_schemas || after.starts_with('.'))
    });
    named || lower.contains("u&\"")
}

/// The first word, past spaces, semicolons and comments (which nest).
fn first_word(sql: &str) -> &str {
    let mut rest = sql;
    loop {
        rest = skip(rest);
        match rest.trim_start_matches(';') {
            same if same.len() == rest.len() => break,
            shorter => rest = shorter,
        }
    }
    let end = rest
        .find(|c: char| !c.is_ascii_alphabetic())
        .unwrap_or(rest.len());
    &rest[..end]
}

/// What comes after spaces and comments.
fn skip(sql: &str) -> &str {
    let mut rest = sql;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{b}');
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.find(['\n', '\r']).map_or("", |end| &comment[end..]);
        } else if rest.starts_with("/*") {
            rest = after_block_comment(rest);
        } else {
            return rest;
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
