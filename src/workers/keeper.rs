//! The one timer of a set of workers: it extends the leases of what is being worked on, ends what takes too long, and
//! gives back what is not done when the workers have to end. It goes by the time of the machine, as handlers do.
//!
//! Tasks have their messages settled by it too: to settle may wait for room, which has no place where tasks are polled.

use super::Worked;
use super::job::{Books, End, Job, Record};
use crate::clock::{Clock, SystemClock};
use crate::consumer::Shared;
use crate::error::{Error, ErrorKind, Result};
use crate::sync::{Condvar, Mutex, MutexGuard};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
#[cfg(feature = "tokio")]
use std::task::Poll;
use std::task::Waker;
use std::thread::JoinHandle;
use std::time::Duration;

/// A lease is extended this many times before it would run out: two may come late.
const BEATS: u32 = 3;

/// The shortest time between two beats, however short leases are.
const SHORTEST_BEAT: Duration = Duration::from_millis(1);

/// So much may wait to be settled before no more is leased.
#[cfg(feature = "tokio")]
const QUEUE: usize = 1024;

/// Who acts when a job takes too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hands {
    /// The keeper settles it at once: the handler can't be stopped.
    Threads,
    /// Its task is woken, drops the handler, and then has it settled.
    Tasks,
}

#[derive(Debug)]
struct Watched {
    job: Arc<Job>,
    /// When it has taken too long.
    deadline: Option<Duration>,
    timer: Duration,
}

#[derive(Debug, Default)]
struct State {
    jobs: BTreeMap<u64, Watched>,
    timers: BTreeSet<(Duration, u64)>,
    next: u64,
    /// What tasks have to be settled.
    queue: VecDeque<(Arc<Job>, Record)>,
    /// Whom to wake then: at a time, and when the queue has become short.
    alarm: Option<(Duration, Waker)>,
    behind: Option<Waker>,
    /// Until when the thread sleeps, if it does.
    sleeps: Option<Duration>,
    /// It ends when the queue is empty; then this is how it went, and whom to wake.
    over: bool,
    /// Nothing of the queue is settled from here on.
    ended: bool,
    outcome: Option<(Worked, Result<()>)>,
    waiting: Option<Waker>,
}

#[derive(Debug)]
pub(super) struct Keeper {
    consumer: Arc<Shared>,
    clock: SystemClock,
    timeout: Option<Duration>,
    hands: Hands,
    state: Mutex<State>,
    changed: Condvar,
    books: Mutex<Books>,
}

impl Keeper {
    #[expect(clippy::disallowed_methods, reason = "workers are above the engine, and their timer is a thread")]
    pub(super) fn start(
        consumer: &Arc<Shared>,
        timeout: Option<Duration>,
        hands: Hands,
    ) -> Result<(Arc<Self>, JoinHandle<()>)> {
        let books = Books::new(consumer.link.clone(), consumer.group);
        let keeper = Arc::new(Self {
            consumer: consumer.clone(),
            clock: SystemClock::new(),
            timeout,
            hands,
            state: Mutex::default(),
            changed: Condvar::new(),
            books: Mutex::new(books),
        });
        let run = keeper.clone();
        let thread = std::thread::Builder::new().name("millpond-keeper".to_owned()).spawn(move || run.run());
        let thread = thread.map_err(|source| Error::io("starting the timer of the workers", source))?;
        Ok((keeper, thread))
    }

    /// Looks after a job from now on.
    pub(super) fn watch(&self, job: Arc<Job>, lease: Duration) -> u64 {
        let now = self.clock.monotonic();
        let deadline = self.timeout.map(|timeout| now.saturating_add(timeout));
        let timer = next_beat(now, lease).min(deadline.unwrap_or(Duration::MAX));
        let mut state = self.state.lock();
        state.next += 1;
        let number = state.next;
        state.jobs.insert(number, Watched { job, deadline, timer });
        state.timers.insert((timer, number));
        if state.sleeps.is_some_and(|until| timer < until) {
            self.changed.notify_one();
        }
        number
    }

    pub(super) fn forget(&self, number: u64) {
        let mut state = self.state.lock();
        if let Some(watched) = state.jobs.remove(&number) {
            state.timers.remove(&(watched.timer, number));
        }
    }

    /// Ends the timer, when it has settled what is in its queue and given back what is still being worked on.
    pub(super) fn stop(&self) {
        self.state.lock().over = true;
        self.changed.notify_one();
    }

    /// How it ended, if it has.
    pub(super) fn take_outcome(&self) -> Option<(Worked, Result<()>)> {
        self.state.lock().outcome.take()
    }

    fn record(&self, job: &Job, record: Record) {
        self.books.lock().record(job, record);
    }

    /// How long leases of the group last now.
    pub(super) fn lease(&self) -> Result<Duration> {
        self.consumer.link.engine()?.lease_time(self.consumer.group)
    }

