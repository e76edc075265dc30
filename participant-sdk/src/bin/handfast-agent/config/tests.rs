use std::time::Duration;

use super::{AgentFile, line_of};

const GOOD: &str = r#"
coordinator = ["127.0.0.1:7420", "127.0.0.1:7421"]

[report]
period_s = 5

[[resource]]
kind = "ledger"
name = "left"
data_dir = "/var/lib/left"
accounts = { alice = 1000 }

[[resource]]
kind = "ledger"
name = "right"
coordinator = "10.0.0.7:7420"
data_dir = "/var/lib/right"
"#;

/// What is said of a text, with its line.
fn refused(text: &str) -> String {
    let text: &'static str = text.to_owned().leak();
    let misfit = AgentFile::parse(text).map(drop).unwrap_err();
    let line = misfit.span.map_or(0, |span| line_of(text, span.start));
    format!("{line}: {}", misfit.message)
}

#[test]
fn a_good_file_names_its_resources() {
    let file = AgentFile::parse(GOOD).map_err(|misfit| misfit.message).unwrap();
    let seen: Vec<_> = file
        .entries
        .iter()
        .map(|entry| (entry.name.as_str(), entry.kind, entry.coordinators.join(" ")))
        .collect();
    assert_eq!(
        seen,
        [
            ("left", "ledger", "127.0.0.1:7420 127.0.0.1:7421".to_owned()),
            ("right", "ledger", "10.0.0.7:7420".to_owned())
        ]
    );
    assert_eq!(file.reporting.period, Duration::from_secs(5));
    assert_eq!(file.reporting.prepared_warn, Duration::from_secs(300), "left out");
    assert!(
        file.entries.iter().all(|entry| entry.kind().is_ok()),
        "made anew for each try"
    );
}

#[test]
fn what_does_not_fit_is_told_with_line_key_and_what_is_accepted() {
    for (from, to, words) in [
        (
            "data_dir = \"/var/lib/left\"",
            "data_dri = \"/var/lib/left\"",
            "10: resource \"left\" of kind ledger, key `data_dri`: unknown field `data_dri`, expected one of `data_dir`, `accounts`, `history`",
        ),
        (
            "data_dir = \"/var/lib/left\"\n",
            "",
            "7: resource \"left\" of kind ledger: missing field `data_dir`",
        ),
        (
            "data_dir = \"/var/lib/left\"",
            "data_dir = 7",
            "10: resource \"left\" of kind ledger, key `data_dir`: invalid type: integer `7`, expected path string",
        ),
        (
            "alice = 1000",
            "alice = \"much\"",
            "11: resource \"left\" of kind ledger, key `accounts`: invalid type: string \"much\", expected i64",
        ),
        (
            "kind = \"ledger\"\nname = \"left\"",
            "kind = \"leger\"\nname = \"left\"",
            "8: unknown kind \"leger\"; known are ",
        ),
        (
            "kind = \"ledger\"\nname = \"left\"",
            "name = \"left\"",
            "7: this resource has no `kind`",
        ),
        (
            "name = \"left\"",
            "name = 1",
            "9: `name` is a text in quotes, not a integer",
        ),
        ("name = \"left\"", "name = \"Left Side\"", "9: \"Left Side\""),
        (
            "name = \"right\"",
            "name = \"left\"",
            "13: the name \"left\" stands in line 7 already",
        ),
        (
            "coordinator = [\"127.0.0.1:7420\", \"127.0.0.1:7421\"]",
            "",
            "7: no coordinator for \"left\"",
        ),
        (
            "[\"127.0.0.1:7420\", \"127.0.0.1:7421\"]",
            "[]",
            "2: `coordinator` is an address",
        ),
        ("\"127.0.0.1:7421\"]", "7421]", "2: `coordinator` is an address"),
        (
            "period_s = 5",
            "period_s = \"5\"",
            "5: invalid type: string \"5\", expected u32",
        ),
        (
            "period_s = 5",
            "period = 5",
            "5: unknown field `period`, expected `period_s` or `prepared_warn_s`",
        ),
        (
            "[report]",
            "[reports]",
            "4: unknown key `reports`; known are coordinator, report, resource",
        ),
        ("name = \"left\"", "name = \"left", "9: invalid basic string"),
    ] {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{from}");
        let said = refused(&text);
        assert!(said.starts_with(words), "{to:?}:\n{said}\ninstead of\n{words}");
    }
    assert!(refused("coordinator = \"127.0.0.1:1\"").contains("write a [[resource]] table for each"));
    assert!(refused("resource = 1").contains("write [[resource]]"));
}

#[test]
#[cfg(feature = "postgres")]
fn a_password_comes_from_one_place_and_is_never_shown() {
    let file = |keys: &str| {
        format!("[[resource]]\nkind = \"postgres\"\nname = \"orders\"\ncoordinator = \"127.0.0.1:1\"\n{keys}")
    };
    let url = "url = \"postgres://ada:geheim@127.0.0.1/orders\"\n";
    assert!(AgentFile::parse(file(url).leak()).is_ok());
    for (keys, words) in [
        (
            "password = \"a\"\npassword_env = \"PATH\"",
            "1: resource \"orders\" of kind postgres: write `password` or `password_env`, not both",
        ),
        (
            "password_env = \"HANDFAST_NO_SUCH_VARIABLE\"",
            "6: resource \"orders\" of kind postgres, key `password_env`: the environment variable HANDFAST_NO_SUCH_VARIABLE is not set",
        ),
        (
            "wrok = 1",
            "6: resource \"orders\" of kind postgres, key `wrok`: unknown field `wrok`, expected one of `url`",
        ),
    ] {
        let said = refused(&file(&format!("{url}{keys}")));
        assert!(said.starts_with(words), "{said}\ninstead of\n{words}");
        assert!(!said.contains("geheim"), "{said}");
    }
    let said = refused(&file("url = \"mysql://ada:geheim@h/x\""));
    assert!(
        said.starts_with(
            "5: resource \"orders\" of kind postgres, key `url`: the PostgreSQL URL cannot be read"
        ),
        "{said}"
    );
    assert!(!said.contains("geheim"), "{said}");
}
