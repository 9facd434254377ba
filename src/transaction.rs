//! [`Transaction`]: publishes, settlements and values that happen whole or not at all.

use crate::config::Durability;
use crate::delivery::{Delivery, let_go_all, text};
use crate::engine::{Changes, Deal, Outcome, Settlement};
use crate::error::{Code, Error, Result};
use crate::link::Link;
use crate::message::{Message, Receipt};
use crate::ticket::Ticket;
use crate::topic::Topic;
use crate::types::{Offset, Timestamp};
use bytes::Bytes;
use std::fmt::Display;
use std::time::Duration;

/// What a transaction answers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Committed {
    /// What each publish answers, in the order of the calls.
    pub receipts: Vec<Receipt>,
    /// When it was accepted, on the engine's clock.
    pub time: Timestamp,
}

/// Publishes to any topics, settlements of any groups, and small values of the application, all of one store, that
/// happen as one: [`commit`](Self::commit) appends them as one frame under one checksum, with one sync.
///
/// Nothing happens before that. Dropped without a commit, or with an error that nobody took it out of, it is rolled
/// back: its deliveries are given back, and nothing is charged for them. If it is dropped by a panic they count as
/// failed, as they would without it: a message that makes its handler panic is not tried for ever.
///
/// Kafka has transactions over partitions and consumer offsets, with a coordinator; here it is one store and one frame.
///
/// ```
/// # fn main() -> millpond::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = millpond::Store::open(dir.path())?;
/// use millpond::{Group, Message};
/// let (orders, shipments) = (store.topic("orders")?, store.topic("shipments")?);
/// orders.publish("4711").wait()?;
/// let packing = orders.consumer("packing", Group::default())?;
///
/// let order = packing.lease()?;
/// let mut tx = store.transaction();
/// tx.publish(&shipments, Message::copy_of(order.payload())).ack(order);
/// let committed = tx.commit().wait()?; // on the disk: the shipment, and that the order is done
/// assert_eq!(committed.receipts.len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens before `commit`"]
pub struct Transaction {
    link: Link,
    changes: Changes,
    /// The topic and the place in it of each publish, in the order of the calls.
    order: Vec<(usize, usize)>,
    /// Those that `changes` settles, in the same order.
    deliveries: Vec<Delivery>,
    level: Durability,
    /// A topic of another store was named.
    foreign: Option<String>,
}

impl Transaction {
    pub(crate) fn new(link: Link) -> Self {
        let (order, deliveries) = (Vec::new(), Vec::new());
        Self { link, changes: Changes::default(), order, deliveries, level: Durability::Disk, foreign: None }
    }

    /// Publishes a message. One whose id is known in its topic's
    /// [window](crate::TopicSettings::deduplicate) is not appended again: its receipt is that of the first, and the
    /// rest of the transaction happens. It becomes visible when the transaction has reached its level, and every
    /// earlier message of the topic its own.
    pub fn publish(&mut self, topic: &Topic, message: impl Into<Message>) -> &mut Self {
        let message = message.into();
        // A foreign topic is refused at the commit; its message is handed back with the others then.
        let id = topic.id_in(&self.link).unwrap_or_else(|| {
            self.foreign.get_or_insert_with(|| topic.name().to_owned());
            crate::types::TopicId::ZERO
        });
        let known = self.changes.publishes.iter().position(|(known, _)| *known == id);
        let at = known.unwrap_or(self.changes.publishes.len());
        if known.is_none() {
            self.changes.publishes.push((id, Vec::new()));
        }
        if let Some((_, messages)) = self.changes.publishes.get_mut(at) {
            self.order.push((at, messages.len()));
            messages.push(message);
        }
        self
    }

