//! Handing messages out under leases.
//!
//! That a message was handed out is in the journal, and with the kernel, before a handler sees it (I8). So that a lease
//! costs no write of its own, the record runs ahead of the hand-out by a window, which grows while a group is quick and
//! falls back to one message when it is slow: what is named and was never handed out costs a crashed store at most one
//! turn alone.

use super::filter::Unseen;
use super::obstacle::Obstacle;
use super::order::PIECE_MAX;
use super::{Core, Engine};
use crate::config::Durability;
use crate::error::Result;
use crate::event::{Counters, Delivered, Event, Run};
use crate::journal::Refusal;
use crate::message::Record;
use crate::state::Lease;
use crate::types::{GroupId, Lsn, Offset, Timestamp, TopicId};
use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The longest run of messages that is named ahead of the hand-out.
const WINDOW_MAX: u64 = 1024;

/// A window that lasted less than this is doubled; one that lasted longer falls back to one message.
const WINDOW_QUICK: Duration = Duration::from_millis(100);

/// How many messages a single call leases at most, whatever it asks for.
const BATCH_MAX: usize = 4096;

/// How long to wait for a message.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wait {
    No,
    For(Duration),
    Forever,
}

/// The last message of a delivery's key before it that is a dead letter, if there is one: in one word, since each
/// delivery has it and nearly none needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Skipped(u64);

impl Skipped {
    pub(super) fn new(offset: Option<Offset>) -> Self {
        // No message has the last offset there is.
        Self(offset.map_or(u64::MAX, Offset::get))
    }

    pub(crate) fn get(self) -> Option<Offset> {
        (self.0 != u64::MAX).then_some(Offset(self.0))
    }
}

/// A message handed out.
#[derive(Debug)]
pub(crate) struct Leased {
    pub(crate) record: Record,
    pub(crate) epoch: u64,
    pub(crate) counters: Counters,
    pub(crate) life: u32,
    pub(crate) suspect: bool,
    pub(crate) skipped: Skipped,
    /// When it was handed out.
    pub(crate) handed: Timestamp,
}

/// What is leased at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Messages, each for itself; of an ordered group at most one of a key.
    Single,
    /// Messages of an ordered group in runs: those of a key have one holder and one epoch, and stand together.
    Runs,
}

/// A group's window of named messages.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HandOut {
    size: u64,
    since: Timestamp,
    /// The end of the last record that names messages of the group: whoever was named before is named below it.
    pub(super) named: Lsn,
}

#[derive(Clone, Copy, Debug)]
struct Granted {
    offset: Offset,
    epoch: u64,
    counters: Counters,
    life: u32,
    suspect: bool,
    skipped: Option<Offset>,
}

/// What a look at the group gave.
enum Look {
    Granted {
        topic: TopicId,
        ordered: bool,
        granted: Vec<Granted>,
        named: Lsn,
    },
    Nothing {
        due: Option<Timestamp>,
    },
    /// The keys of an ordered group are to be read from here on.
    Unread {
        from: Offset,
        most: usize,
    },
    /// Messages of an ordered group are to be parked first.
    Condemned,
    NotNow(Obstacle),
    /// What the group's filter says of some is not known yet.
    Unseen(Unseen),
}

impl Engine {
    /// Leases up to `max` messages: due retries first, then the next ones. None if there are none in time.
    pub(crate) fn lease(&self, group: GroupId, max: usize, wait: Wait, stopped: &AtomicBool) -> Result<Vec<Leased>> {
        self.lease_some(group, (max, Shape::Single), wait, stopped)
    }

    /// Likewise, in runs of a key, as an ordered group has them.
    pub(crate) fn lease_runs(
        &self,
        group: GroupId,
        max: usize,
        wait: Wait,
        stopped: &AtomicBool,
    ) -> Result<Vec<Leased>> {
        self.lease_some(group, (max, Shape::Runs), wait, stopped)
    }

