//! Ids of published messages: what is known of them, and what follows from that.
//!
//! What is known lies in three places. Ids that came last are in memory, in a [`Delta`] that belongs to the segment
//! they lie in. When that segment is full, or the delta is, it is *frozen*: nothing is added to it any more. As soon as
//! all of it is durable, the upkeep writes it as a run beside the segment (`flush`), and lets go of the memory. Runs
//! are read outside the engine's lock, before a publish is looked at under it: the answer has a number, the
//! generation, and counts only if no run was added since. Nothing that is not durable is ever in a run: an id
//! remembered of a message that was lost would be a message lost in silence.
//!
//! [`Core::judge`] is where every publish with an id is looked at, and [`Core::note_ids`] is where every id is
//! remembered: it is called for each event that is applied, so that nothing that is in the journal can be missing here.

mod ask;
mod carry;
#[cfg(test)]
mod carry_tests;
mod flush;
mod line;
mod mend;
mod merge;
mod probe;
mod recover;
mod stats;
mod stay;
mod take;

pub(super) use carry::Carrying;
pub(super) use mend::events_of;
pub(super) use merge::Merging;
pub(super) use probe::Probe;
pub(super) use recover::{Journal, Recovered};
pub use stats::IdStats;
pub(super) use take::without;

use super::Core;
use crate::config::Window;
use crate::event::Event;
use crate::message::Message;
use crate::tables::{Delta, Owner, Published, PublishedKey, Range};
use crate::types::{Lsn, Offset, Position, SegmentId, StoreId, Timestamp, TopicId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Where a segment's first frame is: a stretch from there on leaves nothing out.
const START: Position = Position(crate::journal::SEGMENT_HEADER);

/// Ids that nothing is added to any more, and that are not in a run yet.
#[derive(Debug)]
pub(super) struct Frozen {
    delta: Delta,
    owner: Owner,
    range: Range,
    /// The end of the journal when it was frozen: what has to be durable before it may be written.
    end: Lsn,
}

/// Ids in memory, and what is known of the others. Behind the engine's lock.
#[derive(Debug)]
pub(super) struct Ids {
    active: Delta,
    /// The segment of those in `active`, and from where on in it.
    owner: Owner,
    from: Position,
    frozen: VecDeque<Arc<Frozen>>,
    /// Of the runs that what is not in here is in.
    generation: u64,
    /// What the runs take: memory, rows and bytes on disk.
    runs: Taken,
    /// Segments whose ids lie further on: what is left in them of ids is needed no more.
    carried: BTreeSet<SegmentId>,
    /// Names of runs that are not asked any more and whose files go with their segments.
    going: BTreeMap<SegmentId, Vec<String>>,
    /// Bytes that all of this may take in memory.
    limit: usize,
    /// Why the last run could not be written, until one is.
    failed: Option<Arc<std::io::Error>>,
    counts: Counts,
}

#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    memory: usize,
    rows: u64,
    disk: u64,
}

/// Since the store was opened.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    duplicates: u64,
    reused: u64,
    forgotten: u64,
    mended: u64,
}

/// A message of a call that is not to be appended, and why: its id is known already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// Its place in the call.
    pub(super) index: usize,
    pub(super) of: Of,
}

/// Where the message is that has the id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// It was accepted before; up to `end` the journal has to be as durable as is asked now.
    Before { offset: Offset, time: Timestamp, end: Lsn },
    /// It stands at this place of the same call.
    Within(usize),
}

/// Why messages can't be judged, or not be taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// A run was added meanwhile: probe again.
    Stale,
    /// An id was used before for something else: the place of the message, and the offset of the other one, if that is
    /// not in the same call.
    Reused { index: usize, offset: Option<Offset> },
}

