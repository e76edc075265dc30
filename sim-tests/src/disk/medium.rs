//! What is on the disk, what is only in the cache, and what a crash makes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::Injected;

pub(super) const SECTOR: usize = 512;

/// Files and names. Numbers of inodes are never used again.
#[derive(Clone, Debug, Default)]
pub(super) struct Medium {
    pub capacity: Option<usize>,
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    /// What happened to names since they were synced.
    changes: Vec<Change>,
    /// How many changes came before those.
    changes_before: u64,
}

/// A write to a file that may have another name once the power is gone: what was written would be found under that.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WrittenOver {
    /// The name of now.
    pub name: String,
    /// The other name, on the medium or on its way there.
    pub other: String,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    cached: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors that were written and not synced.
    dirty: BTreeSet<usize>,
    /// Sectors that a failed sync took for synced.
    lost: BTreeSet<usize>,
}

#[derive(Clone, Debug)]
enum Change {
    Link(String, u64),
    Unlink(String),
    Rename(String, String, u64),
}

/// What a power loss leaves of what was not synced, or what an operation has done that reports an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kept {
    /// What chance says.
    ByChance,
    /// Nothing.
    Nothing,
    /// All of it.
    Everything,
    /// The first sector or name, and every other after it.
    EveryOther,
    /// What became of old segments: that they are removed, or have another name.
    Removals,
}

/// A bit that was flipped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flip {
    /// In which file.
    pub file: String,
    /// Which bit of it.
    pub bit: usize,
    inode: u64,
    /// The sector as it was after the flip, to see whether it was written since.
    flipped: Vec<u8>,
}

impl Kept {
    /// Says of one sector or name after the other whether it is kept. If it is left to chance: nothing, everything, or some.
    fn choice(self, random: &mut fastrand::Rng) -> impl FnMut() -> bool {
        let style = random.u8(..4);
        let mut is_even = false;
        move || match (self, style) {
            (Kept::Nothing | Kept::Removals, _) | (Kept::ByChance, 0) => false,
            (Kept::Everything, _) | (Kept::ByChance, 1) => true,
            (Kept::EveryOther, _) => {
                is_even = !is_even;
                is_even
            }
            (Kept::ByChance, _) => random.bool(),
        }
    }
}

impl Medium {
    pub fn read(&self, name: &str, offset: usize, len: usize) -> io::Result<Vec<u8>> {
        let cached = &self.file(name)?.cached;
        let from = offset.min(cached.len());
        Ok(cached[from..(from + len).min(cached.len())].to_vec())
    }

    pub fn write(&mut self, name: &str, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let present = self.file(name).map_or(0, |inode| inode.cached.len());
        let growth = (offset + bytes.len()).saturating_sub(present);
        let is_full = |capacity| self.used() + growth > capacity;
        if growth > 0 && self.capacity.is_some_and(is_full) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let number = self.link(name);
        self.inodes.entry(number).or_default().write(offset, bytes);
        Ok(())
    }

    /// How much more fits, if there is a bound.
    pub fn available(&self) -> Option<u64> {
        let room = self.capacity?.saturating_sub(self.used());
        u64::try_from(room).ok()
    }

    /// Whether a file would perhaps be found under another name, should the power go.
    pub fn other_name(&self, name: &str) -> Option<WrittenOver> {
        let number = self.names.get(name)?;
        let durable = self.durable_names.iter().map(|(other, inode)| (other, *inode));
        let pending = self.changes.iter().filter_map(Change::gives);
        let (other, _) = durable
            .chain(pending)
            .find(|(other, inode)| inode == number && *other != name)?;
        Some(WrittenOver {
            name: name.to_owned(),
            other: other.clone(),
        })
    }

    pub fn sync(&mut self, number: u64) {
        if let Some(inode) = self.inodes.get_mut(&number) {
            inode.keep_all();
        }
    }

