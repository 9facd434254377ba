//! Transactions: publishes to any topics, settlements of any groups and values of the application, as one frame (I7).
//!
//! Everything that can refuse one is looked at before the frame is appended, under the same hold of the lock: leases,
//! expectations, limits. So it is there whole, or nothing of it is, and what was refused is handed back as it was.

use super::backlog::NoPlace;
use super::decide::Decisions;
use super::ids::{Known, Probe, Unfit, without};
use super::line::Work;
use super::meter::Age;
use super::obstacle::Obstacle;
use super::park::Reads;
use super::publish::{Terms, batch_receipt, disk_full};
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
use crate::ticket::Admission;
use crate::types::{GroupId, Lsn, Offset, TopicId};
use std::borrow::Cow;
use std::collections::BTreeMap;

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

/// The messages of one topic: what the runs have of their ids, and which of them are known, and not appended again.
#[derive(Debug, Default)]
pub(super) struct Screened {
    pub(super) probe: Probe,
    pub(super) known: Vec<Known>,
}

impl Screened {
    pub(super) fn new(probe: Probe) -> Self {
        Self { probe, known: Vec::new() }
    }
}

/// Why a transaction is not through.
pub(super) enum Stop {
    Obstacle(Obstacle),
    /// These are known, and no others: the drafts are not the right ones.
    Known(Vec<Vec<Known>>),
    /// The runs have to be asked, or to be asked again.
    Stale,
    /// There is no room for more ids in memory.
    Ids,
}

impl<T: Into<Obstacle>> From<T> for Stop {
    fn from(obstacle: T) -> Self {
        Self::Obstacle(obstacle.into())
    }
}

/// The messages of each topic that are not known.
pub(super) fn fresh_of<'a>(changes: &'a Changes, screened: &[Screened]) -> Vec<Cow<'a, [Message]>> {
    changes.publishes.iter().zip(screened).map(|((_, all), topic)| without(all, &topic.known)).collect()
}

/// Those as they are to be written.
pub(super) fn drafts_of<'a>(changes: &Changes, fresh: &'a [Cow<'_, [Message]>]) -> Vec<Draft<'a>> {
    changes.publishes.iter().zip(fresh).map(|((topic, _), fresh)| Draft::batch(*topic, fresh)).collect()
}

impl Engine {
    /// What can be done before the lock.
    pub(super) fn prepare_deal(&self, changes: &mut Changes) -> Result<()> {
        self.check_values(&changes.values)?;
        for (topic, messages) in &mut changes.publishes {
            self.ready(*topic, messages)?;
        }
        Ok(())
    }

    /// Whether its turn is now, when it is called.
    pub(super) fn check_turn(&self, core: &Core, changes: &Changes) -> Result<(), Obstacle> {
        if core.closing && changes.class() == Class::Publish {
            return Err(super::closed().into());
        }
        // What was called before this comes before it.
        if core.line.iter().any(|before| matches!(before.work, Work::Deal(_)))
            || changes.topics().any(|topic| core.line.iter().any(|before| before.concerns(topic)))
        {
            return Err(Obstacle::InLine);
        }
        Ok(())
    }

    /// Does it, if nothing is in the way. The messages' answers are apart, by topic.
    pub(super) fn transact_locked(
        &self,
        core: &mut Core,
        changes: &Changes,
        (screened, drafts): (&[Screened], &[Draft<'_>]),
        reads: &Reads,
        level: Durability,
    ) -> Result<(Admission, Vec<Vec<Receipt>>), Stop> {
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
            let admission = Admission { first, count, ..Admission::empty(end, level, terms.now) };
            let admission = core.with_known(*topic, admission, known);
            // It resolves when also what was accepted before is as durable as is asked now.
            end = end.max(admission.end);
            receipts.push(batch_receipt(admission).receipts().collect());
        }
        Ok((Admission::empty(end, level, terms.now), receipts))
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

    /// What can refuse it for good.
    fn check_changes(&self, core: &mut Core, changes: &Changes) -> Result<(), Obstacle> {
        if changes.topics().any(|topic| core.state.topic(topic).is_none()) {
            return Err(Error::new(Code::UnknownTopic, "a topic of the transaction was dropped").into());
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
