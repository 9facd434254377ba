//! The tables in memory: for the simulator, where they can be emptied, rolled back or broken at will, and for a store
//! whose sled can't be used.

use super::commit::{Steps, commit};
#[cfg(any(test, feature = "testing"))]
use super::places::row_of;
use super::{Change, Keys, Tables, TablesDoor, put_row};
use crate::sync::Mutex;
use std::collections::BTreeMap;
use std::io::{Error, Result};
use std::ops::Bound;
use std::sync::Arc;

/// How many copies of earlier states are kept.
const COPIES: usize = 16;

#[derive(Clone, Debug, Default)]
struct Content {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// A step of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Put,
    Flush,
    SyncFiles,
    SyncNames,
    Mark,
}

#[derive(Debug, Default)]
struct Inner {
    content: Content,
    earlier: Vec<Content>,
    /// So many calls go well, then every one fails until the tables are set aside.
    good: Option<u64>,
    set_aside: u64,
    /// Those of the last commit.
    steps: Vec<Step>,
    /// Told of each.
    watcher: Watcher,
}

/// Whoever is told of each step while it is done.
#[derive(Clone, Default)]
struct Watcher(Option<Arc<dyn Fn(Step) + Send + Sync>>);

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Watcher" } else { "none" })
    }
}

/// See the module. Clones are the same tables.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryTables {
    inner: Arc<Mutex<Inner>>,
}

impl MemoryTables {
    fn turn(&self) -> Result<crate::sync::MutexGuard<'_, Inner>> {
        let mut inner = self.inner.lock();
        match &mut inner.good {
            Some(0) => Err(Error::other("the tables are broken, as they were told to be")),
            Some(left) => {
                *left -= 1;
                Ok(inner)
            }
            None => Ok(inner),
        }
    }
}

impl Content {
    fn put(&mut self, rows: &[Change]) {
        for (key, value) in rows {
            match value {
                Some(value) => drop(self.rows.insert(key.clone(), value.clone())),
                None => drop(self.rows.remove(key)),
            }
        }
    }
}

impl Inner {
    fn took(&mut self, step: Step) {
        self.steps.push(step);
        if let Watcher(Some(watcher)) = &self.watcher {
            watcher(step);
        }
    }
}

#[cfg(any(test, feature = "testing"))]
impl MemoryTables {
    /// Everything is gone, as if the directory had been deleted.
    pub(crate) fn clear(&self) {
        self.inner.lock().content = Content::default();
    }

    /// As they were so many commits ago, or as long ago as is known.
    pub(crate) fn roll_back(&self, commits: usize) {
        let mut inner = self.inner.lock();
        let at = inner.earlier.len().saturating_sub(commits.max(1));
        inner.content = inner.earlier.get(at).cloned().unwrap_or_default();
        inner.earlier.truncate(at);
    }

    /// Takes a row of an id away, the how-manieth of them, and says nothing: what no honest disk does.
    pub(crate) fn lose_a_row(&self, which: usize) {
        let mut inner = self.inner.lock();
        let mut rows = inner.content.rows.keys().filter(|key| row_of(key).is_some());
        if let Some(key) = rows.nth(which).cloned() {
            inner.content.rows.remove(&key);
        }
    }

    /// Puts a row of an id, the how-manieth of them, back to what it was when a copy of everything was last made, or
    /// takes it away if it was not there then.
    pub(crate) fn age_a_row(&self, which: usize) {
        let mut inner = self.inner.lock();
        let mut rows = inner.content.rows.keys().filter(|key| row_of(key).is_some());
        let Some(key) = rows.nth(which).cloned() else { return };
        let older = inner.earlier.last().and_then(|earlier| earlier.rows.get(&key).cloned());
        inner.content.put(&[(key, older)]);
    }

    /// So many calls go well, then all fail until the tables are set aside.
    pub(crate) fn fail_after(&self, calls: u64) {
        self.inner.lock().good = Some(calls);
    }

    /// How often they were set aside.
    pub(crate) fn times_set_aside(&self) -> u64 {
        self.inner.lock().set_aside
    }

    /// The steps of the last commit.
    #[cfg(test)]
    pub(crate) fn steps(&self) -> Vec<Step> {
        self.inner.lock().steps.clone()
    }

    /// Tells of each step from now on.
    #[cfg(test)]
    pub(crate) fn watch(&self, watcher: impl Fn(Step) + Send + Sync + 'static) {
        self.inner.lock().watcher = Watcher(Some(Arc::new(watcher)));
    }

    /// How many rows of ids there are.
    pub(crate) fn rows(&self) -> usize {
        self.inner.lock().content.rows.keys().filter(|key| row_of(key).is_some()).count()
    }
}

/// What was put in is there for whoever looks; what of it would survive, is noted.
impl Steps for MemoryTables {
    fn put(&self, rows: &[Change]) -> Result<()> {
        let mut inner = self.turn()?;
        inner.content.put(rows);
        inner.took(Step::Put);
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        self.turn()?.took(Step::Flush);
        Ok(())
    }

    fn sync_files(&self) -> Result<()> {
        self.turn()?.took(Step::SyncFiles);
        Ok(())
    }

    fn sync_names(&self) -> Result<()> {
        self.turn()?.took(Step::SyncNames);
        Ok(())
    }

    fn mark(&self, last: &Change) -> Result<()> {
        let mut inner = self.turn()?;
        inner.content.put(std::slice::from_ref(last));
        inner.took(Step::Mark);
        Ok(())
    }
}

impl Tables for MemoryTables {
    fn get(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>> {
        let inner = self.turn()?;
        Ok(keys.iter().map(|key| inner.content.rows.get(key).cloned()).collect())
    }

    fn scan(&self, after: Option<&[u8]>, limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let inner = self.turn()?;
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = inner.content.rows.range::<[u8], _>((after, Bound::Unbounded)).take(limit);
        Ok(rows.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn ranges(&self, ranges: &[Keys], lengths: [usize; 2]) -> Result<Vec<Vec<u8>>> {
        let inner = self.turn()?;
        let all = ranges.iter().map(|range| {
            let mut out = Vec::new();
            for (key, value) in inner.content.rows.range(range.clone()) {
                put_row(&mut out, (key, value), lengths)?;
            }
            Ok(out)
        });
        all.collect()
    }

    fn commit(&self, batch: &[Change], last: &Change) -> Result<()> {
        {
            let mut inner = self.turn()?;
            inner.steps.clear();
            let before = inner.content.clone();
            inner.earlier.push(before);
            if inner.earlier.len() > COPIES {
                inner.earlier.remove(0);
            }
        }
        commit(self, batch, last)
    }
}

impl TablesDoor for MemoryTables {
    fn open(&self) -> Result<Arc<dyn Tables>> {
        drop(self.turn()?);
        Ok(Arc::new(self.clone()))
    }

    fn set_aside(&self) -> Result<()> {
        let mut inner = self.inner.lock();
        inner.set_aside += 1;
        inner.good = None;
        inner.content = Content::default();
        Ok(())
    }

    fn exists(&self) -> bool {
        !self.inner.lock().content.rows.is_empty()
    }
}
