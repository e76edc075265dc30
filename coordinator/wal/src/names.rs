//! The names of the files of a log. The directory is flat.

use crate::Lsn;

pub(crate) const IDENTITY: &str = "LOG";
pub(crate) const IDENTITY_UNFINISHED: &str = "LOG.tmp";
pub(crate) const SPARE: &str = "spare.log";
pub(crate) const SPARE_UNFINISHED: &str = "spare.tmp";
pub(crate) const LOCK: &str = "LOCK";

pub(crate) fn segment(first: Lsn) -> String {
    format!("segment-{:016x}.log", first.0)
}

/// Its end says that it counts for nothing.
pub(crate) fn retired(first: Lsn) -> String {
    format!("retired-{:016x}.tmp", first.0)
}

pub(crate) fn checkpoint(through: Lsn) -> String {
    format!("checkpoint-{:016x}.ckp", through.0)
}

pub(crate) fn checkpoint_unfinished(through: Lsn) -> String {
    format!("checkpoint-{:016x}.tmp", through.0)
}

/// What a directory holds, sorted. Files that are not the log's are none of its business and are left out.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub identity: bool,
    pub spare: bool,
    /// First LSNs, ascending.
    pub segments: Vec<Lsn>,
    /// The LSNs covered through, ascending.
    pub checkpoints: Vec<Lsn>,
    /// Files whose writing was interrupted, and retired segments. They count for nothing.
    pub unfinished: Vec<String>,
}

impl Listing {
    pub(crate) fn of(names: Vec<String>) -> Listing {
        let mut listing = Listing::default();
        for name in names {
            if name == IDENTITY {
                listing.identity = true;
            } else if name == SPARE {
                listing.spare = true;
            } else if let Some(first) = lsn_between(&name, "segment-", ".log") {
                listing.segments.push(first);
            } else if let Some(through) = lsn_between(&name, "checkpoint-", ".ckp") {
                listing.checkpoints.push(through);
            } else if name == IDENTITY_UNFINISHED
                || name == SPARE_UNFINISHED
                || lsn_between(&name, "checkpoint-", ".tmp").is_some()
                || is_retired(&name)
            {
                listing.unfinished.push(name);
            }
        }
        listing.segments.sort_unstable();
        listing.checkpoints.sort_unstable();
        listing.unfinished.sort_unstable();
        listing
    }

    /// Segments that the log needs no more.
    pub(crate) fn retired(&self) -> impl Iterator<Item = &str> {
        let names = self.unfinished.iter().map(String::as_str);
        names.filter(|name| is_retired(name))
    }
}

fn is_retired(name: &str) -> bool {
    lsn_between(name, "retired-", ".tmp").is_some()
}

fn lsn_between(name: &str, prefix: &str, suffix: &str) -> Option<Lsn> {
    let digits = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
    let canonical = digits.len() == 16 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !canonical {
        return None;
    }
    u64::from_str_radix(digits, 16).ok().map(Lsn)
}

#[cfg(test)]
mod tests;
