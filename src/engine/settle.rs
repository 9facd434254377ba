//! Settling what was handed out: done, failed, given back, parked.

use super::{Core, Engine};
use crate::config::Durability;
use crate::error::{Code, Error, Result};
use crate::event::{Ack, Bury, BuryReason, Event, Nack, Release, Run};
use crate::journal::{Refusal, Span};
use crate::state::Hold;
use crate::ticket::Ticket;
use crate::types::{GroupId, Offset, Timestamp};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// How a delivery ends.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Ack,
    Nack {
        error: String,
        after: Option<Duration>,
    },
    Release {
        after: Option<Duration>,
    },
    Bury {
        error: String,
    },
    /// The delivery was dropped unsettled: a failure, or, while the store closes, a release.
    Dropped,
}

impl Engine {
    /// Settles deliveries that are held under these epochs.
    pub(crate) fn settle(self: &Arc<Self>, group: GroupId, held: &[(Offset, u64)], how: &Outcome) -> Ticket<()> {
        let level = self.options.ack_durability;
        match self.settle_now(group, held, how, level) {
            Ok(Some(span)) if level == Durability::Memory => {
                let _ = span;
                Ticket::done(Ok(()))
            }
            Ok(Some(span)) => Ticket::committing(self.clone(), span.end, level, ()),
            Ok(None) => Ticket::done(Ok(())),
            Err(error) => Ticket::done(Err(error)),
        }
    }

    fn settle_now(
        &self,
        group: GroupId,
        held: &[(Offset, u64)],
        how: &Outcome,
        level: Durability,
    ) -> Result<Option<Span>> {
        loop {
            let mut core = self.open_core()?;
            let refusal = match self.settle_locked(&mut core, group, held, how) {
                Ok(outcome) => {
                    let span = outcome?;
                    if let Some(span) = span {
                        if level == Durability::Disk {
                            core.disk_end = span.end;
                        }
                        self.after_settle(&mut core, group, how, level);
                    }
                    return Ok(span);
                }
                Err(refusal) => refusal,
            };
            drop(core);
            self.relieve(refusal)?;
        }
    }

    fn after_settle(&self, core: &mut Core, group: GroupId, how: &Outcome, level: Durability) {
        // A message that comes back, or a suspect that is through, is somebody else's next one.
        let returns = !matches!(how, Outcome::Ack) || core.state.group(group).is_some_and(|held| held.suspects() > 0);
        if returns {
            self.tell_leasing(core);
        }
        if level == Durability::Memory {
            self.arm(core, false);
        }
        if core.tail.unwritten() >= self.options.write_threshold_bytes {
            self.arm(core, true);
        }
        self.want_successor(core);
    }

    pub(super) fn tell_leasing(&self, core: &mut Core) {
        if core.leasing > 0 {
            self.arrived.notify_all();
        }
        self.call_upkeep(core);
    }

    /// Decides and records. The outer error is "no room now"; the inner one is final.
    fn settle_locked(
        &self,
        core: &mut Core,
        group: GroupId,
        held: &[(Offset, u64)],
        how: &Outcome,
    ) -> Result<Result<Option<Span>>, Refusal> {
        let Some(state) = core.state.group(group) else { return Ok(Err(no_group())) };
        let lost: Vec<Offset> = held
            .iter()
            .filter(|(offset, epoch)| state.check(*offset, *epoch) == Hold::Lost)
            .map(|lost| lost.0)
            .collect();
        // Nothing of a settlement whose lease was lost takes effect for that message; the others are settled.
        let mut good: Vec<Offset> =
            held.iter().map(|(offset, _)| *offset).filter(|offset| !lost.contains(offset)).collect();
        good.sort_unstable();
        let mut span = None;
        if let Outcome::Ack = how {
            if !good.is_empty() {
                let single;
                let runs = match good.as_slice() {
                    [one] => {
                        single = [Run::one(*one)];
                        Cow::Borrowed(&single[..])
                    }
                    many => Cow::Owned(runs(many)),
                };
                let ack = Ack { group, runs, processed: Cow::Borrowed(&[]), time: Timestamp::ZERO };
                span = Some(core.record(&Event::Ack(ack))?);
            }
        } else {
            for offset in good {
                span = Some(self.end_one(core, group, offset, how)?);
            }
        }
        if lost.is_empty() {
            return Ok(Ok(span));
        }
        let offsets: Vec<String> = lost.iter().map(ToString::to_string).collect();
        let what = format!(
            "the lease of offset {} ran out and somebody else has the message, or it is settled; nothing was changed",
            offsets.join(", ")
        );
        Ok(Err(Error::new(Code::LeaseLost, what)))
    }

    /// Ends one delivery that is not simply done.
    fn end_one(&self, core: &mut Core, group: GroupId, offset: Offset, how: &Outcome) -> Result<Span, Refusal> {
        let now = self.now();
        let due = |after: &Option<Duration>| after.map_or(Timestamp::ZERO, |after| now.plus(after));
        match how {
            Outcome::Release { after } => self.give_back(core, group, offset, due(after)),
            Outcome::Dropped if core.closing => self.give_back(core, group, offset, Timestamp::ZERO),
            Outcome::Dropped => self.fail(core, group, offset, "the delivery was dropped unsettled", None),
            Outcome::Nack { error, after } => self.fail(core, group, offset, error, *after),
            Outcome::Bury { error } => self.bury(core, group, offset, BuryReason::Asked, error),
            Outcome::Ack => {
                let runs = Cow::Owned(vec![Run::one(offset)]);
                let ack = Ack { group, runs, processed: Cow::Borrowed(&[]), time: Timestamp::ZERO };
                core.record(&Event::Ack(ack))
            }
        }
    }

