//! Flow control: how much a topic takes in ([`Backlog`]), and how much and how quickly a group hands out ([`Rate`],
//! [`Breaker`]).

use super::{Group, TopicSettings};
use std::time::Duration;

/// How much may wait in a topic, and what becomes of a publish that finds no room; see
/// [`TopicSettings::max_backlog`].
///
/// The backlog is what at least one group of the topic is not done with: neither settled nor a dead letter of it. What
/// is leased or delayed belongs to it. A topic without groups has all its messages in the backlog. A call that
/// publishes several messages is taken in whole or not at all, and one that would not fit into an empty backlog is
/// refused at once with the code `too-large`.
///
/// Messages that come back by themselves are not held up by the limit: a seek, a new group and a redrive can make the
/// backlog larger than this, and so can the copy of a dead letter that another group forwards here.
///
/// ```
/// use millpond::{Backlog, Overflow, TopicSettings};
/// let backlog = Backlog::messages(10_000).or_bytes(1 << 30).when_full(Overflow::Wait);
/// let settings = TopicSettings::default().max_backlog(backlog);
/// # let _ = settings;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Backlog {
    pub(crate) messages: Option<u64>,
    pub(crate) bytes: Option<u64>,
    pub(crate) overflow: Overflow,
}

/// What becomes of a publish into a topic whose backlog is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Overflow {
    /// It is refused with [`ErrorKind::Full`](crate::ErrorKind::Full), code `backlog-full`, and the message comes back.
    /// RabbitMQ calls it `reject-publish`.
    #[default]
    Reject,
    /// It waits in its ticket until there is room, in the order of the calls. At most
    /// [`Options::max_waiting_publishes`](crate::Options::max_waiting_publishes) do in one topic; the next is refused.
    Wait,
    /// The oldest messages are dropped for every group until it fits, and counted as
    /// [`overflowed`](crate::Removed::overflowed). One that is leased, or a dead letter of some group, or delayed and
    /// not due, is passed over, and the next oldest goes; if there is no other, the publish is refused as by `Reject`.
    /// RabbitMQ calls it `drop-head`.
    DropOldest,
}

impl Backlog {
    /// No limit: the default.
    #[must_use]
    pub fn unlimited() -> Self {
        Self::default()
    }

    /// At most so many messages. 0 is taken as 1.
    #[must_use]
    pub fn messages(most: u64) -> Self {
        Self { messages: Some(most.clamp(1, u64::MAX - 1)), ..Self::default() }
    }

    /// At most so many bytes, payloads and attributes. 0 is taken as 1. Within a segment each message is taken to be as
    /// long as the average of its topic there.
    #[must_use]
    pub fn bytes(most: u64) -> Self {
        Self::default().or_bytes(most)
    }

    /// Nor more than so many bytes: it is full as soon as one of the two limits is reached.
    #[must_use]
    pub fn or_bytes(mut self, most: u64) -> Self {
        // One less than the largest: the stored form adds one.
        self.bytes = Some(most.clamp(1, u64::MAX - 1));
        self
    }

    /// What happens then (default: [`Overflow::Reject`]).
    #[must_use]
    pub fn when_full(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    pub(crate) const fn is_limited(&self) -> bool {
        self.messages.is_some() || self.bytes.is_some()
    }
}

/// How quickly a group hands out; see [`Group::rate`]. A token bucket: it holds [`burst`](Self::burst) tokens and is
/// filled evenly; each delivery takes one. It lives in memory, by a clock that nobody sets, and is full when the store
/// is opened. Waiting consumers are woken when there is a token again, to the millisecond.
///
/// ```
/// use millpond::{Group, Rate};
/// // A service that takes 100 calls a second, and 20 at once.
/// let settings = Group::default().rate(Rate::per_second(100).burst(20));
/// # let _ = settings;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rate {
    /// Zero: no limit.
    pub(crate) messages: u64,
    pub(crate) per: Duration,
    pub(crate) burst: u64,
}

impl Rate {
    /// As quickly as consumers ask: the default.
    #[must_use]
    pub fn unlimited() -> Self {
        Self::default()
    }

    /// So many messages in this time, of at least a millisecond, and as many at once unless [`burst`](Self::burst) says
    /// otherwise. 0 messages are taken as 1.
    #[must_use]
    pub fn new(messages: u64, per: Duration) -> Self {
        let messages = messages.max(1);
        Self { messages, per: per.max(Duration::from_millis(1)), burst: messages }
    }

    /// So many messages a second.
    #[must_use]
    pub fn per_second(messages: u64) -> Self {
        Self::new(messages, Duration::from_secs(1))
    }

    /// How many can be handed out at once after a pause. 0 is taken as 1. One that is less than what the rate gives in
    /// a few milliseconds keeps waiting consumers below the rate.
    #[must_use]
    pub fn burst(mut self, messages: u64) -> Self {
        self.burst = messages.max(1);
        self
    }

