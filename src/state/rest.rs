//! The rests of long lines: of a key of which very many wait, an ordered group keeps the first few in mind, and of the
//! others only where they begin and how many they are.
//!
//! Else one key that is held for long, or whose dead letter holds it for ever, would fill what the group may keep in
//! mind, and everybody behind would wait for it. When so many wait as `look_ahead` says, all long lines are cut down to
//! as few as make half of that free; a line keeps at least [`KEPT_MIN`]. What is cut off takes a bit for each message,
//! and an entry for each key. When a line comes to its end, its rest is read again from where it begins.
//!
//! Only what waits for nothing but its key is in a rest: nothing that has a past, is leased, dead or in the schedule.
//! What happens to one of those otherwise makes the group begin to read anew: it is rare, and nothing of this is
//! stored.

use super::group::Group;
use super::offsets::OffsetSet;
use super::order::{KeyHash, Order, Unread};
use crate::event::Run;
use crate::types::Offset;
use std::collections::{BTreeMap, BTreeSet};

/// A line keeps at most this part of `look_ahead`, and at most so many, when lines are cut down.
const KEPT_PART: usize = 64;
const KEPT_MAX: usize = 1024;

/// It keeps at least so many, if that part is not fewer: each time it comes to its end the rest is read again.
const KEPT_MIN: usize = 16;

/// Of rests so many messages are read again at a time for each that a line takes back, since others lie between them;
/// and at least so many.
const SCAN_PER_KEPT: usize = 2;
const SCAN_MIN: usize = 64;

/// Lines are gone through when this part of `look_ahead` was learned since the last time, and not for each message.
const CUT_EACH: usize = 8;

/// What is not in mind of one key's line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rest {
    /// None of them lies before this; or it is the first.
    first: Offset,
    /// How many there were: what was settled since without its turn is still counted.
    count: u64,
}

/// Rests that are read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scan {
    /// There are none behind it.
    all: bool,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Rests {
    offsets: OffsetSet,
    keys: BTreeMap<KeyHash, Rest>,
    /// Whose line came to its end, or to where its rest begins.
    wanted: BTreeSet<KeyHash>,
    /// How many of a line were left when lines were cut down.
    kept: usize,
    /// What was learned since lines were cut down.
    learned: usize,
}

impl Rests {
    pub(super) const fn new() -> Self {
        Self { offsets: OffsetSet::new(), keys: BTreeMap::new(), wanted: BTreeSet::new(), kept: KEPT_MAX, learned: 0 }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Where the rests begin that are wanted, or before that.
    pub(super) fn next(&self) -> Option<Offset> {
        self.wanted.iter().filter_map(|key| self.first(*key)).min()
    }

    pub(super) const fn len(&self) -> u64 {
        self.offsets.len()
    }

    /// How many keys' rests are to be read.
    pub(super) fn wanted(&self) -> u64 {
        u64::try_from(self.wanted.len()).unwrap_or(u64::MAX)
    }

    pub(super) fn contains(&self, offset: Offset) -> bool {
        !self.offsets.is_empty() && self.offsets.contains(offset)
    }

    /// Where a key's rest begins, or before that.
    pub(super) fn first(&self, key: KeyHash) -> Option<Offset> {
        self.keys.get(&key).map(|rest| rest.first)
    }

    /// Puts a message to the rest of its key.
    fn add(&mut self, key: KeyHash, offset: Offset) {
        self.offsets.insert(offset);
        let rest = self.keys.entry(key).or_insert(Rest { first: offset, count: 0 });
        rest.first = rest.first.min(offset);
        rest.count = rest.count.saturating_add(1);
    }

    /// A message is in mind again.
    fn take(&mut self, key: Option<KeyHash>, offset: Offset) {
        self.offsets.remove(offset);
        if let Some(rest) = key.and_then(|key| self.keys.get_mut(&key)) {
            (rest.first, rest.count) = (offset.next(), rest.count.saturating_sub(1));
        }
    }

    /// Messages are settled.
    pub(super) fn remove_run(&mut self, run: Run) {
        if self.offsets.is_empty() || self.offsets.remove_run(run) == 0 || !self.offsets.is_empty() {
            return;
        }
        self.keys.clear();
        self.wanted.clear();
    }

    /// What lies from `from` on was gone through up to `end`, but for the rests of those who have enough for now. With
    /// `all` there is nothing behind that.
    fn gone_through(&mut self, from: Offset, end: Offset, stopped: &BTreeSet<KeyHash>, all: bool) {
        for (key, rest) in &mut self.keys {
            if rest.first >= from && !stopped.contains(key) {
                rest.first = rest.first.max(end);
            }
        }
        if all {
            self.keys.retain(|key, rest| rest.first < end || stopped.contains(key));
        }
    }
}

impl Order {
    /// Whether what is in mind of a key's line is to wait for its rest.
    pub(super) fn wants_rest(&mut self, key: KeyHash, first: Option<Offset>) -> bool {
        let Some(rest) = self.rests.first(key) else { return false };
        let wants = first.is_none_or(|first| rest < first);
        if wants {
            self.rests.wanted.insert(key);
        }
        wants
    }

    /// Puts a message that was just read to its key's rest, if there is one; another one will be in mind.
    pub(super) fn put_to_rest(&mut self, key: KeyHash, offset: Offset, plain: bool) -> bool {
        let put = plain && self.rests.keys.contains_key(&key);
        if put {
            self.rests.add(key, offset);
        } else {
            self.rests.learned = self.rests.learned.saturating_add(1);
        }
        put
    }
}

impl Group {
    /// Whether a message waits in the rest of its key's line: which key that is, is not in mind.
    pub(crate) fn is_in_rest(&self, offset: Offset) -> bool {
        self.order.as_ref().is_some_and(|order| order.rests.contains(offset))
    }