    fn give_back(&self, core: &mut Core, group: GroupId, offset: Offset, due: Timestamp) -> Result<Span, Refusal> {
        let counters = core.state.group(group).map(|held| held.counters(offset));
        core.record(&Event::Release(Release { group, runs: Cow::Owned(vec![Run::one(offset)]), due, counters }))
    }

    /// Charges a failure: the message waits, or is parked if that was one too many.
    pub(super) fn fail(
        &self,
        core: &mut Core,
        group: GroupId,
        offset: Offset,
        error: &str,
        after: Option<Duration>,
    ) -> Result<Span, Refusal> {
        let Some(held) = core.state.group(group) else { return Err(Refusal::BufferFull) };
        let mut counters = held.counters(offset);
        counters.failures = counters.failures.saturating_add(1);
        if held.limit_reached(offset, counters) == Some(BuryReason::Failures) {
            return self.bury_with(core, group, offset, BuryReason::Failures, error, counters);
        }
        let failures = held.in_this_life(offset, counters).failures;
        let wait = after.unwrap_or_else(|| core.backoff(group, failures));
        let time = self.now();
        let nack = Nack { group, offset, counters, time, due: time.plus(wait), error: Cow::Owned(self.bounded(error)) };
        let span = core.record(&Event::Nack(nack))?;
        self.upkeep_by(core, time.plus(wait));
        Ok(span)
    }

    fn bury(
        &self,
        core: &mut Core,
        group: GroupId,
        offset: Offset,
        reason: BuryReason,
        error: &str,
    ) -> Result<Span, Refusal> {
        let counters = core.state.group(group).map(|held| held.counters(offset)).unwrap_or_default();
        self.bury_with(core, group, offset, reason, error, counters)
    }

    /// Parks a message as a dead letter.
    pub(super) fn bury_with(
        &self,
        core: &mut Core,
        group: GroupId,
        offset: Offset,
        reason: BuryReason,
        error: &str,
        counters: crate::event::Counters,
    ) -> Result<Span, Refusal> {
        let life = core.state.group(group).map_or(0, |held| held.life(offset));
        tracing::warn!(%group, %offset, ?reason, error, "a message is parked as a dead letter");
        let error = Cow::Owned(self.bounded(error));
        core.record(&Event::Bury(Bury { group, offset, reason, counters, life, time: self.now(), error }))
    }

    /// An error text, cut to what is kept of it.
    pub(super) fn bounded(&self, text: &str) -> String {
        let mut end = text.len().min(self.options.error_text_bytes);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.get(..end).unwrap_or_default().to_owned()
    }

    /// A message that was granted can't be read: it is charged as a failure and tried again later; the others go on.
    pub(super) fn unreadable(&self, group: GroupId, offset: Offset, epoch: u64, why: &str) -> Result<()> {
        loop {
            let mut core = self.open_core()?;
            if core.state.group(group).is_none_or(|held| held.check(offset, epoch) == Hold::Lost) {
                return Ok(());
            }
            match self.fail(&mut core, group, offset, why, None) {
                Ok(_) => return Ok(()),
                Err(refusal) => {
                    drop(core);
                    self.relieve(refusal)?;
                }
            }
        }
    }

    /// Lengthens a lease: it runs out `by` from now.
    pub(crate) fn extend(&self, group: GroupId, offset: Offset, epoch: u64, by: Duration) -> Result<()> {
        let mut core = self.open_core()?;
        let deadline = self.now().plus(by);
        let Some(held) = core.state.group_mut(group) else { return Err(no_group()) };
        if held.extend(offset, epoch, deadline) {
            self.upkeep_by(&mut core, deadline);
            return Ok(());
        }
        let what = format!("the lease of offset {offset} ran out, or the message is settled: it can't be extended");
        Err(Error::new(Code::LeaseLost, what))
    }

    /// Makes the room that was lacking: writes what is buffered, prepares a segment.
    pub(super) fn relieve(&self, refusal: Refusal) -> Result<()> {
        match refusal {
            Refusal::TooLarge { limit } => Err(super::publish::too_large(limit)),
            Refusal::BufferFull => {
                let end = self.core.lock().tail.end();
                self.drive(end, Durability::Os, None).map(drop)
            }
            Refusal::NoSegment { bytes } => {
                let mut core = self.core.lock();
                core.wanted_bytes = core.wanted_bytes.max(bytes);
                drop(core);
                self.make_room()
            }
        }
    }
}

impl Core {
    /// The wait after so many failures, with jitter: between half the policy's wait and all of it.
    pub(super) fn backoff(&mut self, group: GroupId, failures: u32) -> Duration {
        let Some(held) = self.state.group(group) else { return Duration::ZERO };
        let whole = held.policy().retry.ceiling(failures);
        let half = whole / 2;
        let spread = u64::try_from((whole - half).as_millis()).unwrap_or(u64::MAX);
        half.saturating_add(Duration::from_millis(self.jitter.u64(0..=spread)))
    }
}

/// Rising offsets as runs.
fn runs(offsets: &[Offset]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for offset in offsets {
        match runs.last_mut() {
            Some(run) if run.end() == *offset => run.count += 1,
            Some(run) if run.end() > *offset => {}
            _ => runs.push(Run::one(*offset)),
        }
    }
    runs
}

pub(super) fn no_group() -> Error {
    Error::new(Code::UnknownGroup, "the consumer group was dropped")
}
