//! Where the groups read, with a bound on the memory of all of them together.
//!
//! A group that reads keeps what it has read ahead, so that its next messages need no read of their own. Of ten
//! thousand groups that each read once that would be more than a gigabyte: what was used last stays, and the rest goes.
//! A group whose reader went finds its place again by the index, and reads little until it goes on in order.

use super::ReadCursor;
use super::order::Ahead;
use crate::sync::Mutex;
use crate::types::GroupId;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Where one group reads.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// What is to be handed out.
    pub(super) cursor: Mutex<ReadCursor>,
    /// Of an ordered group, the keys of what comes after that.
    pub(super) ahead: Ahead,
    /// Bytes that each of the two holds, as of its last use.
    pub(super) held: AtomicUsize,
    pub(super) held_ahead: AtomicUsize,
    /// What was counted of it last.
    counted: AtomicUsize,
}

impl Reader {
    fn bytes(&self) -> usize {
        let held = self.held.load(Ordering::Relaxed).saturating_add(self.held_ahead.load(Ordering::Relaxed));
        // Its places in the maps count too: that it holds nothing does not make it free.
        held.saturating_add(size_of::<Self>() + size_of::<Entry>() + 2 * size_of::<(u64, GroupId)>())
    }
}

#[derive(Debug)]
struct Entry {
    reader: Arc<Reader>,
    used: u64,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Inner {
    groups: HashMap<GroupId, Entry>,
    /// The same by their last use.
    order: BTreeMap<u64, GroupId>,
    uses: u64,
    bytes: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Readers {
    limit: usize,
    /// The group that was used last, or none: who goes on with it, and holds what it held, changes nothing.
    last: AtomicU64,
    inner: Mutex<Inner>,
}

/// No group has this number.
const NOBODY: u64 = u64::MAX;

impl Readers {
    /// All together hold at most `limit` bytes, or the last one used alone.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, last: AtomicU64::new(NOBODY), inner: Mutex::default() }
    }

    /// The group's reader. Whoever has used it says so.
    pub(super) fn of(&self, group: GroupId) -> Arc<Reader> {
        let mut inner = self.inner.lock();
        if let Some(entry) = inner.groups.get(&group) {
            return entry.reader.clone();
        }
        let reader = Arc::new(Reader::default());
        inner.uses += 1;
        let used = inner.uses;
        inner.groups.insert(group, Entry { reader: reader.clone(), used, bytes: 0 });
        inner.order.insert(used, group);
        reader
    }

    /// The group's reader was used, and holds what it holds: the others make room for it.
    pub(super) fn used(&self, group: GroupId, reader: &Arc<Reader>) {
        let bytes = reader.bytes();
        if self.last.load(Ordering::Relaxed) == u64::from(group.0) && reader.counted.load(Ordering::Relaxed) == bytes {
            return;
        }
        let mut gone = Vec::new();
        let mut inner = self.inner.lock();
        if inner.count(group, reader, bytes) {
            self.last.store(u64::from(group.0), Ordering::Relaxed);
        }
        while inner.bytes > self.limit && inner.groups.len() > 1 {
            let Some((_, oldest)) = inner.order.pop_first() else { break };
            gone.extend(inner.remove(oldest));
        }
        // What they hold is freed without the lock.
        drop(inner);
        drop(gone);
    }

    /// The group is gone, and its reader with it.
    pub(super) fn forget(&self, group: GroupId) {
        let mut inner = self.inner.lock();
        self.last.store(NOBODY, Ordering::Relaxed);
        let gone = inner.remove(group);
        drop(inner);
        drop(gone);
    }

    /// How many readers there are, and how many bytes they hold.
    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, usize) {
        let inner = self.inner.lock();
        assert_eq!(inner.groups.len(), inner.order.len());
        assert_eq!(inner.groups.values().map(|entry| entry.bytes).sum::<usize>(), inner.bytes);
        (inner.groups.len(), inner.bytes)
    }
}

impl Inner {
    /// Whether it is there to be counted.
    fn count(&mut self, group: GroupId, reader: &Arc<Reader>, bytes: usize) -> bool {
        let Some(entry) = self.groups.get_mut(&group) else { return false };
        if !Arc::ptr_eq(&entry.reader, reader) {
            // It went while it was used: the memory is free when its last user is done.
            return false;
        }
        reader.counted.store(bytes, Ordering::Relaxed);
        let before = std::mem::replace(&mut entry.bytes, bytes);
        self.bytes = self.bytes.saturating_sub(before).saturating_add(entry.bytes);
        // Mostly the same group is used again.
        if entry.used != self.uses {
            self.order.remove(&entry.used);
            self.uses += 1;
            entry.used = self.uses;
            self.order.insert(self.uses, group);
        }
        true
    }

    fn remove(&mut self, group: GroupId) -> Option<Arc<Reader>> {
        let entry = self.groups.remove(&group)?;
        self.order.remove(&entry.used);
        self.bytes = self.bytes.saturating_sub(entry.bytes);
        Some(entry.reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(readers: &Readers, group: u32, bytes: usize) -> Arc<Reader> {
        let reader = readers.of(GroupId(group));
        reader.held.store(bytes, Ordering::Relaxed);
        readers.used(GroupId(group), &reader);
        reader
    }

    #[test]
    fn the_least_recently_used_go_first_and_the_last_one_stays_whatever_it_holds() {
        let readers = Readers::new(10_000);
        let first = hold(&readers, 1, 3000);
        hold(&readers, 2, 3000);
        hold(&readers, 1, 3000);
        hold(&readers, 3, 4000);
        assert_eq!(readers.size().0, 2);
        assert!(Arc::ptr_eq(&first, &readers.of(GroupId(1))), "the one that was used again went");
        hold(&readers, 4, 50_000);
        assert_eq!(readers.size().0, 1);
        hold(&readers, 5, 1);
        assert_eq!(readers.size().0, 1);
        assert!(readers.size().1 <= 10_000);
    }

    #[test]
    fn however_many_there_are_that_hold_nothing_they_stay_within_the_bound() {
        let readers = Readers::new(100_000);
        (0..100_000).for_each(|group| drop(hold(&readers, group, 0)));
        let (many, bytes) = readers.size();
        assert!(many < 1000 && bytes <= 100_000, "{many} {bytes}");
    }

    #[test]
    fn one_that_went_while_it_was_used_is_not_counted_and_does_not_come_back() {
        let readers = Readers::new(10_000);
        let reader = hold(&readers, 1, 100);
        readers.forget(GroupId(1));
        reader.held.store(1 << 20, Ordering::Relaxed);
        readers.used(GroupId(1), &reader);
        assert_eq!(readers.size(), (0, 0));
    }
}