    /// The time in which one token comes; none if there is no limit.
    pub(crate) fn interval(&self) -> Option<Duration> {
        let nanos = self.per.as_nanos().div_ceil(u128::from(self.messages.max(1)));
        (self.messages > 0).then(|| Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX).max(1)))
    }
}

/// When a group stops handing out because everything fails, and how it finds out that it can go on; see
/// [`Group::breaker`].
///
/// Closed, it counts the distinct messages that failed since the last ack: by `nack`, by being dropped or by a panic,
/// or because their lease ran out. When there are as many as [`after`](Self::after) says it opens: for the first
/// [`pause`](Self::pause) nothing is handed out. Then one message is, the *probe*. If that is acked the breaker closes;
/// if it fails the next pause is twice as long, up to the longest. If it is given back or buried, another one is tried.
///
/// What is charged: the failures before the one that opens it are charged as ever. That one, those of deliveries that
/// were out by then, and those of probes are not: their messages keep their counters and the text of the error, and
/// come again when the pause is over. An ack while it is open changes nothing; a `release` never counts. It lives in
/// memory: a store that is opened begins with closed breakers.
///
/// The states are those of resilience4j's circuit breaker, with failures in a row in place of a rate of failures.
///
/// ```
/// use millpond::{Breaker, Group};
/// use std::time::Duration;
/// let pauses = (Duration::from_secs(5), Duration::from_secs(300));
/// let settings = Group::default().breaker(Breaker::after(10).pause(pauses.0, pauses.1));
/// # let _ = settings;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Breaker {
    /// Zero: there is none.
    pub(crate) failures: u32,
    pub(crate) first: Duration,
    pub(crate) longest: Duration,
}

impl Breaker {
    /// So many failed messages are kept in mind.
    const FAILURES_MAX: u32 = 1000;

    /// None: the default.
    #[must_use]
    pub fn off() -> Self {
        Self::default()
    }

    /// Opens when so many distinct messages have failed in a row; 1 to 1000, what is outside is taken as the nearest.
    /// The first pause is 5 s and the longest 5 min.
    #[must_use]
    pub fn after(failures: u32) -> Self {
        let (first, longest) = (Duration::from_secs(5), Duration::from_secs(300));
        Self { failures: failures.clamp(1, Self::FAILURES_MAX), first, longest }
    }

    /// How long it stays open: at first, and at the longest after probes that failed.
    #[must_use]
    pub fn pause(mut self, first: Duration, longest: Duration) -> Self {
        let first = first.max(Duration::from_millis(1));
        (self.first, self.longest) = (first, longest.max(first));
        self
    }

    /// The pause after it opened so many times in a row.
    pub(crate) fn pause_of(&self, openings: u32) -> Duration {
        let doubled = self.first.saturating_mul(2_u32.saturating_pow(openings.saturating_sub(1)));
        doubled.min(self.longest)
    }
}

impl TopicSettings {
    /// How much may wait in the topic, and what becomes of what finds no room (default: [`Backlog::unlimited`]). A
    /// change goes for what is published from then on: a lower limit drops nothing by itself.
    #[must_use]
    pub fn max_backlog(mut self, backlog: Backlog) -> Self {
        self.backlog = Some(backlog);
        self
    }
}

impl Group {
    /// The most deliveries that are out at once (default: `u64::MAX`, no limit; 0 is taken as 1). Who asks for more
    /// waits until one is settled or its lease ends; `try_lease` gives nothing. What waits for a retry is not out. If
    /// the limit is lowered, what is out stays out. RabbitMQ calls it prefetch, NATS `max_ack_pending`.
    #[must_use]
    pub fn max_in_flight(mut self, deliveries: u64) -> Self {
        self.max_in_flight = Some(deliveries.max(1));
        self
    }

    /// How quickly messages are handed out (default: [`Rate::unlimited`]).
    #[must_use]
    pub fn rate(mut self, rate: Rate) -> Self {
        self.rate = Some(rate);
        self
    }

    /// When to stop handing out because everything fails (default: [`Breaker::off`]).
    #[must_use]
    pub fn breaker(mut self, breaker: Breaker) -> Self {
        self.breaker = Some(breaker);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let breaker = Breaker::after(3).pause(Duration::from_secs(1), Duration::from_secs(5));
        assert_eq!([1, 2, 3, 4, 40].map(|times| breaker.pause_of(times).as_secs()), [1, 2, 4, 5, 5]);
    }

    #[test]
    fn a_token_never_comes_early() {
        assert_eq!(Rate::per_second(3).interval(), Some(Duration::from_nanos(333_333_334)));
        assert_eq!(Rate::new(u64::MAX, Duration::ZERO).interval(), Some(Duration::from_nanos(1)));
        assert_eq!(Rate::unlimited().interval(), None);
    }

    #[test]
    fn limits_of_nothing_are_limits_of_one() {
        assert_eq!(Backlog::messages(0).messages, Some(1));
        assert_eq!((Rate::per_second(0).messages, Rate::per_second(9).burst(0).burst), (1, 1));
        assert_eq!((Breaker::after(0).failures, Breaker::after(u32::MAX).failures), (1, 1000));
    }
}
