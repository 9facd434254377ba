//! [`Run`]: messages of one key in one pair of hands, settled up to a point.

use crate::consumer::hand_over;
use crate::delivery::{self, Delivery, text};
use crate::engine::{Age, Outcome, RunPart};
use crate::error::Result;
use crate::link::Link;
use crate::ticket::Ticket;
use crate::trace;
use crate::types::{GroupId, Offset};
use std::fmt::Display;
use std::time::Duration;

/// Messages of one key of an [ordered](crate::Group::ordered) group, in their order, leased together; see
/// [`Consumer::lease_runs`](crate::Consumer::lease_runs).
///
/// While somebody has the run, nobody else gets a message of the key. It yields its deliveries in turn and is settled
/// up to a point, so that nothing can be settled before what goes first:
///
/// * [`ack_through`](Self::ack_through) settles what is done so far, and the run goes on behind it;
/// * [`ack`](Self::ack) settles the whole run;
/// * [`nack_at`](Self::nack_at) settles what comes before the message that failed, charges that one, and gives the rest
///   back uncharged: the failed one comes again before them.
///
/// Dropped, it gives back what is not settled. Only the message that was yielded last is charged, as a [`Delivery`]
/// that is dropped would be; nothing is if none was. If the lease runs out, only the first that is not settled is
/// charged. A run is what SQS gives with several messages of a group in one batch, and Service Bus with a session.
///
/// ```
/// # fn main() -> millpond::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = millpond::Store::open(dir.path())?;
/// use millpond::{Group, Message, WhenParked};
/// use std::time::Duration;
/// let orders = store.topic("orders")?;
/// orders.publish_all(["a1", "b1", "a2"].map(|text| Message::new(text).key(&text[..1]))).wait()?;
/// let email = orders.consumer("email", Group::default().ordered(WhenParked::Skip))?;
/// for mut run in email.lease_runs(10, Duration::ZERO)? {
///     while let Some(order) = run.next_delivery() {
///         assert_eq!(order.key(), Some(&order.payload()[..1]));
///     }
///     run.ack().wait()?;
/// }
/// # assert!(email.idle());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a run that is dropped is given back"]
pub struct Run {
    link: Link,
    group: GroupId,
    /// What is not settled, rising.
    rest: Vec<Delivery>,
    /// How many of those were yielded.
    yielded: usize,
}

impl Run {
    /// Deliveries that share a lease id and stand together are one run.
    pub(crate) fn all_of(link: &Link, group: GroupId, deliveries: impl Iterator<Item = Delivery>) -> Vec<Self> {
        let mut runs: Vec<Self> = Vec::new();
        for delivery in deliveries {
            match runs.last_mut() {
                Some(run) if run.rest.last().is_some_and(|last| last.lease_id() == delivery.lease_id()) => {
                    run.rest.push(delivery);
                }
                _ => runs.push(Self { link: link.clone(), group, rest: vec![delivery], yielded: 0 }),
            }
        }
        runs
    }

    /// The key of its messages; none if it is a single message without one.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.rest.first().and_then(Delivery::key)
    }

    /// The next message in turn. It is looked at here and settled by the run; it can be extended by itself.
    pub fn next_delivery(&mut self) -> Option<&Delivery> {
        let next = self.rest.get(self.yielded)?;
        self.yielded = self.yielded.saturating_add(1);
        Some(next)
    }

    /// What is not settled yet, yielded or not, in its order.
    pub fn deliveries(&self) -> &[Delivery] {
        &self.rest
    }

    /// Settles the messages up to and with this offset as done. The others stay in the run; those that were not yielded
    /// yet still are. Nothing happens if there are none up to there.
    ///
    /// # Errors
    /// In the ticket, as for [`Consumer::ack_all`](crate::Consumer::ack_all).
    pub fn ack_through(&mut self, offset: Offset) -> Ticket<()> {
        let done = self.take_before(offset.next()).ends(Outcome::Ack);
        self.settle(vec![done])
    }

    /// Settles the whole run as done.
    ///
    /// # Errors
    /// In the ticket, as for [`Consumer::ack_all`](crate::Consumer::ack_all).
    pub fn ack(mut self) -> Ticket<()> {
        let done = self.take(self.rest.len()).ends(Outcome::Ack);
        self.settle(vec![done])
    }

    /// Settles the messages before this offset as done, the one at it as failed (the group's retry policy applies), and
    /// gives those behind it back uncharged. If none of the run is at this offset, nothing is charged.
    ///
    /// # Errors
    /// In the ticket, as for [`Delivery::nack`]: `LeaseLost` concerns those whose lease was lost, while the others are
    /// settled.
    pub fn nack_at(mut self, offset: Offset, error: impl Display) -> Ticket<()> {
        let error = text(&error);
        let done = self.take_before(offset);
        let failed = self.take_before(offset.next());
        let rest = self.take(self.rest.len());
        let back = Outcome::Release { after: None };
        self.settle(vec![done.ends(Outcome::Ack), failed.ends(Outcome::Nack { error, after: None }), rest.ends(back)])
    }

    /// Lengthens the lease of all that is not settled, as [`Delivery::extend`] does.
    ///
    /// # Errors
    /// As for [`Delivery::extend`]; those before the first that can't be extended are.
    pub fn extend(&self, by: Duration) -> Result<()> {
        self.rest.iter().try_for_each(|delivery| delivery.extend(by))
    }

    /// Takes over what lies before an offset.
    fn take_before(&mut self, end: Offset) -> Taken {
        self.take(self.rest.partition_point(|delivery| delivery.offset() < end))
    }

    fn take(&mut self, count: usize) -> Taken {
        let mut taken: Vec<Delivery> = self.rest.drain(..count.min(self.rest.len())).collect();
        self.yielded = self.yielded.saturating_sub(count);
        let ages = taken.iter().map(Delivery::age).collect();
        Taken { held: hand_over(&mut taken), ages }
    }

    fn settle(&self, parts: Vec<RunPart>) -> Ticket<()> {
        match self.link.engine() {
            Ok(engine) => {
                parts.iter().for_each(|part| trace::settled(&self.link, self.group, &part.held, &part.how));
                engine.settle_run(self.group, parts)
            }
            Err(error) => Ticket::done(Err(error)),
        }
    }
}

/// What was taken out of a run to be settled.
struct Taken {
    held: Vec<(Offset, u64)>,
    ages: Vec<Age>,
}

impl Taken {
    fn ends(self, how: Outcome) -> RunPart {
        let Self { held, ages } = self;
        RunPart { held, ages, how }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if self.rest.is_empty() {
            return;
        }
        let back = Outcome::Release { after: None };
        let dropped = if std::thread::panicking() { Outcome::Panicked } else { Outcome::Dropped };
        let last = self.yielded.saturating_sub(1);
        let charged = self.yielded.min(1);
        let before = self.take(last);
        let (last, behind) = (self.take(charged), self.take(self.rest.len()));
        // Those behind it first: while it is held, nothing of the key is handed out.
        for (taken, how) in [(behind, &back), (last, &dropped), (before, &back)] {
            if !taken.held.is_empty() {
                delivery::let_go(&self.link, self.group, &taken.held, how);
            }
        }
    }
}
