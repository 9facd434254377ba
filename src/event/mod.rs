//! Every fact that the journal can hold, and its bytes.
//!
//! An event is something that *happened*: whatever had to be decided (is the lease valid, when is the retry due, what
//! does a policy drop) was decided before, so that applying it neither refuses nor reads a clock.
//!
//! The format page is in three places: `codec` draws the bytes of the events, `publish` those of messages and their
//! checks, `attributes` those of what a message carries besides its payload. `wire` has the numbers, `settings` the
//! tags.

mod attributes;
mod codec;
mod draft;
mod extend;
mod filter_setting;
mod flow_settings;
#[cfg(test)]
mod golden;
mod identities;
mod plain;
#[cfg(test)]
mod properties;
mod publish;
mod runs;
mod settings;
mod slots;
#[cfg(test)]
mod strategies;
mod timing;
mod wire;

pub(crate) use codec::{Sight, encode, events, only_published, sight};
pub(crate) use draft::{Draft, ROOM, Stamp};
pub(crate) use extend::read_extended;
pub(crate) use identities::{Identity, Processed, table_of};
pub(crate) use plain::{Bare, Identified, Plain};
pub(crate) use publish::{MessageView, Published};
pub(crate) use settings::{
    forward_setting, group_patch, is_retention, merge, names_others, patch_group_policy, patch_topic_policy,
    processed_table_setting, topic_patch,
};
pub(crate) use wire::DecodeError;

use crate::types::{GroupId, Incarnation, Lsn, Offset, SegmentId, Timestamp, TopicId};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// A run of offsets: `first` and the `count - 1` after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Run {
    pub(crate) first: Offset,
    pub(crate) count: u64,
}

impl Run {
    pub(crate) const fn one(offset: Offset) -> Self {
        Self { first: offset, count: 1 }
    }

    /// The offset after the last of the run.
    pub(crate) const fn end(self) -> Offset {
        self.first.plus(self.count)
    }

    /// What of it lies in another one; an empty run if nothing does.
    pub(crate) fn within(self, other: Self) -> Self {
        let first = self.first.max(other.first);
        Self { first, count: self.end().min(other.end()).since(first) }
    }
}

/// Rising, disjoint runs. On disk each starts with its distance from the end of the one before.
pub(crate) type Runs<'a> = Cow<'a, [Run]>;

/// What has happened to one message in one group; each counts on its own and is shown on its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counters {
    /// Times it was handed out.
    pub(crate) leases: u32,
    /// Times its handling failed.
    pub(crate) failures: u32,
    /// Times its lease ran out while the process lived.
    pub(crate) timeouts: u32,
    /// Deaths of the process that are laid to it.
    pub(crate) crashes: u32,
}

/// Why a group gave up on a message. Numbers are stored; new ones only at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
#[repr(u8)]
pub(crate) enum BuryReason {
    /// The consumer said so.
    Asked = 0,
    /// It failed as often as the retry policy allows.
    Failures = 1,
    /// Its lease ran out as often as the limit allows.
    Timeouts = 2,
    /// It brought the process down as often as the limit allows.
    Crashes = 3,
    /// Its bytes could not be read back whole.
    Unreadable = 4,
    /// An earlier message of its key was parked.
    KeyParked = 5,
}

impl From<BuryReason> for u8 {
    fn from(reason: BuryReason) -> Self {
        reason as Self
    }
}

impl TryFrom<u8> for BuryReason {
    type Error = DecodeError;

    fn try_from(number: u8) -> Result<Self, DecodeError> {
        Ok(match number {
            0 => Self::Asked,
            1 => Self::Failures,
            2 => Self::Timeouts,
            3 => Self::Crashes,
            4 => Self::Unreadable,
            5 => Self::KeyParked,
            _ => return Err(DecodeError::BadValue { what: "the reason of a burial", value: number.into() }),
        })
    }
}

/// Why a message was settled without being handed out, or dropped. Numbers are stored; new ones only at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
#[repr(u8)]
pub(crate) enum Cause {
    Expired = 0,
    Filtered = 1,
    Age = 2,
    Bytes = 3,
    Count = 4,
    Overflow = 5,
    Purged = 6,
    Cancelled = 7,
    Processed = 8,
    Settled = 9,
    Lost = 10,
}

impl Cause {
    /// All of them, in the order of their numbers.
    pub(crate) const ALL: [Self; 11] = [
        Self::Expired,
        Self::Filtered,
        Self::Age,
        Self::Bytes,
        Self::Count,
        Self::Overflow,
        Self::Purged,
        Self::Cancelled,
        Self::Processed,
        Self::Settled,
        Self::Lost,
    ];
}

