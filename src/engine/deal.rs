//! Transactions that can't go through at once: they stand in the line that publishes stand in, as the call that made
//! them may be a task's, which must not wait for the disk. What was published before is taken in before, and what of
//! their topics comes after stands behind them; so their place in the order of things is fixed by the call.

use super::ids::Probe;
use super::line::{InLine, Lacks, Work};
use super::obstacle::Obstacle;
use super::park::Reads;
use super::publish::{disk_full, too_large};
use super::transaction::{Changes, Screened, Stop, drafts_of, fresh_of};
use super::{Core, Engine};
use crate::config::Durability;
use crate::error::{Code, Error};
use crate::event::Draft;
use crate::journal::{Class, Refusal};
use crate::message::{Message, Receipt};
use crate::seen::Seen;
use crate::ticket::{Admission, Slot, Ticket};
use crate::types::{Offset, TopicId};
use std::fmt::Debug;
use std::sync::Arc;
use std::task::{Wake, Waker};

/// Changes, and whom they belong to: what a handle has of a transaction.
pub(crate) trait Deal: Debug + Send + Sync {
    fn changes(&self) -> &Changes;

    fn changes_mut(&mut self) -> &mut Changes;

    /// It happened: its deliveries are settled. What each message of each topic is answered, in the order of the calls.
    /// Called with the engine's lock held.
    fn done(self: Box<Self>, receipts: Vec<Vec<Receipt>>) -> Vec<Receipt>;

    /// Nothing of it happened: the error, with what is handed back.
    fn hand_back(self: Box<Self>, error: Error) -> Error;
}

/// One on its way, and what was found out for it.
#[derive(Debug)]
pub(super) struct Waiting {
    deal: Box<dyn Deal>,
    level: Durability,
    screened: Vec<Screened>,
    /// Messages whose copies are a part of it.
    reads: Reads,
    /// It has asked for a segment.
    asked: bool,
}

/// What came of one when it was called.
enum Dealt {
    Through(Admission),
    Waits(Arc<Slot>),
}

impl Waiting {
    pub(super) fn concerns(&self, topic: TopicId) -> bool {
        self.deal.changes().topics().any(|of| of == topic)
    }

    pub(super) fn probes(&mut self) -> impl Iterator<Item = &mut Probe> {
        self.screened.iter_mut().map(|screened| &mut screened.probe)
    }

    pub(super) fn is_asking(&self) -> bool {
        self.screened.iter().any(|screened| screened.probe.is_asking())
    }

    /// The error, with what it was about, as it was given.
    pub(super) fn refuse(self, error: Error) -> Error {
        let mut deal = self.deal;
        deal.changes_mut().publishes.iter_mut().flat_map(|(_, messages)| messages).for_each(Message::unaccept);
        deal.hand_back(error)
    }

    /// Takes over what was read for it. Too much of it can't be a part of one frame.
    fn take_reads(&mut self, core: &mut Core, limit: u32) -> Result<(), Error> {
        if core.copies.read.is_empty() {
            return Ok(());
        }
        for settlement in &self.deal.changes().settlements {
            let at = (settlement.group, settlement.offset);
            if let Some(read) = core.copies.read.remove(&at) {
                self.reads.insert(at, read);
            }
        }
        let bytes = self.reads.values().flatten().map(|read| read.payload.len() as u64).fold(0, u64::saturating_add);
        if bytes > u64::from(limit) { Err(too_large(limit)) } else { Ok(()) }
    }
}

impl Admission {
    /// What each message of a transaction is answered, in the order of the calls.
    pub(crate) fn receipts(self) -> Vec<Receipt> {
        let receipt = |(offset, time, duplicate)| Receipt { offset, time, duplicate };
        self.receipts.into_iter().map(receipt).collect()
    }
}

/// It happened.
fn through(admission: Admission, deal: Box<dyn Deal>, receipts: Vec<Vec<Receipt>>) -> Admission {
    let receipts = deal.done(receipts).into_iter();
    Admission { receipts: receipts.map(|one| (one.offset, one.time, one.duplicate)).collect(), ..admission }
}

