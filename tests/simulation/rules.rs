//! Rules in the simulation: topics that are never consumed and keep what their rules say, rules that change, delayed
//! messages that are cancelled. What is gone is counted by a rule that was set.

use crate::coverage::checked;
use millpond::{Durability, Error, ErrorKind, Message, Offset, Retention, Store, Topic, TopicSettings};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

type Check = Result<(), String>;

const NAMES: [&str; 3] = ["by age", "by bytes", "by count"];

/// What is known of one topic.
#[derive(Default)]
struct Ruled {
    open: Option<Topic>,
    /// What was published where; what a crash took back is overwritten.
    published: BTreeMap<Offset, Vec<u8>>,
    /// Those that wait until they are due, and may be cancelled.
    delayed: BTreeSet<Offset>,
}

#[derive(Default)]
pub(crate) struct Rules {
    topics: [Ruled; 3],
    store: Option<Store>,
    number: u64,
}

fn rules(which: usize, tight: bool) -> TopicSettings {
    let size = if tight { 1 } else { 4 };
    TopicSettings::default().retention(match which {
        0 => Retention::everything().max_age(Duration::from_secs(10 * size)),
        1 => Retention::everything().max_bytes(2_000 * size),
        _ => Retention::everything().max_count(5 * size),
    })
}

impl Rules {
    pub(crate) fn dead(&mut self) {
        self.topics.iter_mut().for_each(|topic| topic.open = None);
        self.store = None;
    }

    pub(crate) fn reopened(&mut self, store: &Store) -> Result<(), Error> {
        for (which, name) in NAMES.into_iter().enumerate() {
            // Settings that are not given again stay as they are.
            let known = store.existing_topic(name);
            let topic = known.or_else(|_| store.topic_with(name, rules(which, false)))?;
            self.topics[which].open = Some(topic);
        }
        self.store = Some(store.clone());
        Ok(())
    }

    /// What is there is what was published, and what is not is counted.
    pub(crate) fn check(&mut self) -> Check {
        while let Some(store) = &self.store {
            match store.step_upkeep() {
                Ok(true) => {}
                Ok(false) => break,
                Err(_) => return Ok(()),
            }
        }
        for (which, topic) in self.topics.iter_mut().enumerate() {
            let Some(open) = &topic.open else { continue };
            let mut there = BTreeMap::new();
            for record in open.read(..) {
                match record {
                    Ok(record) => _ = there.insert(record.offset(), record.payload().to_vec()),
                    // The disk said no.
                    Err(error) if error.kind() == ErrorKind::System => return Ok(()),
                    Err(error) => return Err(format!("I9: reading fails: {error}")),
                }
            }
            // Only now: who begins to read has that written down, and counted, which no rule keeps by now.
            let stats = open.stats();
            let (end, removed) = (stats.end, stats.removed);
            if end == Offset::ZERO && !there.is_empty() {
                // The disk said no here: what is asked for as a number is then zero.
                return Ok(());
            }
            topic.published.retain(|offset, _| *offset < end);
            for (offset, payload) in &there {
                if topic.published.get(offset).is_some_and(|known| known != payload) {
                    return Err(format!("I2: {} offset {offset}: not what was published", NAMES[which]));
                }
            }
            let by_rule = [removed.aged, removed.over_bytes, removed.over_count];
            let others: u64 = by_rule.iter().enumerate().filter(|(rule, _)| *rule != which).map(|(_, n)| n).sum();
            if others > 0 {
                return Err(format!("I4: {}: dropped by a rule that it does not have: {removed:?}", NAMES[which]));
            }
            let (there, gone) = (there.len() as u64, by_rule[which] + removed.cancelled);
            if there + gone != end.get() {
                return Err(format!(
                    "I4: {}: {end} were published, {there} are there, {gone} are counted as gone: {removed:?}",
                    NAMES[which]
                ));
            }
            checked("I4");
        }
        Ok(())
    }

    pub(crate) fn step(&mut self, rng: &mut fastrand::Rng) -> Result<bool, String> {
        let which = rng.usize(0..NAMES.len());
        self.number += 1;
        let (topic, number) = (&mut self.topics[which], self.number);
        let (Some(open), Some(store)) = (&topic.open, &self.store) else { return Ok(false) };
        Ok(match rng.u8(0..16) {
            0 => store.topic_with(NAMES[which], rules(which, rng.bool())).is_ok(),
            1 => {
                let some = topic.delayed.iter().nth(rng.usize(0..4)).copied();
                match some.filter(|offset| *offset < open.end_offset()) {
                    Some(offset) => {
                        topic.delayed.remove(&offset);
                        open.cancel(offset).is_ok()
                    }
                    None => true,
                }
            }
            2 => {
                self.check()?;
                true
            }
            dice => {
                let mut payload = format!("rule {number} ").into_bytes();
                payload.resize(payload.len() + rng.usize(0..300), b'r');
                let level = rng.choice([Durability::Memory, Durability::Os, Durability::Disk]).unwrap();
                let mut message = Message::new(payload.clone()).durability(level);
                if dice < 5 {
                    message = message.delay(Duration::from_millis(rng.u64(1..60_000)));
                }
                match open.publish(message).wait() {
                    Ok(receipt) => {
                        topic.published.insert(receipt.offset, payload);
                        if dice < 5 {
                            topic.delayed.insert(receipt.offset);
                        } else {
                            topic.delayed.remove(&receipt.offset);
                        }
                        true
                    }
                    Err(error) => error.into_message().is_some(),
                }
            }
        })
    }
}
