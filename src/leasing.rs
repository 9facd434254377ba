//! [`Leasing`]: a lease that is awaited, on any runtime. [`Deliveries`]: one message after the other.

use crate::consumer::{Batch, Consumer, Shared};
use crate::delivery::Delivery;
use crate::engine::{Ask, Shape};
use crate::error::{Code, Error, ErrorKind, Result};
use crate::run::Run;
use std::future::Future;
use std::iter::FusedIterator;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// A lease that is waited for without a thread: what [`Consumer::next`] and its like return, to be `.await`ed on any
/// runtime.
///
/// It waits in line from when it is first polled, behind those of its group that came before. It does no I/O and waits
/// for nothing while it is polled: a thread of the store reads the message and writes down that it is handed out, and
/// wakes only whom it has something for. Dropped, it loses nothing: a message that was meant for it goes back, and
/// nothing is charged. So it can be one branch of a `select!`, or stand in a timeout.
#[must_use = "a future does nothing unless it is polled"]
pub struct Leasing<T> {
    consumer: Arc<Shared>,
    /// None, and no patience: it waits for the end.
    max: usize,
    shape: Shape,
    patience: Option<Duration>,
    ask: Option<Arc<Ask>>,
    make: fn(Batch) -> Result<T>,
}

impl<T> Leasing<T> {
    fn new(consumer: &Consumer, max: usize, patience: Option<Duration>, make: fn(Batch) -> Result<T>) -> Self {
        Self { consumer: consumer.shared.clone(), max, shape: Shape::Single, patience, ask: None, make }
    }
}

impl<T> std::fmt::Debug for Leasing<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leasing").field("max", &self.max).field("waiting", &self.ask.is_some()).finish()
    }
}

impl<T> Future for Leasing<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Shared { link, group, stopped, .. } = &*this.consumer;
        if this.max == 0 && this.patience.is_some() {
            return Poll::Ready((this.make)(this.consumer.batch(&*link.engine()?, Vec::new())));
        }
        loop {
            let ask = match &this.ask {
                Some(ask) => ask,
                None => this.ask.insert(link.engine()?.ask(*group, (this.max, this.shape), this.patience, stopped)?),
            };
            let Poll::Ready(answer) = ask.poll(context.waker()) else { return Poll::Pending };
            this.ask = None;
            let leased = answer?;
            // With the engine gone, so are the leases.
            let engine = link.engine()?;
            let nothing = leased.is_empty();
            let leased = engine.still_held(*group, leased);
            // What was fetched too late is somebody else's: it stands in line again.
            if nothing || !leased.is_empty() {
                return Poll::Ready((this.make)(this.consumer.batch(&engine, leased)));
            }
        }
    }
}

impl<T> Drop for Leasing<T> {
    fn drop(&mut self) {
        if let Some(ask) = self.ask.take()
            && let Ok(engine) = self.consumer.link.engine()
        {
            engine.withdraw(&ask);
        }
    }
}

impl Consumer {
    /// The next message, awaited: the twin of [`lease`](Self::lease).
    ///
    /// # Errors
    /// As for [`lease`](Self::lease).
    ///
    /// ```
    /// # async fn work(email: millpond::Consumer) -> millpond::Result<()> {
    /// loop {
    ///     let order = email.next().await?; // `Closed` after `close` or `stop`
    ///     println!("{} bytes", order.payload().len());
    ///     order.ack().await?;
    /// }
    /// # }
    /// ```
    pub fn next(&self) -> Leasing<Delivery> {
        Leasing::new(self, 1, None, |mut batch| {
            batch.next().ok_or_else(|| Error::new(Code::Closed, "the lease ended without a message"))
        })
    }

    /// The next message, awaited for up to `patience` by the store's clock; nothing if none came in that time: the twin
    /// of [`lease_timeout`](Self::lease_timeout), and, without patience, of [`try_lease`](Self::try_lease).
    ///
    /// # Errors
    /// As for [`lease`](Self::lease).
    pub fn next_timeout(&self, patience: Duration) -> Leasing<Option<Delivery>> {
        Leasing::new(self, 1, Some(patience), |mut batch| Ok(batch.next()))
    }

    /// Up to `max` messages at once, awaited: the twin of [`lease_many`](Self::lease_many). Waits up to `linger` for
    /// the first, and for no further one; empty if none came in that time, or if `max` is 0.
    ///
    /// # Errors
    /// As for [`lease`](Self::lease).
    pub fn next_many(&self, max: usize, linger: Duration) -> Leasing<Batch> {
        Leasing::new(self, max, Some(linger), Ok)
    }

