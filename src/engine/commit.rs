//! Group commit: one leader writes and syncs for all, and every way out of it wakes those who follow.

use super::{Core, Engine, Poison, Waiting};
use crate::config::Durability;
use crate::error::{Code, Result};
use crate::journal::{Commit, Failure, Stage};
use crate::seen::Seen;
use crate::sync::{Condvar, MutexGuard, thread};
use crate::ticket::{Resolver, Slot};
use crate::types::Lsn;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

/// A write takes a microsecond or two, being woken many times that: so often another thread is let go first.
const TURNS: u32 = 10;

/// Holds the lead, and the lock wherever it does no I/O. However it ends, also by a panic, the followers are woken; if
/// it ends without having said how it went, the store is poisoned.
struct Lead<'a, 'b> {
    engine: &'a Engine,
    core: &'a mut MutexGuard<'b, Core>,
    writes: bool,
    syncs: bool,
    finished: bool,
}

impl Lead<'_, '_> {
    /// The bytes are written, or not: the next one may write, also while this one syncs.
    fn wrote(&mut self) {
        if std::mem::take(&mut self.writes) {
            self.core.committing = false;
            self.engine.written.over(self.core.writes);
        }
        wake_reached(self.core);
    }
}

impl Drop for Lead<'_, '_> {
    fn drop(&mut self) {
        let wrote = self.writes;
        self.core.committing &= !wrote;
        self.core.syncing &= !self.syncs;
        if !self.finished {
            let source = std::io::Error::other("the commit was interrupted");
            self.core.poison(Failure { stage: Stage::Write, file: "the journal".to_owned(), source });
        }
        if self.core.poison.is_some() {
            self.engine.wake_followers();
        } else {
            if wrote {
                self.engine.written.over(self.core.writes);
            }
            // Those who wait for a sync that is still under way are told by whoever leads it.
            if !self.core.syncing {
                self.engine.committed.over(self.core.syncs);
            }
        }
        // Whoever stands in line is sent away: there will be no room any more.
        if self.core.is_over()
            && let Err(error) = self.core.check()
        {
            let mut wakers = self.engine.dismiss_line(self.core, &error);
            wakers.extend(self.core.arrivals.dismiss(false, &error));
            wake(self.core, wakers);
        }
        wake_reached(self.core);
    }
}

/// Wakes the tasks that have what they waited for, or never will.
#[inline]
fn wake_reached(core: &mut MutexGuard<'_, Core>) {
    if core.waiting.is_empty() {
        return;
    }
    let wakers = core.take_reached();
    wake(core, wakers);
}

/// Without the lock: what a waker does is not known.
fn wake(core: &mut MutexGuard<'_, Core>, wakers: Vec<Waker>) {
    if !wakers.is_empty() {
        MutexGuard::unlocked(core, || wakers.into_iter().for_each(Waker::wake));
    }
}

impl Core {
    fn poison(&mut self, failure: Failure) {
        tracing::error!(file = failure.file, error = %failure.source, "a commit failed; the store takes nothing more");
        let Failure { stage, file, source } = failure;
        if stage == Stage::Write {
            Seen::PoisonedByWrite.note()
        } else {
            Seen::PoisonedBySync.note()
        }
        self.poison.get_or_insert_with(|| Arc::new(Poison { stage, file, source: Arc::new(source) }));
        self.departures.note();
    }

    fn synced(&mut self, commit: &Commit, now: Duration) {
        self.tail.synced(commit);
        self.last_sync = now;
        if self.disk_end <= commit.end {
            self.last_disk = Some(now);
            // The last few weigh most.
            self.disk_share = (self.disk_share.saturating_mul(7).saturating_add(commit.len())) / 8;
        }
    }

    /// Whether somebody leads whom one who waits for `level` has to wait for: the next sync takes all that has gathered
    /// during this one; a write does not wait for it.
    fn is_led(&self, level: Durability) -> bool {
        self.committing || (self.syncing && level == Durability::Disk)
    }

