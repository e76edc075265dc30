//! Which statements can be part of a branch.
//!
//! MariaDB itself refuses, inside of an XA transaction, whatever commits implicitly (DDL and its kin) or would end the
//! transaction (error 1399, `XAER_RMFAIL`), in procedures too. Refused here, before anything runs, is what it would let pass:
//! statements that leave the branch's transaction, database or session behind.

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

/// By their first word; one statement at a time is taken here, so looking at that word misses none.
const NOT_IN_A_BRANCH: [&str; 20] = [
    "BEGIN",
    "CHANGE",
    "COMMIT",
    "DEALLOCATE",
    "EXECUTE",
    "HANDLER",
    "LOAD",
    "LOCK",
    "PREPARE",
    "PURGE",
    "RELEASE",
    "RESET",
    "ROLLBACK",
    "SAVEPOINT",
    "SHUTDOWN",
    "START",
    "STOP",
    "UNLOCK",
    "USE",
    "XA",
];

/// The beginnings of statements that lock what they read, wherever they stand in it.
const LOCKING: [&str; 3] = ["FOR UPDATE", "FOR SHARE", "LOCK IN SHARE MODE"];

/// Refuses what cannot be part of a branch.
pub(super) fn check(sql: &str, params: usize) -> Result<(), Refusal> {
    if params > MAX_PARAMETERS {
        return Err(too_many_parameters(params));
    }
    let not_allowed = |what: &str| {
        Refusal::permanent(
            "STATEMENT_NOT_ALLOWED",
            format!(
                "{what} cannot be part of a branch: the coordinator begins and ends its transaction, and the next branch finds \
                 the same session and database"
            ),
        )
    };
    let Some(word) = first_word(sql) else {
        return Err(not_allowed("a statement inside of a version comment"));
    };
    if NOT_IN_A_BRANCH
        .iter()
        .any(|refused| word.eq_ignore_ascii_case(refused))
    {
        return Err(not_allowed(&word.to_ascii_uppercase()));
    }
    if word.eq_ignore_ascii_case("CREATE") && second_word_is_temporary(sql, word) {
        return Err(not_allowed("a temporary table"));
    }
    Ok(())
}

/// Whether the statement says that it locks rows, changed or not. Says yes too often rather than too seldom.
pub(super) fn locks_what_it_reads(sql: &str) -> bool {
    let words: Vec<&str> = sql.split_whitespace().collect();
    let plain = words.join(" ").to_ascii_uppercase();
    LOCKING.iter().any(|lock| plain.contains(lock))
}

/// The first word, past spaces, semicolons and comments; `None` if it stands in a comment that the server executes.
fn first_word(sql: &str) -> Option<&str> {
    let mut rest = sql;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c.is_control() || c == ';' || c == '(');
        if rest.starts_with("/*!") || rest.starts_with("/*M!") {
            return None;
        }
        if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.find("*/").map_or("", |end| &comment[end + 2..]);
        } else if let Some(comment) = rest.strip_prefix('#').or_else(|| dashes(rest)) {
            rest = comment.find('\n').map_or("", |end| &comment[end..]);
        } else {
            let end = rest
                .find(|c: char| !c.is_ascii_alphabetic())
                .unwrap_or(rest.len());
            return Some(&rest[..end]);
        }
    }
}

/// Two dashes begin a comment only before a space or a control character.
fn dashes(sql: &str) -> Option<&str> {
    let rest = sql.strip_prefix("--")?;
    let next = rest.chars().next();
    next.is_none_or(|c| c.is_whitespace() || c.is_control())
        .then_some(rest)
}

fn second_word_is_temporary(sql: &str, first: &str) -> bool {
    let after = first.as_ptr() as usize - sql.as_ptr() as usize + first.len();
    let rest = sql[after..].to_ascii_uppercase();
    rest.split(|c: char| !c.is_ascii_alphabetic())
        .find(|word| !word.is_empty() && *word != "OR" && *word != "REPLACE")
        .is_some_and(|word| word == "TEMPORARY")
}

#[cfg(test)]
mod tests;
