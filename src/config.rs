//! Settings: plain data with documented defaults. Settings of topics and groups are patches: what is not set keeps
//! its stored value, or the default at creation.

mod budget;
mod cipher;
mod compression;
mod encryption;
mod filter;
mod flow;
mod order;
mod priorities;
mod retry;
mod window;

pub use crate::retention::Retention;
pub use budget::{IdBudget, WhenFull};
pub(crate) use cipher::{Cipher, NONCE, TAG};
pub use compression::Compression;
pub use encryption::{KeyId, Keys};
pub(crate) use filter::Condition;
pub use filter::Filter;
pub use flow::{Backlog, Breaker, Overflow, Rate};
pub use order::WhenParked;
pub(crate) use priorities::LEVELS_MAX;
pub use retry::Retry;
pub use window::Window;

use crate::types::{Offset, Timestamp, TopicId};
use std::time::Duration;

/// Where a message is when the call that published or settled it resolves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Durability {
    /// In the store's own buffer; written to the kernel within milliseconds. A crash of the process may lose it.
    Memory,
    /// Written to the kernel: survives the death of the process, not of the machine. Synced within
    /// [`Options::sync_interval`].
    Os,
    /// Synced to the disk: survives power loss. The default for publishing.
    Disk,
}

/// Settings of a whole store, given when it is opened. They are not stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub(crate) create: bool,
    pub(crate) create_topics: bool,
    pub(crate) durability: Durability,
    pub(crate) ack_durability: Durability,
    pub(crate) segment_bytes: u32,
    pub(crate) first_segment_bytes: u32,
    pub(crate) max_frame_bytes: u32,
    pub(crate) max_message_bytes: u32,
    pub(crate) buffer_bytes: usize,
    pub(crate) tail_cache_bytes: usize,
    pub(crate) read_ahead_bytes: usize,
    pub(crate) write_threshold_bytes: usize,
    pub(crate) write_delay: Duration,
    pub(crate) sync_interval: Duration,
    pub(crate) max_waiting_publishes: usize,
    pub(crate) error_text_bytes: usize,
    pub(crate) open_segments: usize,
    pub(crate) wall_check: Duration,
    pub(crate) doubtful_gap: Duration,
    pub(crate) retention_step: Duration,
    pub(crate) spare_segments: u32,
    pub(crate) clean_below: u8,
    pub(crate) clean_step_bytes: usize,
    pub(crate) warn_free_bytes: u64,
    pub(crate) max_value_bytes: u32,
    pub(crate) max_values_bytes: u64,
    pub(crate) id_memory_bytes: usize,
    pub(crate) id_budget: IdBudget,
    pub(crate) encryption: Keys,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            create: true,
            create_topics: true,
            durability: Durability::Disk,
            ack_durability: Durability::Os,
            segment_bytes: 64 << 20,
            first_segment_bytes: 4 << 20,
            max_frame_bytes: 128 << 20,
            max_message_bytes: 16 << 20,
            buffer_bytes: 8 << 20,
            tail_cache_bytes: 4 << 20,
            read_ahead_bytes: 16 << 20,
            write_threshold_bytes: 64 << 10,
            write_delay: Duration::from_millis(1),
            sync_interval: Duration::from_secs(1),
            max_waiting_publishes: 1024,
            error_text_bytes: 1024,
            open_segments: 64,
            wall_check: Duration::from_secs(10),
            doubtful_gap: Duration::from_secs(7 * 86_400),
            retention_step: Duration::from_secs(1),
            spare_segments: 2,
            clean_below: 50,
            clean_step_bytes: 128 << 10,
            warn_free_bytes: 1 << 30,
            max_value_bytes: 8 << 10,
            max_values_bytes: 1 << 20,
            id_memory_bytes: 64 << 20,
            id_budget: IdBudget::unlimited(),
            encryption: Keys::none(),
        }
    }
}

impl Options {
    /// Segments smaller than this could not hold their own header and a frame or two.
    pub(crate) const SEGMENT_MIN: u32 = 16 << 10;

