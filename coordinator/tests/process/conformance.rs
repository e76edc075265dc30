//! `handfast conformance` from outside: flags, exit codes and output. What it catches is tested where it lives.

use serde_json::Value;

use crate::coordinator::{run, stderr, stdout};

#[test]
fn a_participant_that_never_comes_is_told_with_its_last_words() {
    let arguments = [
        "conformance",
        "--resource",
        "seats",
        "--exec",
        "echo no seats at {coordinator}; exit 7",
    ];
    let output = run(&arguments);
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    let report = stdout(&output);
    assert!(
        report.contains("WRONG") && report.contains("no seats at 127.0.0.1:"),
        "{report}"
    );
    assert!(
        report.contains("why it matters") && report.contains("docs/guide/another-language.md#"),
        "{report}"
    );
    assert!(stderr(&output).contains("1 wrong"), "{}", stderr(&output));

    let output = run(&[&arguments[..], &["-o", "json"]].concat());
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((&report["right"], &report["wrong"]), (&0.into(), &1.into()));
    assert_eq!(report["cases"][0]["verdict"], "wrong");
    assert_eq!(report["cases"][1]["verdict"], "not_checked");
}

#[test]
fn flags_that_make_no_sense_are_refused_with_words() {
    let wanted = ["conformance", "--resource", "seats", "--exec", "true"];
    for (flags, words) in [
        (&["--only", "lunch"][..], "handshake"),
        (
            &["--effects", "true", "--effects-file", "x"],
            "cannot be used with",
        ),
        (&["--patience", "0"], "patience"),
    ] {
        let output = run(&[&wanted[..], flags].concat());
        assert_eq!(output.status.code(), Some(2), "{}", stdout(&output));
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
    }
    let output = run(&["conformance", "--resource", "Not A Name", "--exec", "true"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("orders-db"), "it shows a good name");
    assert_eq!(run(&["conformance", "--exec", "true"]).status.code(), Some(2));
}

#[test]
fn the_cases_can_be_listed() {
    let output = run(&["conformance", "--list"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(
        stdout(&output).contains("crashes/kill-after-vote: "),
        "{}",
        stdout(&output)
    );
}

/// clap would make a line break of the place of the number.
#[test]
fn the_help_shows_the_place_of_the_number() {
    for help in ["--help", "-h"] {
        let text = stdout(&run(&["conformance", help]));
        for words in [
            "--operation '{n} ada' --refused '0 bob'",
            "{n} in it becomes a new number",
            "What {n} becomes first",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }
    let completions = stdout(&run(&["completions", "fish"]));
    assert!(completions.contains("What {n} becomes first"), "{completions}");
    assert!(!completions.contains('\u{1b}'));
}
