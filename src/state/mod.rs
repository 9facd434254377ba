//! Everything there is to know about topics and groups, as a fold over the journal.
//!
//! # The fold
//!
//! [`State::apply`] takes the events one after the other, in the order of their LSNs, and is the only thing that
//! changes what is durable. It never fails: an event is something that has happened. What makes no sense to it (an
//! unknown topic or group, an ack of what is settled) changes nothing, so that every journal that can be decoded can be
//! applied. It reads no clock and rolls no dice, and what it does to one topic or group depends on that one alone, with
//! two exceptions: dropping a topic drops its groups, and an opening compares its boot id with the one before. So the
//! same journal always gives the same state, from its beginning as from any snapshot (see [`snapshot`]).
//!
//! Numbers of topics and groups are given once and never again: whoever appends a creation takes [`State::next_topic`]
//! or [`State::next_group`].
//!
//! # The volatile half
//!
//! Who holds which message until when is not stored: opening a store ends every lease of the process before. It hangs
//! on the groups (see `lease`), has methods of its own, and nothing of it finds its way into the durable half except
//! through an event that somebody decided to append.
//!
//! # Who does what
//!
//! `topic`: where messages lie. `group`: what a group is done with (`settled`, over `offsets`, `chunk`, `packed`), what
//! it remembers of the rest (`past`, `suspects`). `schedule`: what is delayed. `lease`, `pick`, `timely`: what is in
//! flight and what comes next; `order`, `turn`, `pick_ordered`: the same where keys are kept in order. `snapshot`: all
//! that in pieces. `counts`, `liveness`: questions that are answered from the sets when they are asked.

mod backlog;
mod chunk;
mod common;
mod counts;
mod deadlines;
mod fresh;
mod group;
mod keys;
mod lease;
mod leases;
mod liveness;
mod moved;
mod offsets;
mod order;
mod packed;
mod past;
mod pick;
mod pick_ordered;
mod presence;
mod priority;
mod rest;
mod schedule;
mod settled;
mod snapshot;
mod suspects;
#[cfg(test)]
mod tests;
mod timely;
mod topic;
mod turn;
mod values;

pub(crate) use counts::GroupCounts;
pub(crate) use group::Group;
pub(crate) use lease::{Hold, Lease, Pick};
#[cfg(test)]
pub(crate) use liveness::LOOKS;
pub(crate) use liveness::Live;
pub(crate) use offsets::OffsetSet;
pub(crate) use order::{KeyHash, Unread};
pub(crate) use past::{DeadLetter, History};
pub(crate) use snapshot::{MOST_PIECE, PartError, PartId};
pub(crate) use topic::{Extent, Topic};
pub(crate) use turn::Turn;
use values::Values;
pub(crate) use values::value_cost;

use crate::event::{CreateGroup, CreateTopic, Event, Opened, TablesTrusted};
use crate::types::{GroupId, Incarnation, Lsn, SegmentId, Timestamp, TopicId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct State {
    store: Store,
    topics: BTreeMap<TopicId, Topic>,
    groups: BTreeMap<GroupId, Group>,
    /// Which groups say they are of which topic, also of one that is not there.
    members: BTreeSet<(TopicId, GroupId)>,
    /// The groups by their names, of each topic.
    group_names: BTreeMap<(TopicId, Box<str>), GroupId>,
    /// The topics of each name. Only a journal that makes no sense has two of one name; the newer one has it then.
    names: BTreeMap<Box<str>, BTreeSet<TopicId>>,
    /// Parts of a snapshot that is being restored.
    restoring: BTreeMap<PartId, snapshot::Partial>,
}

/// What belongs to the store as a whole.
#[derive(Debug)]
struct Store {
    /// Up to where the part it was restored from is applied; zero if it was not restored.
    applied: Lsn,
    incarnation: Incarnation,
    boot_id: Box<str>,
    newest_time: Timestamp,
    next_topic: TopicId,
    next_group: GroupId,
    values: Values,
    trusted: Option<TablesTrusted>,
    /// When it was last opened.
    opened: Timestamp,
    /// By how many milliseconds ages lag behind the time, as of that opening.
    doubted: u64,
    /// The first segment with a message whose id is remembered; zero: there is none.
    ids_since: SegmentId,
    /// How many ids each table of processed ids ever had, by its number.
    processed: BTreeMap<u64, u64>,
    /// What each segment has of the ids of each table: two numbers and a time for each pair of both that there is.
    processed_in: BTreeMap<(SegmentId, u64), Tally>,
}

/// What a segment has of the processed ids of one table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) count: u64,
    /// When the latest of them was processed.
    pub(crate) latest: Timestamp,
    /// As the how-manieth of its table the last of them came.
    pub(crate) last: u64,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            applied: Lsn::ZERO,
            incarnation: Incarnation::ZERO,
            boot_id: "".into(),
            newest_time: Timestamp::ZERO,
            next_topic: TopicId(1),
            next_group: GroupId(1),
            values: Values::default(),
            trusted: None,
            opened: Timestamp::ZERO,
            doubted: 0,
            ids_since: SegmentId::ZERO,
            processed: BTreeMap::new(),
            processed_in: BTreeMap::new(),
        }
    }
}

