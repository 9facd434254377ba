//! Making segments before they are needed, so that the commit path never changes a file's metadata; and files that are
//! set aside, of which one is made without taking space.

use super::crypt::{Place, SegmentKey};
use super::segment::{DIRECTORY, OpenSegment, Segment, segment_name, unfinished_name};
use crate::clock::Entropy;
use crate::config::Keys;
use crate::seen::Seen;
use crate::storage::{Access, Lock, Storage, StorageFile, write_all_at};
use crate::types::{SegmentId, StoreId, Timestamp};
use std::cmp::Reverse;
use std::io;
use std::sync::Arc;

/// Zeros written and synced at a time: few enough syncs of them, and a commit beside one waits for no more than this.
/// With a quarter of it, commits of 13 KB one after the other had 0.62 of the disk's rate, not 0.76.
pub(crate) const ZERO_PIECE: u32 = 1 << 20;

/// Zeros in one write. A page cache may keep what comes in one write as one large page, and then go through all of it
/// for each small write into it later: with 256 KiB at a time, a message's write took half as long again.
const ZERO_WRITE: u32 = 16 << 10;

/// A file that is set aside.
#[derive(Clone, Copy, Debug)]
struct Aside {
    id: SegmentId,
    length: u64,
    /// How far its blocks are written, as far as can be told: a sync into others costs the file system a note of its
    /// own.
    written: u64,
    /// That is known, since it happened in this opening.
    known: bool,
}

impl Aside {
    /// A file that was a segment to its end, if that is `known`.
    const fn used(id: SegmentId, length: u64, known: bool) -> Self {
        Self { id, length, written: length, known }
    }
}

/// Hands out segment numbers, and knows the files that are set aside.
#[derive(Debug)]
pub(crate) struct Numbers {
    next: u32,
    unfinished: Vec<Aside>,
}

impl Numbers {
    /// All numbers up to `highest` have been used; the `.new` files of `unfinished` are there, of these lengths.
    pub(crate) fn new(highest: SegmentId, unfinished: Vec<(SegmentId, u64)>) -> Self {
        let unfinished = unfinished.into_iter().map(|(id, length)| Aside::used(id, length, false)).collect();
        Self { next: highest.get().saturating_add(1), unfinished }
    }

    fn fresh(&mut self) -> SegmentId {
        let id = SegmentId(self.next);
        self.next = self.next.saturating_add(1);
        id
    }

    /// Bytes of the files that are set aside.
    pub(crate) fn banked(&self) -> u64 {
        self.unfinished.iter().map(|aside| aside.length).fold(0, u64::saturating_add)
    }

