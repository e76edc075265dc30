//! A disk in memory that does everything a disk may do.
//!
//! Faults that it injects, and why the log should survive each:
//!
//! - *power loss with any subset of unsynced sectors kept* ([`MemDisk::power_loss`]): one frame is unsynced at most, and
//!   none of its sectors is all zero, so what is missing shows; it was never acknowledged, so it is cut.
//! - *power loss with any subset of unsynced names kept*: files get their names only when their content is durable, and
//!   nothing relies on a name before the directory is synced.
//! - *power loss in the middle of any operation* ([`MemDisk::fail_at`] with [`Fault::PowerOff`]): a write that was asked
//!   for and not finished is in the cache only.
//! - *a sync that fails and loses what it should have made durable while the cache still shows it* ([`Fault::SyncLoses`]):
//!   the log latches, and the next process writes the last frame again before it trusts it.
//! - *a full disk* ([`MemDisk::set_capacity`]): the next segment is reserved.
//! - *a stall* ([`MemDisk::stall`], [`Fault::Stalls`]): nothing is acknowledged meanwhile.
//! - *bytes that cannot be read* ([`MemDisk::lose`]): the start is refused, and what else there is is checked.
//! - *changed bytes* ([`MemDisk::flip_bit`], [`MemDisk::edit`]): every byte is covered by a checksum or must be zero.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};

use handfast_wal::Disk;

const SECTOR: usize = 512;

#[derive(Clone, Debug, Default)]
pub struct MemDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    name_changes: Vec<NameChange>,
    capacity: Option<usize>,
    tells_room: bool,
    /// Files, and where each cannot be read any more.
    unreadable: BTreeMap<String, usize>,
    locked: bool,
    operations: u64,
    writes: u64,
    fault: Option<(u64, Fault)>,
    off: bool,
    stalled: bool,
    waiting: Vec<Waker>,
}

/// What happens at a chosen operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It gets as far as the cache, and nothing is ever answered again.
    PowerOff,
    /// It fails with EIO. The cache shows what was written, and what a sync was to make durable never will be.
    SyncLoses,
    /// It and all that follow wait until [`MemDisk::resume`].
    Stalls,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    cached: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Link(String, u64),
    Unlink(String),
    Rename(String, String, u64),
}

impl Inode {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if self.cached.len() < end {
            self.cached.resize(end, 0);
        }
        self.cached[offset..end].copy_from_slice(bytes);
        self.dirty.extend(offset / SECTOR..end.div_ceil(SECTOR));
    }

    fn sync(&mut self) {
        self.durable.clone_from(&self.cached);
        self.dirty.clear();
    }

    fn keep(&mut self, sector: usize) {
        let (from, to) = (sector * SECTOR, ((sector + 1) * SECTOR).min(self.cached.len()));
        if self.durable.len() < to {
            self.durable.resize(to, 0);
        }
        self.durable[from..to].copy_from_slice(&self.cached[from..to]);
    }
}

