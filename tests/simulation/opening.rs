//! How a store of the simulation comes and goes: opened, perhaps dying on the way, compared with what was
//! promised; killed, cut off, or closed.

use crate::awaited::Awaited;
use crate::coverage::checked;
use crate::damage::Ended;
use crate::model::{Firm, Found, KEEPS};
use crate::world::{Check, GROUPS, Open, World};
use crate::{damage, ids, letters, order, tail};
use millpond::testing::Faults;
use millpond::{Compression, Error, Group, Offset, Retention, Retry, Store, Topic, TopicSettings, Window};
use std::fmt::Write as _;
use std::time::Duration;

impl World {
    /// Opens the store, possibly dying on the way; then compares what it shows with what was promised.
    pub(crate) fn reopen(&mut self, least: Firm) -> Check {
        let mut least = least;
        loop {
            self.openings += 1;
            self.link();
            let mut cut = false;
            if self.rng.u8(0..4) == 0 && self.plan.has("cuts") {
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
            if let Ok(store) = &opened {
                tail::check(&self.disk, store)?;
            }
            match opened.and_then(|store| self.prepare(store)) {
                Ok(open) => {
                    if cut {
                        // It may still strike; that is then a crash like any other.
                        self.disk.set_faults(Faults::default());
                    }
                    let found = self.read_all(&open)?;
                    letters::check(&open.store, &open.consumers, GROUPS)?;
                    self.narrow.check()?;
                    self.rules.check()?;
                    self.poison.check()?;
                    self.check_links()?;
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
                    // What a copy shares takes space that is not the store's.
                    self.full = self.plan.has("full") && self.rng.u8(0..8) == 0 && !self.has_links();
                    self.set_faults();
                    return Ok(());
                }
                Err(error) if cut => {
                    self.parts_dead();
                    let _ = writeln!(self.trace, "open cut short: {}", error.code());
                    if self.rng.bool() {
                        self.disk.crash();
                        self.poison.power_cut();
                        least = Firm::Disk;
                    } else {
                        self.disk.kill();
                    }
                }
                Err(error) => return Err(format!("the store does not open: {error}")),
            }
        }
    }

    pub(crate) fn prepare(&mut self, store: Store) -> Result<Open, Error> {
        self.narrow.reopened(&store)?;
        self.sorted.reopened(&store)?;
        self.rules.reopened(&store)?;
        self.poison.reopened(&store)?;
        let settings = Group::default()
            .lease(order::LEASE)
            .retry(Retry::exponential(Duration::from_secs(1), Duration::from_secs(30)).attempts(4));
        let (mut topics, mut consumers) = (Vec::new(), Vec::new());
        for (topic, keeps) in KEEPS.into_iter().enumerate() {
            let rules = if keeps { Retention::everything() } else { Retention::until_settled() };
            let window = if self.with_ids { Window::default() } else { Window::Off };
            let packs = cfg!(feature = "lz4") && self.plan.has("packed") && self.plan.seed.is_multiple_of(3);
            let packed = if packs { Compression::Lz4 } else { Compression::Off };
            let rules = TopicSettings::default().retention(rules).deduplicate(window).compression(packed);
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

    pub(crate) fn read_all(&self, open: &Open) -> Result<Vec<Found>, String> {
        let read = |topic: &Topic| -> Result<Found, String> {
            let mut found = Found { end: usize::try_from(topic.end_offset().get()).unwrap(), ..Found::default() };
            for record in topic.read(..) {
                let record = record.map_err(|error| format!("I9: reading fails: {error}"))?;
                if found.messages.last_key_value().is_some_and(|(last, _)| *last >= record.offset()) {
                    return Err(format!("I3: offset {} follows a later one", record.offset()));
                }
                found.messages.insert(record.offset(), record.payload().to_vec());
            }
            checked("I3");
            Ok(found)
        };
        open.topics.iter().map(read).collect()
    }

    /// Now and then, once in `often` times, a copy of the disk is hurt while the store is down.
    fn hurt_a_copy(&mut self, ended: Ended, often: u8) -> Check {
        if !self.plan.has("damage") || self.rng.u8(0..often) > 0 {
            return Ok(());
        }
        let ids = self.with_ids.then_some(&self.ids);
        let machine = (&self.disk, &self.clock);
        damage::hurt(&mut self.rng, machine, &self.model, ids, ended, &mut self.trace)
    }

    fn parts_dead(&mut self) {
        self.narrow.dead();
        self.sorted.dead();
        self.rules.dead();
    }

    /// The store is gone: with the machine, with the process, or closed. Then it is opened again.
    pub(crate) fn die(&mut self, power: bool) -> Check {
        let least = if power {
            self.disk.crash();
            Firm::Disk
        } else {
            self.disk.kill();
            Firm::Os
        };
        let _ = writeln!(self.trace, "die power={power}");
        self.order.all_over();
        self.parts_dead();
        self.poison.dead(!power);
        // Whoever held a delivery may be what brought it down.
        if let Some(mut open) = self.open.take() {
            std::mem::take(&mut open.awaited).die(&mut self.model);
            for group in &mut self.model.groups {
                let delivered: Vec<Offset> = group.delivered.iter().copied().collect();
                group.touched.extend(delivered);
            }
            drop(open);
        }
        self.hurt_a_copy(Ended { least, closed: false }, 5)?;
        self.reopen(least)
    }

    pub(crate) fn close(&mut self) -> Check {
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
        self.parts_dead();
        self.poison.rest();
        self.poison.dead(true);
        let closed = open.store.clone().close();
        let _ = writeln!(self.trace, "close {}", closed.is_ok());
        // What stood in line was taken in, or refused.
        self.settle_pending(&mut open);
        drop(open);
        if closed.is_err() {
            self.disk.kill();
            return self.reopen(Firm::Os);
        }
        self.hurt_a_copy(Ended { least: Firm::Disk, closed: true }, 2)?;
        self.reopen(if synced.is_ok() { Firm::Os } else { Firm::Disk })
    }
}