impl Ids {
    pub(super) fn new(store: StoreId, limit: usize) -> Self {
        Self {
            active: Delta::default(),
            owner: Owner { store, segment: SegmentId::ZERO, salt: 0 },
            from: START,
            frozen: VecDeque::new(),
            generation: 0,
            runs: Taken::default(),
            carried: BTreeSet::new(),
            going: BTreeMap::new(),
            limit,
            failed: None,
            counts: Counts::default(),
        }
    }

    fn memory(&self) -> usize {
        let frozen: usize = self.frozen.iter().map(|frozen| frozen.delta.bytes()).sum();
        self.active.bytes() + frozen + self.runs.memory
    }

    /// What the ids that came last may take: what filters leave, and never less than half.
    fn share(&self) -> usize {
        self.limit.saturating_sub(self.runs.memory).max(self.limit / 2)
    }

    /// No more ids can be taken in before some are written. One call may go beyond: it is taken in whole.
    pub(super) fn is_full(&self) -> bool {
        let grown = if self.active.is_nearly_full() { self.active.bytes().saturating_mul(2) } else { 0 };
        self.memory().saturating_sub(self.runs.memory).saturating_add(grown) > self.share()
    }

    /// There is something to be written.
    pub(super) fn wants_flush(&self) -> bool {
        let due = self.active.is_nearly_full() && self.active.bytes().saturating_mul(4) > self.share();
        !self.frozen.is_empty() || due || self.is_full()
    }

    /// Why no run can be written, if it is so.
    pub(super) fn failed(&self) -> Option<Arc<std::io::Error>> {
        self.failed.clone()
    }

    /// What is in memory of an id, and up to where the journal holds it.
    fn get(&self, key: PublishedKey) -> Option<(Published, Lsn)> {
        let frozen = self.frozen.iter().filter_map(|frozen| frozen.delta.get(key));
        self.active.get(key).into_iter().chain(frozen).reduce(newer)
    }

    /// All that comes from now on lies in this segment: what is there is frozen with the one before.
    fn enter(&mut self, owner: Owner, end: Lsn, tracked: bool) {
        if tracked && self.owner.segment != SegmentId::ZERO {
            self.freeze(Range::END, end);
        }
        (self.owner, self.from) = (owner, START);
    }

    /// Freezes what is there; the stretch goes up to `to`.
    fn freeze(&mut self, to: Position, end: Lsn) {
        // One that a large call has blown up is not made again in that size.
        let small = self.active.bytes().saturating_mul(2) <= self.share();
        let next = if small { Delta::like(&self.active) } else { Delta::default() };
        let delta = std::mem::replace(&mut self.active, next);
        let range = Range { from: self.from, to };
        self.frozen.push_back(Arc::new(Frozen { delta, owner: self.owner, range, end }));
        self.from = to;
    }
}

fn newer(left: (Published, Lsn), right: (Published, Lsn)) -> (Published, Lsn) {
    if left.0.or_newer(right.0) == left.0 { left } else { right }
}

/// Whether an id is still in the window of its topic, whose next offset is `end`.
pub(super) fn in_window(window: Window, row: &Published, end: Offset, now: Timestamp) -> bool {
    match window {
        Window::Off => false,
        Window::For(span) => now.since(row.time) < span,
        Window::Last(count) => end.since(row.offset) <= count,
        Window::Forever => true,
    }
}

impl Core {
    /// Whether the journal has gone on to another segment since an event was last noted.
    pub(super) fn ids_turn(&self, lsn: Lsn) -> bool {
        lsn.segment() != self.ids.owner.segment
    }

    /// Remembers the ids of an event that was appended and applied.
    pub(super) fn note_ids(&mut self, lsn: Lsn, event: &Event<'_>) {
        if self.ids_turn(lsn) {
            self.turn_ids();
        }
        let (end, ids) = (self.tail.end(), &mut self.ids);
        event.identities(|identity| {
            let (key, row) = rows_of(identity);
            ids.active.insert(key, row, end);
        });
    }

