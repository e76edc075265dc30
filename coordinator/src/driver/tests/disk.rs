//! A disk in memory. Faults: a sync that takes as long as the test wants (a stalled device), one that fails (a broken
//! one), and no more room (a full one). The driver should survive the first without telling anybody too much, end at the second,
//! and refuse new work while the third lasts.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use handfast_wal::Disk;
use tokio::sync::watch;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Well,
    /// Syncs wait; true once one does.
    Stalled(bool),
    Broken,
}

#[derive(Clone, Debug)]
pub struct MemoryDisk {
    files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    mode: Arc<watch::Sender<Mode>>,
    capacity: Arc<Mutex<Option<usize>>>,
    found_full: Arc<Mutex<Vec<String>>>,
    tells_room: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
}

impl Default for MemoryDisk {
    fn default() -> Self {
        MemoryDisk {
            files: Arc::default(),
            mode: Arc::new(watch::channel(Mode::Well).0),
            capacity: Arc::default(),
            found_full: Arc::default(),
            tells_room: Arc::default(),
            asked: Arc::default(),
        }
    }
}

impl MemoryDisk {
    /// From now on syncs wait.
    pub fn stall(&self) {
        self.mode.send_replace(Mode::Stalled(false));
    }

    /// Completes when a sync waits.
    pub async fn stalled(&self) {
        let mut mode = self.mode.subscribe();
        mode.wait_for(|mode| *mode == Mode::Stalled(true)).await.unwrap();
    }

    /// Syncs go on.
    pub fn resume(&self) {
        self.mode.send_replace(Mode::Well);
    }

    /// From now on syncs fail.
    pub fn break_down(&self) {
        self.mode.send_replace(Mode::Broken);
    }

    /// From now on so many bytes fit beside what is there; all do if `None`.
    pub fn leave_room(&self, bytes: Option<usize>) {
        let used = used(&self.files.lock().unwrap());
        *self.capacity.lock().unwrap() = bytes.map(|bytes| used + bytes);
    }

    /// How many writes of files whose names begin so have found no room.
    pub fn found_full(&self, prefix: &str) -> usize {
        let names = self.found_full.lock().unwrap();
        names.iter().filter(|name| name.starts_with(prefix)).count()
    }

    /// From now on it says how much room there is.
    pub fn tell_room(&self) {
        self.tells_room.store(true, Ordering::Relaxed);
    }

    /// How many times it was asked for that.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// How many checkpoints there are.
    pub fn checkpoints(&self) -> usize {
        self.files
            .lock()
            .unwrap()
            .keys()
            .filter(|name| name.ends_with(".ckp"))
            .count()
    }

    async fn synced(&self) -> io::Result<()> {
        self.mode.send_if_modified(|mode| {
            let stalled = *mode == Mode::Stalled(false);
            if stalled {
                *mode = Mode::Stalled(true);
            }
            stalled
        });
        let mut mode = self.mode.subscribe();
        let mode = *mode
            .wait_for(|mode| !matches!(mode, Mode::Stalled(_)))
            .await
            .unwrap();
        match mode {
            Mode::Broken => Err(io::Error::other("the device is broken")),
            _ => Ok(()),
        }
    }

    fn missing(name: &str) -> io::Error {
        io::Error::new(io::ErrorKind::NotFound, name.to_owned())
    }
}

fn used(files: &BTreeMap<String, Vec<u8>>) -> usize {
    files.values().map(Vec::len).sum()
}

impl Disk for MemoryDisk {
    type Lock = ();

    async fn lock(&self) -> io::Result<()> {
        Ok(())
    }

    async fn read(&self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let files = self.files.lock().unwrap();
        let file = files.get(name).ok_or_else(|| MemoryDisk::missing(name))?;
        let from = file.len().min(offset as usize);
        let to = file.len().min(from + len);
        Ok(file[from..to].to_vec())
    }

    async fn write(&self, name: &str, offset: u64, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut files = self.files.lock().unwrap();
        let end = offset as usize + bytes.len();
        let growth = end.saturating_sub(files.get(name).map_or(0, Vec::len));
        let is_full = |capacity| used(&files) + growth > capacity;
        if growth > 0 && self.capacity.lock().unwrap().is_some_and(is_full) {
            self.found_full.lock().unwrap().push(name.to_owned());
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = files.entry(name.to_owned()).or_default();
        if file.len() < end {
            file.resize(end, 0);
        }
        file[offset as usize..end].copy_from_slice(&bytes);
        Ok(bytes)
    }

    async fn write_sync(&self, name: &str, offset: u64, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let bytes = self.write(name, offset, bytes).await?;
        self.synced().await.map(|()| bytes)
    }

    async fn sync(&self, _name: &str) -> io::Result<()> {
        self.synced().await
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.files.lock().unwrap();
        let file = files.remove(from).ok_or_else(|| MemoryDisk::missing(from))?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    async fn remove(&self, name: &str) -> io::Result<()> {
        let removed = self.files.lock().unwrap().remove(name);
        removed.map(|_| ()).ok_or_else(|| MemoryDisk::missing(name))
    }

    async fn sync_dir(&self) -> io::Result<()> {
        Ok(())
    }

    async fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files.lock().unwrap().keys().cloned().collect())
    }

    async fn len(&self, name: &str) -> io::Result<u64> {
        let files = self.files.lock().unwrap();
        files
            .get(name)
            .map(|file| file.len() as u64)
            .ok_or_else(|| MemoryDisk::missing(name))
    }

    async fn available(&self) -> Option<u64> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let capacity = *self.capacity.lock().unwrap();
        let capacity = capacity.filter(|_| self.tells_room.load(Ordering::Relaxed))?;
        Some(capacity.saturating_sub(used(&self.files.lock().unwrap())) as u64)
    }
}
