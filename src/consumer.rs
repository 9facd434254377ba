//! [`Consumer`]: leasing the messages of a group. [`Batch`]: several at once. [`Stopper`]: an end to the waiting.

use crate::config::Start;
use crate::dead_letter::{self, DeadLetter, DeadLetters};
use crate::delivery::{self, Delivery};
use crate::engine::{Age, Engine, Fate, GroupStats, Leased, Outcome, ReadCursor, SeekReport, Swept, Wait, Why};
use crate::error::{Code, Error, Result};
use crate::link::{Link, or_default};
use crate::redrive::{Purge, Redrive};
use crate::run::Run;
use crate::ticket::Ticket;
use crate::trace;
use crate::types::{GroupId, Offset, TopicId};
use std::iter::FusedIterator;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A consumer group of a topic, seen by those who do its work.
///
/// Clones are cheap, share one [`Stopper`], and can lease from as many threads as there are; each message goes to one
/// of them. A consumer doesn't keep its store open.
///
/// ```
/// # fn main() -> millpond::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = millpond::Store::open(dir.path())?;
/// use millpond::Group;
/// let orders = store.topic("orders")?;
/// orders.publish("4711").wait()?;
/// let email = orders.consumer("email", Group::default())?;
/// while let Some(order) = email.try_lease()? {
///     assert_eq!(order.payload(), b"4711");
///     order.ack().wait()?;
/// }
/// assert!(email.idle());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Consumer {
    pub(crate) shared: Arc<Shared>,
}

/// What the clones of a consumer share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) link: Link,
    topic: TopicId,
    topic_name: Arc<str>,
    pub(crate) group: GroupId,
    name: Box<str>,
    pub(crate) stopped: Arc<AtomicBool>,
}

impl Consumer {
    pub(crate) fn new(link: Link, topic: TopicId, topic_name: &Arc<str>, group: GroupId, name: &str) -> Self {
        let (topic_name, name, stopped) = (topic_name.clone(), name.into(), Arc::new(AtomicBool::new(false)));
        Self { shared: Arc::new(Shared { link, topic, topic_name, group, name, stopped }) }
    }

    /// The group's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The name of the topic that the group reads.
    #[must_use]
    pub fn topic_name(&self) -> &str {
        &self.shared.topic_name
    }

    /// The next message, if one can be handed out now: due retries first, then new messages, in offset order.
    ///
    /// # Errors
    /// `Closed` after the store was closed (code `closed`) or this consumer [stopped](Self::stopper) (code `stopped`);
    /// `Poisoned` after a failed write
    /// or sync; `Corrupt` if the message can't be read whole; `Full` if there is no room to note that it was handed
    /// out.
    pub fn try_lease(&self) -> Result<Option<Delivery>> {
        self.lease_one(Wait::No)
    }

    /// The next message, waited for as long as it takes.
    ///
    /// # Errors
    /// As for [`try_lease`](Self::try_lease); `Closed` also ends the waiting.
    pub fn lease(&self) -> Result<Delivery> {
        loop {
            if let Some(delivery) = self.lease_one(Wait::Forever)? {
                return Ok(delivery);
            }
        }
    }

    /// The next message, waited for up to `patience`; nothing if none came in that time.
    ///
    /// # Errors
    /// As for [`lease`](Self::lease).
    pub fn lease_timeout(&self, patience: Duration) -> Result<Option<Delivery>> {
        self.lease_one(Wait::For(patience))
    }

    /// Up to `max` messages at once; of an [ordered](crate::Group::ordered) group at most one of each key. Waits up to
    /// `linger` for the first, and for no further one; empty if none came in that time, or if `max` is 0. It may be
    /// fewer than `max` though there are more.
    ///
    /// # Errors
    /// As for [`lease`](Self::lease).
    ///
    /// ```
    /// # fn main() -> millpond::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = millpond::Store::open(dir.path())?;
    /// # let orders = store.topic("orders")?;
    /// # orders.publish_all(["a".into(), "b".into()]).wait()?;
    /// # let email = orders.consumer("email", millpond::Group::default())?;
    /// use std::time::Duration;
    /// let batch = email.lease_many(100, Duration::from_millis(50))?;
    /// email.ack_all(batch).wait()?;
    /// # assert!(email.idle());
    /// # Ok(())
    /// # }
    /// ```
    pub fn lease_many(&self, max: usize, linger: Duration) -> Result<Batch> {
        self.lease_batch(max, Wait::For(linger))
    }

