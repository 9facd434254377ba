//! What is done in the simulation: publishing, leasing, settling.

use crate::model::{Fact, Firm};
use crate::order;
use crate::world::{GROUPS, Open, Pending, PendingAck, TOPICS, World, poll};
use millpond::{Clock, Delivery, Durability, Message, Offset, Run, Timestamp};
use std::fmt::Write as _;
use std::task::Poll;
use std::time::Duration;

impl World {
    pub(crate) fn publish(&mut self, open: &mut Open) -> bool {
        let level = self.rng.choice([Durability::Memory, Durability::Os, Durability::Disk, Durability::Disk]).unwrap();
        // Often of the same length, so that a stale frame could stand exactly behind a new one.
        let extra = self.rng.choice([0, 0, 0, 0, 0, 100, 700, 3000]).unwrap();
        let wait = self.rng.bool();
        self.publish_one(open, level, extra, wait)
    }

    pub(crate) fn publish_one(&mut self, open: &mut Open, level: Durability, extra: usize, wait: bool) -> bool {
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
        let entry =
            crate::model::Entry { payload, firm: Firm::Asked, deliver_at, expires, key, has_id: key.is_some(), level };
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
                            // Some that stood in line before it may have been refused too. It is the last one.
                            self.settle_pending(open);
                            if error.into_message().is_some() {
                                self.model.topics[topic].pop();
                            }
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

    pub(crate) fn lease(&mut self, open: &mut Open) -> Result<bool, String> {
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
            let _ = writeln!(self.trace, "group {group} has {}: {:?}", delivery.offset(), delivery.counters());
            self.model.delivered(group / GROUPS, group, delivery.offset(), delivery.payload(), wall)?;
            self.order.delivered(&self.model, group, consumer, delivery, &self.clock)?;
            if self.read_faults && delivery.counters().failures > 0 {
                // One that could not be read is charged, and tried again later.
                self.model.groups[group].touched.insert(delivery.offset());
            }
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

    pub(crate) fn settle(&mut self, open: &mut Open) -> bool {
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
        let how = self.rng.u8(0..12);
        let _ = writeln!(self.trace, "group {group} settles {offset} in way {how}");
        let mut ticket = match how {
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

    pub(crate) fn settle_run(&mut self, open: &mut Open) -> bool {
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
}
