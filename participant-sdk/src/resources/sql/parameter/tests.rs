use proptest::prelude::*;

use super::Parameter;

fn any_parameter() -> impl Strategy<Value = Parameter> {
    prop_oneof![
        Just(Parameter::Null),
        any::<bool>().prop_map(Parameter::Bool),
        any::<i64>().prop_map(Parameter::Int),
        prop::num::f64::ANY
            .prop_filter("NaN is not equal to itself", |value| !value.is_nan())
            .prop_map(Parameter::Float),
        any::<String>().prop_map(Parameter::Text),
        any::<Vec<u8>>().prop_map(Parameter::Bytes),
        any::<Vec<i64>>().prop_map(|numbers| Parameter::Json(serde_json::json!({ "numbers": numbers }))),
        any::<u128>().prop_map(|bits| Parameter::Uuid(uuid::Uuid::from_u128(bits))),
    ]
}

proptest! {
    #[test]
    fn a_parameter_survives_json(parameter in any_parameter()) {
        let json = serde_json::to_string(&parameter).unwrap();
        prop_assert_eq!(serde_json::from_str::<Parameter>(&json).unwrap(), parameter);
    }
}

#[test]
fn a_float_that_json_cannot_say_survives_too() {
    for (value, json) in [
        (f64::INFINITY, r#"{"float":"Infinity"}"#),
        (-f64::INFINITY, r#"{"float":"-Infinity"}"#),
        (0.1, r#"{"float":"0.1"}"#),
    ] {
        assert_eq!(serde_json::to_string(&Parameter::Float(value)).unwrap(), json);
        assert_eq!(
            serde_json::from_str::<Parameter>(json).unwrap(),
            Parameter::Float(value)
        );
    }
    assert_eq!(
        serde_json::to_string(&Parameter::Float(f64::NAN)).unwrap(),
        r#"{"float":"NaN"}"#
    );
}

#[test]
fn what_cannot_be_a_parameter_is_refused_in_words() {
    for (json, word) in [
        ("18446744073709551615", "as text"),
        ("12.5", "no digit is lost"),
        (r#"{"float":1.5}"#, "as text"),
        ("[1]", "text form"),
        ("{}", "one field"),
        (r#"{"bytes":"abc"}"#, "even number"),
        (r#"{"bytes":"é0"}"#, "even number"),
        (r#"{"uuid":"no"}"#, "a UUID"),
        (r#"{"date":"2026-01-01"}"#, "one field"),
        (r#"{"json":1,"uuid":2}"#, "one field"),
    ] {
        let error = serde_json::from_str::<Parameter>(json).unwrap_err().to_string();
        assert!(error.contains(word), "{json}: {error}");
    }
}
