//! A topic: its number and name, where its messages lie, and what a policy dropped of it.

use super::past::ByCause;
use super::schedule::Schedule;
use super::settled::Settled;
use crate::config::{Durability, TopicPolicy};
use crate::event::{self, Cause, CreateTopic, Dropped, Patch, Published};
use crate::types::{GroupId, Lsn, Offset, SegmentId, Timestamp, TopicId};
use serde::{Deserialize, Serialize};

/// Messages of one topic in one segment.
///
/// Those of one that was published are dense, unless the journal was damaged between them; those of one that was
/// moved have holes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Extent {
    pub(crate) segment: SegmentId,
    pub(crate) first: Offset,
    /// The last of them, not the one after it.
    pub(crate) last: Offset,
    /// How many messages it holds.
    pub(crate) count: u64,
    /// The sum of their contents.
    pub(crate) bytes: u64,
}

impl Extent {
    fn covers(&self, offset: Offset) -> bool {
        (self.first..=self.last).contains(&offset)
    }

    /// Takes on a run that follows it in the same segment.
    fn append(&mut self, last: Offset, count: u64, bytes: u64) {
        self.last = self.last.max(last);
        self.count = self.count.saturating_add(count);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    /// Up to where the part it was restored from is applied; zero if it was not restored.
    pub(super) applied: Lsn,
    /// Where it was created.
    pub(super) since: Lsn,
    pub(super) id: TopicId,
    pub(super) name: Box<str>,
    pub(super) created: Timestamp,
    pub(super) settings: Patch,
    /// Follows from the settings.
    pub(super) policy: TopicPolicy,
    pub(super) end: Offset,
    /// As published: rising and disjoint, in offsets and in segments.
    pub(super) extents: Vec<Extent>,
    /// As carried over: in the order of the journal, so that the last one that has an offset wins.
    pub(super) moved: Vec<Extent>,
    /// Follows from the groups.
    pub(super) groups: Vec<GroupId>,
    /// What policies dropped for everybody.
    pub(super) gone: Settled,
    /// How many, by cause.
    pub(super) dropped: ByCause,
    /// What is delayed.
    pub(super) schedule: Schedule,
    /// Whether there was ever a message that expires.
    pub(super) expires: bool,
}

impl Topic {
    pub(super) fn new(lsn: Lsn, event: &CreateTopic<'_>) -> Self {
        Self {
            applied: Lsn::ZERO,
            since: lsn,
            id: event.topic,
            name: event.name.as_ref().into(),
            created: event.time,
            settings: Patch::new(),
            policy: TopicPolicy::default(),
            end: Offset::ZERO,
            extents: Vec::new(),
            moved: Vec::new(),
            groups: Vec::new(),
            gone: Settled::default(),
            dropped: ByCause::default(),
            schedule: Schedule::default(),
            expires: false,
        }
        .configured(&event.settings)
    }

    /// With what `patch` sets.
    pub(super) fn configured(mut self, patch: &Patch) -> Self {
        self.configure(patch);
        self
    }

    pub(super) fn configure(&mut self, patch: &Patch) {
        event::merge(&mut self.settings, patch);
        self.policy = event::patch_topic_policy(self.policy, patch);
    }

    pub(super) fn publish(&mut self, segment: SegmentId, run: &Published<'_>) {
        if run.count == 0 || run.first < self.end {
            return;
        }
        let last = run.first.plus(run.count - 1);
        self.end = last.next();
        self.note_times(run);
        match self.extents.last_mut() {
            Some(extent) if extent.segment == segment => extent.append(last, run.count, run.bytes),
            _ => {
                self.extents.push(Extent { segment, first: run.first, last, count: run.count, bytes: run.bytes });
            }
        }
    }

