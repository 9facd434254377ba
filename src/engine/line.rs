//! Publishes that could not be taken in at once: they wait in call order, in a bounded line per topic.

use super::deal::{Waiting, gone_without_the_lock};
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
    Deal(Box<Waiting>),
}

impl Work {
    pub(super) fn draft(&self, topic: TopicId) -> Draft<'_> {
        match self {
            Self::One(message) => Draft::one(topic, message),
            Self::Batch(_) | Self::Deal(_) => Draft::batch(topic, self.messages()),
        }
    }

    /// Of a transaction none: it has its own way.
    pub(super) fn messages(&self) -> &[Message] {
        match self {
            Self::One(message) => std::slice::from_ref(message),
            Self::Batch(messages) => messages,
            Self::Deal(_) => &[],
        }
    }

    /// The error, with what is refused.
    pub(super) fn hand_back(self, error: Error) -> Error {
        match self {
            Self::One(message) => error.returning(message),
            Self::Batch(messages) => error.returning(messages),
            Self::Deal(waiting) => waiting.refuse(error),
        }
    }
}

/// One publish, or one transaction, in the line.
#[derive(Debug)]
pub(super) struct InLine {
    /// Of a transaction none.
    pub(super) topic: TopicId,
    pub(super) work: Work,
    pub(super) level: Durability,
    pub(super) slot: Arc<Slot>,
    /// What the runs have of its ids; kept true while it waits.
    pub(super) probe: Probe,
}

impl InLine {
    /// Whether what is published to this topic after it has to stand behind it.
    pub(super) fn concerns(&self, topic: TopicId) -> bool {
        match &self.work {
            Work::Deal(waiting) => waiting.concerns(topic),
            Work::One(_) | Work::Batch(_) => self.topic == topic,
        }
    }

    /// What is known of its ids: of a transaction for each of its topics.
    pub(super) fn probes(&mut self) -> impl Iterator<Item = &mut Probe> {
        let (own, others) = match &mut self.work {
            Work::Deal(waiting) => (None, Some(waiting.probes())),
            Work::One(_) | Work::Batch(_) => (Some(&mut self.probe), None),
        };
        own.into_iter().chain(others.into_iter().flatten())
    }

    /// Whether somebody asks the disk for its ids.
    pub(super) fn is_asking(&self) -> bool {
        match &self.work {
            Work::Deal(waiting) => waiting.is_asking(),
            Work::One(_) | Work::Batch(_) => self.probe.is_asking(),
        }
    }
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
            // What stands in the line of its topic's backlog was there before it.
            if !matches!(front.work, Work::Deal(_)) && core.backlogs.lines.contains_key(&front.topic) {
                core.set_aside(front);
                continue;
            }
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
        let front = match front.work {
            Work::Deal(waiting) => return self.admit_deal(core, waiting, front.slot),
            work => InLine { work, ..front },
        };
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
            self.ask_line();
            let end = self.serve_front();
            if slot.is_filled() {
                return Ok(true);
            }
            if self.await_answer(slot, deadline) {
                continue;
            }
            match self.await_place(slot, deadline) {
                Some(true) => return Ok(true),
                Some(false) => return Ok(false),
                None => {}
            }
            let made = self.make_room_behind(end);
            if let Err(error) = made {
                // What there is may do for it all the same.
                self.serve_front();
                // It may have been sent away, and says why itself.
                self.give_up(slot, error);
            }
        }
    }

    /// If somebody else asks the disk for this one, or for one before it, waits until there is an answer. Whether it
    /// was so.
    fn await_answer(&self, slot: &Slot, deadline: Option<Duration>) -> bool {
        let mut core = self.core.lock();
        if !core.is_asking(slot) {
            return false;
        }
        match deadline {
            None => self.admitted.wait(&mut core),
            Some(deadline) => {
                let left = deadline.saturating_sub(self.environment.clock.monotonic());
                _ = self.admitted.wait_for(&mut core, left);
            }
        }
        true
    }

    /// Who waits for this one can't make room for it: it is sent away with the reason, if it still stands in line. So
    /// nobody is told that it failed of which it may still come true.
    fn give_up(&self, slot: &Slot, error: Error) {
        let mut core = self.core.lock();
        let settling = core.let_go.iter().position(|settling| settling.answers(slot));
        let woken = match settling.and_then(|at| core.let_go.remove(at)) {
            Some(settling) => settling.dismiss(&error),
            None => core.take_out(slot).and_then(|waiting| core.dismiss(waiting, error)),
        };
        drop(core);
        woken.into_iter().for_each(Waker::wake);
    }

    /// Takes in from the line what there is room for now, and makes room for the rest.
    pub(super) fn relieve_line(&self) -> Result<()> {
        self.ask_line();
        let end = self.serve_front();
        self.make_room_behind(end)
    }

    /// Takes in from the line what there is room for now. Where the journal ends then.
    pub(super) fn serve_front(&self) -> Lsn {
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
        self.clean_first();
        self.make_room(0)?;
        self.make_room_for_ids()
    }
}

impl Core {
    /// Refuses one that stood in line. If nobody holds its ticket any more, the refusal is kept for `close`.
    #[must_use]
    pub(super) fn dismiss(&mut self, waiting: InLine, why: Error) -> Option<Waker> {
        let is_deal = matches!(waiting.work, Work::Deal(_));
        let error = waiting.work.hand_back(why);
        match waiting.slot.fill(Err(error)) {
            Ok(waker) => waker,
            // Its deliveries are given back when it goes, and that takes the lock.
            Err(Err(error)) if is_deal => {
                self.refused_unheard(error.again());
                Some(gone_without_the_lock(error))
            }
            Err(Err(error)) => {
                self.refused_unheard(error);
                None
            }
            Err(Ok(_)) => None,
        }
    }

    /// Takes out of its line what is to be answered in this slot.
    pub(super) fn take_out(&mut self, slot: &Slot) -> Option<InLine> {
        let is = |waiting: &InLine| std::ptr::eq(Arc::as_ptr(&waiting.slot), slot);
        if let Some(at) = self.line.iter().position(is) {
            return self.line.remove(at);
        }
        let (topic, at) =
            self.backlogs.lines.iter().find_map(|(topic, line)| Some((*topic, line.iter().position(is)?)))?;
        let line = self.backlogs.lines.get_mut(&topic)?;
        let taken = line.remove(at);
        if line.is_empty() {
            self.backlogs.lines.remove(&topic);
        }
        taken
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
