//! A disk whose syncs take longer by a fixed time: a test aid, for `serve --sync-delay-ms`.

use std::io;
use std::time::Duration;

use handfast_wal::Disk;

use crate::runtime;

/// Another disk, and what is added to each sync.
#[derive(Clone)]
pub struct SlowDisk<D> {
    inner: D,
    delay: Duration,
}

impl<D: Disk> SlowDisk<D> {
    pub fn new(inner: D, delay: Duration) -> Self {
        SlowDisk { inner, delay }
    }
}

impl<D: Disk> Disk for SlowDisk<D> {
    type Lock = D::Lock;

    async fn lock(&self) -> io::Result<D::Lock> {
        self.inner.lock().await
    }

    async fn read(&self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.inner.read(name, offset, len).await
    }

    async fn write(&self, name: &str, offset: u64, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        self.inner.write(name, offset, bytes).await
    }

    async fn write_sync(&self, name: &str, offset: u64, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let bytes = self.inner.write_sync(name, offset, bytes).await?;
        runtime::sleep(self.delay).await;
        Ok(bytes)
    }

    async fn sync(&self, name: &str) -> io::Result<()> {
        self.inner.sync(name).await?;
        runtime::sleep(self.delay).await;
        Ok(())
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to).await
    }

    async fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name).await
    }

    async fn sync_dir(&self) -> io::Result<()> {
        self.inner.sync_dir().await?;
        runtime::sleep(self.delay).await;
        Ok(())
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
