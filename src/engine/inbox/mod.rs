//! Ids of processed messages: a group's inbox.
//!
//! An id is processed when a message that has it is acked, and that is in the frame of the ack: both are there or
//! neither. What came since the tables were last written is in memory here; `checkpoint` moves it into the tables once
//! it is durable in the journal, and `open` makes sure when a store is opened that they hold what the journal says,
//! making them anew if not. A fault in the tables costs time, never an answer: `Engine::with_tables` is the one way to
//! them, and whatever fails in there, or is not as it was left, has them set aside and made anew.
//!
//! [`Core::ack`] is where every ack comes from: it names the ids. [`Core::note_processed`] is where they are
//! remembered: it is called for each event that is applied.

mod checkpoint;
#[cfg(test)]
mod checkpoint_tests;
mod hand;
mod keep;
mod open;

pub(super) use open::Source;

use super::{Core, Engine};
use crate::config::Window;
use crate::error::Result;
use crate::event::{Ack, Event, Run, table_of};
use crate::state::{Group, State};
use crate::tables::{Hash, ProcessedKey, Seen};
use crate::types::{GroupId, Lsn, Offset, Timestamp};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// About what an id takes in a map.
const ID_BYTES: usize = 64;

/// What is in memory of processed ids. Behind the engine's lock.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    fresh: Fresh,
    /// On their way into the tables.
    frozen: Option<Arc<Fresh>>,
    /// The ids of what was handed out and may be acked.
    held: HashMap<(GroupId, Offset), Hash>,
    /// Up to where the tables hold everything.
    upto: Lsn,
    /// The tables were made anew: the journal has to be told.
    unmarked: bool,
}

type Fresh = HashMap<ProcessedKey, Seen>;

/// What a group keeps of processed ids.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) window: Window,
    pub(super) table: u64,
    /// How many the table ever had.
    count: u64,
    now: Timestamp,
}

impl Terms {
    /// Whether an id that was seen so is in the window.
    fn covers(&self, seen: Seen) -> bool {
        match self.window {
            Window::Off => false,
            Window::For(span) => self.now.since(seen.time) < span,
            Window::Last(count) => self.count.saturating_sub(seen.sequence) < count,
            Window::Forever => true,
        }
    }
}

fn insert(fresh: &mut Fresh, key: ProcessedKey, seen: Seen) {
    fresh.entry(key).and_modify(|known| *known = known.or_newer(seen)).or_insert(seen);
}

/// In the order in which tables are written.
fn sorted(fresh: &Fresh) -> Vec<(ProcessedKey, Seen)> {
    let mut sorted: Vec<(ProcessedKey, Seen)> = fresh.iter().map(|(key, seen)| (*key, *seen)).collect();
    sorted.sort_unstable_by_key(|(key, _)| *key);
    sorted
}

impl Inbox {
    pub(super) fn len(&self) -> usize {
        self.fresh.len() + self.frozen.as_ref().map_or(0, |frozen| frozen.len())
    }

    fn get(&self, key: ProcessedKey) -> Option<Seen> {
        let frozen = self.frozen.as_ref().and_then(|frozen| frozen.get(&key));
        self.fresh.get(&key).into_iter().chain(frozen).copied().reduce(Seen::or_newer)
    }

    /// Enough has gathered to be written.
    fn is_due(&self, limit: usize) -> bool {
        self.fresh.len().saturating_mul(ID_BYTES) > limit / 4
    }

    /// So much has gathered that nothing more is handed out before some of it is written.
    fn is_full(&self, limit: usize) -> bool {
        self.len().saturating_mul(ID_BYTES) > limit / 2
    }
}

impl Core {
    /// What a group keeps of processed ids; nothing if it keeps none.
    fn inbox_terms(&self, group: GroupId, now: impl FnOnce() -> Timestamp) -> Option<Terms> {
        let policy = self.state.group(group)?.policy();
        let (window, table) = (policy.processed, table_of(group, policy.processed_table));
        // The clock is looked at only for those who need it.
        (window != Window::Off).then(|| Terms { window, table, count: self.state.processed(table), now: now() })
    }