    /// Expects the topic to end at this offset, before the messages of this transaction: if somebody has published to
    /// it since, all of the transaction fails with `Conflict`. See [`Topic::publish_if`]. Not asked if every message
    /// that this transaction publishes there is known by its id: then it is the same call once more.
    pub fn expect_end(&mut self, topic: &Topic, end: Offset) -> &mut Self {
        match topic.id_in(&self.link) {
            Some(id) => self.changes.expected.push((id, end)),
            None => _ = self.foreign.get_or_insert_with(|| topic.name().to_owned()),
        }
        self
    }

    /// Settles a delivery as done, as [`Delivery::ack`] does.
    pub fn ack(&mut self, delivery: Delivery) -> &mut Self {
        self.settle(delivery, Outcome::Ack)
    }

    /// Settles a delivery as failed, as [`Delivery::nack`] does.
    pub fn nack(&mut self, delivery: Delivery, error: impl Display) -> &mut Self {
        self.settle(delivery, Outcome::Nack { error: text(&error), after: None })
    }

    /// Settles a delivery as failed, to be tried again after this delay, as [`Delivery::nack_after`] does. It runs from
    /// the commit on.
    pub fn nack_after(&mut self, delivery: Delivery, error: impl Display, delay: Duration) -> &mut Self {
        self.settle(delivery, Outcome::Nack { error: text(&error), after: Some(delay) })
    }

    /// Gives a delivery back unharmed, as [`Delivery::release`] does.
    pub fn release(&mut self, delivery: Delivery) -> &mut Self {
        self.settle(delivery, Outcome::Release { after: None })
    }

    /// Gives a delivery back for later, as [`Delivery::snooze`] does. The delay runs from the commit on.
    pub fn snooze(&mut self, delivery: Delivery, delay: Duration) -> &mut Self {
        self.settle(delivery, Outcome::Release { after: Some(delay) })
    }

    /// Parks a delivery as a dead letter, as [`Delivery::bury`] does.
    pub fn bury(&mut self, delivery: Delivery, error: impl Display) -> &mut Self {
        self.settle(delivery, Outcome::Bury { error: text(&error) })
    }