    /// Puts segments that hold nothing, or nothing that matters, aside: their files are kept under numbers never used
    /// before. Once for all of them the directory is synced: only then may they be written again.
    pub(crate) fn set_aside(&mut self, storage: &dyn Storage, segments: &[(SegmentId, u64)]) -> io::Result<()> {
        let mut renamed = Vec::with_capacity(segments.len());
        for (segment, length) in segments {
            let id = self.fresh();
            match storage.rename(&segment_name(*segment), &unfinished_name(id)) {
                Ok(()) => renamed.push(Aside::used(id, *length, true)),
                // Renamed by a call that failed later: the next opening finds it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        if !renamed.is_empty() {
            storage.sync_dir(DIRECTORY)?;
        }
        self.unfinished.extend(renamed);
        Ok(())
    }

    /// Takes the smallest file that is a segment of `wanted` bytes as it is, or of `least` bytes, or the largest there
    /// is: what is made longer has blocks that were never written. Of several the one that is written furthest.
    fn take(&mut self, least: u32, wanted: u32) -> Option<Aside> {
        let all = || self.unfinished.iter().enumerate();
        let smallest = |bytes: u32| {
            let fitting = all().filter(|(_, aside)| aside.length >= u64::from(bytes));
            fitting.min_by_key(|(_, aside)| (aside.length, Reverse(aside.written)))
        };
        let best = smallest(wanted).or_else(|| smallest(least));
        let (at, _) = best.or_else(|| all().max_by_key(|(_, aside)| (aside.length, aside.written)))?;
        Some(self.unfinished.remove(at))
    }

    /// A file did not become what it was to be. One that was there before can be used again; a new one goes, or each
    /// try on a full disk would leave another.
    fn give_up(&mut self, storage: &dyn Storage, file: Aside, recycled: bool) {
        if recycled || storage.remove(&unfinished_name(file.id)).is_err() {
            self.unfinished.push(file);
        }
    }

    /// Removes one of the files that are set aside, if at least `least` bytes of them are left then.
    pub(crate) fn discard(&mut self, storage: &dyn Storage, least: u64) -> io::Result<bool> {
        let banked = self.banked();
        let spare = |aside: &Aside| banked.saturating_sub(aside.length) >= least;
        let Some(at) = self.unfinished.iter().position(spare) else { return Ok(false) };
        let aside = self.unfinished.remove(at);
        storage.remove(&unfinished_name(aside.id))?;
        storage.sync_dir(DIRECTORY)?;
        Ok(true)
    }
}

/// What a file is prepared for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To be the next segment, of at least `least` bytes.
    Segment { least: u32 },
    /// To be set aside.
    Bank,
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Prepared {
    Segment(OpenSegment),
    Banked,
}

/// A file that is being prepared, a piece at a time.
#[derive(Debug)]
pub(crate) struct Preparation {
    storage: Arc<dyn Storage>,
    store: StoreId,
    file: Arc<dyn StorageFile>,
    /// Keeps others from reading, as a segment of its former life, what is being overwritten.
    _guard: Option<Arc<dyn StorageFile>>,
    segment: Segment,
    purpose: Purpose,
    /// Bytes that the file had before.
    there: u32,
    /// Bytes of it that are written.
    zeroed: u32,
    zero: bool,
    /// The space is not certain unless it is written.
    must_zero: bool,
}

impl Preparation {
    /// Begins a file of `capacity` bytes, whose times will be counted from `base`. With `zero` its blocks are written
    /// in advance, so that a later sync has nothing but data to write. It is for the current one of `keys`.
    pub(crate) fn begin(
        storage: &Arc<dyn Storage>,
        numbers: &mut Numbers,
        (store, keys): (StoreId, &Keys),
        entropy: &dyn Entropy,
        (purpose, capacity, base, zero): (Purpose, u32, Timestamp, bool),
    ) -> io::Result<Self> {
        let mut salt = [0; 8];
        entropy.fill(&mut salt)?;
        let old = match purpose {
            Purpose::Segment { least } => recycle(&**storage, numbers, (least, capacity))?,
            Purpose::Bank => None,
        };
        let recycled = old.is_some();
        let (mut aside, file, guard) = match old {
            Some((aside, file, guard)) => (aside, file, Some(guard)),
            None => {
                let id = numbers.fresh();
                let file = storage.open(&unfinished_name(id), Access::Create)?;
                (Aside { id, length: 0, written: 0, known: true }, file, None)
            }
        };
        let id = aside.id;
        let length = file.len()?;
        aside.length = length;
        let mut capacity = capacity.max(u32::try_from(length).unwrap_or(u32::MAX));
        let sure = match file.allocate(u64::from(capacity)) {
            Ok(sure) => sure,
            Err(error) => {
                let least = match purpose {
                    Purpose::Segment { least } => u64::from(least),
                    Purpose::Bank => u64::MAX,
                };
                // On a full disk an old file does as it is.
                if length < least || length < u64::from(super::segment::SEGMENT_HEADER) || !recycled {
                    numbers.give_up(&**storage, aside, recycled);
                    return Err(error);
                }
                capacity = u32::try_from(length).unwrap_or(u32::MAX);
                true
            }
        };
        // What was written in a file's former life need not be written in advance.
        let there = u32::try_from(length).unwrap_or(u32::MAX);
        // Where the space is not certain, what is not known to be written is.
        let written = if sure || aside.known { aside.written } else { 0 };
        let zeroed = u32::try_from(written).unwrap_or(u32::MAX).min(there);
        let salt = u64::from_le_bytes(salt);
        let key = match SegmentKey::fresh(keys, Place { store, id, salt, base }, entropy) {
            Ok(key) => key,
            Err(error) => {
                aside.length = u64::from(capacity);
                numbers.give_up(&**storage, aside, recycled);
                return Err(error);
            }
        };
        let segment = Segment { id, salt, base, key, capacity, recycled };
        let (storage, must_zero, zero) = (storage.clone(), !sure, zero || !sure);
        Ok(Self { storage, store, file, _guard: guard, segment, purpose, there, zeroed, zero, must_zero })
    }