impl State {
    /// Takes in the next event, which lies in the frame at `lsn`. See the module.
    #[inline]
    pub(crate) fn apply(&mut self, lsn: Lsn, event: &Event<'_>) {
        match event {
            // Most events are this one, and those who publish know that it is.
            Event::Publish(run) if run.is_plain() || (run.is_calm() && self.store.ids_since != SegmentId::ZERO) => {
                self.store.newest_time = self.store.newest_time.max(run.time);
                self.topic_at(lsn, run.topic, |topic| topic.publish(lsn.segment(), run));
            }
            event => self.apply_any(lsn, event),
        }
    }

    fn apply_any(&mut self, lsn: Lsn, event: &Event<'_>) {
        self.store.newest_time = self.store.newest_time.max(time_of(event));
        if self.store.applied < lsn {
            self.store.note_ids(lsn, event);
        }
        match event {
            Event::Publish(run) => self.topic_at(lsn, run.topic, |topic| topic.publish(lsn.segment(), run)),
            Event::Move(run) => self.topic_at(lsn, run.topic, |topic| topic.moved(lsn.segment(), run)),
            Event::Opened(event) => self.opened(lsn, event),
            Event::SegmentRetired(event) => {
                for topic in self.topics.values_mut().filter(|topic| topic.applied < lsn) {
                    topic.retire(event.segment);
                }
            }
            Event::TablesTrusted(event) if self.store.applied < lsn => self.store.trusted = Some(*event),
            Event::SetValue(event) if self.store.applied < lsn => {
                self.store.values.set(&event.key, event.value.as_deref())
            }
            Event::CreateTopic(event) => self.create_topic(lsn, event),
            Event::ConfigureTopic(event) => self.topic_at(lsn, event.topic, |topic| topic.configure(&event.settings)),
            Event::DropTopic(event) => self.drop_topic(lsn, event.topic),
            Event::Dropped(event) => {
                self.topic_at(lsn, event.topic, |topic| topic.drop_runs(event));
                self.groups_of(lsn, event.topic, |group| _ = group.settle(&event.runs));
            }
            Event::CreateGroup(event) => self.create_group(lsn, event),
            Event::ConfigureGroup(event) => self.group_at(lsn, event.group, |group| group.configure(&event.settings)),
            Event::DropGroup(event) => self.drop_group(lsn, event.group),
            Event::Ack(event) => self.group_at(lsn, event.group, |group| _ = group.settle(&event.runs)),
            Event::Settle(event) => self.group_at(lsn, event.group, |group| group.pass(event)),
            Event::Nack(event) => self.group_at(lsn, event.group, |group| group.nack(event)),
            Event::Release(event) => self.group_at(lsn, event.group, |group| group.release(event)),
            Event::Bury(event) => self.group_at(lsn, event.group, |group| group.bury(event)),
            Event::Redrive(event) => {
                self.group_at(lsn, event.group, |group| group.redrive(&event.runs));
                self.sleep_redriven(event.group, &event.runs);
            }
            Event::Seek(event) => self.group_at(lsn, event.group, |group| group.seek(event.to)),
            Event::Delivered(event) => self.group_at(lsn, event.group, |group| group.delivered(&event.runs)),
            Event::Unseen(event) => self.group_at(lsn, event.group, |group| group.unseen(&event.runs)),
            Event::Pause(event) => self.group_at(lsn, event.group, |group| group.paused_until = event.until),
            // Ids are the tables' business; pieces of snapshots are read before the journal is applied.
            Event::TablesTrusted(_)
            | Event::SetValue(_)
            | Event::KeepId(_)
            | Event::KeepProcessed(_)
            | Event::ForgetId(_)
            | Event::SnapshotPart(_)
            | Event::Unknown { .. } => {}
        }
    }

    fn topic_at(&mut self, lsn: Lsn, topic: TopicId, change: impl FnOnce(&mut Topic)) {
        if let Some(topic) = self.topics.get_mut(&topic).filter(|topic| topic.applied < lsn) {
            change(topic);
        }
    }

