//! Settling what was handed out: done, failed, given back, parked.

use super::park::Obstacle;
use super::{Core, Engine};
use crate::config::Durability;
use crate::error::{Code, Error, Result};
use crate::event::{BuryReason, Delivered, Event, Nack, Release, Run};
use crate::journal::{Refusal, Span};
use crate::state::Hold;
use crate::ticket::Ticket;
use crate::types::{GroupId, Offset, Timestamp};
use std::borrow::Cow;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

/// Why a message is parked that was only given back.
const LOWERED: &str = "a limit was lowered below what had happened to it already";

/// So many lost leases are named in an error.
const NAMED_LOST: usize = 10;

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
    /// It was dropped by a panic in its handler: likewise.
    Panicked,
}

/// A settlement on its way. What there was no room for is done when it goes on.
#[derive(Debug)]
pub(super) struct Settling<'a> {
    group: GroupId,
    held: Cow<'a, [(Offset, u64)]>,
    how: Cow<'a, Outcome>,
    /// How many of `held` are through; an ack is recorded all at once.
    next: usize,
    lost: Vec<Offset>,
    span: Option<Span>,
    group_gone: bool,
}

impl<'a> Settling<'a> {
    fn new(group: GroupId, held: Cow<'a, [(Offset, u64)]>, how: Cow<'a, Outcome>) -> Self {
        Self { group, held, how, next: 0, lost: Vec::new(), span: None, group_gone: false }
    }

    fn into_owned(self) -> Settling<'static> {
        let Self { group, held, how, next, lost, span, group_gone } = self;
        let (held, how) = (Cow::Owned(held.into_owned()), Cow::Owned(how.into_owned()));
        Settling { group, held, how, next, lost, span, group_gone }
    }

    fn outcome(self) -> Result<Option<Span>> {
        if self.group_gone {
            return Err(no_group());
        }
        if self.lost.is_empty() {
            return Ok(self.span);
        }
        let mut offsets = self.lost.iter().take(NAMED_LOST).map(ToString::to_string).collect::<Vec<_>>().join(", ");
        if self.lost.len() > NAMED_LOST {
            offsets += &format!(" and {} more", self.lost.len() - NAMED_LOST);
        }
        let what = format!(
            "the lease of offset {offsets} ran out and somebody else has the message, or it is settled; nothing was \
             changed"
        );
        Err(Error::new(Code::LeaseLost, what))
    }
}

impl Engine {
    /// Settles deliveries that are held under these epochs.
    pub(crate) fn settle(self: &Arc<Self>, group: GroupId, held: &[(Offset, u64)], how: &Outcome) -> Ticket<()> {
        let level = self.options.ack_durability;
        let settling = Settling::new(group, Cow::Borrowed(held), Cow::Borrowed(how));
        match self.settle_now(settling, level) {
            Ok(Some(span)) if level != Durability::Memory => Ticket::committing(self.clone(), span.end, level, ()),
            Ok(_) => Ticket::done(Ok(())),
            Err(error) => Ticket::done(Err(error)),
        }
    }

