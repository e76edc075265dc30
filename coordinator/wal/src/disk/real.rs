//! The real disk: a directory, and one thread that does all of its input and output.
//!
//! This is the only place of the crate that has a thread. One thread suffices, because the log has one write in flight,
//! and it gives a total order: an operation whose future was dropped is still done before any later one.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use futures_channel::oneshot;

use super::Disk;
use crate::names;

/// How many operations may wait. The log has a handful at most: a commit, a spare, a checkpoint, a truncation.
const QUEUE_OPERATIONS: usize = 64;

/// How many files stay open between operations.
const OPEN_FILES: usize = 8;

/// A directory of a file system. Clones share the thread, which ends when the last clone and lock are gone.
#[derive(Clone, Debug)]
pub struct RealDisk {
    operations: SyncSender<Operation>,
}

/// Holds the lock file of a [`RealDisk`]. Dropping it releases the lock after everything that was asked before.
#[derive(Debug)]
pub struct RealLock {
    operations: SyncSender<Operation>,
}

type Operation = Box<dyn FnOnce(&mut Directory) + Send>;

impl RealDisk {
    /// Takes an existing directory.
    ///
    /// # Errors
    /// If `path` is no directory, or no thread can be started.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one thread of this crate; a simulator brings its own disk"
    )]
    pub fn open(path: impl AsRef<Path>) -> io::Result<RealDisk> {
        let path = path.as_ref().to_path_buf();
        if !std::fs::metadata(&path)?.is_dir() {
            return Err(io::Error::new(
                io::ErrorKind::NotADirectory,
                format!("{} is no directory", path.display()),
            ));
        }
        let (operations, queue) = sync_channel(QUEUE_OPERATIONS);
        let directory = Directory {
            path,
            open: Vec::new(),
            lock: None,
        };
        std::thread::Builder::new()
            .name("handfast-wal-disk".to_owned())
            .spawn(move || serve(directory, &queue))?;
        Ok(RealDisk { operations })
    }

    /// Makes the directory if it does not exist, durably, and takes it.
    ///
    /// # Errors
    /// If the directory cannot be made or opened.
    pub fn create(path: impl AsRef<Path>) -> io::Result<RealDisk> {
        let path = path.as_ref();
        std::fs::create_dir_all(path)?;
        for ancestor in path.canonicalize()?.ancestors().skip(1) {
            // Ancestors above those that were made may be unreadable, and need no sync.
            let Ok(directory) = File::open(ancestor) else {
                break;
            };
            directory.sync_all()?;
        }
        RealDisk::open(path)
    }

    async fn run<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&mut Directory) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (reply, answer) = oneshot::channel();
        let operation: Operation = Box::new(move |directory| {
            // Nobody listens when the future was dropped; the operation is done all the same.
            let _ = reply.send(operation(directory));
        });
        let gone = || io::Error::other("the disk thread has ended");
        self.operations.send(operation).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

impl Disk for RealDisk {
    type Lock = RealLock;

    async fn lock(&self) -> io::Result<RealLock> {
        self.run(Directory::lock).await?;
        Ok(RealLock {
            operations: self.operations.clone(),
        })
    }

    async fn read(&self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let name = name.to_owned();
        self.run(move |directory| directory.read(&name, offset, len))
            .await
    }

    async fn write(&self, name: &str, offset: u64, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let name = name.to_owned();
        self.run(move |directory| directory.write(&name, offset, &bytes).map(|()| bytes))
            .await
    }

    async fn write_sync(&self, name: &str, offset: u64, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let name = name.to_owned();
        self.run(move |directory| {
            directory.write(&name, offset, &bytes)?;
            directory.sync(&name)?;
            Ok(bytes)
        })
        .await
    }

    async fn sync(&self, name: &str) -> io::Result<()> {
        let name = name.to_owned();
        self.run(move |directory| directory.sync(&name)).await
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.run(move |directory| directory.rename(&from, &to)).await
    }

    async fn remove(&self, name: &str) -> io::Result<()> {
        let name = name.to_owned();
        self.run(move |directory| directory.remove(&name)).await
    }