    fn group_at(&mut self, lsn: Lsn, group: GroupId, change: impl FnOnce(&mut Group)) {
        if let Some(group) = self.groups.get_mut(&group).filter(|group| group.applied < lsn) {
            change(group);
        }
    }

    /// Goes by what the groups say, not by the topic, which may be missing while the journal is applied to a snapshot.
    fn groups_of(&mut self, lsn: Lsn, topic: TopicId, mut change: impl FnMut(&mut Group)) {
        for id in members_of(&self.members, topic) {
            self.groups.get_mut(&id).filter(|group| group.applied < lsn).into_iter().for_each(&mut change);
        }
    }

    fn opened(&mut self, lsn: Lsn, event: &Opened<'_>) {
        let same_machine = !event.boot_id.is_empty() && event.boot_id == *self.store.boot_id;
        let crashed = same_machine && !event.clean;
        for group in self.groups.values_mut().filter(|group| group.applied < lsn) {
            group.opened(crashed);
        }
        if self.store.applied < lsn {
            self.store.incarnation = self.store.incarnation.max(event.incarnation);
            self.store.boot_id = event.boot_id.as_ref().into();
            (self.store.opened, self.store.doubted) = (event.time, event.doubted);
        }
    }

    fn create_topic(&mut self, lsn: Lsn, event: &CreateTopic<'_>) {
        self.note_topic(event.topic);
        if !self.topics.contains_key(&event.topic) {
            self.put_topic(Topic::new(lsn, event));
        }
    }

    fn create_group(&mut self, lsn: Lsn, event: &CreateGroup<'_>) {
        self.note_group(event.group);
        let has_topic = self.topics.get(&event.topic).is_some_and(|topic| topic.since <= lsn);
        if has_topic && !self.groups.contains_key(&event.group) {
            self.put_group(Group::new(event));
        }
    }

    fn drop_topic(&mut self, lsn: Lsn, id: TopicId) {
        if self.topics.get(&id).is_some_and(|topic| topic.applied < lsn) {
            self.take_topic(id);
        }
        let gone = |group: &GroupId| self.groups.get(group).is_some_and(|group| group.applied < lsn);
        let gone: Vec<GroupId> = members_of(&self.members, id).filter(gone).collect();
        gone.into_iter().for_each(|group| self.take_group(group));
    }

    fn drop_group(&mut self, lsn: Lsn, id: GroupId) {
        if self.groups.get(&id).is_some_and(|group| group.applied < lsn) {
            self.take_group(id);
        }
    }

    fn note_topic(&mut self, id: TopicId) {
        self.store.next_topic = self.store.next_topic.max(TopicId(id.0.saturating_add(1)));
    }

    fn note_group(&mut self, id: GroupId) {
        self.store.next_group = self.store.next_group.max(GroupId(id.0.saturating_add(1)));
    }

    /// Puts a topic in its place, with everything that follows from it.
    fn put_topic(&mut self, mut topic: Topic) {
        self.note_topic(topic.id);
        self.take_topic(topic.id);
        topic.groups = members_of(&self.members, topic.id).collect();
        self.names.entry(topic.name.clone()).or_default().insert(topic.id);
        self.topics.insert(topic.id, topic);
    }

    fn take_topic(&mut self, id: TopicId) {
        let Some(topic) = self.topics.remove(&id) else { return };
        if let Some(ids) = self.names.get_mut(&topic.name) {
            ids.remove(&id);
            if ids.is_empty() {
                self.names.remove(&topic.name);
            }
        }
    }

    /// Puts a group in its place, with everything that follows from it.
    fn put_group(&mut self, group: Group) {
        self.note_group(group.id);
        self.take_group(group.id);
        if let Some(topic) = self.topics.get_mut(&group.topic) {
            topic.add_group(group.id);
        }
        self.members.insert((group.topic, group.id));
        self.group_names.insert((group.topic, group.name.clone()), group.id);
        self.groups.insert(group.id, group);
    }

    fn take_group(&mut self, id: GroupId) {
        let Some(group) = self.groups.remove(&id) else { return };
        self.members.remove(&(group.topic, id));
        let named = (group.topic, group.name);
        if self.group_names.get(&named) == Some(&id) {
            self.group_names.remove(&named);
        }
        if let Some(topic) = self.topics.get_mut(&group.topic) {
            topic.remove_group(id);
        }
    }

    /// How many times the store was opened for writing.
    pub(crate) const fn incarnation(&self) -> Incarnation {
        self.store.incarnation
    }

    /// The boot id of the machine at the last opening.
    pub(crate) fn boot_id(&self) -> &str {
        &self.store.boot_id
    }

    /// The largest time that any event named.
    pub(crate) const fn newest_time(&self) -> Timestamp {
        self.store.newest_time
    }