impl From<Cause> for u8 {
    fn from(cause: Cause) -> Self {
        cause as Self
    }
}

impl TryFrom<u8> for Cause {
    type Error = DecodeError;

    fn try_from(number: u8) -> Result<Self, DecodeError> {
        Ok(match number {
            0 => Self::Expired,
            1 => Self::Filtered,
            2 => Self::Age,
            3 => Self::Bytes,
            4 => Self::Count,
            5 => Self::Overflow,
            6 => Self::Purged,
            7 => Self::Cancelled,
            8 => Self::Processed,
            9 => Self::Settled,
            10 => Self::Lost,
            _ => return Err(DecodeError::BadValue { what: "the cause of a settlement", value: number.into() }),
        })
    }
}

/// The store was opened for writing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Opened<'a> {
    pub(crate) incarnation: Incarnation,
    pub(crate) time: Timestamp,
    #[serde(borrow)]
    pub(crate) boot_id: Cow<'a, str>,
    /// Whether the opening before this one ended with a clean close.
    pub(crate) clean: bool,
    /// Milliseconds by which the age of messages lags behind `time`: the clock was ahead by so much more than is
    /// believed. Left out if it is zero, so that most openings are as they always were.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) doubted: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde asks for")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A segment is dead: its file may go once this is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SegmentRetired {
    pub(crate) segment: SegmentId,
}

/// The tables hold everything up to `upto`, if they hold the same checkpoint id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TablesTrusted {
    pub(crate) upto: Lsn,
    pub(crate) checkpoint: [u8; 16],
}

/// A setting: a tag that keeps its meaning for ever, and its values. See `codec` for the tags.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Setting {
    pub(crate) tag: u16,
    pub(crate) values: Vec<u64>,
}

/// What is changed of a topic's or group's settings; tags not named keep their value.
pub(crate) type Patch = Vec<Setting>;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CreateTopic<'a> {
    pub(crate) topic: TopicId,
    pub(crate) time: Timestamp,
    #[serde(borrow)]
    pub(crate) name: Cow<'a, str>,
    pub(crate) settings: Patch,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConfigureTopic {
    pub(crate) topic: TopicId,
    pub(crate) settings: Patch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DropTopic {
    pub(crate) topic: TopicId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CreateGroup<'a> {
    pub(crate) group: GroupId,
    pub(crate) topic: TopicId,
    pub(crate) time: Timestamp,
    /// Everything before this offset counts as settled.
    pub(crate) start: Offset,
    #[serde(borrow)]
    pub(crate) name: Cow<'a, str>,
    pub(crate) settings: Patch,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConfigureGroup {
    pub(crate) group: GroupId,
    pub(crate) settings: Patch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DropGroup {
    pub(crate) group: GroupId,
}

/// Messages are done with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ack<'a> {
    pub(crate) group: GroupId,
    #[serde(with = "runs")]
    pub(crate) runs: Runs<'a>,
    /// Hashes of the ids to be kept as processed; empty if the group keeps none.
    pub(crate) processed: Cow<'a, [[u8; 16]]>,
    /// When, if `processed` is not empty.
    pub(crate) time: Timestamp,
    /// The number of the first of `processed` among all that its table ever had; they count from 1. Left out, as is
    /// what follows, if nothing is processed, so that most acks are as they always were.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) sequence: u64,
    /// The table that several groups share; zero: the group's own.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) table: u64,
}

impl<'a> Ack<'a> {
    /// Messages of a group that keeps no ids, or that have none.
    pub(crate) const fn done(group: GroupId, runs: Runs<'a>) -> Self {
        Self { group, runs, processed: Cow::Borrowed(&[]), time: Timestamp::ZERO, sequence: 0, table: 0 }
    }
}

/// A message's lease ended badly; it is tried again at `due`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Nack<'a> {
    pub(crate) group: GroupId,
    pub(crate) offset: Offset,
    /// As they stand after this.
    pub(crate) counters: Counters,
    pub(crate) time: Timestamp,
    pub(crate) due: Timestamp,
    #[serde(borrow)]
    pub(crate) error: Cow<'a, str>,
}

/// Messages are given back unharmed; with a due time, not to be handed out before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Release<'a> {
    pub(crate) group: GroupId,
    #[serde(with = "runs")]
    pub(crate) runs: Runs<'a>,
    /// Zero: at once.
    pub(crate) due: Timestamp,
    /// As they stand after this, the same for each; none: as they were.
    pub(crate) counters: Option<Counters>,
}

