//! Settling what was handed out: done, failed, given back, parked.

use super::decide::Decisions;
use super::meter::Age;
use super::obstacle::Obstacle;
use super::settling::{RunPart, Settling};
use super::transaction::Settlement;
use super::{Core, Engine};
use crate::config::Durability;
use crate::error::{Code, Error, Result};
use crate::event::{BuryReason, Run};
use crate::journal::Refusal;
use crate::state::Hold;
use crate::ticket::{Slot, Ticket};
use crate::types::{GroupId, Offset, Timestamp};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

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

impl Engine {
    /// Settles deliveries that are held under these epochs.
    pub(crate) fn settle(
        self: &Arc<Self>,
        group: GroupId,
        held: &[(Offset, u64)],
        ages: &[Age],
        how: &Outcome,
    ) -> Ticket<()> {
        let level = self.options.ack_durability;
        if matches!(how, Outcome::Ack)
            && let Some(span) = self.ack_stride(group, held, ages, level)
        {
            return match level {
                Durability::Memory => Ticket::done(Ok(())),
                level => Ticket::committing(self.clone(), span.end, level, ()),
            };
        }
        self.settle_soon(Settling::new(group, held, ages, how), level)
    }

    /// Settles now if nothing is in the way. Otherwise it stands in line, and the ticket tells when it is through: the
    /// caller may be a task, and is not made to wait for the disk here.
    fn settle_soon(self: &Arc<Self>, mut settling: Settling<'_>, level: Durability) -> Ticket<()> {
        let mut core = match self.open_core() {
            Ok(core) => core,
            Err(error) => return Ticket::done(Err(error)),
        };
        match self.settle_locked(&mut core, &mut settling, level) {
            Ok(()) => match settling.outcome() {
                Ok(Some(span)) if level != Durability::Memory => Ticket::committing(self.clone(), span.end, level, ()),
                Ok(_) => Ticket::done(Ok(())),
                Err(error) => Ticket::done(Err(error)),
            },
            Err(Obstacle::Refused(error)) => Ticket::done(Err(error)),
            Err(Obstacle::Room(Refusal::TooLarge { limit })) => Ticket::done(Err(super::publish::too_large(limit))),
            Err(obstacle) => {
                let slot = Arc::new(Slot::quiet());
                settling.slot = Some(slot.clone());
                self.settle_later(&mut core, settling, &obstacle);
                Ticket::in_line(self.clone(), slot, |_| ())
            }
        }
    }

    /// How a part of it went, counted.
    fn metered(&self, core: &mut Core, settling: &Settling<'_>) {
        if !settling.ages.is_empty() {
            core.meters.stale = core.meters.stale.saturating_add(settling.lost.len() as u64);
            if settling.lost.is_empty() && !settling.group_gone {
                self.meter_as(core, settling.group, &settling.ages, &settling.how);
            }
        }
    }

    /// Counts how long a message took whose settlement is a part of a transaction.
    pub(super) fn meter_one(&self, core: &mut Core, settlement: &Settlement) {
        self.meter_as(core, settlement.group, std::slice::from_ref(&settlement.age), &settlement.how);
    }

    fn meter_as(&self, core: &mut Core, group: GroupId, ages: &[Age], how: &Outcome) {
        match how {
            Outcome::Ack => self.meter(core, group, ages, true),
            Outcome::Nack { .. } | Outcome::Bury { .. } => self.meter(core, group, ages, false),
            Outcome::Release { .. } | Outcome::Dropped | Outcome::Panicked => {}
        }
    }

    fn settle_later(&self, core: &mut Core, settling: Settling<'_>, obstacle: &Obstacle) {
        core.let_go.push_back(settling.into_owned());
        core.ask_for(obstacle);
        self.arm(core, true);
        self.call_upkeep(core);
    }

    /// Settles parts of a run, one after the other: what ends well, what ends badly, and what goes back, in this order,
    /// so that nothing of the key is handed out in between. Each is done, whatever became of the one before.
    pub(crate) fn settle_run(self: &Arc<Self>, group: GroupId, parts: Vec<RunPart>) -> Ticket<()> {
        match Settling::run(group, parts) {
            Some(settling) => self.settle_soon(settling, self.options.ack_durability),
            None => Ticket::done(Ok(())),
        }
    }

    /// Settles what was dropped, if there is room for it now. Otherwise whoever makes room does it: a drop does not
    /// wait for the disk.
    pub(crate) fn let_go(&self, group: GroupId, held: &[(Offset, u64)], how: &Outcome) {
        let Ok(mut core) = self.open_core() else { return };
        let level = self.options.ack_durability;
        let mut settling = Settling::new(group, held, &[], how);
        if let Err(obstacle) = self.settle_locked(&mut core, &mut settling, level) {
            self.settle_later(&mut core, settling, &obstacle);
        } else if level != Durability::Memory {
            // Nobody will wait for it.
            self.arm(&mut core, false);
        }
    }

    /// There is room again: settles what waited for that, then takes in what stands in line. The wakers are for
    /// whoever has let go of the lock.
    #[must_use]
    pub(super) fn room_made(&self, core: &mut Core) -> Vec<Waker> {
        let mut wakers = Vec::new();
        let level = self.options.ack_durability;
        while let Some(mut settling) = core.let_go.pop_front() {
            match self.settle_locked(core, &mut settling, level) {
                Ok(()) => {
                    if settling.slot.is_none() || settling.span.is_some() {
                        // Nobody may be waiting for it.
                        self.arm(core, false);
                    }
                    wakers.extend(settling.answer(level));
                }
                Err(obstacle) => {
                    if let Some(error) = core.hopeless(&obstacle).filter(|_| settling.slot.is_some()) {
                        wakers.extend(settling.dismiss(&error));
                        continue;
                    }
                    core.let_go.push_front(settling);
                    core.ask_for(&obstacle);
                    if matches!(obstacle, Obstacle::Unread(..)) {
                        self.call_upkeep(core);
                    }
                    return wakers;
                }
            }
        }
        wakers.extend(self.admit_line(core));
        wakers
    }

