//! Groups that keep the order of keys: what may be picked, whatever happens, and that nothing is forgotten.

use super::*;
use crate::state::turn::Turn;
use std::collections::BTreeMap;

/// What the engine would find in the messages: two of seven have no key.
fn key_of(offset: Offset) -> Option<KeyHash> {
    match offset.0.wrapping_mul(0x9E37_79B9) >> 7 {
        mixed if mixed % 7 < 2 => None,
        mixed => Some(KeyHash(mixed % 5)),
    }
}

fn settings(order: u64) -> Event<'static> {
    let settings = vec![Setting { tag: 30, values: vec![order] }];
    Event::ConfigureGroup(ConfigureGroup { group: GROUP, settings })
}

fn look_ahead(messages: u64) -> Event<'static> {
    let settings = vec![Setting { tag: 31, values: vec![messages] }];
    Event::ConfigureGroup(ConfigureGroup { group: GROUP, settings })
}

impl World {
    fn ordered(count: u64, order: u64) -> Self {
        let mut world = Self::with(count);
        world.apply(&settings(order));
        world
    }

    /// Reads keys as the engine does. Whether there were any.
    fn read(&mut self, most: usize) -> bool {
        let end = self.state.topic(TOPIC).unwrap().end();
        let Some(unread) = self.group().unread(end, most) else { return false };
        let keys: Vec<_> = unread.offsets.iter().map(|offset| key_of(*offset)).collect();
        self.state.learn(GROUP, &unread, &keys);
        true
    }

    fn purge(&mut self, offset: u64) {
        self.apply(&Event::Settle(Settle { group: GROUP, runs: vec![run(offset, 1)].into(), cause: Cause::Purged }));
    }

    fn end(&self) -> u64 {
        self.state.topic(TOPIC).unwrap().end().0
    }

    /// Leases what comes next, in runs or not, and checks that it may.
    fn lease_in_order(&mut self, now: u64, max: usize, runs: bool) -> Vec<u64> {
        let (now, end) = (Timestamp(now), Offset(self.end()));
        let picks = match runs {
            true => self.state.pick_runs(GROUP, now, end, max),
            false => self.state.pick(GROUP, now, end, max),
        };
        let suspect = picks.iter().any(|pick| pick.suspect);
        assert!(!suspect || (picks.len() == 1 && self.group().leased() == 0), "a suspect runs alone");
        let mut last: BTreeMap<KeyHash, Offset> = BTreeMap::new();
        for pick in &picks {
            let (offset, group) = (pick.offset, self.state.group(GROUP).unwrap());
            assert!(group.past(offset).is_none_or(|past| past.due <= now), "{offset} is early");
            let waiting = self.state.topic(TOPIC).unwrap().schedule().waiting();
            assert!(!waiting.contains(offset), "{offset} is delayed");
            if let Some(key) = key_of(offset).filter(|_| group.is_ordered()) {
                let same = |other: &Offset| key_of(*other) == Some(key);
                assert_eq!(pick.follows, last.contains_key(&key), "one holder of a key, and its run stands together");
                let from = last.get(&key).map_or(0, |last| last.0 + 1);
                let open = |other: &Offset| group.is_open(*other);
                let passed = (from..offset.0).map(Offset).filter(same).find(open);
                assert_eq!(passed, None, "{offset} goes before another of its key");
                let holder = group.leases().map(|(other, _)| other).find(same);
                assert!(holder.is_none() || pick.follows, "{holder:?} has the key of {offset}");
                let blocked = group.policy().ordered != Some(crate::config::WhenParked::Skip);
                let dead = group.dead().keys().filter(|other| same(other)).find(|other| **other < offset);
                assert!(!blocked || dead.is_none(), "{offset} is behind the dead letter {dead:?}");
                last.insert(key, offset);
            }
            if !pick.follows {
                self.epoch += 1;
            }
            let lease = Lease { epoch: self.epoch, granted: now, deadline: Timestamp(now.0 + 30_000) };
            self.state.grant(GROUP, offset, lease);
        }
        let picks: Vec<u64> = picks.into_iter().map(|pick| pick.offset.0).collect();
        let mut rising = picks.clone();
        rising.sort_unstable();
        let named: Vec<Run> = rising.iter().map(|offset| run(*offset, 1)).collect();
        if !named.is_empty() {
            self.apply(&delivered(GROUP, &named));
        }
        picks
    }
}

