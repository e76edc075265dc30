//! A disk whose lock is waited for. Tests start processes, and between fork and exec such a process holds every lock of this one.

use std::io;
use std::time::Duration;

use handfast_wal::{Disk, RealDisk, RealLock};

/// How often the lock is asked for before it is given up, 10 ms apart.
const TRIES: u32 = 500;

#[derive(Clone)]
pub struct PatientDisk(pub RealDisk);

impl Disk for PatientDisk {
    type Lock = RealLock;

    async fn lock(&self) -> io::Result<RealLock> {
        for _ in 0..TRIES {
            match self.0.lock().await {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                locked => return locked,
            }
        }
        self.0.lock().await
    }

    async fn read(&self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.0.read(name, offset, len).await
    }

    async fn write(&self, name: &str, offset: u64, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        self.0.write(name, offset, bytes).await
    }

    async fn write_sync(&self, name: &str, offset: u64, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        self.0.write_sync(name, offset, bytes).await
    }

    async fn sync(&self, name: &str) -> io::Result<()> {
        self.0.sync(name).await
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to).await
    }

    async fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name).await
    }

    async fn sync_dir(&self) -> io::Result<()> {
        self.0.sync_dir().await
    }

    async fn list(&self) -> io::Result<Vec<String>> {
        self.0.list().await
    }

    async fn len(&self, name: &str) -> io::Result<u64> {
        self.0.len(name).await
    }
}