    /// Up to `max` messages of an [ordered](crate::Group::ordered) group, in runs: a [`Run`] has one or more messages
    /// of one key, in their order, and is the key's only holder. They are the next messages in the order of offsets, as
    /// far as their keys are free. Where nothing is ordered (the group, or a message without a key), each message is a
    /// run of its own. Waits as [`lease_many`](Self::lease_many) does.
    ///
    /// # Errors
    /// As for [`lease`](Self::lease).
    pub fn lease_runs(&self, max: usize, linger: Duration) -> Result<Vec<Run>> {
        let Shared { link, group, stopped, topic_name, name, .. } = &*self.shared;
        let engine = link.engine()?;
        let wait = Wait::For(linger);
        let leased = if max == 0 { Vec::new() } else { engine.lease_runs(*group, max, wait, stopped)? };
        trace::received(topic_name, name, leased.first().map(|leased| leased.record.offset()), leased.len());
        let deliveries = leased.into_iter().map(|leased| self.shared.delivery(&engine, leased));
        Ok(Run::all_of(link, *group, deliveries))
    }

    /// Settles several deliveries of this group as done, in one step.
    ///
    /// # Errors
    /// In the ticket: as for [`Delivery::ack`], where `LeaseLost` concerns those whose lease was lost, while the others
    /// are settled. `Misuse` with the code `foreign-delivery` if one is of another group or store: then none is
    /// settled, and [`Error::into_deliveries`] gives all of them back.
    pub fn ack_all(&self, deliveries: impl IntoIterator<Item = Delivery>) -> Ticket<()> {
        let Shared { link, group, .. } = &*self.shared;
        let mut deliveries: Vec<Delivery> = deliveries.into_iter().collect();
        if let Some(foreign) = deliveries.iter().find(|delivery| !delivery.belongs_to(link, *group)) {
            let what = format!(
                "the delivery of offset {} is not one of group {:?} of topic {:?}: nothing was settled",
                foreign.offset(),
                self.name(),
                self.topic_name()
            );
            return Ticket::done(Err(Error::new(Code::ForeignDelivery, what).returning(deliveries)));
        }
        settle_all(link, *group, &mut deliveries, &Outcome::Ack)
    }

    /// Goes on from `start`: what lies before is settled, dead letters excepted, and what lies from there on is handed
    /// out again, whatever became of it. Leases of the group end. It goes as far back as the topic kept what its groups
    /// had settled, see [`Retention`](crate::Retention); the report says how many messages come again, and how many are
    /// gone.
    ///
    /// # Errors
    /// `Closed`, `Poisoned`, or whatever kept it from being recorded.
    pub fn seek(&self, start: Start) -> Result<SeekReport> {
        self.shared.link.engine()?.seek(self.shared.group, start, false)
    }

    /// What [`seek`](Self::seek) would do now; changes nothing.
    ///
    /// # Errors
    ///
    /// If the store is closed or poisoned, or a message that has to be looked at can't be read.
    pub fn seek_dry_run(&self, start: Start) -> Result<SeekReport> {
        self.shared.link.engine()?.seek(self.shared.group, start, true)
    }

    /// The group's numbers now. All but the name are zero if the store does not answer, being closed or poisoned: that
    /// is logged, and told by every call that can fail.
    #[must_use]
    pub fn stats(&self) -> GroupStats {
        GroupStats { name: self.name().to_owned(), ..or_default("group stats", self.try_stats()) }
    }

    /// The group's numbers now, or why there are none.
    ///
    /// # Errors
    /// `Closed` or `Poisoned`; `Misuse` with the code `unknown-group` if the group was dropped.
    pub fn try_stats(&self) -> Result<GroupStats> {
        self.shared.link.engine().and_then(|engine| engine.group_stats(self.shared.group))
    }

    /// Whether nothing is left to do: nothing is ready, handed out, or waiting for a retry. False if the store does not
    /// answer, since then that is not known; the next lease says why.
    #[must_use]
    pub fn idle(&self) -> bool {
        self.shared.link.engine().and_then(|engine| engine.is_idle(self.shared.group)).unwrap_or(false)
    }

    /// The messages the group has given up on, by offset, with their records. Nothing is changed by looking.
    pub fn dead_letters(&self) -> DeadLetters {
        let Shared { link, topic, group, .. } = &*self.shared;
        DeadLetters::new(link.clone(), *topic, *group)
    }

    /// The dead letter at `offset`, if the message there is one.
    ///
    /// # Errors
    /// `Closed`, `Poisoned`. A message that can't be read is no error here: [`DeadLetter::unreadable`] says why.
    pub fn dead_letter(&self, offset: Offset) -> Result<Option<DeadLetter>> {
        let Shared { link, topic, group, .. } = &*self.shared;
        let engine = link.engine()?;
        let Some(letter) = engine.letter(*group, offset)? else { return Ok(None) };
        dead_letter::view(&engine, *topic, offset, letter, &mut ReadCursor::default()).map(Some)
    }