    /// When the store was last opened, and by how many milliseconds ages lag behind the time since then.
    pub(crate) const fn last_opening(&self) -> (Timestamp, u64) {
        (self.store.opened, self.store.doubted)
    }

    /// The number that the next topic gets.
    pub(crate) const fn next_topic(&self) -> TopicId {
        self.store.next_topic
    }

    /// The number that the next group gets.
    pub(crate) const fn next_group(&self) -> GroupId {
        self.store.next_group
    }

    /// Up to where the tables hold everything, if they hold the same checkpoint.
    pub(crate) const fn tables_trusted(&self) -> Option<&TablesTrusted> {
        self.store.trusted.as_ref()
    }

    /// The first segment with a message whose id is remembered, if there is one.
    pub(crate) fn ids_since(&self) -> Option<SegmentId> {
        Some(self.store.ids_since).filter(|since| *since != SegmentId::ZERO)
    }

    /// How many ids a table of processed ids ever had.
    pub(crate) fn processed(&self, table: u64) -> u64 {
        self.store.processed.get(&table).copied().unwrap_or(0)
    }

    /// What each segment has of the processed ids of each table.
    pub(crate) const fn processed_in(&self) -> &BTreeMap<(SegmentId, u64), Tally> {
        &self.store.processed_in
    }

    /// Whether any id was ever processed.
    pub(crate) fn has_processed(&self) -> bool {
        !self.store.processed.is_empty()
    }

    /// A value of the application.
    pub(crate) fn value(&self, key: &str) -> Option<&[u8]> {
        self.store.values.get(key)
    }

    /// The keys of values that begin with `prefix`, in their order.
    pub(crate) fn keys<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        let keys = self.store.values.by_key().range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        keys.map(|(key, _)| key.as_ref()).take_while(move |key| key.starts_with(prefix))
    }

    /// What all values take together.
    pub(crate) const fn value_bytes(&self) -> u64 {
        self.store.values.bytes()
    }

    pub(crate) fn topic_named(&self, name: &str) -> Option<TopicId> {
        self.names.get(name)?.last().copied()
    }

    pub(crate) fn topic(&self, id: TopicId) -> Option<&Topic> {
        self.topics.get(&id)
    }

    /// In the order of their numbers.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.topics.values()
    }

    pub(crate) fn group_named(&self, topic: TopicId, name: &str) -> Option<GroupId> {
        self.topics.get(&topic)?;
        self.group_names.get(&(topic, name.into())).copied()
    }

    pub(crate) fn group(&self, id: GroupId) -> Option<&Group> {
        self.groups.get(&id)
    }

    /// For the volatile half: whatever is durable changes by [`State::apply`] alone.
    pub(crate) fn group_mut(&mut self, id: GroupId) -> Option<&mut Group> {
        self.groups.get_mut(&id)
    }

    /// In the order of their numbers.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.values()
    }
}

/// The groups of a topic, in the order of their numbers.
fn members_of(members: &BTreeSet<(TopicId, GroupId)>, topic: TopicId) -> impl Iterator<Item = GroupId> {
    members.range((topic, GroupId(0))..=(topic, GroupId(u32::MAX))).map(|(_, group)| *group)
}

impl Store {
    fn note_ids(&mut self, lsn: Lsn, event: &Event<'_>) {
        if self.ids_since == SegmentId::ZERO && event.has_identity() {
            self.ids_since = lsn.segment();
        }
        event.processed(|processed| {
            let count = self.processed.entry(processed.table).or_default();
            *count = (*count).max(processed.sequence);
            let tally = self.processed_in.entry((lsn.segment(), processed.table)).or_default();
            tally.count = tally.count.saturating_add(1);
            (tally.latest, tally.last) = (tally.latest.max(processed.time), tally.last.max(processed.sequence));
        });
        if let Event::SegmentRetired(event) = event {
            self.processed_in.retain(|(segment, _), _| *segment != event.segment);
        }
    }
}

/// The time that an event says it happened at; zero if it says none.
fn time_of(event: &Event<'_>) -> Timestamp {
    match event {
        Event::Publish(event) | Event::Move(event) => event.time,
        Event::Opened(event) => event.time,
        Event::CreateTopic(event) => event.time,
        Event::CreateGroup(event) => event.time,
        Event::Ack(event) => event.time,
        Event::Nack(event) => event.time,
        Event::Bury(event) => event.time,
        Event::Redrive(event) => event.time,
        Event::KeepId(event) => event.time,
        Event::KeepProcessed(event) => event.time,
        Event::ForgetId(event) => event.time,
        _ => Timestamp::ZERO,
    }
}
