//! The short way of a lease and of an ack, for a group that asks for nothing special: the next messages in their order,
//! leased in one stride, and settled in one. It does what the long way does for such a group, by the run instead of by
//! the message. Whatever is in its way, the long way is there, and decides.

use super::deliver::{Leased, Skipped};
use super::meter::Age;
use super::{Core, Engine};
use crate::config::{Durability, Window};
use crate::error::Result;
use crate::event::{Ack, Counters, Delivered, Event, Run};
use crate::journal::Span;
use crate::state::{Hold, Lease};
use crate::types::{GroupId, Lsn, Offset, Timestamp, TopicId};
use std::borrow::Cow;
use std::slice;
use std::sync::atomic::Ordering;

/// Messages that were leased in one stride, and are to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stride {
    pub(super) topic: TopicId,
    pub(super) run: Run,
    /// Of the first; the others' follow it.
    pub(super) epoch: u64,
    /// The end of the record that names them, and whether it is with the kernel.
    pub(super) named: Lsn,
    pub(super) reached: bool,
    pub(super) now: Timestamp,
}

impl Stride {
    /// What was leased, with the epochs.
    pub(super) fn leases(self) -> impl Iterator<Item = (Offset, u64)> {
        (0..self.run.count).map(move |step| (self.run.first.plus(step), self.epoch.saturating_add(step)))
    }
}

impl Core {
    /// Where a group stands, if it asks for nothing special: its topic, how long it leases, and how many more it may.
    fn strides(&self, group: GroupId) -> Option<(TopicId, std::time::Duration, u64)> {
        if self.is_watched() || self.full.is_some() || self.flows.know(group) {
            return None;
        }
        let held = self.state.group(group)?;
        let policy = held.policy();
        let plain = policy.ordered.is_none()
            && policy.filter.is_everything()
            && policy.processed == Window::Off
            && policy.rate.interval().is_none();
        let topic = self.state.topic(held.topic()).filter(|topic| topic.schedule().is_empty())?;
        let left = policy.max_in_flight.saturating_sub(held.leased() as u64);
        (plain && left > 0).then(|| (topic.id(), policy.lease, left))
    }
}

impl Engine {
    /// Picks, names and grants the next messages of a group, if nothing else has to be looked at first.
    pub(super) fn stride(&self, core: &mut Core, group: GroupId, max: usize) -> Option<Stride> {
        let (topic, lease, left) = core.strides(group)?;
        let (wall, passed) = self.uptime();
        let now = wall.after_whole(passed);
        let visible = core.visible.end(topic);
        let run = core.state.next_run(group, now, visible, left.min(max as u64))?;
        // What refuses the record is in the way of the long way too.
        self.name_run(core, group, run, visible, now)?;
        let named = core.windows.get(&group).map_or(Lsn::ZERO, |window| window.named);
        let deadline = wall.plus(passed.saturating_add(lease));
        let epoch = core.epoch.saturating_add(1);
        core.epoch = core.epoch.saturating_add(run.count);
        core.state.grant_run(group, run, Lease { epoch, deadline, granted: now });
        core.meters.delivered(group, run.count, 0);
        self.upkeep_by(core, deadline);
        let reached = named <= core.tail.written();
        Some(Stride { topic, run, epoch, named, reached, now })
    }

    /// Puts into the journal that a run of fresh messages is about to be handed out, as far as it isn't there yet, and
    /// a window of those behind it. Nothing if there is no room for that.
    fn name_run(&self, core: &mut Core, group: GroupId, run: Run, visible: Offset, now: Timestamp) -> Option<()> {
        let first = core.state.group(group)?.first_unnamed(run.first);
        if first >= run.end() {
            return Some(());
        }
        let last = Offset(run.end().0.saturating_sub(1));
        let count = run.end().since(first).saturating_add(self.window_behind(core, group, last, visible, now));
        let named = Run { first, count };
        let span = core.record(&Event::Delivered(Delivered { group, runs: Cow::Borrowed(slice::from_ref(&named)) }));
        core.windows.entry(group).or_default().named = span.ok()?.end;
        Some(())
    }

    /// Reads what was leased in one stride, once the journal's record of it is with the kernel.
    pub(super) fn hand_out_stride(&self, group: GroupId, stride: Stride) -> Result<Vec<Leased>> {
        let mut now = stride.now;
        if !stride.reached {
            self.drive(stride.named, Durability::Os, None)?;
            now = self.now();
        }
        let reader = self.readers.of(group);
        let mut cursor = reader.cursor.lock();
        let mut leased = Vec::with_capacity(usize::try_from(stride.run.count).unwrap_or(0));
        let mut over = Vec::new();
        for (offset, epoch) in stride.leases() {
            match self.fetch(stride.topic, offset, &mut cursor) {
                Ok(Some(record)) if super::lifetime::is_over(&record, now) => over.push((offset, epoch)),
                Ok(Some(record)) => {
                    let counters = Counters { leases: 1, ..Counters::default() };
                    let handed = stride.now;
                    leased.push(Leased {
                        record,
                        epoch,
                        counters,
                        life: 0,
                        suspect: false,
                        skipped: Skipped::new(None),
                        handed,
                    });
                }
                Ok(None) => {
                    self.found_damage();
                    self.unreadable(group, offset, epoch, "it is not where the index says")?;
                }
                Err(error) => {
                    tracing::error!(topic = %stride.topic, %offset, %error, "a message can't be read");
                    self.unreadable(group, offset, epoch, &error.to_string())?;
                }
            }
        }
        reader.held.store(cursor.held(), Ordering::Relaxed);
        drop(cursor);
        self.readers.used(group, &reader);
        if !over.is_empty() {
            self.settle_unseen(group, &over)?;
        }
        Ok(leased)
    }

    /// Acks messages that were leased one after the other, if none of them was lost and nothing is in the way.
    pub(super) fn ack_stride(
        &self,
        group: GroupId,
        held: &[(Offset, u64)],
        ages: &[Age],
        level: Durability,
    ) -> Option<Span> {
        let run = run_of(held)?;
        let mut guard = self.core.lock();
        let core = &mut *guard;
        let state = core.state.group(group).filter(|_| !core.is_over())?;
        let lost = |(offset, epoch): &(Offset, u64)| state.check(*offset, *epoch) == Hold::Lost;
        if state.policy().processed != Window::Off || held.iter().any(lost) {
            return None;
        }
        let span = core.record(&Event::Ack(Ack::done(group, Cow::Borrowed(slice::from_ref(&run))))).ok()?;
        if level == Durability::Disk {
            core.disk_end = core.disk_end.max(span.end);
        }
        self.meter(core, group, ages, true);
        self.after_settle(core, group, false, level);
        Some(span)
    }
}

/// Offsets that follow each other, as a run.
fn run_of(held: &[(Offset, u64)]) -> Option<Run> {
    let first = held.first()?.0;
    let in_order = (0..).zip(held).all(|(step, (offset, _))| *offset == first.plus(step));
    in_order.then_some(Run { first, count: held.len() as u64 })
}