    async fn sync_dir(&self) -> io::Result<()> {
        self.run(|directory| File::open(&directory.path)?.sync_all())
            .await
    }

    async fn list(&self) -> io::Result<Vec<String>> {
        self.run(|directory| directory.list()).await
    }

    async fn len(&self, name: &str) -> io::Result<u64> {
        let name = name.to_owned();
        self.run(move |directory| Ok(std::fs::metadata(directory.path.join(name))?.len()))
            .await
    }

    async fn available(&self) -> Option<u64> {
        let asked = self
            .run(|directory| Ok(rustix::fs::statvfs(&directory.path)?))
            .await;
        // A file system that counts nothing, as some in user space do, does not know.
        let room = asked.ok().filter(|room| room.f_blocks > 0 && room.f_frsize > 0)?;
        Some(room.f_bavail.saturating_mul(room.f_frsize))
    }
}

impl Drop for RealLock {
    fn drop(&mut self) {
        // Through the queue, so that a write whose future was dropped ends before another owner can begin. If the
        // thread is gone, the lock went with it.
        let _ = self.operations.send(Box::new(|directory| directory.lock = None));
    }
}

fn serve(mut directory: Directory, queue: &Receiver<Operation>) {
    while let Ok(operation) = queue.recv() {
        operation(&mut directory);
    }
}

struct Directory {
    path: PathBuf,
    /// The most recently used last.
    open: Vec<OpenFile>,
    lock: Option<File>,
}

struct OpenFile {
    name: String,
    file: File,
    /// It was opened for reading only, because more was forbidden then.
    reads_only: bool,
    /// Written and not yet synced. Such a file stays open: the operating system reports a failed write-back to those
    /// who had the file open when it failed.
    dirty: bool,
}

impl Directory {
    fn lock(&mut self) -> io::Result<()> {
        let path = self.path.join(names::LOCK);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => {
                self.lock = Some(file);
                Ok(())
            }
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn read(&mut self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let file = &self.file(name, false)?.file;
        let mut bytes = vec![0; len];
        let mut filled = 0;
        while filled < len {
            match file.read_at(&mut bytes[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let open = self.file(name, true)?;
        open.dirty = true;
        open.file.write_all_at(bytes, offset)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let open = self.file(name, false)?;
        open.file.sync_data()?;
        open.dirty = false;
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.close(from);
        self.close(to);
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.close(name);
        std::fs::remove_file(self.path.join(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            if let Ok(name) = entry?.file_name().into_string() {
                found.push(name);
            }
        }
        Ok(found)
    }

    /// An open file. One that is to be written is opened anew if it was opened for reading only, so that whoever must not write
    /// hears of that, and of nothing else.
    fn file(&mut self, name: &str, write: bool) -> io::Result<&mut OpenFile> {
        if write {
            self.open.retain(|open| open.name != name || !open.reads_only);
        }
        let entry = match self.open.iter().position(|open| open.name == name) {
            Some(position) => self.open.remove(position),
            None => {
                self.make_room();
                self.open_file(name, write)?
            }
        };
        self.open.push(entry);
        Ok(self.open.last_mut().expect("pushed above"))
    }

    /// What is to be written is made if it is not there.
    fn open_file(&self, name: &str, write: bool) -> io::Result<OpenFile> {
        let path = self.path.join(name);
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(write)
            .truncate(false)
            .open(&path);
        let (file, reads_only) = match opened {
            // Verification may run where only reading is allowed.
            Err(error) if !write && forbids_writing(&error) => (File::open(&path)?, true),
            opened => (opened?, false),
        };
        Ok(OpenFile {
            name: name.to_owned(),
            file,
            reads_only,
            dirty: false,
        })
    }

    fn make_room(&mut self) {
        if self.open.len() >= OPEN_FILES
            && let Some(oldest) = self.open.iter().position(|open| !open.dirty)
        {
            self.open.remove(oldest);
        }
    }

    fn close(&mut self, name: &str) {
        self.open.retain(|open| open.name != name);
    }
}

fn forbids_writing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
    )
}

#[cfg(test)]
mod tests;
