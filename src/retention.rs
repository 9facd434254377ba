//! [`Retention`]: what a topic keeps besides what its groups still need, and what it drops though they do.

use std::time::Duration;

/// How long the messages of a topic stay; see [`TopicSettings::retention`](crate::TopicSettings::retention).
///
/// By default a message stays until every group of its topic has settled it; a topic that never had a group keeps
/// everything, and so does one whose last group was removed. Two kinds of rules go beyond that:
///
/// * **`keep_..`** keeps what every group has settled, to be read, sought and given to new groups. Of several, each
///   keeps what it names.
/// * **`max_..`** drops what some group still needs. Of several, each drops what it names. A message that is leased,
///   delayed or a dead letter is not dropped until that is over; dead letters have a rule of their own, see
///   [`Group::keep_dead_letters`](crate::Group::keep_dead_letters). What was dropped is counted by its cause, see
///   [`Removed`](crate::Removed).
///
/// What no group needs and no rule keeps is gone at once for readers, seeks and new groups, whether or not its bytes
/// are still on the disk. Kafka's `retention.ms` is `keep_age` and `max_age` together.
///
/// Ages count from when a message was accepted, or fell due if it was delayed, and count the time that the store has
/// seen pass: setting the machine's clock forward drops nothing while the store is open; and after a gap at opening
/// that is longer than [`Options::doubtful_gap`](crate::Options::doubtful_gap), nothing is dropped for its age on
/// account of the gap before the store was open for an hour.
///
/// ```
/// use millpond::{Retention, TopicSettings};
/// use std::time::Duration;
/// const DAY: Duration = Duration::from_secs(86_400);
/// // What is settled can be read again for a week; nothing gets older than a month.
/// let settings = TopicSettings::default().retention(Retention::until_settled().keep_age(7 * DAY).max_age(30 * DAY));
/// # let _ = settings;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Retention {
    pub(crate) keep_age: Option<Duration>,
    pub(crate) keep_bytes: Option<u64>,
    pub(crate) keep_count: Option<u64>,
    pub(crate) max_age: Option<Duration>,
    pub(crate) max_bytes: Option<u64>,
    pub(crate) max_count: Option<u64>,
}

impl Retention {
    /// Nothing beyond what the groups need: the default.
    #[must_use]
    pub fn until_settled() -> Self {
        Self::default()
    }

    /// Every message, for ever.
    #[must_use]
    pub fn everything() -> Self {
        // One less than the largest: the stored form adds one.
        Self::default().keep_count(u64::MAX - 1)
    }

    /// Keeps what is not older than this.
    #[must_use]
    pub fn keep_age(mut self, age: Duration) -> Self {
        self.keep_age = Some(age);
        self
    }

    /// Keeps the newest messages that have so many bytes together, payloads and attributes. Within a segment every
    /// message is taken to be as long as the average of its topic there.
    #[must_use]
    pub fn keep_bytes(mut self, bytes: u64) -> Self {
        self.keep_bytes = Some(bytes);
        self
    }

    /// Keeps so many of the newest offsets.
    #[must_use]
    pub fn keep_count(mut self, count: u64) -> Self {
        self.keep_count = Some(count);
        self
    }

    /// Drops what is older than this, though a group needs it.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// Drops the oldest messages as long as all together have more bytes than this, though a group needs them; lengths
    /// as with [`keep_bytes`](Self::keep_bytes).
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Drops all but so many of the newest offsets, though a group needs them.
    #[must_use]
    pub fn max_count(mut self, count: u64) -> Self {
        self.max_count = Some(count);
        self
    }

    /// How each rule is called and what it says, in the order of the methods above; ages in milliseconds.
    ///
    /// ```
    /// let minute = std::time::Duration::from_secs(60);
    /// let retention = millpond::Retention::until_settled().keep_count(1000).max_age(minute);
    /// let rules: Vec<_> = retention.rules().collect();
    /// assert_eq!(rules, [("keep_count", 1000), ("max_age", 60_000)]);
    /// ```
    pub fn rules(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let rules = [
            ("keep_age", self.keep_age.map(crate::types::millis)),
            ("keep_bytes", self.keep_bytes),
            ("keep_count", self.keep_count),
            ("max_age", self.max_age.map(crate::types::millis)),
            ("max_bytes", self.max_bytes),
            ("max_count", self.max_count),
        ];
        rules.into_iter().filter_map(|(name, rule)| Some((name, rule?)))
    }

    /// Whether what is settled may stay.
    pub(crate) fn keeps(&self) -> bool {
        self.keep_age.is_some() || self.keep_bytes.is_some() || self.keep_count.is_some()
    }

    /// Whether there is any rule.
    pub(crate) fn has_rules(&self) -> bool {
        *self != Self::default()
    }

    /// The longest time for which the age of a message matters.
    pub(crate) fn longest_age(&self) -> Option<Duration> {
        self.keep_age.max(self.max_age)
    }
}
