//! [`Ticket`]: the answer to a call whose order is fixed now and whose durability comes later.

use crate::config::Durability;
use crate::error::{Code, Error, Result};
use crate::sync::Mutex;
use crate::types::{Lsn, Offset, Timestamp};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// What makes tickets come true: the engine.
pub(crate) trait Resolver: Send + Sync {
    /// Ready once everything up to `end` has reached `level`; otherwise remembers `waker` and sees to it.
    fn poll(&self, end: Lsn, level: Durability, waker: &Waker) -> Poll<Result<()>>;

    /// Waits for it, leading the commit if nobody does. False if the time ran out.
    fn wait(&self, end: Lsn, level: Durability, timeout: Option<Duration>) -> Result<bool>;

    /// Waits until `slot` is filled, helping to make room. False if the time ran out.
    fn wait_admitted(&self, slot: &Slot, timeout: Option<Duration>) -> Result<bool>;

    /// Nobody will wait for this: it has to come true by itself.
    fn abandoned(&self, level: Durability);

    /// Somebody polls for what stands in line: it is seen to.
    fn hurry(&self);

    /// A publish was refused, and nobody will hear of it from its ticket.
    fn unheard(&self, error: Error);
}

/// That a publish was taken in, and where it went.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    pub(crate) end: Lsn,
    pub(crate) level: Durability,
    pub(crate) first: Offset,
    /// How many were appended.
    pub(crate) count: u64,
    pub(crate) time: Timestamp,
    /// Those that were not: their place, and offset and time of the message that has their id.
    pub(crate) known: Vec<(usize, Offset, Timestamp)>,
    /// Of a transaction: offset and time of each of its messages, and whether it was known, in the order of the calls.
    pub(crate) receipts: Vec<(Offset, Timestamp, bool)>,
}

/// Where a publish that waits in line will find its answer.
#[derive(Debug, Default)]
pub(crate) struct Slot(Mutex<SlotState>);

#[derive(Debug, Default)]
struct SlotState {
    answer: Option<Result<Admission>>,
    waker: Option<Waker>,
    /// The ticket was dropped.
    abandoned: bool,
    quiet: bool,
}

impl Admission {
    /// Of no message.
    pub(crate) fn empty(end: Lsn, level: Durability, time: Timestamp) -> Self {
        Self { end, level, first: Offset::ZERO, count: 0, time, known: Vec::new(), receipts: Vec::new() }
    }

    /// What there is to say of a settlement.
    pub(crate) fn settled(end: Lsn, level: Durability) -> Self {
        Self::empty(end, level, Timestamp::ZERO)
    }
}

impl Slot {
    /// Of something whose refusal need not be told if nobody holds the ticket: the message comes again.
    pub(crate) fn quiet() -> Self {
        Self(Mutex::new(SlotState { quiet: true, ..SlotState::default() }))
    }

    /// Puts the answer there. Who is to be woken then, without a lock held; or the answer, if the ticket is gone.
    pub(crate) fn fill(&self, answer: Result<Admission>) -> Result<Option<Waker>, Result<Admission>> {
        let mut state = self.0.lock();
        if state.abandoned {
            return Err(answer);
        }
        state.answer = Some(answer);
        Ok(state.waker.take())
    }

    /// Nobody will ask any more. The answer, if it is there already.
    fn abandon(&self) -> Option<Result<Admission>> {
        let mut state = self.0.lock();
        state.abandoned = true;
        state.waker = None;
        let quiet = state.quiet;
        state.answer.take().filter(|_| !quiet)
    }

    pub(crate) fn is_filled(&self) -> bool {
        self.0.lock().answer.is_some()
    }

    fn take(&self) -> Option<Result<Admission>> {
        self.0.lock().answer.take()
    }

    fn poll(&self, waker: &Waker) -> Poll<Result<Admission>> {
        let mut state = self.0.lock();
        match state.answer.take() {
            Some(answer) => Poll::Ready(answer),
            None => {
                state.waker = Some(waker.clone());
                Poll::Pending
            }
        }
    }
}