    /// Refuses what can't work.
    pub(crate) fn check(&self) -> crate::error::Result<()> {
        use crate::error::{Code, Error};
        let least = Self::SEGMENT_MIN;
        if self.segment_bytes < least || self.first_segment_bytes < least {
            let what = format!("`segment_bytes` is at least {least}");
            return Err(Error::new(Code::BadSetting, what));
        }
        if self.id_memory_bytes < 16 << 10 {
            return Err(Error::new(Code::BadSetting, "`id_memory_bytes` is at least 16 KiB"));
        }
        if self.max_message_bytes >= self.max_frame_bytes || self.max_frame_bytes >= 1 << 28 {
            let what = "`max_message_bytes` is less than `max_frame_bytes`, and that is less than 256 MiB";
            return Err(Error::new(Code::BadSetting, what));
        }
        self.encryption.check()
    }
}

/// Where a new group, or a seek, begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Start {
    /// At the oldest message there is.
    Earliest,
    /// After the newest.
    Latest,
    /// At this offset.
    Offset(Offset),
    /// At the first message accepted at or after this time.
    Time(Timestamp),
}

/// Settings of a topic. What is not set keeps its stored value, or the default at creation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicSettings {
    pub(crate) durability: Option<Durability>,
    pub(crate) retention: Option<Retention>,
    pub(crate) expires_after: Option<Duration>,
    pub(crate) backlog: Option<Backlog>,
    pub(crate) levels: Option<u8>,
    pub(crate) aging: Option<Duration>,
    pub(crate) deduplicate: Option<Window>,
    pub(crate) refuse_reused_ids: Option<bool>,
    pub(crate) compression: Option<Compression>,
}

impl TopicSettings {
    /// Where a message of this topic must be when its publish resolves (default: what the store says).
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = Some(durability);
        self
    }

    /// What the topic keeps besides what its groups need, and what it drops though they do (default: neither).
    #[must_use]
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = Some(retention);
        self
    }

    /// For how long the id of a message is remembered: publishing it again within this window appends nothing and
    /// answers with the receipt of the first time (default: 7 days). See the guide's chapter on
    /// [deduplication](crate::guide::deduplication). Messages without an id are not concerned, and cost nothing.
    ///
    /// Ids that are published while the window is [`Window::Off`] are not remembered, also if it is opened later. A
    /// shorter window forgets, and a longer one brings nothing back that was forgotten.
    #[must_use]
    pub fn deduplicate(mut self, window: Window) -> Self {
        self.deduplicate = Some(window);
        self
    }

    /// Whether publishing an id again with another payload is refused with the code `id-reused` (default: yes), which
    /// is nearly always a mistake of the publisher. With no, it is a duplicate like any other, and the payload of the
    /// first time stays.
    #[must_use]
    pub fn refuse_reused_ids(mut self, refuse: bool) -> Self {
        self.refuse_reused_ids = Some(refuse);
        self
    }

    /// How long after its publish a message is delivered, unless it says so itself with
    /// [`Message::expires_after`](crate::Message::expires_after) (default: for ever, which `Duration::MAX` sets
    /// again). A change goes for what is published from then on.
    #[must_use]
    pub fn expires_after(mut self, lifetime: Duration) -> Self {
        self.expires_after = Some(lifetime);
        self
    }
}

/// The settings of a topic as they stand: every patch applied over the defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TopicPolicy {
    /// None: what the store says.
    pub(crate) durability: Option<Durability>,
    pub(crate) retention: Retention,
    pub(crate) expires_after: Option<Duration>,
    pub(crate) backlog: Backlog,
    /// Levels of priority; 1: none.
    pub(crate) levels: u8,
    pub(crate) aging: Duration,
    pub(crate) deduplicate: Window,
    /// Whether an id may come again with another payload.
    pub(crate) reused_ids: bool,
    pub(crate) compression: Compression,
}

impl Default for TopicPolicy {
    fn default() -> Self {
        Self {
            durability: None,
            retention: Retention::default(),
            expires_after: None,
            backlog: Backlog::unlimited(),
            levels: 1,
            aging: priorities::AGING,
            deduplicate: Window::default(),
            reused_ids: false,
            compression: Compression::Off,
        }
    }
}

