//! The store and the model, step by step: after each action both must say the same.

use crate::action::{Action, GROUPS, TOPICS};
use crate::model::{Group as Shadow, Stand, Topic as Twin};
use millpond::testing::{Faults, SimDisk};
use millpond::{
    Clock, Consumer, Delivery, Durability, Error, Group, ManualClock, Message, Offset, Options, Purge, Redrive,
    Retention, Retry, Start, Store, Timestamp, Topic, TopicSettings,
};
use std::time::Duration;

/// Attempts before a message is dead.
const ATTEMPTS: u32 = 3;
/// How long a failed message waits.
const PAUSE: u64 = 5_000;
/// Longer than any run waits: leases do not end by themselves here.
const LEASE: Duration = Duration::from_secs(1 << 20);

struct Open {
    store: Store,
    topics: Vec<Topic>,
    consumers: Vec<Consumer>,
    held: Vec<(usize, usize, Delivery)>,
}

struct Run {
    disk: SimDisk,
    clock: ManualClock,
    open: Option<Open>,
    twins: Vec<Twin>,
    openings: u64,
    published: u64,
    cut: Option<u64>,
    faulty: bool,
}

fn options() -> Options {
    Store::options().segment_bytes(16 << 10).first_segment_bytes(16 << 10).ack_durability(Durability::Disk)
}

/// Runs the actions. Panics where store and model differ.
pub(crate) fn run(actions: &[Action]) {
    let mut run = Run {
        disk: SimDisk::new(1),
        clock: ManualClock::starting_at(Timestamp::new(1_700_000_000_000)),
        open: None,
        twins: (0..TOPICS).map(|topic| Twin { keeps: topic == 0, ..Twin::default() }).collect(),
        openings: 0,
        published: 0,
        cut: None,
        faulty: false,
    };
    run.start(false);
    for action in actions {
        run.step(*action);
        run.compare();
    }
    run.faulty = false;
    run.disk.set_faults(Faults::default());
    run.step(Action::Reopen);
    run.compare();
}

impl Run {
    fn now(&self) -> u64 {
        self.clock.wall().get()
    }

    fn prepare(&self) -> Result<Open, Error> {
        let store = Store::open_simulated(&self.disk, self.clock.clone(), self.openings, options())?;
        let retry = Retry::fixed(Duration::from_millis(PAUSE)).attempts(ATTEMPTS).without_jitter();
        let settings = Group::default().lease(LEASE).retry(retry).max_crashes(1_000_000);
        let (mut topics, mut consumers) = (Vec::new(), Vec::new());
        for (number, twin) in self.twins.iter().enumerate() {
            let keeps = if twin.keeps { Retention::everything() } else { Retention::until_settled() };
            let topic = store.topic_with(&format!("topic {number}"), TopicSettings::default().retention(keeps))?;
            for group in 0..GROUPS {
                consumers.push(topic.consumer(&format!("group {group}"), settings.clone())?);
            }
            topics.push(topic);
        }
        Ok(Open { store, topics, consumers, held: Vec::new() })
    }

    /// Opens the store; `power`: what was not synced may be lost.
    fn start(&mut self, mut power: bool) {
        let mut faults = Faults::default();
        faults.stop_after = self.cut.take();
        let cut = faults.stop_after.is_some();
        self.disk.set_faults(faults);
        loop {
            self.openings += 1;
            match self.prepare() {
                Ok(open) => {
                    if cut {
                        self.disk.set_faults(Faults::default());
                    }
                    self.adopt(&open, power);
                    self.open = Some(open);
                    return;
                }
                Err(error) => {
                    assert!(cut, "it does not open: {error}");
                    power = true;
                    self.disk.crash();
                    self.disk.set_faults(Faults::default());
                }
            }
        }
    }

    /// What the store shows after a death must be what was promised, and perhaps more of what was asked for.
    fn adopt(&mut self, open: &Open, power: bool) {
        let now = self.now();
        for (number, (topic, twin)) in open.topics.iter().zip(&mut self.twins).enumerate() {
            let end = usize::try_from(topic.end_offset().get()).unwrap();
            let promised = if power { twin.durable } else { twin.written };
            assert!(end >= promised, "topic {number}: {promised} were promised, {end} are there");
            assert!(end <= twin.payloads.len(), "topic {number}: a phantom");
            twin.payloads.truncate(end);
            (twin.written, twin.durable) = (end, end);
            for (group, shadow) in twin.groups.iter_mut().enumerate() {
                shadow.stands.retain(|offset, _| *offset < end as u64);
                adopt_group(&open.consumers[number * GROUPS + group], shadow, end as u64, now);
            }
            // An ack that a bad disk has swallowed brings its message back.
            twin.gone.clear();
            twin.settle();
        }
    }

