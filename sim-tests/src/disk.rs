//! A disk of one simulated machine, behind [`handfast_wal::Disk`].
//!
//! Faults that it injects, and why the log should survive each:
//!
//! - *process death* ([`Machine::process_death`]): the page cache survives, so records may be found that nobody was told
//!   are durable. Recovery writes the last frame again before it trusts it.
//! - *power loss* ([`Machine::power_loss`]): of what was not synced, any subset of 512-byte sectors and any subset of
//!   names is kept. One frame is unsynced at most, and none of its sectors is all zero, so what is missing shows; it was
//!   never acknowledged, so it is cut.
//! - *a sync that fails, drops its dirty pages, and would "succeed" the next time* ([`Machine::fail_syncs`]): the log
//!   latches on the first error, and the next process does not trust the cache.
//! - *an error although all of it is done* (the same, keeping everything): whoever asked must not take it for undone. The
//!   process stops without a word, and the next one reads back what is there.
//! - *dropped pages that are read anew* ([`Machine::process_death`]): what a failed sync lost may show its old content.
//! - *a write that fails half-way* ([`Machine::fail_writes`]): as a torn write; the log latches.
//! - *a full disk* ([`Machine::set_capacity`]): the next segment is reserved, so what is decided finishes.
//! - *a stall* ([`Machine::stall`]): nothing is acknowledged meanwhile, and nothing is aborted after it was appended.
//! - *a flipped bit in synced data* ([`Machine::flip_bit`]): every byte is covered by a checksum or must be zero.
//! - *a process that goes on after another has taken its disk over* ([`Machine::fence`]): whatever it asks for fails, so that it
//!   can decide nothing more.
//! - *a process that goes on after its death*: each process mounts the disk anew ([`Machine::mount`]), and what an older
//!   mount asks for never happens. So: power off first, then kill, then restart.
//!
//! Time is virtual, and every choice comes from a random stream of this disk alone.

mod medium;
mod observer;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use handfast_proto::alarm::once::{sleep, sleep_until};
use handfast_wal::Disk;
use madsim::time::Instant;

use medium::{Medium, SECTOR};

use crate::scenario::Moment;

pub use medium::{Flip, Kept, WrittenOver};
pub use observer::{Observed, Observer};

/// How long operations take. Reads and writes hit the page cache and take none.
#[derive(Clone, Copy, Debug)]
pub struct Speed {
    /// The shortest sync, in milliseconds.
    pub sync_min_ms: u64,
    /// The longest sync, in milliseconds.
    pub sync_max_ms: u64,
}

/// What was injected so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Injected {
    /// Syncs that failed.
    pub syncs_failed: u64,
    /// Writes that failed.
    pub writes_failed: u64,
    /// Writes that found no space.
    pub full: u64,
    /// Sectors that a power loss took.
    pub sectors_lost: u64,
    /// Names, renames and removals that a power loss took.
    pub names_lost: u64,
}

/// The machine that the disk is in: what the simulator holds.
#[derive(Clone, Debug)]
pub struct Machine(Arc<Mutex<State>>);

/// The disk as one process has mounted it.
#[derive(Clone, Debug)]
pub struct SimDisk {
    machine: Machine,
    mount: u64,
}

/// Holds the directory's lock until it is dropped or its process dies.
#[derive(Debug)]
pub struct SimLock(SimDisk);

#[derive(Debug)]
struct State {
    medium: Medium,
    random: fastrand::Rng,
    speed: Speed,
    /// The mount that is alive.
    mount: u64,
    /// Whatever earlier mounts ask for fails.
    fenced_below: u64,
    locked: bool,
    stalled_until: Option<Instant>,
    syncs_to_fail: (u32, Kept),
    writes_to_fail: (u32, Kept),
    injected: Injected,
    written_over: Option<WrittenOver>,
    observer: Option<Observer>,
    backup: Option<Backup>,
}