    /// Follows the journal into its present segment.
    fn turn_ids(&mut self) {
        let before = self.ids.owner.segment;
        let tracked = self.state.ids_since().is_some_and(|since| since <= before);
        let active = self.tail.active();
        let owner = Owner { segment: active.id, salt: active.salt, ..self.ids.owner };
        self.ids.enter(owner, Lsn::new(active.id, START), tracked);
    }

    /// What is known of messages that somebody wants to publish: each whose id is in its window, in their order. Those
    /// that are not named are new. `probe` says what the runs have of them.
    ///
    /// The one place where this is decided. Whoever then appends those that are new, under the same hold of the lock,
    /// has nothing more to do: applying the event remembers their ids.
    pub(super) fn judge(
        &self,
        topic: TopicId,
        messages: &[Message],
        probe: &Probe,
        now: impl FnOnce() -> Timestamp,
    ) -> Result<Vec<Known>, Unfit> {
        let mut known = Vec::new();
        if !probe.has_ids() {
            return Ok(known);
        }
        if probe.generation() != self.ids.generation {
            return Err(Unfit::Stale);
        }
        let Some(held) = self.state.topic(topic) else { return Ok(known) };
        // The clock is looked at for those who need it.
        let now = std::cell::LazyCell::new(now);
        let (window, reused, end) = (held.policy().deduplicate, held.policy().reused_ids, held.end());
        if messages.len() > 1 || !self.ids.frozen.is_empty() {
            let deltas = self.ids.frozen.iter().map(|frozen| &frozen.delta).chain([&self.ids.active]);
            deltas.for_each(|delta| delta.touch(probe.keys.iter().map(|(_, key)| *key)));
        }
        let (mut found, mut within) = (probe.found().iter().peekable(), probe.within().iter().peekable());
        for (index, message) in messages.iter().enumerate() {
            let stored = found.next_if(|(place, _)| *place == index).map(|(_, row)| (*row, Lsn::ZERO));
            let same = within.next_if(|(place, _)| *place == index);
            let Some((id, payload)) = hashes(message) else { continue };
            let row = self.ids.get(PublishedKey { topic, id }).into_iter().chain(stored).reduce(newer);
            let row = row.filter(|(row, _)| !row.forgotten && in_window(window, row, end, *now));
            if let Some((row, end)) = row {
                if !reused && row.payload != payload && row.payload != [0; 16] {
                    return Err(Unfit::Reused { index, offset: Some(row.offset) });
                }
                known.push(Known { index, of: Of::Before { offset: row.offset, time: row.time, end } });
            } else if let Some((_, first)) = same.filter(|_| window != Window::Off) {
                let other = messages.get(*first).and_then(hashes);
                if !reused && other.is_some_and(|(_, other)| other != payload) {
                    return Err(Unfit::Reused { index, offset: None });
                }
                known.push(Known { index, of: Of::Within(*first) });
            }
        }
        Ok(known)
    }

    /// Whether so many new ids are more than the budget allows.
    pub(super) fn over_budget(&self, budget: &crate::config::IdBudget, new: usize) -> bool {
        let memory: u64 = self.ids.frozen.iter().map(|frozen| frozen.delta.len() as u64).sum();
        let rows = self.ids.runs.rows.saturating_add(memory).saturating_add(self.ids.active.len() as u64);
        budget.when_full == crate::config::WhenFull::Refuse
            && (rows.saturating_add(new as u64) > budget.ids || self.ids.runs.disk > budget.bytes)
    }
}

/// The hashes of a message's id and payload, if its id is one to be remembered.
pub(super) fn hashes(message: &Message) -> Option<([u8; 16], [u8; 16])> {
    let attributes = message.attributes.as_ref()?;
    Some((attributes.id_hash?, attributes.payload_hash.unwrap_or_default()))
}

/// Key and row of an id that an event tells.
fn rows_of(identity: crate::event::Identity) -> (PublishedKey, Published) {
    let crate::event::Identity { topic, offset, time, id, payload, forgotten } = identity;
    (PublishedKey { id, topic }, Published { offset, time, payload, forgotten })
}
