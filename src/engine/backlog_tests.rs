//! The count of a backlog, followed event by event, against the same counted anew.

use super::backlog::Count;
use super::*;
use crate::clock::{ManualClock, SeededEntropy};
use crate::config::{Backlog, Group, Overflow, Retention, Start, TopicSettings};
use crate::message::Message;
use crate::types::{Offset, TopicId};
use std::sync::atomic::AtomicBool;

static RUN: AtomicBool = AtomicBool::new(false);

struct Bench {
    engine: Arc<Engine>,
    clock: ManualClock,
    topic: TopicId,
    groups: Vec<GroupId>,
    held: Vec<(GroupId, Offset, u64)>,
    rng: fastrand::Rng,
}

fn open(disk: &SimDisk, clock: &ManualClock, seed: u64) -> Arc<Engine> {
    let environment = Environment {
        tables: Arc::new(crate::tables::MemoryTables::default()),
        storage: Arc::new(disk.clone()),
        clock: Arc::new(clock.clone()),
        entropy: Arc::new(SeededEntropy::new(seed)),
        keys: crate::config::Keys::none(),
    };
    let options = Options { segment_bytes: 32 << 10, first_segment_bytes: 16 << 10, ..Options::default() };
    Engine::open(environment, Options { durability: Durability::Os, ..options }, false).unwrap()
}

impl Bench {
    fn check(&self, what: u8) {
        let core = self.engine.core.lock();
        let anew = Count::of(&core.state, core.state.topic(self.topic).unwrap());
        let followed = core.backlogs.count(self.topic).unwrap();
        assert!(followed.counts_like(&anew), "after {what}: {followed:?} and not {anew:?}");
    }

    fn step(&mut self, what: u8) {
        let engine = &self.engine;
        let group = self.groups[self.rng.usize(0..self.groups.len())];
        match what {
            0..=5 => {
                let length = self.rng.usize(0..300);
                let message = Message::new(vec![1; length]);
                let message = if what == 0 { message.delay(Duration::from_secs(9)) } else { message };
                _ = engine.clone().publish(self.topic, message).wait();
            }
            6 => {
                let some = (0..self.rng.usize(1..5)).map(|_| Message::new("x")).collect();
                _ = engine.clone().publish_all(self.topic, some).wait();
            }
            7..=9 => {
                let leased = engine.lease(group, self.rng.usize(1..6), Wait::No, &RUN).unwrap();
                self.held.extend(leased.into_iter().map(|leased| (group, leased.record.offset, leased.epoch)));
            }
            10..=15 if !self.held.is_empty() => {
                let (group, offset, epoch) = self.held.swap_remove(self.rng.usize(0..self.held.len()));
                let how = match what {
                    10 => Outcome::Nack { error: "no".to_owned(), after: None },
                    11 => Outcome::Release { after: None },
                    12 => Outcome::Bury { error: "no".to_owned() },
                    _ => Outcome::Ack,
                };
                _ = engine.settle(group, &[(offset, epoch)], &[], &how).wait();
            }
            16 => {
                let offsets: Vec<Offset> =
                    engine.letters(group, Offset::ZERO, 3).unwrap().into_iter().map(|(offset, _)| offset).collect();
                let fate = if self.rng.bool() { Fate::Redriven } else { Fate::Purged };
                let order = Order {
                    offsets: Some(&offsets),
                    dry_run: false,
                    per_second: None,
                    cancelled: &RUN,
                    forget_ids: false,
                };
                engine.sweep(group, fate, order, &mut |_, _| Ok(true)).unwrap();
            }
            17 => {
                let end = engine.end_of(self.topic).unwrap().get();
                let start = Start::Offset(Offset(self.rng.u64(0..=end)));
                engine.seek(group, start, false).unwrap();
            }
            18 => _ = engine.drop_group(self.topic, "second").unwrap(),
            19 => self.clock.advance(Duration::from_secs(self.rng.u64(0..40))),
            20 => {
                let offset = Offset(self.rng.u64(0..=engine.end_of(self.topic).unwrap().get()));
                engine.cancel(self.topic, offset).unwrap();
            }
            _ => _ = engine.poll_upkeep().unwrap(),
        }
        if what == 18 {
            let second = engine.group(self.topic, "second", &Group::default()).unwrap();
            self.groups[1] = second;
        }
        _ = engine.poll_commit().unwrap();
    }
}

#[test]
fn the_count_never_strays_from_what_the_sets_say() {
    for seed in 0..24 {
        let (disk, clock) = (SimDisk::new(seed), ManualClock::starting_at(Timestamp(1_000_000)));
        let engine = open(&disk, &clock, seed);
        let mut rng = fastrand::Rng::with_seed(seed);
        let overflow = if rng.bool() { Overflow::DropOldest } else { Overflow::Reject };
        let backlog = Backlog::messages(30).or_bytes(4000).when_full(overflow);
        let rules = if rng.bool() { Retention::everything() } else { Retention::until_settled().max_count(60) };
        let settings = TopicSettings::default().max_backlog(backlog).retention(rules);
        let topic = engine.topic("orders", Some(&settings)).unwrap();
        let groups = ["first", "second"].map(|name| engine.group(topic, name, &Group::default()).unwrap()).to_vec();
        let mut bench = Bench { engine, clock: clock.clone(), topic, groups, held: Vec::new(), rng };
        for _ in 0..400 {
            let what = bench.rng.u8(0..24);
            bench.step(what);
            bench.check(what);
            if bench.rng.u8(0..100) == 0 {
                bench.engine.close().unwrap();
                bench.held.clear();
                bench.engine = open(&disk, &clock, seed);
                bench.check(99);
            }
        }
    }
}