    /// Up to `max` messages of an [ordered](crate::Group::ordered) group in runs of a key, awaited: the twin of
    /// [`lease_runs`](Self::lease_runs).
    ///
    /// # Errors
    /// As for [`lease`](Self::lease).
    ///
    /// ```
    /// # async fn work(email: millpond::Consumer) -> millpond::Result<()> {
    /// # use std::time::Duration;
    /// for mut run in email.next_runs(100, Duration::from_secs(1)).await? {
    ///     while let Some(order) = run.next_delivery() {
    ///         println!("{} bytes", order.payload().len());
    ///     }
    ///     run.ack().await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn next_runs(&self, max: usize, linger: Duration) -> Leasing<Vec<Run>> {
        let mut leasing = Leasing::new(self, max, Some(linger), |batch| Ok(batch.into_runs()));
        leasing.shape = Shape::Runs;
        leasing
    }

    /// As many as there are, up to `max`, and one at least.
    #[cfg(feature = "tokio")]
    pub(crate) fn next_some(&self, max: usize) -> Leasing<Batch> {
        Leasing::new(self, max, None, Ok)
    }

    /// Resolves when nothing can be leased any more, with the reason: `Closed` after [`stop`](crate::Stopper::stop)
    /// (code `stopped`) or after the store was closed, `Poisoned` after a failed write or sync.
    ///
    /// ```
    /// # async fn watch(email: millpond::Consumer) {
    /// println!("no more mails: {}", email.ended().await);
    /// # }
    /// ```
    pub fn ended(&self) -> impl Future<Output = Error> + Send + 'static {
        let ended = Leasing::new(self, 0, None, |_| Ok(()));
        async move {
            match ended.await {
                Err(error) => error,
                // Not before something else is mended: nothing is leased for who wants nothing.
                Ok(()) => Error::new(Code::Closed, "nothing can be leased any more"),
            }
        }
    }

    /// The messages one after the other, each waited for as [`lease`](Self::lease) does. It ends when the consumer is
    /// [stopped](Self::stopper) or the store is closed.
    ///
    /// ```
    /// # fn main() -> millpond::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = millpond::Store::open(dir.path())?;
    /// # let orders = store.topic("orders")?;
    /// # orders.publish_all(["a".into(), "b".into()]).wait()?;
    /// # let email = orders.consumer("email", millpond::Group::default())?;
    /// let stopper = email.stopper();
    /// for order in email.deliveries() {
    ///     let order = order?;
    ///     if order.payload() == b"b" {
    ///         stopper.stop(); // this one is the last
    ///     }
    ///     order.ack().wait()?;
    /// }
    /// # assert!(email.idle());
    /// # Ok(())
    /// # }
    /// ```
    pub fn deliveries(&self) -> Deliveries {
        Deliveries { consumer: self.clone(), over: false }
    }
}

/// The messages of a group, one after the other, without an end of their own; see [`Consumer::deliveries`].
///
/// After an error that says that no more will come it ends; others are passed over by asking on.
#[derive(Debug)]
pub struct Deliveries {
    consumer: Consumer,
    over: bool,
}

impl Iterator for Deliveries {
    type Item = Result<Delivery>;

    fn next(&mut self) -> Option<Result<Delivery>> {
        if self.over {
            return None;
        }
        item(self.consumer.lease(), &mut self.over)
    }
}

impl FusedIterator for Deliveries {}

/// What is told of an outcome, and whether it is the last.
fn item(outcome: Result<Delivery>, over: &mut bool) -> Option<Result<Delivery>> {
    let kind = outcome.as_ref().err().map(Error::kind);
    *over = kind.is_some_and(is_final);
    (kind != Some(ErrorKind::Closed)).then_some(outcome)
}

/// Whether a consumer that gets this error from a lease gets it ever after.
pub(crate) fn is_final(kind: ErrorKind) -> bool {
    !matches!(kind, ErrorKind::Retry | ErrorKind::Full | ErrorKind::System | ErrorKind::Corrupt)
}

#[cfg(feature = "stream")]
mod stream {
    use super::{Leasing, item};
    use crate::consumer::Consumer;
    use crate::delivery::Delivery;
    use crate::error::Result;
    use futures_core::stream::{FusedStream, Stream};
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    /// The messages of a group as a [`Stream`], without an end of their own; see [`Consumer::stream`].
    ///
    /// It takes a message when it is polled for one, and none ahead. Dropped, it loses nothing, as
    /// [`Leasing`] does.
    #[derive(Debug)]
    #[must_use = "a stream does nothing unless it is polled"]
    pub struct DeliveryStream {
        next: Leasing<Delivery>,
        over: bool,
    }

    impl Stream for DeliveryStream {
        type Item = Result<Delivery>;

        fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Delivery>>> {
            let this = &mut *self;
            if this.over {
                return Poll::Ready(None);
            }
            // One that has resolved waits for the next when it is polled again.
            Pin::new(&mut this.next).poll(context).map(|outcome| item(outcome, &mut this.over))
        }
    }

    impl FusedStream for DeliveryStream {
        fn is_terminated(&self) -> bool {
            self.over
        }
    }

    impl Consumer {
        /// The messages one after the other, awaited: the twin of [`deliveries`](Self::deliveries). It ends when the
        /// consumer is [stopped](Self::stopper) or the store is closed. Only with feature `stream`.
        pub fn stream(&self) -> DeliveryStream {
            DeliveryStream { next: self.next(), over: false }
        }
    }
}

#[cfg(feature = "stream")]
pub use stream::DeliveryStream;