    /// Messages that were carried over lie in `segment` from now on.
    ///
    /// Taken as the run of `count` from `first` on: until cleaning writes sparse moves, they are dense.
    pub(super) fn moved(&mut self, segment: SegmentId, run: &Published<'_>) {
        if run.count == 0 {
            return;
        }
        let last = run.first.plus(run.count - 1);
        self.end = self.end.max(last.next());
        self.note_times(run);
        match self.moved.last_mut() {
            Some(extent) if extent.segment == segment && extent.last.next() == run.first => {
                extent.append(last, run.count, run.bytes);
            }
            _ => self.moved.push(Extent { segment, first: run.first, last, count: run.count, bytes: run.bytes }),
        }
    }

    fn note_times(&mut self, run: &Published<'_>) {
        for timing in run.timings() {
            self.expires |= timing.expiry.is_some();
            if let Some(due) = timing.due.filter(|_| !self.gone.contains(timing.offset)) {
                self.schedule.add(timing.offset, due);
            }
        }
    }

    pub(super) fn retire(&mut self, segment: SegmentId) {
        self.extents.retain(|extent| extent.segment != segment);
        self.moved.retain(|extent| extent.segment != segment);
    }

    pub(super) fn drop_runs(&mut self, event: &Dropped<'_>) {
        // What is lost was published once, even where nothing of it is left: its offsets are not given again.
        if event.cause == event::Cause::Lost {
            self.end = event.runs.iter().map(|run| run.end()).fold(self.end, Offset::max);
        }
        let newly = event.runs.iter().map(|run| self.gone.settle(*run)).fold(0, u64::saturating_add);
        self.dropped.add(event.cause, newly);
        event.runs.iter().for_each(|run| self.schedule.forget(*run));
    }

    pub(crate) const fn id(&self) -> TopicId {
        self.id
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) const fn created(&self) -> Timestamp {
        self.created
    }

    /// Every setting that was ever given, unknown ones included.
    pub(crate) const fn settings(&self) -> &Patch {
        &self.settings
    }

    /// Where a message must be when its publish resolves, if the topic says so.
    pub(crate) const fn durability(&self) -> Option<Durability> {
        self.policy.durability
    }

    pub(crate) const fn policy(&self) -> &TopicPolicy {
        &self.policy
    }

    /// The offset that the next message gets.
    pub(crate) const fn end(&self) -> Offset {
        self.end
    }

    /// What policies dropped for everybody, and what was written down as settled by everybody.
    pub(crate) const fn gone(&self) -> &Settled {
        &self.gone
    }

    /// How many messages were dropped for this cause.
    pub(crate) fn dropped(&self, cause: Cause) -> u64 {
        self.dropped.get(cause)
    }

    /// The topic's groups, in the order of their numbers.
    pub(crate) fn groups(&self) -> &[GroupId] {
        &self.groups
    }

    /// What is delayed.
    pub(crate) const fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Whether there was ever a message that expires.
    pub(crate) const fn expires(&self) -> bool {
        self.expires
    }

    /// The segment that holds a message, the newest if there are several.
    pub(crate) fn extent_of(&self, offset: Offset) -> Option<SegmentId> {
        let moved = self.moved.iter().rev().find(|extent| extent.covers(offset));
        let published = || {
            let after = self.extents.partition_point(|extent| extent.last < offset);
            self.extents.get(after).filter(|extent| extent.covers(offset))
        };
        moved.or_else(published).map(|extent| extent.segment)
    }

    /// Everything that is stored of the topic, published or moved.
    pub(crate) fn extents(&self) -> impl Iterator<Item = &Extent> {
        self.extents.iter().chain(&self.moved)
    }

    /// What is stored as it was published: rising and disjoint.
    pub(crate) fn published(&self) -> &[Extent] {
        &self.extents
    }

    pub(super) fn add_group(&mut self, group: GroupId) {
        if let Err(place) = self.groups.binary_search(&group) {
            self.groups.insert(place, group);
        }
    }

    pub(super) fn remove_group(&mut self, group: GroupId) {
        self.groups.retain(|kept| *kept != group);
    }
}
