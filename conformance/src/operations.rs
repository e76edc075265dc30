//! The operations that the participant is asked to do.

use std::path::Path;

use bytes::Bytes;

/// What the user gives, each a text or the content of a file. `{n}` in it becomes a number that no operation had before.
#[derive(Clone, Debug, Default)]
pub struct Operations {
    /// Each succeeds, leaves exactly one effect if it is committed, and none otherwise. They take turns.
    pub succeed: Vec<Template>,
    /// Each is always refused.
    pub refused: Vec<Template>,
    /// Each changes nothing, and is voted read-only.
    pub read_only: Vec<Template>,
}

/// An operation with a place for a number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Template(Bytes);

const PLACE: &[u8] = b"{n}";

impl Template {
    /// The content of the file of this name, if there is one; else the text itself.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn from_file_or_text(text: &str) -> Result<Self, String> {
        let path = Path::new(text);
        if !path.is_file() {
            return Ok(Template(Bytes::copy_from_slice(text.as_bytes())));
        }
        match std::fs::read(path) {
            Ok(content) => Ok(Template(content.into())),
            Err(error) => Err(format!("the operation's file {text} cannot be read: {error}")),
        }
    }

    /// These bytes.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Self {
        Template(bytes.into())
    }

    /// The operation with this number.
    pub fn with(&self, number: u64) -> Bytes {
        let number = number.to_string();
        let mut made = Vec::with_capacity(self.0.len() + number.len());
        let mut rest = &self.0[..];
        while let Some(at) = rest.windows(PLACE.len()).position(|window| window == PLACE) {
            made.extend_from_slice(&rest[..at]);
            made.extend_from_slice(number.as_bytes());
            rest = &rest[at + PLACE.len()..];
        }
        made.extend_from_slice(rest);
        made.into()
    }
}

#[cfg(test)]
mod tests {
    use super::Template;

    #[test]
    fn every_place_gets_the_number_and_nothing_else_changes() {
        let made = |text: &'static str| Template::from_bytes(text).with(42);
        assert_eq!(made("seat {n} for buyer-{n}"), "seat 42 for buyer-42");
        assert_eq!(made("{{n}} {m} {n"), "{42} {m} {n");
        assert_eq!(made(""), "");
        assert_eq!(
            Template::from_bytes(&b"\xff{n}\x00"[..]).with(7),
            &b"\xff7\x00"[..]
        );
    }
}
