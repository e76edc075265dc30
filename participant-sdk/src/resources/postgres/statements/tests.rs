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
        "DELETE FROM handfast.marker",
        "delete from \"handfast\" . \"marker\"",
        "SELECT * FROM HandFast/**/.store",
        "SELECT * FROM bank.handfast -- c\n . seen",
        "SET LOCAL search_path TO handfast, public",
        "SELECT set_config('search_path', 'handfast', true)",
        "ALTER TABLE marker SET SCHEMA \"handfast\"",
        "DROP SCHEMA handfast CASCADE",
        "DELETE FROM U&\"\\0068andfast\".marker",
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
        "INSERT INTO notes VALUES ('handfast is at work')",
        "SELECT * FROM my_handfast.marker, handfast_2.marker, marker",
        "SELECT handfast FROM names",
        "SET LOCAL search_path TO bank",
    ] {
        assert_eq!(check(sql, 0), Ok(()), "{sql}");
    }
}