enum State<T> {
    Done(Result<T>),
    Committing { end: Lsn, level: Durability, value: T },
    InLine { slot: Arc<Slot>, make: fn(Admission) -> T },
    Taken,
}

/// The outcome of a publish or a settlement: [`wait`](Ticket::wait) for it, or `.await` it, on any runtime or none.
///
/// What was asked for has its place in the order of things when the call that gave the ticket returns; the ticket
/// resolves when it is as durable as was asked. Dropping a ticket cancels nothing: the message is still published. Use
/// [`detach`](Ticket::detach) to say that this is meant; a failed write or sync then shows in the next call, and in
/// `close`; a refused publish (a full disk, a message that is too large) in `close`.
#[must_use = "the outcome is known only when the ticket is waited for; use `detach` if it does not matter"]
pub struct Ticket<T> {
    state: State<T>,
    resolver: Option<Arc<dyn Resolver>>,
}

impl<T> std::fmt::Debug for Ticket<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match self.state {
            State::Done(_) => "done",
            State::Committing { .. } => "committing",
            State::InLine { .. } => "waiting for room",
            State::Taken => "taken",
        };
        f.debug_tuple("Ticket").field(&state).finish()
    }
}

impl<T> Ticket<T> {
    pub(crate) fn done(outcome: Result<T>) -> Self {
        Self { state: State::Done(outcome), resolver: None }
    }

    pub(crate) fn committing(resolver: Arc<dyn Resolver>, end: Lsn, level: Durability, value: T) -> Self {
        Self { state: State::Committing { end, level, value }, resolver: Some(resolver) }
    }

    /// Of what was appended and ends at `end`.
    pub(crate) fn appended(resolver: Arc<dyn Resolver>, end: Lsn, level: Durability, value: T) -> Self {
        if level == Durability::Memory {
            return Self::done(Ok(value));
        }
        Self::committing(resolver, end, level, value)
    }

    pub(crate) fn in_line(resolver: Arc<dyn Resolver>, slot: Arc<Slot>, make: fn(Admission) -> T) -> Self {
        Self { state: State::InLine { slot, make }, resolver: Some(resolver) }
    }

    /// A publish that was refused at once. Unlike another failure, it shows in nothing else if nobody looks here.
    pub(crate) fn refused(resolver: Arc<dyn Resolver>, error: Error) -> Self {
        Self { state: State::Done(Err(error)), resolver: Some(resolver) }
    }