    /// Settles parts of a run, one after the other: what ends well, what ends badly, and what goes back, in this order,
    /// so that nothing of the key is handed out in between. Each is done, whatever became of the one before.
    pub(crate) fn settle_run(self: &Arc<Self>, group: GroupId, parts: &[(Vec<(Offset, u64)>, Outcome)]) -> Ticket<()> {
        let level = self.options.ack_durability;
        let (mut last, mut failed) = (None, None);
        for (held, how) in parts.iter().filter(|(held, _)| !held.is_empty()) {
            match self.settle_now(Settling::new(group, Cow::Borrowed(held), Cow::Borrowed(how)), level) {
                Ok(span) => last = span.or(last),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        match (failed, last) {
            (Some(error), _) => Ticket::done(Err(error)),
            (None, Some(span)) if level != Durability::Memory => Ticket::committing(self.clone(), span.end, level, ()),
            (None, _) => Ticket::done(Ok(())),
        }
    }

    fn settle_now(&self, mut settling: Settling<'_>, level: Durability) -> Result<Option<Span>> {
        loop {
            let mut core = self.open_core()?;
            match self.settle_locked(&mut core, &mut settling, level) {
                Ok(()) => return settling.outcome(),
                Err(obstacle) => {
                    drop(core);
                    self.relieve(obstacle)?;
                }
            }
        }
    }

    /// Settles what was dropped, if there is room for it now. Otherwise whoever makes room does it: a drop does not
    /// wait for the disk.
    pub(crate) fn let_go(&self, group: GroupId, held: &[(Offset, u64)], how: &Outcome) {
        let Ok(mut core) = self.open_core() else { return };
        let level = self.options.ack_durability;
        let mut settling = Settling::new(group, Cow::Borrowed(held), Cow::Borrowed(how));
        if let Err(obstacle) = self.settle_locked(&mut core, &mut settling, level) {
            core.let_go.push_back(settling.into_owned());
            core.ask_for(&obstacle);
            self.arm(&mut core, true);
            self.call_upkeep(&mut core);
        } else if level != Durability::Memory {
            // Nobody will wait for it.
            self.arm(&mut core, false);
        }
    }

    /// There is room again: settles what was dropped meanwhile, then takes in what stands in line. The wakers are for
    /// whoever has let go of the lock.
    #[must_use]
    pub(super) fn room_made(&self, core: &mut Core) -> Vec<Waker> {
        while let Some(mut settling) = core.let_go.pop_front() {
            if let Err(obstacle) = self.settle_locked(core, &mut settling, self.options.ack_durability) {
                core.let_go.push_front(settling);
                core.ask_for(&obstacle);
                if matches!(obstacle, Obstacle::Unread(..)) {
                    self.call_upkeep(core);
                }
                return Vec::new();
            }
        }
        self.admit_line(core)
    }

    fn after_settle(&self, core: &mut Core, group: GroupId, how: &Outcome, level: Durability) {
        // A message that comes back, or a suspect that is through, is somebody else's next one.
        let returns = !matches!(how, Outcome::Ack) || core.state.group(group).is_some_and(|held| held.suspects() > 0);
        if returns {
            self.tell_leasing(core);
        } else {
            self.key_freed(core, group);
        }
        if let Some(topic) = core.state.group(group).map(|held| held.topic()) {
            self.touched(core, topic);
        }
        self.look_later(core);
        self.tell_freed(core);
        if level == Durability::Memory {
            self.arm(core, false);
        }
        if core.tail.unwritten() >= self.options.write_threshold_bytes {
            self.arm(core, true);
        }
        self.want_successor(core);
    }

    pub(super) fn tell_leasing(&self, core: &mut Core) {
        self.tell_arrival(core);
        self.call_upkeep(core);
    }

    /// Decides and records. Fails if something is in the way now, and goes on from there the next time.
    fn settle_locked(&self, core: &mut Core, settling: &mut Settling<'_>, level: Durability) -> Result<(), Obstacle> {
        let group = settling.group;
        let Some(state) = core.state.group(group) else {
            settling.group_gone = true;
            return Ok(());
        };
        let returned = match &*settling.how {
            Outcome::Release { after } => Some(after.map_or(Timestamp::ZERO, |after| self.after(after))),
            Outcome::Dropped | Outcome::Panicked if core.closing => Some(Timestamp::ZERO),
            _ => None,
        };
        // As one event, if nothing has to be decided for each: a limit that was lowered meanwhile would be.
        let plain = |offset: &Offset| state.limit_reached(*offset, state.counters(*offset)).is_none();
        let one_by_one = settling.next > 0
            || match returned {
                Some(_) => !settling.held.iter().all(|(offset, _)| plain(offset)),
                None => !matches!(*settling.how, Outcome::Ack),
            };
        if !one_by_one {
            settling.lost.clear();
            let mut good = Vec::with_capacity(settling.held.len());
            // Nothing of a settlement whose lease was lost takes effect for that message; the others are settled.
            for (offset, epoch) in &*settling.held {
                match state.check(*offset, *epoch) {
                    Hold::Lost => settling.lost.push(*offset),
                    _ => good.push(*offset),
                }
            }
            good.sort_unstable();
            if !good.is_empty() {
                let runs = runs(&good);
                let event = match returned {
                    Some(due) => Event::Release(Release { group, runs: Cow::Owned(runs), due, counters: None }),
                    None => core.ack(group, runs, || self.age_now()),
                };
                settling.span = Some(core.record(&event)?);
                if let Some(due) = returned.filter(|due| *due != Timestamp::ZERO) {
                    self.upkeep_by(core, due);
                }
            }
        } else {
            while let Some((offset, epoch)) = settling.held.get(settling.next).copied() {
                match core.state.group(group).map(|state| state.check(offset, epoch)) {
                    None => {
                        settling.group_gone = true;
                        return Ok(());
                    }
                    Some(Hold::Lost) => settling.lost.push(offset),
                    Some(_) => settling.span = Some(self.end_one(core, group, offset, &settling.how)?),
                }
                settling.next += 1;
            }
        }
        if let Some(span) = settling.span {
            if level == Durability::Disk {
                core.disk_end = core.disk_end.max(span.end);
            }
            self.after_settle(core, group, &settling.how, level);
        }
        Ok(())
    }

    /// Ends one delivery that is not simply done.
    fn end_one(&self, core: &mut Core, group: GroupId, offset: Offset, how: &Outcome) -> Result<Span, Obstacle> {
        let failed =
            |core: &mut Core, error: &str, after| self.fail(core, (group, offset), BuryReason::Failures, error, after);
        match how {
            Outcome::Release { after } => {
                let due = after.map_or(Timestamp::ZERO, |after| self.after(after));
                self.give_back(core, group, offset, due)
            }
            Outcome::Dropped | Outcome::Panicked if core.closing => {
                self.give_back(core, group, offset, Timestamp::ZERO)
            }
            Outcome::Dropped => failed(core, "the delivery was dropped unsettled", None),
            Outcome::Panicked => failed(core, "the handler panicked", None),
            Outcome::Nack { error, after } => failed(core, error, *after),
            Outcome::Bury { error } => {
                let counters = core.state.group(group).map(|held| held.counters(offset)).unwrap_or_default();
                self.bury_with(core, (group, offset), BuryReason::Asked, error, counters)
            }
            Outcome::Ack => {
                let ack = core.ack(group, vec![Run::one(offset)], || self.age_now());
                Ok(core.record(&ack)?)
            }
        }
    }

    /// Nothing is charged; but a limit that was lowered while it was out applies now.
    pub(super) fn give_back(
        &self,
        core: &mut Core,
        group: GroupId,
        offset: Offset,
        due: Timestamp,
    ) -> Result<Span, Obstacle> {
        let held = core.state.group(group).map(|held| (held, held.counters(offset)));
        if let Some((held, counters)) = held
            && let Some(reason) = held.limit_reached(offset, counters)
        {
            return self.bury_with(core, (group, offset), reason, LOWERED, counters);
        }
        let runs = Cow::Owned(vec![Run::one(offset)]);
        let span = core.record(&Event::Release(Release { group, runs, due, counters: None }))?;
        if due != Timestamp::ZERO {
            self.upkeep_by(core, due);
        }
        Ok(span)
    }

    /// Charges a failure: the message waits, or is parked if that was one too many. `last` is what it is parked for if
    /// it is the failures that are too many.
    pub(super) fn fail(
        &self,
        core: &mut Core,
        (group, offset): (GroupId, Offset),
        last: BuryReason,
        error: &str,
        after: Option<Duration>,
    ) -> Result<Span, Obstacle> {
        if last == BuryReason::Failures
            && let Some(span) = self.spare(core, (group, offset), error, after)?
        {
            return Ok(span);
        }
        let Some(held) = core.state.group(group) else { return Err(Refusal::BufferFull.into()) };
        let mut counters = held.counters(offset);
        counters.failures = counters.failures.saturating_add(1);
        match held.limit_reached(offset, counters) {
            Some(BuryReason::Failures) => return self.bury_with(core, (group, offset), last, error, counters),
            Some(reason) => return self.bury_with(core, (group, offset), reason, error, counters),
            None => {}
        }
        let failures = held.in_this_life(offset, counters).failures;
        let wait = after.unwrap_or_else(|| core.backoff(group, failures));
        let (time, due) = (self.now(), self.after(wait));
        let nack = Nack { group, offset, counters, time, due, error: Cow::Owned(self.bounded(core, error)) };
        let span = core.record(&Event::Nack(nack))?;
        self.upkeep_by(core, due);
        Ok(span)
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

    /// A message that was granted can't be read: it is charged as a failure and tried again later; the others go on.
    pub(super) fn unreadable(&self, group: GroupId, offset: Offset, epoch: u64, why: &str) -> Result<()> {
        loop {
            let mut core = self.open_core()?;
            if core.state.group(group).is_none_or(|held| held.check(offset, epoch) == Hold::Lost) {
                return Ok(());
            }
            match self.fail(&mut core, (group, offset), BuryReason::Unreadable, why, None) {
                Ok(_) => return Ok(()),
                Err(obstacle) => {
                    drop(core);
                    self.relieve(obstacle)?;
                }
            }
        }
    }

    /// Lengthens a lease: it runs out `by` from now. One that ran out and was not given away runs again, and that is
    /// in the journal first, as for any hand-out.
    pub(crate) fn extend(&self, group: GroupId, offset: Offset, epoch: u64, by: Duration) -> Result<()> {
        let now = self.now();
        let mut deadline = self.after(by);
        let named = loop {
            let mut core = self.open_core()?;
            let Some(held) = core.state.group(group) else { return Err(no_group()) };
            let hold = held.check(offset, epoch);
            if hold == Hold::Lost || !held.is_open(offset) || (hold == Hold::Late && !held.may_resume(offset, epoch)) {
                let what =
                    format!("the lease of offset {offset} ran out, or the message is settled: it can't be extended");
                return Err(Error::new(Code::LeaseLost, what));
            }
            if hold == Hold::Late && held.leased() as u64 >= held.policy().max_in_flight {
                let what = format!("the lease of offset {offset} ran out, and others use all of `max_in_flight` now");
                return Err(Error::new(Code::LeaseLost, what));
            }
            let age = held.policy().max_lease_age;
            if let Some(last) = held.granted(offset, epoch).map(|granted| granted.plus(age)).filter(|_| !age.is_zero())
            {
                if last <= now {
                    let what = format!("offset {offset} was held for as long as the group's `max_lease_age` allows");
                    return Err(Error::new(Code::LeaseLost, what));
                }
                deadline = deadline.min(last);
            }
            let unnamed = hold == Hold::Late && held.needs_record(offset);
            let runs = Cow::Owned(vec![Run::one(offset)]);
            let recorded =
                if unnamed { core.record(&Event::Delivered(Delivered { group, runs })).map(Some) } else { Ok(None) };
            match recorded {
                Ok(named) => {
                    if let Some(held) = core.state.group_mut(group) {
                        held.extend(offset, epoch, deadline);
                    }
                    self.upkeep_by(&mut core, deadline);
                    break named;
                }
                Err(refusal) => {
                    drop(core);
                    self.relieve(refusal)?;
                }
            }
        };
        match named {
            Some(span) => self.drive(span.end, Durability::Os, None).map(drop),
            None => Ok(()),
        }
    }

    /// Does away with what was in the way: writes what is buffered, prepares a segment, reads what is to be copied.
    pub(super) fn relieve(&self, obstacle: impl Into<Obstacle>) -> Result<()> {
        let refusal = match obstacle.into() {
            Obstacle::Unread(group, offset) => return self.read_to_copy(group, offset),
            Obstacle::Room(refusal) => refusal,
        };
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
                self.make_room(bytes)
            }
            Refusal::Reserve => {
                self.core.lock().space.ask_beyond();
                self.make_room(0)?;
                match self.core.lock().full.clone() {
                    Some(source) => Err(super::publish::disk_full(source)),
                    None => Ok(()),
                }
            }
        }
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

    /// Remembers what has to be done before something that was dropped can be settled.
    fn ask_for(&mut self, obstacle: &Obstacle) {
        match obstacle {
            Obstacle::Room(Refusal::NoSegment { bytes }) => self.wanted_bytes = self.wanted_bytes.max(*bytes),
            Obstacle::Room(Refusal::Reserve) => self.space.ask_beyond(),
            Obstacle::Room(_) => {}
            Obstacle::Unread(group, offset) => self.copies.want(*group, *offset),
        }
    }
}

/// Rising offsets as runs.
pub(super) fn runs(offsets: &[Offset]) -> Vec<Run> {
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
