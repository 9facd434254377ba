//! Priorities of a topic's messages.

use super::TopicSettings;
use std::time::Duration;

/// The most levels a topic can have.
pub(crate) const LEVELS_MAX: u8 = 8;

/// How long a message waits at most before those of higher levels no longer pass it, unless the topic says otherwise.
pub(crate) const AGING: Duration = Duration::from_secs(60);

impl TopicSettings {
    /// How many levels of priority the topic has: 1 to 8, what is outside is taken as the nearest (default: 1, none).
    /// Groups are handed messages of a higher [`priority`](crate::Message::priority) first, and those of one level in
    /// the order of their offsets. A change goes for what is published from then on.
    ///
    /// What has waited for [`priority_aging`](Self::priority_aging) is not passed any more. Retries that are due go
    /// before everything else, whatever their level. Memory: one bit for each message above level 0.
    #[must_use]
    pub fn priorities(mut self, levels: u8) -> Self {
        self.levels = Some(levels.clamp(1, LEVELS_MAX));
        self
    }

    /// After how long the messages of a topic go in the order of their offsets, whatever their level: none starves for
    /// longer, as long as the group keeps up with what is that old (default 60 s). It is looked at once in
    /// [`Options::retention_step`](crate::Options::retention_step).
    #[must_use]
    pub fn priority_aging(mut self, age: Duration) -> Self {
        self.aging = Some(age);
        self
    }
}
