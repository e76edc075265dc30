use super::{MAX_STATEMENTS, SqlOperation};
use crate::resources::sql::Parameter;

#[test]
fn the_documented_example_is_what_is_written() {
    let operation = SqlOperation::new()
        .then(
            "UPDATE accounts SET balance = balance - $1 WHERE id = $2 AND balance >= $1",
            [Parameter::from(250), "alice".into()],
        )
        .expecting(1);
    let text = concat!(
        r#"{"handfast_sql":1,"statements":[{"sql":"UPDATE accounts SET balance = balance - $1 WHERE id = $2 "#,
        r#"AND balance >= $1","params":[250,"alice"],"expect_rows":1}]}"#
    );
    assert_eq!(operation.encode(), text);
    assert_eq!(SqlOperation::decode(text.as_bytes()), Ok(operation));
}

#[test]
fn parameters_and_expectations_may_be_left_out() {
    let read = SqlOperation::decode(br#"{"handfast_sql":1,"statements":[{"sql":"SELECT 1"}]}"#).unwrap();
    assert_eq!(read, SqlOperation::new().then("SELECT 1", [] as [Parameter; 0]));
}

#[test]
fn what_cannot_be_read_is_refused_for_good_and_in_words() {
    let many = format!(
        r#"{{"handfast_sql":1,"statements":[{}]}}"#,
        vec![r#"{"sql":"SELECT 1"}"#; MAX_STATEMENTS + 1].join(",")
    );
    for (bytes, words) in [
        ("", "not JSON"),
        ("{}", "handfast_sql"),
        (r#"{"handfast_sql":2,"anything":true}"#, "version 2"),
        (r#"{"handfast_sql":1}"#, "statements"),
        (
            r#"{"handfast_sql":1,"statements":[{"sql":"x","expect_row":1}]}"#,
            "expect_row",
        ),
        (
            r#"{"handfast_sql":1,"statements":[{"sql":"x","expect_rows":-1}]}"#,
            "-1",
        ),
        (&many, "at most"),
    ] {
        let refusal = SqlOperation::decode(bytes.as_bytes()).unwrap_err();
        assert_eq!(
            (refusal.reason.as_str(), refusal.retryable),
            ("MALFORMED_OPERATION", false)
        );
        assert!(refusal.message.contains(words), "{}", refusal.message);
    }
}
