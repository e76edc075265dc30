//! Who may call what operators call: whoever knows the token, if one was given, else everybody who reaches the port.
//!
//! A token is read from a file that nobody but its owner may read. The coordinator keeps its digest only; nothing here prints
//! either. What must never live here: who may call what applications and participants call.

use std::fmt;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use handfast_proto::status::{Failure, Reason};
use sha2::{Digest, Sha256};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Request, Status};

use crate::error::{Error, Kind};

/// The metadata entry that carries a token, as `Bearer TOKEN` (RFC 6750).
const METADATA: &str = "authorization";
const SCHEME: &str = "Bearer";

/// A token of fewer characters could be guessed: as many hexadecimal digits are 128 random bits.
const TOKEN_MIN: usize = 32;

/// A file with more bytes holds no token.
const TOKEN_FILE_BYTES: u64 = 4096;

/// The bits of a file's mode that let others than its owner in.
const OTHERS: u32 = 0o077;

/// A secret that operators and coordinator share.
#[derive(Clone, PartialEq, Eq)]
pub struct OperatorToken(String);

impl OperatorToken {
    /// Reads the token, and checks that it is one and a secret.
    ///
    /// # Errors
    /// If the file cannot be read, if others may read or write it, if it holds no token or one that is too short.
    pub fn read(path: &Path) -> Result<OperatorToken, Error> {
        let unusable = |message: String| {
            let message = format!(
                "the operator token file {} cannot be used: {message}",
                path.display()
            );
            Error::new(Kind::Usage, message)
        };
        let unreadable =
            |error: std::io::Error| unusable(format!("{error}; check the path and its permissions"));
        let is_file = |metadata: &std::fs::Metadata| match metadata.is_file() {
            true => Ok(()),
            false => Err(unusable("it is no file; give the path of one".to_owned())),
        };
        // To open a pipe would wait for whoever writes to it.
        is_file(&std::fs::metadata(path).map_err(unreadable)?)?;
        let file = std::fs::File::open(path).map_err(unreadable)?;
        // Of the file that is open, and not of whatever has its name by now.
        let metadata = file.metadata().map_err(unreadable)?;
        is_file(&metadata)?;
        let mode = metadata.permissions().mode();
        if mode & OTHERS != 0 {
            return Err(unusable(format!(
                "others than its owner may use it (mode {:03o}), so what it holds is no secret. Make a new token, and `chmod 600` \
                 the file before it holds it",
                mode & 0o777
            )));
        }
        let mut text = String::new();
        file.take(TOKEN_FILE_BYTES + 1)
            .read_to_string(&mut text)
            .map_err(unreadable)?;
        if text.len() as u64 > TOKEN_FILE_BYTES {
            return Err(unusable(format!(
                "it is longer than {TOKEN_FILE_BYTES} bytes, so it holds no token"
            )));
        }
        OperatorToken::new(text.trim()).map_err(unusable)
    }

    fn new(text: &str) -> Result<OperatorToken, String> {
        const ADVICE: &str = "make one with `openssl rand -hex 32`";
        if text.is_empty() {
            return Err(format!("it is empty; {ADVICE}"));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!(
                "a token is one word of visible ASCII characters; {ADVICE}"
            ));
        }
        if text.len() < TOKEN_MIN {
            return Err(format!(
                "its token has {} characters and could be guessed; give at least {TOKEN_MIN}: {ADVICE}",
                text.len()
            ));
        }
        Ok(OperatorToken(text.to_owned()))
    }

    /// Puts the token on a request. Whoever prints the request does not print it.
    pub fn sign<T>(&self, request: &mut Request<T>) {
        let mut value: MetadataValue<Ascii> = format!("{SCHEME} {}", self.0)
            .parse()
            .expect("a token is visible ASCII");
        value.set_sensitive(true);
        request.metadata_mut().insert(METADATA, value);
    }
}

impl fmt::Debug for OperatorToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OperatorToken(hidden)")
    }
}

/// Whom the coordinator takes for an operator.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Operators {
    /// SHA-256 of the token. Nothing: everybody.
    digest: Option<[u8; 32]>,
}

impl Operators {
    /// Those who know this token.
    pub fn with(token: &OperatorToken) -> Operators {
        Operators {
            digest: Some(digest(token.0.as_bytes())),
        }
    }

    /// Whether no token is asked for.
    pub fn are_everybody(&self) -> bool {
        self.digest.is_none()
    }

    /// Lets a call in, or says why not. It comes before anything of the call is read or done.
    ///
    /// # Errors
    /// [`Reason::Unauthenticated`], if the call carries no token or another one.
    pub fn admit(&self, request: Request<()>) -> Result<Request<()>, Status> {
        let Some(expected) = &self.digest else {
            return Ok(request);
        };
        let header = request.metadata().get(METADATA);
        let refuse = |message: &str| Err(Failure::new(Reason::Unauthenticated, message).into());
        match header.and_then(|value| bearer(value.to_str().ok()?)) {
            Some(token) if are_equal(&digest(token.as_bytes()), expected) => Ok(request),
            Some(_) => refuse(
                "the token that came with this call is not the operators' token of this coordinator; nothing was done. Send the \
                 one in the file that the coordinator was started with",
            ),
            None => refuse(
                "this call is for operators and carries no token; nothing was done. Send `authorization: Bearer TOKEN`, with the \
                 token in the file that the coordinator was started with",
            ),
        }
    }
}

impl fmt::Debug for Operators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.digest {
            None => "Operators(everybody)",
            Some(_) => "Operators(with a token)",
        })
    }
}

/// The token of a header. The scheme's name is told in any case (RFC 9110, 11.1).
fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case(SCHEME).then_some(token.trim())
}

fn digest(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// Takes as long wherever the two differ: how long a refusal takes tells nothing of the token, and neither does a token's length,
/// because digests are compared.
fn are_equal(one: &[u8; 32], other: &[u8; 32]) -> bool {
    let difference = one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b));
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests;
