//! Workers that are tasks of tokio.

use super::handled::BatchHandled;
use super::job::{End, Job, Record};
use super::keeper::{Hands, Keeper};
use super::{Handled, IntoBatchHandled, IntoHandled, Worked, Workers, panic_message};
use crate::consumer::{Batch, Consumer};
use crate::delivery::Delivery;
use crate::error::{Error, ErrorKind, Result};
use crate::leasing::{Leasing, is_final};
use crate::trace;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::task::JoinSet;
use tracing::Span;

/// How long a run waits after a lease failed in a way that may pass.
const PAUSE: Duration = Duration::from_millis(100);

type Working = Pin<Box<dyn Future<Output = BatchHandled> + Send>>;

impl Consumer {
    /// The twin of [`run`](Self::run) on tokio: hands messages to `handler`, as many at once as `workers` says, each in
    /// a task of its own. Only with feature `tokio`.
    ///
    /// The future resolves when the consumer was [stopped](Self::stopper) or the store closed, and the handlers are
    /// done. Dropped before, it drops the handlers at their next `.await`, and what they had goes back uncharged.
    ///
    /// The runtime does none of the store's work: it needs no `enable_io` and no `enable_time`.
    ///
    /// # Errors
    /// As for [`run`](Self::run).
    ///
    /// ```
    /// # fn main() -> millpond::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = millpond::Store::open(dir.path())?;
    /// # let orders = store.topic("orders")?;
    /// # orders.publish("4711").wait()?;
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// use millpond::{Delivery, Group, Workers};
    /// use std::sync::Arc;
    /// let email = orders.consumer("email", Group::default())?;
    /// let stopper = email.stopper();
    /// let work = email.run_async(Workers::tasks(100), move |order: Arc<Delivery>| {
    ///     let stopper = stopper.clone();
    ///     async move {
    ///         stopper.stop(); // for this example, the first is the last
    ///         String::from_utf8(order.payload().to_vec()).map(|order| println!("mail for {order}"))
    ///     }
    /// });
    /// assert_eq!(work.await?.done, 1);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub async fn run_async<F, R>(
        &self,
        workers: Workers,
        handler: impl Fn(Arc<Delivery>) -> F + Send + Sync + 'static,
    ) -> Result<Worked>
    where
        F: Future<Output = R> + Send + 'static,
        R: IntoHandled,
    {
        let handler = Arc::new(handler);
        let one = move |mut deliveries: Vec<Delivery>| -> Working {
            let handler = handler.clone();
            Box::pin(async move {
                // It is one.
                let Some(delivery) = deliveries.pop() else { return BatchHandled::All(Handled::release()) };
                BatchHandled::All(handler(Arc::new(delivery)).await.into_handled())
            })
        };
        run(self, &workers, 1, &one).await
    }

    /// The twin of [`run_batches`](Self::run_batches) on tokio. Only with feature `tokio`.
    ///
    /// # Errors
    /// As for [`run`](Self::run).
    pub async fn run_batches_async<F, R>(
        &self,
        workers: Workers,
        handler: impl Fn(Arc<[Delivery]>) -> F + Send + Sync + 'static,
    ) -> Result<Worked>
    where
        F: Future<Output = R> + Send + 'static,
        R: IntoBatchHandled,
    {
        let handler = Arc::new(handler);
        let all = move |deliveries: Vec<Delivery>| -> Working {
            let handler = handler.clone();
            Box::pin(async move { handler(deliveries.into()).await.into_handled() })
        };
        run(self, &workers, workers.batch, &all).await
    }
}

/// Stops the keeper however the run ends.
struct Crew(Arc<Keeper>);

impl Drop for Crew {
    fn drop(&mut self) {
        self.0.stop();
    }
}

async fn run(
    consumer: &Consumer,
    workers: &Workers,
    batch: usize,
    handler: &(dyn Fn(Vec<Delivery>) -> Working + Send + Sync),
) -> Result<Worked> {
    workers.check()?;
    let (keeper, _) = Keeper::start(&consumer.shared, workers.timeout, Hands::Tasks)?;
    let crew = Crew(keeper);
    let mut run = Running { consumer, workers, batch, handler, keeper: &crew.0, tasks: JoinSet::new(), next: None };
    let mut ended = pin!(consumer.ended());
    let why = poll_fn(|context| run.serve(ended.as_mut(), context)).await;
    let mut until = None;
    poll_fn(|context| run.drain(&mut until, context)).await;
    crew.0.stop();
    let (worked, outcome) = poll_fn(|context| crew.0.poll_outcome(context.waker())).await;
    outcome?;
    if why.kind() == ErrorKind::Closed { Ok(worked) } else { Err(why) }
}

struct Running<'a> {
    consumer: &'a Consumer,
    workers: &'a Workers,
    batch: usize,
    handler: &'a (dyn Fn(Vec<Delivery>) -> Working + Send + Sync),
    keeper: &'a Arc<Keeper>,
    tasks: JoinSet<()>,
    next: Option<Leasing<Batch>>,
}

