//! A lot of deliveries in a handler's hands, and how it is settled: once, by whoever ends it.

use super::Worked;
use super::handled::{BatchHandled, Handled, Verdict};
use crate::delivery::{self, Delivery};
use crate::engine::{Age, Outcome};
use crate::error::{Error, ErrorKind, Result};
use crate::link::Link;
use crate::sync::Mutex;
use crate::ticket::Ticket;
use crate::types::{GroupId, Offset};
use std::slice::from_ref;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Waker;
use std::time::Duration;

/// How a job ended. The first to say so settles it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum End {
    Running = 0,
    /// The handler returned, or panicked.
    Returned = 1,
    /// It took too long.
    TimedOut = 2,
    /// Its lease is somebody else's.
    Lost = 3,
    /// It was not done when the workers had to end, or it was dropped.
    Left = 4,
}

#[derive(Debug)]
pub(super) struct Job {
    pub(super) held: Vec<(Offset, u64)>,
    ages: Vec<Age>,
    end: AtomicU8,
    task: Mutex<Option<Waker>>,
}

impl Job {
    /// Takes over the settling of these deliveries: dropping them does nothing any more.
    pub(super) fn of(deliveries: &mut [Delivery]) -> Self {
        deliveries.iter_mut().for_each(Delivery::hand_over);
        let held = deliveries.iter().map(Delivery::held).collect();
        let ages = deliveries.iter().map(Delivery::age).collect();
        Self { held, ages, end: AtomicU8::new(End::Running as u8), task: Mutex::default() }
    }

    /// Ends it, if nobody has yet; then it is the caller's to settle, or to tell its task.
    pub(super) fn end(&self, end: End) -> bool {
        let running = End::Running as u8;
        let ended = self.end.compare_exchange(running, end as u8, Ordering::AcqRel, Ordering::Acquire).is_ok();
        let task = if ended { self.task.lock().take() } else { None };
        // Without the lock: what a waker does is not known.
        task.into_iter().for_each(Waker::wake);
        ended
    }

    /// How it ended; if it runs, `task` is woken when it is ended by somebody else.
    #[cfg(feature = "tokio")]
    pub(super) fn ended(&self, task: &Waker) -> Option<End> {
        let mut known = self.task.lock();
        let ends = [End::Returned, End::TimedOut, End::Lost, End::Left];
        let end = ends.into_iter().find(|end| *end as u8 == self.end.load(Ordering::Acquire));
        if end.is_none() && !known.as_ref().is_some_and(|known| known.will_wake(task)) {
            *known = Some(task.clone());
        }
        end
    }
}

/// What is to be recorded of a job.
#[derive(Debug)]
pub(super) enum Record {
    Said(BatchHandled),
    Panicked(String),
    TimedOut(Duration),
    Left,
    #[cfg(feature = "tokio")]
    Lost,
}

impl Record {
    /// In a word, and whether that is well.
    pub(super) fn word(&self) -> (&'static str, bool) {
        match self {
            Self::Said(handled) => handled.word(),
            Self::Panicked(_) => ("panicked", false),
            Self::TimedOut(_) => ("timed out", false),
            Self::Left => ("left", true),
            #[cfg(feature = "tokio")]
            Self::Lost => ("lost", false),
        }
    }
}

/// Deliveries that end alike.
#[derive(Clone, Copy)]
struct Lot<'a> {
    held: &'a [(Offset, u64)],
    ages: &'a [Age],
}

/// Records what became of jobs, and counts it.
#[derive(Debug)]
pub(super) struct Books {
    link: Link,
    group: GroupId,
    pub(super) worked: Worked,
    /// The last one that is not known to be through; those before it are in the journal before it.
    last: Option<Ticket<()>>,
    failed: Option<Error>,
}

impl Books {
    pub(super) fn new(link: Link, group: GroupId) -> Self {
        Self { link, group, worked: Worked::default(), last: None, failed: None }
    }

    /// Settles a job. It does not wait for that to be durable, but sees to it that it will be.
    pub(super) fn record(&mut self, job: &Job, record: Record) {
        let held = Lot { held: &job.held, ages: &job.ages };
        let count = job.held.len() as u64;
        match record {
            Record::Said(BatchHandled::All(Handled(verdict))) => self.settle(held, verdict),
            Record::Said(BatchHandled::Each(each)) => self.settle_each(held, each),
            Record::Panicked(message) => {
                self.worked.panicked += count;
                self.settle(held, failure(format!("the handler panicked: {message}")));
            }
            Record::TimedOut(timeout) => {
                self.worked.timed_out += count;
                self.settle(held, failure(format!("the handler was not done within {timeout:?}")));
            }
            Record::Left => {
                self.worked.left += count;
                self.enter(held, &Outcome::Release { after: None });
            }
            #[cfg(feature = "tokio")]
            Record::Lost => self.worked.lost += count,
        }
    }

    fn settle_each(&mut self, lot: Lot<'_>, each: Vec<Handled>) {
        let (mut done, mut ages) = (Vec::with_capacity(lot.held.len()), Vec::with_capacity(lot.held.len()));
        let rest = std::iter::repeat_with(Handled::release);
        for ((held, age), Handled(verdict)) in lot.held.iter().zip(lot.ages).zip(each.into_iter().chain(rest)) {
            match verdict {
                Verdict::Done => {
                    done.push(*held);
                    ages.push(*age);
                }
                verdict => self.settle(Lot { held: from_ref(held), ages: from_ref(age) }, verdict),
            }
        }
        if !done.is_empty() {
            self.settle(Lot { held: &done, ages: &ages }, Verdict::Done);
        }
    }

    fn settle(&mut self, lot: Lot<'_>, verdict: Verdict) {
        let count = lot.held.len() as u64;
        let counted = match &verdict {
            Verdict::Done => &mut self.worked.done,
            Verdict::Failed { .. } => &mut self.worked.failed,
            Verdict::Bury { .. } => &mut self.worked.buried,
            Verdict::Release { .. } => &mut self.worked.released,
        };
        *counted += count;
        self.enter(lot, &verdict.outcome());
    }

    fn enter(&mut self, lot: Lot<'_>, how: &Outcome) {
        // Whoever keeps books is a thread, and may wait for room.
        match delivery::settle(&self.link, self.group, lot.held, lot.ages, how).placed().known() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.refused(error, lot.held.len() as u64),
            Err(ticket) => {
                ticket.go_on();
                if let Some(before) = self.last.replace(ticket) {
                    before.superseded();
                }
            }
        }
    }

    fn refused(&mut self, error: Error, count: u64) {
        self.worked.lost += count;
        if error.kind() != ErrorKind::LeaseLost {
            tracing::warn!(%error, "a message was handled, and that could not be recorded: it comes again");
            self.failed.get_or_insert(error);
        }
    }

    /// Waits until all of it is as durable as acks of this store are.
    pub(super) fn close(mut self) -> (Worked, Result<()>) {
        let last = self.last.take().map_or(Ok(()), Ticket::wait);
        let closed = |error: &Error| error.kind() == ErrorKind::Closed;
        (self.worked, self.failed.map_or(last, Err).or_else(|error| if closed(&error) { Ok(()) } else { Err(error) }))
    }
}

fn failure(error: String) -> Verdict {
    Verdict::Failed { error, after: None }
}