    /// Either of the two.
    pub(super) fn lease_some(
        &self,
        group: GroupId,
        (max, shape): (usize, Shape),
        wait: Wait,
        stopped: &AtomicBool,
    ) -> Result<Vec<Leased>> {
        let mut read = false;
        let deadline = match wait {
            Wait::For(time) => Some(self.environment.clock.monotonic().saturating_add(time)),
            Wait::No | Wait::Forever => None,
        };
        loop {
            let mut core = self.open_core()?;
            core.check_leasing(stopped)?;
            if self.inbox_is_full(&core, group) {
                drop(core);
                self.checkpoint(true)?;
                continue;
            }
            if matches!(shape, Shape::Single)
                && let Some(stride) = self.stride(&mut core, group, max.clamp(1, BATCH_MAX))
            {
                drop(core);
                let leased = self.hand_out_stride(group, stride).inspect_err(|_| {
                    self.take_back(group, stride.leases());
                })?;
                if leased.is_empty() {
                    continue;
                }
                return Ok(leased);
            }
            match self.look(&mut core, group, max.clamp(1, BATCH_MAX), shape, read)? {
                Look::Granted { topic, ordered, granted, named } => {
                    drop(core);
                    let leased = self.hand_out(group, (topic, ordered), &granted, named).inspect_err(|_| {
                        self.take_back(group, held_by(&granted));
                    })?;
                    if leased.is_empty() {
                        continue;
                    }
                    return Ok(leased);
                }
                Look::Unseen(unseen) => {
                    drop(core);
                    self.see(group, &unseen)?;
                }
                Look::NotNow(obstacle) => {
                    drop(core);
                    self.relieve(obstacle)?;
                }
                Look::Unread { from, most } => {
                    drop(core);
                    self.read_ahead(group, from, most)?;
                    read = true;
                }
                Look::Condemned => {
                    drop(core);
                    self.park_keys(group)?;
                }
                Look::Nothing { due } => {
                    core.arrivals.nothing(group, due);
                    let now = self.now();
                    let mut left = due.map(|due| due.since(now).max(Duration::from_millis(1)));
                    match (wait, deadline) {
                        (Wait::No, _) => return Ok(Vec::new()),
                        (_, Some(deadline)) => {
                            let rest = deadline.saturating_sub(self.environment.clock.monotonic());
                            if rest.is_zero() {
                                return Ok(Vec::new());
                            }
                            left = Some(left.map_or(rest, |left| left.min(rest)));
                        }
                        (_, None) => {}
                    }
                    core.leasing += 1;
                    match left {
                        Some(left) => drop(self.arrived.wait_for(&mut core, left)),
                        None => self.arrived.wait(&mut core),
                    }
                    core.leasing = core.leasing.saturating_sub(1);
                }
            }
        }
    }

