//! The identity file, and the checksums that bind every other file to it.

use crate::{Fault, Lsn};

/// The random id that a log gets when it is created.
pub type LogId = [u8; 16];

/// The version of every file format in the directory.
pub const FORMAT_VERSION: u32 = 1;

pub(crate) const IDENTITY_BYTES: usize = 64;
const MAGIC: &[u8; 8] = b"HFWALLOG";
const CRC_AT: usize = 60;

pub(crate) fn encode(log_id: &LogId) -> Vec<u8> {
    let mut bytes = vec![0; IDENTITY_BYTES];
    bytes[0..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes[16..32].copy_from_slice(log_id);
    let crc = crc32c::crc32c(&bytes[..CRC_AT]);
    bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

pub(crate) fn decode(bytes: &[u8]) -> std::result::Result<LogId, Fault> {
    if bytes.len() != IDENTITY_BYTES || &bytes[0..8] != MAGIC {
        return Err(Fault::IdentityDamaged);
    }
    if crc32c::crc32c(&bytes[..CRC_AT]) != read_u32(bytes, CRC_AT) {
        return Err(Fault::IdentityDamaged);
    }
    match read_u32(bytes, 8) {
        FORMAT_VERSION => Ok(bytes[16..32].try_into().expect("16 bytes")),
        found => Err(Fault::UnknownVersion { found }),
    }
}

/// What the checksums of one file begin with, so that bytes of another log or another file never check out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key(u32);

impl Key {
    pub(crate) fn of_log(log_id: &LogId) -> Key {
        Key(crc32c::crc32c(log_id))
    }

    pub(crate) fn of_file(log_id: &LogId, lsn: Lsn) -> Key {
        Key(crc32c::crc32c_append(Key::of_log(log_id).0, &lsn.0.to_le_bytes()))
    }

    pub(crate) fn crc(self, bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(self.0, bytes)
    }
}

pub(crate) fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

pub(crate) fn read_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}
