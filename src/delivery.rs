//! [`Delivery`]: a message in a consumer's hands, and the ways to let go of it.

use crate::engine::{Age, Leased, Outcome};
use crate::error::{Error, Result};
use crate::event;
use crate::link::Link;
use crate::message::Record;
use crate::ticket::Ticket;
use crate::trace;
use crate::types::{GroupId, LeaseId, Offset, Timestamp};
use std::fmt::{Display, Write};
use std::time::Duration;

/// What has happened to one message in one group so far. Each is counted on its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Counters {
    /// Times it was handed out, whatever came of it.
    pub leases: u32,
    /// Times its handling failed: nacks, and deliveries dropped unsettled.
    pub failures: u32,
    /// Times its lease ran out while the process lived.
    pub timeouts: u32,
    /// Deaths of the process that are laid to it.
    pub crashes: u32,
}

impl From<event::Counters> for Counters {
    fn from(stored: event::Counters) -> Self {
        let event::Counters { leases, failures, timeouts, crashes } = stored;
        Self { leases, failures, timeouts, crashes }
    }
}

/// A message handed to a consumer, until its lease runs out.
///
/// It is settled by value, so that it can't be settled twice:
///
/// ```compile_fail,E0382
/// # fn settle(delivery: millpond::Delivery) {
/// let first = delivery.ack();
/// let second = delivery.nack("too late");
/// # }
/// ```
///
/// Dropped unsettled, as by a `?` or a panic in the handler, it counts as a failure, and the group's retry policy
/// applies; while the store closes it is given back uncharged instead. Forgotten
/// ([`mem::forget`](std::mem::forget)), it ends with its lease.
///
/// It can be sent to and shared with other threads, and doesn't keep its store open.
///
/// The tickets of all ways to settle fail alike: with `LeaseLost` if the lease ran out and somebody else was given the
/// message, who is not disturbed; with `Closed` or `Poisoned` if the store takes nothing more. A message whose
/// settlement failed is delivered again. A lease that ran out but was not given away can still be settled.
///
/// ```
/// # fn main() -> millpond::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = millpond::Store::open(dir.path())?;
/// # let orders = store.topic("orders")?;
/// # orders.publish("4711").wait()?;
/// # let email = orders.consumer("email", millpond::Group::default())?;
/// # fn send(_: &[u8]) -> Result<(), &'static str> { Ok(()) }
/// if let Some(order) = email.try_lease()? {
///     match send(order.payload()) {
///         Ok(()) => order.ack().wait()?,
///         Err(error) => order.nack(error).wait()?,
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a delivery that is dropped unsettled counts as a failure"]
pub struct Delivery {
    link: Link,
    group: GroupId,
    leased: Leased,
    id: LeaseId,
    /// It was settled, or is somebody else's to settle: dropping it does nothing.
    settled: bool,
}

impl Delivery {
    pub(crate) fn new(link: Link, group: GroupId, leased: Leased, id: LeaseId) -> Self {
        Self { link, group, leased, id, settled: false }
    }

    /// Settles the message as done: this group never gets it again.
    ///
    /// # Errors
    /// In the ticket; see [`Delivery`].
    pub fn ack(self) -> Ticket<()> {
        self.settle(&Outcome::Ack)
    }

    /// Settles the message as failed: it is tried again after the delay that the group's retry policy gives, or parked
    /// as a dead letter if that was the last time. The error's text is kept, up to
    /// [`Options::error_text_bytes`](crate::Options::error_text_bytes).
    ///
    /// # Errors
    /// In the ticket; see [`Delivery`].
    pub fn nack(self, error: impl Display) -> Ticket<()> {
        let error = text(&error);
        self.settle(&Outcome::Nack { error, after: None })
    }

    /// As [`nack`](Self::nack), but it is tried again after this delay, in whole milliseconds rounded up.
    ///
    /// # Errors
    /// In the ticket; see [`Delivery`].
    pub fn nack_after(self, error: impl Display, delay: Duration) -> Ticket<()> {
        let error = text(&error);
        self.settle(&Outcome::Nack { error, after: Some(delay) })
    }

    /// Gives the message back unharmed: it can be handed out again at once, and nothing is charged.
    ///
    /// # Errors
    /// In the ticket; see [`Delivery`].
    pub fn release(self) -> Ticket<()> {
        self.settle(&Outcome::Release { after: None })
    }

