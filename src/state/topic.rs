//! A topic: its number and name, where its messages lie, and what a policy dropped of it.

use super::moved::Moved;
use super::past::ByCause;
use super::priority::Levels;
use super::schedule::Schedule;
use super::settled::Settled;
use crate::config::{Durability, TopicPolicy};
use crate::event::{self, Cause, CreateTopic, Dropped, Patch, Published, Run};
use crate::types::{GroupId, Lsn, Offset, SegmentId, Timestamp, TopicId};
use serde::{Deserialize, Serialize};

/// Messages of one topic in one segment, as they were published: dense, unless the journal was damaged between them.
/// Those that were moved are in [`Moved`].
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

    /// The bytes of so many of them, if all are alike.
    pub(super) fn share(&self, count: u64) -> u64 {
        let share = u128::from(self.bytes) * u128::from(count) / u128::from(self.count.max(1));
        u64::try_from(share).unwrap_or(self.bytes)
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
    /// As carried over.
    pub(super) moved: Moved,
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
    /// What is above the ordinary priority.
    pub(super) levels: Levels,
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
            moved: Moved::default(),
            groups: Vec::new(),
            gone: Settled::default(),
            dropped: ByCause::default(),
            schedule: Schedule::default(),
            expires: false,
            levels: Levels::default(),
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
        if !run.is_calm() {
            self.note_times(run);
            self.levels.note(run, self.policy.levels);
        }
        match self.extents.last_mut() {
            Some(extent) if extent.segment == segment => extent.append(last, run.count, run.bytes),
            _ => {
                self.extents.push(Extent { segment, first: run.first, last, count: run.count, bytes: run.bytes });
            }
        }
    }

    /// Messages that were carried over lie in `segment` from now on. What is gone is none of them, and what else there
    /// is to know of them was known when they were published.
    pub(super) fn moved(&mut self, segment: SegmentId, run: &Published<'_>) {
        if run.count == 0 {
            return;
        }
        self.end = self.end.max(run.end);
        let gone = &self.gone;
        let here = run.runs().flat_map(|run| gone.unsettled_runs(run));
        self.moved.add(segment, here, run.bytes);
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
        self.moved.retire(segment);
    }

    pub(super) fn drop_runs(&mut self, event: &Dropped<'_>) {
        // What is lost, or was settled elsewhere before the topic was restored here, was published once, even where
        // nothing of it is left: its offsets are not given again.
        if matches!(event.cause, Cause::Lost | Cause::Settled) {
            self.end = event.runs.iter().map(|run| run.end()).fold(self.end, Offset::max);
        }
        let newly = event.runs.iter().map(|run| self.gone.settle(*run)).fold(0, u64::saturating_add);
        self.dropped.add(event.cause, newly);
        event.runs.iter().for_each(|run| {
            self.schedule.forget(*run);
            self.levels.forget(*run);
        });
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

    /// What is above the ordinary priority.
    pub(crate) const fn levels(&self) -> &Levels {
        &self.levels
    }

    /// The segment that holds a message, the newest if there are several.
    pub(crate) fn extent_of(&self, offset: Offset) -> Option<SegmentId> {
        let published = || {
            let after = self.extents.partition_point(|extent| extent.last < offset);
            self.extents.get(after).filter(|extent| extent.covers(offset)).map(|extent| extent.segment)
        };
        self.moved.segment_of(offset).or_else(published)
    }

    /// What was moved, and where to.
    pub(crate) const fn places(&self) -> &Moved {
        &self.moved
    }

    /// The sum of the contents of what is stored of the topic.
    pub(crate) fn bytes(&self) -> u64 {
        let published = self.extents.iter().map(|extent| {
            let span = Run { first: extent.first, count: extent.last.next().since(extent.first) };
            extent.share(extent.count.saturating_sub(self.moved.all().count_in(span)))
        });
        let moved = self.moved.places().iter().map(|place| place.bytes);
        published.chain(moved).fold(0, u64::saturating_add)
    }

    /// What is stored as it was published: rising and disjoint. What was moved since is still counted.
    pub(crate) fn extents(&self) -> impl Iterator<Item = &Extent> {
        self.extents.iter()
    }

    /// The same.
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
