//! What can be seen has reached the level that it asked for, and so has all that comes before it (I12): on copies of
//! the disk that lose what they may lose.

use crate::coverage::checked;
use crate::model::Model;
use millpond::testing::SimDisk;
use millpond::{Durability, ManualClock, Offset, Options, Store, Topic};

/// How many messages from the end are looked at.
const LOOK: u64 = 20;

/// Looks at the newest messages that can be seen now, and then at what copies of the disk have of them.
pub(crate) fn check(
    rng: &mut fastrand::Rng,
    (disk, clock): (&SimDisk, &ManualClock),
    model: &Model,
    topics: &[Topic],
) -> Result<(), String> {
    let mut last = Vec::new();
    for (topic, open) in topics.iter().enumerate() {
        let from = open.end_offset().get().saturating_sub(LOOK);
        let Some(Ok(record)) = open.read(Offset::new(from)..).last() else { continue };
        let upto = usize::try_from(record.offset().get()).unwrap();
        let of = |wanted: fn(Durability) -> bool| {
            model.topics[topic].iter().take(upto + 1).rposition(|entry| wanted(entry.level))
        };
        let (disk, os) = (of(|level| level == Durability::Disk), of(|level| level != Durability::Memory));
        last.push((topic, disk, os));
    }
    for power in [false, true] {
        let copy = disk.fork(rng.u64(..));
        copy.set_faults(millpond::testing::Faults::default());
        if power {
            copy.crash();
        }
        let options = Options::default().segment_bytes(16 << 10).first_segment_bytes(16 << 10);
        let options = options.encryption(crate::keys::ring(None));
        let opened = Store::open_simulated(&copy, clock.clone(), rng.u64(..), options);
        let store = opened.map_err(|error| format!("I12: a copy of the disk does not open: {error}"))?;
        for (topic, disk, os) in &last {
            let Some(least) = (if power { disk } else { os }) else { continue };
            let end = store.existing_topic(&format!("topic {topic}")).map_or(0, |topic| topic.end_offset().get());
            if end <= *least as u64 {
                return Err(format!(
                    "I12: topic {topic} offset {least} is seen, and is not safe, power {power}: {end}"
                ));
            }
            checked("I12");
        }
    }
    Ok(())
}