impl Engine {
    /// Does all of it, or nothing. The level is that of its strongest message if that is more than `level`. What can't
    /// be done at once stands in line.
    pub(crate) fn transact<T>(
        self: Arc<Self>,
        mut deal: Box<dyn Deal>,
        level: Durability,
        make: fn(Admission) -> T,
    ) -> Ticket<T> {
        if let Err(error) = self.prepare_deal(deal.changes_mut()) {
            let waiting = Waiting { deal, level, screened: Vec::new(), reads: Reads::new(), asked: false };
            return Ticket::refused(self, waiting.refuse(error));
        }
        let publishes = &deal.changes().publishes;
        let asked = publishes.iter().flat_map(|(_, messages)| messages).filter_map(|message| message.durability);
        let level = asked.max().map_or(level, |asked| asked.max(level));
        let probe = |(topic, messages): &(TopicId, Vec<Message>)| Screened::new(self.probe(*topic, messages));
        let screened = publishes.iter().map(probe).collect();
        let waiting = Box::new(Waiting { deal, level, screened, reads: Reads::new(), asked: false });
        match self.deal_once(waiting) {
            Ok(Dealt::Through(admission)) => {
                let (end, level) = (admission.end, admission.level);
                Ticket::appended(self, end, level, make(admission))
            }
            Ok(Dealt::Waits(slot)) => Ticket::in_line(self, slot, make),
            Err(error) => Ticket::refused(self, error),
        }
    }

    fn deal_once(&self, mut waiting: Box<Waiting>) -> Result<Dealt, Error> {
        let limit = self.options.max_frame_bytes;
        loop {
            let changes = waiting.deal.changes();
            let fresh = fresh_of(changes, &waiting.screened);
            let drafts = drafts_of(changes, &fresh);
            let opened = limited(&drafts, limit).and_then(|()| self.open_core());
            let (mut core, tried) = match opened {
                Ok(mut core) => {
                    let tried = self.check_turn(&core, changes).map_err(Stop::from).and_then(|()| {
                        let screened = (&*waiting.screened, &*drafts);
                        self.transact_locked(&mut core, changes, screened, &waiting.reads, waiting.level)
                    });
                    (core, tried)
                }
                Err(error) => {
                    drop(drafts);
                    drop(fresh);
                    return Err(waiting.refuse(error));
                }
            };
            drop(drafts);
            drop(fresh);
            let stopped = match tried {
                Ok((admission, receipts)) => {
                    drop(core);
                    return Ok(Dealt::Through(through(admission, waiting.deal, receipts)));
                }
                Err(Stop::Known(known)) => {
                    drop(core);
                    waiting.screened.iter_mut().zip(known).for_each(|(topic, known)| topic.known = known);
                    continue;
                }
                Err(stop) => self.deal_stopped(&mut core, &mut waiting, stop),
            };
            let stood = match stopped {
                Ok(()) => self.put_deal_in_line(&mut core, waiting),
                Err(error) => Err((waiting, error)),
            };
            // What is handed back may go at once, and that takes the lock.
            drop(core);
            return stood.map(Dealt::Waits).map_err(|(waiting, error)| waiting.refuse(error));
        }
    }

    fn put_deal_in_line(&self, core: &mut Core, waiting: Box<Waiting>) -> Result<Arc<Slot>, (Box<Waiting>, Error)> {
        let deals = core.line.iter().filter(|other| matches!(other.work, Work::Deal(_))).count();
        if deals >= self.options.max_waiting_publishes.max(1) {
            let what = format!("{deals} transactions wait for room already (`max_waiting_publishes`); try again later");
            return Err((waiting, Error::new(Code::BufferFull, what)));
        }
        let slot = Arc::new(Slot::default());
        core.line.push_back(in_line(waiting, slot.clone()));
        self.arm(core, true);
        self.call_upkeep(core);
        Ok(slot)
    }

    /// It is the first in line: takes it in, or sends it away. It comes back if it has to wait on.
    pub(super) fn admit_deal(
        &self,
        core: &mut Core,
        mut waiting: Box<Waiting>,
        slot: Arc<Slot>,
    ) -> Result<Option<Waker>, Box<(InLine, Lacks)>> {
        if let Err(error) = waiting.take_reads(core, self.options.max_frame_bytes) {
            return Ok(core.dismiss(in_line(waiting, slot), error));
        }
        loop {
            let changes = waiting.deal.changes();
            let fresh = fresh_of(changes, &waiting.screened);
            let drafts = drafts_of(changes, &fresh);
            let (screened, level) = (&waiting.screened, waiting.level);
            let tried = self.transact_locked(core, changes, (screened, &drafts), &waiting.reads, level);
            drop(drafts);
            drop(fresh);
            match tried {
                Ok((admission, receipts)) => {
                    let admission = through(admission, waiting.deal, receipts);
                    Seen::DealAdmitted.note();
                    // Nobody may be waiting for the ticket any more.
                    self.arm(core, false);
                    return Ok(slot.fill(Ok(admission)).ok().flatten());
                }
                Err(Stop::Known(known)) => {
                    waiting.screened.iter_mut().zip(known).for_each(|(topic, known)| topic.known = known);
                }
                Err(stop) => {
                    return match self.deal_stopped(core, &mut waiting, stop) {
                        Ok(()) => Err(Box::new((in_line(waiting, slot), Lacks::Room))),
                        Err(error) => Ok(core.dismiss(in_line(waiting, slot), error)),
                    };
                }
            }
        }
    }

