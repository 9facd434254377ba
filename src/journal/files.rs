//! The segments there are, with a bounded number of open handles to read them by, and their indexes.

use super::control::Seal;
use super::index::SegmentIndex;
use super::segment::{Segment, segment_name};
use crate::storage::{Access, Storage, StorageFile};
use crate::types::SegmentId;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

/// A segment that can be read.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) segment: Arc<Segment>,
    /// How it ended; nothing for the active one.
    pub(crate) seal: Option<Seal>,
    /// Its index; nothing for the active one, whose index is in the tail.
    pub(crate) index: Option<Arc<SegmentIndex>>,
}

#[derive(Debug, Default)]
struct Inner {
    known: BTreeMap<SegmentId, Known>,
    open: VecDeque<(SegmentId, Arc<dyn StorageFile>)>,
}

/// See the module's page.
#[derive(Debug)]
pub(crate) struct Files {
    storage: Arc<dyn Storage>,
    limit: usize,
    inner: Mutex<Inner>,
}

impl Files {
    /// At most `limit` handles are kept open.
    pub(crate) fn new(storage: Arc<dyn Storage>, limit: usize) -> Self {
        Self { storage, limit: limit.max(1), inner: Mutex::new(Inner::default()) }
    }

    /// Adds a segment, or what has become known of it.
    pub(crate) fn add(&self, known: Known) {
        self.inner.lock().known.insert(known.segment.id, known);
    }

    pub(crate) fn known(&self, id: SegmentId) -> Option<Known> {
        self.inner.lock().known.get(&id).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Known> {
        self.inner.lock().known.values().cloned().collect()
    }

    /// A handle to read segment `id` by.
    pub(crate) fn reader(&self, id: SegmentId) -> io::Result<Arc<dyn StorageFile>> {
        let mut inner = self.inner.lock();
        if let Some(at) = inner.open.iter().position(|(open, _)| *open == id)
            && let Some(entry) = inner.open.remove(at)
        {
            let file = entry.1.clone();
            inner.open.push_back(entry);
            return Ok(file);
        }
        let file = self.storage.open(&segment_name(id), Access::Read)?;
        inner.open.push_back((id, file.clone()));
        while inner.open.len() > self.limit {
            inner.open.pop_front();
        }
        Ok(file)
    }
}
