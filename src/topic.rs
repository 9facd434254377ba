//! [`Topic`]: publishing into a topic, reading it, and opening its groups.

use crate::config::Group;
use crate::consumer::Consumer;
use crate::engine::{Engine, TopicStats};
use crate::error::Result;
use crate::link::{Link, or_default};
use crate::message::{BatchReceipt, Message, Receipt};
use crate::replay::Replay;
use crate::schedule::Schedule;
use crate::ticket::Ticket;
use crate::trace;
use crate::types::{Offset, Timestamp, TopicId};
use std::ops::RangeBounds;
use std::sync::Arc;

/// A named sequence of messages in a [`Store`](crate::Store).
///
/// Clones are cheap and stand for the same topic. A topic doesn't keep its store open: when the last `Store` is gone,
/// every call that can fail fails with [`ErrorKind::Closed`](crate::ErrorKind::Closed).
#[derive(Clone, Debug)]
pub struct Topic {
    link: Link,
    id: TopicId,
    name: Arc<str>,
}

impl Topic {
    pub(crate) fn new(engine: &Arc<Engine>, id: TopicId, name: &str) -> Self {
        Self { link: Link::to(engine), id, name: name.into() }
    }

    /// The topic's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Publishes a message. Its place among the others is fixed when this returns; the ticket resolves when it is as
    /// durable as was asked.
    ///
    /// # Errors
    /// In the ticket. If the message was refused, nothing of it was written, and
    /// [`Error::into_message`](crate::Error::into_message) gives it back: `Full` if there is no room, `Misuse` if it is
    /// too large, `Closed` or `Poisoned` if the store takes nothing more. After `OutcomeUnknown` it may have been
    /// written or not.
    ///
    /// ```
    /// # fn main() -> millpond::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = millpond::Store::open(dir.path())?;
    /// use millpond::{Message, Offset};
    /// let receipt = store.topic("orders")?.publish(Message::new("4711").id("order-4711")).wait()?;
    /// assert_eq!(receipt.offset, Offset::ZERO);
    /// # Ok(())
    /// # }
    /// ```
    pub fn publish(&self, message: impl Into<Message>) -> Ticket<Receipt> {
        let message = message.into();
        match self.link.engine() {
            Ok(engine) => {
                let ticket = engine.publish(self.id, message);
                trace::published(&self.name, &ticket, |receipt| (receipt.offset, 1));
                ticket
            }
            Err(error) => Ticket::done(Err(error.returning(message))),
        }
    }