/// The index agrees with the group, and forgets nobody whose turn it is.
fn assert_in_order(world: &World) {
    let state = &world.state;
    let group = state.group(GROUP).unwrap();
    let Some(order) = &group.order else { return };
    let waiting = state.topic(TOPIC).unwrap().schedule().waiting();
    let mut held: BTreeMap<KeyHash, u64> = BTreeMap::new();
    let (rest, mut in_rest) = (&order.rests, 0);
    for (offset, _) in group.leases().filter(|(offset, _)| *offset < order.read) {
        key_of(offset).into_iter().for_each(|key| *held.entry(key).or_default() += 1);
    }
    assert_eq!(order.held.iter().map(|(key, held)| (*key, held.count)).collect::<BTreeMap<_, _>>(), held);
    for number in 0..order.read.0 {
        let offset = Offset(number);
        let (key, open) = (key_of(offset), group.is_open(offset));
        let dead = group.dead().contains_key(&offset);
        if rest.contains(offset) {
            // A rest is behind what is in mind of its line, or asked for; and nothing else happened to it.
            in_rest += 1;
            assert!(order.key(offset).is_none() && open && !dead && !waiting.contains(offset), "{offset}");
            assert!(group.past(offset).is_none() && group.lease(offset).is_none(), "{offset}");
            let first = rest.first(key.unwrap()).unwrap();
            assert!(first <= offset);
            let before = order.first(key.unwrap()).is_some_and(|line| line < first);
            assert!(before || rest.next().is_some_and(|next| next <= first), "{offset} is forgotten");
            assert_eq!(group.turn(offset, waiting), Turn::InRest);
            continue;
        }
        assert_eq!(order.key(offset), key.filter(|_| open || dead), "{offset}");
        if let Some(key) = key {
            assert_eq!(order.lines.contains(&(key, offset)), open);
            assert_eq!(order.dead.contains(&(key, offset)), dead);
            assert_eq!(order.asleep.contains(offset), open && waiting.contains(offset), "{offset}");
        }
        let entry = match group.past(offset) {
            Some(past) => order.due.contains(&(past.due, offset)),
            None => order.fresh.iter().any(|fresh| *fresh == offset),
        };
        match group.turn(offset, waiting) {
            Turn::Go => assert!(entry, "{offset} can go and is forgotten"),
            Turn::Dead(_) if group.policy().ordered == Some(crate::config::WhenParked::ParkKey) => {
                assert!(
                    waiting.contains(offset) || order.condemned.contains(&key.unwrap()),
                    "{offset} is to be parked"
                );
            }
            _ => {}
        }
    }
    assert_eq!(rest.len(), in_rest);
    let entries = order.keys.len();
    assert_eq!(entries, order.lines.len() + order.dead.len());
    let end = state.topic(TOPIC).unwrap().end();
    let counts = state.counts(group, Timestamp(world.epoch), end);
    let places = [counts.ready, counts.leased, counts.retrying, counts.delayed, counts.key_blocked];
    assert_eq!(places.iter().sum::<u64>(), counts.backlog, "{counts:?}");
}

