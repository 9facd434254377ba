//! A run: the published ids of a stretch of one segment, or of several whole segments, sorted, in a file beside them.
//!
//! ```text
//!    0   magic "MILLIDS\n"                           8 bytes
//!    8   version                                     u16
//!   10   zero                                        6 bytes
//!   16   store id                                    16 bytes
//!   32   rows                                        u64
//!   40   blocks of the filter                        u32
//!   44   blocks of rows                              u32
//!   48   stretches                                   u32
//!   52   shares                                      u32
//!   56   edition: how often it was written anew      u32
//!   60   seed of the blocks: CRC-32 (u32) of the stretches as below, and of the edition
//!   64   CRC-32 of everything before                 u32
//!  512   blocks of 512 bytes, each with a CRC-32 (u32) at its end of the seed, of its number (u32, counted from the
//!        file's beginning), and of what is before in it: so a block of another run is not taken for one of this.
//!        First those of the filter: 7 lines each (see `filter`). Then those of rows: up to 9 rows of 53 bytes (see
//!        `published`), zeros, number of rows (u8)
//!        trailer: the first 4 bytes of the first id of each block of rows; for each stretch its segment (u32), that
//!        one's salt (u64), where it begins in it (u32), where it ends (u32; all ones: with the segment); for each
//!        share a segment (u32), a topic (u32), rows (u64), latest time (u64) and largest offset (u64) of what came
//!        with that segment of that topic; CRC-32 of the trailer (u32)
//! ```
//!
//! All little-endian, but for ids, whose order is that of their bytes. A run is written whole, synced, and renamed into
//! place; it is never changed. Its name tells segment and stretch, as `journal/0000000007.00001000-ffffffff.ids`, or
//! the first and the last segment, as `journal/0000000007-0000000012.ids`; of several segments all is covered, and one
//! that is not named in the file was gone already. What a share says of a run of several segments is what it said when
//! the ids came: some of them may have left since.
//!
//! Of a run that is *warm* the filter, and where each block begins, are in memory: asking it for an id that it has not
//! costs no read, and for one that it has, one. Of one that is *cold* nothing is: asking costs a read, and finding some
//! two or three, by guessing where among the hashes the id has to be.

use super::Hash;
use super::filter::{Filter, LINES, blocks_for, line_of, lines};
use super::published::{Published, PublishedKey, ROW, prefix};
use super::stretch::{Place, STRETCH, Stretch, place_of, put_stretches, seed, take_stretch};
use crate::storage::{Access, Storage, StorageFile, read_exact_at};
use crate::sync::Mutex;
use crate::types::{Offset, SegmentId, StoreId, Timestamp, TopicId};
use std::io::{Error, ErrorKind, Result};
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"MILLIDS\n";
const VERSION: u16 = 2;
pub(super) const HEADER: usize = 68;
/// Small, since most of what it costs to find a row is to read the block it is in.
pub(super) const BLOCK: usize = 512;
/// Rows of a block.
pub(super) const ROWS: usize = (BLOCK - 5) / ROW;
const SHARE: usize = 32;
/// No trailer of ours is longer; what is, is not read.
const MOST_TRAILER: u64 = 1 << 30;

/// What a run has of one topic that came with one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) segment: SegmentId,
    pub(crate) topic: TopicId,
    pub(crate) rows: u64,
    pub(crate) latest: Timestamp,
    pub(crate) last: Offset,
}

/// What of a warm run is in memory.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) filter: Filter,
    /// The beginning of the first id of each block.
    pub(super) firsts: Vec<u32>,
}

impl Index {
    fn bytes(&self) -> usize {
        self.filter.bytes() + self.firsts.len() * size_of::<u32>()
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) store: StoreId,
    /// What it covers, rising: never nothing.
    pub(super) stretches: Vec<Stretch>,
    /// Segments of those that are gone since, or whose ids lie further on.
    gone: Vec<SegmentId>,
    pub(crate) rows: u64,
    /// One that was made from the journal has 0, and always the same rows.
    pub(crate) edition: u32,
    pub(crate) shares: Vec<Share>,
    /// Of the filter, and of rows.
    pub(super) filters: u32,
    pub(super) blocks: u32,
    pub(super) index: Option<Arc<Index>>,
    /// Bytes of the file.
    pub(crate) length: u64,
    /// What the checksum of each block begins with.
    seed: u32,
    file: Mutex<Option<Arc<dyn StorageFile>>>,
}

