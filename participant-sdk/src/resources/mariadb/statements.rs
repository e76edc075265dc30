//! Which statements can be part of a branch.
//!
//! MariaDB itself refuses, inside of an XA transaction, whatever commits implicitly (DDL and its kin) or would end the
//! transaction (error 1399, `XAER_RMFAIL`), in procedures too. Refused here, before anything runs, is what it would let pass:
//! statements that leave the branch's transaction, database or session behind, those that hold others (compound statements, SET
//! STATEMENT … FOR), those that end connections, and those that name our tables: a marker is proof only while nobody else writes
//! one. What procedures, functions and triggers do is not seen here; keep their definers from our tables by privileges.

use super::schema::TABLES;
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
const NOT_IN_A_BRANCH: [&str; 28] = [
    "BEGIN",
    "CASE",
    "CHANGE",
    "COMMIT",
    "DEALLOCATE",
    "DECLARE",
    "EXECUTE",
    "FOR",
    "HANDLER",
    "IF",
    "KILL",
    "LOAD",
    "LOCK",
    "LOOP",
    "PREPARE",
    "PURGE",
    "RELEASE",
    "REPEAT",
    "RESET",
    "ROLLBACK",
    "SAVEPOINT",
    "SHUTDOWN",
    "START",
    "STOP",
    "UNLOCK",
    "USE",
    "WHILE",
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
    if let Some(table) = our_table(sql) {
        return Err(Refusal::permanent(
            "STATEMENT_NOT_ALLOWED",
            format!(
                "a statement names {table}, which is Handfast's own: what stands there proves how branches ended; if this is only \
                 text, pass it as a parameter"
            ),
        ));
    }
    let Ok(start) = start(sql) else {
        return Err(not_allowed("a statement inside of a version comment"));
    };
    let word = first_word(start);
    if is_labelled(start) {
        return Err(not_allowed("a compound statement"));
    }
    if NOT_IN_A_BRANCH
        .iter()
        .any(|refused| word.eq_ignore_ascii_case(refused))
    {
        return Err(not_allowed(&word.to_ascii_uppercase()));
    }
    let second = |skipped: &[&str]| next_word(&start[word.len()..], skipped);
    if word.eq_ignore_ascii_case("CREATE") && second(&["OR", "REPLACE"]) == "TEMPORARY" {
        return Err(not_allowed("a temporary table"));
    }
    if word.eq_ignore_ascii_case("SET") && second(&[]) == "STATEMENT" {
        return Err(not_allowed("SET STATEMENT"));
    }
    Ok(())
}

/// Which of our tables is named, wherever and however. Says yes too often (in text, too) rather than too seldom.
fn our_table(sql: &str) -> Option<&'static str> {
    let lower = sql.to_ascii_lowercase();
    let mut names = lower.split(|c: char| !in_a_name(c));
    names.find_map(|name| {
        let mut tables = TABLES.iter().map(|(table, _)| *table);
        tables.find(|table| *table == name)
    })
}

fn in_a_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// Whether the statement begins with a label, as only compound statements do. Nothing else begins with a quoted name.
fn is_labelled(start: &str) -> bool {
    let rest = start.trim_start_matches(in_a_name);
    let named = rest.len() < start.len();
    (named && past_comments(rest).starts_with(':'))
        || ["`", "\"", "<<"].iter().any(|open| start.starts_with(open))
}

/// Whether the statement says that it locks rows, changed or not. Says yes too often rather than too seldom.
pub(super) fn locks_what_it_reads(sql: &str) -> bool {
    let words: Vec<&str> = sql.split_whitespace().collect();
    let plain = words.join(" ").to_ascii_uppercase();
    LOCKING.iter().any(|lock| plain.contains(lock))
}

/// Where the statement begins, past semicolons, brackets and what is [skipped](skip).
fn start(sql: &str) -> Result<&str, &str> {
    let mut rest = sql;
    loop {
        rest = skip(rest)?;
        match rest.trim_start_matches([';', '(']) {
            same if same.len() == rest.len() => return Ok(rest),
            shorter => rest = shorter,
        }
    }
}

/// What comes after spaces and comments; an error is the inside of a comment that the server executes.
fn skip(sql: &str) -> Result<&str, &str> {
    let mut rest = sql;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c.is_control());
        if let Some(executed) = rest.strip_prefix("/*!").or_else(|| rest.strip_prefix("/*M!")) {
            return Err(executed.trim_start_matches(|c: char| c.is_ascii_digit()));
        }
        if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.find("*/").map_or("", |end| &comment[end + 2..]);
        } else if let Some(comment) = rest.strip_prefix('#').or_else(|| dashes(rest)) {
            rest = comment.find('\n').map_or("", |end| &comment[end..]);
        } else {
            return Ok(rest);
        }
    }
}

/// What the server reads next, in comments that it executes as well as outside.
fn past_comments(sql: &str) -> &str {
    let mut rest = sql;
    loop {
        match skip(rest) {
            Ok(next) => match next.strip_prefix("*/") {
                Some(after) => rest = after,
                None => return next,
            },
            Err(inside) => rest = inside,
        }
    }
}

fn first_word(start: &str) -> &str {
    let end = start
        .find(|c: char| !c.is_ascii_alphabetic())
        .unwrap_or(start.len());
    &start[..end]
}

/// Two dashes begin a comment only before a space or a control character.
fn dashes(sql: &str) -> Option<&str> {
    let rest = sql.strip_prefix("--")?;
    let next = rest.chars().next();
    next.is_none_or(|c| c.is_whitespace() || c.is_control())
        .then_some(rest)
}

/// The next word in capitals, past those that are skipped.
fn next_word(sql: &str, skipped: &[&str]) -> String {
    let mut rest = sql;
    loop {
        rest = past_comments(rest);
        let word = first_word(rest);
        let capitals = word.to_ascii_uppercase();
        if word.is_empty() || !skipped.contains(&capitals.as_str()) {
            return capitals;
        }
        rest = &rest[word.len()..];
    }
}

#[cfg(test)]
mod tests;
