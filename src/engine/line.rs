//! Publishes that could not be taken in at once: they wait in call order, in a bounded line per topic.

use super::publish::{Terms, disk_full, too_large};
use super::{Core, Engine};
use crate::config::Durability;
use crate::error::{Code, Error, Result};
use crate::event::Draft;
use crate::journal::Refusal;
use crate::message::Message;
use crate::ticket::Slot;
use crate::types::TopicId;
use std::sync::Arc;
use std::time::Duration;

/// What waits.
#[derive(Debug)]
pub(super) enum Work {
    One(Message),
    Batch(Vec<Message>),
}

impl Work {
    fn draft(&self, topic: TopicId) -> Draft<'_> {
        match self {
            Self::One(message) => Draft::one(topic, message),
            Self::Batch(messages) => Draft::batch(topic, messages),
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
}

impl Engine {
    /// Takes in from the front of the line what there is room for. Whoever made room calls this.
    pub(super) fn admit_line(&self, core: &mut Core) {
        let mut moved = false;
        while let Some(front) = core.line.pop_front() {
            let terms = Terms { now: self.now(), level: front.level };
            let outcome = core.admit(&front.work.draft(front.topic), terms);
            match outcome {
                Ok(admission) => {
                    self.after_append(core, front.level);
                    front.slot.fill(Ok(admission));
                    // Nobody may be waiting for the ticket any more.
                    self.arm(core, false);
                }
                Err(Refusal::TooLarge { limit }) => front.slot.fill(Err(front.work.hand_back(too_large(limit)))),
                Err(Refusal::NoSegment { bytes }) => {
                    core.wanted_bytes = core.wanted_bytes.max(bytes);
                    match core.full.clone() {
                        Some(source) => front.slot.fill(Err(front.work.hand_back(disk_full(source)))),
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
    }

    /// Sends everybody in the line away: the store is closing, or poisoned.
    pub(super) fn dismiss_line(&self, core: &mut Core, why: &Error) {
        for waiting in core.line.drain(..) {
            waiting.slot.fill(Err(waiting.work.hand_back(why.again())));
        }
        self.wake_followers();
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
            let end = {
                let mut core = self.core.lock();
                if let Err(error) = core.check() {
                    self.dismiss_line(&mut core, &error);
                    continue;
                }
                self.admit_line(&mut core);
                core.tail.end()
            };
            if slot.is_filled() {
                return Ok(true);
            }
            // What is in the buffer has to leave it, and a segment has to be there.
            self.drive(end, Durability::Os, None)?;
            self.make_room()?;
        }
    }
}

impl Core {
    /// What a closed or poisoned store says to those in the line.
    pub(super) fn dismissal(&self) -> Error {
        self.check().err().unwrap_or_else(|| Error::new(Code::Closed, "the store is closing"))
    }
}
