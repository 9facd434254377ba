//! Ids when a store is opened: which runs are there, which stretches of the journal lack one.

use super::mend::ids_of;
use super::{Frozen, Ids, START, Taken};
use crate::error::{Error, Result};
use crate::journal::{DIRECTORY, Segment};
use crate::storage::{EntryKind, Storage};
use crate::tables::{Owner, Place, Plan, Range, Run, Runs, Stretch, write};
use crate::types::{Lsn, Position, SegmentId, StoreId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What recovery needs to know.
pub(in crate::engine) struct Journal<'a> {
    pub(in crate::engine) storage: &'a dyn Storage,
    pub(in crate::engine) store: StoreId,
    /// The segments that are full, in order.
    pub(in crate::engine) sealed: Vec<Arc<Segment>>,
    /// The one that goes on, and how far it is: durable, all of it.
    pub(in crate::engine) active: Arc<Segment>,
    pub(in crate::engine) end: Position,
    /// The first segment with an id.
    pub(in crate::engine) since: Option<SegmentId>,
}

/// What was found, and how many stretches had to be read from the journal again.
#[derive(Debug)]
pub(in crate::engine) struct Recovered {
    pub(in crate::engine) ids: Ids,
    pub(in crate::engine) runs: Runs,
    pub(in crate::engine) rebuilt: u64,
}

/// The stretches of a segment whose runs can be read, by their beginning; of several the longest.
type Stretches = BTreeMap<Position, Run>;

impl Recovered {
    /// Finds the runs that are there and makes those that are not.
    pub(in crate::engine) fn of(journal: &Journal<'_>, limit: usize) -> Result<Self> {
        let owner = |segment: &Segment| Owner { store: journal.store, segment: segment.id, salt: segment.salt };
        let mut found = Self { ids: Ids::new(journal.store, limit), runs: Runs::default(), rebuilt: 0 };
        (found.ids.owner, found.ids.from) = (owner(&journal.active), journal.end);
        let mut listed = list(journal.storage)?;
        let covered = found.take_merged(journal, &mut listed);
        if let Some(since) = journal.since {
            for segment in journal.sealed.iter().filter(|segment| segment.id >= since) {
                if covered.contains(&segment.id) {
                    // Those that the run of several segments was made of are removed below.
                    continue;
                }
                let ranges = listed.parts.remove(&segment.id).unwrap_or_default();
                let stretches = open(journal.storage, owner(segment), &ranges, Range::END)?;
                found.cover(journal, segment, stretches, Range::END)?;
            }
            if journal.active.id >= since {
                let ranges = listed.parts.remove(&journal.active.id).unwrap_or_default();
                let stretches = open(journal.storage, owner(&journal.active), &ranges, journal.end)?;
                found.cover(journal, &journal.active, stretches, journal.end)?;
            } else {
                found.ids.from = START;
            }
        } else {
            found.ids.from = START;
        }
        // Of segments that are gone, or of ids that are, or of what others cover.
        for (segment, range) in
            listed.parts.into_iter().flat_map(|(segment, ranges)| ranges.into_iter().map(move |r| (segment, r)))
        {
            remove(journal.storage, Place { first: segment, last: segment, range });
        }
        found.warm(journal.storage);
        found.ids.generation = found.runs.generation;
        found.ids.runs = Taken::of(&found.runs);
        Ok(found)
    }

    /// Takes in the runs of several segments, the longer ones first. What segments they cover.
    fn take_merged(&mut self, journal: &Journal<'_>, listed: &mut Listed) -> BTreeSet<SegmentId> {
        let mut covered = BTreeSet::new();
        let mut merged = std::mem::take(&mut listed.merged);
        merged.sort_unstable_by_key(|place| (std::cmp::Reverse(place.last.get() - place.first.get()), place.first));
        let salt = |id| journal.sealed.iter().find(|segment| segment.id == id).map(|segment| segment.salt);
        for place in merged {
            let usable = match Run::open(journal.storage, journal.store, place) {
                Ok(run) => {
                    let whole = Range { from: START, to: Range::END };
                    let fits = |one: &Stretch| {
                        let known = salt(one.segment).is_none_or(|salt| salt == one.salt);
                        known
                            && one.range == whole
                            && one.segment < journal.active.id
                            && !covered.contains(&one.segment)
                    };
                    // Segments that are gone need nothing of it any more.
                    let fits = journal.since.is_some() && run.stretches().all(fits);
                    Some(run).filter(|_| fits).and_then(|run| run.limited_to(&|id| salt(id).is_some()))
                }
                Err(error) => {
                    tracing::warn!(run = place.name(), %error, "published ids can't be read");
                    None
                }
            };
            match usable {
                Some(run) => {
                    covered.extend(run.stretches().map(|one| one.segment));
                    self.runs = self.runs.with(run);
                }
                None => remove(journal.storage, place),
            }
        }
        covered
    }