    /// Blocks until it is resolved. Inside an async task, `.await` the ticket instead.
    ///
    /// # Errors
    /// Whatever kept the call from taking effect; `OutcomeUnknown` if a write or sync failed under it.
    pub fn wait(mut self) -> Result<T> {
        // The two ways that nearly all go, short.
        match std::mem::replace(&mut self.state, State::Taken) {
            State::Done(outcome) => return outcome,
            State::Committing { end, level, value } => match self.resolver.as_ref().map(|it| it.wait(end, level, None))
            {
                Some(Ok(true)) => return Ok(value),
                Some(Err(error)) => return Err(error),
                Some(Ok(false)) | None => {}
            },
            state => self.state = state,
        }
        match self.wait_until(None) {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::new(Code::Closed, "the ticket can't be resolved any more")),
        }
    }

    /// Blocks until it is resolved or `timeout` has passed; then the ticket comes back, as good as before.
    ///
    /// # Errors
    /// The ticket itself, if the time ran out.
    pub fn wait_timeout(self, timeout: Duration) -> core::result::Result<Result<T>, Self> {
        self.wait_until(Some(timeout))
    }

    fn wait_until(mut self, timeout: Option<Duration>) -> core::result::Result<Result<T>, Self> {
        if let (State::InLine { slot, make }, Some(resolver)) = (&self.state, &self.resolver) {
            match resolver.wait_admitted(slot, timeout) {
                Ok(false) => return Err(self),
                Ok(true) => {}
                Err(error) => return Ok(Err(self.take(error))),
            }
            let admitted = slot.take();
            let make = *make;
            match admitted {
                Some(answer) => self.admitted(answer, make),
                None => return Err(self),
            }
        }
        if let (State::Committing { end, level, .. }, Some(resolver)) = (&self.state, &self.resolver) {
            match resolver.wait(*end, *level, timeout) {
                Ok(false) => return Err(self),
                Ok(true) => {}
                Err(error) => return Ok(Err(self.take(error))),
            }
        }
        match std::mem::replace(&mut self.state, State::Taken) {
            State::Done(outcome) => Ok(outcome),
            State::Committing { value, .. } => Ok(Ok(value)),
            State::InLine { .. } | State::Taken => Err(self),
        }
    }

    fn take(&mut self, error: Error) -> Error {
        self.state = State::Taken;
        error
    }

    fn admitted(&mut self, answer: Result<Admission>, make: fn(Admission) -> T) {
        self.state = match answer {
            Ok(admission) => State::Committing { end: admission.end, level: admission.level, value: make(admission) },
            Err(error) => State::Done(Err(error)),
        };
    }

    /// The outcome, if it is known without waiting and without help.
    pub(crate) fn known(mut self) -> core::result::Result<Result<T>, Self> {
        match std::mem::replace(&mut self.state, State::Taken) {
            State::Done(outcome) => Ok(outcome),
            other => {
                self.state = other;
                Err(self)
            }
        }
    }

    /// What it will say, if that is known and nothing fails.
    pub(crate) fn value(&self) -> Option<&T> {
        match &self.state {
            State::Done(Ok(value)) | State::Committing { value, .. } => Some(value),
            State::Done(Err(_)) | State::InLine { .. } | State::Taken => None,
        }
    }

    /// Waits until it has its place in the journal, not until it is durable.
    pub(crate) fn placed(mut self) -> Self {
        if let (State::InLine { slot, make }, Some(resolver)) = (&self.state, &self.resolver) {
            let make = *make;
            let waited = resolver.wait_admitted(slot, None);
            match slot.take().or_else(|| waited.err().map(Err)) {
                Some(answer) => self.admitted(answer, make),
                None => return self,
            }
        }
        self
    }

    /// Sees to it that it comes true by itself, as if the ticket were dropped, and keeps it.
    pub(crate) fn go_on(&self) {
        if let (Some(resolver), State::Committing { level, .. }) = (&self.resolver, &self.state) {
            resolver.abandoned(*level);
        }
    }

    /// Drops it without a word: a later ticket stands for it.
    pub(crate) fn superseded(mut self) {
        self.state = State::Taken;
    }

    /// Says that the outcome is not waited for. Nothing is cancelled.
    pub fn detach(self) {
        drop(self);
    }
}

impl<T> Drop for Ticket<T> {
    fn drop(&mut self) {
        let Some(resolver) = &self.resolver else { return };
        match std::mem::replace(&mut self.state, State::Taken) {
            State::Committing { level, .. } => resolver.abandoned(level),
            State::InLine { slot, .. } => match slot.abandon() {
                Some(Err(error)) => resolver.unheard(error),
                Some(Ok(_)) | None => resolver.abandoned(Durability::Disk),
            },
            State::Done(Err(error)) => resolver.unheard(error),
            State::Done(Ok(_)) | State::Taken => {}
        }
    }
}

impl<T: Unpin> Future for Ticket<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let State::InLine { slot, make } = &this.state {
            let make = *make;
            match slot.poll(context.waker()) {
                Poll::Pending => {
                    this.resolver.as_ref().inspect(|resolver| resolver.hurry());
                    return Poll::Pending;
                }
                Poll::Ready(answer) => this.admitted(answer, make),
            }
        }
        if let (State::Committing { end, level, .. }, Some(resolver)) = (&this.state, &this.resolver) {
            match resolver.poll(*end, *level, context.waker()) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => this.state = State::Done(Err(error)),
            }
        }
        match std::mem::replace(&mut this.state, State::Taken) {
            State::Done(outcome) => Poll::Ready(outcome),
            State::Committing { value, .. } => Poll::Ready(Ok(value)),
            State::InLine { .. } | State::Taken => {
                Poll::Ready(Err(Error::new(Code::Closed, "the ticket was polled after it had resolved")))
            }
        }
    }
}