impl Running<'_> {
    /// Leases whenever a task is free, until nothing can be leased any more: why.
    fn serve(&mut self, ended: Pin<&mut impl Future<Output = Error>>, context: &mut Context<'_>) -> Poll<Error> {
        if let Poll::Ready(why) = ended.poll(context) {
            self.next = None;
            return Poll::Ready(why);
        }
        loop {
            self.reap(context);
            let free = self.workers.at_once.saturating_sub(self.tasks.len());
            if free == 0 || self.keeper.is_behind(context.waker()) {
                return Poll::Pending;
            }
            // Single messages are asked for by as many as can be begun at once.
            let want = if self.batch == 1 { free } else { self.batch };
            let next = self.next.get_or_insert_with(|| self.consumer.next_some(want));
            let Poll::Ready(leased) = Pin::new(next).poll(context) else { return Poll::Pending };
            self.next = None;
            let outcome = leased.and_then(|leased| self.begin(leased));
            match outcome {
                Ok(()) => {}
                Err(error) if is_final(error.kind()) => return Poll::Ready(error),
                Err(error) => {
                    tracing::warn!(%error, "the workers can't lease now; they try again");
                    self.keeper.alarm(self.keeper.now().saturating_add(PAUSE), context.waker());
                    return Poll::Pending;
                }
            }
        }
    }

    fn begin(&mut self, leased: Batch) -> Result<()> {
        // If this fails, what is in the batch goes back.
        let lease = self.keeper.lease()?;
        let mut leased = leased.peekable();
        while leased.peek().is_some() {
            let mut deliveries: Vec<Delivery> = leased.by_ref().take(self.batch).collect();
            let job = Arc::new(Job::of(&mut deliveries));
            let number = self.keeper.watch(job.clone(), lease);
            let span = trace::processing(self.consumer, &deliveries);
            let working = Some(span.in_scope(|| (self.handler)(deliveries)));
            self.tasks.spawn(Task { working, job, number, span, keeper: self.keeper.clone() });
        }
        Ok(())
    }

    fn reap(&mut self, context: &mut Context<'_>) {
        while let Poll::Ready(Some(ended)) = self.tasks.poll_join_next(context) {
            if let Err(error) = ended {
                tracing::error!(%error, "the task of a worker did not end well");
            }
        }
    }

    /// Waits for the tasks that are at work, for as long as the grace is.
    fn drain(&mut self, until: &mut Option<Duration>, context: &mut Context<'_>) -> Poll<()> {
        self.reap(context);
        if self.tasks.is_empty() {
            return Poll::Ready(());
        }
        let Some(grace) = self.workers.grace else { return Poll::Pending };
        let until = *until.get_or_insert_with(|| self.keeper.now().saturating_add(grace));
        if self.keeper.now() >= until {
            return Poll::Ready(());
        }
        self.keeper.alarm(until, context.waker());
        Poll::Pending
    }
}

/// A handler at work, and what ends it.
struct Task {
    /// Gone when it is over.
    working: Option<Working>,
    job: Arc<Job>,
    number: u64,
    span: Span,
    keeper: Arc<Keeper>,
}

impl Task {
    fn over(&mut self, record: Record) -> Poll<()> {
        // The handler goes first: until then its message is nobody else's.
        let working = self.working.take();
        trace::processed(&self.span, record.word());
        let _within = self.span.enter();
        if catch_unwind(AssertUnwindSafe(|| drop(working))).is_err() {
            tracing::error!("what a handler dropped panicked");
        }
        self.keeper.finish(self.number, &self.job, record);
        Poll::Ready(())
    }
}

impl Task {
    /// It was ended by somebody else.
    fn cut(&mut self, end: End) -> Poll<()> {
        match end {
            End::TimedOut => self.over(Record::TimedOut(self.keeper.timeout().unwrap_or_default())),
            End::Lost => self.over(Record::Lost),
            // Whoever did has settled it.
            End::Running | End::Returned | End::Left => {
                self.working = None;
                Poll::Ready(())
            }
        }
    }
}

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if let Some(end) = this.job.ended(context.waker()) {
            return this.cut(end);
        }
        let Some(working) = &mut this.working else { return Poll::Ready(()) };
        let polled = this.span.in_scope(|| catch_unwind(AssertUnwindSafe(|| working.as_mut().poll(context))));
        let record = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(said)) => Record::Said(said),
            Err(panic) => Record::Panicked(panic_message(&*panic)),
        };
        if this.job.end(End::Returned) { this.over(record) } else { Pin::new(this).poll(context) }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if self.working.is_none() {
            return;
        }
        // Dropped at work, with the run or the runtime: nothing is charged for that.
        let _ = if self.job.end(End::Left) {
            self.over(Record::Left)
        } else {
            self.job.ended(Waker::noop()).map_or(Poll::Ready(()), |end| self.cut(end))
        };
    }
}
