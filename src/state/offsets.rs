//! An exact set of offsets that stays small however its holes lie.
//!
//! Offsets are kept in chunks of 64 Ki. Whole chunks that are next to each other are one entry, so a million settled
//! messages above one forgotten message cost what a single run costs; a chunk with holes costs at most its bitmap:
//! one bit per offset. Nothing is ever rounded and there is no cap.
//!
//! The largest offset there is (`u64::MAX`) can't be in a set: it is where a run that reaches that far ends.

use super::chunk::{CHUNK, Chunk, WORDS};
use crate::event::Run;
use crate::types::Offset;
use std::collections::BTreeMap;

const SHIFT: u32 = CHUNK.trailing_zeros();

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct OffsetSet {
    /// Chunks of which every offset is there: number of the first, and of the one after the last.
    pub(super) full: BTreeMap<u64, u64>,
    /// Chunks that are neither empty nor full.
    pub(super) mixed: BTreeMap<u64, Chunk>,
    len: u64,
}

/// The chunk of an offset and its place in it.
#[expect(clippy::cast_possible_truncation, reason = "the low 16 bits are what is wanted")]
const fn split(offset: u64) -> (u64, u32) {
    (offset >> SHIFT, (offset as u32) & (CHUNK - 1))
}

const fn join(chunk: u64, at: u32) -> u64 {
    (chunk << SHIFT) + at as u64
}

/// A run cut where chunks begin: what lies in the chunk of its head, the chunks it covers whole, its tail.
struct Cut {
    head: Option<(u64, u32, u32)>,
    whole: Option<(u64, u64)>,
    tail: Option<(u64, u32, u32)>,
}

impl Cut {
    fn of(run: Run) -> Self {
        let mut cut = Self { head: None, whole: None, tail: None };
        let ((first_chunk, first), (end_chunk, end)) = (split(run.first.0), split(run.end().0));
        if run.first >= run.end() {
            return cut;
        }
        if first_chunk == end_chunk {
            cut.head = Some((first_chunk, first, end));
            return cut;
        }
        let whole = if first == 0 { first_chunk } else { first_chunk + 1 };
        cut.head = (first != 0).then_some((first_chunk, first, CHUNK));
        cut.whole = (whole < end_chunk).then_some((whole, end_chunk));
        cut.tail = (end != 0).then_some((end_chunk, 0, end));
        cut
    }

    fn parts(&self) -> impl Iterator<Item = (u64, u32, u32)> {
        self.head.into_iter().chain(self.tail)
    }
}

impl OffsetSet {
    pub(crate) const fn new() -> Self {
        Self { full: BTreeMap::new(), mixed: BTreeMap::new(), len: 0 }
    }

    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn contains(&self, offset: Offset) -> bool {
        let (chunk, at) = split(offset.0);
        match self.mixed.get(&chunk) {
            Some(mixed) => mixed.contains(at),
            None => covering(&self.full, chunk).is_some(),
        }
    }

    pub(crate) fn insert(&mut self, offset: Offset) -> bool {
        self.insert_run(Run::one(offset)) != 0
    }

    pub(crate) fn remove(&mut self, offset: Offset) -> bool {
        self.remove_run(Run::one(offset)) != 0
    }

    /// Puts in a chunk of which nothing is there yet.
    pub(super) fn insert_chunk(&mut self, chunk: u64, content: Chunk) {
        self.len += u64::from(content.len());
        if content.is_full() {
            self.fill(chunk, chunk + 1);
        } else if !content.is_empty() {
            self.mixed.insert(chunk, content);
        }
    }

    /// Puts in whole chunks of which nothing is there yet.
    pub(super) fn insert_whole(&mut self, from: u64, to: u64) {
        self.len += self.fill(from, to) << SHIFT;
    }

    /// Adds a run; says how many of it are new.
    pub(crate) fn insert_run(&mut self, run: Run) -> u64 {
        let cut = Cut::of(run);
        let mut added = 0;
        for (chunk, first, end) in cut.parts() {
            added += u64::from(self.insert_part(chunk, first, end));
        }
        if let Some((from, to)) = cut.whole {
            let held = self.drop_mixed(from, to);
            added += (self.fill(from, to) << SHIFT) - held;
        }
        self.len += added;
        added
    }