    /// The wakers of those who have what they waited for, or never will.
    fn take_reached(&mut self) -> Vec<Waker> {
        let mut wakers = Vec::new();
        let waiting = std::mem::take(&mut self.waiting);
        for waiting in waiting {
            if self.poison.is_some() || self.reached(waiting.end, waiting.level) {
                wakers.push(waiting.waker);
            } else {
                self.waiting.push(waiting);
            }
        }
        wakers
    }
}

impl Engine {
    /// Has everybody look again who waits for a commit.
    pub(super) fn wake_followers(&self) {
        self.written.call_all();
        self.committed.call_all();
    }

    /// Writes, and syncs if the commit is to; publishes how far the journal has come after each. The lock is let go of
    /// meanwhile. There is one who writes at a time, and one who syncs.
    fn lead(&self, core: &mut MutexGuard<'_, Core>, commit: Box<Commit>) {
        self.lead_commit(core, commit);
        // Whatever was settled since the last time is in the journal by now.
        if core.flows.freed {
            self.tell_waiting(core);
        }
        // There may be room in the buffer now. Whoever leads for itself takes nobody in.
        if !core.line.is_empty() || !core.let_go.is_empty() {
            self.arm(core, true);
        }
        if core.backlogs.freed && core.poison.is_none() {
            let wakers = self.admit_backlogs(core);
            wake(core, wakers);
        }
    }

    fn lead_commit(&self, core: &mut MutexGuard<'_, Core>, commit: Box<Commit>) {
        let syncs = commit.syncs();
        core.committing = true;
        core.writes.begin(commit.end);
        if syncs {
            core.syncing = true;
            core.syncs.begin(commit.end);
        }
        let mut lead = Lead { engine: self, core, writes: true, syncs, finished: false };
        let bytes = commit.len();
        if bytes > 0 {
            lead.core.meters.commits.add(bytes, 1);
        }
        let mut outcome = MutexGuard::unlocked(lead.core, || commit.write());
        // What another leader failed at meanwhile is the end for this one too.
        if outcome.is_ok() && lead.core.poison.is_none() {
            lead.core.tail.wrote(&commit);
            self.progress(lead.core);
            if syncs {
                lead.wrote();
                let synced = MutexGuard::unlocked(lead.core, || {
                    let clock = &self.environment.clock;
                    let begun = clock.monotonic();
                    commit.sync().map(|()| (begun, clock.monotonic()))
                });
                outcome = synced.map(|(begun, now)| {
                    lead.core.meters.syncs.record(now.saturating_sub(begun));
                    if lead.core.poison.is_none() {
                        lead.core.synced(&commit, now);
                        self.progress(lead.core);
                    }
                });
            }
        }
        match outcome {
            Ok(()) => lead.core.tail.reuse(commit),
            Err(failure) => {
                lead.core.poison(failure);
                self.arrived.notify_all();
            }
        }
        lead.finished = true;
    }

    /// The journal has come further: what is visible follows, and those who wait for messages are told.
    fn progress(&self, core: &mut Core) {
        let (written, durable) = (core.tail.written(), core.tail.durable());
        if core.visible.advance(written, durable) {
            self.tell_arrival(core);
        }
    }

    /// One commit, if there is anything to do and nobody else is at it: what the commit thread does, and what a
    /// simulator does instead. Whether something was done.
    pub(crate) fn poll_commit(&self) -> Result<bool> {
        let mut core = self.core.lock();
        if core.committing || core.poison.is_some() {
            return Ok(false);
        }
        let overdue = self.environment.clock.monotonic().saturating_sub(core.last_sync) >= self.options.sync_interval;
        let asked = core.disk_end > core.tail.durable();
        let sync = asked || (overdue && core.tail.durable() < core.tail.end());
        // While somebody syncs there is only writing to do; who asked for more is served afterwards.
        core.urgent = asked && core.syncing;
        let sync = sync && !core.syncing;
        let Some(commit) = core.tail.begin_commit(sync) else { return Ok(false) };
        self.lead(&mut core, commit);
        core.check()?;
        Ok(true)
    }