/// One step of a random life. `now` is the epoch, so that time passes with every lease.
fn step(world: &mut World, rng: &mut fastrand::Rng) {
    let leased: Vec<(u64, u64)> = world.group().leases().map(|(offset, lease)| (offset.0, lease.epoch)).collect();
    let dead: Vec<u64> = world.group().dead().keys().map(|offset| offset.0).collect();
    let held = rng.choice(&leased).copied();
    let now = world.epoch;
    match (rng.u8(0..44), held) {
        (0..=3, _) => world.publish(rng.u64(1..4)),
        (4, _) => {
            let first = world.end();
            world.apply(&publish_later(TOPIC, first, now + rng.u64(0..8), rng.bool()));
        }
        (5..=10, _) => _ = world.read(rng.usize(1..8)),
        (11..=18, _) => _ = world.lease_in_order(now, rng.usize(1..5), rng.bool()),
        (19..=25, Some((offset, _))) => world.ack(offset),
        (26..=28, Some((offset, _))) => world.fail(offset, now + rng.u64(0..5), "no"),
        (29, Some((offset, _))) => world.release(offset, rng.choice([0, now + 3]).unwrap()),
        (30, Some((offset, epoch))) => _ = world.group().forget_lease(Offset(offset), epoch),
        (31, Some((offset, _))) => world.bury(offset, BuryReason::Asked, "broken"),
        (32, _) => {
            let wall = rng.u64(0..now + 8);
            world.state.turn_schedule(TOPIC, Timestamp(now), Timestamp(wall));
        }
        (33, _) => {
            let some = dead.iter().filter(|_| rng.bool()).map(|offset| run(*offset, 1)).collect::<Vec<_>>();
            world.apply(&redrive(GROUP, &some));
        }
        (34, _) => rng.choice(&dead).into_iter().for_each(|offset| world.purge(*offset)),
        (35, _) => world.crash(),
        (36, _) => {
            // Only sometimes: it forgets a lot.
            if rng.u8(0..4) == 0 {
                let to = rng.u64(0..=world.end());
                world.apply(&seek(GROUP, to));
            }
        }
        (37, _) => world.apply(&settings(rng.u64(0..=3))),
        (40, _) => {
            let end = world.end();
            world.purge(rng.u64(0..end.max(1)));
        }
        (39, _) => world.apply(&look_ahead(rng.choice([1, 2, 10, 100]).unwrap())),
        (38, _) => park_all(world),
        _ => world.epoch += 3,
    }
}

/// What the engine does with what is condemned.
fn park_all(world: &mut World) {
    while let Some((offset, dead)) = world.state.condemned(GROUP) {
        assert!(dead < offset && key_of(dead) == key_of(offset));
        world.bury(offset.0, BuryReason::KeyParked, "");
    }
}

#[test]
fn no_life_has_two_holders_of_a_key_or_another_order_and_none_is_lost() {
    let mut rests = 0;
    for seed in 0..800 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (many, most) = if seed % 2 == 0 { (10, 100) } else { (60, 4) };
        let mut world = World::ordered(rng.u64(0..many), rng.u64(1..=3));
        world.apply(&look_ahead(most));
        for _ in 0..150 {
            match rng.u8(0..8) {
                // With long lines, others of their keys that wait for more than that are what is hard.
                0 if seed % 2 == 1 => {
                    let (first, now) = (world.end(), world.epoch);
                    world.apply(&publish_later(TOPIC, first, now + rng.u64(0..8), rng.bool()));
                    world.read(8);
                }
                1 if seed % 2 == 1 => {
                    let now = world.epoch;
                    world.state.turn_schedule(TOPIC, Timestamp(now), Timestamp(now));
                    world.lease_in_order(now, 4, true);
                }
                _ => step(&mut world, &mut rng),
            }
            assert_in_order(&world);
            rests += u64::from(world.group().order.as_ref().is_some_and(|order| !order.rests.is_empty()));
        }
        // Then everything gets through.
        world.apply(&settings(rng.u64(1..=3)));
        for _ in 0..10_000 {
            world.epoch += 100;
            let far = Timestamp(world.epoch + 100);
            world.state.turn_schedule(TOPIC, far, far);
            world.read(8);
            park_all(&mut world);
            let leased: Vec<u64> = world.group().leases().map(|(offset, _)| offset.0).collect();
            leased.into_iter().for_each(|offset| world.ack(offset));
            let now = world.epoch;
            if world.lease_in_order(now, 3, rng.bool()).is_empty() && !world.read(8) {
                let dead: Vec<Run> = world.group().dead().keys().map(|offset| run(offset.0, 1)).collect();
                if dead.is_empty() && world.group().leased() == 0 {
                    break;
                }
                world.apply(&redrive(GROUP, &dead));
            }
        }
        let end = world.end();
        assert_eq!(world.group().settled().floor(), Offset(end), "seed {seed}");
        let order = world.group().order.as_ref().unwrap();
        assert!(order.keys.len() == 0 && order.rests.is_empty());
        assert_eq!(order.rests.next(), None, "nothing is asked for that is not there");
    }
    assert!(rests > 5000, "{rests}: long lines are cut down now and then");
}

