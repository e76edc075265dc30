use proptest::collection::vec;
use proptest::prelude::*;

use super::{MAX_STATEMENTS, SqlOperation, Statement};
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

fn parameters() -> impl Strategy<Value = Parameter> {
    prop_oneof![
        Just(Parameter::Null),
        any::<bool>().prop_map(Parameter::Bool),
        any::<i64>().prop_map(Parameter::Int),
        // NaN is not equal to itself; that it survives is told by the tests of the parameters.
        any::<f64>()
            .prop_filter("not NaN", |value| !value.is_nan())
            .prop_map(Parameter::Float),
        any::<String>().prop_map(Parameter::Text),
        vec(any::<u8>(), 0..50).prop_map(Parameter::Bytes),
        vec(any::<Option<String>>(), 0..5).prop_map(|value| Parameter::Json(value.into())),
        any::<u128>().prop_map(|bits| Parameter::Uuid(uuid::Uuid::from_u128(bits))),
    ]
}

fn operations() -> impl Strategy<Value = SqlOperation> {
    let statement = (any::<String>(), vec(parameters(), 0..6), any::<Option<u64>>());
    let statement = statement.prop_map(|(sql, params, expect_rows)| Statement {
        sql,
        params,
        expect_rows,
    });
    vec(statement, 0..6).prop_map(|statements| SqlOperation { statements })
}

proptest! {
    #[test]
    fn every_operation_comes_back_as_it_was_written(operation in operations()) {
        prop_assert_eq!(SqlOperation::decode(&operation.encode()), Ok(operation));
    }

    #[test]
    fn no_input_is_fatal(bytes in vec(any::<u8>(), 0..200)) {
        let _ = SqlOperation::decode(&bytes);
    }

    #[test]
    fn a_damaged_operation_is_read_or_refused_for_good(
        operation in operations(), at in any::<prop::sample::Index>(), byte in any::<u8>(), length in any::<prop::sample::Index>(),
    ) {
        let mut bytes = operation.encode().to_vec();
        let position = at.index(bytes.len());
        bytes[position] = byte;
        bytes.truncate(length.index(2 * bytes.len()).max(position));
        if let Err(refusal) = SqlOperation::decode(&bytes) {
            prop_assert!(!refusal.retryable && !refusal.message.is_empty());
        }
    }
}