    /// The first message of a key that is in mind.
    pub(crate) fn first_of_key(&self, key: KeyHash) -> Option<Offset> {
        self.order.as_ref()?.first(key)
    }

    /// Whether the rest of a line is to be read, whatever else can be handed out: else its key waits for ever behind
    /// others that are busy.
    pub(crate) fn wants_rest(&self) -> bool {
        self.order.as_ref().is_some_and(|order| !order.rests.wanted.is_empty())
    }

    /// The next messages of rests that are to be read again, if any.
    pub(super) fn unread_rest(&self, most: usize) -> Option<Unread> {
        let order = self.order.as_ref()?;
        let rests = &order.rests;
        let from = rests.next()?;
        // What is not taken back now would be read once more.
        let most = most.min(self.taken_back().saturating_mul(SCAN_PER_KEPT).max(SCAN_MIN));
        let within = Run { first: from, count: order.read.since(from) };
        let runs = rests.offsets.runs_in(within);
        let offsets = runs.flat_map(|run| (run.first.0..run.end().0).map(Offset)).take(most).collect::<Vec<_>>();
        let end = offsets.last().filter(|_| offsets.len() >= most).map_or(order.read, |last| last.next());
        let scan = Scan { all: end == order.read };
        Some(Unread { generation: order.generation, again: Some(scan), from, offsets, end })
    }

    /// The keys of what was read again: those of lines that have few in mind are in mind again.
    pub(super) fn learn_rest(&mut self, unread: &Unread, scan: Scan, keys: &[Option<KeyHash>]) {
        let (mut stopped, mut lengths) = (BTreeSet::new(), BTreeMap::new());
        let kept = self.taken_back();
        for (offset, key) in unread.offsets.iter().copied().zip(keys.iter().copied()) {
            let Some(order) = &mut self.order else { return };
            if !order.rests.contains(offset) {
                continue;
            }
            let Some(key) = key else {
                // It can't be read any more: whose key it had is not known.
                order.rests.take(None, offset);
                self.offer_at(offset);
                continue;
            };
            if stopped.contains(&key) {
                continue;
            }
            let passed = order.rests.first(key).is_some_and(|first| first < unread.from);
            let length = lengths.entry(key).or_insert_with(|| order.line_up_to(key, offset).take(kept).count());
            if passed || *length >= kept {
                if !passed {
                    order.rests.keys.get_mut(&key).into_iter().for_each(|rest| rest.first = offset);
                }
                stopped.insert(key);
                continue;
            }
            *length += 1;
            order.rests.take(Some(key), offset);
            order.keys.insert(offset, key);
            order.lines.insert((key, offset));
            if order.first(key) == Some(offset) {
                self.offer_first(key, offset);
            }
        }
        let Some(order) = &mut self.order else { return };
        order.rests.gone_through(unread.from, unread.end, &stopped, scan.all);
        // Who still lacks its rest says so again.
        let wanted = std::mem::take(&mut order.rests.wanted);
        wanted.into_iter().for_each(|key| self.offer(key));
    }

    /// How many messages a line takes back at a time: as many as were left to it, or its share of half of the room
    /// there is by now.
    fn taken_back(&self) -> usize {
        let Some(order) = &self.order else { return 0 };
        let share = self.room_for_keys() / 2 / order.rests.keys.len().max(1);
        share.min(KEPT_MAX).max(order.rests.kept)
    }

    /// Cuts long lines down, if as many wait as are kept in mind.
    pub(super) fn cut_lines(&mut self) {
        let most = self.look_ahead();
        let full = self.is_looking_no_further();
        let Some(order) = self.order.as_mut().filter(|order| full && order.rests.learned >= most / CUT_EACH) else {
            return;
        };
        order.rests.learned = 0;
        let mut lengths: Vec<(KeyHash, usize)> = Vec::new();
        for (key, _) in &order.lines {
            match lengths.last_mut() {
                Some((last, length)) if last == key => *length += 1,
                _ => lengths.push((*key, 1)),
            }
        }
        let mut kept = (most / KEPT_PART).clamp(1, KEPT_MAX);
        let least = kept.min(KEPT_MIN);
        let left = |kept: usize| lengths.iter().map(|(_, length)| *length.min(&kept)).sum::<usize>();
        while kept > least && left(kept) > most / 2 {
            kept = (kept / 2).max(least);
        }
        order.rests.kept = kept;
        for (key, length) in lengths {
            self.cut_line(key, length.saturating_sub(kept));
        }
    }

    /// Cuts up to so many messages off the end of a key's line: up to one that waits for more than its key.
    fn cut_line(&mut self, key: KeyHash, most: usize) {
        let Some(order) = &self.order else { return };
        let more = |offset: &Offset| {
            self.hands.leases.contains(*offset) || self.history.contains_key(offset) || order.asleep.contains(*offset)
        };
        let end = (key, Offset(u64::MAX));
        let line = order.lines.range((key, Offset::ZERO)..=end).rev().map(|(_, offset)| *offset);
        let cut: Vec<Offset> = line.take(most).take_while(|offset| !more(offset)).collect();
        let Some(order) = &mut self.order else { return };
        for offset in cut {
            order.keys.remove(offset);
            order.lines.remove(&(key, offset));
            order.rests.add(key, offset);
        }
    }
}
