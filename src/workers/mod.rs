//! Workers: a handler, and what leases messages for it, keeps them, and settles them as it says.

mod handled;
mod job;
mod keeper;
#[cfg(feature = "tokio")]
mod tasks;
mod threads;

pub use handled::{BatchHandled, Handled, IntoBatchHandled, IntoHandled};

use crate::consumer::Consumer;
use crate::delivery::Delivery;
use crate::error::{Code, Error, Result};
use std::any::Any;
use std::time::Duration;

/// More workers of one run than this are taken for a mistake.
const MOST: usize = 1 << 16;

/// How many workers there are, and how they work: for [`Consumer::run`] and its like.
///
/// ```
/// use millpond::Workers;
/// use std::time::Duration;
/// let workers = Workers::threads(8).timeout(Duration::from_secs(60)).grace(Duration::from_secs(10));
/// # drop(workers);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "settings do nothing by themselves"]
pub struct Workers {
    at_once: usize,
    timeout: Option<Duration>,
    grace: Option<Duration>,
    batch: usize,
}

impl Workers {
    /// So many handlers at once, each on a thread of its own.
    pub fn threads(count: usize) -> Self {
        Self { at_once: count, timeout: None, grace: None, batch: 100 }
    }

    /// So many handlers at once, each a task. A new message is leased only when one of them is free.
    pub fn tasks(count: usize) -> Self {
        Self::threads(count)
    }

    /// How long a handler may take (default: as long as it likes). When that is over, its message has failed, and the
    /// retry policy applies.
    ///
    /// A task is dropped first, at its next `.await`. A thread can't be stopped: the message is no longer its own and
    /// what the handler says of it is ignored, but the handler runs on and occupies its worker until it returns. A
    /// message can then be in two hands at once, if the retry's wait is shorter than what the handler still takes.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How long handlers may go on after the consumer was stopped or the store closed (default: until they are done).
    /// What is not done then is released uncharged. A task is dropped; a thread is left to itself, as with
    /// [`timeout`](Self::timeout), and ends when its handler returns.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = Some(grace);
        self
    }

    /// How many messages a handler of batches gets at most (default 100). It gets what is there, and does not wait for
    /// more.
    pub fn batch(mut self, most: usize) -> Self {
        self.batch = most;
        self
    }

    fn check(&self) -> Result<()> {
        let refused = |what: &str| Err(Error::new(Code::BadSetting, what));
        if self.at_once == 0 || self.at_once > MOST {
            return refused(&format!("there have to be between 1 and {MOST} workers, not {}", self.at_once));
        }
        if self.batch == 0 {
            return refused("a batch of no messages can't be handled: `Workers::batch` has to be 1 at least");
        }
        Ok(())
    }
}

/// What a run of workers did: how many messages it settled, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Worked {
    /// Acked.
    pub done: u64,
    /// Failed, the next two included: tried again or parked, as the retry policy says.
    pub failed: u64,
    /// Failed by a panic of the handler.
    pub panicked: u64,
    /// Failed by taking longer than [`Workers::timeout`].
    pub timed_out: u64,
    /// Parked by the handler.
    pub buried: u64,
    /// Given back by the handler.
    pub released: u64,
    /// Given back because the workers had to end, and were not done with it.
    pub left: u64,
    /// Of all these, what could not be recorded, since the lease was somebody else's by then or the store was closed;
    /// and what a task was dropped for, since its lease was lost.
    pub lost: u64,
}

impl Worked {
    fn add(&mut self, other: Self) {
        let Self { done, failed, panicked, timed_out, buried, released, left, lost } = other;
        self.done += done;
        self.failed += failed;
        self.panicked += panicked;
        self.timed_out += timed_out;
        self.buried += buried;
        self.released += released;
        self.left += left;
        self.lost += lost;
    }
}

impl Consumer {
    /// Hands messages to `handler`, on as many threads as `workers` says, until this consumer is
    /// [stopped](Self::stopper) or the store is closed; then waits until the handlers are done, and returns.
    ///
    /// A message that is handled is acked; one whose handler fails or panics is nacked with the error's text; see
    /// [`Handled`] for what else can be said of it. While a handler works, its lease is extended. A worker goes on to
    /// the next message without waiting until the ack is durable; when this returns, all are.
    ///
    /// Stopping under load loses nothing and charges nothing: what was leased and not begun goes back.
    ///
    /// # Errors
    /// `Misuse` (code `bad-setting`) if the settings make no sense, (`unknown-group`) if the group is dropped;
    /// `Poisoned` after a failed write or sync; `System` if a thread can't be started. What may pass, as a full disk,
    /// is waited for.
    ///
    /// ```
    /// # fn main() -> millpond::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = millpond::Store::open(dir.path())?;
    /// # let orders = store.topic("orders")?;
    /// # orders.publish_all(["4711".into(), "4712".into()]).wait()?;
    /// use millpond::{Delivery, Group, Workers};
    /// let email = orders.consumer("email", Group::default())?;
    /// let stopper = email.stopper(); // for a signal, or here for the last of them
    /// let worked = email.run(Workers::threads(2), move |order: &Delivery| {
    ///     if order.payload() == b"4712" {
    ///         stopper.stop();
    ///     }
    ///     std::str::from_utf8(order.payload()).map(|order| println!("mail for {order}"))
    /// })?;
    /// assert!(worked.done >= 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn run<R: IntoHandled>(
        &self,
        workers: Workers,
        handler: impl Fn(&Delivery) -> R + Send + Sync + 'static,
    ) -> Result<Worked> {
        let handler = move |deliveries: &[Delivery]| {
            // It is one.
            BatchHandled::All(deliveries.first().map_or_else(Handled::release, |one| handler(one).into_handled()))
        };
        threads::run(self, &workers, 1, Box::new(handler))
    }

    /// As [`run`](Self::run), for a handler of several messages at once: of what is there, up to
    /// [`Workers::batch`].
    ///
    /// # Errors
    /// As for [`run`](Self::run).
    ///
    /// ```
    /// # fn main() -> millpond::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = millpond::Store::open(dir.path())?;
    /// # let orders = store.topic("orders")?;
    /// # orders.publish_all(["4711".into(), "4712".into()]).wait()?;
    /// use millpond::{Delivery, Group, Workers};
    /// let index = orders.consumer("index", Group::default())?;
    /// let stopper = index.stopper();
    /// index.run_batches(Workers::threads(1).batch(1000), move |orders: &[Delivery]| {
    ///     println!("{} orders in one insert", orders.len());
    ///     stopper.stop();
    /// })?;
    /// # assert!(index.idle());
    /// # Ok(())
    /// # }
    /// ```
    pub fn run_batches<R: IntoBatchHandled>(
        &self,
        workers: Workers,
        handler: impl Fn(&[Delivery]) -> R + Send + Sync + 'static,
    ) -> Result<Worked> {
        let handler = move |deliveries: &[Delivery]| handler(deliveries).into_handled();
        threads::run(self, &workers, workers.batch, Box::new(handler))
    }
}

/// What a panic said, as far as it is text.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "(no text)".to_owned())
}