    /// Takes out a run; says how many of it were there.
    pub(crate) fn remove_run(&mut self, run: Run) -> u64 {
        if self.len == 0 {
            return 0;
        }
        let cut = Cut::of(run);
        let mut removed = 0;
        for (chunk, first, end) in cut.parts() {
            removed += u64::from(self.remove_part(chunk, first, end));
        }
        if let Some((from, to)) = cut.whole {
            removed += self.drop_mixed(from, to) + (self.unfill(from, to) << SHIFT);
        }
        self.len -= removed;
        removed
    }

    /// Takes out everything before `floor`.
    pub(crate) fn remove_below(&mut self, floor: Offset) {
        self.remove_run(Run { first: Offset::ZERO, count: floor.0 });
    }

    /// How many offsets of `run` are there.
    pub(crate) fn count_in(&self, run: Run) -> u64 {
        let cut = Cut::of(run);
        let mut count = 0;
        for (chunk, first, end) in cut.parts() {
            count += u64::from(match self.mixed.get(&chunk) {
                Some(mixed) => mixed.count_in(first, end),
                None if covering(&self.full, chunk).is_some() => end - first,
                None => 0,
            });
        }
        if let Some((from, to)) = cut.whole {
            count += self.mixed.range(from..to).map(|(_, mixed)| u64::from(mixed.len())).sum::<u64>();
            let first = covering(&self.full, from).map_or(from, |(start, _)| start);
            for (start, end) in self.full.range(first..to) {
                count += (*end.min(&to)).saturating_sub(*start.max(&from)) << SHIFT;
            }
        }
        count
    }

    /// The first offset at or after `from` that is not there.
    pub(crate) fn next_absent(&self, from: Offset) -> Offset {
        let (mut chunk, mut at) = split(from.0);
        loop {
            if let Some(mixed) = self.mixed.get(&chunk) {
                if let Some(found) = mixed.next_absent(at) {
                    return Offset(join(chunk, found));
                }
                chunk += 1;
            } else if let Some((_, end)) = covering(&self.full, chunk) {
                chunk = end;
            } else {
                return Offset(join(chunk, at));
            }
            at = 0;
        }
    }

    /// The first offset at or after `from` that is there.
    pub(crate) fn next_present(&self, from: Offset) -> Option<Offset> {
        if self.len == 0 {
            return None;
        }
        let (chunk, at) = split(from.0);
        if covering(&self.full, chunk).is_some() {
            return Some(from);
        }
        if let Some(found) = self.mixed.get(&chunk).and_then(|mixed| mixed.next_present(at)) {
            return Some(Offset(join(chunk, found)));
        }
        let mixed = self.mixed.range(chunk + 1..).next().map(|(next, mixed)| {
            join(*next, mixed.next_present(0).unwrap_or(0)) // no chunk that is kept is empty
        });
        let full = self.full.range(chunk + 1..).next().map(|(next, _)| join(*next, 0));
        mixed.into_iter().chain(full).min().map(Offset)
    }

    /// The runs of the set, rising, none touching the next.
    pub(crate) fn runs(&self) -> impl Iterator<Item = Run> {
        self.runs_in(Run { first: Offset::ZERO, count: u64::MAX })
    }

    /// The runs of the set inside `within`, rising.
    pub(crate) fn runs_in(&self, within: Run) -> impl Iterator<Item = Run> {
        let mut at = within.first;
        std::iter::from_fn(move || {
            let first = self.next_present(at).filter(|first| *first < within.end())?;
            at = self.next_absent(first).min(within.end());
            Some(Run { first, count: at.since(first) })
        })
    }

    /// The offsets of a chunk.
    pub(super) const fn chunk(chunk: u64) -> Run {
        Run { first: Offset(join(chunk, 0)), count: CHUNK as u64 }
    }

    /// Whole chunks within a run, as runs.
    pub(super) fn whole_in(&self, span: Run) -> impl Iterator<Item = Run> {
        let (from, _) = split(span.first.0);
        let first = covering(&self.full, from).map_or(from, |(start, _)| start);
        let runs = self.full.range(first..).map(|(start, end)| Run {
            first: Offset(join(*start, 0)),
            count: (end - start).saturating_mul(u64::from(CHUNK)),
        });
        runs.map(move |run| run.within(span)).take_while(|run| run.count > 0)
    }

    /// Chunks with holes, and what of each lies within a run.
    pub(super) fn mixed_in(&self, span: Run) -> impl Iterator<Item = (u64, Run)> {
        let (from, _) = split(span.first.0);
        let pieces = self.mixed.range(from..).map(move |(chunk, _)| (*chunk, Self::chunk(*chunk).within(span)));
        pieces.take_while(|(_, piece)| piece.count > 0)
    }