impl MemDisk {
    pub fn new() -> MemDisk {
        MemDisk::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// How many operations were asked for.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// How many writes were asked for.
    pub fn writes(&self) -> u64 {
        self.state().writes
    }

    /// From now on reads that get to this place in a file fail with EIO.
    pub fn lose(&self, name: &str, offset: usize) {
        self.state().unreadable.insert(name.to_owned(), offset);
    }

    /// From now on it says how much room there is.
    pub fn tell_room(&self) {
        self.state().tells_room = true;
    }

    /// Lets operation number `operation` (from 0, counted from the disk's beginning) meet this fault.
    pub fn fail_at(&self, operation: u64, fault: Fault) {
        self.state().fault = Some((operation, fault));
    }

    pub fn set_capacity(&self, bytes: Option<usize>) {
        self.state().capacity = bytes;
    }

    pub fn used(&self) -> usize {
        self.state().used()
    }

    pub fn stall(&self) {
        self.state().stalled = true;
    }

    pub fn resume(&self) {
        let mut state = self.state();
        state.stalled = false;
        state.waiting.drain(..).for_each(Waker::wake);
    }

    /// How many things a power loss would decide on: unsynced sectors and unsynced names.
    pub fn uncertain(&self) -> usize {
        let state = self.state();
        state
            .inodes
            .values()
            .map(|inode| inode.dirty.len())
            .sum::<usize>()
            + state.name_changes.len()
    }

    /// The disk after a power loss: what was synced, and of the rest what `keep` says, asked once for each thing.
    pub fn power_loss(&self, mut keep: impl FnMut(usize) -> bool) -> MemDisk {
        let state = self.state();
        let mut asked = 0;
        let mut kept = || {
            asked += 1;
            keep(asked - 1)
        };
        let mut inodes = state.inodes.clone();
        for inode in inodes.values_mut() {
            for sector in std::mem::take(&mut inode.dirty) {
                if kept() {
                    inode.keep(sector);
                }
            }
            inode.cached.clone_from(&inode.durable);
        }
        let mut names = state.durable_names.clone();
        for change in &state.name_changes {
            if kept() {
                change.apply(&mut names);
            }
        }
        let state = State {
            inodes,
            next_inode: state.next_inode,
            durable_names: names.clone(),
            names,
            capacity: state.capacity,
            ..State::default()
        };
        MemDisk(Arc::new(Mutex::new(state)))
    }

    /// The disk as the next process finds it: the cache is still there.
    pub fn process_death(&self) -> MemDisk {
        let state = self.state();
        let state = State {
            inodes: state.inodes.clone(),
            next_inode: state.next_inode,
            names: state.names.clone(),
            durable_names: state.durable_names.clone(),
            name_changes: state.name_changes.clone(),
            capacity: state.capacity,
            ..State::default()
        };
        MemDisk(Arc::new(Mutex::new(state)))
    }

    pub fn names(&self) -> Vec<String> {
        self.state().names.keys().cloned().collect()
    }

    pub fn content(&self, name: &str) -> Vec<u8> {
        self.state().inode(name).unwrap().cached.clone()
    }

    /// Changes a file behind the log's back.
    pub fn edit(&self, name: &str, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let inode = state.inode(name).unwrap();
        edit(&mut inode.cached);
        inode.sync();
    }

    pub fn flip_bit(&self, name: &str, bit: usize) {
        self.edit(name, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
    }

    pub fn delete(&self, name: &str) {
        let mut state = self.state();
        state.names.remove(name).unwrap();
        state.durable_names.remove(name);
    }

    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        let mut state = self.state();
        let number = state.link(name);
        state.inodes.insert(
            number,
            Inode {
                durable: bytes.clone(),
                cached: bytes,
                dirty: BTreeSet::new(),
            },
        );
        state.durable_names = state.names.clone();
        state.name_changes.clear();
    }

    async fn operate<T>(
        &self,
        mut operation: impl FnMut(&mut State, Option<Fault>) -> io::Result<T>,
    ) -> io::Result<T> {
        poll_fn(|context| {
            let mut state = self.state();
            if state.stalled {
                state.waiting.push(context.waker().clone());
                return Poll::Pending;
            }
            if state.off {
                return Poll::Ready(Err(io::Error::other("no power")));
            }
            let number = state.operations;
            state.operations += 1;
            let fault = state
                .fault
                .filter(|(at, _)| *at == number)
                .map(|(_, fault)| fault);
            if fault == Some(Fault::Stalls) {
                state.stalled = true;
                state.waiting.push(context.waker().clone());
                return Poll::Pending;
            }
            let result = operation(&mut state, fault);
            Poll::Ready(match fault {
                Some(Fault::PowerOff) => {
                    state.off = true;
                    Err(io::Error::other("the power went off"))
                }
                Some(Fault::SyncLoses) => Err(io::Error::from_raw_os_error(5)),
                Some(Fault::Stalls) | None => result,
            })
        })
        .await
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            NameChange::Link(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            NameChange::Unlink(name) => {
                names.remove(name);
            }
            NameChange::Rename(from, to, inode) => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
        }
    }
}

impl State {
    fn inode(&mut self, name: &str) -> io::Result<&mut Inode> {
        let number = self.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.inodes.get_mut(number).unwrap())
    }

