//! The content of one simulated file: what reads see, what is durable, and what was written in between.

use super::crash::{self, Mood};
use fastrand::Rng;

/// The smallest thing a disk writes whole.
pub(super) const SECTOR: usize = 512;
/// The page of most machines: eight sectors that often, but not always, reach the disk together.
pub(super) const PAGE: usize = 4096;
/// More writes than this since the last sync are joined into pages, lest the list grow without end.
const LONG_LIST: usize = 4096;

/// A write that was not synced yet. Its bytes lie in [`Pages::bytes`], which saves one allocation per write.
#[derive(Clone, Copy, Debug)]
pub(super) struct Write {
    /// Where in the file.
    pub(super) position: usize,
    pub(super) len: usize,
    /// Where in `bytes`.
    start: usize,
}

impl Write {
    /// Sectors of the file that this write touches.
    pub(super) fn sectors(&self) -> std::ops::Range<usize> {
        self.position / SECTOR..(self.position + self.len).div_ceil(SECTOR)
    }
}

/// One file's bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Pages {
    /// The page cache: what a read gives.
    live: Vec<u8>,
    /// What a power cut leaves for certain.
    durable: Vec<u8>,
    /// Writes since the last sync, oldest first.
    pending: Vec<Write>,
    /// Their bytes, back to back.
    bytes: Vec<u8>,
    /// Up to here the file was preallocated: what is lost there reads as zeros, never as garbage.
    allocated: usize,
    /// A write-back failed: the page cache holds bytes that are neither durable nor waiting to be.
    diverged: bool,
    /// Length of `pending` at which it is compacted next.
    limit: usize,
}

