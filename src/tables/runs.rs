//! All runs of published ids together: what is asked for an id.

use super::published::{Published, PublishedKey};
use super::run::{Range, Run};
use crate::storage::{Storage, StorageFile};
use crate::sync::Mutex;
use crate::types::SegmentId;
use std::collections::VecDeque;
use std::io::{Error, Result};
use std::sync::Arc;

/// What the runs hold of some ids, and of when that was.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(crate) generation: u64,
    /// The place of the id among those that were asked for, and its row; rising.
    pub(crate) rows: Vec<(usize, Published)>,
}

/// A set of runs, as it was at one moment. Another one takes its place when a run is added or removed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs {
    pub(crate) generation: u64,
    runs: Vec<Arc<Run>>,
    handles: Arc<Handles>,
}

/// Open files, a bounded number of them.
#[derive(Debug, Default)]
struct Handles(Mutex<VecDeque<Handle>>);

type Handle = (SegmentId, Range, Arc<dyn StorageFile>);

/// So many files of runs are kept open.
const OPEN: usize = 64;

impl Handles {
    fn of(&self, storage: &dyn Storage, run: &Run) -> Result<Arc<dyn StorageFile>> {
        let (segment, range) = (run.owner.segment, run.range);
        let mut open = self.0.lock();
        if let Some((.., file)) = open.iter().find(|(id, stretch, _)| (*id, *stretch) == (segment, range)) {
            return Ok(file.clone());
        }
        let file = run.file(storage)?;
        open.push_back((segment, range, file.clone()));
        if open.len() > OPEN {
            open.pop_front();
        }
        Ok(file)
    }

    fn forget(&self, run: &Run) {
        let known = (run.owner.segment, run.range);
        self.0.lock().retain(|(segment, range, _)| (*segment, *range) != known);
    }
}

impl Runs {
    pub(crate) fn all(&self) -> &[Arc<Run>] {
        &self.runs
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Rows in all runs.
    pub(crate) fn rows(&self) -> u64 {
        self.runs.iter().map(|run| run.rows).fold(0, u64::saturating_add)
    }

    /// Bytes of their files.
    pub(crate) fn disk(&self) -> u64 {
        self.runs.iter().map(|run| run.length).fold(0, u64::saturating_add)
    }

    /// Bytes of memory that they take.
    pub(crate) fn memory(&self) -> usize {
        self.runs.iter().map(|run| run.memory()).fold(0, usize::saturating_add)
    }

    /// With another run, or another in its place.
    pub(crate) fn with(&self, run: Run) -> Self {
        let mut other = self.without(&run);
        other.runs.push(Arc::new(run));
        other
    }

    /// Without the run of this stretch.
    pub(crate) fn without(&self, run: &Run) -> Self {
        let same = |known: &Arc<Run>| (known.owner.segment, known.range) == (run.owner.segment, run.range);
        self.handles.forget(run);
        let runs = self.runs.iter().filter(|known| !same(known)).cloned().collect();
        Self { generation: self.generation.wrapping_add(1), runs, handles: self.handles.clone() }
    }

    /// Without those of a segment.
    pub(crate) fn without_segment(&self, segment: SegmentId) -> Self {
        let (going, runs): (Vec<_>, Vec<_>) = self.runs.iter().cloned().partition(|run| run.owner.segment == segment);
        going.iter().for_each(|run| self.handles.forget(run));
        Self { generation: self.generation.wrapping_add(1), runs, handles: self.handles.clone() }
    }

    /// Whether there is one of the same stretch.
    pub(crate) fn has(&self, run: &Run) -> bool {
        self.runs.iter().any(|known| (known.owner, known.range) == (run.owner, run.range))
    }

    /// What is known of these ids; if a run can't be read, which.
    ///
    /// Run by run and not id by id: the looks into one filter do not wait for each other.
    pub(crate) fn find(
        &self,
        storage: &dyn Storage,
        keys: &[(usize, PublishedKey)],
    ) -> std::result::Result<Found, (Arc<Run>, Error)> {
        let mut found = Found { generation: self.generation, rows: Vec::new() };
        for run in self.runs.iter().filter(|run| run.rows > 0) {
            for (place, key) in keys {
                if !run.may_have(&key.id) {
                    continue;
                }
                let row = self.handles.of(storage, run).and_then(|file| run.get(&*file, *key));
                let Some(row) = row.map_err(|error| (run.clone(), error))? else { continue };
                match found.rows.binary_search_by_key(place, |(place, _)| *place) {
                    Ok(at) => {
                        if let Some((_, held)) = found.rows.get_mut(at) {
                            *held = held.or_newer(row);
                        }
                    }
                    Err(at) => found.rows.insert(at, (*place, row)),
                }
            }
        }
        Ok(found)
    }
}
