//! Leases that are polled for: who waits, and how they are served.
//!
//! To lease a message is to write down that it is handed out, and to read it: both may wait for the disk, so neither is
//! done where an executor polls. There, an [`Ask`] is put into its group's line, under a short lock. A thread of the
//! store, or a simulator in its place, serves the lines with [`Engine::poll_leases`]: it leases for those at the front,
//! and wakes those that got something and no others. An ask is in its line until it is answered or withdrawn, so what
//! is leased for one that is withdrawn meanwhile is left over, and goes back uncharged.

use super::deliver::{Leased, Shape, Wait};
use super::settle::Outcome;
use super::{Core, Engine};
use crate::error::{Code, Error, Result};
use crate::event::{Event, Unseen};
use crate::state::Hold;
use crate::sync::Mutex;
use crate::types::{GroupId, Offset, Timestamp};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

/// So many messages are leased in one go for those in a line, if none of them wants more by itself: the first one does
/// not wait until all have been read.
const LOT: usize = 64;

/// The engine is not asked to look at it: who asked is told of a stop in another way.
static GO_ON: AtomicBool = AtomicBool::new(false);

/// What is wanted, and where the answer will be.
#[derive(Debug)]
pub(crate) struct Ask {
    group: GroupId,
    /// Nothing is ever leased for one that wants none: it only hears of the end.
    max: usize,
    shape: Shape,
    deadline: Option<Timestamp>,
    stopped: Arc<AtomicBool>,
    place: u64,
    reply: Mutex<Reply>,
}

#[derive(Debug, Default)]
struct Reply {
    answer: Option<Result<Vec<Leased>>>,
    waker: Option<Waker>,
}

impl Ask {
    /// The answer, once; otherwise `waker` is woken when it is there.
    pub(crate) fn poll(&self, waker: &Waker) -> Poll<Result<Vec<Leased>>> {
        let mut reply = self.reply.lock();
        match reply.answer.take() {
            Some(answer) => Poll::Ready(answer),
            None => {
                if !reply.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
                    reply.waker = Some(waker.clone());
                }
                Poll::Pending
            }
        }
    }

    fn answer(&self, answer: Result<Vec<Leased>>) -> Option<Waker> {
        let mut reply = self.reply.lock();
        reply.answer = Some(answer);
        reply.waker.take()
    }
}

/// Those who wait for messages of one group, in the order in which they came.
#[derive(Debug, Default)]
struct Line {
    asks: BTreeMap<u64, Arc<Ask>>,
    deadlines: BTreeSet<(Timestamp, u64)>,
    /// When something of the group falls due, as of the last look.
    due: Option<Timestamp>,
    /// Where it stands among the timers.
    timer: Option<Timestamp>,
}

/// All lines.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    lines: BTreeMap<GroupId, Line>,
    /// Asks that only wait for the end.
    idle: BTreeMap<u64, Arc<Ask>>,
    /// Groups to look at, and which was the last.
    flagged: BTreeSet<GroupId>,
    last: Option<GroupId>,
    timers: BTreeSet<(Timestamp, GroupId)>,
    /// Messages may have come for any of them.
    again: bool,
    places: u64,
}

impl Arrivals {
    /// Nobody was given anything at the last look; it may be different then.
    pub(super) fn nothing(&mut self, group: GroupId, due: Option<Timestamp>) {
        if let Some(line) = self.lines.get_mut(&group) {
            line.due = due;
        }
    }

    fn add(&mut self, ask: Ask) -> Arc<Ask> {
        self.places += 1;
        let (place, group) = (self.places, ask.group);
        let ask = Arc::new(Ask { place, ..ask });
        if ask.max == 0 {
            self.idle.insert(place, ask.clone());
            return ask;
        }
        let line = self.lines.entry(group).or_default();
        line.asks.insert(place, ask.clone());
        line.deadlines.extend(ask.deadline.map(|deadline| (deadline, place)));
        self.flagged.insert(group);
        ask
    }

    /// Takes an ask out of its line. Whether it was there.
    fn remove(&mut self, ask: &Ask) -> bool {
        if ask.max == 0 {
            return self.idle.remove(&ask.place).is_some();
        }
        let Some(line) = self.lines.get_mut(&ask.group) else { return false };
        let was = line.asks.remove(&ask.place).is_some();
        if let Some(deadline) = ask.deadline {
            line.deadlines.remove(&(deadline, ask.place));
        }
        if line.asks.is_empty() {
            self.set_timer(ask.group, None);
            self.lines.remove(&ask.group);
            self.flagged.remove(&ask.group);
        }
        was
    }

    fn front(&self, group: GroupId) -> Option<Arc<Ask>> {
        self.lines.get(&group)?.asks.first_key_value().map(|(_, ask)| ask.clone())
    }

    fn set_timer(&mut self, group: GroupId, at: Option<Timestamp>) {
        let Some(line) = self.lines.get_mut(&group) else { return };
        let before = std::mem::replace(&mut line.timer, at);
        if before != at {
            if let Some(before) = before {
                self.timers.remove(&(before, group));
            }
            self.timers.extend(at.map(|at| (at, group)));
        }
    }