pub(super) fn bad(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("a run of published ids: {what}"))
}

/// What a run is made of when it has been written.
pub(super) struct Parts {
    pub(super) store: StoreId,
    pub(super) stretches: Vec<Stretch>,
    pub(super) edition: u32,
    pub(super) shares: Vec<Share>,
    pub(super) rows: u64,
    pub(super) filters: u32,
    pub(super) blocks: u32,
    pub(super) index: Option<Arc<Index>>,
    pub(super) length: u64,
}

impl From<Parts> for Run {
    fn from(parts: Parts) -> Self {
        let Parts { store, stretches, edition, shares, rows, filters, blocks, index, length } = parts;
        let (gone, file, seed) = (Vec::new(), Mutex::default(), seed(&stretches, edition));
        Self { store, stretches, gone, rows, edition, shares, filters, blocks, index, length, seed, file }
    }
}

impl Run {
    pub(crate) fn place(&self) -> Place {
        place_of(&self.stretches)
    }

    pub(crate) fn name(&self) -> String {
        self.place().name()
    }

    /// Whether it is the same file: of one name only one edition is ever there at a time.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.place() == other.place() && self.edition == other.edition
    }

    /// What it covers of segments that are there.
    pub(crate) fn stretches(&self) -> impl Iterator<Item = &Stretch> {
        self.stretches.iter().filter(|stretch| !self.gone.contains(&stretch.segment))
    }

    /// Bytes of memory that it takes.
    pub(crate) fn memory(&self) -> usize {
        let index = self.index.as_ref().map_or(0, |index| index.bytes());
        index + self.stretches.len() * size_of::<Stretch>() + self.shares.len() * size_of::<Share>()
    }

    /// Bytes that its filter takes in memory, and where its blocks begin, when it is warm.
    pub(crate) fn index_bytes(&self) -> usize {
        index_bytes(self.filters, u64::from(self.blocks))
    }

    pub(crate) fn is_warm(&self) -> bool {
        self.index.is_some()
    }

    fn with(&self, index: Option<Arc<Index>>, gone: Vec<SegmentId>) -> Self {
        let shares = self.shares.iter().filter(|share| !gone.contains(&share.segment)).copied().collect();
        Self {
            store: self.store,
            stretches: self.stretches.clone(),
            gone,
            rows: self.rows,
            edition: self.edition,
            shares,
            filters: self.filters,
            blocks: self.blocks,
            index,
            length: self.length,
            seed: self.seed,
            file: Mutex::new(self.file.lock().clone()),
        }
    }

    /// The same, with nothing of it in memory.
    pub(crate) fn cold(&self) -> Self {
        self.with(None, self.gone.clone())
    }

    /// The same, without what `known` has lost of what is in memory for the sake of segments.
    pub(crate) fn after(self, known: &Self) -> Self {
        if known.gone.is_empty() { self } else { self.with(self.index.clone(), known.gone.clone()) }
    }

    /// The same, without what is in memory for the sake of a segment; nothing if that was the last one.
    pub(crate) fn without_segment(&self, segment: SegmentId) -> Option<Self> {
        let gone: Vec<SegmentId> = self.gone.iter().copied().chain([segment]).collect();
        let left = self.stretches.iter().any(|stretch| !gone.contains(&stretch.segment));
        left.then(|| self.with(self.index.clone(), gone))
    }

    /// The same, without what is in memory for the sake of segments that `live` says no to; nothing if none is left.
    pub(crate) fn limited_to(self, live: &dyn Fn(SegmentId) -> bool) -> Option<Self> {
        let over: Vec<SegmentId> = self.stretches().map(|one| one.segment).filter(|segment| !live(*segment)).collect();
        over.into_iter().try_fold(self, |run, segment| run.without_segment(segment))
    }

    /// The same, with its filter in memory, and where its blocks begin.
    pub(crate) fn warm(&self, storage: &dyn Storage) -> Result<Self> {
        let file = self.file(storage)?;
        let mut filter = Filter::with_blocks(self.filters);
        let mut block = [0; BLOCK];
        for number in 1..=self.filters {
            lines(self.read(&*file, number, &mut block)?).for_each(|line| filter.push(line));
        }
        let mut firsts = vec![0; self.blocks as usize * size_of::<u32>()];
        read_exact_at(&*file, &mut firsts, self.trailer_at())?;
        let firsts = firsts.as_chunks::<4>().0.iter().map(|first| u32::from_le_bytes(*first)).collect();
        Ok(self.with(Some(Arc::new(Index { filter, firsts })), self.gone.clone()))
    }

    fn trailer_at(&self) -> u64 {
        (1 + u64::from(self.filters) + u64::from(self.blocks)) * BLOCK as u64
    }

    pub(super) fn header(&self) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(HEADER);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 6]);
        out.extend_from_slice(&self.store.bytes());
        out.extend_from_slice(&self.rows.to_le_bytes());
        let stretches = u32::try_from(self.stretches.len()).ok()?;
        let shares = u32::try_from(self.shares.len()).ok()?;
        for number in [self.filters, self.blocks, stretches, shares, self.edition, self.seed] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        Some(out)
    }

    pub(super) fn trailer(&self, firsts: &[u32]) -> Vec<u8> {
        let mut out = Vec::with_capacity(firsts.len() * 4 + self.shares.len() * SHARE + 64);
        firsts.iter().for_each(|first| out.extend_from_slice(&first.to_le_bytes()));
        put_stretches(&self.stretches, &mut out);
        for share in &self.shares {
            out.extend_from_slice(&share.segment.get().to_le_bytes());
            out.extend_from_slice(&share.topic.get().to_le_bytes());
            out.extend_from_slice(&share.rows.to_le_bytes());
            out.extend_from_slice(&share.latest.get().to_le_bytes());
            out.extend_from_slice(&share.last.get().to_le_bytes());
        }
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Opens a run; it is cold. `InvalidData` if it is not the run that was looked for, or not whole.
    pub(crate) fn open(storage: &dyn Storage, store: StoreId, place: Place) -> Result<Self> {
        let file = storage.open(&place.name(), Access::Read)?;
        let mut header = vec![0; HEADER];
        read_exact_at(&*file, &mut header, 0)?;
        let count = |at: usize| header.get(at..).and_then(|rest| rest.first_chunk()).copied().map(u32::from_le_bytes);
        let counts = (count(40), count(44), count(48), count(52), count(56));
        let (Some(filters), Some(blocks), Some(stretches), Some(shares), Some(edition)) = counts else {
            return Err(bad("a header that is cut"));
        };
        let rows = header.get(32..).and_then(|rest| rest.first_chunk()).copied().map_or(0, u64::from_le_bytes);
        let [firsts, parts, held] =
            [(blocks, 4), (stretches, STRETCH), (shares, SHARE)].map(|(count, size)| u64::from(count) * size as u64);
        let start = (1 + u64::from(filters) + u64::from(blocks)) * BLOCK as u64;
        let trailing = firsts + parts + held + 4;
        if trailing > MOST_TRAILER || start + trailing != file.len()? || stretches == 0 {
            return Err(bad("its length is not what its header says"));
        }
        let mut trailer = vec![0; usize::try_from(trailing).map_err(|_| bad("too long"))?];
        read_exact_at(&*file, &mut trailer, start)?;
        let (body, crc) = trailer.split_last_chunk::<4>().ok_or_else(|| bad("cut"))?;
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return Err(bad("its trailer is damaged"));
        }
        let firsts = usize::try_from(firsts).map_err(|_| bad("too long"))?;
        let (_, rest) = body.split_at_checked(firsts).ok_or_else(|| bad("cut"))?;
        let (stretches, shares) = rest.split_at_checked(stretches as usize * STRETCH).ok_or_else(|| bad("cut"))?;
        let run = Self::from(Parts {
            store,
            stretches: stretches.as_chunks::<STRETCH>().0.iter().filter_map(take_stretch).collect(),
            edition,
            shares: shares.as_chunks::<SHARE>().0.iter().filter_map(take_share).collect(),
            rows,
            filters,
            blocks,
            index: None,
            length: start + trailing,
        });
        // What the header should be, to the byte: so a run of another store or place is not taken for this.
        if run.place() != place || run.header().as_ref() != Some(&header) {
            return Err(bad("its header is another's, or damaged"));
        }
        *run.file.lock() = Some(file);
        Ok(run)
    }

    /// Reads a block of the file, without its checksum. `InvalidData` if it is damaged.
    pub(super) fn read<'a>(&self, file: &dyn StorageFile, number: u32, block: &'a mut [u8; BLOCK]) -> Result<&'a [u8]> {
        read_exact_at(file, block, u64::from(number) * BLOCK as u64)?;
        self.checked(number, block)
    }

    /// A block without its checksum, which has to be right.
    pub(super) fn checked<'a>(&self, number: u32, block: &'a [u8]) -> Result<&'a [u8]> {
        let (covered, crc) = block.split_last_chunk::<4>().ok_or_else(|| bad("cut"))?;
        let right = block_crc(self.seed, number, covered) == u32::from_le_bytes(*crc);
        if right { Ok(covered) } else { Err(bad("a block is damaged")) }
    }

    /// Opens the run's file, to read rows by; kept open from then on.
    pub(crate) fn file(&self, storage: &dyn Storage) -> Result<Arc<dyn StorageFile>> {
        let mut held = self.file.lock();
        if let Some(file) = &*held {
            return Ok(file.clone());
        }
        let file = storage.open(&self.name(), Access::Read)?;
        *held = Some(file.clone());
        Ok(file)
    }

    /// Whether it may have the id, as far as can be told without reading.
    pub(crate) fn may_have(&self, id: &Hash) -> bool {
        self.rows > 0 && self.index.as_ref().is_none_or(|index| index.filter.may_have(id, self.filters))
    }

    /// Looks at what `may_have` will look at, and no more.
    pub(super) fn touch(&self, id: &Hash) -> u64 {
        self.index.as_ref().map_or(0, |index| index.filter.touch(id, self.filters))
    }

    /// Whether the filter on disk says that it may have the id.
    pub(super) fn may_have_on_disk(&self, file: &dyn StorageFile, id: &Hash) -> Result<bool> {
        let line = line_of(id, self.filters);
        let number = u32::try_from(line / LINES as u64 + 1).map_err(|_| bad("too many blocks"))?;
        let mut block = [0; BLOCK];
        let within = usize::try_from(line % LINES as u64).unwrap_or(usize::MAX);
        let line = lines(self.read(file, number, &mut block)?).nth(within);
        line.map(|line| line.may_have(id)).ok_or_else(|| bad("a filter that is cut"))
    }
}

