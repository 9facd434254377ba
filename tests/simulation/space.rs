//! Disk space: cleaning by hand now and then, and at a quiet moment what is on the disk is held against I11.

use crate::coverage::checked;
use crate::ids::{Ids, OpenIds};
use crate::model::{Firm, Found, KEEPS, Model};
use crate::world::GROUPS;
use millpond::testing::SimDisk;
use millpond::{Offset, Store};

/// The largest segments that a run has.
const SEGMENT: u64 = 64 << 10;
/// What the journal adds to a message, about, and its entries in an index.
const OVERHEAD: u64 = 48;
/// An id that is remembered: the event that carries it over, and its row beside the segment.
const ID: u64 = 64 + 57;
/// One that was processed; its row is in the tables.
const PROCESSED: u64 = 40;

/// Cleans what there is to clean. False if the store is poisoned.
pub(crate) fn clean(store: &Store) -> bool {
    store.clean_now().is_ok()
}

/// What somebody needs, or what is kept; and ids, if there are any, whatever became of their messages.
fn live_bytes(model: &Model, ids: Option<(&Ids, &OpenIds)>) -> u64 {
    let mut live = 0;
    if let Some((ids, open)) = ids {
        let (once, again, processed) = ids.counts(open);
        // Both topics have their ids and small payloads in the message.
        live += once * (ID + OVERHEAD + 48) + again * (OVERHEAD + 48) + processed * PROCESSED;
        let (gone, unsettled) = ids.gone.counts(&open.gone);
        live += gone * ID + unsettled * (OVERHEAD + 348);
        // Those with a key have an id too, and those of transactions.
        live += model.topics.iter().flatten().filter(|entry| entry.has_id).map(|_| ID).sum::<u64>();
    }
    for (topic, log) in model.topics.iter().enumerate() {
        let groups = &model.groups[topic * GROUPS..][..GROUPS];
        for (index, entry) in log.iter().enumerate() {
            let offset = Offset::new(index as u64);
            let settled =
                |group: &crate::model::GroupModel| group.acked.get(&offset).is_some_and(|firm| *firm > Firm::Asked);
            if KEEPS[topic] || !groups.iter().all(settled) {
                live += entry.payload.len() as u64 + OVERHEAD;
            }
        }
    }
    live
}

/// At a quiet moment: nothing is in flight, all that was asked for is answered.
pub(crate) fn check(disk: &SimDisk, store: &Store, model: &Model, ids: Option<(&Ids, &OpenIds)>) -> Result<(), String> {
    while store.step_upkeep().map_err(|error| format!("the upkeep fails: {error}"))? {}
    let cleaned = store.clean_now().map_err(|error| format!("cleaning fails: {error}"))?;
    if !cleaned.damage.is_empty() {
        return Err(format!("I9: cleaning found damage: {:?}", cleaned.damage));
    }
    while store.step_upkeep().map_err(|error| format!("the upkeep fails: {error}"))? {}
    let bytes: u64 =
        disk.file_names().iter().map(|name| disk.read_file(name).map_or(0, |file| file.len() as u64)).sum();
    let (stats, live) = (store.stats(), live_bytes(model, ids));
    let bound = 2 * live + 8 * SEGMENT + 3 * stats.snapshot_bytes;
    if bytes > bound {
        return Err(format!("I11: {bytes} bytes on disk, {live} of them needed, the bound is {bound}: {stats:?}"));
    }
    // The last of them, and those that the two newest snapshots are in.
    let dead = stats.segments.iter().filter(|segment| segment.live_bytes + segment.id_bytes == 0).count();
    if dead > 4 {
        return Err(format!("I11: {dead} segments are dead and still there: {:?}", stats.segments));
    }
    checked("I11");
    Ok(())
}

/// After all that: what is live is readable, what is gone was settled by everybody.
pub(crate) fn still_there(model: &mut Model, found: &[Found]) -> Result<(), String> {
    found.iter().enumerate().try_for_each(|(topic, found)| model.reopened(topic, found, Firm::Os))
}