    fn die(&mut self, power: bool) {
        let open = self.open.take();
        for twin in &mut self.twins {
            twin.groups.iter_mut().for_each(free);
        }
        if power {
            self.disk.crash();
        } else {
            self.disk.kill();
        }
        drop(open);
        self.start(power);
    }

    fn reopen(&mut self) {
        let Some(open) = self.open.take() else { return };
        let closed = open.store.clone().close();
        drop(open);
        for twin in &mut self.twins {
            twin.groups.iter_mut().for_each(free);
            if closed.is_ok() {
                (twin.written, twin.durable) = (twin.payloads.len(), twin.payloads.len());
                twin.groups.iter_mut().for_each(|shadow| shadow.unsure.clear());
            }
        }
        if closed.is_err() {
            assert!(self.faulty, "closing fails on a good disk: {closed:?}");
            self.disk.kill();
        }
        self.start(false);
    }

    /// Anything that failed on a bad disk: the store is dead, and whether it happened shows when it is opened again.
    fn failed(&mut self, error: &Error) {
        assert!(self.faulty, "it fails on a good disk: {error}");
        self.disk.set_faults(Faults::default());
        self.faulty = false;
        self.die(false);
    }

    fn step(&mut self, action: Action) {
        match action {
            Action::Reopen => return self.reopen(),
            Action::Kill => return self.die(false),
            Action::Crash => return self.die(true),
            Action::Cut { step } => return self.cut = Some(u64::from(step)),
            Action::Faults { often } => {
                let mut faults = Faults::default();
                (faults.write_error, faults.sync_error) = (f64::from(often) / 1000.0, f64::from(often) / 1000.0);
                (faults.short_write, faults.short_read) = (0.05, 0.05);
                self.faulty = often > 0;
                return self.disk.set_faults(faults);
            }
            _ => {}
        }
        let Some(mut open) = self.open.take() else { return };
        let outcome = self.act(&mut open, action);
        self.open = Some(open);
        if let Err(error) = outcome {
            self.failed(&error);
        }
    }