    /// The group whose turn it is, and what those at the front of its line want: several of them, if it is single
    /// messages.
    fn turn(&mut self, now: Timestamp) -> Option<(GroupId, (usize, Shape))> {
        if std::mem::take(&mut self.again) {
            self.flagged.extend(self.lines.keys());
        }
        while let Some((_, group)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.set_timer(group, None);
            self.flagged.insert(group);
        }
        let after = self.last.and_then(|last| self.flagged.range(GroupId(last.0.saturating_add(1))..).next());
        let group = after.or(self.flagged.first()).copied()?;
        self.flagged.remove(&group);
        self.last = Some(group);
        let mut asks = self.lines.get(&group)?.asks.values();
        let first = asks.next()?;
        let mut want = first.max;
        for ask in asks.take_while(|ask| (first.shape, ask.shape) == (Shape::Single, Shape::Single)) {
            if want.saturating_add(ask.max) > LOT {
                break;
            }
            want = want.saturating_add(ask.max);
        }
        Some((group, (want, first.shape)))
    }

    /// Gives those at the front of a line what was leased for them. What is left over, and whom to wake. Runs are not
    /// divided: if the one they are for has gone, another one may want less.
    fn share_out(&mut self, group: GroupId, shape: Shape, leased: Vec<Leased>) -> (Vec<Leased>, Vec<Waker>) {
        let (mut leased, mut wakers) = (leased.into_iter(), Vec::new());
        while leased.len() > 0
            && let Some(ask) = self.front(group)
            && ask.shape == shape
            && (shape == Shape::Single || leased.len() <= ask.max)
        {
            self.remove(&ask);
            wakers.extend(ask.answer(Ok(leased.by_ref().take(ask.max).collect())));
        }
        // There may be more where that came from.
        if self.lines.contains_key(&group) {
            self.flagged.insert(group);
        }
        (leased.collect(), wakers)
    }

    /// There is nothing for a group now: those whose time is over are told, and the others wait.
    fn expire(&mut self, group: GroupId, now: Timestamp) -> Vec<Waker> {
        let mut wakers = Vec::new();
        while let Some(line) = self.lines.get_mut(&group)
            && let Some((_, place)) = line.deadlines.first().copied().filter(|(deadline, _)| *deadline <= now)
            && let Some(ask) = line.asks.get(&place).cloned()
        {
            self.remove(&ask);
            wakers.extend(ask.answer(Ok(Vec::new())));
        }
        if let Some(line) = self.lines.get(&group) {
            let first = line.deadlines.first().map(|(deadline, _)| *deadline);
            let next = first.into_iter().chain(line.due).min();
            self.set_timer(group, next);
        }
        wakers
    }

    /// Answers all, or only those whose consumer was stopped.
    pub(super) fn dismiss(&mut self, only_stopped: bool, error: &Error) -> Vec<Waker> {
        let lines = self.lines.values().flat_map(|line| line.asks.values());
        let of_these = |ask: &&Arc<Ask>| !only_stopped || ask.stopped.load(Ordering::Acquire);
        let gone: Vec<Arc<Ask>> = lines.chain(self.idle.values()).filter(of_these).cloned().collect();
        let dismissed = gone.into_iter().filter_map(|ask| {
            self.remove(&ask);
            ask.answer(Err(error.again()))
        });
        dismissed.collect()
    }
}

impl Engine {
    /// Puts an ask into its group's line. Nothing is done here that waits for anything but the lock.
    pub(crate) fn ask(
        &self,
        group: GroupId,
        (max, shape): (usize, Shape),
        patience: Option<Duration>,
        stopped: &Arc<AtomicBool>,
    ) -> Result<Arc<Ask>> {
        let mut core = self.open_core()?;
        core.check_leasing(stopped)?;
        let deadline = patience.map(|patience| self.after(patience));
        let (stopped, reply) = (stopped.clone(), Mutex::default());
        let ask = core.arrivals.add(Ask { group, max, shape, deadline, stopped, place: 0, reply });
        if max > 0 {
            self.lease_work.notify_one();
        }
        Ok(ask)
    }

    /// Nobody will ask for the answer any more. What was leased for it goes back.
    pub(crate) fn withdraw(&self, ask: &Ask) {
        let mut core = self.core.lock();
        if core.arrivals.remove(ask) {
            return;
        }
        let answer = ask.reply.lock().answer.take();
        drop(core);
        if let Some(Ok(leased)) = answer {
            self.give_back_unseen(ask.group, &leased);
        }
    }

