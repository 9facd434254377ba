//! What becomes of deliveries: decided under the lock, and recorded in one frame under the same hold of it.
//!
//! Applying an event neither refuses nor reads a clock, so everything is decided here: when a failed message comes
//! back, whether it was one failure too many, what its copy for another topic looks like.

use super::compose::Recorded;
use super::obstacle::Obstacle;
use super::park::{Copy, Reads};
use super::publish::Terms;
use super::settle::Outcome;
use super::{Core, Engine};
use crate::config::{Durability, WhenParked};
use crate::event::{Bury, BuryReason, Counters, Draft, Event, Nack, Release, Run};
use crate::journal::{Class, Refusal, Span};
use crate::types::{GroupId, Offset, Timestamp};
use std::borrow::Cow;
use std::slice;
use std::time::Duration;

/// Why a message is parked that was only given back.
const LOWERED: &str = "a limit was lowered below what had happened to it already";

/// A message of a group.
type At = (GroupId, Offset);

/// What was decided and is not recorded yet.
#[derive(Debug, Default)]
pub(super) struct Decisions<'a> {
    pub(super) events: Vec<Event<'a>>,
    /// Copies of what is parked, to be published in the same frame.
    copies: Vec<Copy>,
    /// When the first of those that wait comes back.
    due: Option<Timestamp>,
    /// Messages that were read for these decisions alone.
    known: Option<&'a Reads>,
}

impl<'a> Decisions<'a> {
    pub(super) fn knowing(known: &'a Reads) -> Self {
        Self { known: Some(known), ..Self::default() }
    }

    /// The messages come back at `due`; zero: at once.
    pub(super) fn comes_back(&mut self, due: Timestamp) {
        if due != Timestamp::ZERO {
            self.due = self.due.into_iter().chain([due]).min();
        }
    }

    /// The copies are not seen before everything else of their frame is as firm as was asked.
    pub(super) fn raise(&mut self, level: Durability) {
        self.copies.iter_mut().for_each(|copy| copy.terms.level = copy.terms.level.max(level));
    }

    /// Messages are done, and their ids are processed.
    pub(super) fn acks(&mut self, core: &Core, group: GroupId, runs: Vec<Run>, now: impl FnOnce() -> Timestamp) {
        let mut event = core.ack(group, runs, now);
        if let Event::Ack(ack) = &mut event
            && ack.table != 0
        {
            // Groups that share a table count on from each other, also within one frame.
            let before = self.events.iter().filter_map(|event| match event {
                Event::Ack(other) if other.table == ack.table => Some(other.processed.len() as u64),
                _ => None,
            });
            ack.sequence = ack.sequence.saturating_add(before.sum());
        }
        self.events.push(event);
    }

    pub(super) fn releases(&mut self, group: GroupId, runs: Vec<Run>, due: Timestamp) {
        self.events.push(Event::Release(Release { group, runs: Cow::Owned(runs), due, counters: None }));
        self.comes_back(due);
    }
}

impl Engine {
    /// How one delivery ends.
    pub(super) fn decide(
        &self,
        core: &mut Core,
        decisions: &mut Decisions<'_>,
        at: At,
        how: &Outcome,
    ) -> Result<(), Obstacle> {
        let (group, offset) = at;
        let charged = match how {
            Outcome::Ack => {
                decisions.acks(core, group, vec![Run::one(offset)], || self.age_now());
                return Ok(());
            }
            Outcome::Release { after } => {
                let due = after.map_or(Timestamp::ZERO, |after| self.after(after));
                return self.give_back(core, decisions, at, due);
            }
            Outcome::Dropped | Outcome::Panicked if core.closing => {
                return self.give_back(core, decisions, at, Timestamp::ZERO);
            }
            Outcome::Dropped => ("the delivery was dropped unsettled", None),
            Outcome::Panicked => ("the handler panicked", None),
            Outcome::Nack { error, after } => (error.as_str(), *after),
            Outcome::Bury { error } => {
                let counters = core.state.group(group).map(|held| held.counters(offset)).unwrap_or_default();
                return self.bury(core, decisions, at, BuryReason::Asked, error, counters);
            }
        };
        let (error, after) = charged;
        self.fail(core, decisions, at, BuryReason::Failures, error, after)
    }

    /// Nothing is charged; but a limit that was lowered while it was out applies now.
    pub(super) fn give_back(
        &self,
        core: &Core,
        decisions: &mut Decisions<'_>,
        (group, offset): At,
        due: Timestamp,
    ) -> Result<(), Obstacle> {
        let held = core.state.group(group).map(|held| (held, held.counters(offset)));
        if let Some((held, counters)) = held
            && let Some(reason) = held.limit_reached(offset, counters)
        {
            return self.bury(core, decisions, (group, offset), reason, LOWERED, counters);
        }
        decisions.releases(group, vec![Run::one(offset)], due);
        Ok(())
    }

