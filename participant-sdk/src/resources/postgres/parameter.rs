//! How values travel to PostgreSQL.
//!
//! Every value is sent as text of no declared type, just as a quoted literal would stand in the statement: the server takes
//! the type from the context (`balance - $1`, `id = $2`). Where the context says nothing, write a cast: `$1::bigint`.

use std::error::Error;

use bytes::BytesMut;
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};

use crate::resources::sql::Parameter;
use crate::resources::sql::parameter::{float_text, hex};

/// The text form that the server reads; `None` is NULL.
fn text(parameter: &Parameter) -> Option<String> {
    Some(match parameter {
        Parameter::Null => return None,
        Parameter::Bool(value) => value.to_string(),
        Parameter::Int(value) => value.to_string(),
        Parameter::Float(value) => float_text(*value),
        Parameter::Text(value) => value.clone(),
        Parameter::Bytes(value) => format!("\\x{}", hex(value)),
        Parameter::Json(value) => value.to_string(),
        Parameter::Uuid(value) => value.to_string(),
    })
}

impl ToSql for Parameter {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        Ok(match text(self) {
            None => IsNull::Yes,
            Some(text) => {
                out.extend_from_slice(text.as_bytes());
                IsNull::No
            }
        })
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}