    /// Those of them with many.
    pub(super) fn ragged_in(&self, span: Run) -> impl Iterator<Item = u64> {
        self.mixed_in(span).map(|(chunk, _)| chunk).filter(|chunk| self.is_ragged(*chunk))
    }

    pub(super) fn is_ragged(&self, chunk: u64) -> bool {
        self.mixed.get(&chunk).is_some_and(Chunk::is_ragged)
    }

    /// Sets the bit of each offset of a chunk.
    pub(super) fn add_to(&self, chunk: u64, words: &mut [u64; WORDS]) {
        match self.mixed.get(&chunk) {
            Some(mixed) => mixed.add_to(words),
            None if covering(&self.full, chunk).is_some() => words.fill(u64::MAX),
            None => {}
        }
    }

    /// About what the set takes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        // A node of the map is at least half full.
        let entry = 2 * size_of::<(u64, Chunk)>();
        let entries = (self.full.len() + self.mixed.len()) * entry;
        entries + self.mixed.values().map(Chunk::heap_bytes).sum::<usize>()
    }

    fn insert_part(&mut self, chunk: u64, first: u32, end: u32) -> u32 {
        let mixed = match self.mixed.get_mut(&chunk) {
            Some(mixed) => mixed,
            None if covering(&self.full, chunk).is_some() => return 0,
            None => self.mixed.entry(chunk).or_insert(Chunk::empty()),
        };
        let added = mixed.insert(first, end);
        if mixed.is_full() {
            self.mixed.remove(&chunk);
            self.fill(chunk, chunk + 1);
        }
        added
    }

    fn remove_part(&mut self, chunk: u64, first: u32, end: u32) -> u32 {
        if self.unfill(chunk, chunk + 1) != 0 {
            self.mixed.insert(chunk, Chunk::full());
        }
        let Some(mixed) = self.mixed.get_mut(&chunk) else { return 0 };
        let removed = mixed.remove(first, end);
        if mixed.is_empty() {
            self.mixed.remove(&chunk);
        }
        removed
    }

    /// Forgets the chunks with holes in `from..to`; says how many offsets they held.
    fn drop_mixed(&mut self, from: u64, to: u64) -> u64 {
        let mut held = 0;
        while let Some((chunk, mixed)) = self.mixed.range(from..to).next() {
            let chunk = *chunk;
            held += u64::from(mixed.len());
            self.mixed.remove(&chunk);
        }
        held
    }

    /// Makes the chunks `from..to` whole; says how many were not.
    fn fill(&mut self, from: u64, to: u64) -> u64 {
        let (mut start, mut end, mut held) = (from, to, 0);
        while let Some((old_start, old_end)) = self.full.range(..=to).next_back().map(|(start, end)| (*start, *end)) {
            if old_end < from {
                break;
            }
            held += old_end.min(to).saturating_sub(old_start.max(from));
            start = start.min(old_start);
            end = end.max(old_end);
            self.full.remove(&old_start);
        }
        self.full.insert(start, end);
        (to - from) - held
    }

    /// Takes the chunks `from..to` out of the whole ones; says how many were.
    fn unfill(&mut self, from: u64, to: u64) -> u64 {
        let mut held = 0;
        while let Some((start, end)) = self.full.range(..to).next_back().map(|(start, end)| (*start, *end)) {
            if end <= from {
                break;
            }
            held += end.min(to) - start.max(from);
            self.full.remove(&start);
            if start < from {
                self.full.insert(start, from);
            }
            if end > to {
                self.full.insert(to, end);
            }
        }
        held
    }
}

/// The entry of `full` that covers `chunk`.
fn covering(full: &BTreeMap<u64, u64>, chunk: u64) -> Option<(u64, u64)> {
    full.range(..=chunk).next_back().map(|(start, end)| (*start, *end)).filter(|(_, end)| *end > chunk)
}

impl PartialEq for OffsetSet {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.runs().eq(other.runs())
    }
}

impl Eq for OffsetSet {}

impl FromIterator<Run> for OffsetSet {
    fn from_iter<I: IntoIterator<Item = Run>>(runs: I) -> Self {
        let mut set = Self::default();
        for run in runs {
            set.insert_run(run);
        }
        set
    }
}