/// A message is parked as a dead letter of the group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bury<'a> {
    pub(crate) group: GroupId,
    pub(crate) offset: Offset,
    pub(crate) reason: BuryReason,
    pub(crate) counters: Counters,
    pub(crate) life: u32,
    pub(crate) time: Timestamp,
    #[serde(borrow)]
    pub(crate) error: Cow<'a, str>,
}

/// Dead letters are deliverable again, in a new life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Redrive<'a> {
    pub(crate) group: GroupId,
    #[serde(with = "runs")]
    pub(crate) runs: Runs<'a>,
    pub(crate) time: Timestamp,
}

/// The group goes on from `to`: everything before is settled, everything from there on is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seek {
    pub(crate) group: GroupId,
    pub(crate) to: Offset,
}

/// Messages are settled for a group without having been handed out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settle<'a> {
    pub(crate) group: GroupId,
    #[serde(with = "runs")]
    pub(crate) runs: Runs<'a>,
    pub(crate) cause: Cause,
}

/// Messages are in the hands of a consumer, or may be before the next such event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Delivered<'a> {
    pub(crate) group: GroupId,
    #[serde(with = "runs")]
    pub(crate) runs: Runs<'a>,
}

/// Messages that were named as [`Delivered`] are in nobody's hands, and nobody has seen them. Whoever is suspect stays
/// so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unseen<'a> {
    pub(crate) group: GroupId,
    #[serde(with = "runs")]
    pub(crate) runs: Runs<'a>,
}

/// The group hands out nothing until `until` (`u64::MAX`: until told otherwise; zero: it goes on at once).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pause {
    pub(crate) group: GroupId,
    pub(crate) until: Timestamp,
}

/// An id that is in its window, carried over from a segment that is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeepId {
    pub(crate) topic: TopicId,
    pub(crate) offset: Offset,
    pub(crate) time: Timestamp,
    pub(crate) id_hash: [u8; 16],
    pub(crate) payload_hash: [u8; 16],
}

/// A processed id, carried over likewise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeepProcessed {
    pub(crate) group: GroupId,
    pub(crate) time: Timestamp,
    pub(crate) id_hash: [u8; 16],
    /// As in the ack.
    pub(crate) sequence: u64,
    pub(crate) table: u64,
}

/// The id of a message is forgotten: it may be published again. What was accepted at a later offset stays known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ForgetId {
    pub(crate) topic: TopicId,
    pub(crate) offset: Offset,
    pub(crate) time: Timestamp,
    pub(crate) id_hash: [u8; 16],
}

/// A value of the application; none removes the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SetValue<'a> {
    #[serde(borrow)]
    pub(crate) key: Cow<'a, str>,
    pub(crate) value: Option<Cow<'a, [u8]>>,
}

/// A policy dropped messages of a topic for everybody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Dropped<'a> {
    pub(crate) topic: TopicId,
    #[serde(with = "runs")]
    pub(crate) runs: Runs<'a>,
    pub(crate) cause: Cause,
}

/// One fact.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event<'a> {
    Publish(Published<'a>),
    /// Live messages carried over from a segment that is to go; offsets, times and checks are those they had.
    Move(Published<'a>),
    Opened(Opened<'a>),
    SegmentRetired(SegmentRetired),
    TablesTrusted(TablesTrusted),
    CreateTopic(CreateTopic<'a>),
    ConfigureTopic(ConfigureTopic),
    DropTopic(DropTopic),
    CreateGroup(CreateGroup<'a>),
    ConfigureGroup(ConfigureGroup),
    DropGroup(DropGroup),
    Ack(Ack<'a>),
    Nack(Nack<'a>),
    Release(Release<'a>),
    Bury(Bury<'a>),
    Redrive(Redrive<'a>),
    Seek(Seek),
    Settle(Settle<'a>),
    Delivered(Delivered<'a>),
    Unseen(Unseen<'a>),
    Pause(Pause),
    KeepId(KeepId),
    KeepProcessed(KeepProcessed),
    ForgetId(ForgetId),
    SetValue(SetValue<'a>),
    Dropped(Dropped<'a>),
    /// A piece of a snapshot: opaque here, see `state::snapshot`.
    SnapshotPart(&'a [u8]),
    /// A kind this release doesn't know, marked as safe to skip.
    Unknown {
        kind: u8,
    },
}
