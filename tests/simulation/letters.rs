//! Dead letters in the simulation: redriven, purged, and copied to another topic by the first group of each topic.

use crate::model::{Fact, Firm, Model};
use millpond::{Consumer, DeadLetter, Error, Group, Offset, Purge, Redrive, Store};
use std::collections::BTreeSet;

/// Where the copies go.
const COPIES: &str = "copies";

/// What the group of this number has set, besides what all have.
pub(crate) fn settings(group: usize, settings: Group) -> Group {
    if group == 0 { settings.forward_dead_letters(COPIES) } else { settings }
}

fn offsets(consumer: &Consumer) -> Result<BTreeSet<Offset>, Error> {
    consumer.dead_letters().map(|letter| letter.map(|letter| letter.offset())).collect()
}

/// Ends some dead letters of a group, one way or the other. Whether the store is still good.
pub(crate) fn sweep(rng: &mut fastrand::Rng, model: &mut Model, group: usize, consumer: &Consumer) -> bool {
    let Ok(dead) = offsets(consumer) else { return false };
    let third = rng.u64(0..3);
    let some: Vec<Offset> = dead.iter().copied().filter(|offset| offset.get() % 3 == third).collect();
    let predicate = move |letter: &DeadLetter| letter.offset().get() % 3 == third;
    let redrive = match rng.u8(0..6) {
        0 => return purge(model, group, consumer, &some, Purge::offsets(some.clone())),
        1 => return purge(model, group, consumer, &some, Purge::matching(predicate)),
        2 => Redrive::all().dry_run(),
        3 => Redrive::offsets(some),
        4 => Redrive::matching(predicate),
        _ => Redrive::all(),
    };
    consumer.redrive(redrive).is_ok()
}

fn purge(model: &mut Model, group: usize, consumer: &Consumer, some: &[Offset], which: Purge<'_>) -> bool {
    let mark = model.mark();
    match consumer.purge(which) {
        Ok(swept) => {
            assert_eq!(swept.changed, some.len() as u64);
            // Nothing was synced if there was nothing to say.
            if swept.changed > 0 {
                model.reached(mark, Firm::Disk);
            }
            some.iter().for_each(|offset| model.resolve(Fact::Ack { group, offset: *offset }, Firm::Disk));
            true
        }
        Err(_) => {
            for offset in some {
                model.groups[group].acked.entry(*offset).or_insert(Firm::Asked);
            }
            false
        }
    }
}

/// Each dead letter of a group that forwards has a copy, and no copy is there twice.
pub(crate) fn check(store: &Store, consumers: &[Consumer], groups: usize) -> Result<(), String> {
    let failed = |error: Error| format!("I9: reading fails: {error}");
    let mut copies = BTreeSet::new();
    for record in store.existing_topic(COPIES).map_err(failed)?.read(..) {
        let record = record.map_err(failed)?;
        let origin = |name: &str| -> String {
            let name = format!("millpond-origin-{name}");
            let value = record.headers().find(|(header, _)| *header == name).map(|(_, value)| value.to_vec());
            String::from_utf8(value.unwrap_or_default()).unwrap()
        };
        let copy = (origin("topic"), origin("offset"), origin("life"));
        let what = format!("I7: two copies of {copy:?}");
        if !copies.insert(copy) {
            return Err(what);
        }
    }
    for consumer in consumers.iter().step_by(groups) {
        for letter in consumer.dead_letters() {
            let letter = letter.map_err(failed)?;
            let at = (consumer.topic_name().to_owned(), letter.offset().to_string(), letter.life().to_string());
            if !copies.contains(&at) {
                return Err(format!("I7: {at:?} is a dead letter, and there is no copy of it"));
            }
        }
    }
    Ok(())
}
