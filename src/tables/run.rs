//! A run: the published ids of a stretch of one segment, sorted, in a file beside it.
//!
//! ```text
//!    0   magic "MILLIDS\n"                           8 bytes
//!    8   version                                     u16
//!   10   zero                                        u16
//!   12   flags, zero                                 u32
//!   16   store id                                    16 bytes
//!   32   segment                                     u32
//!   36   segment's salt                              u64
//!   44   where the stretch begins in the segment     u32
//!   48   where it ends; all ones: with the segment   u32
//!   52   rows                                        u64
//!   60   blocks of rows                              u32
//!   64   bytes of the filter                         u32
//!   68   topics                                      u32
//!   72   edition: how often it was written anew      u32
//!   76   CRC-32 of everything before                 u32
//!   80   blocks of 1024 bytes: up to 19 rows of 53 bytes (see `published`), zeros, number of rows (u8),
//!        CRC-32 (u32) of segment, salt, both ends of the stretch and edition, as above, of the number of the block
//!        (u32), and of what is before in it: so a block of another run is not taken for one of this
//!        trailer: the first 8 bytes of the first id of each block; the filter (see `filter`); for each topic its
//!        number (u32), rows (u64), latest time (u64) and largest offset (u64); CRC-32 of the trailer (u32)
//! ```
//!
//! All little-endian, but for ids, whose order is that of their bytes. A run is written whole, synced, and renamed into
//! place; it is never changed. Its name tells segment and stretch, as `journal/0000000007.00001000-ffffffff.ids`.
//! The filter and the trailer's numbers are held in memory; a block is read when the filter says so.

use super::Hash;
use super::filter::Filter;
use super::published::{Published, PublishedKey, ROW, prefix};
use crate::storage::{Access, Storage, StorageFile, read_exact_at};
use crate::types::{Offset, Position, SegmentId, StoreId, Timestamp, TopicId};
use std::io::{Error, ErrorKind, Result};
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"MILLIDS\n";
const VERSION: u16 = 1;
pub(super) const HEADER: usize = 80;
pub(super) const BLOCK: usize = 1024;
/// Rows of a block.
pub(super) const ROWS: usize = (BLOCK - 5) / ROW;
const SHARE: usize = 28;
/// Where segments are, and runs beside them.
pub(super) const DIRECTORY: &str = "journal";
/// No trailer of ours is longer; what is, is not read.
const MOST_TRAILER: u64 = 1 << 30;

/// The segment that a run belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) store: StoreId,
    pub(crate) segment: SegmentId,
    /// Of this life of the segment's file.
    pub(crate) salt: u64,
}

/// A stretch of a segment: whole frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Range {
    pub(crate) from: Position,
    pub(crate) to: Position,
}

impl Range {
    /// The end of a stretch that goes to the segment's end, wherever that is.
    pub(crate) const END: Position = Position(u32::MAX);
}

/// What a run has of one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) topic: TopicId,
    pub(crate) rows: u64,
    pub(crate) latest: Timestamp,
    pub(crate) last: Offset,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) owner: Owner,
    pub(crate) range: Range,
    pub(crate) rows: u64,
    /// One that was made from the journal has 0, and always the same rows.
    pub(crate) edition: u32,
    /// The beginning of the first id of each block.
    pub(super) firsts: Vec<u64>,
    pub(super) filter: Filter,
    pub(crate) shares: Vec<Share>,
    /// Bytes of the file.
    pub(crate) length: u64,
}

/// The name of a run.
pub(crate) fn name(owner: &Owner, range: Range) -> String {
    format!("{DIRECTORY}/{:010}.{:08x}-{:08x}.ids", owner.segment.get(), range.from.get(), range.to.get())
}

