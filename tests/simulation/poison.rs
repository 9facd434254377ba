//! Poison in the simulation (I8): a topic with messages that kill whoever is given them, every time, and others that
//! are out beside them.

use crate::coverage::checked;
use millpond::{
    BuryReason, Clock, Consumer, Delivery, Durability, Error, Group, ManualClock, Message, Offset, Retry, Store, Topic,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

type Check = Result<(), String>;

/// So many deaths may be laid to a message.
const LIMIT: u32 = 2;
/// How often a message may kill before it is parked: with others beside it, then alone until it is at its limit.
const MOST: u32 = 1 + LIMIT;

const LEASE: Duration = Duration::from_secs(20);

struct Handles {
    topic: Topic,
    group: Consumer,
}

/// What is known of the topic, and what is in hand.
pub(crate) struct Poison {
    clock: ManualClock,
    open: Option<Handles>,
    held: Vec<(Delivery, Duration)>,
    /// What is in hand when the process dies, if it is the process that dies.
    last: Option<BTreeSet<Offset>>,
    /// A process died with one of them in hand at most.
    alone: bool,
    /// What kills, with how often it did.
    deadly: BTreeMap<Offset, u32>,
    /// What was alone in hand, or may have been, when a process died: deaths may be laid to these.
    exposed: BTreeSet<Offset>,
    published: u64,
}

impl Poison {
    pub(crate) fn new(clock: ManualClock) -> Self {
        let (held, deadly, exposed) = (Vec::new(), BTreeMap::new(), BTreeSet::new());
        Self { clock, open: None, held, last: None, alone: false, deadly, exposed, published: 0 }
    }

    /// The store is gone. `by_itself`: the process died, and the machine did not.
    pub(crate) fn dead(&mut self, by_itself: bool) {
        // One whose lease has run out is in nobody's hands.
        let now = self.clock.monotonic();
        let held = self.held.drain(..).filter(|(_, until)| now < *until);
        let held = held.map(|(delivery, _)| delivery.offset()).collect();
        self.open = None;
        self.last = by_itself.then_some(held);
    }

    /// The machine died before it was known what the process had died of.
    pub(crate) fn power_cut(&mut self) {
        // Or after that was written down: then what was alone is charged, and nobody can count on it.
        self.alone |= self.last.take().is_some_and(|last| last.len() <= 1);
    }

    /// The store is there again.
    pub(crate) fn reopened(&mut self, store: &Store) -> Result<(), Error> {
        let topic = store.topic("bait")?;
        let settings = Group::default().max_crashes(LIMIT).max_timeouts(u32::MAX).lease(LEASE);
        let group = topic.consumer("bite", settings.retry(Retry::fixed(Duration::from_secs(1)).attempts(1_000_000)))?;
        self.open = Some(Handles { topic, group });
        Ok(())
    }

    /// After each opening: who was charged with what.
    pub(crate) fn check(&mut self) -> Check {
        let Some(open) = &self.open else { return Ok(()) };
        if let Some(last) = self.last.take() {
            last.iter().for_each(|offset| {
                self.deadly.entry(*offset).and_modify(|deaths| *deaths += 1);
            });
            // With nothing else in hand it is charged, and so may be what was named and not handed out yet.
            self.alone |= last.len() <= 1;
        }
        if std::mem::take(&mut self.alone) {
            let end = open.topic.end_offset().get();
            self.exposed.extend((0..end).map(Offset::new).filter(|offset| !self.deadly.contains_key(offset)));
        }
        // What was lost with a power cut is published anew, as another message.
        let end = open.topic.end_offset();
        self.deadly.retain(|offset, _| *offset < end);
        let mut parked = BTreeSet::new();
        for letter in open.group.dead_letters() {
            let letter = letter.map_err(|error| error.to_string())?;
            parked.insert(letter.offset());
            if letter.reason() != BuryReason::Crashes {
                return Err(format!("I8: offset {} is parked for {:?}", letter.offset(), letter.reason()));
            }
            if !self.deadly.contains_key(&letter.offset()) && !self.exposed.contains(&letter.offset()) {
                return Err(format!("I8: offset {} was never alone, and is parked", letter.offset()));
            }
        }
        for (offset, deaths) in &self.deadly {
            if *deaths > MOST && !parked.contains(offset) {
                return Err(format!("I8: offset {offset} has killed {deaths} times, and is not parked"));
            }
        }
        checked("I8");
        Ok(())
    }

    /// One step. `Some(false)`: the store is poisoned; nothing: the process dies of what it was given.
    pub(crate) fn step(&mut self, rng: &mut fastrand::Rng) -> Result<Option<bool>, String> {
        let Some(open) = &self.open else { return Ok(Some(false)) };
        match rng.u8(0..8) {
            0..=2 => {
                let deadly = rng.u8(0..6) == 0;
                self.published += 1;
                let payload = format!("{} {}", if deadly { "deadly" } else { "harmless" }, self.published);
                match open.topic.publish(Message::new(payload).durability(Durability::Os)).wait() {
                    Ok(receipt) if deadly => _ = self.deadly.insert(receipt.offset, 0),
                    Ok(receipt) => _ = self.deadly.remove(&receipt.offset),
                    Err(_) => return Ok(Some(false)),
                }
            }
            3..=5 => {
                let Ok(batch) = open.group.lease_many(rng.usize(1..5), Duration::ZERO) else { return Ok(Some(false)) };
                let until = self.clock.monotonic() + LEASE;
                self.held.extend(batch.map(|delivery| (delivery, until)));
                for (delivery, _) in &self.held {
                    // One whose publish ended in doubt came through.
                    if delivery.payload().starts_with(b"deadly") {
                        self.deadly.entry(delivery.offset()).or_insert(0);
                    }
                    let harmless = !self.deadly.contains_key(&delivery.offset());
                    let exposed = self.exposed.contains(&delivery.offset());
                    if delivery.counters().crashes > 0 && harmless && !exposed {
                        return Err(format!("I8: offset {} is charged with a death beside it", delivery.offset()));
                    }
                }
                if self.held.iter().any(|(delivery, _)| delivery.payload().starts_with(b"deadly")) {
                    return Ok(None);
                }
            }
            _ => {
                if !self.held.is_empty() {
                    let (delivery, _) = self.held.swap_remove(rng.usize(0..self.held.len()));
                    if rng.u8(0..4) == 0 { delivery.release().detach() } else { delivery.ack().detach() }
                }
            }
        }
        Ok(Some(true))
    }

    /// At the end: give back what is in hand.
    pub(crate) fn rest(&mut self) {
        self.held.drain(..).for_each(|(delivery, _)| delivery.release().detach());
    }
}
