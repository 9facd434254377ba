//! Dead letters of a group: looking at them page by page, and ending them, by a new life or for good.
//!
//! A sweep goes once through the letters that are there when it begins, in the order of offsets. It holds the lock for
//! a piece at a time, and each piece is one event: wherever it stops, what is done is done, and the rest is as it was.

use super::removal::{Whom, removal};
use super::{Core, Engine, ParkedLetter};
use crate::config::Durability;
use crate::error::Result;
use crate::event::{Cause, Event, ForgetId, Redrive};
use crate::types::{GroupId, Lsn, Offset};
use std::borrow::Cow;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Letters that are looked at under one hold of the lock, and ended by one event.
const PIECE: usize = 1024;

/// With a rate, so many pieces are made of a second.
const STEPS_PER_SECOND: u32 = 10;

/// How a redrive or a purge went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Swept {
    /// Dead letters that were chosen, as far as it came.
    pub matched: u64,
    /// Those of them that were redriven or purged: none in a dry run; fewer than `matched` if it was cancelled, or if
    /// somebody else was quicker.
    pub changed: u64,
    /// Whether it was cancelled before it had seen every letter.
    pub cancelled: bool,
}

/// What becomes of dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Redriven,
    Purged,
}

/// Which letters, and how quickly.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order<'a> {
    /// Only these, rising; none: all.
    pub(crate) offsets: Option<&'a [Offset]>,
    pub(crate) dry_run: bool,
    pub(crate) per_second: Option<u32>,
    pub(crate) cancelled: &'a AtomicBool,
    /// The ids of what is purged may be published again.
    pub(crate) forget_ids: bool,
}

/// When the next piece may go.
struct Pace {
    step: usize,
    per_second: Option<u32>,
    next: Duration,
}

impl Pace {
    fn new(per_second: Option<u32>, now: Duration) -> Self {
        let step = per_second.map_or(PIECE, |rate| (rate / STEPS_PER_SECOND) as usize);
        Self { step: step.clamp(1, PIECE), per_second, next: now }
    }

    /// So many go now. What is late is not caught up with.
    fn went(&mut self, count: usize, now: Duration) {
        if let Some(rate) = self.per_second {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            self.next = self.next.max(now).saturating_add(Duration::from_secs(1).saturating_mul(count) / rate.max(1));
        }
    }
}

impl Engine {
    /// Up to `max` dead letters from `from` on, by offset.
    pub(crate) fn letters(&self, group: GroupId, from: Offset, max: usize) -> Result<Vec<(Offset, ParkedLetter)>> {
        let core = self.open_core()?;
        let held = core.state.group(group).ok_or_else(super::settle::no_group)?;
        Ok(held.dead().range(from..).take(max).map(|(offset, letter)| (*offset, letter.clone())).collect())
    }

    /// One dead letter.
    pub(crate) fn letter(&self, group: GroupId, offset: Offset) -> Result<Option<ParkedLetter>> {
        let core = self.open_core()?;
        let held = core.state.group(group).ok_or_else(super::settle::no_group)?;
        Ok(held.dead().get(&offset).cloned())
    }

