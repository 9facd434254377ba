//! All runs of published ids together: what is asked for an id.

use super::Hash;
use super::published::{Published, PublishedKey};
use super::run::Run;
use crate::storage::Storage;
use crate::types::SegmentId;
use std::io::Error;
use std::sync::Arc;

/// What the runs hold of some ids, and of when that was.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(crate) generation: u64,
    /// The place of the id among those that were asked for, and its row; rising.
    pub(crate) rows: Vec<(usize, Published)>,
}

/// A set of runs, as it was at one moment, in the order of what they cover. Another one takes its place when a run is
/// added or removed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs {
    pub(crate) generation: u64,
    runs: Vec<Arc<Run>>,
}

impl Runs {
    pub(crate) fn all(&self) -> &[Arc<Run>] {
        &self.runs
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

    /// The same ids in other runs: `added` in the place of those of `removed`.
    pub(crate) fn instead(&self, removed: &[Arc<Run>], added: Vec<Run>) -> Self {
        let mut runs = self.runs.clone();
        runs.retain(|known| !removed.iter().any(|run| run.is(known)));
        for run in added {
            let place = run.place();
            runs.retain(|known| known.place() != place);
            let at = runs.partition_point(|known| known.place() < place);
            runs.insert(at, Arc::new(run));
        }
        Self { generation: self.generation, runs }
    }

    /// With another run, or another in its place.
    pub(crate) fn with(&self, run: Run) -> Self {
        let other = self.instead(&[], vec![run]);
        Self { generation: self.generation.wrapping_add(1), ..other }
    }

    /// Without those of a segment, and those that went altogether.
    pub(crate) fn without_segment(&self, segment: SegmentId) -> (Self, Vec<Arc<Run>>) {
        let mut went = Vec::new();
        let mut keep = |run: &Arc<Run>| {
            if !run.stretches().any(|stretch| stretch.segment == segment) {
                return Some(run.clone());
            }
            let left = run.without_segment(segment).map(Arc::new);
            if left.is_none() {
                went.push(run.clone());
            }
            left
        };
        let runs = self.runs.iter().filter_map(&mut keep).collect();
        (Self { generation: self.generation.wrapping_add(1), runs }, went)
    }

    /// Whether exactly this one is there.
    pub(crate) fn has(&self, run: &Run) -> bool {
        self.runs.iter().any(|known| known.is(run))
    }

    /// The one that is to take less memory, where all may take `limit`: the largest that is warm, so that few are cold.
    pub(crate) fn to_cool(&self, limit: usize) -> Option<Run> {
        let over = self.memory() > limit;
        let warm = self.runs.iter().filter(|run| over && run.is_warm());
        warm.max_by_key(|run| run.index_bytes()).map(|run| run.cold())
    }

    /// One that is cold, and fits into memory beside the others.
    pub(crate) fn to_warm(&self, limit: usize) -> Option<Arc<Run>> {
        let cold = self.runs.iter().filter(|run| !run.is_warm() && run.rows > 0);
        let smallest = cold.min_by_key(|run| run.index_bytes())?;
        (self.memory().saturating_add(smallest.index_bytes()) <= limit).then(|| smallest.clone())
    }

    /// Whether any of them may have the id, as far as can be told without reading. See `find` on the first look.
    pub(crate) fn may_have(&self, id: &Hash) -> bool {
        std::hint::black_box(self.runs.iter().fold(0, |all, run| all ^ run.touch(id)));
        self.runs.iter().any(|run| run.may_have(id))
    }

    /// What is known of these ids without reading anything: nothing can be said if a run may have one of them.
    pub(crate) fn look(&self, keys: &[(usize, PublishedKey)]) -> Option<Found> {
        let may_have = match keys {
            [(_, key)] => self.may_have(&key.id),
            keys => self.runs.iter().any(|run| keys.iter().any(|(_, key)| run.may_have(&key.id))),
        };
        (!may_have).then(|| Found { generation: self.generation, rows: Vec::new() })
    }

    /// What is known of these ids; if a run can't be read, which.
    ///
    /// Run by run and not id by id: the looks into one filter do not wait for each other. For one id the filters of all
    /// runs are looked at first, for the same reason.
    pub(crate) fn find(
        &self,
        storage: &dyn Storage,
        keys: &[(usize, PublishedKey)],
    ) -> std::result::Result<Found, (Arc<Run>, Error)> {
        let mut rows: Vec<(usize, Published)> = Vec::new();
        if let [(_, key)] = keys {
            std::hint::black_box(self.runs.iter().fold(0, |all, run| all ^ run.touch(&key.id)));
        }
        for run in &self.runs {
            let failed = |error| (run.clone(), error);
            let mut file = None;
            for (place, key) in keys.iter().filter(|(_, key)| run.may_have(&key.id)) {
                let file = match &file {
                    Some(file) => file,
                    None => file.insert(run.file(storage).map_err(failed)?),
                };
                let row = run.get(&**file, *key).map_err(failed)?;
                rows.extend(row.map(|row| (*place, row)));
            }
        }
        rows.sort_unstable_by_key(|(place, _)| *place);
        rows.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                kept.1 = kept.1.or_newer(later.1);
            }
            same
        });
        Ok(Found { generation: self.generation, rows })
    }
}