    /// Sets a value of the application, for [`Store::get`](crate::Store::get): a cursor, the step that a saga is at.
    /// An empty value is a value. A key has 1 to 255 bytes, a value up to
    /// [`Options::max_value_bytes`](crate::Options::max_value_bytes), all together up to
    /// [`Options::max_values_bytes`](crate::Options::max_values_bytes). Of several changes of a key in one transaction
    /// the last one counts.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<Bytes>) -> &mut Self {
        self.changes.values.push((key.into(), Some(value.into())));
        self
    }

    /// Removes a value of the application, if there is one.
    pub fn remove(&mut self, key: impl Into<String>) -> &mut Self {
        self.changes.values.push((key.into(), None));
        self
    }

    /// Where all of it must be when the commit resolves (default: [`Durability::Disk`], whatever store and topics say).
    /// A message that asks for more itself raises the level of the whole.
    pub fn durability(&mut self, level: Durability) -> &mut Self {
        self.level = level;
        self
    }

    /// Makes all of it happen, or nothing. Its place in the order of things is fixed when this returns; the ticket
    /// resolves when it is as durable as was asked. It never waits for the disk here: what finds no room, or has ids
    /// that must be looked up on the disk, stands in the line that publishes stand in, behind what came before it, with
    /// what it settles still leased. Whoever waits for the ticket makes room, or a thread of the store does. On a full
    /// disk one that only settles and sets still succeeds.
    ///
    /// # Errors
    /// In the ticket. Unless the kind is `OutcomeUnknown`, nothing was appended, and everything comes back:
    /// [`Error::into_transaction`] as a whole, [`Error::into_deliveries`] and [`Error::into_messages`] in parts.
    ///
    /// `LeaseLost` if the lease of one of the deliveries was lost; `Conflict` with the code `unexpected-end` if a topic
    /// does not [end where it was expected to](Self::expect_end); `Full` with the code `disk-full`, with `values-full`,
    /// or with `buffer-full` if as many transactions as
    /// [`Options::max_waiting_publishes`](crate::Options::max_waiting_publishes) says stand in line already; `Misuse`
    /// with the code `too-large` if it does not fit in [`Options::max_frame_bytes`](crate::Options::max_frame_bytes)
    /// (what one call appends), or a message or value is too large by itself, with `foreign-delivery` or
    /// `foreign-topic` for what is of another store, or of a former opening of this one; `Closed`, `Poisoned`. After
    /// `OutcomeUnknown` all of it may have happened, or nothing.
    pub fn commit(self) -> Ticket<Committed> {
        let engine = match self.link.engine() {
            Ok(engine) => engine,
            Err(error) => return Ticket::done(Err(error.returning(self))),
        };
        if let Err(error) = self.check_owner() {
            return Ticket::refused(engine, error.returning(self));
        }
        let level = self.level;
        engine.transact(Box::new(self), level, |admission| {
            let time = admission.time;
            Committed { receipts: admission.receipts(), time }
        })
    }

    fn settle(&mut self, delivery: Delivery, how: Outcome) -> &mut Self {
        let ((offset, epoch), age) = (delivery.held(), delivery.age());
        self.changes.settlements.push(Settlement { group: delivery.group(), offset, epoch, age, how });
        self.deliveries.push(delivery);
        self
    }

    fn check_owner(&self) -> Result<()> {
        if let Some(name) = &self.foreign {
            let what = format!("topic {name:?} is not one of the store whose transaction this is: nothing was done");
            return Err(Error::new(Code::ForeignTopic, what));
        }
        if let Some(foreign) = self.deliveries.iter().find(|delivery| !delivery.link().leads_where(&self.link)) {
            let offset = foreign.offset();
            let what = format!(
                "the delivery of offset {offset} is not one of the store whose transaction this is: nothing was done"
            );
            return Err(Error::new(Code::ForeignDelivery, what));
        }
        Ok(())
    }

    /// Its deliveries, unsettled; the rest is rolled back.
    pub(crate) fn into_deliveries(mut self) -> Vec<Delivery> {
        std::mem::take(&mut self.deliveries)
    }

    /// Its messages, in the order of the calls; the rest is rolled back.
    fn into_messages(mut self) -> Vec<Message> {
        let publishes = std::mem::take(&mut self.changes.publishes);
        let mut topics: Vec<_> = publishes.into_iter().map(|(_, messages)| messages.into_iter()).collect();
        self.order.iter().filter_map(|(topic, _)| topics.get_mut(*topic)?.next()).collect()
    }
}

impl Deal for Transaction {
    fn changes(&self) -> &Changes {
        &self.changes
    }

    fn changes_mut(&mut self) -> &mut Changes {
        &mut self.changes
    }

    fn done(mut self: Box<Self>, receipts: Vec<Vec<Receipt>>) -> Vec<Receipt> {
        self.deliveries.iter_mut().for_each(Delivery::hand_over);
        self.deliveries.clear();
        let receipt = |(topic, place): &(usize, usize)| receipts.get(*topic)?.get(*place).copied();
        self.order.iter().filter_map(receipt).collect()
    }

    fn hand_back(self: Box<Self>, error: Error) -> Error {
        error.returning(*self)
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        let how = if std::thread::panicking() { Outcome::Panicked } else { Outcome::Release { after: None } };
        let_go_all(std::mem::take(&mut self.deliveries), &how);
    }
}

impl Error {
    /// The messages of the batch that was refused, or those of a transaction in the order of its publishes: nothing of
    /// them was written. The deliveries of such a transaction are given back.
    #[must_use]
    pub fn into_messages(mut self) -> Option<Vec<Message>> {
        let Some(mut messages) = self.take_returned::<Vec<Message>>() else {
            return Some(self.into_transaction()?.into_messages());
        };
        messages.iter_mut().for_each(Message::unaccept);
        Some(messages)
    }

    /// The transaction that was refused, as it was: it can be changed, and committed again.
    #[must_use]
    pub fn into_transaction(mut self) -> Option<Transaction> {
        self.take_returned()
    }
}