impl Machine {
    /// An empty disk.
    pub fn new(seed: u64, speed: Speed) -> Self {
        Machine(Arc::new(Mutex::new(State {
            medium: Medium::default(),
            random: fastrand::Rng::with_seed(seed),
            speed,
            mount: 0,
            fenced_below: 0,
            locked: false,
            stalled_until: None,
            syncs_to_fail: (0, Kept::ByChance),
            writes_to_fail: (0, Kept::ByChance),
            injected: Injected::default(),
            written_over: None,
            observer: None,
            backup: None,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }

    /// The disk for a process that starts now.
    pub fn mount(&self) -> SimDisk {
        let mount = self.state().mount;
        SimDisk {
            machine: self.clone(),
            mount,
        }
    }

    /// The process dies, the machine goes on. Older mounts are dead from here on.
    pub fn process_death(&self) {
        let state = &mut *self.state();
        state.unmount();
        state.medium.drop_lost_pages(&mut state.random);
    }

    /// The disk is attached to another machine. Whatever older mounts ask for fails from here on.
    pub fn fence(&self) {
        let state = &mut *self.state();
        state.unmount();
        state.fenced_below = state.mount;
    }

    /// The machine loses power. Older mounts are dead from here on.
    pub fn power_loss(&self) {
        self.power_loss_that_keeps(Kept::ByChance);
    }

    /// The machine loses power, and this remains of what was not synced. Older mounts are dead from here on.
    pub fn power_loss_that_keeps(&self, kept: Kept) {
        let state = &mut *self.state();
        state.unmount();
        state
            .medium
            .power_loss(kept, &mut state.random, &mut state.injected);
    }

    /// From here on, the observer sees what goes to this disk.
    pub fn observe(&self, observer: Observer) {
        self.state().observer = Some(observer);
    }

    /// The next syncs fail, so many of them. This becomes durable all the same of what each was to make so.
    pub fn fail_syncs(&self, count: u32, kept: Kept) {
        self.state().syncs_to_fail = (count, kept);
    }

    /// The next writes fail, so many of them. This is written all the same of each.
    pub fn fail_writes(&self, count: u32, kept: Kept) {
        self.state().writes_to_fail = (count, kept);
    }

    /// Nothing completes for so long.
    pub fn stall(&self, duration: Duration) {
        self.state().stalled_until = Some(now() + duration);
    }

    /// Only so many bytes of files fit; `None` for no limit.
    pub fn set_capacity(&self, bytes: Option<usize>) {
        self.state().medium.capacity = bytes;
    }

    /// Bytes of files.
    pub fn used(&self) -> usize {
        self.state().medium.used()
    }

    /// Everything that was armed is taken back.
    pub fn heal(&self) {
        let mut state = self.state();
        state.stalled_until = None;
        state.syncs_to_fail.0 = 0;
        state.writes_to_fail.0 = 0;
        state.medium.capacity = None;
    }

    /// Changes one bit of a file whose name `is_chosen`, cached and durable. `None` if there is none.
    pub fn flip_bit(&self, is_chosen: impl Fn(&str) -> bool) -> Option<Flip> {
        let state = &mut *self.state();
        state.medium.flip_bit(&mut state.random, is_chosen)
    }

    /// Takes a flipped bit back, as restoring the file from a copy would. False if the file is gone or its sector was
    /// written since.
    pub fn flip_back(&self, flip: &Flip) -> bool {
        self.state().medium.flip_back(flip)
    }

    /// What was injected so far.
    pub fn injected(&self) -> Injected {
        self.state().injected
    }

    /// The first write to a file that a loss of power could have left under another name.
    pub fn written_over(&self) -> Option<WrittenOver> {
        self.state().written_over.clone()
    }

    /// A copy of everything durable, as a backup would have it.
    pub fn backup(&self) -> Backup {
        Backup(self.state().medium.durable_copy())
    }

    /// Keeps a copy of everything durable.
    pub fn keep_backup(&self) {
        let backup = self.backup();
        self.state().backup = Some(backup);
    }

    /// Puts the copy back that was kept, if there is one. Older mounts are dead from here on.
    pub fn restore_backup(&self) {
        let backup = self.state().backup.clone();
        if let Some(backup) = backup {
            self.restore(&backup);
        }
    }

    /// Takes everything away. Older mounts are dead from here on.
    pub fn empty(&self) {
        self.restore(&Backup(Medium::default()));
    }

    /// Puts a backup back. Older mounts are dead from here on.
    pub fn restore(&self, backup: &Backup) {
        let state = &mut *self.state();
        state.unmount();
        let capacity = state.medium.capacity;
        state.medium = backup.0.clone();
        state.medium.capacity = capacity;
    }
}

/// A copy of a disk.
#[derive(Clone, Debug)]
pub struct Backup(Medium);

impl State {
    fn unmount(&mut self) {
        self.mount += 1;
        self.locked = false;
    }
}

impl SimDisk {
    /// The state, if this mount is alive and nothing stalls. A dead process waits for ever; for a fenced one it is an error.
    async fn ready(&self) -> io::Result<MutexGuard<'_, State>> {
        loop {
            let stalled_until = {
                let state = self.machine.state();
                if self.mount < state.fenced_below {
                    return Err(io::Error::from_raw_os_error(ESTALE));
                }
                if state.mount == self.mount {
                    match state.stalled_until.filter(|until| *until > now()) {
                        None => return Ok(state),
                        stalled => stalled,
                    }
                } else {
                    None
                }
            };
            match stalled_until {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        }
    }

    /// Shows what happens to whoever observes. It may end the process that asks for it.
    fn show(&self, moment: Moment, name: &str, offset: u64, bytes: &[u8]) {
        let observer = {
            let state = self.machine.state();
            (state.mount == self.mount).then(|| state.observer.clone())
        };
        if let Some(Some(observer)) = observer {
            observer.see(&Observed {
                moment,
                name,
                offset,
                bytes,
            });
        }
    }

    async fn sync_latency(&self) -> io::Result<()> {
        let latency_ms = {
            let mut state = self.ready().await?;
            let Speed {
                sync_min_ms,
                sync_max_ms,
            } = state.speed;
            state.random.u64(sync_min_ms..=sync_max_ms)
        };
        sleep(Duration::from_millis(latency_ms)).await;
        Ok(())
    }

    /// Writes at once, into the cache.
    async fn write_cached(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let state = &mut *self.ready().await?;
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        if let (1.., kept) = state.writes_to_fail {
            state.writes_to_fail.0 -= 1;
            state.injected.writes_failed += 1;
            // Sectors are written whole or not at all.
            let sectors = |written: usize| (offset + written) / SECTOR * SECTOR;
            let end = match kept {
                Kept::Nothing | Kept::Removals => offset,
                Kept::Everything => offset + bytes.len(),
                Kept::EveryOther => sectors(bytes.len() / 2),
                Kept::ByChance => sectors(state.random.usize(..=bytes.len())),
            };
            state
                .medium
                .write(name, offset, &bytes[..end.saturating_sub(offset)])?;
            return Err(io::Error::from_raw_os_error(EIO));
        }
        if state.written_over.is_none() {
            state.written_over = state.medium.other_name(name);
        }
        let result = state.medium.write(name, offset, bytes);
        if matches!(&result, Err(error) if error.kind() == io::ErrorKind::StorageFull) {
            state.injected.full += 1;
        }
        result
    }

    /// What is dirty now is durable when this returns; what is written meanwhile may be.
    async fn sync_file(&self, name: &str) -> io::Result<()> {
        let inode = self.ready().await?.medium.inode_of(name)?;
        self.sync_latency().await?;
        let state = &mut *self.ready().await?;
        if let (1.., kept) = state.syncs_to_fail {
            state.syncs_to_fail.0 -= 1;
            state.injected.syncs_failed += 1;
            state.medium.sync_fails(inode, kept, &mut state.random);
            return Err(io::Error::from_raw_os_error(EIO));
        }
        state.medium.sync(inode);
        Ok(())
    }
}

const EIO: i32 = 5;

const ESTALE: i32 = 116;

#[allow(clippy::disallowed_methods)] // this is the simulator: its clock is virtual
fn now() -> Instant {
    Instant::now()
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.0.machine.state();
        if state.mount == self.0.mount {
            state.locked = false;
        }
    }
}

impl Disk for SimDisk {
    type Lock = SimLock;

    async fn lock(&self) -> io::Result<SimLock> {
        if std::mem::replace(&mut self.ready().await?.locked, true) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(SimLock(self.clone()))
    }

    async fn read(&self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        self.ready().await?.medium.read(name, offset, len)
    }

    async fn write(&self, name: &str, offset: u64, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        self.show(Moment::Writes, name, offset, &bytes);
        self.write_cached(name, offset, &bytes).await?;
        self.show(Moment::Wrote, name, offset, &bytes);
        Ok(bytes)
    }

    async fn write_sync(&self, name: &str, offset: u64, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        self.show(Moment::Writes, name, offset, &bytes);
        self.write_cached(name, offset, &bytes).await?;
        self.show(Moment::Wrote, name, offset, &bytes);
        self.sync_file(name).await?;
        self.show(Moment::Synced, name, offset, &bytes);
        drop(self.ready().await?);
        Ok(bytes)
    }

    async fn sync(&self, name: &str) -> io::Result<()> {
        self.sync_file(name).await
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.ready().await?.medium.rename(from, to)?;
        if from.starts_with("segment-") {
            // Retired: the log has it no more, as if it were removed.
            self.show(Moment::Removed, from, 0, &[]);
        }
        self.show(Moment::Renamed, to, 0, &[]);
        drop(self.ready().await?);
        Ok(())
    }

    async fn remove(&self, name: &str) -> io::Result<()> {
        self.ready().await?.medium.remove(name)?;
        self.show(Moment::Removed, name, 0, &[]);
        drop(self.ready().await?);
        Ok(())
    }

    /// The names that there are now are durable when this returns; what becomes of names meanwhile is not.
    async fn sync_dir(&self) -> io::Result<()> {
        let until = self.ready().await?.medium.changes_of_names();
        self.sync_latency().await?;
        let state = &mut *self.ready().await?;
        if state.syncs_to_fail.0 > 0 {
            state.syncs_to_fail.0 -= 1;
            state.injected.syncs_failed += 1;
            return Err(io::Error::from_raw_os_error(EIO));
        }
        state.medium.sync_names(until);
        Ok(())
    }

    async fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.ready().await?.medium.names())
    }

    async fn len(&self, name: &str) -> io::Result<u64> {
        Ok(self.ready().await?.medium.len(name)? as u64)
    }

    async fn available(&self) -> Option<u64> {
        self.ready().await.ok()?.medium.available()
    }
}

#[cfg(test)]
mod tests;
