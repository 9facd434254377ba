//! Workers that are threads.

use super::handled::BatchHandled;
use super::job::{Books, End, Job, Record};
use super::keeper::{Hands, Keeper};
use super::{Worked, Workers, panic_message};
use crate::consumer::Consumer;
use crate::delivery::{self, Delivery};
use crate::engine::{Outcome, Wait};
use crate::error::{Error, ErrorKind, Result};
use crate::leasing::is_final;
use crate::sync::{Condvar, Mutex};
use crate::trace;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::Duration;

/// How long a worker waits after a lease failed in a way that may pass.
const PAUSE: Duration = Duration::from_millis(100);

type Handler = dyn Fn(&[Delivery]) -> BatchHandled + Send + Sync;

/// What the workers of one run share.
struct Run {
    consumer: Consumer,
    keeper: Arc<Keeper>,
    batch: usize,
    handler: Box<Handler>,
    /// Of each worker; gone when the run is over, though a worker may not be.
    books: Vec<Mutex<Option<Books>>>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    working: usize,
    ended: bool,
    /// Somebody has to look whether it ended.
    woken: bool,
    failed: Option<Error>,
}

impl Wake for Run {
    fn wake(self: Arc<Self>) {
        self.state.lock().woken = true;
        self.changed.notify_all();
    }
}

/// Runs workers until the consumer is stopped or the store is closed.
pub(super) fn run(consumer: &Consumer, workers: &Workers, batch: usize, handler: Box<Handler>) -> Result<Worked> {
    workers.check()?;
    let (keeper, timer) = Keeper::start(&consumer.shared, workers.timeout, Hands::Threads)?;
    let new_books = || Mutex::new(Some(Books::new(consumer.shared.link.clone(), consumer.shared.group)));
    let books = (0..workers.at_once).map(|_| new_books()).collect();
    let (state, changed) = (Mutex::default(), Condvar::new());
    let run = Arc::new(Run { consumer: consumer.clone(), keeper, batch, handler, books, state, changed });
    {
        // They begin when all are there.
        let mut state = run.state.lock();
        for number in 0..workers.at_once {
            if let Err(error) = start(&run, number) {
                (state.ended, state.failed) = (true, Some(error));
                break;
            }
            state.working += 1;
        }
    }
    run.await_end();
    run.drain(workers.grace);
    run.keeper.stop();
    if timer.join().is_err() {
        tracing::error!("the timer of the workers panicked");
    }
    run.finish()
}

#[expect(clippy::disallowed_methods, reason = "workers are above the engine, and threads are what was asked for")]
fn start(run: &Arc<Run>, number: usize) -> Result<()> {
    let run = run.clone();
    let thread = std::thread::Builder::new().name(format!("millpond-worker-{number}"));
    let started = thread.spawn(move || run.work(number));
    started.map(drop).map_err(|source| Error::io("starting a worker", source))
}

impl Run {
    /// Waits until nothing can be leased any more, or the workers have ended by themselves.
    fn await_end(self: &Arc<Self>) {
        let waker = Waker::from(self.clone());
        let mut ended = pin!(self.consumer.ended());
        loop {
            let end = ended.as_mut().poll(&mut Context::from_waker(&waker));
            let mut state = self.state.lock();
            if end.is_ready() || state.ended || state.working == 0 {
                state.ended = true;
                self.changed.notify_all();
                return;
            }
            self.changed.wait_while(&mut state, |state| !state.woken && !state.ended && state.working > 0);
            state.woken = false;
        }
    }

    /// Lets the workers finish what they have. What is not done after the grace is given back when the keeper stops.
    fn drain(&self, grace: Option<Duration>) {
        let mut state = self.state.lock();
        match grace {
            None => self.changed.wait_while(&mut state, |state| state.working > 0),
            Some(grace) => {
                self.changed.wait_while_for(&mut state, |state| state.working > 0, grace);
            }
        }
    }

    /// Closes all books, also those of workers that are not done.
    fn finish(&self) -> Result<Worked> {
        let mut failed = self.state.lock().failed.take();
        let mut all = Worked::default();
        let books = self.books.iter().filter_map(|books| books.lock().take()).map(Books::close);
        for (worked, outcome) in books.chain(self.keeper.take_outcome()) {
            all.add(worked);
            failed = failed.or(outcome.err());
        }
        failed.map_or(Ok(all), Err)
    }

    /// What a worker does.
    fn work(&self, number: usize) {
        while !self.state.lock().ended {
            match self.take() {
                Ok(mut deliveries) => self.handle(number, &mut deliveries),
                Err(error) if error.kind() == ErrorKind::Closed => break,
                Err(error) if is_final(error.kind()) => {
                    let mut state = self.state.lock();
                    state.failed.get_or_insert(error);
                    // The others would find the same, each when its handler returns.
                    state.ended = true;
                    break;
                }
                Err(error) => {
                    tracing::warn!(%error, "a worker can't lease now; it tries again");
                    let mut state = self.state.lock();
                    self.changed.wait_while_for(&mut state, |state| !state.ended, PAUSE);
                }
            }
        }
        self.state.lock().working -= 1;
        self.changed.notify_all();
    }

    fn take(&self) -> Result<Vec<Delivery>> {
        loop {
            let batch = self.consumer.lease_batch(self.batch, Wait::Forever)?;
            if batch.len() > 0 {
                return Ok(batch.collect());
            }
        }
    }

    fn handle(&self, number: usize, deliveries: &mut [Delivery]) {
        let job = Arc::new(Job::of(deliveries));
        let mut record = Record::Left;
        if let Ok(lease) = self.keeper.lease() {
            let watched = self.keeper.watch(job.clone(), lease);
            let span = trace::processing(&self.consumer, deliveries);
            let said = span.in_scope(|| catch_unwind(AssertUnwindSafe(|| (self.handler)(deliveries))));
            self.keeper.forget(watched);
            record = said.map_or_else(|panic| Record::Panicked(panic_message(&*panic)), Record::Said);
            trace::processed(&span, record.word());
        }
        let Some(books) = self.books.get(number) else { return };
        // Under the lock, so that nothing is between having ended it and having it in the books.
        let mut books = books.lock();
        if job.end(End::Returned) {
            match &mut *books {
                Some(books) => books.record(&job, record),
                // It was begun when the run was given up: it goes back.
                None => {
                    let shared = &self.consumer.shared;
                    delivery::let_go(&shared.link, shared.group, &job.held, &Outcome::Release { after: None });
                }
            }
        }
    }
}