    fn run(&self) {
        let mut state = self.state.lock();
        loop {
            self.settle_queue(&mut state);
            if state.over {
                state.ended = true;
                break;
            }
            let now = self.clock.monotonic();
            if let Some((_, waker)) = state.alarm.take_if(|(at, _)| *at <= now) {
                MutexGuard::unlocked(&mut state, || waker.wake());
                continue;
            }
            match state.timers.first().copied() {
                Some((at, number)) if at <= now => {
                    state.timers.remove(&(at, number));
                    let Some((job, deadline)) =
                        state.jobs.get(&number).map(|watched| (watched.job.clone(), watched.deadline))
                    else {
                        continue;
                    };
                    let next = MutexGuard::unlocked(&mut state, || self.tend(&job, deadline, now));
                    let next = next.map(|next| next.min(deadline.unwrap_or(Duration::MAX)));
                    match (next, state.jobs.get_mut(&number)) {
                        (Some(next), Some(watched)) => {
                            watched.timer = next;
                            state.timers.insert((next, number));
                        }
                        _ => _ = state.jobs.remove(&number),
                    }
                }
                first => {
                    let alarm = state.alarm.as_ref().map(|(at, _)| *at);
                    let next = first.map(|(at, _)| at).into_iter().chain(alarm).min();
                    state.sleeps = Some(next.unwrap_or(Duration::MAX));
                    match next {
                        Some(at) => _ = self.changed.wait_for(&mut state, at.saturating_sub(now)),
                        None => self.changed.wait(&mut state),
                    }
                    state.sleeps = None;
                }
            }
        }
        let left = std::mem::take(&mut state.jobs);
        drop(state);
        for Watched { job, .. } in left.into_values() {
            if job.end(End::Left) {
                self.record(&job, Record::Left);
            }
        }
        let link = self.consumer.link.clone();
        let books = std::mem::replace(&mut *self.books.lock(), Books::new(link, self.consumer.group));
        let outcome = books.close();
        let mut state = self.state.lock();
        state.outcome = Some(outcome);
        let waiting = state.waiting.take();
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    fn settle_queue(&self, state: &mut MutexGuard<'_, State>) {
        while !state.queue.is_empty() {
            let queue = std::mem::take(&mut state.queue);
            MutexGuard::unlocked(state, || {
                let mut books = self.books.lock();
                queue.into_iter().for_each(|(job, record)| books.record(&job, record));
            });
            if let Some(behind) = state.behind.take() {
                MutexGuard::unlocked(state, || behind.wake());
            }
        }
    }

    /// One beat: the leases go on, or the job ends. When to come again.
    fn tend(&self, job: &Job, deadline: Option<Duration>, now: Duration) -> Option<Duration> {
        if let Some(timeout) = self.timeout.filter(|_| deadline.is_some_and(|deadline| deadline <= now)) {
            if job.end(End::TimedOut) && self.hands == Hands::Threads {
                self.record(job, Record::TimedOut(timeout));
            }
            return None;
        }
        let engine = self.consumer.link.engine().ok()?;
        let lease = engine.lease_time(self.consumer.group).ok()?;
        let mut lost = 0;
        for (offset, epoch) in &job.held {
            match engine.extend(self.consumer.group, *offset, *epoch, lease) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::LeaseLost => lost += 1,
                // It is tried again with the next beat.
                Err(error) => {
                    tracing::warn!(%offset, %error, "the lease of a message being worked on can't be extended")
                }
            }
        }
        // Nothing is left to work for; a thread's handler can't be told.
        if lost == job.held.len() {
            if self.hands == Hands::Tasks {
                job.end(End::Lost);
            }
            return None;
        }
        Some(next_beat(now, lease))
    }
}

fn next_beat(now: Duration, lease: Duration) -> Duration {
    now.saturating_add((lease / BEATS).max(SHORTEST_BEAT))
}

/// For tasks.
#[cfg(feature = "tokio")]
impl Keeper {
    /// A job is over: has it settled. Waits for nothing.
    pub(super) fn finish(&self, number: u64, job: &Arc<Job>, record: Record) {
        let mut state = self.state.lock();
        if let Some(watched) = state.jobs.remove(&number) {
            state.timers.remove(&(watched.timer, number));
        }
        if state.ended {
            // Nobody settles any more: the task was dropped with the run.
            drop(state);
            let release = crate::engine::Outcome::Release { after: None };
            crate::delivery::let_go(&self.consumer.link, self.consumer.group, &job.held, &release);
            return;
        }
        state.queue.push_back((job.clone(), record));
        if state.sleeps.take().is_some() {
            self.changed.notify_one();
        }
    }

    /// Whether more waits to be settled than should; `waker` is woken when it does not.
    pub(super) fn is_behind(&self, waker: &Waker) -> bool {
        let mut state = self.state.lock();
        let behind = state.queue.len() > QUEUE;
        if behind {
            state.behind = Some(waker.clone());
        }
        behind
    }

    /// Wakes `waker` at this moment, instead of whomever it was to wake before.
    pub(super) fn alarm(&self, at: Duration, waker: &Waker) {
        self.state.lock().alarm = Some((at, waker.clone()));
        self.changed.notify_one();
    }

    pub(super) fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    pub(super) fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    /// How it ended, once it has been stopped and all is settled.
    pub(super) fn poll_outcome(&self, waker: &Waker) -> Poll<(Worked, Result<()>)> {
        let mut state = self.state.lock();
        match state.outcome.take() {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                state.waiting = Some(waker.clone());
                Poll::Pending
            }
        }
    }
}
