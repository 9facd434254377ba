//! Transactions: publishes to any topics, settlements of any groups and values of the application, as one frame (I7).
//!
//! Everything that can refuse one is looked at before the frame is appended, under the same hold of the lock: leases,
//! expectations, limits. So it is there whole, or nothing of it is, and what was refused is handed back as it was.

use super::backlog::NoPlace;
use super::decide::Decisions;
use super::ids::{Known, Probe, Unfit, without};
use super::meter::Age;
use super::obstacle::Obstacle;
use super::park::Reads;
use super::publish::{Terms, batch_receipt, disk_full, too_large};
use super::removal::{Whom, removal};
use super::settle::{Outcome, lease_lost, no_group, runs};
use super::values::Setting;
use super::{Core, Engine};
use crate::config::Durability;
use crate::error::{Code, Error, Result};
use crate::event::{Cause, Draft, Event, SetValue};
use crate::journal::{Class, Refusal};
use crate::message::{Message, Receipt};
use crate::state::Hold;
use crate::ticket::{Admission, Ticket};
use crate::types::{GroupId, Lsn, Offset, Timestamp, TopicId};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The end of one delivery.
#[derive(Debug)]
pub(crate) struct Settlement {
    pub(crate) group: GroupId,
    pub(crate) offset: Offset,
    pub(crate) epoch: u64,
    pub(crate) age: Age,
    pub(crate) how: Outcome,
}

/// What is to happen whole or not at all.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// By topic, each once.
    pub(crate) publishes: Vec<(TopicId, Vec<Message>)>,
    pub(crate) settlements: Vec<Settlement>,
    pub(crate) values: Vec<Setting>,
    /// The offset that the next message of a topic must get, before those of this transaction.
    pub(crate) expected: Vec<(TopicId, Offset)>,
}

/// That it happened: up to where the journal has to reach the level, and what each message of each topic is answered.
#[derive(Debug)]
pub(crate) struct Appended {
    pub(crate) end: Lsn,
    pub(crate) level: Durability,
    pub(crate) time: Timestamp,
    pub(crate) receipts: Vec<Vec<Receipt>>,
}

/// The messages of one topic: what the runs have of their ids, and which of them are known, and not appended again.
#[derive(Debug, Default)]
struct Screened {
    probe: Probe,
    known: Vec<Known>,
}

/// Why a transaction is not through.
enum Stop {
    Obstacle(Obstacle),
    /// These are known, and no others: the drafts are not the right ones.
    Known(Vec<Vec<Known>>),
    /// The runs have to be asked again.
    Stale,
    /// There is no room for more ids in memory.
    Ids,
}

impl<T: Into<Obstacle>> From<T> for Stop {
    fn from(obstacle: T) -> Self {
        Self::Obstacle(obstacle.into())
    }
}

impl Changes {
    /// More work leaves the last room to those who settle. Values count as more work where nothing is settled with
    /// them, since nothing else bounds how many of those there are.
    fn class(&self) -> Class {
        let settles = self.publishes.is_empty() && !self.settlements.is_empty();
        if settles { Class::Settle } else { Class::Publish }
    }

    fn topics(&self) -> impl Iterator<Item = TopicId> {
        let expected = self.expected.iter().map(|(topic, _)| *topic);
        self.publishes.iter().map(|(topic, _)| *topic).chain(expected)
    }
}

/// So often room is made for one transaction before it is refused: each time, others may take it.
const TRIES: u32 = 32;

impl Engine {
    /// Does all of it, or nothing; then what was asked for is as it was given. The level is that of its strongest
    /// message if that is more than `level`. It may wait for a write or for a segment, as settling may.
    pub(crate) fn transact(&self, changes: &mut Changes, level: Durability) -> Result<Appended> {
        self.transact_once(changes, level).inspect_err(|_| {
            changes.publishes.iter_mut().flat_map(|(_, messages)| messages).for_each(Message::unaccept);
        })
    }

