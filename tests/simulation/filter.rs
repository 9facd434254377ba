//! Filters in the simulation: a topic of its own with messages of three kinds, and a group whose filter changes.

use millpond::{
    Consumer, Delivery, Durability, Error, Filter, Group, ManualClock, Message, Offset, Retry, Store, Topic,
};
use std::collections::BTreeSet;
use std::time::Duration;

type Check = Result<(), String>;

struct Handles {
    store: Store,
    topic: Topic,
    group: Consumer,
}

/// What is known of the topic, and what is in hand.
pub(crate) struct Sorted {
    clock: ManualClock,
    open: Option<Handles>,
    held: Vec<Delivery>,
    /// The kind that is selected; none if a change failed, and it may be one or the other.
    kind: Option<u8>,
    delivered: BTreeSet<Offset>,
}

fn filter(kind: u8) -> Filter {
    Filter::header("kind", vec![kind])
}

impl Sorted {
    pub(crate) fn new(clock: ManualClock) -> Self {
        Self { clock, open: None, held: Vec::new(), kind: None, delivered: BTreeSet::new() }
    }

    pub(crate) fn dead(&mut self) {
        self.open = None;
        self.held.clear();
    }

    /// The store is there again. The filter is the one that was set last, and is not given again.
    pub(crate) fn reopened(&mut self, store: &Store) -> Result<(), Error> {
        let topic = store.topic("sorted")?;
        let settings = Group::default().lease(Duration::from_secs(20));
        let settings = settings.retry(Retry::fixed(Duration::from_secs(1)).attempts(1_000_000));
        // Nothing is parked, so that what was not delivered was filtered.
        let group = topic.consumer("some", settings.max_timeouts(u32::MAX).max_crashes(u32::MAX))?;
        self.open = Some(Handles { store: store.clone(), topic, group });
        Ok(())
    }

    pub(crate) fn step(&mut self, rng: &mut fastrand::Rng) -> Result<bool, String> {
        let Some(open) = &self.open else { return Ok(false) };
        Ok(match rng.u8(0..12) {
            0..=4 => {
                let level = rng.choice([Durability::Memory, Durability::Os, Durability::Disk]).unwrap();
                let message = Message::new("s").header("kind", vec![rng.u8(0..3)]).durability(level);
                open.topic.publish(message).detach();
                true
            }
            5..=7 => self.lease(rng.usize(1..5))?,
            8..=10 => {
                if !self.held.is_empty() {
                    let delivery = self.held.swap_remove(rng.usize(0..self.held.len()));
                    match rng.u8(0..4) {
                        0 => delivery.nack("no").detach(),
                        1 => delivery.release().detach(),
                        _ => delivery.ack().detach(),
                    }
                }
                true
            }
            _ => self.change(rng.u8(0..3)),
        })
    }

    fn change(&mut self, kind: u8) -> bool {
        let Some(open) = &self.open else { return false };
        let changed = open.topic.consumer("some", Group::default().filter(filter(kind))).is_ok();
        self.kind = changed.then_some(kind);
        changed
    }

    fn lease(&mut self, max: usize) -> Result<bool, String> {
        let Some(open) = &self.open else { return Ok(false) };
        let Ok(batch) = open.group.lease_many(max, Duration::ZERO) else { return Ok(false) };
        for delivery in batch {
            let of = delivery.headers().find(|(name, _)| *name == "kind").map(|(_, value)| value.to_vec());
            if self.kind.is_some_and(|kind| of != Some(vec![kind])) {
                return Err(format!(
                    "offset {} of kind {of:?} is handed out, {:?} is selected",
                    delivery.offset(),
                    self.kind
                ));
            }
            self.delivered.insert(delivery.offset());
            self.held.push(delivery);
        }
        Ok(true)
    }

    /// At the end everything was delivered, or filtered and counted.
    pub(crate) fn drain(&mut self) -> Check {
        self.held.clear();
        if !self.change(1) {
            return Err("the filter can't be changed".to_owned());
        }
        for _ in 0..1_000 {
            self.lease(50)?;
            for delivery in self.held.drain(..) {
                delivery.ack().wait().map_err(|error| error.to_string())?;
            }
            let Some(open) = &self.open else { return Ok(()) };
            if open.group.idle() {
                let (stats, end) = (open.group.stats(), open.topic.end_offset().get());
                let unseen = (0..end).filter(|offset| !self.delivered.contains(&Offset::new(*offset))).count() as u64;
                return if unseen > stats.removed.filtered {
                    Err(format!("I4: {unseen} were never delivered, and {} filtered", stats.removed.filtered))
                } else {
                    Ok(())
                };
            }
            open.store.step_upkeep().map_err(|error| error.to_string())?;
            self.clock.advance(Duration::from_secs(31));
        }
        Err("the sorted topic is never empty".to_owned())
    }
}
