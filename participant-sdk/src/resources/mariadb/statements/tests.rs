use super::{check, locks_what_it_reads};

#[test]
fn statements_that_leave_the_branch_are_refused_however_they_are_dressed() {
    for sql in [
        "COMMIT",
        "  commit and chain",
        ";; Rollback",
        "/* a */ XA END 'x'",
        "-- c\nXA COMMIT 'x' ONE PHASE",
        "--\tc\nxa end 'x'",
        "# c\n use mysql",
        "/*!50000 XA END 'x' */",
        "/*M! commit */",
        "/* a */ /*! select 1 */",
        "\u{b}\u{c}\tEXECUTE IMMEDIATE 'XA END ''x'''",
        "PREPARE p FROM 'x'",
        "LOCK TABLES a WRITE",
        "START TRANSACTION",
        "BEGIN NOT ATOMIC XA END 'x'; END",
        "savepoint a",
        "CREATE TEMPORARY TABLE t (i int)",
        "create or replace temporary table t (i int)",
        "load data local infile 'x' into table a",
    ] {
        assert_eq!(
            check(sql, 0).map_err(|refusal| refusal.reason),
            Err("STATEMENT_NOT_ALLOWED".to_owned()),
            "{sql}"
        );
    }
    for sql in [
        "SELECT 1",
        "commits",
        "(SELECT 1)",
        "WITH x AS (SELECT 1) SELECT 2",
        "",
        "/* open",
        "--1",
        "-- only a comment",
        "CALL book(?)",
        "INSERT INTO t VALUES ('XA END')",
        "/* a /* nested */ SELECT 1",
    ] {
        assert_eq!(check(sql, 0), Ok(()), "{sql}");
    }
}

#[test]
fn locking_reads_are_seen() {
    for sql in [
        "SELECT * FROM a FOR UPDATE",
        "select * from a for\n  update skip locked",
        "SELECT 1 FROM a LOCK IN SHARE MODE",
        "SELECT 1 FROM a FOR SHARE",
    ] {
        assert!(locks_what_it_reads(sql), "{sql}");
    }
    assert!(!locks_what_it_reads("SELECT * FROM updates"));
}
