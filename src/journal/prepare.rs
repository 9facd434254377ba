//! Making segments before they are needed, so that the commit path never changes a file's metadata.

use super::segment::{DIRECTORY, OpenSegment, Segment, segment_name, unfinished_name};
use crate::clock::Entropy;
use crate::storage::{Access, Storage, StorageFile, write_all_at};
use crate::types::{SegmentId, StoreId, Timestamp};
use std::io;
use std::sync::Arc;

/// Zeros written and synced at a time: small enough that a commit beside it waits no longer than for another commit.
pub(crate) const ZERO_PIECE: u32 = 256 << 10;

/// Zeros in one write. A page cache may keep what comes in one write as one large page, and then go through all of it
/// for each small write into it later: with 256 KiB at a time, a message's write took half as long again.
const ZERO_WRITE: u32 = 16 << 10;

/// Hands out segment numbers, and knows the files that can be used again.
#[derive(Debug)]
pub(crate) struct Numbers {
    next: u32,
    unfinished: Vec<SegmentId>,
}

impl Numbers {
    /// All numbers up to `highest` have been used; the `.new` files of `unfinished` are there.
    pub(crate) fn new(highest: SegmentId, unfinished: Vec<SegmentId>) -> Self {
        Self { next: highest.get().saturating_add(1), unfinished }
    }

    fn fresh(&mut self) -> SegmentId {
        let id = SegmentId(self.next);
        self.next = self.next.saturating_add(1);
        id
    }

    /// Puts a segment that holds nothing aside: its file is kept under a number never used before, unfinished, to be
    /// prepared anew.
    pub(crate) fn set_aside(&mut self, storage: &dyn Storage, segment: SegmentId) -> io::Result<()> {
        let id = self.fresh();
        storage.rename(&segment_name(segment), &unfinished_name(id))?;
        storage.sync_dir(DIRECTORY)?;
        self.unfinished.push(id);
        Ok(())
    }
}

/// A segment that is being prepared, a piece at a time.
#[derive(Debug)]
pub(crate) struct Preparation {
    storage: Arc<dyn Storage>,
    store: StoreId,
    file: Arc<dyn StorageFile>,
    segment: Segment,
    zeroed: u32,
    zero: bool,
}

impl Preparation {
    /// Begins a segment of `capacity` bytes, whose times will be counted from `base`. With `zero` its blocks are
    /// written
    /// in advance, so that a later sync has nothing but data to write.
    pub(crate) fn begin(
        storage: &Arc<dyn Storage>,
        numbers: &mut Numbers,
        store: StoreId,
        entropy: &dyn Entropy,
        (capacity, base, zero): (u32, Timestamp, bool),
    ) -> io::Result<Self> {
        let mut salt = [0; 8];
        entropy.fill(&mut salt)?;
        let (id, file, recycled) = match numbers.unfinished.pop() {
            Some(old) => {
                // A number is used once, and numbers rise in the order of use.
                let id = numbers.fresh();
                storage.rename(&unfinished_name(old), &unfinished_name(id))?;
                (id, storage.open(&unfinished_name(id), Access::Write)?, true)
            }
            None => {
                let id = numbers.fresh();
                (id, storage.open(&unfinished_name(id), Access::Create)?, false)
            }
        };
        let length = u32::try_from(file.len()?).unwrap_or(u32::MAX);
        // A recycled file's blocks are written already, as far as they go.
        let zeroed = if recycled { length } else { 0 };
        let capacity = capacity.max(length);
        let prepared = file.allocate(u64::from(capacity));
        if let Err(error) = prepared {
            numbers.unfinished.push(id);
            return Err(error);
        }
        let segment = Segment { id, salt: u64::from_le_bytes(salt), base, key: [0; 16], capacity };
        Ok(Self { storage: storage.clone(), store, file, segment, zeroed, zero })
    }

    /// No more zeros: somebody is waiting.
    pub(crate) fn hurry(&mut self) {
        self.zero = false;
    }

    /// Does the next piece. The segment once it is named and durable, with its number in any case.
    pub(crate) fn step(&mut self) -> io::Result<Option<OpenSegment>> {
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
        write_all_at(&*self.file, &self.segment.encode(self.store), 0)?;
        self.file.sync()?;
        let id = self.segment.id;
        self.storage.rename(&unfinished_name(id), &segment_name(id))?;
        self.storage.sync_dir(DIRECTORY)?;
        Ok(Some(OpenSegment { segment: Arc::new(self.segment.clone()), file: self.file.clone() }))
    }

    /// Gives up; the file can be used again.
    pub(crate) fn abandon(self, numbers: &mut Numbers) {
        numbers.unfinished.push(self.segment.id);
    }
}