    /// What it is to become.
    pub(crate) const fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// How many bytes of it are written in advance, of how many.
    pub(crate) const fn written(&self) -> (u32, u32) {
        (self.zeroed, self.segment.capacity)
    }

    /// How many bytes of it were there before.
    pub(crate) fn recycled_bytes(&self) -> u64 {
        if self.segment.recycled { u64::from(self.there.max(self.zeroed).min(self.segment.capacity)) } else { 0 }
    }

    /// No more zeros: somebody is waiting.
    pub(crate) fn hurry(&mut self) {
        self.zero = self.must_zero;
    }

    /// Does the next piece. What was prepared once it is durable.
    pub(crate) fn step(&mut self, numbers: &mut Numbers) -> io::Result<Option<Prepared>> {
        if self.zero && self.zeroed < self.segment.capacity {
            let piece = ZERO_PIECE.min(self.segment.capacity - self.zeroed);
            let (zeros, end) = ([0; ZERO_WRITE as usize], self.zeroed + piece);
            while self.zeroed < end {
                let part = ZERO_WRITE.min(end - self.zeroed);
                write_all_at(&*self.file, zeros.get(..part as usize).unwrap_or(&zeros), u64::from(self.zeroed))?;
                self.zeroed += part;
            }
            self.file.sync()?;
            return Ok(None);
        }
        let id = self.segment.id;
        if self.purpose == Purpose::Bank {
            self.file.sync()?;
            self.storage.sync_dir(DIRECTORY)?;
            numbers.unfinished.push(self.aside(u64::from(self.segment.capacity)));
            Seen::PreparedBank.note();
            return Ok(Some(Prepared::Banked));
        }
        write_all_at(&*self.file, &self.segment.encode(self.store), 0)?;
        self.file.sync()?;
        self.storage.rename(&unfinished_name(id), &segment_name(id))?;
        self.storage.sync_dir(DIRECTORY)?;
        let segment = Arc::new(self.segment.clone());
        if segment.recycled {
            Seen::PreparedRecycled.note()
        } else {
            Seen::PreparedNew.note()
        }
        Ok(Some(Prepared::Segment(OpenSegment { segment, file: self.file.clone() })))
    }

    /// Gives up.
    pub(crate) fn abandon(self, numbers: &mut Numbers) {
        let aside = self.aside(self.file.len().unwrap_or(0));
        numbers.give_up(&*self.storage, aside, self.segment.recycled);
    }

    fn aside(&self, length: u64) -> Aside {
        Aside { id: self.segment.id, length, written: u64::from(self.zeroed), known: true }
    }
}

type Recycled = (Aside, Arc<dyn StorageFile>, Arc<dyn StorageFile>);

/// An old file under a new number, locked, if there is one that may be written: one with a second name, or that
/// somebody reads, is left to whoever has it.
fn recycle(storage: &dyn Storage, numbers: &mut Numbers, (least, wanted): (u32, u32)) -> io::Result<Option<Recycled>> {
    while let Some(old) = numbers.take(least, wanted) {
        let name = unfinished_name(old.id);
        let guard = storage.open(&name, Access::Write)?;
        if guard.links()? != 1 || !guard.try_lock(Lock::Exclusive)? {
            storage.remove(&name)?;
            continue;
        }
        // A number is used once, and numbers rise in the order of use.
        let id = numbers.fresh();
        if let Err(error) = storage.rename(&name, &unfinished_name(id)) {
            numbers.unfinished.push(old);
            return Err(error);
        }
        let file = storage.open(&unfinished_name(id), Access::Write)?;
        return Ok(Some((Aside { id, ..old }, file, guard)));
    }
    Ok(None)
}
