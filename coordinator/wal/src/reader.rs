//! Reading a file from front to back through one bounded window.

use crate::{Disk, Result, WalError};

/// How much is read at once.
const WINDOW_BYTES: usize = 256 << 10;

/// A window over a file. Memory is bounded by the window or by the longest slice that is asked for.
pub(crate) struct Reader<'a, D> {
    disk: &'a D,
    name: &'a str,
    file_bytes: u64,
    asked_at: u64,
    window_at: u64,
    window: Vec<u8>,
}

impl<'a, D: Disk> Reader<'a, D> {
    pub(crate) async fn open(disk: &'a D, name: &'a str) -> Result<Reader<'a, D>> {
        let file_bytes = disk.len(name).await.map_err(WalError::io("look at", name))?;
        Ok(Reader {
            disk,
            name,
            file_bytes,
            asked_at: 0,
            window_at: 0,
            window: Vec::new(),
        })
    }

    pub(crate) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Where the slice begins that was asked for last: if it could not be read, this is where reading ends.
    pub(crate) fn asked_at(&self) -> u64 {
        self.asked_at
    }

    /// `len` bytes at `offset`, fewer where the file ends.
    pub(crate) async fn slice(&mut self, offset: u64, len: usize) -> Result<&[u8]> {
        self.asked_at = offset;
        let end = (offset + len as u64).min(self.file_bytes).max(offset);
        if offset < self.window_at || end > self.window_at + self.window.len() as u64 {
            let wanted = ((end - offset) as usize).max(WINDOW_BYTES);
            self.window = self
                .disk
                .read(self.name, offset, wanted)
                .await
                .map_err(WalError::io("read", self.name))?;
            self.window_at = offset;
        }
        let from = ((offset - self.window_at) as usize).min(self.window.len());
        let to = ((end - self.window_at) as usize).min(self.window.len());
        Ok(&self.window[from..to])
    }
}
