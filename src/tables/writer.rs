//! Writing runs: in order and in pieces, under a name that does not count yet, then renamed into place.

use super::filter::{Filter, LINES, Line, blocks_for, line_of};
use super::published::{Published, PublishedKey};
use super::rows::Rows;
use super::run::{BLOCK, Index, Parts, ROWS, Run, Share, bad, block_crc, top};
use super::stretch::{DIRECTORY, Stretch, place_of, seed};
use crate::storage::{Access, Storage, StorageFile, write_all_at};
use crate::types::{SegmentId, StoreId, TopicId};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Result};
use std::sync::Arc;

/// Bytes that are gathered before they are written.
const PIECE: usize = 128 << 10;

/// What a run is to be.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) store: StoreId,
    pub(crate) stretches: Vec<Stretch>,
    pub(crate) edition: u32,
    /// About so many rows.
    pub(crate) expected: u64,
    /// What was known of where they came with; found out if there is one segment and nothing was known.
    pub(crate) shares: Option<Vec<Share>>,
    /// Whether what is to be in memory of it may be, from the beginning.
    pub(crate) warm: bool,
}

impl Plan {
    /// What comes from one stretch.
    pub(crate) fn of_stretch(store: StoreId, stretch: Stretch, expected: usize, warm: bool) -> Self {
        let expected = expected as u64;
        Self { store, stretches: vec![stretch], edition: 0, expected, shares: None, warm }
    }
}

/// Blocks on their way to one place in the file.
#[derive(Debug)]
struct Piece {
    bytes: Vec<u8>,
    /// The number of the block that is being filled, and where it begins in `bytes`.
    number: u32,
    begun: usize,
}

impl Piece {
    const fn at(number: u32) -> Self {
        Self { bytes: Vec::new(), number, begun: 0 }
    }

    /// Ends a block: fills it up, with `last` as its last byte if there is one, and its checksum.
    fn end(&mut self, file: &dyn StorageFile, seed: u32, last: Option<u8>) -> Result<()> {
        let end = self.begun.saturating_add(BLOCK - 4);
        self.bytes.resize(end.saturating_sub(usize::from(last.is_some())), 0);
        self.bytes.extend(last);
        let crc = block_crc(seed, self.number, self.bytes.get(self.begun..).unwrap_or_default());
        self.bytes.extend_from_slice(&crc.to_le_bytes());
        self.begun = self.bytes.len();
        self.number = self.number.checked_add(1).ok_or_else(|| bad("too many blocks"))?;
        if self.bytes.len() >= PIECE { self.put(file) } else { Ok(()) }
    }

    fn put(&mut self, file: &dyn StorageFile) -> Result<()> {
        let blocks = u64::try_from(self.bytes.len() / BLOCK).unwrap_or(u64::MAX);
        let position = u64::from(self.number).saturating_sub(blocks).saturating_mul(BLOCK as u64);
        write_all_at(file, &self.bytes, position)?;
        self.bytes.clear();
        self.begun = 0;
        Ok(())
    }
}

/// A run that is being written: rows are given in the order of their keys. See [`write`].
#[derive(Debug)]
pub(crate) struct Writer {
    plan: Plan,
    name: String,
    file: Arc<dyn StorageFile>,
    seed: u32,
    /// Blocks of the filter; those that are being filled, of the filter and of rows.
    filters: u32,
    filter: Piece,
    blocks: Piece,
    /// Rows of the block that is being filled.
    filled: usize,
    /// The line that is being filled, and how many there are before it.
    line: Line,
    line_number: u64,
    lines: Filter,
    firsts: Vec<u32>,
    shares: BTreeMap<TopicId, Share>,
    rows: u64,
}

