//! A disk in memory that loses what was not synced, and can keep a sync waiting.
//!
//! Faults: a crash takes everything that no completed sync covers. A participant survives it, because it says nothing
//! before its record is durable. Names are durable at once, because the log's own tests lose those. A broken disk fails every
//! sync; a full one takes no more bytes than it has.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use handfast_wal::Disk;
use tokio::sync::watch;

#[derive(Clone, Default)]
struct File {
    written: Vec<u8>,
    synced: Vec<u8>,
}

#[derive(Clone)]
pub struct MemDisk {
    files: Arc<Mutex<BTreeMap<String, File>>>,
    lock: Arc<tokio::sync::Mutex<()>>,
    /// Syncs wait while this is false.
    gate: Arc<watch::Sender<bool>>,
    is_broken: Arc<AtomicBool>,
    is_full: Arc<AtomicBool>,
}

impl MemDisk {
    pub fn new() -> Self {
        MemDisk {
            files: Arc::default(),
            lock: Arc::default(),
            gate: Arc::new(watch::Sender::new(true)),
            is_broken: Arc::default(),
            is_full: Arc::default(),
        }
    }

    /// What is left after the power was lost now.
    pub fn crash_image(&self) -> Self {
        let kept = |(name, file): (&String, &File)| {
            (
                name.clone(),
                File {
                    written: file.synced.clone(),
                    synced: file.synced.clone(),
                },
            )
        };
        let files = self.files().iter().map(kept).collect();
        MemDisk {
            files: Arc::new(Mutex::new(files)),
            ..MemDisk::new()
        }
    }

    pub fn hold_syncs(&self) {
        self.gate.send_replace(false);
    }

    pub fn let_syncs_go(&self) {
        self.gate.send_replace(true);
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<String, File>> {
        self.files
            .lock()
            .expect("no test panics while it holds the files")
    }

    fn with<T>(&self, name: &str, action: impl FnOnce(&mut File) -> T) -> io::Result<T> {
        self.files()
            .get_mut(name)
            .map(action)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for MemDisk {
    type Lock = tokio::sync::OwnedMutexGuard<()>;

    async fn lock(&self) -> io::Result<Self::Lock> {
        self.lock
            .clone()
            .try_lock_owned()
            .map_err(|_| io::ErrorKind::WouldBlock.into())
    }

    async fn read(&self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.with(name, |file| {
            let from = (offset as usize).min(file.written.len());
            let to = (from + len).min(file.written.len());
            file.written[from..to].to_vec()
        })
    }

    async fn write(&self, name: &str, offset: u64, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut files = self.files();
        let file = files.entry(name.to_owned()).or_default();
        let end = offset as usize + bytes.len();
        if file.written.len() < end {
            if self.is_full.load(Ordering::SeqCst) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            file.written.resize(end, 0);
        }
        file.written[offset as usize..end].copy_from_slice(&bytes);
        Ok(bytes)
    }

    async fn write_sync(&self, name: &str, offset: u64, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let bytes = self.write(name, offset, bytes).await?;
        self.sync(name).await?;
        Ok(bytes)
    }

    async fn sync(&self, name: &str) -> io::Result<()> {
        let open = self.gate.subscribe().wait_for(|is_open| *is_open).await.map(drop);
        open.map_err(|_| io::Error::other("the disk is gone"))?;
        if self.is_broken.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk is broken"));
        }
        self.with(name, |file| file.synced = file.written.clone())
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.files();
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    async fn remove(&self, name: &str) -> io::Result<()> {
        self.files()
            .remove(name)
            .map(drop)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    async fn sync_dir(&self) -> io::Result<()> {
        Ok(())
    }

    async fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files().keys().cloned().collect())
    }

    async fn len(&self, name: &str) -> io::Result<u64> {
        self.with(name, |file| file.written.len() as u64)
    }
}

impl MemDisk {
    #[cfg(feature = "tcc")]
    pub fn set_broken(&self, is_broken: bool) {
        self.is_broken.store(is_broken, Ordering::SeqCst);
    }

    #[cfg(feature = "tcc")]
    pub fn set_full(&self, is_full: bool) {
        self.is_full.store(is_full, Ordering::SeqCst);
    }

    pub fn list_now(&self) -> Vec<String> {
        self.files().keys().cloned().collect()
    }
}