    /// This of what was dirty arrives, and the rest is taken for clean although it did not. If nothing arrives, the cache
    /// drops it at once; otherwise it may do so when the process is gone.
    pub fn sync_fails(&mut self, number: u64, kept: Kept, random: &mut fastrand::Rng) {
        let Some(inode) = self.inodes.get_mut(&number) else {
            return;
        };
        let mut is_kept = kept.choice(random);
        for sector in std::mem::take(&mut inode.dirty) {
            if is_kept() {
                inode.keep(sector);
            } else {
                inode.lost.insert(sector);
            }
        }
        if kept == Kept::Nothing {
            inode.drop_lost();
        }
    }

    pub fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let number = self.inode_of(from)?;
        self.change(Change::Rename(from.to_owned(), to.to_owned(), number));
        Ok(())
    }

    pub fn remove(&mut self, name: &str) -> io::Result<()> {
        self.inode_of(name)?;
        self.change(Change::Unlink(name.to_owned()));
        Ok(())
    }

    /// How many changes of names there were so far.
    pub fn changes_of_names(&self) -> u64 {
        self.changes_before + self.changes.len() as u64
    }

    /// So many changes of names are durable. Those that came later are not, even if they came while this was under way.
    pub fn sync_names(&mut self, until: u64) {
        let synced = until.saturating_sub(self.changes_before) as usize;
        for change in self.changes.drain(..synced.min(self.changes.len())) {
            change.apply(&mut self.durable_names);
            self.changes_before += 1;
        }
        self.collect_garbage();
    }

    pub fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    pub fn len(&self, name: &str) -> io::Result<usize> {
        Ok(self.file(name)?.cached.len())
    }

    pub fn inode_of(&self, name: &str) -> io::Result<u64> {
        self.names
            .get(name)
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub fn used(&self) -> usize {
        self.names
            .values()
            .map(|number| self.inodes[number].cached.len())
            .sum()
    }

    /// Of what is uncertain, a power loss keeps this.
    pub fn power_loss(&mut self, kept: Kept, random: &mut fastrand::Rng, injected: &mut Injected) {
        let mut is_kept = kept.choice(random);
        for inode in self.inodes.values_mut() {
            for sector in std::mem::take(&mut inode.dirty) {
                if is_kept() {
                    inode.keep(sector);
                } else {
                    injected.sectors_lost += 1;
                }
            }
            inode.reread();
        }
        self.changes_before = self.changes_of_names();
        for change in std::mem::take(&mut self.changes) {
            if is_kept() || kept == Kept::Removals && change.is_removal() {
                change.apply(&mut self.durable_names);
            } else {
                injected.names_lost += 1;
            }
        }
        self.names.clone_from(&self.durable_names);
        self.collect_garbage();
    }

    /// Pages that a failed sync took for clean may leave the cache, and are then read from the medium.
    pub fn drop_lost_pages(&mut self, random: &mut fastrand::Rng) {
        for inode in self.inodes.values_mut() {
            if !inode.lost.is_empty() && random.bool() {
                inode.drop_lost();
            }
        }
    }

    pub fn durable_copy(&self) -> Medium {
        let mut copy = self.clone();
        copy.names.clone_from(&copy.durable_names);
        copy.changes.clear();
        copy.changes_before = 0;
        for inode in copy.inodes.values_mut() {
            inode.dirty.clear();
            inode.reread();
        }
        copy.collect_garbage();
        copy
    }

    pub fn flip_bit(&mut self, random: &mut fastrand::Rng, is_chosen: impl Fn(&str) -> bool) -> Option<Flip> {
        let chosen: Vec<(&String, u64)> = self
            .names
            .iter()
            .filter(|(name, number)| is_chosen(name) && !self.inodes[number].durable.is_empty())
            .map(|(name, number)| (name, *number))
            .collect();
        let (file, number) = *chosen.get(random.usize(..chosen.len().max(1)))?;
        let file = file.clone();
        let inode = self.inodes.get_mut(&number)?;
        let bit = random.usize(..inode.durable.len() * 8);
        inode.flip(bit);
        let flipped = inode.sector(bit / 8 / SECTOR).to_vec();
        Some(Flip {
            file,
            bit,
            inode: number,
            flipped,
        })
    }

    pub fn flip_back(&mut self, flip: &Flip) -> bool {
        let Some(inode) = self.inodes.get_mut(&flip.inode) else {
            return false;
        };
        let is_untouched = inode.sector(flip.bit / 8 / SECTOR) == flip.flipped.as_slice();
        if is_untouched {
            inode.flip(flip.bit);
        }
        is_untouched
    }

    fn file(&self, name: &str) -> io::Result<&Inode> {
        Ok(&self.inodes[&self.inode_of(name)?])
    }

    fn link(&mut self, name: &str) -> u64 {
        if let Some(number) = self.names.get(name) {
            return *number;
        }
        let number = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(number, Inode::default());
        self.change(Change::Link(name.to_owned(), number));
        number
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.names);
        self.changes.push(change);
    }

    /// What has a name, had one on the medium, or gets one there with a change that is pending, is kept.
    fn collect_garbage(&mut self) {
        let live: BTreeSet<u64> = self
            .names
            .values()
            .chain(self.durable_names.values())
            .copied()
            .chain(
                self.changes
                    .iter()
                    .filter_map(Change::gives)
                    .map(|(_, inode)| inode),
            )
            .collect();
        self.inodes.retain(|number, _| live.contains(number));
    }
}

