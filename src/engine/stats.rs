//! Numbers about a store as they were at one moment: plain data that the engine fills in.
//!
//! All counts are of messages, all sizes are in bytes. Store, topics and groups are read one after the other; while
//! others publish and settle, their numbers need not add up to the last message.

use super::breaker::BreakerState;
use super::removal::Removed;
use crate::config::Retention;
use crate::types::{Incarnation, Lsn, Offset, SegmentId, Timestamp};
use std::time::Duration;

/// Numbers of a whole store; see [`Store::stats`](crate::Store::stats).
///
/// ```
/// # fn main() -> millpond::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// let store = millpond::Store::open(dir.path())?;
/// store.topic("orders")?.publish("4711").wait()?;
/// let stats = store.stats();
/// assert_eq!(stats.topics.iter().map(|topic| topic.messages).sum::<u64>(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStats {
    /// How often the store was opened for writing, this time included.
    pub incarnation: Incarnation,
    /// Its topics, by name.
    pub topics: Vec<TopicStats>,
    /// The segments of its journal, oldest first.
    pub segments: Vec<SegmentStats>,
    /// Bytes of the files of those segments, and of those that are prepared or set aside.
    pub disk_bytes: u64,
    /// How much of that is to be kept for settling while the disk is full. A store that is hardly used has less.
    pub reserve_bytes: u64,
    /// Bytes of the last snapshot of the state.
    pub snapshot_bytes: u64,
    /// Whether the disk is full, as far as the store could find out: publishes that need another segment are refused.
    pub full: bool,
    /// Everything in the journal before this is synced to the disk.
    pub durable: Lsn,
    /// Everything in the journal before this was written to the kernel. Never before `durable`.
    pub written: Lsn,
    /// The end of the journal, what is only in memory included. Never before `written`.
    pub end: Lsn,
    /// What the application's values take, as [`Options::max_values_bytes`](crate::Options::max_values_bytes) reckons.
    pub value_bytes: u64,
}

/// Numbers of a topic; see [`Topic::stats`](crate::Topic::stats).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicStats {
    /// The topic's name.
    pub name: String,
    /// The oldest message there is; equal to `end` if there is none.
    pub first: Offset,
    /// The offset after the newest visible message.
    pub end: Offset,
    /// How many messages the topic holds, settled ones that are still readable included.
    pub messages: u64,
    /// Bytes of those messages: payloads and attributes, without the journal's framing.
    pub bytes: u64,
    /// Messages that some group is not done with, all of them if there is no group; see
    /// [`Backlog`](crate::Backlog), which may limit them.
    pub backlog: u64,
    /// Bytes of those, where each message of a segment is taken to be as long as the average.
    pub backlog_bytes: u64,
    /// Publishes that wait for room, in their tickets.
    pub waiting_publishes: u64,
    /// Messages that are not due yet, whether or not a group would hand them out.
    pub delayed: u64,
    /// Messages that were dropped for every group, by cause.
    pub removed: Removed,
    /// The rules by which messages stay, besides what the groups need.
    pub retention: Retention,
    /// Its consumer groups, by name.
    pub groups: Vec<GroupStats>,
}

/// Numbers of a consumer group; see [`Consumer::stats`](crate::Consumer::stats).
///
/// `ready`, `leased`, `retrying`, `delayed`, `key_blocked` and `dead` count each message once; what is
/// in none of them is settled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupStats {
    /// The group's name.
    pub name: String,
    /// Messages that can be handed out now; or those that are handed out too, if [`leases_known`](Self::leases_known)
    /// is false.
    pub ready: u64,
    /// Messages that are handed out.
    pub leased: u64,
    /// Whether it is known which messages are handed out: leases are in the memory of the store's owner, and who only
    /// looks ([`ReadOnlyStore`](crate::ReadOnlyStore)) can't tell `ready` and `leased` apart. Then `leased` is 0, and
    /// [`oldest_claimable`](Self::oldest_claimable) may be the age of one that is handed out.
    pub leases_known: bool,
    /// Messages that wait for their time to be tried again.
    pub retrying: u64,
    /// Messages that were published with a delay or a deliver-at, and are not due yet.
    pub delayed: u64,
    /// Of an [ordered](crate::Group::ordered) group: messages that wait for another one of their key, or for a dead
    /// letter of it to go; as far as the group has looked. If it looks no further
    /// ([`Group::look_ahead`](crate::Group::look_ahead)), those beyond count too.
    pub key_blocked: u64,
    /// Messages that were in flight when the process died, handed out one at a time until each is settled. They are
    /// counted among the others too.
    pub suspects: u64,
    /// Messages the group has given up on.
    pub dead: u64,
    /// Messages that were settled for the group without having been acked, by cause.
    pub removed: Removed,
    /// Until when the group is [paused](crate::Consumer::pause): the end of time, if until it is resumed.
    pub paused_until: Option<Timestamp>,
    /// Until when nothing is handed out because a handler was told to come later, see
    /// [`Delivery::rate_limited`](crate::Delivery::rate_limited).
    pub held_off_until: Option<Timestamp>,
    /// The state of the group's [`Breaker`](crate::Breaker).
    pub breaker: BreakerState,
    /// How long the oldest message that can be handed out now has been waiting, in whole milliseconds; `None` if there
    /// is none.
    pub oldest_claimable: Option<Duration>,
}

/// Numbers of a segment, one file of the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentStats {
    /// Its number.
    pub id: SegmentId,
    /// The file's size.
    pub bytes: u64,
    /// Bytes of messages in it that some group has not settled, or that belong to a topic without groups.
    pub live_bytes: u64,
    /// Bytes, about, of the ids in it that are in their windows and lie nowhere else: what carrying them over to a new
    /// segment takes. All of it, while they are not sorted yet.
    pub id_bytes: u64,
}
