//! Files: an invoice for each order, named by it.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use bytes::Bytes;
use handfast_participant::resources::files::FilesOperation;

use super::Holdings;
use crate::orders::Order;

/// The name under which the folder takes part.
pub const NAME: &str = "invoices";

const EXTENSION: &str = "txt";

/// Where the resource keeps what it has promised, and how the names of promises that wait for a decision end.
const PROMISES: &str = ".handfast/branches";
const PREPARED: &str = ".prepared";

/// Where they are.
pub struct Invoices {
    pub folder: PathBuf,
}

impl Invoices {
    /// The order as an operation of a transaction.
    pub fn operation(&self, order: &Order) -> Bytes {
        FilesOperation::new().create(name(order), text(order)).encode()
    }

    /// The order without a coordinator: written and synced. Appended, as to any journal of invoices, so that an invoice that was
    /// written twice is seen.
    pub fn write(&self, order: &Order) -> anyhow::Result<()> {
        let path = self.folder.join(name(order));
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("{} cannot be written", path.display()))?;
        file.write_all(text(order).as_bytes())?;
        file.sync_all()?;
        Ok(())
    }

    /// How many branches are prepared now.
    pub fn prepared(&self) -> anyhow::Result<u64> {
        let promises = self.folder.join(PROMISES);
        if !promises.exists() {
            return Ok(0);
        }
        let mut prepared = 0;
        for entry in std::fs::read_dir(promises)? {
            prepared += u64::from(entry?.file_name().to_string_lossy().ends_with(PREPARED));
        }
        Ok(prepared)
    }

    /// What the folder holds: each file's lines are invoices.
    pub fn holdings(&self) -> anyhow::Result<Holdings> {
        let mut holdings = Holdings {
            prepared: self.prepared()?,
            ..Holdings::default()
        };
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != EXTENSION) {
                continue;
            }
            let id = path
                .file_stem()
                .and_then(|stem| stem.to_str())
                .unwrap_or_default()
                .to_owned();
            for _ in std::fs::read_to_string(&path)?.lines() {
                holdings.note(id.as_str());
            }
        }
        Ok(holdings)
    }
}

fn name(order: &Order) -> String {
    format!("{}.{EXTENSION}", order.id)
}

fn text(order: &Order) -> String {
    format!("invoice for {}: {} of {}\n", order.id, order.pieces, order.item)
}