    /// The event by which messages of a group are done: with the ids that are processed with it, if the group keeps
    /// them. The one place where an ack is made, but for the short way (`stride`), which is for groups that keep none.
    /// To be appended under the same hold of the lock, and before another one of the same table is made.
    pub(super) fn ack(&self, group: GroupId, runs: Vec<Run>, now: impl FnOnce() -> Timestamp) -> Event<'static> {
        let Some(terms) = self.inbox_terms(group, now) else { return Event::Ack(Ack::done(group, Cow::Owned(runs))) };
        let offsets = runs.iter().flat_map(|run| (0..run.count).map(|step| run.first.plus(step)));
        let ids: Vec<Hash> = offsets.filter_map(|offset| self.inbox.held.get(&(group, offset)).copied()).collect();
        let done = Ack::done(group, Cow::Owned(runs));
        if ids.is_empty() {
            return Event::Ack(done);
        }
        let shared = self.state.group(group).map_or(0, |held| held.policy().processed_table);
        let sequence = terms.count.saturating_add(1);
        Event::Ack(Ack { processed: Cow::Owned(ids), time: terms.now, sequence, table: shared, ..done })
    }

    /// Remembers the processed ids of an event that was appended and applied, and forgets what was held for it.
    pub(super) fn note_processed(&mut self, event: &Event<'_>) {
        let fresh = &mut self.inbox.fresh;
        event.processed(|processed| {
            let key = ProcessedKey { table: processed.table, id: processed.id };
            insert(fresh, key, Seen { time: processed.time, sequence: processed.sequence });
        });
        if self.inbox.held.is_empty() {
            return;
        }
        let held = &mut self.inbox.held;
        let mut over = |group: GroupId, runs: &[Run]| {
            let few = runs.iter().map(|run| run.count).fold(0, u64::saturating_add) <= held.len() as u64;
            if few {
                let offsets = runs.iter().flat_map(|run| (0..run.count).map(|step| run.first.plus(step)));
                offsets.for_each(|offset| _ = held.remove(&(group, offset)));
            } else {
                let within = |offset: Offset| runs.iter().any(|run| run.first <= offset && offset < run.end());
                held.retain(|(of, offset), _| *of != group || !within(*offset));
            }
        };
        match event {
            Event::Ack(event) => over(event.group, &event.runs),
            Event::Settle(event) => over(event.group, &event.runs),
            Event::Bury(event) => over(event.group, &[Run::one(event.offset)]),
            Event::Seek(event) => held.retain(|(group, _), _| *group != event.group),
            Event::DropGroup(event) => held.retain(|(group, _), _| *group != event.group),
            _ => {}
        }
    }
}

impl Engine {
    /// Whether a group has processed an id.
    pub(crate) fn is_processed(&self, group: GroupId, id: &[u8]) -> Result<bool> {
        let hash = self.hash(id);
        let terms = {
            let core = self.open_core()?;
            if core.state.group(group).is_none() {
                return Err(super::settle::no_group());
            }
            core.inbox_terms(group, || self.age_now())
        };
        match terms {
            Some(terms) => Ok(self.processed_among(&terms, &[hash])?.first() == Some(&true)),
            None => Ok(false),
        }
    }

    /// Which of these ids were processed.
    fn processed_among(&self, terms: &Terms, ids: &[Hash]) -> Result<Vec<bool>> {
        let key = |id: &Hash| ProcessedKey { table: terms.table, id: *id };
        // Memory first: what leaves it is in the tables by then.
        let mut seen: Vec<Option<Seen>> = {
            let core = self.open_core()?;
            ids.iter().map(|id| core.inbox.get(key(id))).collect()
        };
        let missing: Vec<ProcessedKey> =
            ids.iter().zip(&seen).filter(|(_, seen)| seen.is_none()).map(|(id, _)| key(id)).collect();
        let mut found = self.in_tables(&missing)?.into_iter();
        for seen in seen.iter_mut().filter(|seen| seen.is_none()) {
            *seen = found.next().flatten();
        }
        Ok(seen.into_iter().map(|seen| seen.is_some_and(|seen| terms.covers(seen))).collect())
    }

    /// What the tables hold of some ids, one for each.
    fn in_tables(&self, keys: &[ProcessedKey]) -> Result<Vec<Option<Seen>>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        self.with_tables(|tables| tables.get(keys))
    }
}

/// What each table of processed ids is to keep: what any of its groups does.
fn windows(state: &State, now: Timestamp) -> BTreeMap<u64, Vec<Terms>> {
    let mut windows: BTreeMap<u64, Vec<Terms>> = BTreeMap::new();
    for group in state.groups().filter(|group| keeps(group)) {
        let policy = group.policy();
        // Both: ids stay where they were when a group goes over to another table.
        for table in [table_of(group.id(), 0), table_of(group.id(), policy.processed_table)] {
            let count = state.processed(table);
            windows.entry(table).or_default().push(Terms { window: policy.processed, table, count, now });
        }
    }
    windows
}

/// Whether a group keeps processed ids.
fn keeps(group: &Group) -> bool {
    group.policy().processed != Window::Off
}
