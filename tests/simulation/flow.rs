//! Flow control in the simulation: a topic of its own with a small backlog, read by a group that may have little out
//! and is paused now and then, and by one without limits.

use millpond::{
    Backlog, Clock, Consumer, Delivery, Durability, Group, ManualClock, Message, Offset, Overflow, Receipt, Retry,
    Store, Ticket, Topic, TopicSettings,
};
use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

const MOST: u64 = 8;
const IN_FLIGHT: u64 = 3;
const LEASE: Duration = Duration::from_secs(20);
/// Publishes that wait at most.
const WAITING: usize = 5;

struct Held {
    group: usize,
    delivery: Delivery,
    until: Duration,
}

struct Handles {
    store: Store,
    topic: Topic,
    groups: [Consumer; 2],
}

/// What is known of the topic, and what is in hand.
pub(crate) struct Narrow {
    overflow: Overflow,
    clock: ManualClock,
    open: Option<Handles>,
    held: Vec<Held>,
    waiting: Vec<Ticket<Receipt>>,
    /// By the group without limits, and surely so when it ends.
    acked: BTreeSet<Offset>,
    paused: bool,
}

type Check = Result<(), String>;

impl Narrow {
    pub(crate) fn new(overflow: u8, clock: ManualClock) -> Self {
        let overflow = [Overflow::Reject, Overflow::Wait, Overflow::DropOldest][usize::from(overflow)];
        let (held, waiting, acked) = (Vec::new(), Vec::new(), BTreeSet::new());
        Self { overflow, clock, open: None, held, waiting, acked, paused: false }
    }

    /// The store is gone: nothing may keep it.
    pub(crate) fn dead(&mut self) {
        self.open = None;
        self.held.clear();
        self.waiting.clear();
    }

    /// The store is there again.
    pub(crate) fn reopened(&mut self, store: &Store) -> Result<(), millpond::Error> {
        let backlog = Backlog::messages(MOST).when_full(self.overflow);
        // Without aging the order within a batch is known.
        let levels = TopicSettings::default().priorities(3).priority_aging(Duration::MAX);
        let topic = store.topic_with("narrow", levels.max_backlog(backlog))?;
        let settings = Group::default().lease(LEASE).retry(Retry::fixed(Duration::from_secs(1)).attempts(3));
        let few = topic.consumer("few", settings.clone().max_in_flight(IN_FLIGHT))?;
        let all = topic.consumer("all", settings)?;
        self.open = Some(Handles { store: store.clone(), topic, groups: [few, all] });
        Ok(())
    }

    /// What must be so at any time.
    pub(crate) fn check(&self) -> Check {
        let Some(open) = &self.open else { return Ok(()) };
        // A store that is poisoned answers with zeros.
        if open.groups[0].why(Offset::ZERO).is_err() {
            return Ok(());
        }
        let stats = open.topic.stats();
        let [few, all] = [0, 1].map(|group| open.groups[group].stats());
        // Counted from sets, which know nothing of how the limit is kept.
        let [of_few, of_all] = [&few, &all].map(|stats| stats.ready + stats.leased + stats.retrying + stats.delayed);
        if of_few.max(of_all) > MOST || stats.backlog > MOST {
            return Err(format!("a backlog of {of_few}, {of_all}, {}: {MOST} are allowed", stats.backlog));
        }
        if stats.backlog < of_few.max(of_all) {
            return Err(format!("a backlog of {} is less than what a group has: {of_few}, {of_all}", stats.backlog));
        }
        if few.leased > IN_FLIGHT {
            return Err(format!("{} are in flight: {IN_FLIGHT} are allowed", few.leased));
        }
        if self.paused && few.paused_until.is_none() {
            return Err("a pause was lost".to_owned());
        }
        if self.overflow != Overflow::DropOldest && stats.removed.overflowed > 0 {
            return Err("messages were dropped that no policy drops".to_owned());
        }
        Ok(())
    }

    /// Some of the workload. Whether the store is still good.
    pub(crate) fn step(&mut self, rng: &mut fastrand::Rng) -> Result<bool, String> {
        let good = match rng.u8(0..10) {
            0..=3 => self.publish(rng),
            4..=5 => self.lease(rng)?,
            6..=8 => self.settle(rng)?,
            _ => self.pause(rng),
        };
        Ok(good && self.settle_waiting())
    }

    fn publish(&mut self, rng: &mut fastrand::Rng) -> bool {
        let Some(open) = &self.open else { return false };
        if self.waiting.len() >= WAITING {
            return true;
        }
        let level = rng.choice([Durability::Memory, Durability::Os, Durability::Disk]).unwrap();
        let message = Message::new(vec![b'n'; rng.usize(0..100)]).priority(rng.u8(0..4));
        let mut message = message.durability(level);
        if rng.u8(0..8) == 0 {
            message = message.delay(Duration::from_millis(rng.u64(0..20_000)));
        }
        self.waiting.push(open.topic.publish(message));
        true
    }