    /// Goes through the letters and ends those that `choose` wants ended. What was done is durable when this returns.
    pub(crate) fn sweep(
        &self,
        group: GroupId,
        fate: Fate,
        order: Order<'_>,
        choose: &mut dyn FnMut(Offset, ParkedLetter) -> Result<bool>,
    ) -> Result<Swept> {
        let mut swept = Swept::default();
        let mut end = Lsn::ZERO;
        let mut next = Bound::Unbounded;
        let mut pace = Pace::new(order.per_second, self.environment.clock.monotonic());
        // What dies while this runs is for another time: otherwise it might never end.
        let last = self.open_core()?.last_letter(group)?;
        'pages: loop {
            let page = self.open_core()?.page(group, order.offsets, next, last)?;
            let Some((seen, _)) = page.last() else { break };
            next = Bound::Excluded(*seen);
            let mut chosen = Vec::with_capacity(page.len());
            for (offset, letter) in page {
                if order.cancelled.load(Ordering::Acquire) {
                    swept.cancelled = true;
                    break 'pages;
                }
                let life = letter.life;
                if choose(offset, letter)? {
                    chosen.push((offset, life));
                }
            }
            if order.dry_run {
                swept.matched += chosen.len() as u64;
                continue;
            }
            for piece in chosen.chunks(pace.step) {
                if !self.await_turn(pace.next, order.cancelled)? {
                    swept.cancelled = true;
                    break 'pages;
                }
                pace.went(piece.len(), self.environment.clock.monotonic());
                let forgotten = if order.forget_ids { self.ids_of_letters(group, piece)? } else { Vec::new() };
                let (changed, piece_end) = self.end_letters(group, fate, piece, &forgotten)?;
                swept.matched += piece.len() as u64;
                swept.changed += changed;
                end = end.max(piece_end);
            }
        }
        self.drive(end, Durability::Disk, None)?;
        Ok(swept)
    }

    /// Ends letters, as one event: those that are still what they were when they were chosen. How many, and where the
    /// event ends.
    fn end_letters(
        &self,
        group: GroupId,
        fate: Fate,
        chosen: &[(Offset, u32)],
        forgotten: &[ForgetId],
    ) -> Result<(u64, Lsn)> {
        loop {
            let mut core = self.open_core()?;
            let held = core.state.group(group).ok_or_else(super::settle::no_group)?;
            let same =
                |chosen: &&(Offset, u32)| held.dead().get(&chosen.0).is_some_and(|letter| letter.life == chosen.1);
            let offsets: Vec<Offset> = chosen.iter().filter(same).map(|(offset, _)| *offset).collect();
            if offsets.is_empty() {
                return Ok((0, Lsn::ZERO));
            }
            let runs = super::settle::runs(&offsets);
            let recorded = match fate {
                Fate::Redriven => {
                    let runs = Cow::Owned(runs);
                    core.record(&Event::Redrive(Redrive { group, runs, time: self.now() }))
                }
                Fate::Purged if forgotten.is_empty() => core.remove(Whom::Group(group), Cause::Purged, runs),
                Fate::Purged => {
                    let gone = forgotten.iter().filter(|id| offsets.binary_search(&id.offset).is_ok());
                    let mut events = vec![removal(Whom::Group(group), Cause::Purged, runs)];
                    events.extend(gone.copied().map(Event::ForgetId));
                    core.record_all(&events)
                }
            };
            match recorded {
                Ok(span) => {
                    core.disk_end = core.disk_end.max(span.end);
                    self.tell_leasing(&mut core);
                    self.arm(&mut core, false);
                    self.want_successor(&mut core);
                    return Ok((offsets.len() as u64, span.end));
                }
                Err(refusal) => {
                    drop(core);
                    self.relieve(refusal)?;
                }
            }
        }
    }

    /// The ids of letters, as they are forgotten.
    fn ids_of_letters(&self, group: GroupId, letters: &[(Offset, u32)]) -> Result<Vec<ForgetId>> {
        let topic = self.open_core()?.state.group(group).ok_or_else(super::settle::no_group)?.topic();
        let mut cursor = super::ReadCursor::default();
        let mut ids = Vec::new();
        for (offset, _) in letters {
            // One that can't be read keeps its id.
            let Ok(Some(record)) = self.fetch(topic, *offset, &mut cursor) else { continue };
            let id = record.attributes.as_ref().and_then(|attributes| attributes.id_hash);
            ids.extend(id.map(|id_hash| ForgetId { topic, offset: *offset, time: record.time, id_hash }));
        }
        Ok(ids)
    }

    /// Waits until `turn`, on the monotonic clock. False if it was cancelled first.
    fn await_turn(&self, turn: Duration, cancelled: &AtomicBool) -> Result<bool> {
        loop {
            let mut core = self.open_core()?;
            if cancelled.load(Ordering::Acquire) {
                return Ok(false);
            }
            if core.closing {
                return Err(super::closed());
            }
            let left = turn.saturating_sub(self.environment.clock.monotonic());
            if left.is_zero() {
                return Ok(true);
            }
            // Whoever cancels or closes wakes those who wait here, under the lock: neither is missed.
            self.arrived.wait_for(&mut core, left);
        }
    }
}

impl Core {
    fn last_letter(&self, group: GroupId) -> Result<Option<Offset>> {
        let held = self.state.group(group).ok_or_else(super::settle::no_group)?;
        Ok(held.dead().keys().next_back().copied())
    }

    /// The next letters, up to and with `last`.
    fn page(
        &self,
        group: GroupId,
        offsets: Option<&[Offset]>,
        next: Bound<Offset>,
        last: Option<Offset>,
    ) -> Result<Vec<(Offset, ParkedLetter)>> {
        let held = self.state.group(group).ok_or_else(super::settle::no_group)?;
        let Some(last) = last else { return Ok(Vec::new()) };
        if next == Bound::Excluded(last) {
            return Ok(Vec::new());
        }
        let owned = |(offset, letter): (&Offset, &ParkedLetter)| (*offset, letter.clone());
        Ok(match offsets {
            None => held.dead().range((next, Bound::Included(last))).take(PIECE).map(owned).collect(),
            Some(wanted) => {
                let from = wanted.partition_point(|offset| matches!(next, Bound::Excluded(seen) if *offset <= seen));
                let wanted = wanted.get(from..).unwrap_or_default().iter().take_while(|offset| **offset <= last);
                wanted.filter_map(|offset| held.dead().get_key_value(offset)).take(PIECE).map(owned).collect()
            }
        })
    }
}