    fn transact_once(&self, changes: &mut Changes, level: Durability) -> Result<Appended> {
        self.check_values(&changes.values)?;
        for (topic, messages) in &mut changes.publishes {
            self.ready(*topic, messages)?;
        }
        let changes = &*changes;
        let asked = changes.publishes.iter().flat_map(|(_, messages)| messages);
        let level = asked.filter_map(|message| message.durability).max().map_or(level, |asked| asked.max(level));
        let mut screened = Vec::with_capacity(changes.publishes.len());
        for (topic, messages) in &changes.publishes {
            screened.push(Screened { probe: self.probe(*topic, messages)?, known: Vec::new() });
        }
        let (mut reads, mut read_bytes, mut tries) = (Reads::new(), 0_u64, 0);
        loop {
            let fresh: Vec<Cow<'_, [Message]>> =
                changes.publishes.iter().zip(&screened).map(|((_, all), topic)| without(all, &topic.known)).collect();
            let drafts = changes.publishes.iter().zip(&fresh);
            let drafts: Vec<Draft<'_>> = drafts.map(|((topic, _), fresh)| Draft::batch(*topic, fresh)).collect();
            let limit = self.options.max_frame_bytes;
            if drafts.iter().map(|draft| draft.len_max() as u64).fold(0, u64::saturating_add) > u64::from(limit) {
                return Err(too_large(limit));
            }
            let stop = loop {
                let mut core = self.open_core()?;
                let stop = match self.transact_locked(&mut core, changes, (&screened, &drafts), &reads, level) {
                    Ok(appended) => return Ok(appended),
                    Err(stop) => stop,
                };
                drop(core);
                match stop {
                    Stop::Obstacle(Obstacle::Unread(group, offset)) => {
                        let read = self.read_dead(group, offset)?;
                        let bytes = read.as_ref().map_or(0, |read| read.payload.len() as u64);
                        read_bytes = read_bytes.saturating_add(bytes);
                        if read_bytes > u64::from(limit) {
                            return Err(too_large(limit));
                        }
                        reads.insert((group, offset), read);
                    }
                    // Nothing of this was appended: whatever failed meanwhile, its outcome is known.
                    Stop::Obstacle(Obstacle::Room(_)) if tries == TRIES => {
                        let what =
                            "there is no room for the transaction beyond what is kept for settling; try again later";
                        return Err(self.open_core().err().unwrap_or_else(|| Error::new(Code::BufferFull, what)));
                    }
                    Stop::Obstacle(obstacle) => {
                        tries += 1;
                        self.relieve(obstacle).map_err(|error| self.open_core().err().unwrap_or(error))?;
                    }
                    Stop::Ids => self.make_room_for_ids()?,
                    Stop::Known(_) | Stop::Stale => break stop,
                }
            };
            drop(drafts);
            drop(fresh);
            if let Stop::Known(now_known) = stop {
                screened.iter_mut().zip(now_known).for_each(|(topic, known)| topic.known = known);
            } else {
                for ((topic, messages), screened) in changes.publishes.iter().zip(&mut screened) {
                    screened.probe = self.probe(*topic, messages)?;
                }
            }
        }
    }