impl Pages {
    /// A file that was found on the disk with these bytes.
    pub(super) fn stored(bytes: Vec<u8>) -> Self {
        Self { live: bytes.clone(), durable: bytes, ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.live.len()
    }

    pub(super) fn live(&self) -> &[u8] {
        &self.live
    }

    pub(super) fn durable(&self) -> &[u8] {
        &self.durable
    }

    pub(super) fn pending(&self) -> &[Write] {
        &self.pending
    }

    pub(super) fn allocated(&self) -> usize {
        self.allocated
    }

    /// The bytes of a pending write.
    pub(super) fn bytes_of(&self, write: &Write) -> &[u8] {
        slice(&self.bytes, write.start, write.len)
    }

    /// Copies what is there into `buffer`; how much that was.
    pub(super) fn read(&self, buffer: &mut [u8], position: usize) -> usize {
        let there = slice(&self.live, position, buffer.len());
        paste(buffer, 0, there);
        there.len()
    }

    /// Writes into the page cache; a hole before `position` reads as zeros.
    pub(super) fn write(&mut self, bytes: &[u8], position: usize) {
        if bytes.is_empty() {
            return;
        }
        if self.pending.len() >= LONG_LIST.max(self.limit) || self.bytes.len() > 2 * self.live.len() + 16 * PAGE {
            self.compact();
        }
        let end = position + bytes.len();
        if position == self.live.len() {
            self.live.extend_from_slice(bytes);
        } else {
            grow(&mut self.live, end);
            paste(&mut self.live, position, bytes);
        }
        if self.diverged {
            // A disk takes whole sectors out of the page cache: what a failed write-back dropped beside these bytes
            // goes with them.
            let from = position / SECTOR * SECTOR;
            self.push_live(from, end.next_multiple_of(SECTOR).min(self.live.len()));
        } else {
            self.push(bytes, position);
        }
    }

    /// Grows the file to `len` bytes of which new ones are zeros.
    pub(super) fn allocate(&mut self, len: usize) {
        grow(&mut self.live, len);
        self.allocated = self.allocated.max(len);
    }

    /// Everything that waits becomes durable, and so does the length.
    pub(super) fn sync(&mut self) {
        grow(&mut self.durable, self.live.len());
        for write in &self.pending {
            // The newest bytes of a range are those of the page cache, whichever write they came with.
            paste(&mut self.durable, write.position, slice(&self.live, write.position, write.len));
        }
        self.forget_pending();
    }

    /// The write-back fails: some of what waited may have reached the disk, the rest never will. Reads go on seeing it.
    pub(super) fn fail_write_back(&mut self, rng: &mut Rng, stale: &[u8]) {
        let mood = if rng.bool() { Mood::Lost } else { Mood::Mixed };
        self.durable = crash::content(self, mood, rng, stale);
        self.forget_pending();
        self.diverged = true;
    }

    /// The power is gone and back.
    pub(super) fn crash(&mut self, mood: Mood, rng: &mut Rng, stale: &[u8]) {
        if !self.pending.is_empty() || self.live.len() != self.durable.len() {
            self.durable = crash::content(self, mood, rng, stale);
            self.live.clone_from(&self.durable);
        } else if self.diverged {
            self.live.clone_from(&self.durable);
        }
        self.forget_pending();
        self.allocated = self.allocated.min(self.live.len());
        self.diverged = false;
    }

    /// What is left on the disk of a file that went away.
    pub(super) fn into_garbage(self) -> Vec<u8> {
        self.durable
    }

    fn forget_pending(&mut self) {
        self.pending.clear();
        self.bytes.clear();
        self.limit = 0;
    }

    fn push(&mut self, bytes: &[u8], position: usize) {
        self.pending.push(Write { position, len: bytes.len(), start: self.bytes.len() });
        self.bytes.extend_from_slice(bytes);
    }

    /// Notes a range of the page cache as written.
    fn push_live(&mut self, from: usize, to: usize) {
        let bytes = slice(&self.live, from, to.saturating_sub(from));
        self.pending.push(Write { position: from, len: bytes.len(), start: self.bytes.len() });
        self.bytes.extend_from_slice(bytes);
    }

    /// Joins what waits into pieces of at most a page with their newest bytes. Older versions of a sector can't survive
    /// a crash any more; being lost, and being torn, remain possible.
    fn compact(&mut self) {
        let mut ranges: Vec<_> =
            self.pending.iter().map(|write| (write.position, write.position + write.len)).collect();
        ranges.sort_unstable();
        self.forget_pending();
        let mut joined: Vec<(usize, usize)> = Vec::new();
        for (from, to) in ranges {
            match joined.last_mut().filter(|last| last.1 >= from) {
                Some(last) => last.1 = last.1.max(to),
                None => joined.push((from, to)),
            }
        }
        for (mut from, to) in joined {
            while from < to {
                let end = to.min((from + 1).next_multiple_of(PAGE));
                self.push_live(from, end);
                from = end;
            }
        }
        self.limit = 2 * self.pending.len();
    }
}

/// Lengthens `bytes` with zeros to `len`; never shortens.
fn grow(bytes: &mut Vec<u8>, len: usize) {
    if bytes.len() < len {
        bytes.resize(len, 0);
    }
}

/// The part of `bytes` from `at` on, `len` long or as much as there is.
pub(super) fn slice(bytes: &[u8], at: usize, len: usize) -> &[u8] {
    let rest = bytes.get(at..).unwrap_or_default();
    rest.get(..len).unwrap_or(rest)
}

/// Copies `from` over `target` at `at`, as far as `target` reaches.
pub(super) fn paste(target: &mut [u8], at: usize, from: &[u8]) {
    let room = target.get_mut(at..).unwrap_or_default();
    let count = room.len().min(from.len());
    if let (Some(room), Some(from)) = (room.get_mut(..count), from.get(..count)) {
        room.copy_from_slice(from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_reads_as_zeros() {
        let mut pages = Pages::default();
        pages.write(b"end", 5);
        let mut buffer = [9; 10];
        assert_eq!(pages.read(&mut buffer, 0), 8);
        assert_eq!(&buffer[..8], b"\0\0\0\0\0end");
    }

    #[test]
    fn a_sync_takes_the_newest_bytes_of_a_range() {
        let mut pages = Pages::default();
        pages.write(b"older bytes", 0);
        pages.write(b"newer", 0);
        assert_eq!(pages.durable(), b"");
        pages.sync();
        assert_eq!(pages.durable(), b"newer bytes");
        assert!(pages.pending().is_empty());
    }

    #[test]
    fn many_unsynced_writes_are_joined_and_nothing_of_them_is_forgotten() {
        let mut pages = Pages::default();
        let mut rng = Rng::with_seed(1);
        for _ in 0..40_000 {
            let position = rng.usize(0..60_000);
            pages.write(&rng.u64(..).to_le_bytes(), position);
            assert!(pages.bytes.len() <= 2 * pages.len() + 17 * PAGE);
            assert!(pages.pending.len() <= 2 * LONG_LIST);
        }
        pages.sync();
        assert_eq!(pages.live(), pages.durable());
    }

    #[test]
    fn after_a_failed_write_back_a_rewritten_sector_is_written_whole_and_the_others_are_not() {
        let mut pages = Pages::default();
        pages.write(&[1; 2 * SECTOR], 0);
        let mut rng = Rng::with_seed(3);
        pages.durable = vec![0; 2 * SECTOR];
        pages.forget_pending();
        pages.diverged = true;
        pages.write(&[2; 10], 100);
        pages.sync();
        assert_eq!(pages.live()[SECTOR..], [1; SECTOR], "reads see what was dropped");
        assert_eq!(pages.durable()[..100], [1; 100]);
        assert_eq!(pages.durable()[SECTOR..], [0; SECTOR]);
        pages.crash(Mood::Kept, &mut rng, &[]);
        assert_eq!(pages.live(), pages.durable());
    }
}