    /// Charges a failure: the message waits, or is parked if that was one too many. `last` is what it is parked for if
    /// it is the failures that are too many.
    pub(super) fn fail(
        &self,
        core: &mut Core,
        decisions: &mut Decisions<'_>,
        (group, offset): At,
        last: BuryReason,
        error: &str,
        after: Option<Duration>,
    ) -> Result<(), Obstacle> {
        if last == BuryReason::Failures && self.spare(core, decisions, (group, offset), error, after) {
            return Ok(());
        }
        let Some(held) = core.state.group(group) else { return Ok(()) };
        let mut counters = held.counters(offset);
        counters.failures = counters.failures.saturating_add(1);
        if let Some(reason) = held.limit_reached(offset, counters) {
            let reason = if reason == BuryReason::Failures { last } else { reason };
            return self.bury(core, decisions, (group, offset), reason, error, counters);
        }
        let failures = held.in_this_life(offset, counters).failures;
        let wait = after.unwrap_or_else(|| core.backoff(group, failures));
        self.retry(core, decisions, (group, offset), counters, wait, error);
        Ok(())
    }

    /// The message is tried again after `wait`.
    pub(super) fn retry(
        &self,
        core: &Core,
        decisions: &mut Decisions<'_>,
        (group, offset): At,
        counters: Counters,
        wait: Duration,
        error: &str,
    ) {
        let (time, due, error) = (self.now(), self.after(wait), Cow::Owned(self.bounded(core, error)));
        decisions.events.push(Event::Nack(Nack { group, offset, counters, time, due, error }));
        decisions.comes_back(due);
    }

    /// The message is parked as a dead letter, with a copy for another topic if its group wants that.
    pub(super) fn bury(
        &self,
        core: &Core,
        decisions: &mut Decisions<'_>,
        (group, offset): At,
        reason: BuryReason,
        error: &str,
        counters: Counters,
    ) -> Result<(), Obstacle> {
        let life = core.state.group(group).map_or(0, |held| held.life(offset));
        let (time, error) = (self.now(), Cow::Owned(self.bounded(core, error)));
        let bury = Bury { group, offset, reason, counters, life, time, error };
        decisions.copies.extend(self.copy_of(core, &bury, decisions.known)?);
        decisions.events.push(Event::Bury(bury));
        Ok(())
    }

    /// Ends one delivery that is not simply done.
    pub(super) fn end_one(&self, core: &mut Core, at: At, how: &Outcome) -> Result<Span, Obstacle> {
        let mut decisions = Decisions::default();
        self.decide(core, &mut decisions, at, how)?;
        self.record_decided(core, &mut decisions)
    }

    /// Records decisions that stand for themselves.
    pub(super) fn record_decided(&self, core: &mut Core, decisions: &mut Decisions<'_>) -> Result<Span, Obstacle> {
        let class = if decisions.copies.is_empty() { Class::Settle } else { Class::Copy };
        match self.record_with(core, class, decisions, &[]) {
            Err(Refusal::TooLarge { limit }) if !decisions.copies.is_empty() => {
                tracing::error!(limit, "a dead letter fits in no frame together with its copy: parked without");
                decisions.copies.clear();
                Ok(self.record_with(core, Class::Settle, decisions, &[])?.span)
            }
            outcome => Ok(outcome?.span),
        }
    }

    /// Records decisions and messages as one frame, and does what follows from the decisions.
    pub(super) fn record_with(
        &self,
        core: &mut Core,
        class: Class,
        decisions: &Decisions<'_>,
        messages: &[(&Draft<'_>, Terms)],
    ) -> Result<Recorded, Refusal> {
        let Decisions { events, copies, due, .. } = decisions;
        let copied = copies.iter().map(|copy| Draft::batch(copy.topic, slice::from_ref(&copy.message)));
        let copied: Vec<Draft<'_>> = copied.collect();
        let drafts = copied.iter().zip(copies).map(|(draft, copy)| (draft, copy.terms));
        let drafts: Vec<(&Draft<'_>, Terms)> = messages.iter().copied().chain(drafts).collect();
        let recorded = core.record_frame(class, events, &drafts)?;
        for event in events {
            if let Event::Bury(Bury { group, offset, reason, .. }) = event {
                core.copies.read.remove(&(*group, *offset));
                if core.state.group(*group).is_some_and(|held| held.policy().ordered == Some(WhenParked::ParkKey)) {
                    // It takes along what is behind it.
                    self.upkeep_by(core, self.now());
                }
                tracing::warn!(%group, %offset, ?reason, "a message is parked as a dead letter");
            }
        }
        for copy in copies {
            self.after_publish(core, copy.topic, copy.terms.level);
            // Nobody waits for the copy.
            self.arm(core, false);
        }
        if let Some(due) = *due {
            self.upkeep_by(core, due);
        }
        Ok(recorded)
    }

    /// An error text, cut to what is kept of it.
    pub(super) fn bounded(&self, core: &Core, text: &str) -> String {
        // On a full disk every byte is kept for settling.
        if core.full.is_some() {
            return String::new();
        }
        let mut end = text.len().min(self.options.error_text_bytes);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.get(..end).unwrap_or_default().to_owned()
    }
}

impl Core {
    /// The wait after so many failures, with jitter: between half the policy's wait and all of it.
    pub(super) fn backoff(&mut self, group: GroupId, failures: u32) -> Duration {
        let Some(held) = self.state.group(group) else { return Duration::ZERO };
        let retry = &held.policy().retry;
        let whole = retry.ceiling(failures);
        if !retry.jitter {
            return whole;
        }
        let half = whole / 2;
        let spread = u64::try_from((whole - half).as_millis()).unwrap_or(u64::MAX);
        half.saturating_add(Duration::from_millis(self.jitter.u64(0..=spread)))
    }
}
