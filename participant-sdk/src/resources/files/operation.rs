//! What a branch writes, in JSON with a version, so that any language can say it.
//!
//! ```json
//! {"handfast_files": 1, "files": [
//!   {"path": "2026/invoice-4711.txt", "mode": "create", "text": "500 EUR"},
//!   {"path": "logo.png", "mode": "replace", "base64": "iVBORw0KGgo="}]}
//! ```

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::layout;
use crate::resource::Refusal;

/// The version of the encoding that this build writes and reads.
pub const OPERATION_VERSION: u32 = 1;

/// How a file is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Refused if there is such a file.
    Create,
    /// Whether there is one or not.
    Replace,
}

/// One file that is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileWrite {
    /// Below the root, with `/` between its parts.
    pub path: String,
    /// What if it exists.
    pub mode: Mode,
    /// All of it.
    pub contents: Vec<u8>,
}

/// What a branch writes: all of its files, or none.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FilesOperation {
    /// In the order in which they come into place.
    pub files: Vec<FileWrite>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Encoded {
    handfast_files: u32,
    files: Vec<EncodedFile>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EncodedFile {
    path: String,
    mode: Mode,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

#[derive(Deserialize)]
struct Version {
    handfast_files: u32,
}

impl FilesOperation {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more file, which must not exist.
    #[must_use]
    pub fn create(self, path: impl Into<String>, contents: impl Into<Vec<u8>>) -> Self {
        self.write(path, Mode::Create, contents)
    }

    /// One more file, whether it exists or not.
    #[must_use]
    pub fn replace(self, path: impl Into<String>, contents: impl Into<Vec<u8>>) -> Self {
        self.write(path, Mode::Replace, contents)
    }

    fn write(mut self, path: impl Into<String>, mode: Mode, contents: impl Into<Vec<u8>>) -> Self {
        self.files.push(FileWrite {
            path: path.into(),
            mode,
            contents: contents.into(),
        });
        self
    }

    /// As the bytes of an operation.
    pub fn encode(&self) -> Bytes {
        let file = |file: &FileWrite| {
            let text = str::from_utf8(&file.contents).ok().map(str::to_owned);
            EncodedFile {
                path: file.path.clone(),
                mode: file.mode,
                base64: text.is_none().then(|| STANDARD.encode(&file.contents)),
                text,
            }
        };
        let encoded = Encoded {
            handfast_files: OPERATION_VERSION,
            files: self.files.iter().map(file).collect(),
        };
        serde_json::to_vec(&encoded)
            .expect("texts can be written as JSON")
            .into()
    }

    /// Back from bytes; what cannot be read or must not be written is refused in words.
    ///
    /// # Errors
    /// A refusal for good.
    pub fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        let malformed = |what: String| Refusal::permanent("MALFORMED_OPERATION", what);
        let version: Version = serde_json::from_slice(bytes).map_err(|error| {
            malformed(format!(
                "the operation is not JSON with a number in \"handfast_files\": {error}"
            ))
        })?;
        if version.handfast_files != OPERATION_VERSION {
            return Err(malformed(format!(
                "the operation is of version {}; this build reads version {OPERATION_VERSION}",
                version.handfast_files
            )));
        }
        let encoded: Encoded = serde_json::from_slice(bytes)
            .map_err(|error| malformed(format!("the operation cannot be read: {error}")))?;
        let mut operation = FilesOperation::new();
        for EncodedFile {
            path,
            mode,
            text,
            base64,
        } in encoded.files
        {
            layout::check_path(&path)?;
            let contents = match (text, base64) {
                (Some(text), None) => text.into_bytes(),
                (None, Some(base64)) => STANDARD
                    .decode(&base64)
                    .map_err(|error| malformed(format!("the base64 of {path:?} cannot be read: {error}")))?,
                _ => return Err(malformed(format!("{path:?} needs either \"text\" or \"base64\""))),
            };
            if operation.files.iter().any(|other| other.path == path) {
                return Err(malformed(format!("{path:?} is written twice")));
            }
            operation.files.push(FileWrite { path, mode, contents });
        }
        Ok(operation)
    }
}

#[cfg(test)]
mod tests;
