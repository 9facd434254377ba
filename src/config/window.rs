//! For how long an id is remembered.

use std::time::Duration;

/// For how long an id is remembered; see [`TopicSettings::deduplicate`](crate::TopicSettings::deduplicate) and
/// [`Group::remember_processed`](crate::Group::remember_processed).
///
/// ```
/// # fn main() -> millpond::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = millpond::Store::open(dir.path())?;
/// use millpond::{Message, TopicSettings, Window};
/// let orders = store.topic_with("orders", TopicSettings::default().deduplicate(Window::Forever))?;
/// let first = orders.publish(Message::new("4711").id("order-4711")).wait()?;
/// let again = orders.publish(Message::new("4711").id("order-4711")).wait()?;
/// assert!(again.duplicate && again.offset == first.offset);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Window {
    /// Not at all.
    Off,
    /// For so long after it was accepted, on the engine's clock, which never goes back; whole milliseconds, rounded up.
    For(Duration),
    /// As long as it is one of the last so many: of the topic's messages, with and without an id, or of the ids that
    /// were processed.
    Last(u64),
    /// As long as the store is there.
    Forever,
}

impl Window {
    /// What a topic has that says nothing else. A retry comes within seconds, a repeated job the next day, and a
    /// publisher that was down over a long weekend sends again what it had not heard an answer to. Azure Service Bus
    /// allows seven days at most, and SQS has five minutes; for ever would let the disk fill up with what nobody asks
    /// for any more.
    pub(crate) const DEFAULT: Self = Self::For(Duration::from_secs(7 * 86_400));
}

impl Default for Window {
    fn default() -> Self {
        Self::DEFAULT
    }
}
