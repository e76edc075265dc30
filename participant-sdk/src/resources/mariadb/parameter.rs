//! How values travel to MariaDB: in the binary protocol, each as what it is. The server converts where a column wants something
//! else; text and bytes are the same to it.

use mysql_async::Value;

use crate::resources::sql::Parameter;

/// What the driver sends.
pub(super) fn value(parameter: &Parameter) -> Value {
    match parameter {
        Parameter::Null => Value::NULL,
        Parameter::Bool(value) => Value::Int(i64::from(*value)),
        Parameter::Int(value) => Value::Int(*value),
        Parameter::Float(value) => Value::Double(*value),
        Parameter::Text(value) => Value::Bytes(value.as_bytes().to_vec()),
        Parameter::Bytes(value) => Value::Bytes(value.clone()),
        Parameter::Json(value) => Value::Bytes(value.to_string().into_bytes()),
        Parameter::Uuid(value) => Value::Bytes(value.to_string().into_bytes()),
    }
}

/// About how many bytes it is on its way.
pub(super) fn size(parameter: &Parameter) -> usize {
    /// Its type, its length, and numbers, which are never longer.
    const AROUND: usize = 16;
    AROUND
        + match parameter {
            Parameter::Text(value) => value.len(),
            Parameter::Bytes(value) => value.len(),
            Parameter::Json(value) => value.to_string().len(),
            Parameter::Uuid(_) => 36,
            Parameter::Null | Parameter::Bool(_) | Parameter::Int(_) | Parameter::Float(_) => 0,
        }
}
