use super::{Server, numbers};
use crate::resources::Verdict;

fn server(settings: &[(&str, &str)]) -> Server {
    let mut server = Server {
        settings: [
            ("version", "10.11.6-MariaDB"),
            ("innodb_flush_log_at_trx_commit", "1"),
            ("innodb_doublewrite", "ON"),
            ("innodb_force_recovery", "0"),
            ("read_only", "OFF"),
            ("log_bin", "OFF"),
            ("sync_binlog", "0"),
            ("max_connections", "151"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into(),
        untransacted: Vec::new(),
    };
    for (name, value) in settings {
        server.settings.insert((*name).to_owned(), (*value).to_owned());
    }
    server
}

fn broken(server: &Server) -> Vec<String> {
    let findings = server.judge(10);
    let broken = findings.iter().filter(|finding| finding.is_broken());
    broken.map(|finding| finding.what.clone()).collect()
}

#[test]
fn a_server_that_is_as_it_must_be_has_no_fault() {
    assert!(
        server(&[])
            .judge(10)
            .iter()
            .all(|finding| finding.verdict == Verdict::Holds)
    );
    assert!(server(&[]).require(10).is_ok());
}

#[test]
fn each_precondition_is_judged_by_itself() {
    for (settings, what) in [
        (vec![("version", "10.4.32-MariaDB")], "version"),
        (vec![("version", "5.5.5-10.4.32-MariaDB")], "version"),
        (
            vec![("innodb_flush_log_at_trx_commit", "2")],
            "innodb_flush_log_at_trx_commit",
        ),
        (
            vec![("innodb_flush_log_at_trx_commit", "0")],
            "innodb_flush_log_at_trx_commit",
        ),
        (vec![("log_bin", "ON")], "sync_binlog"),
        (vec![("wsrep_on", "ON")], "wsrep_on"),
        (vec![("read_only", "ON")], "read_only"),
        (vec![("innodb_read_only", "ON")], "innodb_read_only"),
        (vec![("innodb_force_recovery", "3")], "innodb_force_recovery"),
    ] {
        let server = server(&settings);
        assert_eq!(broken(&server), [what]);
        let error = server.require(10).unwrap_err();
        assert!(error.message.starts_with(what), "{error}");
        assert_eq!(error.permanent, !what.ends_with("read_only"), "{error}");
    }
    assert_eq!(
        broken(&server(&[("log_bin", "ON"), ("sync_binlog", "1")])),
        Vec::<String>::new()
    );
}

#[test]
fn mysql_differs_by_its_version_and_by_letting_go() {
    let mysql = |version, detaches| server(&[("version", version), ("xa_detach_on_prepare", detaches)]);
    assert_eq!(broken(&mysql("8.0.36", "ON")), Vec::<String>::new());
    assert_eq!(broken(&mysql("8.0.29", "ON")), ["version"]);
    assert_eq!(broken(&mysql("8.4.0", "OFF")), ["xa_detach_on_prepare"]);
}

#[test]
fn advice_is_no_hindrance() {
    let mut few = server(&[("max_connections", "10"), ("innodb_doublewrite", "OFF")]);
    few.untransacted = ["a", "b", "c", "d", "e", "f"].map(str::to_owned).to_vec();
    let advice: Vec<String> = few
        .judge(10)
        .into_iter()
        .filter(|finding| matches!(finding.verdict, Verdict::Advice(_)))
        .map(|finding| finding.what)
        .collect();
    assert_eq!(advice, ["innodb_doublewrite", "max_connections", "tables"]);
    assert!(few.require(10).is_ok());
}

#[test]
fn versions_are_numbers_and_not_text() {
    assert!(numbers("10.11.19-MariaDB-0+deb12u1") > numbers("10.5.0"));
    assert_eq!(numbers("5.5.5-10.6.1-MariaDB"), (10, 6, 1));
    assert_eq!(numbers("rubbish"), (0, 0, 0));
}