    /// Reads what is to be in memory of the runs, of the smaller ones first, as far as there is room.
    fn warm(&mut self, storage: &dyn Storage) {
        let mut cold: Vec<Arc<Run>> = self.runs.all().iter().filter(|run| run.rows > 0).cloned().collect();
        cold.sort_by_key(|run| run.index_bytes());
        for run in cold {
            if self.runs.memory().saturating_add(run.index_bytes()) > self.ids.limit_of_runs() {
                break;
            }
            match run.warm(storage) {
                Ok(warm) => self.runs = self.runs.instead(&[], vec![warm]),
                // It is made anew when it is asked for.
                Err(error) => tracing::warn!(run = run.name(), %error, "published ids can't be read"),
            }
        }
    }

    /// Takes in a segment: its runs, and between them what the journal says.
    fn cover(
        &mut self,
        journal: &Journal<'_>,
        segment: &Arc<Segment>,
        mut runs: Stretches,
        end: Position,
    ) -> Result<()> {
        let owner = Owner { store: journal.store, segment: segment.id, salt: segment.salt };
        let active = end != Range::END;
        let mut at = START;
        while at < end {
            if let Some(run) = runs.remove(&at) {
                at = run.place().range.to;
                self.runs = self.runs.with(run);
                if active {
                    self.ids.from = at;
                }
                continue;
            }
            let next = runs.keys().find(|from| **from > at).copied();
            let range = Range { from: at, to: next.unwrap_or(end) };
            let (delta, stopped) = ids_of(journal.storage, segment, range, self.ids.limit / 2)?;
            // What came last is where it was before: in memory, until there is enough of it.
            if active && next.is_none() && stopped == end {
                (self.ids.active, self.ids.from) = (delta, at);
                break;
            }
            if at == START && !active || next.is_some() {
                tracing::warn!(segment = %segment.id, from = %range.from, "published ids are read from the journal");
                self.rebuilt += 1;
            }
            let range = Range { to: stopped, ..range };
            let rows = delta.sorted();
            let stretch = Stretch { segment: segment.id, salt: segment.salt, range };
            match write(journal.storage, Plan::of_stretch(journal.store, stretch, rows.len(), false), rows.map(Ok)) {
                Ok(run) => self.runs = self.runs.with(run),
                Err(source) => {
                    // A full disk keeps nobody from opening: they stay in memory until they can be written.
                    tracing::warn!(error = %source, "published ids can't be written");
                    self.ids.failed = Some(Arc::new(source));
                    self.ids.frozen.push_back(Arc::new(Frozen { delta, owner, range, end: Lsn::ZERO }));
                }
            }
            at = stopped;
            if active {
                self.ids.from = at;
            }
        }
        // Those that lie within others.
        runs.into_values().for_each(|run| remove(journal.storage, run.place()));
        Ok(())
    }
}

/// What the names in the journal's directory tell of runs.
#[derive(Debug, Default)]
struct Listed {
    /// Of one segment each.
    parts: BTreeMap<SegmentId, BTreeSet<Range>>,
    merged: Vec<Place>,
}

/// Lists the runs; unfinished ones are removed.
fn list(storage: &dyn Storage) -> Result<Listed> {
    let mut listed = Listed::default();
    let entries = storage.list(DIRECTORY).map_err(|source| Error::io("listing the journal's directory", source))?;
    for entry in entries.into_iter().filter(|entry| entry.kind == EntryKind::File) {
        if let Some(name) = entry.name.strip_suffix(".new").filter(|name| Place::of_name(name, START).is_some()) {
            // It is made again; if it can't be removed, it is overwritten then.
            drop(storage.remove(&format!("{DIRECTORY}/{name}.new")));
        } else if let Some(place) = Place::of_name(&entry.name, START) {
            if place.first == place.last {
                listed.parts.entry(place.first).or_default().insert(place.range);
            } else {
                listed.merged.push(place);
            }
        }
    }
    Ok(listed)
}

/// Opens the runs of a segment that goes up to `end`. What can't be used is as if it were not there.
fn open(storage: &dyn Storage, owner: Owner, ranges: &BTreeSet<Range>, end: Position) -> Result<Stretches> {
    let mut stretches = Stretches::new();
    for range in ranges {
        let place = Place { first: owner.segment, last: owner.segment, range: *range };
        if range.from < START || range.to <= range.from || range.to > end {
            remove(storage, place);
            continue;
        }
        let opened = Run::open(storage, owner.store, place).and_then(|run| {
            let right = run.stretches().all(|stretch| stretch.salt == owner.salt);
            if right { Ok(run) } else { Err(std::io::Error::from(std::io::ErrorKind::InvalidData)) }
        });
        match opened {
            // Of several with one beginning, the last in order is the longest.
            Ok(run) => drop(stretches.insert(range.from, run)),
            Err(error) => {
                tracing::warn!(segment = %owner.segment, from = %range.from, %error, "published ids can't be read");
                remove(storage, place);
            }
        }
    }
    Ok(stretches)
}

/// Not being able to is no harm: it is tried again with the next opening.
fn remove(storage: &dyn Storage, place: Place) {
    drop(storage.remove(&place.name()));
}
