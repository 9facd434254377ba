//! Leases that run out while the process lives.

use super::decide::Decisions;
use super::obstacle::Obstacle;
use super::{Core, Engine};
use crate::error::Result;
use crate::event::BuryReason;
use crate::seen::Seen;
use crate::types::{GroupId, Offset, Timestamp};

/// How many leases are ended, or messages looked at, under one hold of the lock.
const PIECE: usize = 256;

const WHY: &str = "the lease ran out";

impl Engine {
    /// Ends the group's leases that have run out: a timeout is charged, and the message waits as after a failure, or is
    /// parked if that was one too many.
    pub(super) fn end_expired(&self, core: &mut Core, group: GroupId, now: Timestamp) -> Result<(), Obstacle> {
        loop {
            let Some(held) = core.state.group(group) else { return Ok(()) };
            let mut expired = held.expired(now, PIECE);
            if expired.is_empty() {
                return Ok(());
            }
            if held.is_ordered() {
                // The last of a run first: only the one whose turn it was is charged.
                expired.reverse();
            }
            for (offset, epoch) in expired {
                let Some(held) = core.state.group(group) else { return Ok(()) };
                let (mut decisions, at) = (Decisions::default(), (group, offset));
                if held.follows_in_run(offset, epoch) {
                    self.give_back(core, &mut decisions, at, Timestamp::ZERO)?;
                    self.record_decided(core, &mut decisions)?;
                    continue;
                }
                if self.spare(core, &mut decisions, at, WHY, None) {
                    self.record_decided(core, &mut decisions)?;
                    continue;
                }
                let Some(held) = core.state.group(group) else { return Ok(()) };
                let mut counters = held.counters(offset);
                counters.timeouts = counters.timeouts.saturating_add(1);
                Seen::LeaseExpired.note();
                core.meters.timed_out(group);
                let Some(held) = core.state.group(group) else { return Ok(()) };
                if let Some(reason) = held.limit_reached(offset, counters) {
                    self.bury(core, &mut decisions, at, reason, WHY, counters)?;
                } else {
                    let timeouts = held.in_this_life(offset, counters).timeouts;
                    let wait = core.backoff(group, timeouts);
                    self.retry(core, &mut decisions, at, counters, wait, WHY);
                }
                self.record_decided(core, &mut decisions)?;
            }
        }
    }

    /// Parks what is at or over a limit: after a crash has been charged, or a limit was lowered. How many.
    pub(super) fn park_over_limits(&self, group: GroupId) -> Result<usize> {
        let (mut parked, mut next) = (0, Some(Offset::ZERO));
        while let Some(from) = next {
            let mut core = self.open_core()?;
            let Some(held) = core.state.group(group) else { break };
            let (over, rest) = held.over_limits_from(from, PIECE);
            next = rest;
            for (offset, reason) in over {
                match self.park_over_limit(&mut core, group, offset, reason) {
                    Ok(()) => parked += 1,
                    Err(obstacle) => {
                        drop(core);
                        self.relieve(obstacle)?;
                        next = Some(offset);
                        break;
                    }
                }
            }
        }
        Ok(parked)
    }

    fn park_over_limit(
        &self,
        core: &mut Core,
        group: GroupId,
        offset: Offset,
        reason: BuryReason,
    ) -> Result<(), Obstacle> {
        let Some(held) = core.state.group(group) else { return Ok(()) };
        let counters = held.past(offset).map(|past| past.counters).unwrap_or_default();
        let why = match reason {
            BuryReason::Crashes => format!("{} deaths of the process are laid to it", counters.crashes),
            BuryReason::Timeouts => format!("its lease ran out {} times", counters.timeouts),
            _ => format!("it failed {} times", counters.failures),
        };
        let mut decisions = Decisions::default();
        self.bury(core, &mut decisions, (group, offset), reason, &why, counters)?;
        self.record_decided(core, &mut decisions).map(drop)
    }
}
