//! Passwords: in the file, or better in the environment. Never in a message.

use std::fmt;

use serde::{Deserialize, Deserializer};

/// A password that stands in the file.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

/// The name of an environment variable that holds a password; read when the file is.
#[derive(Clone)]
pub struct EnvironmentSecret(String);

impl Secret {
    /// The password itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl EnvironmentSecret {
    /// The password itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl fmt::Debug for EnvironmentSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl<'de> Deserialize<'de> for EnvironmentSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let variable = String::deserialize(deserializer)?;
        std::env::var(&variable).map(EnvironmentSecret).map_err(|_| {
            D::Error::custom(format!(
                "the environment variable {variable} is not set, or is no text"
            ))
        })
    }
}