impl Writer {
    pub(crate) fn new(storage: &dyn Storage, plan: Plan) -> Result<Self> {
        let name = place_of(&plan.stretches).name();
        let unfinished = format!("{name}.new");
        let file = match storage.open(&unfinished, Access::Create) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                storage.remove(&unfinished)?;
                storage.open(&unfinished, Access::Create)?
            }
            other => other?,
        };
        let filters = blocks_for(plan.expected.max(1));
        Ok(Self {
            seed: seed(&plan.stretches, plan.edition),
            filter: Piece::at(1),
            blocks: Piece::at(filters.checked_add(1).ok_or_else(|| bad("too many rows for one run"))?),
            lines: if plan.warm { Filter::with_blocks(filters) } else { Filter::default() },
            plan,
            name,
            file,
            filters,
            filled: 0,
            line: Line::default(),
            line_number: 0,
            firsts: Vec::new(),
            shares: BTreeMap::new(),
            rows: 0,
        })
    }

    pub(crate) fn row(&mut self, key: PublishedKey, row: Published) -> Result<()> {
        if self.filled == 0 {
            self.firsts.push(top(&key.id));
        }
        row.put(key, &mut self.blocks.bytes);
        self.filled += 1;
        self.rows += 1;
        let line = line_of(&key.id, self.filters);
        while self.line_number < line {
            self.end_line()?;
        }
        self.line.add(&key.id);
        if self.plan.shares.is_none() {
            let segment = self.plan.stretches.first().map_or(SegmentId::ZERO, |stretch| stretch.segment);
            let share = Share { segment, topic: key.topic, rows: 0, latest: row.time, last: row.offset };
            let share = self.shares.entry(key.topic).or_insert(share);
            share.rows += 1;
            (share.latest, share.last) = (share.latest.max(row.time), share.last.max(row.offset));
        }
        if self.filled == ROWS { self.end_block() } else { Ok(()) }
    }

    fn end_block(&mut self) -> Result<()> {
        let filled = u8::try_from(self.filled).unwrap_or(u8::MAX);
        self.filled = 0;
        self.blocks.end(&*self.file, self.seed, Some(filled))
    }

    fn end_line(&mut self) -> Result<()> {
        let line = std::mem::take(&mut self.line);
        line.put(&mut self.filter.bytes);
        if self.plan.warm {
            self.lines.push(line);
        }
        self.line_number += 1;
        if self.line_number.is_multiple_of(LINES as u64) {
            self.filter.end(&*self.file, self.seed, None)
        } else {
            Ok(())
        }
    }

    /// Makes the run durable, and gives it its name. Whatever was there under that is replaced.
    pub(crate) fn finish(mut self, storage: &dyn Storage) -> Result<Run> {
        while self.line_number < u64::from(self.filters) * LINES as u64 {
            self.end_line()?;
        }
        if self.filled > 0 {
            self.end_block()?;
        }
        self.filter.put(&*self.file)?;
        self.blocks.put(&*self.file)?;
        let trailer_at = u64::from(self.blocks.number) * BLOCK as u64;
        let Plan { store, stretches, edition, shares, warm, .. } = self.plan;
        let parts = |index, length, shares| Parts {
            store,
            stretches,
            edition,
            shares,
            rows: self.rows,
            filters: self.filters,
            blocks: self.blocks.number - self.filters - 1,
            index,
            length,
        };
        let shares = shares.unwrap_or_else(|| self.shares.into_values().collect());
        let mut run = Run::from(parts(None, trailer_at, shares));
        let trailer = run.trailer(&self.firsts);
        let header = run.header().ok_or_else(|| bad("too much for one run"))?;
        write_all_at(&*self.file, &trailer, trailer_at)?;
        write_all_at(&*self.file, &header, 0)?;
        self.file.sync()?;
        storage.rename(&format!("{}.new", self.name), &self.name)?;
        storage.sync_dir(DIRECTORY)?;
        run.length += trailer.len() as u64;
        run.index = warm.then(|| Arc::new(Index { filter: self.lines, firsts: self.firsts }));
        Ok(run)
    }

    /// Lets go of it; what there is of it only takes space.
    pub(crate) fn give_up(self, storage: &dyn Storage) {
        drop(storage.remove(&format!("{}.new", self.name)));
    }
}

/// Writes a run: `rows` are in the order of their keys. It is durable when this returns.
pub(crate) fn write(
    storage: &dyn Storage,
    plan: Plan,
    rows: impl Iterator<Item = Result<(PublishedKey, Published)>>,
) -> Result<Run> {
    let mut writer = Writer::new(storage, plan)?;
    let all = || {
        for row in rows {
            let (key, row) = row?;
            writer.row(key, row)?;
        }
        Ok(())
    };
    match all() {
        Ok(()) => writer.finish(storage),
        Err(error) => {
            writer.give_up(storage);
            Err(error)
        }
    }
}

/// Writes a run anew without the rows that `keep` says no to, and without the shares that `stays` says no to: they
/// leave the disk. About `expected` rows stay.
pub(crate) fn rewrite(
    storage: &dyn Storage,
    run: &Arc<Run>,
    (expected, warm): (u64, bool),
    stays: impl Fn(&Share) -> bool,
    mut keep: impl FnMut(&PublishedKey, &Published) -> bool,
) -> Result<Run> {
    let plan = Plan {
        store: run.store,
        stretches: run.stretches.clone(),
        edition: run.edition.wrapping_add(1),
        expected,
        // Of one segment it is found out again.
        shares: (run.stretches.len() > 1).then(|| run.shares.iter().filter(|share| stays(share)).copied().collect()),
        warm,
    };
    let rows = Rows::new(storage, run.clone())?;
    let kept = rows.filter(|row| row.as_ref().map_or(true, |(key, row)| keep(key, row)));
    write(storage, plan, kept)
}
