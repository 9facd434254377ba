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

/// A segment that was retired: nobody finds it any more, but somebody may still be reading it.
#[derive(Debug)]
pub(crate) struct Leaving {
    pub(crate) segment: Arc<Segment>,
    pins: Arc<()>,
}

impl Leaving {
    /// One that nobody has read in this opening.
    pub(crate) fn unread(segment: Arc<Segment>) -> Self {
        Self { segment, pins: Arc::default() }
    }

    /// Whether somebody is reading it still. Nobody begins to any more.
    pub(crate) fn is_pinned(&self) -> bool {
        Arc::strong_count(&self.pins) > 1
    }
}

/// Held while a segment is read from its file: so long the file stays what it is.
#[derive(Clone, Debug)]
pub(crate) struct Pin {
    pub(crate) segment: Arc<Segment>,
    _pin: Arc<()>,
}

#[derive(Debug, Default)]
struct Inner {
    known: BTreeMap<SegmentId, (Known, Arc<()>)>,
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
        let mut inner = self.inner.lock();
        let pins = inner.known.get(&known.segment.id).map(|(_, pins)| pins.clone()).unwrap_or_default();
        inner.known.insert(known.segment.id, (known, pins));
    }

    pub(crate) fn known(&self, id: SegmentId) -> Option<Known> {
        self.inner.lock().known.get(&id).map(|(known, _)| known.clone())
    }

    pub(crate) fn all(&self) -> Vec<Known> {
        self.inner.lock().known.values().map(|(known, _)| known.clone()).collect()
    }

    /// Bytes of the files of all sealed segments and of the active one.
    pub(crate) fn capacity(&self, active: SegmentId) -> u64 {
        let inner = self.inner.lock();
        let chain = inner.known.values().filter(|(known, _)| known.seal.is_some() || known.segment.id == active);
        chain.map(|(known, _)| u64::from(known.segment.capacity)).fold(0, u64::saturating_add)
    }

    /// Keeps a segment's file as it is until the pin is dropped. Nothing if the segment was retired.
    pub(crate) fn pin(&self, id: SegmentId) -> Option<Pin> {
        let inner = self.inner.lock();
        inner.known.get(&id).map(|(known, pins)| Pin { segment: known.segment.clone(), _pin: pins.clone() })
    }

    /// Nobody finds the segment any more.
    pub(crate) fn retire(&self, id: SegmentId) -> Option<Leaving> {
        let mut inner = self.inner.lock();
        inner.open.retain(|(open, _)| *open != id);
        let (known, pins) = inner.known.remove(&id)?;
        Some(Leaving { segment: known.segment, pins })
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
        // Of one that was retired while it was being read no handle is kept: its file is to go.
        if inner.known.contains_key(&id) {
            inner.open.push_back((id, file.clone()));
        }
        while inner.open.len() > self.limit {
            inner.open.pop_front();
        }
        Ok(file)
    }
}
