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
        "create/**/or /*! replace */ /* c */ temporary table t (i int)",
        "load data local infile 'x' into table a",
        "kill 5",
        "KILL QUERY ID 5",
        "if 1 then xa end 'x'; end if",
        "IF (1) THEN KILL 5; END IF",
        "CASE 1 WHEN 1 THEN KILL 5; END CASE",
        "loop kill 5; end loop",
        "WHILE 1 DO KILL 5; END WHILE",
        "REPEAT KILL 5; UNTIL 1 END REPEAT",
        "FOR i IN 1..2 DO KILL 5; END FOR",
        "a_1: LOOP KILL 5; END LOOP",
        "ä : BEGIN NOT ATOMIC KILL 5; END",
        "a /* c */ : WHILE 1 DO KILL 5; END WHILE",
        "a /*!50000 : */ WHILE 1 DO KILL 5; END WHILE",
        "`a``b`: LOOP KILL 5; END LOOP",
        "<<a>> LOOP KILL 5; END LOOP",
        "SET STATEMENT max_statement_time = 1 FOR KILL 5",
        "set/* c */statement max_statement_time = 1 for kill 5",
        "set /*!50000 statement*/ max_statement_time = 1 for kill 5",
        "DELETE FROM handfast_marker",
        "delete from bank . `HandFast_Marker`",
        "INSERT INTO/**/handfast_marker/**/VALUES (1)",
        "/* a */ UPDATE accounts, handfast_store SET generation = 2",
        "SELECT * FROM handfast_seen",
        "SELECT 1 /*!50000 FROM handfast_seen*/",
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
        "SELECT IF(a, 1, 2), CASE a WHEN 1 THEN 2 END FROM t",
        "SELECT /*!40001 SQL_NO_CACHE */ 1",
        "SELECT @a := 1",
        "SET @a = 1",
        "set session wait_timeout = 5",
        "SELECT * FROM my_handfast_marker, handfast_marker_2, handfast",
        "CREATE TABLE temporary_1 (i int)",
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
