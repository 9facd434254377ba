//! One run: a store on a simulated disk, a workload, crashes, and the model that watches.

use crate::awaited::Awaited;
use crate::filter::Sorted;
use crate::flow::Narrow;
use crate::ids::{self, Ids, OpenIds};
use crate::letters;
use crate::model::{Fact, Firm, Found, KEEPS, Model};
use crate::order::{self, Order};
use crate::space;
use crate::transactions::Transactions;
use millpond::testing::{Faults, SimDisk};
use millpond::{
    Clock, Consumer, Delivery, Durability, Error, Group, ManualClock, Message, Offset, Options, Receipt, Retention,
    Retry, Run, Store, TopicSettings,
};
use millpond::{Ticket, Timestamp, Topic, Window};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

pub(crate) const TOPICS: usize = 2;
pub(crate) const GROUPS: usize = 2;

/// Something asked for and not answered yet.
struct Pending {
    ticket: Ticket<Receipt>,
    fact: Fact,
    level: Durability,
    mark: usize,
}

struct PendingAck {
    ticket: Ticket<()>,
    facts: Vec<Fact>,
    mark: usize,
}

struct Open {
    store: Store,
    topics: Vec<Topic>,
    consumers: Vec<Consumer>,
    ids: Option<OpenIds>,
    held: Vec<(usize, Delivery)>,
    runs: Vec<(usize, Run)>,
    pending: Vec<Pending>,
    acks: Vec<PendingAck>,
    awaited: Awaited,
}

pub(crate) struct World {
    disk: SimDisk,
    clock: ManualClock,
    rng: fastrand::Rng,
    model: Model,
    order: Order,
    narrow: Narrow,
    sorted: Sorted,
    transactions: Transactions,
    ids: Ids,
    /// Whether ids are remembered.
    with_ids: bool,
    open: Option<Open>,
    openings: u64,
    published: u64,
    /// Whether no message is delayed or expires: then publishes and leases go the short way, mostly.
    plain: bool,
    pub(crate) trace: String,
    faulty: bool,
}

fn poll<T: Unpin>(ticket: &mut Ticket<T>) -> Poll<Result<T, Error>> {
    Pin::new(ticket).poll(&mut Context::from_waker(Waker::noop()))
}