/// The segment and the stretch that a name in the journal's directory tells, if it is a run's.
pub(crate) fn run_of_name(name: &str) -> Option<(SegmentId, Range)> {
    let (segment, rest) = name.split_once('.')?;
    let (from, to) = rest.strip_suffix(".ids")?.split_once('-')?;
    let digits = |text: &str, count| text.len() == count && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !digits(segment, 10) || !digits(from, 8) || !digits(to, 8) {
        return None;
    }
    let range =
        Range { from: Position(u32::from_str_radix(from, 16).ok()?), to: Position(u32::from_str_radix(to, 16).ok()?) };
    Some((SegmentId(segment.parse().ok()?), range))
}

fn bad(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("a run of published ids: {what}"))
}

impl Run {
    pub(crate) fn name(&self) -> String {
        name(&self.owner, self.range)
    }

    /// Bytes of memory that it takes.
    pub(crate) fn memory(&self) -> usize {
        self.filter.bytes() + self.firsts.len() * 8 + self.shares.len() * size_of::<Share>()
    }

    pub(super) fn header(&self) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(HEADER);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 6]);
        out.extend_from_slice(&self.owner.store.bytes());
        out.extend_from_slice(&self.owner.segment.get().to_le_bytes());
        out.extend_from_slice(&self.owner.salt.to_le_bytes());
        out.extend_from_slice(&self.range.from.get().to_le_bytes());
        out.extend_from_slice(&self.range.to.get().to_le_bytes());
        out.extend_from_slice(&self.rows.to_le_bytes());
        for count in [self.firsts.len(), self.filter.bytes(), self.shares.len()] {
            out.extend_from_slice(&u32::try_from(count).ok()?.to_le_bytes());
        }
        out.extend_from_slice(&self.edition.to_le_bytes());
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        Some(out)
    }

    pub(super) fn trailer(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.memory() + 4);
        self.firsts.iter().for_each(|first| out.extend_from_slice(&first.to_le_bytes()));
        self.filter.put(&mut out);
        for share in &self.shares {
            out.extend_from_slice(&share.topic.get().to_le_bytes());
            out.extend_from_slice(&share.rows.to_le_bytes());
            out.extend_from_slice(&share.latest.get().to_le_bytes());
            out.extend_from_slice(&share.last.get().to_le_bytes());
        }
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads what of a run is held in memory. `InvalidData` if it is not the run that was looked for, whole.
    pub(crate) fn open(storage: &dyn Storage, owner: Owner, range: Range) -> Result<Self> {
        let file = storage.open(&name(&owner, range), Access::Read)?;
        let mut header = vec![0; HEADER];
        read_exact_at(&*file, &mut header, 0)?;
        let count = |at: usize| header.get(at..).and_then(|rest| rest.first_chunk()).copied().map(u32::from_le_bytes);
        let (Some(blocks), Some(filter), Some(topics)) = (count(60), count(64), count(68)) else {
            return Err(bad("a header that is cut"));
        };
        let edition = count(72).unwrap_or_default();
        let rows = header.get(52..).and_then(|rest| rest.first_chunk()).copied().map_or(0, u64::from_le_bytes);
        let length = u64::from(blocks) * 8 + u64::from(filter) + u64::from(topics) * SHARE as u64 + 4;
        let start = HEADER as u64 + u64::from(blocks) * BLOCK as u64;
        if length > MOST_TRAILER || start + length != file.len()? {
            return Err(bad("its length is not what its header says"));
        }
        let mut trailer = vec![0; usize::try_from(length).map_err(|_| bad("too long"))?];
        read_exact_at(&*file, &mut trailer, start)?;
        let (body, crc) = trailer.split_last_chunk::<4>().ok_or_else(|| bad("cut"))?;
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return Err(bad("its trailer is damaged"));
        }
        let (firsts, rest) = body.split_at_checked(blocks as usize * 8).ok_or_else(|| bad("cut"))?;
        let (filter, shares) = rest.split_at_checked(filter as usize).ok_or_else(|| bad("cut"))?;
        let run = Self {
            owner,
            range,
            rows,
            edition,
            firsts: firsts.as_chunks::<8>().0.iter().map(|first| u64::from_le_bytes(*first)).collect(),
            filter: Filter::take(filter),
            shares: shares.as_chunks::<SHARE>().0.iter().filter_map(take_share).collect(),
            length: start + length,
        };
        // What the header should be, to the byte: so a run of another store, segment or stretch is not taken for this.
        if run.header().as_ref() == Some(&header) { Ok(run) } else { Err(bad("its header is another's, or damaged")) }
    }

    /// Whether it may have the id.
    pub(crate) fn may_have(&self, id: &Hash) -> bool {
        self.filter.may_have(id)
    }

    /// Reads a block, and gives its rows. `InvalidData` if it is damaged.
    pub(super) fn block<'a>(
        &self,
        file: &dyn StorageFile,
        number: usize,
        block: &'a mut [u8; BLOCK],
    ) -> Result<impl Iterator<Item = &'a [u8]> + use<'a>> {
        read_exact_at(file, block, HEADER as u64 + number as u64 * BLOCK as u64)?;
        let number = u32::try_from(number).map_err(|_| bad("too many blocks"))?;
        let (covered, crc) = block.split_last_chunk::<4>().ok_or_else(|| bad("cut"))?;
        if block_crc(self.seed(), number, covered) != u32::from_le_bytes(*crc) {
            return Err(bad("a block is damaged"));
        }
        let rows = usize::from(*covered.last().ok_or_else(|| bad("cut"))?);
        Ok(covered.chunks_exact(ROW).take(rows.min(ROWS)))
    }

    /// What the checksum of each block begins with.
    fn seed(&self) -> crc32fast::Hasher {
        seed(&self.owner, self.range, self.edition)
    }

    /// The row of a key, read from `file`.
    pub(crate) fn get(&self, file: &dyn StorageFile, key: PublishedKey) -> Result<Option<Published>> {
        let wanted = prefix(&key.id);
        // It may begin in the block before the first one that begins with it.
        let mut number = self.firsts.partition_point(|first| *first < wanted).saturating_sub(1);
        let mut block = [0; BLOCK];
        while self.firsts.get(number).is_some_and(|first| *first <= wanted) {
            // Taken apart only where it is the id; a row begins with that.
            for row in self.block(file, number, &mut block)?.filter(|row| row.starts_with(&key.id)) {
                match Published::take(row) {
                    Some((found, row)) if found == key => return Ok(Some(row)),
                    _ => {}
                }
            }
            number += 1;
        }
        Ok(None)
    }

    /// Opens the run's file, to read rows by.
    pub(crate) fn file(&self, storage: &dyn Storage) -> Result<Arc<dyn StorageFile>> {
        storage.open(&self.name(), Access::Read)
    }
}

pub(super) fn seed(owner: &Owner, range: Range, edition: u32) -> crc32fast::Hasher {
    let mut seed = crc32fast::Hasher::new();
    seed.update(&owner.segment.get().to_le_bytes());
    seed.update(&owner.salt.to_le_bytes());
    for number in [range.from.get(), range.to.get(), edition] {
        seed.update(&number.to_le_bytes());
    }
    seed
}

pub(super) fn block_crc(mut crc: crc32fast::Hasher, number: u32, covered: &[u8]) -> u32 {
    crc.update(&number.to_le_bytes());
    crc.update(covered);
    crc.finalize()
}

fn take_share(share: &[u8; SHARE]) -> Option<Share> {
    let (topic, rest) = share.split_first_chunk()?;
    let (rows, rest) = rest.split_first_chunk()?;
    let (latest, rest) = rest.split_first_chunk()?;
    let last = rest.first_chunk()?;
    Some(Share {
        topic: TopicId(u32::from_le_bytes(*topic)),
        rows: u64::from_le_bytes(*rows),
        latest: Timestamp(u64::from_le_bytes(*latest)),
        last: Offset(u64::from_le_bytes(*last)),
    })
}
