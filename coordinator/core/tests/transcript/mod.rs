//! Runs one transcript: parses its commands, plays them to a world, prints what happened.

mod commands;
mod names;
mod parser;
mod printer;

use std::fmt::Write;

use commands::Stage;

/// The transcript as it comes out, and the broken promises.
pub fn run(text: &str) -> Result<(String, Vec<String>), String> {
    let mut stage = Stage::default();
    let mut out = String::new();
    let mut violations = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.starts_with('#') || line.is_empty() && !out.ends_with("\n\n") {
            out.push_str(line);
            out.push('\n');
        }
        let Some(command) = line.strip_prefix("> ") else {
            continue;
        };
        let lines = parser::parse(command)
            .and_then(|command| stage.play(&command))
            .map_err(|message| format!("line {}: {message}", number + 1))?;
        let _ = writeln!(out, "{line}");
        for line in lines {
            let _ = writeln!(out, "{line}");
        }
        for violation in stage.violations() {
            let _ = writeln!(out, "VIOLATION {violation}");
            violations.push(format!("line {}: {violation}", number + 1));
        }
        out.push('\n');
    }
    while out.ends_with("\n\n") {
        out.pop();
    }
    Ok((out, violations))
}

/// Where two transcripts part, with the lines around it.
pub fn difference(expected: &str, found: &str) -> String {
    let (expected, found): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), found.lines().collect());
    let same_start = expected.iter().zip(&found).take_while(|(a, b)| a == b).count();
    let rest = expected.len().min(found.len()) - same_start;
    let same_end = expected
        .iter()
        .rev()
        .zip(found.iter().rev())
        .take(rest)
        .take_while(|(a, b)| a == b)
        .count();
    let mut text = String::new();
    for line in &expected[same_start.saturating_sub(3)..same_start] {
        let _ = writeln!(text, "  {line}");
    }
    for line in &expected[same_start..expected.len() - same_end] {
        let _ = writeln!(text, "- {line}");
    }
    for line in &found[same_start..found.len() - same_end] {
        let _ = writeln!(text, "+ {line}");
    }
    text
}
