//! Order by key in the simulation: the second group of each topic is ordered, and hands out single messages or runs.

use crate::model::{Fact, Firm, Model};
use crate::world::{GROUPS, TOPICS};
use millpond::{BuryReason, Clock, Consumer, Delivery, Error, Group, ManualClock, Offset, Redrive, Run, Ticket};
use millpond::{LeaseId, WhenParked};
use std::collections::BTreeMap;
use std::time::Duration;

/// As the groups are set up: what is held longer may be somebody else's.
pub(crate) const LEASE: Duration = Duration::from_secs(20);

/// Who holds what of the ordered groups.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) when_parked: WhenParked,
    /// Until when each lease runs at least.
    leases: BTreeMap<(usize, Offset), (LeaseId, Duration)>,
}

/// What became of settling a run.
pub(crate) struct Settled {
    pub(crate) ticket: Ticket<()>,
    pub(crate) facts: Vec<Fact>,
}

pub(crate) fn is_ordered(group: usize) -> bool {
    group % GROUPS == 1
}

impl Order {
    pub(crate) fn new(rng: &mut fastrand::Rng) -> Self {
        let when_parked = rng.choice([WhenParked::Skip, WhenParked::Block, WhenParked::ParkKey]).unwrap();
        Self { when_parked, leases: BTreeMap::new() }
    }

    /// What the group of this number within its topic has set, besides what all have.
    pub(crate) fn settings(&self, group: usize, settings: Group) -> Group {
        if is_ordered(group) { settings.ordered(self.when_parked).look_ahead(50) } else { settings }
    }

    /// The store is gone, and with it all leases.
    pub(crate) fn all_over(&mut self) {
        self.leases.clear();
    }

    /// Somebody lets go of a message, in whatever way.
    pub(crate) fn over(&mut self, group: usize, delivery: &Delivery) {
        let key = (group, delivery.offset());
        if self.leases.get(&key).is_some_and(|(lease, _)| *lease == delivery.lease_id()) {
            self.leases.remove(&key);
        }
    }

    /// A message was handed out. What is wrong with its order, if anything.
    pub(crate) fn delivered(
        &mut self,
        model: &Model,
        group: usize,
        consumer: &Consumer,
        delivery: &Delivery,
        clock: &ManualClock,
    ) -> Result<(), String> {
        if !is_ordered(group) {
            return Ok(());
        }
        let (offset, lease, now) = (delivery.offset(), delivery.lease_id(), clock.monotonic());
        let log = &model.topics[group / GROUPS];
        let key = |offset: Offset| log[usize::try_from(offset.get()).unwrap()].key;
        let mine = key(offset);
        let wrong = |what: String| Err(format!("I3: group {group} offset {offset}: {what}"));
        if mine.is_some() {
            let same = |other: &&(usize, Offset)| other.0 == group && other.1 != offset && key(other.1) == mine;
            for other in self.leases.keys().filter(same) {
                let (holder, until) = self.leases[other];
                if holder != lease && now < until {
                    return wrong(format!("offset {} of its key is in other hands", other.1));
                }
            }
            for earlier in (0..offset.get()).map(Offset::new).filter(|earlier| key(*earlier) == mine) {
                let in_run = self.leases.get(&(group, earlier)).is_some_and(|(holder, _)| *holder == lease);
                let settled = model.groups[group].acked.contains_key(&earlier);
                if in_run || settled || log[usize::try_from(earlier.get()).unwrap()].expires {
                    continue;
                }
                let dead = consumer.dead_letter(earlier).map_err(|error| error.to_string())?.is_some();
                if !dead {
                    return wrong(format!("offset {earlier} of its key comes first"));
                }
                if self.when_parked != WhenParked::Skip {
                    return wrong(format!("the dead letter {earlier} holds its key"));
                }
                if delivery.skipped().is_none() {
                    return wrong(format!("it does not say that {earlier} is missing"));
                }
            }
        }
        self.leases.insert((group, offset), (lease, now + LEASE));
        Ok(())
    }
}

/// Ends a run in one of its ways; nothing to wait for if it was dropped.
pub(crate) fn settle_run(rng: &mut fastrand::Rng, model: &mut Model, group: usize, mut run: Run) -> Option<Settled> {
    let offsets: Vec<Offset> = run.deliveries().iter().map(Delivery::offset).collect();
    let at = rng.usize(0..offsets.len());
    let facts = |upto: usize| offsets[..upto].iter().map(|offset| Fact::Ack { group, offset: *offset }).collect();
    let settled = match rng.u8(0..5) {
        0 => {
            for _ in 0..rng.usize(0..=offsets.len()) {
                model.groups[group].touched.insert(run.next_delivery().unwrap().offset());
            }
            return None;
        }
        1 => {
            model.groups[group].touched.insert(offsets[at]);
            Settled { ticket: run.nack_at(offsets[at], "it fails now and then"), facts: facts(at) }
        }
        2 => Settled { ticket: run.ack_through(offsets[at]), facts: facts(at + 1) },
        _ => Settled { ticket: run.ack(), facts: facts(offsets.len()) },
    };
    // It may get as far as the disk, whatever the ticket says.
    for fact in &settled.facts {
        if let Fact::Ack { group, offset } = fact {
            model.groups[*group].acked.entry(*offset).or_insert(Firm::Asked);
        }
    }
    Some(settled)
}

/// At the end what is held by dead letters is let go of: whether there was anything.
pub(crate) fn release(order: &Order, group: usize, consumer: &Consumer) -> Result<bool, Error> {
    if !is_ordered(group) || order.when_parked == WhenParked::Skip {
        return Ok(false);
    }
    Ok(consumer.redrive(Redrive::all())?.changed > 0)
}

/// Parked along with another one of its key: something happened to it all the same.
pub(crate) fn note_parked(model: &mut Model, consumers: &[Consumer]) -> Result<(), String> {
    for (group, consumer) in consumers.iter().enumerate().take(TOPICS * GROUPS) {
        for letter in consumer.dead_letters() {
            let letter = letter.map_err(|error| error.to_string())?;
            if letter.reason() == BuryReason::KeyParked {
                if !is_ordered(group) {
                    return Err(format!("group {group} offset {}: parked by its key", letter.offset()));
                }
                model.groups[group].touched.insert(letter.offset());
            }
        }
    }
    Ok(())
}