    /// Asks for what is in the way of one to be done away with. An error if that is of no use.
    fn deal_stopped(&self, core: &mut Core, waiting: &mut Waiting, stop: Stop) -> Result<(), Error> {
        let Stop::Obstacle(obstacle) = stop else { return Ok(()) };
        match obstacle {
            Obstacle::Refused(error) => Err(error),
            Obstacle::InLine => Ok(()),
            Obstacle::Unread(group, offset) => {
                core.copies.want(group, offset);
                self.call_upkeep(core);
                Ok(())
            }
            Obstacle::Room(Refusal::TooLarge { limit }) => Err(too_large(limit)),
            Obstacle::Room(Refusal::BufferFull) => Ok(()),
            Obstacle::Room(Refusal::NoSegment { bytes }) => {
                // It has asked, and the disk is still full: what was kept for those who settle is used up.
                let tried = std::mem::replace(&mut waiting.asked, true) && core.wanted_bytes == 0;
                if let Some(source) = core.full.clone().filter(|_| tried) {
                    return Err(disk_full(source));
                }
                core.wanted_bytes = core.wanted_bytes.max(bytes);
                Ok(())
            }
            Obstacle::Room(Refusal::Reserve) => {
                core.space.ask_beyond();
                core.full.clone().map_or(Ok(()), |source| Err(disk_full(source)))
            }
        }
    }

    /// Publishes a message if it will have this offset. A refusal is in the ticket, with the message.
    pub(crate) fn publish_if(self: Arc<Self>, topic: TopicId, end: Offset, message: Message) -> Ticket<Receipt> {
        let level = message.durability.or_else(|| self.core.lock().state.topic(topic)?.durability());
        let level = level.unwrap_or(self.options.durability);
        let (publishes, expected) = (vec![(topic, vec![message])], vec![(topic, end)]);
        let deal = Expecting(Changes { publishes, expected, ..Changes::default() });
        self.transact(Box::new(deal), level, |admission| {
            let otherwise = Receipt { offset: admission.first, time: admission.time, duplicate: false };
            admission.receipts().first().copied().unwrap_or(otherwise)
        })
    }
}

/// Whether it fits in one frame.
fn limited(drafts: &[Draft<'_>], limit: u32) -> Result<(), Error> {
    let bytes = drafts.iter().map(|draft| draft.len_max() as u64).fold(0, u64::saturating_add);
    if bytes > u64::from(limit) { Err(too_large(limit)) } else { Ok(()) }
}

fn in_line(waiting: Box<Waiting>, slot: Arc<Slot>) -> InLine {
    let level = waiting.level;
    InLine { topic: TopicId::ZERO, work: Work::Deal(waiting), level, slot, probe: Probe::default() }
}

impl Changes {
    /// More work leaves the last room to those who settle. Values count as more work where nothing is settled with
    /// them, since nothing else bounds how many of those there are.
    pub(super) fn class(&self) -> Class {
        let settles = self.publishes.is_empty() && !self.settlements.is_empty();
        if settles { Class::Settle } else { Class::Publish }
    }

    pub(super) fn topics(&self) -> impl Iterator<Item = TopicId> {
        let expected = self.expected.iter().map(|(topic, _)| *topic);
        self.publishes.iter().map(|(topic, _)| *topic).chain(expected)
    }
}

/// A message that is published if it gets a certain offset.
#[derive(Debug)]
struct Expecting(Changes);

impl Deal for Expecting {
    fn changes(&self) -> &Changes {
        &self.0
    }

    fn changes_mut(&mut self) -> &mut Changes {
        &mut self.0
    }

    fn done(self: Box<Self>, receipts: Vec<Vec<Receipt>>) -> Vec<Receipt> {
        receipts.into_iter().flatten().collect()
    }

    fn hand_back(mut self: Box<Self>, error: Error) -> Error {
        let message = self.0.publishes.pop().and_then(|(_, mut messages)| messages.pop());
        message.into_iter().fold(error, Error::returning)
    }
}

/// What can't go while the lock is held goes when those are woken who are to be.
pub(super) fn gone_without_the_lock(what: Error) -> Waker {
    struct Going(#[expect(dead_code, reason = "it only has to go")] Error);
    impl Wake for Going {
        fn wake(self: Arc<Self>) {}
    }
    Waker::from(Arc::new(Going(what)))
}