    /// As [`release`](Self::release), but it is not handed out again before this delay is over, in whole milliseconds
    /// rounded up.
    ///
    /// # Errors
    /// In the ticket; see [`Delivery`].
    pub fn snooze(self, delay: Duration) -> Ticket<()> {
        self.settle(&Outcome::Release { after: Some(delay) })
    }

    /// Gives the message back because whoever it is for takes nothing for a while, as an HTTP service says with
    /// `429 Too Many Requests` and `Retry-After`. Nothing is charged and no attempt is used up; the message comes again
    /// no earlier than `after` this, in whole milliseconds rounded up, and until then the whole group hands out
    /// nothing: the next message would be told the same. What is out stays out.
    ///
    /// When the message comes again is in the journal; that the group waits is not, so that a store which is opened
    /// meanwhile tries the next message.
    ///
    /// # Errors
    /// In the ticket; see [`Delivery`]. If the lease was lost, the group does not wait.
    pub fn rate_limited(self, after: Duration) -> Ticket<()> {
        if let Ok(engine) = self.link.engine() {
            engine.hold_off(self.group, self.held(), engine.moment(after));
        }
        self.settle(&Outcome::Release { after: Some(after) })
    }

    /// As [`rate_limited`](Self::rate_limited), until a time of the engine's clock. One that is over gives the message
    /// back and nothing else.
    ///
    /// # Errors
    /// In the ticket; see [`Delivery`].
    pub fn rate_limited_until(self, time: Timestamp) -> Ticket<()> {
        let after = self.link.engine().map(|engine| engine.until(time)).unwrap_or_default();
        self.rate_limited(after)
    }

    /// Parks the message as a dead letter of the group, whatever the retry policy says. It stays where it is in the
    /// topic; see [`Consumer::dead_letters`](crate::Consumer::dead_letters).
    ///
    /// # Errors
    /// In the ticket; see [`Delivery`].
    pub fn bury(self, error: impl Display) -> Ticket<()> {
        let error = text(&error);
        self.settle(&Outcome::Bury { error })
    }

    /// Lengthens the lease so that it ends `by` from now, in whole milliseconds rounded up; or as late as
    /// [`Group::max_lease_age`](crate::Group::max_lease_age) allows. One that ran out and was not given away
    /// runs again.
    ///
    /// # Errors
    /// `LeaseLost` if somebody else was given the message, or if it was held as long as it may be: what is being done
    /// with it should stop; likewise if it ran out and others use all of
    /// [`Group::max_in_flight`](crate::Group::max_in_flight) by now. `Closed` or `Poisoned` if the store takes nothing
    /// more.
    pub fn extend(&self, by: Duration) -> Result<()> {
        self.link.engine()?.extend(self.group, self.offset(), self.id.epoch, by)
    }

    /// The message's place in its topic.
    #[must_use]
    pub fn offset(&self) -> Offset {
        self.leased.record.offset()
    }

