use super::check;

#[test]
fn statements_that_end_the_transaction_are_refused_however_they_are_dressed() {
    for sql in [
        "COMMIT",
        "  commit and chain",
        ";; Rollback",
        "/* a /* nested */ b */ END",
        "-- c\nABORT",
        "-- c\rabort",
        "\u{b}\u{c}\tPREPARE TRANSACTION 'x'",
        "NOTIFY a",
        "/**/listen a",
        "START TRANSACTION",
        "commit;",
    ] {
        assert_eq!(
            check(sql, 0).unwrap_err().reason,
            "STATEMENT_NOT_ALLOWED",
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
        "--",
    ] {
        assert_eq!(check(sql, 0), Ok(()), "{sql}");
    }
}