/// Settings of a consumer group. What is not set keeps its stored value, or the default at creation.
///
/// ```
/// use millpond::{Group, Retry};
/// use std::time::Duration;
/// let settings = Group::default()
///     .lease(Duration::from_secs(30))
///     .retry(Retry::exponential(Duration::from_secs(1), Duration::from_secs(600)).attempts(5));
/// # let _ = settings;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    pub(crate) start: Option<Start>,
    pub(crate) lease: Option<Duration>,
    pub(crate) max_lease_age: Option<Duration>,
    pub(crate) retry: Option<Retry>,
    pub(crate) max_timeouts: Option<u32>,
    pub(crate) max_crashes: Option<u32>,
    /// Where copies of dead letters go; none inside: nowhere.
    pub(crate) forward: Option<Option<Box<str>>>,
    pub(crate) dead_age: Option<Option<Duration>>,
    /// None inside: not ordered.
    pub(crate) ordered: Option<Option<WhenParked>>,
    pub(crate) look_ahead: Option<u32>,
    pub(crate) max_retrying: Option<u32>,
    pub(crate) max_in_flight: Option<u64>,
    pub(crate) rate: Option<Rate>,
    pub(crate) breaker: Option<Breaker>,
    pub(crate) filter: Option<Filter>,
    pub(crate) processed: Option<Window>,
    /// The table shared with other groups; none inside: its own.
    pub(crate) processed_table: Option<Option<Box<str>>>,
}

impl Group {
    /// Where the group begins when it is created (default: the earliest message). No effect on a group that exists.
    /// What lies before counts as settled: if no other group needs it and no rule of the topic's
    /// [retention](TopicSettings::retention) keeps it, it is gone, also where this is the topic's first group.
    #[must_use]
    pub fn start(mut self, start: Start) -> Self {
        self.start = Some(start);
        self
    }

    /// How long a delivery may be held before it is given to somebody else (default 30 s).
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }

    /// How long a delivery may be held in all, however often it is [extended](crate::Delivery::extend): an extension
    /// goes no further, so that a holder that hangs and keeps extending is replaced (default: for ever; zero says so
    /// again).
    #[must_use]
    pub fn max_lease_age(mut self, age: Duration) -> Self {
        self.max_lease_age = Some(age);
        self
    }

    /// What happens after a failure (default: 1 s to 10 min, 10 failures).
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = Some(retry);
        self
    }

    /// How often a lease of one message may run out before the message is parked (default 10).
    #[must_use]
    pub fn max_timeouts(mut self, limit: u32) -> Self {
        self.max_timeouts = Some(limit.max(1));
        self
    }

    /// How long dead letters are kept after they were parked (default: `None`, for ever). Older ones are dropped and
    /// counted as `aged`; ages count as for [`Retention`].
    #[must_use]
    pub fn keep_dead_letters(mut self, age: Option<Duration>) -> Self {
        self.dead_age = Some(age);
        self
    }

    /// How many deaths of the process one message may cause before it is parked (default 3).
    #[must_use]
    pub fn max_crashes(mut self, limit: u32) -> Self {
        self.max_crashes = Some(limit.max(1));
        self
    }

    /// Publishes a copy of every message that is parked to the topic of this name, in one step with the parking: a
    /// crash leaves both or neither (default: no copies). The topic is made if it doesn't exist and
    /// [`Options::create_topics`](crate::Options::create_topics) allows it; the group's own topic is refused.
    ///
    /// The message stays where it is, and is a dead letter of the group all the same. The copy has its payload, key,
    /// priority and headers, and headers of origin: see the guide's chapter on
    /// [dead letters](crate::guide::dead_letters). RabbitMQ calls the like of it a dead letter exchange.
    #[must_use]
    pub fn forward_dead_letters(mut self, topic: impl Into<Box<str>>) -> Self {
        self.forward = Some(Some(topic.into()));
        self
    }

    /// Remembers the ids of the messages that this group acks, for so long: a message whose id it has acked already is
    /// not handed to it again, but settled and counted as [`processed`](crate::Removed::processed) (default:
    /// [`Window::Off`]). It catches what the publishing window does not: a message that was published twice further
    /// apart, or through another topic. Others call it an inbox; NServiceBus has the like of it beside a queue.
    ///
    /// [`Window::Last`] counts ids that were processed.
    #[must_use]
    pub fn remember_processed(mut self, window: Window) -> Self {
        self.processed = Some(window);
        self
    }

    /// Shares the ids that were processed with all groups, of any topic of the store, that name the same table, so that
    /// a message which arrives by two ways is processed once (default: each group has its own). Takes effect with
    /// [`remember_processed`](Self::remember_processed). The name has 1 to 255 bytes; an empty one goes back to the
    /// group's own. What was processed before a change stays where it was.
    ///
    /// Copies that are in two hands at the same time are not held back from each other: each can be processed. Whoever
    /// can't bear that asks [`Consumer::is_processed`](crate::Consumer::is_processed) in the transaction of the effect.
    #[must_use]
    pub fn processed_table(mut self, name: impl Into<Box<str>>) -> Self {
        self.processed_table = Some(Some(name.into()).filter(|name| !name.is_empty()));
        self
    }

    /// Copies of dead letters go nowhere any more.
    #[must_use]
    pub fn forward_nothing(mut self) -> Self {
        self.forward = Some(None);
        self
    }
}