    /// Picks, names and grants under the lock. An ordered group that `read` on once takes what there is then.
    fn look(&self, core: &mut Core, group: GroupId, max: usize, shape: Shape, read: bool) -> Result<Look> {
        let now = self.now();
        if let Err(obstacle) = self.end_expired(core, group, now) {
            return Ok(Look::NotNow(obstacle));
        }
        let Some(held) = core.state.group(group) else { return Err(super::settle::no_group()) };
        if core.is_tight() {
            // Those who hold something need what is left; whoever makes room tells those who wait here.
            return Ok(Look::Nothing { due: None });
        }
        let topic = held.topic();
        let visible = core.visible.end(topic);
        let lease = held.policy().lease;
        let ordered = held.is_ordered();
        let more = self.turn_schedule(core, topic);
        if ordered && core.state.condemned(group).is_some() {
            return Ok(Look::Condemned);
        }
        let (most, shut_until) = self.let_out(core, group, now);
        let max = max.min(most);
        if ordered
            && max > 0
            && (core.has_urgent_unread(group, (topic, visible)) || (!read && core.wants_rest(group)))
            && let Some(from) = core.read_to(group)
        {
            return Ok(Look::Unread { from, most: PIECE_MAX });
        }
        let picks = match shape {
            Shape::Single => core.state.pick(group, now, visible, max),
            Shape::Runs => core.state.pick_runs(group, now, visible, max),
        };
        if ordered
            && picks.len() < max
            && (picks.is_empty() || !read)
            && let Some(from) = core.read_to(group)
        {
            return Ok(Look::Unread { from, most: max });
        }
        if picks.is_empty() {
            let due = core.state.group(group).and_then(|held| held.next_due(now));
            let more = more && most > 0;
            let due = due
                .into_iter()
                .chain(shut_until)
                .chain(self.next_scheduled(core, topic))
                .chain(more.then_some(now))
                .min();
            return Ok(Look::Nothing { due });
        }
        if let Some(unseen) = core.unseen(group, picks.iter().map(|pick| pick.offset), now) {
            return Ok(Look::Unseen(unseen));
        }
        let offsets: Vec<Offset> = picks.iter().map(|pick| pick.offset).collect();
        if let Err(refusal) = self.name(core, group, &offsets, visible, now) {
            return Ok(Look::NotNow(refusal.into()));
        }
        let named = core.windows.get(&group).map_or(Lsn::ZERO, |window| window.named);
        let deadline = self.after(lease);
        let mut granted = Vec::with_capacity(picks.len());
        for pick in picks {
            core.epoch += u64::from(!pick.follows);
            let epoch = core.epoch;
            core.state.grant(group, pick.offset, Lease { epoch, deadline, granted: now });
            let Some(held) = core.state.group(group) else { continue };
            let counters = held.counters(pick.offset);
            let life = held.life(pick.offset);
            let skipped = held.skipped(pick.offset);
            granted.push(Granted { offset: pick.offset, epoch, counters, life, suspect: pick.suspect, skipped });
        }
        let first = granted.first().map(|grant| (grant.offset, grant.epoch));
        self.went_out(core, group, granted.len(), first);
        let again = granted.iter().filter(|grant| grant.counters.leases > 1).count();
        core.meters.delivered(group, granted.len() as u64, again as u64);
        core.tell_leased(group, granted.iter().map(|grant| grant.offset));
        self.upkeep_by(core, deadline);
        Ok(Look::Granted { topic, ordered, granted, named })
    }

    /// Puts into the journal that these messages are about to be handed out, if it isn't there yet.
    fn name(
        &self,
        core: &mut Core,
        group: GroupId,
        offsets: &[Offset],
        visible: Offset,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let Some(held) = core.state.group(group) else { return Ok(()) };
        let mut unnamed: Vec<Offset> = offsets.iter().copied().filter(|offset| held.needs_record(*offset)).collect();
        if unnamed.is_empty() {
            return Ok(());
        }
        unnamed.sort_unstable();
        let suspects = held.suspects() > 0;
        // Where priorities count, the one behind is not the next one.
        let leveled = core.state.topic(held.topic()).is_some_and(|topic| !topic.levels().is_empty());
        let fresh = unnamed.last().copied().filter(|last| !suspects && !leveled && held.past(*last).is_none());
        let mut runs: Vec<Run> = Vec::new();
        for offset in unnamed {
            match runs.last_mut() {
                Some(run) if run.end() == offset => run.count += 1,
                _ => runs.push(Run::one(offset)),
            }
        }
        // Only the next messages are named ahead: one that comes again has a past, and is named each time.
        if let Some(last) = fresh {
            let behind = self.window_behind(core, group, last, visible, now);
            runs.last_mut().into_iter().for_each(|run| run.count += behind);
        }
        let span = core.record(&Event::Delivered(Delivered { group, runs: Cow::Owned(runs) }))?;
        core.windows.entry(group).or_default().named = span.end;
        Ok(())
    }