fn index_bytes(filters: u32, blocks: u64) -> usize {
    let firsts = usize::try_from(blocks).unwrap_or(usize::MAX).saturating_mul(size_of::<u32>());
    (filters as usize).saturating_mul(LINES * 64).saturating_add(firsts)
}

/// Bytes that a warm run of so many rows takes, about.
pub(crate) fn bytes_of_warm(rows: u64) -> usize {
    index_bytes(blocks_for(rows.max(1)), rows.div_ceil(ROWS as u64))
}

/// So many rows has a run whose blocks' beginnings take so many bytes: they are in memory while it is written.
pub(crate) fn rows_for(bytes: usize) -> u64 {
    (bytes / size_of::<u32>()).saturating_mul(ROWS) as u64
}

/// The rows of a block.
pub(super) fn rows(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    let count = block.last().map_or(0, |count| usize::from(*count));
    block.chunks_exact(ROW).take(count.min(ROWS))
}

/// The key and the row that lie in these bytes.
pub(super) fn take(row: &[u8]) -> Result<(PublishedKey, Published)> {
    Published::take(row).ok_or_else(|| bad("a row that is cut"))
}

/// The beginning of a hash that is kept of each block.
pub(super) fn top(id: &Hash) -> u32 {
    u32::try_from(prefix(id) >> 32).unwrap_or(u32::MAX)
}

pub(super) fn block_crc(seed: u32, number: u32, covered: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new_with_initial(seed);
    crc.update(&number.to_le_bytes());
    crc.update(covered);
    crc.finalize()
}

fn take_share(share: &[u8; SHARE]) -> Option<Share> {
    let (segment, rest) = share.split_first_chunk()?;
    let (topic, rest) = rest.split_first_chunk()?;
    let (rows, rest) = rest.split_first_chunk()?;
    let (latest, rest) = rest.split_first_chunk()?;
    let last = rest.first_chunk()?;
    Some(Share {
        segment: SegmentId(u32::from_le_bytes(*segment)),
        topic: TopicId(u32::from_le_bytes(*topic)),
        rows: u64::from_le_bytes(*rows),
        latest: Timestamp(u64::from_le_bytes(*latest)),
        last: Offset(u64::from_le_bytes(*last)),
    })
}
