//! A file that makes no sense is told with its line and what is accepted there.

use std::path::Path;

use super::Scenario;

const HEAD: &str = "name = \"x\"\nrows = [1]\noutcome = \"y\"\n";

/// The line and the words with which this is refused, behind the three lines of a good head.
fn refused(rest: &str) -> (usize, String) {
    Scenario::parse(&format!("{HEAD}{rest}")).unwrap_err()
}

#[track_caller]
fn assert_refused(rest: &str, line: usize, words: &[&str]) {
    let (at, problem) = refused(rest);
    assert_eq!(at, line, "{problem}");
    for word in words {
        assert!(problem.contains(word), "{word} is not in: {problem}");
    }
}

#[test]
fn what_is_no_toml_is_told_with_its_line() {
    assert_refused("seed = = 1", 4, &["seed = = 1"]);
    assert_refused("seed = \"many\"", 4, &["invalid type", "u64"]);
}

#[test]
fn an_unknown_field_and_an_unknown_fault_are_told_with_those_that_there_are() {
    assert_refused(
        "sede = 1",
        4,
        &["unknown field `sede`", "`seed`", "`transaction`"],
    );
    let fault = "[[fault]]\nat_ms = 1\ndo = \"explode\"\nnode = \"c0\"";
    assert_refused(
        fault,
        6,
        &["unknown variant `explode`", "`power-loss`", "`clock-jumps`"],
    );
}

#[test]
fn an_unknown_point_and_an_unknown_node_are_told_with_those_that_there_are() {
    let point = "[[fault]]\nat = \"explodes p0\"\ndo = \"drop\"";
    assert_refused(
        point,
        5,
        &["`explodes` is no protocol point", "vote-prepared", "synced"],
    );
    let word = "[[fault]]\nat = \"prepare here\"\ndo = \"drop\"";
    assert_refused(word, 5, &["neither a node (c0, p1, a2)", "#2"]);
    let node = "[[fault]]\nat_ms = 1\ndo = \"kill\"\nnode = \"x9\"";
    assert_refused(node, 7, &["`x9` is no node", "participants p0, p1"]);
    let part = "[[transaction]]\nparts = [{ at = \"c0\" }]";
    assert_refused(part, 5, &["`c0` is no participant"]);
}

#[test]
fn what_is_missing_or_not_there_is_told_with_the_line_of_its_part() {
    let good = "[[fault]]\nat_ms = 1\ndo = \"kill\"\nnode = \"c0\"\n";
    let second = |fault: &str| format!("{good}[[fault]]\n{fault}");
    assert_refused(
        &second("do = \"kill\"\nnode = \"c0\""),
        8,
        &["neither `at` nor `at_ms`"],
    );
    assert_refused(&second("at_ms = 1\ndo = \"kill\""), 8, &["needs a `node`"]);
    assert_refused(&second("at_ms = 1\ndo = \"drop\""), 8, &["needs `at`"]);
    assert_refused(
        &second("at_ms = 1\ndo = \"kill\"\nnode = \"p7\""),
        8,
        &["names p7", "[cluster]"],
    );
    assert_refused(
        &second("at_ms = 1\ndo = \"clock-jumps\"\nnode = \"c0\""),
        8,
        &["needs `by_ms`"],
    );
    assert_refused(
        &second("at_ms = 1\ndo = \"take-over\"\nnode = \"c0\""),
        8,
        &["standby = true"],
    );
    assert_refused(
        &second("at_ms = 1\ndo = \"cut\"\nnode = \"p0\"\nuntil = [\"hello p0\"]"),
        8,
        &["`until`, which is for kill"],
    );
    let more = "at_ms = 1\ndo = \"kill\"\nnode = \"p0\"\nrepeated = 2";
    assert_refused(&second(more), 8, &["names p2"]);
    assert_refused(
        "[[transaction]]\nparts = [{ at = \"p2\" }]",
        4,
        &["p2", "2 ledgers and 0 databases"],
    );
    assert_refused("[[expect]]\nat_most = 1", 4, &["stand together"]);
    assert_refused(
        "[cluster]\nsecond_instances = 1",
        4,
        &["`second_instances = 1`", "0 databases"],
    );
    let at_a_second =
        "[cluster]\ndatabases = 1\nsecond_instances = 1\n[[transaction]]\nparts = [{ at = \"p3\" }]";
    assert_refused(at_a_second, 7, &["works at p3"]);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Scenario::read(Path::new("nowhere.toml")).unwrap_err().to_string();
    assert!(error.contains("cannot read nowhere.toml"), "{error}");
}
