//! A disk that counts the syncs that pass, at the participants' journals.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use handfast_wal::{Disk, RealDisk};

/// The real disk. All that share a counter count together.
#[derive(Clone)]
pub struct CountedDisk {
    inner: RealDisk,
    syncs: Arc<AtomicU64>,
}

impl CountedDisk {
    pub fn new(inner: RealDisk, syncs: Arc<AtomicU64>) -> Self {
        CountedDisk { inner, syncs }
    }

    fn count(&self) {
        self.syncs.fetch_add(1, Ordering::Relaxed);
    }
}

impl Disk for CountedDisk {
    type Lock = <RealDisk as Disk>::Lock;

    async fn lock(&self) -> io::Result<Self::Lock> {
        self.inner.lock().await
    }

    async fn read(&self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.inner.read(name, offset, len).await
    }

    async fn write(&self, name: &str, offset: u64, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        self.inner.write(name, offset, bytes).await
    }

    async fn write_sync(&self, name: &str, offset: u64, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        self.count();
        self.inner.write_sync(name, offset, bytes).await
    }

    async fn sync(&self, name: &str) -> io::Result<()> {
        self.count();
        self.inner.sync(name).await
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to).await
    }

    async fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name).await
    }

    async fn sync_dir(&self) -> io::Result<()> {
        self.count();
        self.inner.sync_dir().await
    }

    async fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list().await
    }

    async fn len(&self, name: &str) -> io::Result<u64> {
        self.inner.len(name).await
    }

    async fn available(&self) -> Option<u64> {
        self.inner.available().await
    }
}
