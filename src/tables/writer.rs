//! Writing runs: whole, in pieces, under a name that does not count yet, then renamed into place.

use super::filter::Filter;
use super::published::{Published, PublishedKey, prefix};
use super::run::{BLOCK, DIRECTORY, HEADER, Owner, ROWS, Range, Run, Share, block_crc, name, seed};
use crate::storage::{Access, Storage, StorageFile, write_all_at};
use crate::types::TopicId;
use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result};
use std::sync::Arc;

/// Bytes that are gathered before they are written.
const PIECE: usize = 256 << 10;

struct Writer {
    file: Arc<dyn StorageFile>,
    position: u64,
    piece: Vec<u8>,
    /// Where the block that is being filled begins in the piece, and how many rows it has.
    begun: usize,
    filled: usize,
    firsts: Vec<u64>,
    filter: Filter,
    shares: BTreeMap<TopicId, Share>,
    rows: u64,
    seed: crc32fast::Hasher,
}

impl Writer {
    fn row(&mut self, key: PublishedKey, row: Published) -> Result<()> {
        if self.filled == 0 {
            self.begun = self.piece.len();
            self.firsts.push(prefix(&key.id));
        }
        row.put(key, &mut self.piece);
        self.filled += 1;
        self.rows += 1;
        self.filter.add(&key.id);
        let share = Share { topic: key.topic, rows: 0, latest: row.time, last: row.offset };
        let share = self.shares.entry(key.topic).or_insert(share);
        share.rows += 1;
        (share.latest, share.last) = (share.latest.max(row.time), share.last.max(row.offset));
        if self.filled == ROWS { self.end_block() } else { Ok(()) }
    }

    fn end_block(&mut self) -> Result<()> {
        if self.filled == 0 {
            return Ok(());
        }
        self.piece.resize(self.begun + BLOCK - 5, 0);
        self.piece.push(u8::try_from(self.filled).unwrap_or(u8::MAX));
        let number = u32::try_from(self.firsts.len().saturating_sub(1))
            .map_err(|_| Error::new(ErrorKind::InvalidInput, "too many rows for one run"))?;
        let crc = block_crc(self.seed.clone(), number, self.piece.get(self.begun..).unwrap_or_default());
        self.piece.extend_from_slice(&crc.to_le_bytes());
        self.filled = 0;
        if self.piece.len() >= PIECE { self.put() } else { Ok(()) }
    }

    fn put(&mut self) -> Result<()> {
        write_all_at(&*self.file, &self.piece, self.position)?;
        self.position += self.piece.len() as u64;
        self.piece.clear();
        Ok(())
    }
}

/// Writes the run of a stretch: `rows`, in the order of their keys, about `expected` of them. It is durable when this
/// returns. Whatever was there under its name is replaced.
pub(crate) fn write(
    storage: &dyn Storage,
    owner: Owner,
    (range, edition): (Range, u32),
    expected: u64,
    rows: impl Iterator<Item = Result<(PublishedKey, Published)>>,
) -> Result<Run> {
    let name = name(&owner, range);
    let unfinished = format!("{name}.new");
    let file = match storage.open(&unfinished, Access::Create) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            storage.remove(&unfinished)?;
            storage.open(&unfinished, Access::Create)?
        }
        other => other?,
    };
    let mut writer = Writer {
        file,
        position: HEADER as u64,
        piece: Vec::with_capacity(PIECE + BLOCK),
        begun: 0,
        filled: 0,
        firsts: Vec::new(),
        filter: Filter::for_ids(expected),
        shares: BTreeMap::new(),
        rows: 0,
        seed: seed(&owner, range, edition),
    };
    for row in rows {
        let (key, row) = row?;
        writer.row(key, row)?;
    }
    writer.end_block()?;
    writer.put()?;
    let run = Run {
        owner,
        range,
        rows: writer.rows,
        edition,
        firsts: writer.firsts,
        filter: writer.filter,
        shares: writer.shares.into_values().collect(),
        length: 0,
    };
    let trailer = run.trailer();
    let header = run.header().ok_or_else(|| Error::new(ErrorKind::InvalidInput, "too many rows for one run"))?;
    write_all_at(&*writer.file, &trailer, writer.position)?;
    write_all_at(&*writer.file, &header, 0)?;
    writer.file.sync()?;
    storage.rename(&unfinished, &name)?;
    storage.sync_dir(DIRECTORY)?;
    Ok(Run { length: writer.position + trailer.len() as u64, ..run })
}

/// The rows of a run, from its file.
#[derive(Debug)]
pub(crate) struct Rows<'a> {
    run: &'a Run,
    file: Arc<dyn StorageFile>,
    block: std::vec::IntoIter<(PublishedKey, Published)>,
    next: usize,
}

impl<'a> Rows<'a> {
    pub(crate) fn new(storage: &dyn Storage, run: &'a Run) -> Result<Self> {
        Self::from_block(storage, run, 0)
    }

    /// From a block on.
    pub(crate) fn from_block(storage: &dyn Storage, run: &'a Run, next: usize) -> Result<Self> {
        Ok(Self { run, file: run.file(storage)?, block: Vec::new().into_iter(), next })
    }

    /// The rows of the next block; nothing behind the last one.
    pub(crate) fn next_block(&mut self) -> Option<Result<Vec<(PublishedKey, Published)>>> {
        if self.next >= self.run.firsts.len() {
            return None;
        }
        let mut block = [0; BLOCK];
        let rows = self.run.block(&*self.file, self.next, &mut block);
        self.next = if rows.is_ok() { self.next + 1 } else { usize::MAX };
        Some(rows.map(|rows| rows.filter_map(Published::take).collect()))
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<(PublishedKey, Published)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.block.next() {
                return Some(Ok(row));
            }
            match self.next_block()? {
                Ok(rows) => self.block = rows.into_iter(),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// Writes a run anew without the rows that `keep` says no to: they leave the disk. About `expected` stay.
pub(crate) fn rewrite(
    storage: &dyn Storage,
    run: &Run,
    expected: u64,
    mut keep: impl FnMut(&PublishedKey, &Published) -> bool,
) -> Result<Run> {
    let rows = Rows::new(storage, run)?;
    let kept = rows.filter(|row| row.as_ref().map_or(true, |(key, row)| keep(key, row)));
    // At least a small filter: one of no bytes says no to whatever was kept after all.
    write(storage, run.owner, (run.range, run.edition.wrapping_add(1)), expected.max(1), kept)
}
