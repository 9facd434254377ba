//! The volatile index of an ordered group: which messages have which key, and which of each key comes first.
//!
//! The state knows offsets and no keys; those are in the messages. The engine reads them in the order of offsets,
//! outside its lock, and tells them here, so that everything before `read` is known: whether it has a key, and the
//! keyed hash of that. Only then can be said what goes before what, so nothing at or past `read` is handed out. After
//! an opening, a seek, or a change of the order, reading begins again at the floor; nothing of this is stored.
//!
//! A key is its 64-bit keyed hash. Two keys with the same hash are one line: that costs parallelism and never order,
//! and nobody outside can bring it about. With a million keys at a time the chance is 1 in 37 million. For the same
//! reason a key that is held or parked may, as rarely, hold or park another one.
//!
//! A message that is known and has a key takes an entry of 16 bytes in a B-tree and one of 8 in a block: less than 48
//! bytes, measured in `tests/ordering_bounds.rs`. What has no key, or is settled, takes nothing. Of a long line only
//! the beginning is kept, if there are too many: see `rest`. `turn` has the rules.

use super::fresh::Fresh;
use super::keys::Keys;
use super::offsets::OffsetSet;
use super::rest::{Rests, Scan};
use crate::types::{Offset, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// The keyed hash of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct KeyHash(pub(crate) u64);

/// Offsets whose keys the engine is to read next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unread {
    /// Of which index; a new one begins to read anew.
    pub(super) generation: u64,
    /// They were read before, and are in the rests of their lines.
    pub(super) again: Option<Scan>,
    pub(super) from: Offset,
    /// Rising. Between them all is settled, up to `end`.
    pub(crate) offsets: Vec<Offset>,
    pub(super) end: Offset,
}

impl Unread {
    /// Where it begins.
    pub(crate) const fn from(&self) -> Offset {
        self.from
    }
}

/// Who has messages of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// The holder's; of what was leased before the group was ordered, one of them.
    pub(super) epoch: u64,
    /// How many messages.
    pub(super) count: u64,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) generation: u64,
    /// Every unsettled message before this is known.
    pub(super) read: Offset,
    /// The keys of what is known and unsettled; dead letters too.
    pub(super) keys: Keys,
    /// What is known, has a key and is neither settled nor dead: the line of each key.
    pub(super) lines: BTreeSet<(KeyHash, Offset)>,
    /// The dead letters that are known and have a key.
    pub(super) dead: BTreeSet<(KeyHash, Offset)>,
    pub(super) held: BTreeMap<KeyHash, Held>,
    /// The firsts of lines that have a past, and messages without a key that have one. May hold some that can't go now;
    /// never lacks one that could.
    pub(super) due: BTreeSet<(Timestamp, Offset)>,
    /// Likewise those without a past.
    pub(super) fresh: Fresh,
    /// What is in a line and waits in the schedule.
    pub(super) asleep: OffsetSet,
    /// Keys whose first is to be parked.
    pub(super) condemned: BTreeSet<KeyHash>,
    /// What is known, and in neither of these, since too many of its key wait.
    pub(super) rests: Rests,
}

impl Order {
    pub(super) fn new(generation: u64, floor: Offset) -> Self {
        Self {
            generation,
            read: floor,
            keys: Keys::default(),
            lines: BTreeSet::new(),
            dead: BTreeSet::new(),
            held: BTreeMap::new(),
            due: BTreeSet::new(),
            fresh: Fresh::default(),
            asleep: OffsetSet::new(),
            condemned: BTreeSet::new(),
            rests: Rests::new(),
        }
    }

    pub(super) fn key(&self, offset: Offset) -> Option<KeyHash> {
        self.keys.get(offset)
    }

    /// The first of a key's line.
    pub(super) fn first(&self, key: KeyHash) -> Option<Offset> {
        self.line(key, Offset::ZERO).next()
    }

    /// A key's line from an offset on.
    pub(super) fn line(&self, key: KeyHash, from: Offset) -> impl Iterator<Item = Offset> {
        let line = self.lines.range((key, from)..).take_while(move |(other, _)| *other == key);
        line.map(|(_, offset)| *offset)
    }

    /// A key's line up to an offset.
    pub(super) fn line_up_to(&self, key: KeyHash, offset: Offset) -> impl DoubleEndedIterator<Item = Offset> {
        self.lines.range((key, Offset::ZERO)..(key, offset)).map(|(_, offset)| *offset)
    }

    /// The neighbour before `offset` in its line.
    pub(super) fn before(&self, key: KeyHash, offset: Offset) -> Option<Offset> {
        self.line_up_to(key, offset).next_back()
    }

    /// The dead letters of a key before `offset`, rising.
    pub(super) fn dead_before(&self, key: KeyHash, offset: Offset) -> impl DoubleEndedIterator<Item = Offset> {
        let before = (!self.dead.is_empty()).then(|| self.dead.range((key, Offset::ZERO)..(key, offset)));
        before.into_iter().flatten().map(|(_, offset)| *offset)
    }

    /// A message is leased.
    pub(super) fn hold(&mut self, offset: Offset, epoch: u64) {
        self.fresh.remove(offset);
        let Some(key) = self.key(offset) else { return };
        let held = self.held.entry(key).or_insert(Held { epoch, count: 0 });
        held.count = held.count.saturating_add(1);
    }

    /// It is not leased any more.
    pub(super) fn free(&mut self, offset: Offset) {
        let Some(key) = self.key(offset) else { return };
        let Some(held) = self.held.get_mut(&key) else { return };
        held.count = held.count.saturating_sub(1);
        if held.count == 0 {
            self.held.remove(&key);
        }
    }

    /// A message is settled, and out of `fresh`; says its key, if it had one.
    pub(super) fn forget(&mut self, offset: Offset) -> Option<KeyHash> {
        self.asleep.remove(offset);
        let key = self.keys.remove(offset)?;
        if !self.lines.remove(&(key, offset)) {
            self.dead.remove(&(key, offset));
        }
        Some(key)
    }

    /// A message is a dead letter from now on, or is none any more.
    pub(super) fn move_dead(&mut self, offset: Offset, dead: bool) -> Option<KeyHash> {
        self.fresh.remove(offset);
        self.asleep.remove(offset);
        let key = self.key(offset)?;
        let (from, to) = if dead { (&mut self.lines, &mut self.dead) } else { (&mut self.dead, &mut self.lines) };
        from.remove(&(key, offset));
        to.insert((key, offset));
        Some(key)
    }
}
