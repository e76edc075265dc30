//! What the log asks of a disk.

use std::future::Future;
use std::io;

pub(crate) mod real;

/// A flat directory of files. [`crate::RealDisk`] is the real one; a simulator brings its own.
///
/// Operations run in the order in which their futures are first polled. Dropping a future may leave its operation done
/// or not done, never half done in a way that a crash could not also leave. A full disk is told by
/// [`io::ErrorKind::StorageFull`], a missing file by [`io::ErrorKind::NotFound`].
///
/// What may be lost in a crash: of writes, every 512-byte sector that was not synced, each for itself and in any order;
/// of new names, renames and removals, those after which [`Disk::sync_dir`] did not complete, in any order. The log
/// assumes no more than this.
pub trait Disk: Clone + Send + Sync + 'static {
    /// Keeps the directory locked until it is dropped.
    type Lock: Send + Sync + 'static;

    /// Locks the directory for one owner; [`io::ErrorKind::WouldBlock`] if somebody holds it, this process included.
    fn lock(&self) -> impl Future<Output = io::Result<Self::Lock>> + Send;

    /// Reads `len` bytes at `offset`, fewer where the file ends.
    fn read(&self, name: &str, offset: u64, len: usize) -> impl Future<Output = io::Result<Vec<u8>>> + Send;

    /// Writes all of `bytes` at `offset`, making or growing the file if need be, and gives the buffer back.
    fn write(
        &self,
        name: &str,
        offset: u64,
        bytes: Vec<u8>,
    ) -> impl Future<Output = io::Result<Vec<u8>>> + Send;

    /// [`Disk::write`] and [`Disk::sync`] in one operation, because each costs a hop to another thread.
    fn write_sync(
        &self,
        name: &str,
        offset: u64,
        bytes: Vec<u8>,
    ) -> impl Future<Output = io::Result<Vec<u8>>> + Send;

    /// Makes everything written to the file durable, its length included.
    fn sync(&self, name: &str) -> impl Future<Output = io::Result<()>> + Send;

    /// Gives a file another name, replacing a file of that name. Durable after [`Disk::sync_dir`].
    fn rename(&self, from: &str, to: &str) -> impl Future<Output = io::Result<()>> + Send;

    /// Removes a file. Durable after [`Disk::sync_dir`].
    fn remove(&self, name: &str) -> impl Future<Output = io::Result<()>> + Send;

    /// Makes new names, renames and removals durable.
    fn sync_dir(&self) -> impl Future<Output = io::Result<()>> + Send;

    /// The names of all files, in any order.
    fn list(&self) -> impl Future<Output = io::Result<Vec<String>>> + Send;

    /// The length of a file in bytes.
    fn len(&self, name: &str) -> impl Future<Output = io::Result<u64>> + Send;

    /// How many bytes more would fit, if the disk can tell. It is asked before room is taken that can wait; a disk that cannot
    /// tell finds out by taking it.
    fn available(&self) -> impl Future<Output = Option<u64>> + Send {
        std::future::ready(None)
    }
}