/// The settings of a group as they stand: every patch applied over the defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupPolicy {
    pub(crate) lease: Duration,
    /// Zero: no limit.
    pub(crate) max_lease_age: Duration,
    pub(crate) retry: Retry,
    pub(crate) max_timeouts: u32,
    pub(crate) max_crashes: u32,
    /// Where copies of dead letters go.
    pub(crate) forward: Option<TopicId>,
    pub(crate) dead_age: Option<Duration>,
    pub(crate) ordered: Option<WhenParked>,
    pub(crate) look_ahead: u32,
    pub(crate) max_retrying: u32,
    /// `u64::MAX`: no limit.
    pub(crate) max_in_flight: u64,
    pub(crate) rate: Rate,
    pub(crate) breaker: Breaker,
    pub(crate) filter: Filter,
    pub(crate) processed: Window,
    /// The number of the table of processed ids that is shared; zero: the group's own.
    pub(crate) processed_table: u64,
}

impl Default for GroupPolicy {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            max_lease_age: Duration::ZERO,
            retry: Retry::default(),
            max_timeouts: 10,
            max_crashes: 3,
            forward: None,
            dead_age: None,
            ordered: None,
            look_ahead: 100_000,
            max_retrying: 100_000,
            max_in_flight: u64::MAX,
            rate: Rate::unlimited(),
            breaker: Breaker::off(),
            filter: Filter::everything(),
            processed: Window::Off,
            processed_table: 0,
        }
    }
}

impl GroupPolicy {
    /// This policy with what `patch` sets: what the stored form has to agree with.
    #[cfg(test)]
    pub(crate) fn patched(mut self, patch: &Group) -> Self {
        self.lease = patch.lease.unwrap_or(self.lease);
        self.max_lease_age = patch.max_lease_age.unwrap_or(self.max_lease_age);
        self.retry = patch.retry.clone().unwrap_or(self.retry);
        self.max_timeouts = patch.max_timeouts.unwrap_or(self.max_timeouts);
        self.max_crashes = patch.max_crashes.unwrap_or(self.max_crashes);
        self.dead_age = patch.dead_age.unwrap_or(self.dead_age);
        self.ordered = patch.ordered.unwrap_or(self.ordered);
        self.look_ahead = patch.look_ahead.unwrap_or(self.look_ahead);
        self.max_retrying = patch.max_retrying.unwrap_or(self.max_retrying);
        self.max_in_flight = patch.max_in_flight.unwrap_or(self.max_in_flight);
        self.rate = patch.rate.unwrap_or(self.rate);
        self.breaker = patch.breaker.unwrap_or(self.breaker);
        self.filter = patch.filter.clone().unwrap_or(self.filter);
        self.processed = patch.processed.unwrap_or(self.processed);
        self
    }
}
