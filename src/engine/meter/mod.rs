//! Counting what happens, where it happens: under the lock that is held there anyway, with an add for each message and
//! at most one look at the clock for each call.
//!
//! A store has as many counters as it has topics and groups, up to a bound: those that come later are counted together.
//! All counters begin at zero when the store is opened.

mod snapshot;

pub use snapshot::{GroupMetrics, Metrics, TopicMetrics};

use super::{Core, Engine};
use crate::event::Event;
use crate::histogram::Histogram;
use crate::types::{GroupId, Timestamp, TopicId};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// So many topics, and so many groups, have counters of their own: six kilobytes a group that settles. It is also the
/// most label sets that a scrape of the metrics brings.
pub(crate) const METERED_MAX: usize = 1024;

/// What is known of a message when it is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Age {
    /// When it was published, the first time.
    pub(crate) published: Timestamp,
    /// When it was handed out.
    pub(crate) granted: Timestamp,
    /// Whether that was the first time.
    pub(crate) first: bool,
}

/// What is counted of a topic.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OfTopic {
    pub(super) published: u64,
    pub(super) bytes: u64,
    pub(super) duplicates: u64,
}

/// What is counted of a group.
#[derive(Clone, Debug, Default)]
pub(super) struct OfGroup {
    pub(super) delivered: u64,
    pub(super) redelivered: u64,
    pub(super) acked: u64,
    pub(super) failed: u64,
    pub(super) timed_out: u64,
    pub(super) released: u64,
    pub(super) buried: u64,
    pub(super) redriven: u64,
    /// Made when the first message is settled: most of the size.
    pub(super) spans: Option<Box<Spans>>,
}

/// How long things took, in milliseconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Spans {
    pub(super) wait: Histogram,
    pub(super) processing: Histogram,
    pub(super) end_to_end: Histogram,
}

/// The numbers of topics and groups are small and dense: they are spread enough as they are.
#[derive(Clone, Copy, Debug, Default)]
struct Plain(u64);

impl Hasher for Plain {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }
    fn write_u32(&mut self, number: u32) {
        self.0 = u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
    fn write_u64(&mut self, number: u64) {
        self.0 = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

/// A bounded table of counters.
#[derive(Debug)]
struct Table<K, V> {
    places: HashMap<K, usize, BuildHasherDefault<Plain>>,
    each: Vec<(K, V)>,
    /// The place that was asked for last: mostly the next one too.
    last: usize,
    others: V,
}

impl<K, V: Default> Default for Table<K, V> {
    fn default() -> Self {
        Self { places: HashMap::default(), each: Vec::new(), last: 0, others: V::default() }
    }
}

impl<K: Copy + Eq + Hash + Ord, V: Default> Table<K, V> {
    #[inline]
    fn of(&mut self, key: K) -> &mut V {
        if self.each.get(self.last).is_none_or(|(of, _)| *of != key) {
            self.last = self.find(key);
        }
        self.each.get_mut(self.last).map_or(&mut self.others, |(_, value)| value)
    }

    /// The place of one; beyond all if it has none.
    fn find(&mut self, key: K) -> usize {
        if let Some(place) = self.places.get(&key) {
            return *place;
        }
        if self.each.len() >= METERED_MAX {
            return usize::MAX;
        }
        self.each.push((key, V::default()));
        self.places.insert(key, self.each.len() - 1);
        self.each.len() - 1
    }

    fn remove(&mut self, key: K) {
        let Some(place) = self.places.remove(&key) else { return };
        self.each.swap_remove(place);
        if let Some((moved, _)) = self.each.get(place) {
            self.places.insert(*moved, place);
        }
        self.last = usize::MAX;
    }

    /// All of them, by number.
    fn sorted(&self) -> Vec<&(K, V)> {
        let mut all: Vec<&(K, V)> = self.each.iter().collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        all
    }

    fn is_full(&self) -> bool {
        self.each.len() >= METERED_MAX
    }
}

/// Everything that is counted under the engine's lock.
#[derive(Debug)]
pub(super) struct Meters {
    topics: Table<TopicId, OfTopic>,
    groups: Table<GroupId, OfGroup>,
    /// Commits that wrote something, by what they wrote, in bytes; and syncs by how long they took, in microseconds.
    pub(super) commits: Histogram,
    pub(super) syncs: Histogram,
    /// Settlements that were refused because the lease was lost.
    pub(super) stale: u64,
}

impl Default for Meters {
    fn default() -> Self {
        let (topics, groups) = (Table::default(), Table::default());
        Self { topics, groups, commits: Histogram::bytes(), syncs: Histogram::micros(), stale: 0 }
    }
}

impl Meters {
    /// An event is applied.
    #[inline]
    pub(super) fn saw(&mut self, event: &Event<'_>) {
        match event {
            Event::Publish(run) => self.published(run.topic, run.count, run.bytes),
            Event::Ack(event) => {
                let count: u64 = event.runs.iter().map(|run| run.count).sum();
                self.groups.of(event.group).acked += count;
            }
            Event::Nack(event) => self.groups.of(event.group).failed += 1,
            Event::Bury(event) => self.groups.of(event.group).buried += 1,
            Event::Release(event) => {
                let count: u64 = event.runs.iter().map(|run| run.count).sum();
                self.groups.of(event.group).released += count;
            }
            Event::Redrive(event) => {
                let count: u64 = event.runs.iter().map(|run| run.count).sum();
                self.groups.of(event.group).redriven += count;
            }
            Event::DropTopic(event) => self.topics.remove(event.topic),
            Event::DropGroup(event) => self.groups.remove(event.group),
            _ => {}
        }
    }

    #[inline]
    pub(super) fn published(&mut self, topic: TopicId, count: u64, bytes: u64) {
        let topic = self.topics.of(topic);
        topic.published += count;
        topic.bytes += bytes;
    }

    pub(super) fn duplicates(&mut self, topic: TopicId, count: u64) {
        self.topics.of(topic).duplicates += count;
    }

    #[inline]
    pub(super) fn delivered(&mut self, group: GroupId, count: u64, again: u64) {
        let group = self.groups.of(group);
        group.delivered += count;
        group.redelivered += again;
    }

    pub(super) fn timed_out(&mut self, group: GroupId) {
        self.groups.of(group).timed_out += 1;
    }

    /// Messages are settled that were handled: done, or not.
    #[inline]
    pub(super) fn handled(&mut self, group: GroupId, ages: &[Age], now: Timestamp, done: bool) {
        if ages.is_empty() {
            return;
        }
        let spans = self.groups.of(group).spans.get_or_insert_with(Box::default);
        // Messages of a batch were mostly published together, and handed out together.
        for alike in ages.chunk_by(|left, right| left == right) {
            let (Some(age), count) = (alike.first(), alike.len() as u64) else { continue };
            spans.processing.add(millis(age.granted, now), count);
            if done {
                spans.end_to_end.add(millis(age.published, now), count);
            }
            if age.first {
                spans.wait.add(millis(age.published, age.granted), count);
            }
        }
    }
}

fn millis(from: Timestamp, to: Timestamp) -> u64 {
    to.0.saturating_sub(from.0)
}

impl Engine {
    /// Counts how long messages took that are settled now.
    #[inline]
    pub(super) fn meter(&self, core: &mut Core, group: GroupId, ages: &[Age], done: bool) {
        if !ages.is_empty() {
            core.meters.handled(group, ages, self.now(), done);
        }
    }
}
