//! The values that statements take. How each travels is the database's business; in JSON they are the same for all:
//!
//! | value | JSON |
//! |---|---|
//! | SQL NULL | `null` |
//! | boolean | `true` |
//! | integer, 64 bits | `-42` |
//! | floating point, which JSON numbers do not carry to the last bit | `{"float": "1.5"}` |
//! | text; also decimal numbers, dates, arrays, anything with a text form | `"12.50"` |
//! | bytes | `{"bytes": "00ff"}`, hexadecimal |
//! | a JSON document | `{"json": {"any": ["thing"]}}` |
//! | uuid | `{"uuid": "67e55044-10b1-426f-9247-bb680e5fe0c8"}` |

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One value for a parameter of a statement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "serde_json::Value", into = "serde_json::Value")]
pub enum Parameter {
    /// SQL NULL.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer; also casts to smaller types and to numeric.
    Int(i64),
    /// A floating point number, NaN and the infinities included. For money use text.
    Float(f64),
    /// Text, or anything else by its text form, such as `12.50` for a decimal number.
    Text(String),
    /// Bytes, for `bytea`, `blob` and their kin.
    Bytes(Vec<u8>),
    /// A JSON document.
    Json(serde_json::Value),
    /// A UUID.
    Uuid(Uuid),
}

/// A floating point number to its last bit.
pub(in crate::resources) fn float_text(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
    } else {
        format!("{value:?}")
    }
}

/// Hexadecimal digits.
pub(in crate::resources) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a String cannot fail");
            text
        })
}

/// Bytes from hexadecimal digits.
pub(in crate::resources) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .chars()
        .map(|digit| digit.to_digit(16).map(|digit| digit as u8))
        .collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty()
        .then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

impl From<Parameter> for serde_json::Value {
    fn from(parameter: Parameter) -> Self {
        match parameter {
            Parameter::Null => serde_json::Value::Null,
            Parameter::Bool(value) => value.into(),
            Parameter::Int(value) => value.into(),
            Parameter::Float(value) => serde_json::json!({ "float": float_text(value) }),
            Parameter::Text(value) => value.into(),
            Parameter::Bytes(value) => serde_json::json!({ "bytes": hex(&value) }),
            Parameter::Json(value) => serde_json::json!({ "json": value }),
            Parameter::Uuid(value) => serde_json::json!({ "uuid": value.to_string() }),
        }
    }
}

impl TryFrom<serde_json::Value> for Parameter {
    type Error = String;

    fn try_from(value: serde_json::Value) -> Result<Self, String> {
        use serde_json::Value;
        Ok(match value {
            Value::Null => Parameter::Null,
            Value::Bool(value) => Parameter::Bool(value),
            Value::Number(number) => Parameter::Int(number.as_i64().ok_or_else(|| {
                format!("{number} is not an integer of 64 bits; write it as text between quotes, so that no digit is lost")
            })?),
            Value::String(value) => Parameter::Text(value),
            Value::Array(_) => {
                return Err(
                    "an array cannot be a parameter; write its text form, such as \"{1,2}\"".to_owned(),
                );
            }
            Value::Object(object) => {
                let mut fields = object.into_iter();
                match (fields.next(), fields.next()) {
                    (Some((kind, value)), None) => typed(&kind, value)?,
                    _ => return Err(TYPED_FORMS.to_owned()),
                }
            }
        })
    }
}

const TYPED_FORMS: &str =
    "a parameter that is an object has one field: \"bytes\" (hexadecimal), \"float\", \"json\" or \"uuid\"";

fn typed(kind: &str, value: serde_json::Value) -> Result<Parameter, String> {
    match kind {
        "json" => Ok(Parameter::Json(value)),
        "bytes" => value
            .as_str()
            .and_then(unhex)
            .map(Parameter::Bytes)
            .ok_or_else(|| {
                "\"bytes\" takes an even number of hexadecimal digits, such as \"00ff\"".to_owned()
            }),
        "float" => value
            .as_str()
            .and_then(|text| text.parse().ok())
            .map(Parameter::Float)
            .ok_or_else(|| "\"float\" takes a number as text, such as \"1.5\"".to_owned()),
        "uuid" => value
            .as_str()
            .and_then(|text| Uuid::parse_str(text).ok())
            .map(Parameter::Uuid)
            .ok_or_else(|| {
                "\"uuid\" takes a UUID, such as \"67e55044-10b1-426f-9247-bb680e5fe0c8\"".to_owned()
            }),
        _ => Err(TYPED_FORMS.to_owned()),
    }
}

macro_rules! from {
    ($($source:ty => $kind:ident),* $(,)?) => {$(
        impl From<$source> for Parameter {
            fn from(value: $source) -> Self {
                Parameter::$kind(value.into())
            }
        }
    )*};
}
from!(bool => Bool, i16 => Int, i32 => Int, u32 => Int, i64 => Int, f64 => Float, &str => Text, String => Text,
      Vec<u8> => Bytes, Uuid => Uuid);

impl<T: Into<Parameter>> From<Option<T>> for Parameter {
    fn from(value: Option<T>) -> Self {
        value.map_or(Parameter::Null, Into::into)
    }
}

#[cfg(test)]
mod tests;