#[test]
fn lines_of_any_length_keep_nobody_else_from_being_found() {
    const MANY: u64 = 20_000;
    let mut world = World::ordered(0, 1);
    world.apply(&look_ahead(640));
    world.publish(MANY);
    // Three keys have nearly all of them.
    let others: Vec<u64> = (999..MANY).step_by(1000).collect();
    let key = |offset: u64| if offset % 1000 == 999 { KeyHash(offset) } else { KeyHash(offset * offset % 7 % 4) };
    let read = |world: &mut World| {
        let Some(unread) = world.group().unread(Offset(MANY), 100) else { return false };
        let keys: Vec<_> = unread.offsets.iter().map(|offset| Some(key(offset.0))).collect();
        world.state.learn(GROUP, &unread, &keys);
        true
    };
    while read(&mut world) {}
    let order = world.group().order.as_ref().unwrap();
    assert_eq!(order.read, Offset(MANY));
    assert!(order.keys.len() <= 740, "{}", order.keys.len());
    let firsts = world.picks(0, 99);
    assert!(others.iter().all(|offset| firsts.contains(offset)), "{firsts:?}");
    others.iter().for_each(|offset| world.ack(*offset));
    // And then it goes through all of them, each in its order, now one and now another.
    let mut lines: BTreeMap<KeyHash, Vec<u64>> = BTreeMap::new();
    for offset in (0..MANY).rev().filter(|offset| !others.contains(offset)) {
        lines.entry(key(offset)).or_default().push(offset);
    }
    let mut rng = fastrand::Rng::with_seed(7);
    while !lines.is_empty() {
        while world.group().wants_rest() {
            assert!(read(&mut world));
        }
        let mut picks = world.picks(0, 99);
        picks.sort_unstable();
        let mut firsts: Vec<u64> = lines.values().map(|line| *line.last().unwrap()).collect();
        firsts.sort_unstable();
        assert_eq!(picks, firsts);
        let next = picks.swap_remove(rng.usize(0..picks.len()));
        // One key gets far behind.
        if key(next) == KeyHash(1) && lines.len() > 1 {
            continue;
        }
        world.ack(next);
        let line = lines.get_mut(&key(next)).unwrap();
        line.pop();
        lines.retain(|_, line| !line.is_empty());
    }
    assert_eq!(world.group().settled().floor(), Offset(MANY));
}

#[test]
fn nothing_is_picked_before_its_key_and_those_before_it_are_known() {
    let mut world = World::ordered(20, 1);
    assert_eq!(world.picks(0, 9), [] as [u64; 0]);
    world.read(4);
    assert!(world.picks(0, 99).into_iter().all(|offset| offset < 4));
    let stale = {
        let group = world.group();
        group.unread(Offset(20), 4).unwrap()
    };
    assert_eq!(stale.from(), Offset(4));
    world.read(4);
    // Somebody else came first, or the group was sought meanwhile: then what was read says nothing.
    world.state.learn(GROUP, &stale, &[Some(KeyHash(9)); 4]);
    world.apply(&seek(GROUP, 4));
    world.state.learn(GROUP, &stale, &[Some(KeyHash(9)); 4]);
    assert_eq!(world.group().read_to(), Some(Offset(4)));
    assert_in_order(&world);
}

#[test]
fn a_run_that_is_late_runs_again_only_from_its_first() {
    let mut world = World::ordered(40, 1);
    while world.read(8) {}
    let picks = world.lease_in_order(0, 40, true);
    let keyed: Vec<u64> = picks.into_iter().filter(|offset| key_of(Offset(*offset)) == Some(KeyHash(1))).collect();
    let epoch = world.group().lease(Offset(keyed[0])).unwrap().epoch;
    assert!(keyed.len() > 2 && !world.group().follows_in_run(Offset(keyed[0]), epoch));
    assert!(world.group().follows_in_run(Offset(keyed[1]), epoch));
    for offset in keyed.iter().rev() {
        world.time_out(*offset, 100);
    }
    assert!(!world.group().extend(Offset(keyed[1]), epoch, Timestamp(99)), "what goes before it is not its own");
    assert!(world.group().extend(Offset(keyed[0]), epoch, Timestamp(99)));
    assert!(world.group().extend(Offset(keyed[1]), epoch, Timestamp(99)));
    assert_in_order(&world);
}