    /// Makes dead letters deliverable again, for this group only, and returns when that is on the disk. Each keeps its
    /// offset, id, key, time and headers, and begins a new [life](Delivery::life): limits and waits count anew, the
    /// totals go on.
    ///
    /// # Errors
    /// `Closed`, `Poisoned`, or whatever kept it from being recorded. What was redriven until then stays so; the rest
    /// are dead letters as before.
    ///
    /// ```
    /// # fn main() -> millpond::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = millpond::Store::open(dir.path())?;
    /// # let orders = store.topic("orders")?;
    /// # orders.publish_all(["a".into(), "b".into()]).wait()?;
    /// # let email = orders.consumer("email", millpond::Group::default())?;
    /// use millpond::Redrive;
    /// email.lease()?.bury("no such address").wait()?;
    /// assert_eq!(email.redrive(Redrive::all().dry_run())?.matched, 1);
    /// assert_eq!(email.redrive(Redrive::all().per_second(100))?.changed, 1);
    /// let again = email.lease()?;
    /// assert_eq!((again.payload(), again.life()), (&b"a"[..], 1));
    /// # again.ack().wait()
    /// # }
    /// ```
    pub fn redrive(&self, which: Redrive<'_>) -> Result<Swept> {
        let Shared { link, topic, group, .. } = &*self.shared;
        which.0.run(link, *topic, *group, Fate::Redriven)
    }

    /// Settles dead letters for good: this group never sees them again. They are counted in
    /// [`Removed::purged`](crate::Removed::purged). Returns when that is on the disk.
    ///
    /// # Errors
    /// As for [`redrive`](Self::redrive).
    ///
    /// ```
    /// # fn main() -> millpond::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = millpond::Store::open(dir.path())?;
    /// # let orders = store.topic("orders")?;
    /// # orders.publish("a").wait()?;
    /// # let email = orders.consumer("email", millpond::Group::default())?;
    /// use millpond::{BuryReason, Purge};
    /// email.lease()?.bury("no such address").wait()?;
    /// email.purge(Purge::matching(|letter| letter.reason() == BuryReason::Asked))?;
    /// assert_eq!((email.stats().dead, email.stats().removed.purged), (0, 1));
    /// # Ok(())
    /// # }
    /// ```
    pub fn purge(&self, which: Purge<'_>) -> Result<Swept> {
        let Shared { link, topic, group, .. } = &*self.shared;
        which.0.run(link, *topic, *group, Fate::Purged)
    }

    /// What a message is waiting for in this group, in one sentence if it is printed: a consumer, its time, a pause, or
    /// nothing any more.
    ///
    /// # Errors
    /// `Misuse` if the group was dropped; `Closed` or `Poisoned` if the store answers nothing any more.
    ///
    /// ```
    /// # fn main() -> millpond::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let orders = millpond::Store::open(dir.path())?;
    /// # let store = orders.clone();
    /// # let orders = orders.topic("orders")?;
    /// use millpond::{Group, Offset, Why};
    /// let email = orders.consumer("email", Group::default())?;
    /// orders.publish_all(["4711".into(), "4712".into()]).wait()?;
    /// assert_eq!(email.why(Offset::new(1))?, Why::Ready { before: 1 });
    /// let order = email.lease()?;
    /// assert!(email.why(order.offset())?.to_string().starts_with("a consumer has it until"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn why(&self, offset: Offset) -> Result<Why> {
        self.shared.link.engine()?.why(self.shared.group, offset)
    }

    /// What stops this consumer and its clones, from any thread.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper { shared: self.shared.clone() }
    }

    /// Whether a message with this id was acked by this group, or by one that shares its
    /// [table](crate::Group::processed_table), within the [window](crate::Group::remember_processed): for work that
    /// arrives by other ways. No if the group remembers none.
    ///
    /// # Errors
    /// `Closed` or `Poisoned`; `Misuse` if the group was removed; `System` or `Corrupt` if it can't be told.
    ///
    /// ```
    /// # fn main() -> millpond::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = millpond::Store::open(dir.path())?;
    /// use millpond::{Group, Message, Window};
    /// let payments = store.topic("payments")?;
    /// let book = payments.consumer("book", Group::default().remember_processed(Window::Forever))?;
    /// payments.publish(Message::new("12.50").id("payment-7")).wait()?;
    /// assert!(!book.is_processed("payment-7")?);
    /// book.lease()?.ack().wait()?;
    /// assert!(book.is_processed("payment-7")?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_processed(&self, id: impl AsRef<[u8]>) -> Result<bool> {
        self.shared.link.engine()?.is_processed(self.shared.group, id.as_ref())
    }

    pub(crate) fn engine(&self) -> Result<(Arc<Engine>, GroupId)> {
        Ok((self.shared.link.engine()?, self.shared.group))
    }

    fn lease_one(&self, wait: Wait) -> Result<Option<Delivery>> {
        Ok(self.lease_batch(1, wait)?.next())
    }

    pub(crate) fn lease_batch(&self, max: usize, wait: Wait) -> Result<Batch> {
        let Shared { link, group, stopped, .. } = &*self.shared;
        let engine = link.engine()?;
        // The engine takes 0 for 1.
        let leased = if max == 0 { Vec::new() } else { engine.lease(*group, max, wait, stopped)? };
        Ok(self.shared.batch(&engine, leased))
    }
}