    /// When the message was accepted, on the engine's clock.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        self.leased.record.time()
    }

    /// The payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.leased.record.payload()
    }

    /// The id it was published with.
    #[must_use]
    pub fn id(&self) -> Option<&[u8]> {
        self.leased.record.id()
    }

    /// The key it was published with.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.leased.record.key()
    }

    /// The headers, in the order they were given.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.leased.record.headers()
    }

    /// The message itself, which can be cloned without a copy of its payload and kept after settling.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.leased.record
    }

    /// Which try this is: 1, and one more for each earlier one that failed, timed out or brought the process down. What
    /// was given back doesn't count.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        let event::Counters { failures, timeouts, crashes, .. } = self.leased.counters;
        failures.saturating_add(timeouts).saturating_add(crashes).saturating_add(1)
    }

    /// What has happened to the message in this group, this lease included.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.leased.counters.into()
    }

    /// How often the message was a dead letter of this group and was [redriven](crate::Consumer::redrive). Limits and
    /// waits count from the beginning of the present life, [`counters`](Self::counters) are totals.
    #[must_use]
    pub fn life(&self) -> u32 {
        self.leased.life
    }

    /// Whether the process died while the message was handed out: it is handed out alone, until it is settled.
    #[must_use]
    pub fn is_suspect(&self) -> bool {
        self.leased.suspect
    }

    /// In an [ordered](crate::Group::ordered) group, the last message of this one's key before it that the group has
    /// given up on, if there is one: what this message builds on may be missing. So it is for every message behind such
    /// a dead letter, until that is redriven, purged or dropped.
    /// [`Consumer::dead_letter`](crate::Consumer::dead_letter) shows it.
    #[must_use]
    pub fn skipped(&self) -> Option<Offset> {
        self.leased.skipped.get()
    }

    /// This lease's id: larger than that of any earlier lease of the message, also after a restart; the messages
    /// of a [run](crate::Run) share it. Passed on to what
    /// the handler writes to, it lets that refuse a holder who was replaced.
    #[must_use]
    pub fn lease_id(&self) -> LeaseId {
        self.id
    }

    pub(crate) fn belongs_to(&self, link: &Link, group: GroupId) -> bool {
        self.group == group && self.link.leads_where(link)
    }

    /// What the engine knows the lease by.
    pub(crate) fn held(&self) -> (Offset, u64) {
        (self.offset(), self.id.epoch)
    }

    /// What is counted when it is settled.
    pub(crate) fn age(&self) -> Age {
        let Leased { record, handed, counters, .. } = &self.leased;
        Age { published: record.time(), granted: *handed, first: counters.leases <= 1 }
    }

    pub(crate) fn group(&self) -> GroupId {
        self.group
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    /// Says that somebody else settles it.
    pub(crate) fn hand_over(&mut self) {
        self.settled = true;
    }

    /// Settles it without waiting for anything, and without an answer: as a drop does.
    #[cfg(feature = "typed")]
    pub(crate) fn let_go(mut self, how: &Outcome) {
        self.hand_over();
        let_go(&self.link, self.group, &[self.held()], how);
    }

    fn settle(mut self, how: &Outcome) -> Ticket<()> {
        self.hand_over();
        settle(&self.link, self.group, &[self.held()], &[self.age()], how)
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !self.settled {
            let how = if std::thread::panicking() { Outcome::Panicked } else { Outcome::Dropped };
            let_go(&self.link, self.group, &[self.held()], &how);
        }
    }
}

/// Settles what is held in a group.
pub(crate) fn settle(link: &Link, group: GroupId, held: &[(Offset, u64)], ages: &[Age], how: &Outcome) -> Ticket<()> {
    trace::settled(link, group, held, how);
    match link.engine() {
        Ok(engine) => engine.settle(group, held, ages, how),
        Err(error) => Ticket::done(Err(error)),
    }
}

/// Ends what is held in a group because it was dropped: never waits for the disk.
pub(crate) fn let_go(link: &Link, group: GroupId, held: &[(Offset, u64)], how: &Outcome) {
    trace::settled(link, group, held, how);
    if let Ok(engine) = link.engine() {
        engine.let_go(group, held, how);
    }
}

/// Ends deliveries of any groups alike, as if each was dropped.
pub(crate) fn let_go_all(mut deliveries: Vec<Delivery>, how: &Outcome) {
    let same = |a: &Delivery, b: &Delivery| a.belongs_to(&b.link, b.group);
    for alike in deliveries.chunk_by_mut(same) {
        alike.iter_mut().for_each(Delivery::hand_over);
        let held: Vec<(Offset, u64)> = alike.iter().map(Delivery::held).collect();
        if let Some(first) = alike.first() {
            let_go(&first.link, first.group, &held, how);
        }
    }
}

/// What an error says. Unlike `to_string`, it doesn't panic if the error can't say it.
pub(crate) fn text(error: &impl Display) -> String {
    let mut text = String::new();
    if write!(text, "{error}").is_err() {
        text.push_str("(the error's own text ends in an error)");
    }
    text
}

impl Error {
    /// The deliveries that were to be settled, if this error is about ones that can't be settled together, or about a
    /// transaction: none of them was. Dropped with the error, each counts as a failure, but for those of a transaction,
    /// which are given back.
    #[must_use]
    pub fn into_deliveries(mut self) -> Option<Vec<Delivery>> {
        let together = self.take_returned();
        together.or_else(|| Some(self.into_transaction()?.into_deliveries()))
    }
}