    fn settle_waiting(&mut self) -> bool {
        let mut good = true;
        self.waiting.retain_mut(|ticket| match Pin::new(ticket).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => true,
            Poll::Ready(Ok(_)) => false,
            Poll::Ready(Err(error)) => {
                good &= error.into_message().is_some();
                false
            }
        });
        good
    }

    fn lease(&mut self, rng: &mut fastrand::Rng) -> Result<bool, String> {
        let Some(open) = &self.open else { return Ok(false) };
        let group = rng.usize(0..2);
        let Ok(batch) = open.groups[group].lease_many(rng.usize(1..6), Duration::ZERO) else { return Ok(false) };
        let until = self.clock.monotonic() + LEASE;
        let mut last = None;
        for delivery in batch {
            // Those that come again have an order of their own, and go first.
            if delivery.counters().leases == 1 {
                let rank = (std::cmp::Reverse(delivery.record().priority().min(2)), delivery.offset());
                if last.replace(rank).is_some_and(|last| last > rank) {
                    return Err(format!("offset {} is handed out behind its turn", delivery.offset()));
                }
            }
            if group == 0 && self.paused {
                return Err(format!("offset {} is handed out by a paused group", delivery.offset()));
            }
            self.held.push(Held { group, delivery, until });
        }
        Ok(true)
    }

    fn settle(&mut self, rng: &mut fastrand::Rng) -> Result<bool, String> {
        if self.held.is_empty() {
            return Ok(true);
        }
        let Held { group, delivery, until } = self.held.swap_remove(rng.usize(0..self.held.len()));
        let (offset, running) = (delivery.offset(), self.clock.monotonic() < until);
        let mut ticket = match rng.u8(0..10) {
            0 => delivery.nack("no"),
            1 => delivery.release(),
            2 => delivery.bury("never"),
            3 => delivery.rate_limited(Duration::from_millis(rng.u64(0..3_000))),
            _ => {
                if group == 1 {
                    self.acked.insert(offset);
                }
                delivery.ack()
            }
        };
        match Pin::new(&mut ticket).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Err(error)) if error.code() == "lease-lost" && running => {
                Err(format!("offset {offset} was taken from its holder: {error}"))
            }
            Poll::Ready(Err(error)) => Ok(error.code() == "lease-lost"),
            _ => Ok(true),
        }
    }

    fn pause(&mut self, rng: &mut fastrand::Rng) -> bool {
        let Some(open) = &self.open else { return false };
        // What fails may have been recorded or not: then it is not known, and nothing is asked of it.
        let was = std::mem::take(&mut self.paused);

        match rng.u8(0..4) {
            0 => {
                let paused = open.groups[0].pause().is_ok();
                self.paused = paused;
                paused
            }
            1 if !was => open.groups[0].pause_for(Duration::from_millis(rng.u64(0..9_000))).is_ok(),
            _ => open.groups[0].resume().is_ok(),
        }
    }

    /// At the end everything is acked, a dead letter, or was dropped and counted.
    pub(crate) fn drain(&mut self) -> Check {
        let told = |error: millpond::Error| error.to_string();
        self.held.clear();
        self.paused = false;
        let Some(open) = &self.open else { return Ok(()) };
        open.groups[0].resume().map_err(told)?;
        for _ in 0..1_000 {
            open.store.step_upkeep().map_err(told)?;
            open.store.step_commit().map_err(told)?;
            for (group, consumer) in open.groups.iter().enumerate() {
                let batch = consumer.lease_many(50, Duration::ZERO).map_err(told)?;
                for delivery in batch {
                    let offset = delivery.offset();
                    delivery.ack().wait().map_err(told)?;
                    if group == 1 {
                        self.acked.insert(offset);
                    }
                }
            }
            self.check()?;
            if open.groups.iter().all(Consumer::idle) && open.topic.stats().delayed == 0 {
                break;
            }
            self.clock.advance(Duration::from_secs(31));
        }
        self.waiting.clear();
        let stats = open.topic.stats();
        if !open.groups.iter().all(Consumer::idle) || stats.backlog > 0 {
            return Err(format!("the narrow topic is never empty: {stats:?}"));
        }
        let dead: Result<BTreeSet<Offset>, _> =
            open.groups[1].dead_letters().map(|letter| letter.map(|letter| letter.offset())).collect();
        let dead = dead.map_err(told)?;
        let all = (0..stats.end.get()).map(Offset::new);
        let unaccounted = all.filter(|offset| !self.acked.contains(offset) && !dead.contains(offset)).count() as u64;
        if unaccounted > stats.removed.overflowed {
            return Err(format!("I4: {unaccounted} messages left, {} were dropped", stats.removed.overflowed));
        }
        Ok(())
    }
}