    /// What follows from settlements that were appended.
    pub(super) fn after_settle(&self, core: &mut Core, group: GroupId, returns: bool, level: Durability) {
        // A message that comes back, or a suspect that is through, is somebody else's next one.
        let returns = returns || core.state.group(group).is_some_and(|held| held.suspects() > 0);
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
        self.after_growth(core);
    }

    pub(super) fn tell_leasing(&self, core: &mut Core) {
        self.tell_arrival(core);
        self.call_upkeep(core);
    }

    /// Settles all parts. Fails if something is in the way now, and goes on from there the next time.
    fn settle_locked(&self, core: &mut Core, settling: &mut Settling<'_>, level: Durability) -> Result<(), Obstacle> {
        loop {
            match self.settle_part(core, settling, level) {
                Ok(()) => self.metered(core, settling),
                // The other parts of a run are settled all the same.
                Err(obstacle) => match core.hopeless(&obstacle).filter(|_| settling.is_run()) {
                    Some(error) => settling.refuse(error),
                    None => return Err(obstacle),
                },
            }
            if !settling.next_part() {
                return Ok(());
            }
        }
    }

    /// Decides and records.
    fn settle_part(&self, core: &mut Core, settling: &mut Settling<'_>, level: Durability) -> Result<(), Obstacle> {
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
                let mut decisions = Decisions::default();
                match returned {
                    Some(due) => decisions.releases(group, runs(&good), due),
                    None => decisions.acks(core, group, runs(&good), || self.age_now()),
                }
                settling.span = Some(self.record_decided(core, &mut decisions)?);
            }
        } else {
            while let Some((offset, epoch)) = settling.held.get(settling.next).copied() {
                match core.state.group(group).map(|state| state.check(offset, epoch)) {
                    None => {
                        settling.group_gone = true;
                        return Ok(());
                    }
                    Some(Hold::Lost) => settling.lost.push(offset),
                    Some(_) => settling.span = Some(self.end_one(core, (group, offset), &settling.how)?),
                }
                settling.next += 1;
            }
        }
        if let Some(span) = settling.span {
            if level == Durability::Disk {
                core.disk_end = core.disk_end.max(span.end);
            }
            self.after_settle(core, group, !matches!(*settling.how, Outcome::Ack), level);
        }
        Ok(())
    }

    /// A message that was granted can't be read: it is charged as a failure and tried again later; the others go on.
    pub(super) fn unreadable(&self, group: GroupId, offset: Offset, epoch: u64, why: &str) -> Result<()> {
        loop {
            let mut core = self.open_core()?;
            if core.state.group(group).is_none_or(|held| held.check(offset, epoch) == Hold::Lost) {
                return Ok(());
            }
            let mut decisions = Decisions::default();
            let failed = self.fail(&mut core, &mut decisions, (group, offset), BuryReason::Unreadable, why, None);
            match failed.and_then(|()| self.record_decided(&mut core, &mut decisions)) {
                Ok(_) => return Ok(()),
                Err(obstacle) => {
                    drop(core);
                    self.relieve(obstacle)?;
                }
            }
        }
    }
}

impl Core {
    /// Settlements that wait are given up: the store is closing, or poisoned. What they were about comes again.
    #[must_use]
    pub(super) fn dismiss_let_go(&mut self, why: &Error) -> Vec<Waker> {
        self.let_go.drain(..).filter_map(|settling| settling.dismiss(why)).collect()
    }

    /// Why there is no use in waiting until this is out of the way, if there is none.
    fn hopeless(&self, obstacle: &Obstacle) -> Option<Error> {
        match obstacle {
            Obstacle::Refused(error) => Some(error.again()),
            Obstacle::Room(Refusal::TooLarge { limit }) => Some(super::publish::too_large(*limit)),
            // The copy of a dead letter, as any publish.
            Obstacle::Room(Refusal::Reserve) => self.full.clone().map(super::publish::disk_full),
            Obstacle::Room(_) | Obstacle::InLine | Obstacle::Unread(..) => None,
        }
    }

    /// Remembers what has to be done before something that was dropped can be settled.
    fn ask_for(&mut self, obstacle: &Obstacle) {
        match obstacle {
            Obstacle::Room(Refusal::NoSegment { bytes }) => self.wanted_bytes = self.wanted_bytes.max(*bytes),
            Obstacle::Room(Refusal::Reserve) => self.space.ask_beyond(),
            Obstacle::Room(_) | Obstacle::InLine | Obstacle::Refused(_) => {}
            Obstacle::Unread(group, offset) => self.copies.want(*group, *offset),
        }
    }
}

pub(super) fn lease_lost(lost: &[Offset]) -> Error {
    let mut offsets = lost.iter().take(NAMED_LOST).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if lost.len() > NAMED_LOST {
        offsets += &format!(" and {} more", lost.len() - NAMED_LOST);
    }
    let what = format!(
        "the lease of offset {offsets} ran out and somebody else has the message, or it is settled; nothing was changed"
    );
    Error::new(Code::LeaseLost, what)
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