    fn transact_locked(
        &self,
        core: &mut Core,
        changes: &Changes,
        (screened, drafts): (&[Screened], &[Draft<'_>]),
        reads: &Reads,
        level: Durability,
    ) -> Result<Appended, Stop> {
        self.check_changes(core, changes)?;
        self.check_ids(core, changes, screened)?;
        check_expected(core, changes, screened)?;
        let mut decisions = Decisions::knowing(reads);
        let touched = self.decide_all(core, &mut decisions, &changes.settlements)?;
        make_places(core, drafts, &mut decisions)?;
        decisions.raise(level);
        for (key, value) in &changes.values {
            let value = value.as_deref().map(Cow::Borrowed);
            decisions.events.push(Event::SetValue(SetValue { key: Cow::Borrowed(key), value }));
        }
        let terms = Terms { now: self.now(), level, at: None };
        let messages: Vec<(&Draft<'_>, Terms)> =
            drafts.iter().filter(|draft| draft.count() > 0).map(|draft| (draft, terms)).collect();
        let (mut end, mut firsts) = (Lsn::ZERO, Vec::new().into_iter());
        if !decisions.events.is_empty() || !messages.is_empty() {
            let before = core.values_before(&changes.values);
            let recorded = match self.record_with(core, changes.class(), &decisions, &messages) {
                Ok(recorded) => recorded,
                Err(refusal) => return Err(known_full(core, changes.class(), refusal).into()),
            };
            (end, firsts) = (recorded.span.end, recorded.firsts.into_iter());
            if level == Durability::Disk {
                core.disk_end = end;
            }
            core.values_changed(&changes.values, before, end, level);
            changes.publishes.iter().for_each(|(topic, _)| self.touched(core, *topic));
            changes.settlements.iter().for_each(|one| self.meter_one(core, one));
            touched.into_iter().for_each(|(group, returns)| self.after_settle(core, group, returns, level));
            self.after_append(core, level);
        }
        let mut receipts = Vec::with_capacity(drafts.len());
        for ((draft, Screened { known, .. }), (topic, _)) in drafts.iter().zip(screened).zip(&changes.publishes) {
            let count = draft.count();
            let first = if count > 0 { firsts.next() } else { None }.unwrap_or_default();
            let admission = Admission { end, level, first, count, time: terms.now, known: Vec::new() };
            let admission = core.with_known(*topic, admission, known);
            // It resolves when also what was accepted before is as durable as is asked now.
            end = end.max(admission.end);
            receipts.push(batch_receipt(admission).receipts().collect());
        }
        Ok(Appended { end, level, time: terms.now, receipts })
    }

    /// Which messages are known by their ids, and whether there is room for more.
    fn check_ids(&self, core: &mut Core, changes: &Changes, screened: &[Screened]) -> Result<(), Stop> {
        let mut now_known = Vec::with_capacity(screened.len());
        for ((topic, messages), Screened { probe, .. }) in changes.publishes.iter().zip(screened) {
            match core.judge(*topic, messages, probe, || self.age_now()) {
                Ok(known) => now_known.push(known),
                Err(Unfit::Stale) => return Err(Stop::Stale),
                Err(Unfit::Reused { index, offset }) => return Err(core.reused(messages, index, offset).into()),
            }
        }
        if !now_known.iter().eq(screened.iter().map(|topic| &topic.known)) {
            return Err(Stop::Known(now_known));
        }
        for ((_, messages), Screened { probe, known }) in changes.publishes.iter().zip(screened) {
            let new = messages.len().saturating_sub(known.len());
            if new > 0 && !self.room_for_ids(core, probe, new)? {
                return Err(Stop::Ids);
            }
        }
        Ok(())
    }

    /// Whether it is its turn, and what can refuse it for good.
    fn check_changes(&self, core: &mut Core, changes: &Changes) -> Result<(), Obstacle> {
        if core.closing && changes.class() == Class::Publish {
            return Err(super::closed().into());
        }
        if changes.topics().any(|topic| core.state.topic(topic).is_none()) {
            return Err(Error::new(Code::UnknownTopic, "a topic of the transaction was dropped").into());
        }
        // What was published before this was called comes before it.
        if changes.topics().any(|topic| core.line.iter().any(|waiting| waiting.topic == topic)) {
            return Err(Obstacle::InLine);
        }
        let mut lost = Vec::new();
        for Settlement { group, offset, epoch, .. } in &changes.settlements {
            match core.state.group(*group).map(|held| held.check(*offset, *epoch)) {
                None => return Err(no_group().into()),
                Some(Hold::Lost) => lost.push(*offset),
                Some(Hold::Held | Hold::Late) => {}
            }
        }
        if !lost.is_empty() {
            core.meters.stale = core.meters.stale.saturating_add(lost.len() as u64);
            return Err(lease_lost(&lost).into());
        }
        Ok(core.check_total(&changes.values, self.options.max_values_bytes)?)
    }

    /// How each delivery ends. The groups, and whether something comes back to them.
    fn decide_all(
        &self,
        core: &mut Core,
        decisions: &mut Decisions<'_>,
        settlements: &[Settlement],
    ) -> Result<BTreeMap<GroupId, bool>, Obstacle> {
        let mut acked: BTreeMap<GroupId, Vec<Offset>> = BTreeMap::new();
        let mut touched = BTreeMap::new();
        for Settlement { group, offset, how, .. } in settlements {
            if matches!(how, Outcome::Ack) {
                acked.entry(*group).or_default().push(*offset);
            } else {
                self.decide(core, decisions, (*group, *offset), how)?;
            }
            *touched.entry(*group).or_default() |= !matches!(how, Outcome::Ack);
        }
        for (group, mut offsets) in acked {
            offsets.sort_unstable();
            decisions.acks(core, group, runs(&offsets), || self.age_now());
        }
        Ok(touched)
    }

    /// Publishes a message if it will have this offset. A refusal is in the ticket, with the message.
    pub(crate) fn publish_if(self: Arc<Self>, topic: TopicId, end: Offset, message: Message) -> Ticket<Receipt> {
        let level = message.durability.or_else(|| self.core.lock().state.topic(topic)?.durability());
        let level = level.unwrap_or(self.options.durability);
        let mut changes =
            Changes { publishes: vec![(topic, vec![message])], expected: vec![(topic, end)], ..Changes::default() };
        match self.transact(&mut changes, level) {
            Ok(Appended { end: lsn, level, time, receipts }) => {
                let receipt = receipts.first().and_then(|receipts| receipts.first()).copied();
                let receipt = receipt.unwrap_or(Receipt { offset: end, time, duplicate: false });
                Ticket::appended(self, lsn, level, receipt)
            }
            Err(error) => {
                let message = changes.publishes.pop().and_then(|(_, mut messages)| messages.pop());
                Ticket::refused(self, message.into_iter().fold(error, Error::returning))
            }
        }
    }
}

/// Finds places in the backlogs of the topics. What is to be dropped for them is dropped in the same frame; where one
/// would have to be waited for, the transaction is refused: deliveries are not held up by publishes.
fn make_places(core: &mut Core, drafts: &[Draft<'_>], decisions: &mut Decisions<'_>) -> Result<(), Obstacle> {
    for draft in drafts.iter().filter(|draft| draft.count() > 0) {
        match core.make_way(draft) {
            Ok(dropped) if dropped.is_empty() => {}
            Ok(dropped) => {
                decisions.events.push(removal(Whom::Everybody(draft.topic()), Cause::Overflow, dropped));
            }
            Err(NoPlace::Refused(error)) => return Err(error.into()),
            Err(NoPlace::Wait) => {
                let what = "the backlog of a topic of the transaction is full; a transaction does not wait for a place";
                return Err(Error::new(Code::BacklogFull, what).into());
            }
        }
    }
    Ok(())
}

/// Whether topics end where they are expected to. Nobody asks of a topic all of whose messages are known: that is the
/// same call once more, and it has its answer.
fn check_expected(core: &Core, changes: &Changes, screened: &[Screened]) -> Result<()> {
    for (topic, expected) in &changes.expected {
        let mut publishes = changes.publishes.iter().zip(screened);
        let repeated = publishes.any(|((of, messages), Screened { known, .. })| {
            of == topic && !messages.is_empty() && known.len() == messages.len()
        });
        let found = core.next_offset(*topic);
        if found != *expected && !repeated {
            let name = core.state.topic(*topic).map_or("", |topic| topic.name());
            let what = format!(
                "topic {name:?} was expected to end at offset {expected} and ends at {found}: somebody was quicker"
            );
            return Err(Error::new(Code::UnexpectedEnd, what));
        }
    }
    Ok(())
}

/// A disk that is known to be full is said to be at once, as to any publisher; the upkeep looks at it again.
fn known_full(core: &mut Core, class: Class, refusal: Refusal) -> Obstacle {
    if let (Class::Publish, Refusal::NoSegment { bytes }) = (class, refusal)
        && let Some(source) = core.full.clone()
    {
        core.wanted_bytes = core.wanted_bytes.max(bytes);
        return disk_full(source).into();
    }
    refusal.into()
}
