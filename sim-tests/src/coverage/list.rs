//! `sim-tests/edges.txt`, which people read.

use std::collections::BTreeSet;

use super::{Edge, Layer, State, Trigger};

const FILE: &str = "sim-tests/edges.txt";
const TEXT: &str = include_str!("../../edges.txt");

/// The edges that a run of many seeds must take.
///
/// # Errors
///
/// If the file is malformed: the line, and what is accepted there.
pub fn required() -> anyhow::Result<BTreeSet<Edge>> {
    parse(TEXT)
}

/// An edge as it stands in reports.
pub fn name((layer, state, trigger): Edge) -> String {
    format!("{layer:?} {state:?} × {trigger:?}")
}

fn parse(text: &str) -> anyhow::Result<BTreeSet<Edge>> {
    let mut edges = BTreeSet::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |what: String| anyhow::anyhow!("{FILE}:{number}: {what}");
        let (of, triggers) = line
            .split_once(": ")
            .ok_or_else(|| wrong(format!("`{line}` is not `layer state: events`")))?;
        let (layer, state) = of.split_once(' ').unwrap_or((of, ""));
        let layer = Layer::named(layer).ok_or_else(|| wrong(unknown("a layer", layer, Layer::ALL)))?;
        let state = State::named(state).ok_or_else(|| wrong(unknown("a state", state, State::ALL)))?;
        for word in triggers.split_whitespace() {
            let trigger =
                Trigger::named(word).ok_or_else(|| wrong(unknown("an event", word, Trigger::ALL)))?;
            if !edges.insert((layer, state, trigger)) {
                return Err(wrong(format!("`{word}` stands there twice")));
            }
        }
    }
    Ok(edges)
}

fn unknown<T: std::fmt::Debug>(what: &str, word: &str, all: &[T]) -> String {
    let all: Vec<String> = all.iter().map(|one| format!("{one:?}")).collect();
    format!("`{word}` is not {what}; there are {}", all.join(", "))
}

#[cfg(test)]
mod tests {
    use super::{TEXT, parse};

    #[test]
    fn the_list_can_be_read() {
        assert!(parse(TEXT).unwrap().len() > 100);
    }

    #[test]
    fn a_wrong_word_is_told_with_its_line_and_what_is_accepted() {
        let error = parse("# edges\n\nWire Prepared: Commit Began\n")
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("sim-tests/edges.txt:3: `Began` is not an event; there are Enlisted,"),
            "{error}"
        );
        let error = parse("Wire Late: Commit").unwrap_err().to_string();
        assert!(error.contains(":1: `Late` is not a state"), "{error}");
        let error = parse("Disk Prepared: Commit").unwrap_err().to_string();
        assert!(
            error.ends_with("there are Wire, Transaction, Branch, Coordinator"),
            "{error}"
        );
        assert!(parse("Wire Prepared Commit").is_err());
        assert!(parse("Wire Prepared: Commit Commit").is_err());
    }
}