impl Inode {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if self.cached.len() < end {
            self.cached.resize(end, 0);
        }
        self.cached[offset..end].copy_from_slice(bytes);
        for sector in offset / SECTOR..end.div_ceil(SECTOR) {
            self.dirty.insert(sector);
            self.lost.remove(&sector);
        }
    }

    fn keep_all(&mut self) {
        for sector in std::mem::take(&mut self.dirty) {
            self.keep(sector);
        }
    }

    fn keep(&mut self, sector: usize) {
        let (from, to) = (sector * SECTOR, ((sector + 1) * SECTOR).min(self.cached.len()));
        if self.durable.len() < to {
            self.durable.resize(to, 0);
        }
        self.durable[from..to].copy_from_slice(&self.cached[from..to]);
    }

    fn reread(&mut self) {
        self.cached.clone_from(&self.durable);
        self.lost.clear();
    }

    fn drop_lost(&mut self) {
        for sector in std::mem::take(&mut self.lost) {
            let (from, to) = (sector * SECTOR, ((sector + 1) * SECTOR).min(self.cached.len()));
            for at in from..to {
                self.cached[at] = self.durable.get(at).copied().unwrap_or(0);
            }
        }
    }

    fn flip(&mut self, bit: usize) {
        let mask = 1 << (bit % 8);
        self.durable[bit / 8] ^= mask;
        if let Some(byte) = self.cached.get_mut(bit / 8) {
            *byte ^= mask;
        }
    }

    fn sector(&self, sector: usize) -> &[u8] {
        let from = (sector * SECTOR).min(self.durable.len());
        &self.durable[from..((sector + 1) * SECTOR).min(self.durable.len())]
    }
}

impl Change {
    /// Whether a segment of the log is one no more.
    fn is_removal(&self) -> bool {
        match self {
            Change::Unlink(name) | Change::Rename(name, _, _) => name.starts_with("segment-"),
            Change::Link(..) => false,
        }
    }

    /// The name that it gives, and to which inode.
    fn gives(&self) -> Option<(&String, u64)> {
        match self {
            Change::Link(name, inode) | Change::Rename(_, name, inode) => Some((name, *inode)),
            Change::Unlink(_) => None,
        }
    }

    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Change::Link(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Change::Unlink(name) => {
                names.remove(name);
            }
            Change::Rename(from, to, inode) => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
        }
    }
}