    /// Publishes a message if it will have the offset `end`: if nobody has published to the topic since it ended there.
    /// Whoever decides by what a topic holds, and publishes the decision into it, finds out so that somebody else was
    /// quicker. EventStoreDB calls it an expected revision, S2 a matching sequence number.
    ///
    /// With an id, the call can be made once more without knowing how the first one ended: if the message is there, the
    /// answer is its receipt, wherever the topic ends by now.
    ///
    /// `end` is that of what was *accepted*, visible or not: the offset after that of the last [`Receipt`]. What stands
    /// in line for room counts as published before it: then it stands behind that, and its ticket says how it went.
    ///
    /// # Errors
    /// In the ticket, as for [`publish`](Self::publish); and `Conflict` with the code `unexpected-end` if the topic
    /// ends elsewhere: the error says where. The message comes back with
    /// [`Error::into_message`](crate::Error::into_message).
    ///
    /// ```
    /// # fn main() -> millpond::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = millpond::Store::open(dir.path())?;
    /// use millpond::{ErrorKind, Offset};
    /// let account = store.topic("account-7")?;
    /// let opened = account.publish_if(Offset::ZERO, "opened").wait()?;
    /// account.publish_if(opened.offset.next(), "100 in").wait()?;
    /// // Somebody who has not seen that yet:
    /// let late = account.publish_if(opened.offset.next(), "all out").wait().unwrap_err();
    /// assert_eq!((late.kind(), late.code()), (ErrorKind::Conflict, "unexpected-end"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn publish_if(&self, end: Offset, message: impl Into<Message>) -> Ticket<Receipt> {
        let message = message.into();
        match self.link.engine() {
            Ok(engine) => {
                let ticket = engine.publish_if(self.id, end, message);
                trace::published(&self.name, &ticket, |receipt| (receipt.offset, 1));
                ticket
            }
            Err(error) => Ticket::done(Err(error.returning(message))),
        }
    }

    /// Publishes several messages as one: all are accepted or none, at consecutive offsets, and a crash leaves all or
    /// none.
    ///
    /// # Errors
    /// In the ticket, as for [`publish`](Self::publish); [`Error::into_messages`](crate::Error::into_messages) gives
    /// refused ones back.
    pub fn publish_all(&self, messages: impl IntoIterator<Item = Message>) -> Ticket<BatchReceipt> {
        let messages: Vec<Message> = messages.into_iter().collect();
        match self.link.engine() {
            Ok(engine) => {
                let ticket = engine.publish_all(self.id, messages);
                trace::published(&self.name, &ticket, |receipt| (receipt.first, receipt.count));
                ticket
            }
            Err(error) => Ticket::done(Err(error.returning(messages))),
        }
    }

    /// Opens the consumer group `group`, or makes it; it is durable when this returns. What `settings` sets is changed
    /// if the group exists already.
    ///
    /// # Errors
    /// `Misuse` if the name or a setting is not allowed, `Closed`, or whatever kept it from being made durable.
    ///
    /// ```
    /// # fn main() -> millpond::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = millpond::Store::open(dir.path())?;
    /// use millpond::{Group, Start};
    /// let email = store.topic("orders")?.consumer("email", Group::default().start(Start::Latest))?;
    /// assert_eq!((email.topic_name(), email.name()), ("orders", "email"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn consumer(&self, group: &str, settings: Group) -> Result<Consumer> {
        let id = self.link.engine()?.group(self.id, group, &settings)?;
        Ok(Consumer::new(self.link.clone(), self.id, &self.name, id, group))
    }

    /// Reads messages without consuming them: those of `range` that are there and visible now. What the range has of
    /// offsets that are gone already is left out; [`first_offset`](Self::first_offset) says where they begin.
    pub fn read(&self, range: impl RangeBounds<Offset>) -> Replay {
        Replay::new(self.link.clone(), self.id, &range)
    }

    /// The offset of the oldest message there is; equal to [`end_offset`](Self::end_offset) if there is none.
    /// Zero if the store does not answer, being closed or poisoned: that is logged, and told by every call that can
    /// fail, as [`bounds`](Self::bounds) can.
    #[must_use]
    pub fn first_offset(&self) -> Offset {
        self.bounds_or_zeros().0
    }

    /// The offset after the newest visible message. Zero if the store does not answer, as for
    /// [`first_offset`](Self::first_offset).
    #[must_use]
    pub fn end_offset(&self) -> Offset {
        self.bounds_or_zeros().1
    }

    /// The offset of the oldest message there is, and the one after the newest visible one: equal if there is none. For
    /// whoever must not take a store that does not answer for an empty topic.
    ///
    /// # Errors
    /// `Closed`, `Poisoned`; `Misuse` with the code `unknown-topic` if the topic was dropped; or whatever kept the
    /// topic's rules of retention from being applied.
    pub fn bounds(&self) -> Result<(Offset, Offset)> {
        self.link.engine().and_then(|engine| engine.bounds(self.id))
    }

    /// The names of the topic's consumer groups; none if the last `Store` is gone.
    #[must_use]
    pub fn groups(&self) -> Vec<String> {
        or_default("groups", self.link.engine().map(|engine| engine.group_names(self.id)))
    }

    /// The topic's numbers now. All but the name are zero if the store does not answer, as for
    /// [`first_offset`](Self::first_offset).
    #[must_use]
    pub fn stats(&self) -> TopicStats {
        let stats = or_default("topic stats", self.try_stats());
        TopicStats { name: self.name().to_owned(), ..stats }
    }

    /// The topic's numbers now.
    ///
    /// # Errors
    /// As for [`bounds`](Self::bounds).
    pub fn try_stats(&self) -> Result<TopicStats> {
        self.link.engine().and_then(|engine| engine.topic_stats(self.id))
    }

    /// The messages that were published with a delay or a deliver-at and are due in `range`, in the order of time: by
    /// the engine's clock for a delay, by the wall clock for a deliver-at.
    ///
    /// ```
    /// # fn main() -> millpond::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = millpond::Store::open(dir.path())?;
    /// # use millpond::Message;
    /// # use std::time::Duration;
    /// let reminders = store.topic("reminders")?;
    /// let sent = reminders.publish(Message::new("call back").delay(Duration::from_secs(3600))).wait()?;
    /// let waiting = reminders.scheduled(..).next().unwrap()?;
    /// assert_eq!(waiting.offset, sent.offset);
    /// assert!(reminders.cancel(waiting.offset)?);
    /// assert!(reminders.scheduled(..).next().is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub fn scheduled(&self, range: impl RangeBounds<Timestamp>) -> Schedule {
        Schedule::new(self.link.clone(), self.id, &range)
    }

    /// Drops a message that waits for its time, for every group and every reader, durably; it is counted as
    /// [`cancelled`](crate::Removed::cancelled). Its offset is not used again. Says whether it did: not if the message
    /// is due, was ever handed to a group, or is gone.
    ///
    /// # Errors
    ///
    /// If the store is closed or poisoned, or what was cancelled could not be written down.
    pub fn cancel(&self, offset: Offset) -> Result<bool> {
        self.link.engine()?.cancel(self.id, offset)
    }

    /// Drops every message before `before`, for every group and every reader, durably, and says how many there were.
    /// They are counted as [`purged`](crate::Removed::purged), their offsets are not used again, and their ids are
    /// still known. What is leased, delayed or a dead letter stays: see [`cancel`](Self::cancel) and
    /// [`Consumer::purge`](crate::Consumer::purge).
    ///
    /// ```
    /// # fn main() -> millpond::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = millpond::Store::open(dir.path())?;
    /// let orders = store.topic("orders")?;
    /// let email = orders.consumer("email", millpond::Group::default())?;
    /// orders.publish("a test").wait()?;
    /// assert_eq!(orders.purge(orders.end_offset())?, 1);
    /// orders.publish("4711").wait()?;
    /// assert_eq!(email.lease()?.payload(), b"4711");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A backlog with thousands of holes goes in pieces, the oldest first: an error or a crash on the way may leave the
    /// rest, and another call goes on.
    ///
    /// # Errors
    ///
    /// If the store is closed or poisoned, or the removal could not be written down.
    pub fn purge(&self, before: Offset) -> Result<u64> {
        self.link.engine()?.purge_topic(self.id, before)
    }

    /// Removes a consumer group with its progress and dead letters, durably; says whether there was one. What only this
    /// group needed is gone then, unless it was the last one: a topic without groups keeps what it has.
    ///
    /// # Errors
    ///
    /// If the store is closed or poisoned, or the removal could not be written down.
    pub fn remove_group(&self, group: &str) -> Result<bool> {
        self.link.engine()?.drop_group(self.id, group)
    }

    pub(crate) fn id_in(&self, link: &Link) -> Option<TopicId> {
        self.link.leads_where(link).then_some(self.id)
    }

    fn bounds_or_zeros(&self) -> (Offset, Offset) {
        or_default("bounds of a topic", self.bounds())
    }
}