impl Shared {
    pub(crate) fn batch(&self, engine: &Engine, leased: Vec<Leased>) -> Batch {
        let deliveries: Vec<Delivery> = leased.into_iter().map(|leased| self.delivery(engine, leased)).collect();
        trace::received(&self.topic_name, &self.name, deliveries.first().map(Delivery::offset), deliveries.len());
        Batch { link: self.link.clone(), group: self.group, rest: deliveries.into_iter() }
    }

    fn delivery(&self, engine: &Engine, leased: Leased) -> Delivery {
        let id = engine.lease_id(leased.epoch);
        Delivery::new(self.link.clone(), self.group, leased, id)
    }
}

/// Several deliveries of one lease call; see [`Consumer::lease_many`].
///
/// What was not taken out of it when it is dropped is given back uncharged. What was taken out is settled like any
/// other [`Delivery`].
#[derive(Debug)]
#[must_use = "what is not taken out of a batch is given back"]
pub struct Batch {
    link: Link,
    group: GroupId,
    rest: std::vec::IntoIter<Delivery>,
}

impl Batch {
    /// What was leased in runs of a key.
    pub(crate) fn into_runs(mut self) -> Vec<Run> {
        let (link, group) = (self.link.clone(), self.group);
        Run::all_of(&link, group, &mut self)
    }
}

impl Iterator for Batch {
    type Item = Delivery;

    fn next(&mut self) -> Option<Delivery> {
        self.rest.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.rest.size_hint()
    }
}

impl ExactSizeIterator for Batch {}

impl FusedIterator for Batch {}

impl Drop for Batch {
    fn drop(&mut self) {
        let rest = self.rest.as_mut_slice();
        if !rest.is_empty() {
            let held = hand_over(rest);
            delivery::let_go(&self.link, self.group, &held, &Outcome::Release { after: None });
        }
    }
}

/// Settles deliveries of one group in one step; dropping them does nothing any more.
fn settle_all(link: &Link, group: GroupId, deliveries: &mut [Delivery], how: &Outcome) -> Ticket<()> {
    if deliveries.is_empty() {
        return Ticket::done(Ok(()));
    }
    let ages: Vec<Age> = deliveries.iter().map(Delivery::age).collect();
    delivery::settle(link, group, &hand_over(deliveries), &ages, how)
}

/// Takes over what deliveries hold.
pub(crate) fn hand_over(deliveries: &mut [Delivery]) -> Vec<(Offset, u64)> {
    deliveries.iter_mut().for_each(Delivery::hand_over);
    deliveries.iter().map(Delivery::held).collect()
}

/// Stops a [`Consumer`] and its clones. Other consumers of the group, opened by themselves, go on.
///
/// ```
/// # fn main() -> millpond::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = millpond::Store::open(dir.path())?;
/// # let email = store.topic("orders")?.consumer("email", millpond::Group::default())?;
/// use millpond::ErrorKind;
/// let stopper = email.stopper();
/// let worker = std::thread::spawn(move || email.lease().map(drop));
/// stopper.stop();
/// assert_eq!(worker.join().unwrap().unwrap_err().kind(), ErrorKind::Closed);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Stopper {
    shared: Arc<Shared>,
}

impl Stopper {
    /// From now on every lease by the consumer or a clone of it fails with
    /// [`ErrorKind::Closed`](crate::ErrorKind::Closed), those that are waiting included. Deliveries that are held can
    /// still be settled. There is no way back: open the consumer anew.
    pub fn stop(&self) {
        self.shared.stopped.store(true, Ordering::Release);
        // If the engine is gone, nobody waits.
        if let Ok(engine) = self.shared.link.engine() {
            engine.wake();
        }
    }
}