    /// Serves one group: what the leasing thread does, and what a simulator does instead. Whether there was anything to
    /// do.
    pub(crate) fn poll_leases(&self) -> bool {
        let (group, (want, shape)) = {
            let mut core = self.core.lock();
            if core.closing || core.check().is_err() {
                return false;
            }
            match core.arrivals.turn(self.now()) {
                Some(turn) => turn,
                None => return false,
            }
        };
        let leased = self.lease_some(group, (want, shape), Wait::No, &GO_ON);
        let mut left = Vec::new();
        let mut core = self.core.lock();
        let wakers = match leased {
            Ok(leased) if leased.is_empty() => core.arrivals.expire(group, self.now()),
            Ok(leased) => {
                let wakers;
                (left, wakers) = core.arrivals.share_out(group, shape, leased);
                wakers
            }
            Err(error) => {
                // Whoever comes next tries for itself, and so gets an error of its own.
                let first = core.arrivals.front(group);
                core.arrivals.again = true;
                first.and_then(|ask| core.arrivals.remove(&ask).then(|| ask.answer(Err(error)))?).into_iter().collect()
            }
        };
        drop(core);
        self.give_back_unseen(group, &left);
        wake_all(wakers);
        true
    }

    /// What of an answer that was fetched late is still its own: a lease may have run out meanwhile, and the message
    /// be somebody else's, or settled.
    pub(crate) fn still_held(&self, group: GroupId, mut leased: Vec<Leased>) -> Vec<Leased> {
        let core = self.core.lock();
        let state = core.state.group(group);
        leased
            .retain(|leased| state.is_some_and(|held| held.check(leased.record.offset(), leased.epoch) == Hold::Held));
        leased
    }

    /// How long a lease of the group lasts.
    pub(crate) fn lease_time(&self, group: GroupId) -> Result<Duration> {
        let core = self.open_core()?;
        core.state.group(group).map(|held| held.policy().lease).ok_or_else(super::settle::no_group)
    }

    /// How long the leasing thread may sleep: for ever, if nothing is in sight; not at all, if there is something now.
    pub(super) fn lease_pause(&self, core: &Core) -> Option<Duration> {
        let arrivals = &core.arrivals;
        if !arrivals.flagged.is_empty() || (arrivals.again && !arrivals.lines.is_empty()) {
            return Some(Duration::ZERO);
        }
        arrivals.timers.first().map(|(at, _)| at.since(self.now()).max(Duration::from_millis(1)))
    }

    /// Tells everybody who waits for messages, of any group, that some may have come.
    pub(super) fn tell_arrival(&self, core: &mut Core) {
        if core.leasing > 0 {
            self.arrived.notify_all();
        }
        if !core.arrivals.lines.is_empty() && !std::mem::replace(&mut core.arrivals.again, true) {
            self.lease_work.notify_one();
        }
    }

    /// Messages that nobody has seen go back, and the journal says so: it is not to take them for in flight when the
    /// process dies. They are released; but a suspect has not been cleared by that, and stays one.
    fn give_back_unseen(&self, group: GroupId, leased: &[Leased]) {
        let held = |leased: &Leased| (leased.record.offset(), leased.epoch);
        let (suspects, others): (Vec<&Leased>, Vec<&Leased>) = leased.iter().partition(|leased| leased.suspect);
        if !suspects.is_empty() {
            let mut core = self.core.lock();
            let mut back = Vec::new();
            if let Some(state) = core.state.group_mut(group) {
                let forgotten = suspects.into_iter().map(held).filter(|held| state.forget_lease(held.0, held.1));
                back.extend(forgotten.map(|(offset, _)| offset));
            }
            let runs = super::settle::runs(&back);
            if !runs.is_empty() {
                // Without room for it a death of the process may be laid to it, as it may until this is written.
                match core.record(&Event::Unseen(Unseen { group, runs: Cow::Owned(runs) })) {
                    Ok(_) => self.arm(&mut core, false),
                    Err(refusal) => tracing::debug!(?refusal, "no room to say that nobody saw a suspect"),
                }
            }
            self.came_back(&mut core, group, &back);
            self.tell_leasing(&mut core);
        }
        if !others.is_empty() {
            let held: Vec<(Offset, u64)> = others.into_iter().map(held).collect();
            self.let_go(group, &held, &Outcome::Release { after: None });
        }
    }
}

impl Core {
    /// Refuses if nothing can be leased any more.
    pub(super) fn check_leasing(&self, stopped: &AtomicBool) -> Result<()> {
        if self.closing {
            return Err(super::closed());
        }
        if stopped.load(Ordering::Acquire) {
            return Err(stopped_error());
        }
        Ok(())
    }

    /// Tells those who were stopped, or all if the store closes. Whom to wake, without the lock.
    #[must_use]
    pub(super) fn dismiss_asks(&mut self) -> Vec<Waker> {
        let error = if self.closing { super::closed() } else { stopped_error() };
        self.arrivals.dismiss(!self.closing, &error)
    }
}

fn stopped_error() -> Error {
    let what = "this consumer was stopped; the store is open: open the consumer anew to lease again";
    Error::new(Code::Stopped, what)
}

/// What a waker does is not known: one that panics takes nobody else with it.
pub(super) fn wake_all(wakers: Vec<Waker>) {
    for waker in wakers {
        if catch_unwind(AssertUnwindSafe(|| waker.wake())).is_err() {
            tracing::error!("the waker of a task that waits for a message panicked");
        }
    }
}