    /// Sees to it that everything up to `end` reaches `level`, leading a commit if nobody does. False if the time ran
    /// out.
    pub(super) fn drive(&self, end: Lsn, level: Durability, timeout: Option<Duration>) -> Result<bool> {
        let deadline = timeout.map(|timeout| self.environment.clock.monotonic().saturating_add(timeout));
        let mut core = self.core.lock();
        let mut turns = if level == Durability::Disk { 0 } else { TURNS };
        loop {
            if core.reached(end, level) {
                return Ok(true);
            }
            if let Some(poison) = &core.poison {
                return Err(poison.error(Code::OutcomeUnknown));
            }
            if core.is_led(level) {
                if turns > 0 {
                    turns -= 1;
                    MutexGuard::unlocked(&mut core, thread::yield_now);
                    continue;
                }
                let over = self.followers(&core, end, level);
                let Some(deadline) = deadline else {
                    over.wait(&mut core);
                    continue;
                };
                let left = deadline.saturating_sub(self.environment.clock.monotonic());
                if left.is_zero() || over.wait_for(&mut core, left).timed_out() {
                    // It may have been called to lead that very moment: somebody else is, then.
                    if !core.is_led(level) {
                        self.followers(&core, end, level).notify_one();
                    }
                    return Ok(core.reached(end, level));
                }
                continue;
            }
            let Some(commit) = core.tail.begin_commit(level == Durability::Disk) else { return Ok(true) };
            self.lead(&mut core, commit);
        }
    }

    /// Where to wait for somebody else's write or sync.
    fn followers(&self, core: &Core, end: Lsn, level: Durability) -> &Condvar {
        match level {
            Durability::Disk => self.committed.place(core.syncs, core.syncing, end),
            Durability::Os | Durability::Memory => self.written.place(core.writes, core.committing, end),
        }
    }

    /// Tells the commit thread that something waits to be written, sooner or later.
    pub(super) fn arm(&self, core: &mut Core, urgent: bool) {
        let wake = (urgent && !core.urgent) || !core.armed;
        core.armed = true;
        core.urgent |= urgent;
        if wake {
            self.commit_work.notify_one();
        }
    }
}

impl Resolver for Engine {
    fn poll(&self, end: Lsn, level: Durability, waker: &Waker) -> Poll<Result<()>> {
        let mut core = self.core.lock();
        if core.reached(end, level) {
            return Poll::Ready(Ok(()));
        }
        if let Some(poison) = &core.poison {
            return Poll::Ready(Err(poison.error(Code::OutcomeUnknown)));
        }
        if let Some(known) = core.waiting.iter_mut().find(|known| known.end == end && known.waker.will_wake(waker)) {
            known.level = known.level.max(level);
        } else {
            core.waiting.push(Waiting { end, level, waker: waker.clone() });
        }
        self.arm(&mut core, true);
        Poll::Pending
    }

    fn wait(&self, end: Lsn, level: Durability, timeout: Option<Duration>) -> Result<bool> {
        self.drive(end, level, timeout)
    }

    fn wait_admitted(&self, slot: &Slot, timeout: Option<Duration>) -> Result<bool> {
        self.await_admission(slot, timeout)
    }

    fn hurry(&self) {
        let mut core = self.core.lock();
        if !core.line.is_empty() {
            self.call_upkeep(&mut core);
        }
    }

    fn unheard(&self, mut error: crate::error::Error) {
        // A message is kept for `close` to hand back. A transaction is not: it goes here, without the lock, which its
        // deliveries take when they are given back.
        let told = error.again();
        let message: Option<crate::message::Message> = error.take_returned();
        drop(error);
        self.core.lock().refused_unheard(message.into_iter().fold(told, crate::error::Error::returning));
    }

    fn abandoned(&self, level: Durability) {
        if level == Durability::Memory {
            return;
        }
        let mut core = self.core.lock();
        self.arm(&mut core, false);
    }
}
