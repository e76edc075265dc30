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

const CLUSTER: &str = "[cluster]\nledgers = 1\ndatabases = 1\n[[transaction]]\nparts = [{ at = \"p0\" }]\n";

/// Line 9 is the header of what stands behind the cluster of a ledger and a database.
#[track_caller]
fn assert_refused_there(rest: &str, words: &[&str]) {
    assert_refused(&format!("{CLUSTER}{rest}"), 9, words);
}

#[test]
fn a_point_that_can_never_come_is_refused_wherever_it_stands() {
    for point in ["never", "seen"] {
        let at = |what: &str| format!("[[expect]]\n{point} = \"{what}\"");
        assert_refused_there(&at("commit p9"), &["there is no p9", "p0 to p1", "c0", "a0"]);
        assert_refused_there(&at("commit p0 t7"), &["no transaction 7"]);
        assert_refused_there(&at("commit a0"), &["not seen at a0", "participants"]);
        assert_refused_there(&at("told-committed p0"), &["not seen at p0", "clients"]);
        assert_refused_there(&at("synced-decided c0 t0"), &["nobody can tell"]);
        assert_refused_there(&at("call c0"), &["no node"]);
    }
    let order = "[[expect]]\norder = [\"commit p0\", \"ack-done p5\"]";
    assert_refused_there(order, &["`ack-done p5`", "there is no p5"]);
    let ahead = "[[expect]]\nahead = [\"commit p0\", \"commit p4\"]\nat_most = 1";
    assert_refused_there(ahead, &["there is no p4"]);
    let ends = "[[expect]]\nends = \"c1\"\nbecause = \"x\"";
    assert_refused_there(ends, &["there is no c1"]);
    let at = "[[fault]]\nat = \"commit p9\"\ndo = \"drop\"";
    assert_refused_there(at, &["the fault `drop` waits for `commit p9`", "there is no p9"]);
    let until = "[[fault]]\nat = \"commit p0\"\ndo = \"kill\"\nnode = \"c0\"\nuntil = [\"hello p8\"]";
    assert_refused_there(until, &["there is no p8"]);
}

#[test]
fn an_expectation_that_says_nothing_or_too_much_is_refused() {
    let expect = |what: &str| format!("[[expect]]\n{what}");
    for nothing in [
        "",
        "transaction = 0",
        "times = 3",
        "within_ms = 5",
        "because = \"x\"",
    ] {
        assert_refused_there(&expect(nothing), &["nothing to expect", "outcome, told, seen"]);
    }
    let two = "seen = \"commit\"\nnever = \"abort\"";
    assert_refused_there(&expect(two), &["seen, never", "exactly one"]);
    let alone = "seen = \"commit\"\nwithin_ms = 5";
    assert_refused_there(&expect(alone), &["stand with `order`"]);
    assert_refused_there(&expect("never = \"commit\"\ntimes = 5"), &["stands with `seen`"]);
    assert_refused_there(&expect("ends = \"c0\""), &["needs `because`"]);
    assert_refused_there(&expect("told = [\"aborted\"]"), &["`transaction` stands with"]);
    let other = "transaction = 0\nseen = \"commit\"";
    assert_refused_there(&expect(other), &["`transaction` stands with"]);
    let vacuous = "order = [\"commit\", \"ack-done\"]\nnot_within_ms = 0";
    assert_refused_there(&expect(vacuous), &["says nothing"]);
    assert_refused_there(&expect("order = [\"commit\"]"), &["two points"]);
    let beyond = "transaction = 1\noutcome = \"commit\"";
    assert_refused_there(&expect(beyond), &["no transaction 1", "0 to 0"]);
    assert_refused(CLUSTER, 1, &["nothing is expected", "[[expect]]"]);
}

#[test]
fn a_fault_that_would_do_nothing_is_refused() {
    let fault = |what: &str| format!("[[fault]]\nat_ms = 1\n{what}");
    let ledger = "do = \"lose-prepared\"\nnode = \"p0\"";
    assert_refused_there(&fault(ledger), &["lose prepared", "a database", "p0 is none"]);
    for node in ["a0", "p1"] {
        let full = format!("do = \"disk-full\"\nnode = \"{node}\"");
        assert_refused_there(&fault(&full), &["keeps a log", &format!("{node} is none")]);
    }
    assert_refused_there(&fault("do = \"drain\"\nnode = \"p0\""), &["a coordinator"]);
    assert_refused_there(&fault("do = \"cut\"\nnode = \"c0\""), &["a participant"]);
}

#[test]
fn rows_coordinators_and_sizes_that_there_are_not_are_refused() {
    let (line, problem) = Scenario::parse(&HEAD.replace("[1]", "[99]")).unwrap_err();
    assert!(
        line == 2 && problem.contains("no row 99") && problem.contains("1 to 76"),
        "{problem}"
    );
    let (line, problem) = Scenario::parse(&HEAD.replace("[1]", "[]")).unwrap_err();
    assert!(line == 2 && problem.contains("`rows` is empty"), "{problem}");
    let nobody = "[[transaction]]\ncoordinator = 7\nparts = []";
    assert_refused(nobody, 4, &["coordinator 7", "has 1"]);
    let part = "{ at = \"p0\" },";
    assert_refused(
        &format!("[[transaction]]\nparts = [{}]", part.repeat(257)),
        4,
        &["257 parts", "256"],
    );
    assert_refused("[cluster]\ncoordinators = 0", 4, &["0 coordinators", "1 to 200"]);
    assert_refused("[cluster]\nledgers = 150\ndatabases = 150", 4, &["300", "200"]);
}
