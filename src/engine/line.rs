//! Publishes that could not be taken in at once: they wait in call order, in a bounded line per topic.

use super::ids::Probe;
use super::publish::{Terms, disk_full, too_large};
use super::{Core, Engine};
use crate::config::Durability;
use crate::error::{Code, Error, Result};
use crate::journal::Refusal;
use crate::message::Message;
use crate::ticket::Slot;
use crate::types::{Lsn, TopicId};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

/// What waits.
#[derive(Debug)]
pub(super) enum Work {
    One(Message),
    Batch(Vec<Message>),
}

impl Work {
    pub(super) fn messages(&self) -> &[Message] {
        match self {
            Self::One(message) => std::slice::from_ref(message),
            Self::Batch(messages) => messages,
        }
    }

    /// The error, with what is refused.
    pub(super) fn hand_back(self, error: Error) -> Error {
        match self {
            Self::One(message) => error.returning(message),
            Self::Batch(messages) => error.returning(messages),
        }
    }
}

/// One publish in the line.
#[derive(Debug)]
pub(super) struct InLine {
    pub(super) topic: TopicId,
    pub(super) work: Work,
    pub(super) level: Durability,
    pub(super) slot: Arc<Slot>,
    /// What the runs have of its ids; kept true while it waits.
    pub(super) probe: Probe,
}

impl Engine {
    /// Takes in from the front of the line what there is room for.
    pub(super) fn admit_line(&self, core: &mut Core) -> Vec<Waker> {
        let mut wakers = Vec::new();
        let mut moved = false;
        while let Some(front) = core.line.pop_front() {
            let terms = Terms { now: self.now(), level: front.level };
            let outcome = self.admit_waiting(core, &front, terms);
            match outcome {
                Ok(Err(error)) => wakers.extend(core.dismiss(front, error)),
                Ok(Ok(admission)) => {
                    self.after_publish(core, front.topic, front.level);
                    wakers.extend(front.slot.fill(Ok(admission)).ok().flatten());
                    // Nobody may be waiting for the ticket any more.
                    self.arm(core, false);
                }
                Err(Refusal::TooLarge { limit }) => wakers.extend(core.dismiss(front, too_large(limit))),
                Err(Refusal::NoSegment { bytes }) => {
                    core.wanted_bytes = core.wanted_bytes.max(bytes);
                    match core.full.clone() {
                        Some(source) => wakers.extend(core.dismiss(front, disk_full(source))),
                        None => {
                            core.line.push_front(front);
                            break;
                        }
                    }
                }
                Err(Refusal::BufferFull) => {
                    core.line.push_front(front);
                    break;
                }
            }
            moved = true;
        }
        if moved {
            self.wake_followers();
        }
        wakers
    }

    /// Sends everybody in the line away: the store is closing, or poisoned.
    #[must_use]
    pub(super) fn dismiss_line(&self, core: &mut Core, why: &Error) -> Vec<Waker> {
        let mut wakers = Vec::new();
        while let Some(waiting) = core.line.pop_front() {
            wakers.extend(core.dismiss(waiting, why.again()));
        }
        self.wake_followers();
        wakers
    }

    /// Waits until a slot in the line is filled, making room meanwhile as the threads of the store would.
    pub(super) fn await_admission(&self, slot: &Slot, timeout: Option<Duration>) -> Result<bool> {
        let deadline = timeout.map(|timeout| self.environment.clock.monotonic().saturating_add(timeout));
        loop {
            if slot.is_filled() {
                return Ok(true);
            }
            if deadline.is_some_and(|deadline| self.environment.clock.monotonic() >= deadline) {
                return Ok(false);
            }
            let end = self.serve_front();
            if slot.is_filled() {
                return Ok(true);
            }
            self.make_room_behind(end)?;
        }
    }

    /// Takes in from the line what there is room for now, and makes room for the rest.
    pub(super) fn relieve_line(&self) -> Result<()> {
        let end = self.serve_front();
        self.make_room_behind(end)
    }

    /// Takes in from the line what there is room for now. Where the journal ends then.
    fn serve_front(&self) -> Lsn {
        let mut core = self.core.lock();
        let wakers = match core.check() {
            Ok(()) => self.room_made(&mut core),
            Err(error) => self.dismiss_line(&mut core, &error),
        };
        let end = core.tail.end();
        drop(core);
        wakers.into_iter().for_each(Waker::wake);
        end
    }

    /// What is in the buffer has to leave it, and a segment has to be there.
    fn make_room_behind(&self, end: Lsn) -> Result<()> {
        self.drive(end, Durability::Os, None)?;
        self.make_room()?;
        self.make_room_for_ids()?;
        self.read_wanted().map(drop)
    }
}

impl Core {
    /// Refuses one that stood in line. If nobody holds its ticket any more, the refusal is kept for `close`.
    #[must_use]
    fn dismiss(&mut self, waiting: InLine, why: Error) -> Option<Waker> {
        let error = waiting.work.hand_back(why);
        match waiting.slot.fill(Err(error)) {
            Ok(waker) => waker,
            Err(answer) => {
                if let Err(error) = answer {
                    self.refused_unheard(error);
                }
                None
            }
        }
    }

    /// Keeps a refusal that nobody was there to hear.
    pub(super) fn refused_unheard(&mut self, error: Error) {
        tracing::error!(code = error.code(), %error, "a publish was refused, and its ticket had been dropped");
        match &mut self.unheard {
            Some((count, _)) => *count = count.saturating_add(1),
            None => self.unheard = Some((1, error)),
        }
    }

    /// What a closed or poisoned store says to those in the line.
    pub(super) fn dismissal(&self) -> Error {
        self.check().err().unwrap_or_else(|| Error::new(Code::Closed, "the store is closing"))
    }
}
