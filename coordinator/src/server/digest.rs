//! The digest of a request that an idempotency key is bound to: what the transaction does, and nothing of how it is asked for.
//!
//! ```text
//!  SHA-256 of:  "handfast-request" 0x00 version(1)  count(8)  ( length(8) resource  length(8) operation )*
//! ```
//!
//! Numbers are big endian. Key, expiry, deadline and wait are left out: a retry may change the latter two. The encoding of
//! a version never changes, because digests outlive the program in the log.

use handfast_core::RequestDigest;
use sha2::{Digest, Sha256};

const DOMAIN: &[u8] = b"handfast-request\0";
const VERSION: u8 = 1;

/// The digest of a one-shot transaction's operations, in their order.
pub fn of_operations<'a>(operations: impl ExactSizeIterator<Item = (&'a str, &'a [u8])>) -> RequestDigest {
    let mut hash = Sha256::new();
    hash.update(DOMAIN);
    hash.update([VERSION]);
    hash.update((operations.len() as u64).to_be_bytes());
    for (resource, operation) in operations {
        for field in [resource.as_bytes(), operation] {
            hash.update((field.len() as u64).to_be_bytes());
            hash.update(field);
        }
    }
    RequestDigest(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(operations: &[(&str, &[u8])]) -> String {
        let digest = of_operations(operations.iter().copied());
        digest.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The vectors were computed with another program from the drawing above.
    #[test]
    fn vectors() {
        assert_eq!(hex(&[]), VECTORS[0]);
        assert_eq!(
            hex(&[("orders-db", b"insert"), ("ledger", b"\x00\xff")]),
            VECTORS[1]
        );
    }

    const VECTORS: [&str; 2] = [
        "f4079dede94df646b686d8a17210306e33bb93c122991f977cf7eab751ea80a4",
        "ad538657371638cda8b3f8e6a92f1882d079dada46497ab0398fb2124f540b6e",
    ];

    #[test]
    fn lengths_keep_fields_apart() {
        let all = [
            hex(&[("ab", b"c")]),
            hex(&[("a", b"bc")]),
            hex(&[("ab", b""), ("c", b"")]),
            hex(&[("c", b""), ("ab", b"")]),
        ];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }
}