    /// How many messages behind `last` are to be named with it: as many as the group's window has, which turns with
    /// this.
    pub(super) fn window_behind(
        &self,
        core: &mut Core,
        group: GroupId,
        last: Offset,
        visible: Offset,
        now: Timestamp,
    ) -> u64 {
        let window = core.windows.entry(group).or_default();
        let quick = now.since(window.since) < WINDOW_QUICK;
        window.size = if quick { (window.size * 2).clamp(1, WINDOW_MAX) } else { 1 };
        window.since = now;
        let ahead = last.plus(window.size).min(visible);
        let Some(held) = core.state.group(group) else { return 0 };
        let Some(topic) = core.state.topic(held.topic()) else { return 0 };
        held.untouched_end(last.next(), ahead, topic.schedule().waiting()).since(last.next())
    }

    /// Reads what was granted, once the journal's record of it is with the kernel.
    fn hand_out(
        &self,
        group: GroupId,
        (topic, ordered): (TopicId, bool),
        granted: &[Granted],
        named: Lsn,
    ) -> Result<Vec<Leased>> {
        let (reached, inbox) = {
            let core = self.core.lock();
            (core.reached_names(named), self.inbox_of(&core, group))
        };
        if !reached {
            self.drive(named, Durability::Os, None)?;
        }
        let reader = self.readers.of(group);
        let mut cursor = reader.cursor.lock();
        let mut leased = Vec::with_capacity(granted.len());
        let (mut over, now) = (Vec::new(), self.now());
        let mut cut = None;
        // An ordered group has read them for their keys already.
        let ahead = ordered.then_some(&reader.ahead);
        for grant in granted {
            if cut == Some(grant.epoch) {
                // The message before it in its run comes again first.
                self.take_back(group, held_by(std::slice::from_ref(grant)));
                continue;
            }
            let read = ahead.and_then(|ahead| ahead.take(grant.offset));
            match read.map_or_else(|| self.fetch(topic, grant.offset, &mut cursor), |record| Ok(Some(record))) {
                Ok(Some(record)) if super::lifetime::is_over(&record, now) => over.push((grant.offset, grant.epoch)),
                Ok(Some(record)) => {
                    let Granted { epoch, counters, life, suspect, skipped, .. } = *grant;
                    let skipped = Skipped::new(skipped);
                    leased.push(Leased { record, epoch, counters, life, suspect, skipped, handed: now });
                }
                Ok(None) => {
                    cut = Some(grant.epoch);
                    self.found_damage();
                    self.unreadable(group, grant.offset, grant.epoch, "it is not where the index says")?;
                }
                Err(error) => {
                    cut = Some(grant.epoch);
                    tracing::error!(%topic, offset = %grant.offset, %error, "a message can't be read");
                    self.unreadable(group, grant.offset, grant.epoch, &error.to_string())?;
                }
            }
        }
        reader.held.store(cursor.held(), Ordering::Relaxed);
        drop(cursor);
        self.readers.used(group, &reader);
        if !over.is_empty() {
            self.settle_unseen(group, &over)?;
        }
        match inbox {
            Some(terms) => self.leave_out_processed(group, &terms, leased),
            None => Ok(leased),
        }
    }

    /// Leases that nobody has seen end as if they had never been granted.
    fn take_back(&self, group: GroupId, granted: impl Iterator<Item = (Offset, u64)>) {
        let mut core = self.core.lock();
        let mut back = Vec::new();
        if let Some(held) = core.state.group_mut(group) {
            let forgotten = granted.filter(|(offset, epoch)| held.forget_lease(*offset, *epoch));
            back.extend(forgotten.map(|(offset, _)| offset));
        }
        self.came_back(&mut core, group, &back);
        self.tell_leasing(&mut core);
    }
}

/// What was granted, with the epochs.
fn held_by(granted: &[Granted]) -> impl Iterator<Item = (Offset, u64)> {
    granted.iter().map(|grant| (grant.offset, grant.epoch))
}

impl Core {
    /// Whether everything that names messages handed out is with the kernel.
    fn reached_names(&self, named: Lsn) -> bool {
        named <= self.tail.written()
    }
}