type Check = Result<(), String>;

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let clock = ManualClock::starting_at(Timestamp::new(1_700_000_000_000));
        Self {
            disk: SimDisk::new(rng.u64(..)),
            narrow: Narrow::new(rng.u8(0..3), clock.clone()),
            sorted: Sorted::new(clock.clone()),
            clock,
            model: Model::new(TOPICS, GROUPS),
            order: Order::new(&mut rng),
            transactions: Transactions::default(),
            ids: Ids::default(),
            with_ids: rng.bool(),
            open: None,
            openings: 0,
            published: 0,
            plain: seed % 2 == 1,
            trace: String::new(),
            faulty: rng.u8(0..3) == 0,
            rng,
        }
    }

    fn options(&mut self) -> Options {
        let segment = self.rng.choice([16 << 10, 24 << 10, 64 << 10]).unwrap();
        Store::options()
            .segment_bytes(segment)
            .first_segment_bytes(16 << 10)
            .id_memory_bytes(self.rng.choice([16 << 10, 64 << 10]).unwrap())
            .tail_cache_bytes(self.rng.choice([0, 4096, 1 << 20]).unwrap())
            .buffer_bytes(self.rng.choice([4096, 1 << 20]).unwrap())
    }

    fn set_faults(&mut self) {
        let mut faults = Faults::default();
        faults.short_read = 0.01;
        faults.short_write = 0.01;
        if self.faulty {
            faults.sync_error = 0.002;
            faults.write_error = 0.001;
        }
        self.disk.set_faults(faults);
    }

    /// Opens the store, possibly dying on the way; then compares what it shows with what was promised.
    fn reopen(&mut self, least: Firm) -> Check {
        let mut least = least;
        loop {
            self.openings += 1;
            let mut cut = false;
            if self.rng.u8(0..4) == 0 {
                let mut faults = Faults::default();
                faults.stop_after = Some(self.rng.u64(0..12));
                self.disk.set_faults(faults);
                cut = true;
            } else {
                self.disk.set_faults(Faults::default());
            }
            let options = self.options();
            self.ids.meddle(&mut self.rng, &self.disk);
            let (clock, seed) = (self.clock.clone(), self.rng.u64(..));
            let opened = Store::open_simulated_with(&self.disk, &self.ids.tables, clock, seed, options);
            match opened.and_then(|store| self.prepare(store)) {
                Ok(open) => {
                    if cut {
                        // It may still strike; that is then a crash like any other.
                        self.disk.set_faults(Faults::default());
                    }
                    let found = self.read_all(&open)?;
                    letters::check(&open.store, &open.consumers, GROUPS)?;
                    self.narrow.check()?;
                    let ends: Vec<usize> = found.iter().map(|found| found.end).collect();
                    self.transactions.reopened(&self.model, &open.store, &open.consumers, (&ends, least))?;
                    if let Some(ids) = &open.ids {
                        self.ids.reopened(&mut self.rng, ids, least)?;
                    }
                    self.open = Some(open);
                    for (topic, found) in found.iter().enumerate() {
                        self.model.reopened(topic, found, least)?;
                    }
                    self.model.forget(least);
                    self.set_faults();
                    return Ok(());
                }
                Err(error) if cut => {
                    self.narrow.dead();
                    self.sorted.dead();
                    let _ = writeln!(self.trace, "open cut short: {}", error.code());
                    if self.rng.bool() {
                        self.disk.crash();
                        least = Firm::Disk;
                    } else {
                        self.disk.kill();
                    }
                }
                Err(error) => return Err(format!("the store does not open: {error}")),
            }
        }
    }

    fn prepare(&mut self, store: Store) -> Result<Open, Error> {
        self.narrow.reopened(&store)?;
        self.sorted.reopened(&store)?;
        let settings = Group::default()
            .lease(order::LEASE)
            .retry(Retry::exponential(Duration::from_secs(1), Duration::from_secs(30)).attempts(4));
        let (mut topics, mut consumers) = (Vec::new(), Vec::new());
        for (topic, keeps) in KEEPS.into_iter().enumerate() {
            let rules = if keeps { Retention::everything() } else { Retention::until_settled() };
            let window = if self.with_ids { Window::default() } else { Window::Off };
            let rules = TopicSettings::default().retention(rules).deduplicate(window);
            let topic = store.topic_with(&format!("topic {topic}"), rules)?;
            for group in 0..GROUPS {
                let settings = self.order.settings(group, letters::settings(group, settings.clone()));
                consumers.push(topic.consumer(&format!("group {group}"), settings)?);
            }
            topics.push(topic);
        }
        let ids = self.with_ids.then(|| ids::prepare(&store)).transpose()?;
        let (held, runs) = (Vec::new(), Vec::new());
        let (pending, acks, awaited) = (Vec::new(), Vec::new(), Awaited::default());
        Ok(Open { store, topics, consumers, ids, held, runs, pending, acks, awaited })
    }

    fn read_all(&self, open: &Open) -> Result<Vec<Found>, String> {
        let read = |topic: &Topic| -> Result<Found, String> {
            let mut found = Found { end: usize::try_from(topic.end_offset().get()).unwrap(), ..Found::default() };
            for record in topic.read(..) {
                let record = record.map_err(|error| format!("I9: reading fails: {error}"))?;
                if found.messages.last_key_value().is_some_and(|(last, _)| *last >= record.offset()) {
                    return Err(format!("I3: offset {} follows a later one", record.offset()));
                }
                found.messages.insert(record.offset(), record.payload().to_vec());
            }
            Ok(found)
        };
        open.topics.iter().map(read).collect()
    }

    /// The store is gone: with the machine, with the process, or closed. Then it is opened again.
    fn die(&mut self, power: bool) -> Check {
        let least = if power {
            self.disk.crash();
            Firm::Disk
        } else {
            self.disk.kill();
            Firm::Os
        };
        let _ = writeln!(self.trace, "die power={power}");
        self.order.all_over();
        self.narrow.dead();
        self.sorted.dead();
        // Whoever held a delivery may be what brought it down.
        if let Some(mut open) = self.open.take() {
            std::mem::take(&mut open.awaited).die(&mut self.model);
            for group in &mut self.model.groups {
                let delivered: Vec<Offset> = group.delivered.iter().copied().collect();
                group.touched.extend(delivered);
            }
            drop(open);
        }
        self.reopen(least)
    }

    fn close(&mut self) -> Check {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        let synced = open.store.sync().wait();
        if synced.is_ok() {
            let mark = self.model.mark();
            self.model.reached(mark, Firm::Disk);
        }
        self.settle_pending(&mut open);
        for (group, delivery) in open.held.drain(..) {
            self.model.groups[group].touched.insert(delivery.offset());
        }
        open.runs.clear();
        self.order.all_over();
        self.narrow.dead();
        self.sorted.dead();
        let closed = open.store.clone().close();
        let _ = writeln!(self.trace, "close {}", closed.is_ok());
        drop(open);
        if closed.is_err() {
            self.disk.kill();
            return self.reopen(Firm::Os);
        }
        self.reopen(if synced.is_ok() { Firm::Os } else { Firm::Disk })
    }

    /// Looks at what has resolved meanwhile. False if the store is poisoned.
    fn settle_pending(&mut self, open: &mut Open) -> bool {
        let mut good = self.transactions.settle_pending(&mut self.model);
        let model = &mut self.model;
        let mut at = 0;
        while at < open.pending.len() {
            let pending = &mut open.pending[at];
            let outcome = match poll(&mut pending.ticket) {
                Poll::Pending => {
                    at += 1;
                    continue;
                }
                Poll::Ready(outcome) => outcome,
            };
            let Pending { fact, level, mark, .. } = open.pending.remove(at);
            match outcome {
                Ok(receipt) => {
                    let _ = writeln!(self.trace, "pending {fact:?} {level:?} resolves");
                    if let Fact::Message { index, .. } = fact {
                        assert_eq!(receipt.offset, Offset::new(index as u64), "I3: order is fixed at the call");
                    }
                    model.reached(mark, level.into());
                    model.resolve(fact, level.into());
                }
                Err(error) => {
                    let _ = writeln!(self.trace, "pending fails: {error}");
                    good = false;
                    // Refused while it waited in line: it never had an offset, and those behind it move up.
                    if let (Fact::Message { topic, index }, true) = (fact, error.into_message().is_some()) {
                        model.topics[topic].remove(index);
                        for behind in &mut open.pending[at..] {
                            if let Fact::Message { topic: other, index } = &mut behind.fact
                                && *other == topic
                            {
                                *index -= 1;
                            }
                        }
                    }
                }
            }
        }
        open.acks.retain_mut(|pending| match poll(&mut pending.ticket) {
            Poll::Pending => true,
            Poll::Ready(Ok(())) => {
                model.reached(pending.mark, Firm::Os);
                for fact in &pending.facts {
                    model.resolve(*fact, Firm::Os);
                }
                false
            }
            Poll::Ready(Err(_)) => {
                good = false;
                false
            }
        });
        good
    }

    /// Much that is written and not synced: what a power cut then leaves of it has holes.
    fn burst(&mut self, most: usize) -> Check {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        for _ in 0..self.rng.usize(0..=most) {
            let extra = self.rng.usize(0..16);
            if !self.publish_one(&mut open, Durability::Os, extra, true) {
                break;
            }
        }
        self.settle_pending(&mut open);
        self.open = Some(open);
        Ok(())
    }

    /// Ids that are published twice, just before the store goes.
    fn repeat(&mut self) -> Check {
        let ids = self.open.as_ref().and_then(|open| open.ids.as_ref());
        let Some(ids) = ids.filter(|_| self.rng.u8(0..4) == 0) else { return Ok(()) };
        self.ids.gone.publish_twice(&mut self.rng, &ids.gone)
    }

    fn publish(&mut self, open: &mut Open) -> bool {
        let level = self.rng.choice([Durability::Memory, Durability::Os, Durability::Disk, Durability::Disk]).unwrap();
        // Often of the same length, so that a stale frame could stand exactly behind a new one.
        let extra = self.rng.choice([0, 0, 0, 0, 0, 100, 700, 3000]).unwrap();
        let wait = self.rng.bool();
        self.publish_one(open, level, extra, wait)
    }

    fn publish_one(&mut self, open: &mut Open, level: Durability, extra: usize, wait: bool) -> bool {
        let topic = self.rng.usize(0..TOPICS);
        self.published += 1;
        let mut payload = format!("{topic}/{:08}/", self.published).into_bytes();
        // What looks like the headers of frames, but for their checksums: a length, and a claim of what is durable.
        let image = [8, 0, 0, 0, 0, self.rng.u8(16..64), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        payload.extend(image.iter().cycle().take(extra));
        let mut message = Message::new(payload.clone()).durability(level);
        let key = (self.rng.u8(0..4) == 0).then_some(self.published % 5);
        if let Some(key) = key {
            message = message.key(format!("key {key}")).id(payload.clone());
        }
        let (mut deliver_at, mut expires) = (0, false);
        match if self.plain { 16 } else { self.rng.u8(0..16) } {
            0 => message = message.delay(Duration::from_millis(self.rng.u64(0..20_000))),
            1 => {
                deliver_at = (self.clock.wall().get() + self.rng.u64(0..20_000)).saturating_sub(5_000);
                message = message.deliver_at(Timestamp::new(deliver_at));
            }
            2 => {
                expires = true;
                message = message.expires_after(Duration::from_millis(self.rng.u64(0..20_000)));
            }
            _ => {}
        }
        let mark = self.model.mark();
        let index = self.model.topics[topic].len();
        let fact = Fact::Message { topic, index };
        let mut ticket = open.topics[topic].publish(message);
        let entry = crate::model::Entry { payload, firm: Firm::Asked, deliver_at, expires, key, has_id: key.is_some() };
        let _ = writeln!(self.trace, "publish {topic} {index} {level:?}");
        match poll(&mut ticket) {
            Poll::Ready(Ok(receipt)) => {
                assert_eq!(receipt.offset, Offset::new(index as u64), "I3");
                self.model.topics[topic].push(entry);
                self.model.resolve(fact, level.into());
                true
            }
            Poll::Ready(Err(error)) => error.into_message().is_some(),
            Poll::Pending => {
                self.model.topics[topic].push(entry);
                if wait {
                    match ticket.wait() {
                        Ok(receipt) => {
                            // Some that stood in line before it may have been refused meanwhile: it moved up.
                            let good = self.settle_pending(open);
                            let index = self.model.topics[topic].len() - 1;
                            assert_eq!(receipt.offset, Offset::new(index as u64), "I3");
                            self.model.reached(mark, level.into());
                            self.model.resolve(Fact::Message { topic, index }, level.into());
                            good
                        }
                        Err(error) => {
                            let _ = writeln!(self.trace, "publish fails: {error}");
                            false
                        }
                    }
                } else {
                    open.pending.push(Pending { ticket, fact, level, mark });
                    true
                }
            }
        }
    }

    fn lease(&mut self, open: &mut Open) -> Result<bool, String> {
        let group = self.rng.usize(0..TOPICS * GROUPS);
        let max = self.rng.choice([1, 1, 3, 10]).unwrap();
        let wall = self.clock.wall().get();
        let (group, wall, leased) = if order::is_ordered(group) {
            let consumer = &open.consumers[group];
            let leased = match self.rng.bool() {
                true => consumer.lease_runs(max, Duration::ZERO).map(|runs| (runs, Vec::new())),
                false => consumer.lease_many(max, Duration::ZERO).map(|batch| (Vec::new(), batch.collect())),
            };
            (group, wall, leased)
        } else {
            let from = (&open.store, &*open.consumers);
            let (group, wall, leased) = open.awaited.lease(&mut self.rng, from, (group, max), wall);
            (group, wall, leased.map(|batch| (Vec::new(), batch.collect())))
        };
        let consumer = &open.consumers[group];
        let (runs, single): (Vec<Run>, Vec<Delivery>) = match leased {
            Ok(leased) => leased,
            Err(error) => {
                let _ = writeln!(self.trace, "lease fails: {}", error.code());
                // It may have been named as handed out before it failed, and may then be charged with this death.
                let all = (0..self.model.topics[group / GROUPS].len() as u64).map(Offset::new);
                self.model.groups[group].touched.extend(all);
                return Ok(false);
            }
        };
        for delivery in single.iter().chain(runs.iter().flat_map(|run: &Run| run.deliveries())) {
            self.model.delivered(group / GROUPS, group, delivery.offset(), delivery.payload(), wall)?;
            self.order.delivered(&self.model, group, consumer, delivery, &self.clock)?;
            if delivery.counters().failures > 0 && !self.model.groups[group].touched.contains(&delivery.offset()) {
                return Err(format!("I4: group {group} offset {}: charged, but it never failed", delivery.offset()));
            }
            if delivery.counters().crashes > 0 || delivery.counters().timeouts > 0 {
                self.model.groups[group].touched.insert(delivery.offset());
            }
        }
        open.held.extend(single.into_iter().map(|delivery| (group, delivery)));
        open.runs.extend(runs.into_iter().map(|run| (group, run)));
        Ok(true)
    }

    fn settle(&mut self, open: &mut Open) -> bool {
        if !open.runs.is_empty() && self.rng.bool() {
            return self.settle_run(open);
        }
        if open.held.is_empty() {
            return true;
        }
        let (group, delivery) = open.held.swap_remove(self.rng.usize(0..open.held.len()));
        let offset = delivery.offset();
        self.order.over(group, &delivery);
        let mark = self.model.mark();
        let mut ticket = match self.rng.u8(0..12) {
            0 => {
                self.model.groups[group].touched.insert(offset);
                delivery.nack("it fails now and then")
            }
            1 => delivery.release(),
            2 => {
                self.model.groups[group].touched.insert(offset);
                delivery.bury("it is not wanted")
            }
            3 => {
                self.model.groups[group].touched.insert(offset);
                drop(delivery);
                return true;
            }
            4 => {
                // Extended and then let go of: dropped, so it is charged.
                self.model.groups[group].touched.insert(offset);
                let _ = delivery.extend(Duration::from_secs(30)).is_ok();
                return true;
            }
            _ => {
                let fact = Fact::Ack { group, offset };
                let mut ticket = delivery.ack();
                match poll(&mut ticket) {
                    Poll::Ready(Ok(())) => self.model.resolve(fact, Firm::Os),
                    Poll::Ready(Err(error)) if error.code() == "lease-lost" => return true,
                    Poll::Ready(Err(_)) => {
                        // It may have got as far as the disk.
                        self.model.groups[group].acked.entry(offset).or_insert(Firm::Asked);
                        return false;
                    }
                    Poll::Pending => {
                        self.model.groups[group].acked.entry(offset).or_insert(Firm::Asked);
                        open.acks.push(PendingAck { ticket, facts: vec![fact], mark });
                    }
                }
                return true;
            }
        };
        match poll(&mut ticket) {
            Poll::Ready(Err(error)) => error.code() == "lease-lost",
            _ => true,
        }
    }

    fn settle_run(&mut self, open: &mut Open) -> bool {
        let (group, run) = open.runs.swap_remove(self.rng.usize(0..open.runs.len()));
        run.deliveries().iter().for_each(|delivery| self.order.over(group, delivery));
        let mark = self.model.mark();
        let Some(order::Settled { mut ticket, facts }) = order::settle_run(&mut self.rng, &mut self.model, group, run)
        else {
            return true;
        };
        match poll(&mut ticket) {
            Poll::Ready(Ok(())) => facts.into_iter().for_each(|fact| self.model.resolve(fact, Firm::Os)),
            Poll::Ready(Err(error)) => return error.code() == "lease-lost",
            Poll::Pending => open.acks.push(PendingAck { ticket, facts, mark }),
        }
        true
    }

    /// One step of the workload.
    fn step(&mut self) -> Check {
        let Some(mut open) = self.open.take() else { return self.reopen(Firm::Disk) };
        let dice = self.rng.u8(0..145);
        let good = match dice {
            139.. => {
                let (rng, model) = (&mut self.rng, &mut self.model);
                // Who holds which key is followed where single deliveries are settled.
                let unordered = |(group, _): &(usize, Delivery)| !order::is_ordered(*group);
                let (mut free, mut rest): (Vec<_>, Vec<_>) = open.held.drain(..).partition(unordered);
                let good = self.transactions.commit(rng, model, &open.store, &open.topics, &mut free)?;
                rest.append(&mut free);
                open.held = rest;
                good
            }
            128.. => match &open.ids {
                Some(ids) => self.ids.step(&mut self.rng, &open.store, ids)?,
                None => true,
            },
            125.. => space::clean(&open.store),
            117.. => self.sorted.step(&mut self.rng)?,
            102.. => {
                self.narrow.check()?;
                self.narrow.step(&mut self.rng)?
            }
            100.. => {
                let group = self.rng.usize(0..TOPICS * GROUPS);
                letters::sweep(&mut self.rng, &mut self.model, group, &open.consumers[group])
            }
            0..=39 => self.publish(&mut open),
            40..=54 => self.lease(&mut open)?,
            55..=79 => self.settle(&mut open),
            80..=87 => open.store.step_commit().is_ok(),
            88..=93 => open.store.step_upkeep().is_ok(),
            94..=97 => {
                self.clock.advance(Duration::from_millis(self.rng.u64(1..8_000)));
                true
            }
            98 => {
                let mark = self.model.mark();
                let synced = open.store.sync().wait().is_ok();
                if synced {
                    self.model.reached(mark, Firm::Disk);
                }
                synced
            }
            _ => {
                let wall = self.rng.u64(1_600_000_000_000..1_800_000_000_000);
                self.clock.set_wall(Timestamp::new(wall));
                true
            }
        };
        let _ = writeln!(self.trace, "{dice} {good} {}", self.disk.operations());
        let good = self.settle_pending(&mut open) && good;
        self.open = Some(open);
        if good {
            Ok(())
        } else {
            let power = self.rng.bool();
            self.die(power)
        }
    }

    /// The whole run.
    pub(crate) fn run(&mut self, operations: u32, crashes: u32) -> Check {
        self.reopen(Firm::Disk)?;
        for crash in 0..=crashes {
            for _ in 0..operations / (crashes + 1) {
                self.step()?;
            }
            if crash == crashes {
                break;
            }
            if self.rng.bool() {
                self.burst(60)?;
            }
            self.repeat()?;
            match self.rng.u8(0..8) {
                0 => self.close()?,
                1..=3 => {
                    // In the middle of whatever comes next.
                    let mut faults = Faults::default();
                    faults.stop_after = Some(self.rng.u64(0..20));
                    self.disk.set_faults(faults);
                    for _ in 0..30 {
                        let Some(mut open) = self.open.take() else { break };
                        let good =
                            self.publish(&mut open) && self.settle(&mut open) && open.store.step_upkeep().is_ok();
                        let good = self.settle_pending(&mut open) && good;
                        self.open = Some(open);
                        if !good {
                            break;
                        }
                    }
                    self.die(true)?;
                }
                dice => self.die(dice < 6)?,
            }
            // Often once more, soon: while what the first one left behind still lies just behind the journal's end.
            while self.rng.bool() {
                for _ in 0..self.rng.u32(0..3) {
                    self.step()?;
                }
                self.burst(4)?;
                self.repeat()?;
                let power = self.rng.bool();
                self.die(power)?;
            }
        }
        self.drain()
    }

    /// At the end everything is delivered and settled, or parked.
    fn drain(&mut self) -> Check {
        self.faulty = false;
        self.die(false)?;
        self.disk.set_faults(Faults::default());
        // By then everything is due, whatever clock it goes by.
        self.clock.set_wall(Timestamp::new(1_900_000_000_000));
        self.clock.advance(Duration::from_secs(30));
        for group in 0..TOPICS * GROUPS {
            let Some(mut open) = self.open.take() else { return Err("not open".to_owned()) };
            for _ in 0..10_000 {
                let batch = open.consumers[group].lease_many(50, Duration::ZERO).map_err(|error| error.to_string())?;
                let mut any = false;
                for delivery in batch {
                    any = true;
                    let offset = delivery.offset();
                    let wall = self.clock.wall().get();
                    self.model.delivered(group / GROUPS, group, offset, delivery.payload(), wall)?;
                    self.order.delivered(&self.model, group, &open.consumers[group], &delivery, &self.clock)?;
                    self.order.over(group, &delivery);
                    delivery.ack().wait().map_err(|error| format!("the ack of {offset} fails: {error}"))?;
                    self.model.resolve(Fact::Ack { group, offset }, Firm::Os);
                }
                if open.consumers[group].idle() {
                    if order::release(&self.order, group, &open.consumers[group]).map_err(|e| e.to_string())? {
                        continue;
                    }
                    break;
                }
                if !any {
                    self.clock.advance(Duration::from_secs(31));
                }
            }
            if !open.consumers[group].idle() {
                return Err(format!("I4: group {group} is never idle: {:?}", open.consumers[group].stats()));
            }
            order::note_parked(&mut self.model, &open.consumers)?;
            let dead = open.consumers[group].dead_letters().collect::<Result<Vec<_>, _>>();
            let dead = dead.map_err(|error| error.to_string())?;
            let dead: BTreeSet<Offset> = dead.iter().map(|letter| letter.offset()).collect();
            self.model.drained(group / GROUPS, group, &dead)?;
            self.settle_pending(&mut open);
            self.open = Some(open);
        }
        self.narrow.drain()?;
        self.sorted.drain()?;
        let Some(open) = self.open.take() else { return Err("not open".to_owned()) };
        if let Some(ids) = &open.ids {
            self.ids.gone.drain(&ids.gone)?;
        }
        space::check(&self.disk, &open.store, &self.model, open.ids.as_ref().map(|open| (&self.ids, open)))?;
        if let Some(ids) = &open.ids {
            self.ids.gone.all_known(&ids.gone)?;
        }
        let found = self.read_all(&open)?;
        space::still_there(&mut self.model, &found)
    }
}
