//! Publishes that could not be taken in at once: they wait in call order, in a bounded line per topic.

use super::ids::Probe;
use super::publish::{Terms, disk_full, too_large};
use super::{Core, Engine};
use crate::config::Durability;
use crate::error::{Code, Error, Result};
use crate::event::Draft;
use crate::journal::Refusal;
use crate::message::Message;
use crate::seen::Seen;
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
    pub(super) fn draft(&self, topic: TopicId) -> Draft<'_> {
        match self {
            Self::One(message) => Draft::one(topic, message),
            Self::Batch(messages) => Draft::batch(topic, messages),
        }
    }

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

/// Why one that waits can't be taken in now.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stop {
    Room(Refusal),
    /// There is no place in the backlog of its topic.
    Place,
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Room(refusal)
    }
}

/// What one that waits lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lacks {
    /// Room in the journal.
    Room,
    /// A place in the backlog of its topic.
    Place,
}

impl Engine {
    /// Takes in from the front of the line what there is room for.
    pub(super) fn admit_line(&self, core: &mut Core) -> Vec<Waker> {
        let mut wakers = Vec::new();
        let mut moved = false;
        while let Some(front) = core.line.pop_front() {
            match self.admit_one(core, front).map_err(|back| *back) {
                Ok(woken) => wakers.extend(woken),
                Err((front, Lacks::Place)) => core.set_aside(front),
                Err((front, Lacks::Room)) => {
                    core.line.push_front(front);
                    break;
                }
            }
            moved = true;
        }
        if moved {
            self.wake_followers();
        }
        if !core.backlogs.lines.is_empty() {
            wakers.extend(self.admit_backlogs(core));
        }
        wakers
    }

    /// Takes one in, or sends it away. It comes back if it has to wait on.
    pub(super) fn admit_one(&self, core: &mut Core, front: InLine) -> Result<Option<Waker>, Box<(InLine, Lacks)>> {
        if core.state.topic(front.topic).is_none() {
            return Ok(core.dismiss(front, Error::new(Code::UnknownTopic, "the topic was dropped")));
        }
        let terms = Terms { now: self.now(), level: front.level, at: None };
        match self.admit_waiting(core, &front, terms) {
            Ok(Ok(admission)) => {
                self.after_publish(core, front.topic, front.level);
                Seen::LineAdmitted.note();
                // Nobody may be waiting for the ticket any more.
                self.arm(core, false);
                Ok(front.slot.fill(Ok(admission)).ok().flatten())
            }
            Ok(Err(error)) => Ok(core.dismiss(front, error)),
            Err(Stop::Place) => Err(Box::new((front, Lacks::Place))),
            Err(Stop::Room(Refusal::TooLarge { limit })) => Ok(core.dismiss(front, too_large(limit))),
            Err(Stop::Room(Refusal::BufferFull)) => Err(Box::new((front, Lacks::Room))),
            Err(Stop::Room(refusal)) => {
                match refusal {
                    Refusal::NoSegment { bytes } => core.wanted_bytes = core.wanted_bytes.max(bytes),
                    _ => core.space.ask_beyond(),
                }
                match core.full.clone() {
                    Some(source) => Ok(core.dismiss(front, disk_full(source))),
                    None => Err(Box::new((front, Lacks::Room))),
                }
            }
        }
    }

    /// Sends everybody in the line away: the store is closing, or poisoned.
    #[must_use]
    pub(super) fn dismiss_line(&self, core: &mut Core, why: &Error) -> Vec<Waker> {
        let mut wakers = core.dismiss_let_go(why);
        let behind = std::mem::take(&mut core.backlogs.lines).into_values().flatten();
        let all: Vec<InLine> = core.line.drain(..).chain(behind).collect();
        for waiting in all {
            wakers.extend(core.dismiss(waiting, why.again()));
        }
        self.wake_followers();
        self.admitted.notify_all();
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
            match self.await_place(slot, deadline) {
                Some(true) => return Ok(true),
                Some(false) => return Ok(false),
                None => {}
            }
            let made = self.make_room_behind(end);
            if made.is_err() {
                // What there is may do for it all the same.
                self.serve_front();
            }
            // It may have been sent away, and says why itself.
            if slot.is_filled() {
                return Ok(true);
            }
            made?;
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
        self.read_wanted()?;
        self.make_room(0)?;
        self.make_room_for_ids()
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