    fn link(&mut self, name: &str) -> u64 {
        if let Some(number) = self.names.get(name) {
            return *number;
        }
        let number = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(number, Inode::default());
        self.change(NameChange::Link(name.to_owned(), number));
        number
    }

    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.name_changes.push(change);
    }

    fn used(&self) -> usize {
        self.names
            .values()
            .map(|number| self.inodes[number].cached.len())
            .sum()
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.writes += 1;
        let present = self.inode(name).map_or(0, |inode| inode.cached.len());
        let growth = (offset as usize + bytes.len()).saturating_sub(present);
        if growth > 0
            && self
                .capacity
                .is_some_and(|capacity| self.used() + growth > capacity)
        {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let number = self.link(name);
        self.inodes
            .get_mut(&number)
            .unwrap()
            .write(offset as usize, bytes);
        Ok(())
    }

    fn sync(&mut self, name: &str, fault: Option<Fault>) -> io::Result<()> {
        let inode = self.inode(name)?;
        match fault {
            Some(Fault::Stalls) | None => inode.sync(),
            Some(Fault::PowerOff) => {}
            Some(Fault::SyncLoses) => inode.dirty.clear(),
        }
        Ok(())
    }
}

#[derive(Debug)]
pub struct MemLock(MemDisk);

impl Drop for MemLock {
    fn drop(&mut self) {
        self.0.state().locked = false;
    }
}

impl Disk for MemDisk {
    type Lock = MemLock;

    async fn lock(&self) -> io::Result<MemLock> {
        let taken = self
            .operate(|state, _| Ok(std::mem::replace(&mut state.locked, true)))
            .await?;
        if taken {
            Err(io::ErrorKind::WouldBlock.into())
        } else {
            Ok(MemLock(self.clone()))
        }
    }

    async fn read(&self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.operate(|state, _| {
            let lost = state.unreadable.get(name).copied();
            let cached = &state.inode(name)?.cached;
            let from = (offset as usize).min(cached.len());
            let to = (from + len).min(cached.len());
            match lost {
                Some(lost) if to > lost => Err(io::Error::from_raw_os_error(5)),
                _ => Ok(cached[from..to].to_vec()),
            }
        })
        .await
    }

    async fn write(&self, name: &str, offset: u64, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        self.operate(|state, _| state.write(name, offset, &bytes)).await?;
        Ok(bytes)
    }

    async fn write_sync(&self, name: &str, offset: u64, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        self.operate(|state, fault| {
            state.write(name, offset, &bytes)?;
            state.sync(name, fault)
        })
        .await?;
        Ok(bytes)
    }

    async fn sync(&self, name: &str) -> io::Result<()> {
        self.operate(|state, fault| state.sync(name, fault)).await
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.operate(|state, _| {
            let number = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
            state.change(NameChange::Rename(from.to_owned(), to.to_owned(), number));
            Ok(())
        })
        .await
    }

    async fn remove(&self, name: &str) -> io::Result<()> {
        self.operate(|state, _| {
            state.inode(name)?;
            state.change(NameChange::Unlink(name.to_owned()));
            Ok(())
        })
        .await
    }

    async fn sync_dir(&self) -> io::Result<()> {
        self.operate(|state, fault| {
            if fault.is_none() {
                state.durable_names = state.names.clone();
                state.name_changes.clear();
            }
            Ok(())
        })
        .await
    }

    async fn list(&self) -> io::Result<Vec<String>> {
        self.operate(|state, _| Ok(state.names.keys().cloned().collect()))
            .await
    }

    async fn len(&self, name: &str) -> io::Result<u64> {
        self.operate(|state, _| Ok(state.inode(name)?.cached.len() as u64))
            .await
    }

    async fn available(&self) -> Option<u64> {
        let state = self.state();
        let capacity = state.capacity.filter(|_| state.tells_room)?;
        Some(capacity.saturating_sub(state.used()) as u64)
    }
}
