//! [`Restore`]: a topic that is made what it was in another store.

use crate::engine::{GroupProgress, Placed, StoredSettings};
use crate::error::Result;
use crate::link::Link;
use crate::message::Message;
use crate::store::Store;
use crate::topic::Topic;
use crate::types::{Offset, Timestamp, TopicId};

/// Messages, and bytes of them, that are written as one.
const MESSAGES: usize = 500;
const BYTES: usize = 1 << 20;

/// Fills an empty topic with what a topic of another store had: messages at their offsets and times, then groups with
/// their settings, progress, counters and dead letters. `millpond import` is made of this.
///
/// Nobody should use the topic meanwhile. What was restored is there after a crash in the order in which it was given,
/// up to some point; all of it once [`finish`](Self::finish) has returned. Not kept are ids whose messages are gone,
/// the ids a group has [processed](crate::Group::remember_processed), and what was counted of messages that are gone.
///
/// ```
/// # fn main() -> millpond::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use millpond::{Group, Message, Offset, Store, Timestamp};
/// let old = Store::open(dir.path().join("old"))?;
/// let orders = old.topic("orders")?;
/// let email = orders.consumer("email", Group::default())?;
/// orders.publish("4711").wait()?;
/// orders.publish("4712").wait()?;
/// email.lease()?.ack().wait()?;
///
/// let seen = Store::open_read_only(dir.path().join("old"))?.topic("orders")?;
/// let new = Store::open(dir.path().join("new"))?;
/// let mut restore = new.restore("orders", &seen.settings()?)?;
/// for record in seen.read(..) {
///     let record = record?;
///     restore.message(record.offset(), record.time(), Message::copy_of(record.payload()))?;
/// }
/// restore.end(seen.bounds()?.1)?;
/// restore.group("email", &seen.progress("email")?)?;
/// let orders = restore.finish()?;
/// assert_eq!((orders.first_offset(), orders.end_offset()), (Offset::new(1), Offset::new(2)));
/// assert_eq!(orders.consumer("email", Group::default())?.lease()?.payload(), b"4712");
/// # new.close()?;
/// # old.close()
/// # }
/// ```
#[derive(Debug)]
pub struct Restore {
    link: Link,
    topic: TopicId,
    name: String,
    settings: StoredSettings,
    held: Vec<Placed>,
    bytes: usize,
}

impl Store {
    /// Begins to restore a topic: makes it with these settings, or changes it if it is there and has never had a
    /// message.
    ///
    /// # Errors
    /// `Conflict` with the code `unexpected-end` if the topic has, or had, messages; otherwise as for
    /// [`topic`](Self::topic).
    pub fn restore(&self, name: &str, settings: &StoredSettings) -> Result<Restore> {
        let topic = self.engine().restore_topic(name, settings)?;
        let (link, name, settings) = (Link::to(self.engine()), name.to_owned(), settings.clone());
        Ok(Restore { link, topic, name, settings, held: Vec::new(), bytes: 0 })
    }
}

impl Restore {
    /// Puts a message at its offset, behind those before it; offsets between them are gone, as if settled by every
    /// group. A time that is still to come becomes the present. A delay of the message begins now, a deliver-at stays
    /// what it is; what expires is best given with [`expiring_message`](Self::expiring_message).
    ///
    /// # Errors
    /// `Conflict` with the code `unexpected-end` if there are messages at or behind this offset already; `TooLarge`;
    /// or whatever kept it from being written.
    pub fn message(&mut self, offset: Offset, time: Timestamp, message: impl Into<Message>) -> Result<()> {
        self.put(offset, time, message.into())
    }

    /// As [`message`](Self::message), for one that expires at `expiry`.
    ///
    /// # Errors
    /// As there.
    pub fn expiring_message(
        &mut self,
        offset: Offset,
        time: Timestamp,
        message: impl Into<Message>,
        expiry: Timestamp,
    ) -> Result<()> {
        self.put(offset, time, message.into().expiring(expiry))
    }

    fn put(&mut self, offset: Offset, time: Timestamp, message: Message) -> Result<()> {
        self.bytes = self.bytes.saturating_add(message.payload().len());
        self.held.push(Placed { offset, time, message });
        if self.held.len() >= MESSAGES || self.bytes >= BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        self.bytes = 0;
        let mut held = std::mem::take(&mut self.held);
        self.link.engine()?.restore_messages(self.topic, &mut held)
    }

    /// The topic ends at this offset, if it does not end behind it: what would come before it is gone.
    ///
    /// # Errors
    /// Whatever kept it from being written.
    pub fn end(&mut self, end: Offset) -> Result<()> {
        self.flush()?;
        self.link.engine()?.restore_end(self.topic, end)
    }

    /// Makes a group what it was. All messages, and the [end](Self::end), are to be given before; and all groups before
    /// anything is consumed: what the last one needs is to be there still.
    ///
    /// # Errors
    /// `Misuse` if there is a group of this name, or the name or the progress makes no sense; or whatever kept it from
    /// being written.
    pub fn group(&mut self, name: &str, progress: &GroupProgress) -> Result<()> {
        self.flush()?;
        self.link.engine()?.restore_group(self.topic, name, progress)
    }

    /// All of it is durable when this returns, and the topic's rules of retention hold from then on.
    ///
    /// # Errors
    /// Whatever kept it from being made so.
    pub fn finish(mut self) -> Result<Topic> {
        self.flush()?;
        let engine = self.link.engine()?;
        engine.restored(self.topic, &self.settings)?;
        Ok(Topic::new(&engine, self.topic, &self.name))
    }
}