    fn act(&mut self, open: &mut Open, action: Action) -> Result<(), Error> {
        let now = self.now();
        match action {
            Action::Publish { topic, bytes, level } => {
                let level = [Durability::Memory, Durability::Os, Durability::Disk][usize::from(level) % 3];
                self.publish(open, usize::from(topic) % TOPICS, &[usize::from(bytes) * 4], level)
            }
            Action::Batch { topic, count } => {
                let sizes = vec![40; usize::from(count)];
                self.publish(open, usize::from(topic) % TOPICS, &sizes, Durability::Disk)
            }
            Action::Lease { group } => self.lease(open, usize::from(group) % (TOPICS * GROUPS)),
            Action::Ack { held } => self.settle(open, held, Stand::Settled, |delivery| delivery.ack().wait()),
            Action::Nack { held } => {
                let due = now + PAUSE;
                self.settle(open, held, Stand::Retrying { due }, |delivery| delivery.nack("no").wait())
            }
            Action::Bury { held } => self.settle(open, held, Stand::Dead, |delivery| delivery.bury("no").wait()),
            Action::Release { held } => self.settle(open, held, Stand::Ready, |delivery| delivery.release().wait()),
            Action::Wait { seconds } => {
                self.clock.advance(Duration::from_secs(u64::from(seconds)));
                Ok(())
            }
            Action::Redrive { group } => {
                let (consumer, shadow) = self.group(open, group);
                let dead: Vec<u64> = in_stand(shadow, Stand::Dead);
                shadow.anything = true;
                let swept = consumer.redrive(Redrive::all())?;
                shadow.anything = false;
                assert_eq!(swept.changed, dead.len() as u64, "redriven");
                for offset in dead {
                    // It goes before those that were never handed out, like a retry that is due.
                    shadow.put(offset, Stand::Retrying { due: now });
                    let base = shadow.failures.get(&offset).copied().unwrap_or(0);
                    shadow.base.insert(offset, base);
                }
                Ok(())
            }
            Action::Purge { group } => {
                let (consumer, shadow) = self.group(open, group);
                let dead: Vec<u64> = in_stand(shadow, Stand::Dead);
                shadow.anything = true;
                let swept = consumer.purge(Purge::all())?;
                shadow.anything = false;
                assert_eq!(swept.changed, dead.len() as u64, "purged");
                dead.iter().for_each(|offset| shadow.put(*offset, Stand::Settled));
                self.twins.iter_mut().for_each(Twin::settle);
                Ok(())
            }
            Action::Seek { group, to } => self.seek(open, group, to),
            Action::Sync => {
                open.store.sync().wait()?;
                self.all_durable();
                Ok(())
            }
            Action::Upkeep => {
                for _ in 0..50 {
                    if !open.store.step_upkeep()? {
                        break;
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn group<'a>(&'a mut self, open: &'a Open, group: u8) -> (&'a Consumer, &'a mut Shadow) {
        let group = usize::from(group) % (TOPICS * GROUPS);
        (&open.consumers[group], &mut self.twins[group / GROUPS].groups[group % GROUPS])
    }

    fn all_durable(&mut self) {
        for twin in &mut self.twins {
            (twin.written, twin.durable) = (twin.payloads.len(), twin.payloads.len());
        }
    }

    fn publish(&mut self, open: &Open, topic: usize, sizes: &[usize], level: Durability) -> Result<(), Error> {
        let payload = |number: &mut u64, size: usize| {
            *number += 1;
            let mut payload = format!("{topic}/{number}/").into_bytes();
            payload.resize(payload.len() + size, b'x');
            payload
        };
        let payloads: Vec<Vec<u8>> = sizes.iter().map(|size| payload(&mut self.published, *size)).collect();
        if payloads.is_empty() {
            return Ok(());
        }
        let twin = &mut self.twins[topic];
        let first = twin.payloads.len() as u64;
        twin.payloads.extend(payloads.iter().cloned());
        let told = if let [one] = &payloads[..] {
            open.topics[topic].publish(Message::new(one.clone()).durability(level)).wait()?.offset
        } else {
            open.topics[topic].publish_all(payloads.iter().map(|one| one.clone().into())).wait()?.first
        };
        assert_eq!(told, Offset::new(first), "offsets are dense");
        match level {
            // One journal: what came before is as durable.
            Durability::Disk => self.all_durable(),
            Durability::Os => self.twins.iter_mut().for_each(|twin| twin.written = twin.payloads.len()),
            _ => {}
        }
        Ok(())
    }

    fn lease(&mut self, open: &mut Open, group: usize) -> Result<(), Error> {
        let now = self.now();
        let leased = open.consumers[group].try_lease()?;
        // Suspects come first, one at a time.
        let shaken = open.consumers[group].stats().suspects > 0;
        let twin = &mut self.twins[group / GROUPS];
        let payloads = &twin.payloads;
        let shadow = &mut twin.groups[group % GROUPS];
        let wanted = (0..payloads.len() as u64).find(|offset| shadow.claimable(*offset, now));
        let Some(delivery) = leased else {
            assert!(wanted.is_none() || shaken, "offset {wanted:?} of group {group} is not handed out");
            return Ok(());
        };
        let offset = delivery.offset().get();
        assert!(shadow.claimable(offset, now), "offset {offset} of group {group} is {:?}", shadow.stand(offset));
        assert_eq!(delivery.payload(), payloads[usize::try_from(offset).unwrap()], "offset {offset}");
        let failures = shadow.failures.get(&offset).copied().unwrap_or(0);
        assert!(shadow.sought || delivery.counters().failures == failures, "failures of offset {offset}");
        let passed = (0..offset).any(|before| shadow.stand(before) == Stand::Ready);
        // Those that were handed out before go before those that never were.
        let retried = !shadow.handed.insert(offset) || matches!(shadow.stand(offset), Stand::Retrying { .. });
        assert!(shaken || delivery.is_suspect() || retried || !passed, "offset {offset} goes before one that is ready");
        shadow.put(offset, Stand::Held);
        open.held.push((group / GROUPS, group % GROUPS, delivery));
        Ok(())
    }

    fn settle(
        &mut self,
        open: &mut Open,
        held: u8,
        to: Stand,
        how: impl FnOnce(Delivery) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if open.held.is_empty() {
            return Ok(());
        }
        let (topic, group, delivery) = open.held.remove(usize::from(held) % open.held.len());
        let offset = delivery.offset().get();
        let shadow = &mut self.twins[topic].groups[group];
        let mut to = to;
        let before = shadow.failures.get(&offset).copied().unwrap_or(0);
        if matches!(to, Stand::Retrying { .. }) {
            shadow.failures.insert(offset, before + 1);
            if before + 1 >= ATTEMPTS + shadow.base.get(&offset).copied().unwrap_or(0) {
                to = Stand::Dead;
            }
        }
        // If this fails, either may be found after the next opening.
        let may = [tag(Stand::Ready), tag(to)];
        shadow.unsure.entry(offset).or_default().extend(may);
        shadow.put(offset, to);
        how(delivery)?;
        // Settling is durable here when it resolves: see `options`.
        let shadow = &mut self.twins[topic].groups[group];
        shadow.unsure.remove(&offset);
        self.all_durable();
        self.twins[topic].settle();
        Ok(())
    }

    fn seek(&mut self, open: &Open, group: u8, to: u8) -> Result<(), Error> {
        let number = usize::from(group) % (TOPICS * GROUPS);
        if open.held.iter().any(|(topic, group, _)| topic * GROUPS + group == number) {
            return Ok(());
        }
        let twin = &mut self.twins[number / GROUPS];
        let end = twin.payloads.len() as u64;
        let to = u64::from(to) % (end + 1);
        twin.settle();
        let gone = twin.gone.clone();
        let shadow = &mut twin.groups[number % GROUPS];
        shadow.anything = true;
        open.consumers[number].seek(Start::Offset(Offset::new(to)))?;
        shadow.anything = false;
        shadow.handed.clear();
        for offset in 0..end {
            // Dead letters before it stay where they are.
            if offset < to && shadow.stand(offset) == Stand::Dead {
                continue;
            }
            let stand = if offset < to || gone.contains(&offset) { Stand::Settled } else { Stand::Ready };
            shadow.put(offset, stand);
            shadow.failures.remove(&offset);
            shadow.base.remove(&offset);
        }
        twin.settle();
        Ok(())
    }

    /// Everything that can be seen is what the model says.
    fn compare(&mut self) {
        let Some(open) = &self.open else { return };
        for (number, (topic, twin)) in open.topics.iter().zip(&mut self.twins).enumerate() {
            assert_eq!(topic.end_offset(), Offset::new(twin.payloads.len() as u64), "the end of topic {number}");
            let shown: Vec<u64> = topic
                .read(..)
                .map(|record| {
                    let record = record.unwrap();
                    let offset = record.offset().get();
                    assert_eq!(record.payload(), twin.payloads[usize::try_from(offset).unwrap()], "offset {offset}");
                    offset
                })
                .collect();
            assert_eq!(shown, twin.readable(), "what topic {number} shows");
            for (group, shadow) in twin.groups.iter().enumerate() {
                let dead: Vec<u64> = open.consumers[number * GROUPS + group]
                    .dead_letters()
                    .map(|letter| letter.unwrap().offset().get())
                    .collect();
                assert_eq!(dead, in_stand(shadow, Stand::Dead), "dead letters of {number}/{group}");
                let stats = open.consumers[number * GROUPS + group].stats();
                let held = in_stand(shadow, Stand::Held).len() as u64;
                assert_eq!(stats.leased, held, "what {number}/{group} holds");
            }
        }
    }
}

fn tag(stand: Stand) -> u8 {
    match stand {
        Stand::Ready => 0,
        Stand::Held => 1,
        Stand::Retrying { .. } => 2,
        Stand::Dead => 3,
        Stand::Settled => 4,
    }
}

fn in_stand(shadow: &Shadow, stand: Stand) -> Vec<u64> {
    shadow.stands.iter().filter(|(_, held)| **held == stand).map(|(offset, _)| *offset).collect()
}

/// Nobody holds anything any more.
fn free(shadow: &mut Shadow) {
    for offset in in_stand(shadow, Stand::Held) {
        shadow.put(offset, Stand::Ready);
    }
}

/// Reads where each message of a group stands, and holds it against what it may be.
fn adopt_group(consumer: &Consumer, shadow: &mut Shadow, end: u64, now: u64) {
    let dead: Vec<u64> = consumer.dead_letters().map(|letter| letter.unwrap().offset().get()).collect();
    for offset in 0..end {
        let why = consumer.why(Offset::new(offset)).unwrap();
        let settled = matches!(why, millpond::Why::Settled | millpond::Why::Dropped);
        let was = shadow.stand(offset);
        let is = match (dead.contains(&offset), settled) {
            (true, _) => Stand::Dead,
            (false, true) => Stand::Settled,
            (false, false) => match why {
                millpond::Why::Waiting { until, .. } => Stand::Retrying { due: until.get() },
                // How long it waits besides is not told.
                millpond::Why::BehindSuspects { .. } if tag(was) == tag(Stand::Retrying { due: 0 }) => {
                    Stand::Retrying { due: 0 }
                }
                // Its time has come, or it is another's turn.
                _ if matches!(was, Stand::Retrying { due } if due <= now) => was,
                _ => Stand::Ready,
            },
        };
        let unsure = shadow.anything
            || shadow.unsure.get(&offset).is_some_and(|may| may.contains(&tag(is)) || may.contains(&tag(was)));
        assert!(tag(is) == tag(was) || unsure, "offset {offset} is {is:?} after the opening, and was {was:?}");
        shadow.put(offset, is);
    }
    shadow.sought |= shadow.anything || !shadow.unsure.is_empty();
    shadow.anything = false;
    shadow.unsure.clear();
}
