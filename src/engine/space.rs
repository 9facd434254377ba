//! Giving back the space of segments in which nothing matters any more.
//!
//! What keeps a segment: a message in it that some group needs, or that retention keeps, and that was not moved on; an
//! id that is in its window and was not carried over (see `ids`); and until two complete snapshots began behind it
//! everything else, since an opening starts from one of those. What is settled never matters again, so what was found
//! dead stays so.
//!
//! In this order: an event says that the segment is retired, behind everything that made it dead; that is durable;
//! nobody reads the segment; its name goes, or becomes that of a spare file; the directory is synced; and only then
//! the file may be written again. A crash in between leaves a file that the next opening knows to be done with.

use super::clean::CLEANED;
use super::{Core, Engine};
use crate::config::Durability;
use crate::error::{Error, Result};
use crate::event::{Event, SegmentRetired};
use crate::journal::{
    DIRECTORY, Gone, Leaving, Listing, Refusal, Walked, segment_name, sidecar_name, unfinished_sidecar_name,
};
use crate::seen::Seen;
use crate::state::Live;
use crate::types::{Lsn, SegmentId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// For so long after a settlement nobody looks for segments that it may have freed, unless there is another reason to.
const LOOK_DELAY: Duration = Duration::from_secs(10);

/// Bytes of an event that a message takes besides its content when it is moved, about.
const MOVE_OVERHEAD: u64 = 12;

/// On a full disk it is looked again after so many parts of a segment have been written.
const LOOKS_PER_SEGMENT: u64 = 16;

/// What is known of segments that may go.
#[derive(Debug, Default)]
pub(super) struct Space {
    due: bool,
    /// Bytes that had been appended when it was looked last.
    looked: u64,
    next_look: Option<Timestamp>,
    has_sealed: bool,
    /// A segment was sealed since the last look.
    rolled: bool,
    /// Retired, with the end of the event that says so.
    leaving: Vec<(Leaving, Lsn)>,
    /// Sidecars of segments that are gone.
    orphans: Vec<SegmentId>,
    /// Bytes of dead segments that two more snapshots would free.
    uncovered: u64,
    /// Mostly dead when the journal last went on to another segment.
    sparse: BTreeSet<SegmentId>,
    /// To be cleaned.
    pub(super) unclean: BTreeSet<SegmentId>,
    /// Until so few are left of it nobody pauses.
    hurried: Option<usize>,
    /// What of it comes before another segment is prepared.
    pub(super) brake: Option<super::clean::Brake>,
    /// What can't be read of them: they stay.
    pub(super) damaged: BTreeSet<SegmentId>,
    wants_snapshot: bool,
    /// Somebody wants a segment that there is, but not beyond the reserve.
    asked: bool,
    /// Bytes there were to settle with when the disk ran full.
    left_when_full: u64,
    /// Segments that went, and their bytes.
    pub(super) freed: (u64, u64),
}

impl Space {
    /// What an opening found: retired segments that are still there, indexes of segments that are not.
    pub(super) fn found(walked: &[Walked], listing: &Listing, gone: &Gone, active: SegmentId) -> Self {
        let first = walked.first().map_or(active, |walked| walked.segment.id);
        let leftover = listing
            .segments
            .values()
            .filter(|segment| gone.retired.contains(&segment.id) || (segment.id < first && gone.has(segment.id)));
        let leaving: Vec<_> = leftover.map(|segment| (Leaving::unread(segment.clone()), Lsn::ZERO)).collect();
        let there = |id: &SegmentId| listing.segments.contains_key(id) || listing.bad.contains_key(id);
        let orphans = listing.sidecars.iter().filter(|id| !there(id)).copied().collect();
        let has_sealed = !walked.is_empty();
        Self { due: true, has_sealed, rolled: true, leaving, orphans, ..Self::default() }
    }

    pub(super) const fn has_sealed(&self) -> bool {
        self.has_sealed
    }

    pub(super) const fn wants_snapshot(&self) -> bool {
        self.wants_snapshot
    }

    pub(super) const fn next_look(&self) -> Option<Timestamp> {
        self.next_look
    }

    /// Something may have become dead.
    pub(super) fn look_soon(&mut self) {
        self.due = true;
    }

    /// Whether cleaning does not keep up with those who publish.
    pub(super) fn is_hurried(&self) -> bool {
        self.hurried.is_some_and(|enough| self.unclean.len() > enough)
    }

    pub(super) fn snapshot_taken(&mut self) {
        (self.wants_snapshot, self.due) = (false, true);
    }

    pub(super) fn want_snapshot(&mut self) {
        self.wants_snapshot = true;
    }

    pub(super) const fn uncovered(&self) -> u64 {
        self.uncovered
    }

    /// Somebody would go on to a segment that is prepared, if the reserve were left whole by that.
    pub(super) fn ask_beyond(&mut self) {
        self.asked = true;
    }

    /// Whether somebody does, and there is not enough for that yet.
    pub(super) fn asked_beyond(&mut self, enough: bool) -> bool {
        self.asked &= !enough;
        self.asked
    }

    /// The journal went on to another segment.
    pub(super) fn sealed(&mut self, any: bool) {
        self.has_sealed |= any;
        self.rolled |= any;
        self.due |= any;
    }
}

impl Core {
    /// On a full disk with half of the reserve used nothing more is handed out, so that what is out can be settled. A
    /// store that is too small to have its reserve goes by what was sure to be left when the disk ran full.
    pub(super) fn is_tight(&self) -> bool {
        let least = self.tail.stock().reserve().min(self.space.left_when_full) / 2;
        self.full.is_some() && self.left() < least
    }

    /// Bytes there are to settle with.
    fn left(&self) -> u64 {
        self.tail.stock().bytes().saturating_add(self.tail.rest())
    }

    /// No segment could be made.
    pub(super) fn ran_full(&mut self, source: Arc<io::Error>) {
        if self.full.is_none() {
            tracing::warn!(error = %source, "no segment can be prepared; publishes are refused until there is room");
            // What publishes leave of the active segment; what lies before that they may still take.
            let kept = self.tail.rest().min(self.tail.kept_rest());
            self.space.left_when_full = self.tail.stock().bytes().saturating_add(kept);
            Seen::RanFull.note();
        }
        self.full = Some(source);
        self.space.due = true;
    }
}

impl Engine {
    /// Messages were settled: some time later it is looked whether that freed a segment.
    pub(super) fn look_later(&self, core: &mut Core) {
        if core.space.has_sealed && core.space.next_look.is_none() {
            let at = self.after(LOOK_DELAY);
            core.space.next_look = Some(at);
            self.upkeep_by(core, at);
        }
    }

    /// Finds out what is dead, and removes a part of it. Whether there is more.
    pub(super) fn reclaim_piece(&self) -> Result<bool> {
        let more = {
            let mut core = self.open_core()?;
            if self.look_is_due(&core) && self.find_dead(&mut core, false).is_err() {
                // Without room for the event it is done when there is.
                core.space.due = true;
            }
            core.space.wants_snapshot
        };
        let removed = self.remove_retired()?;
        Ok(self.clean_piece()? | removed | more)
    }

    /// Says when the disk is nearly full, while there is time to do something about it.
    pub(super) fn watch_free_space(&self) {
        let least = self.options.warn_free_bytes;
        match self.environment.storage.free_space() {
            Ok(free) if free < least => {
                tracing::warn!(free, least, "little space is left on the disk of the store");
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "how much space is left on the disk can't be told"),
        }
    }

    fn look_is_due(&self, core: &Core) -> bool {
        let space = &core.space;
        let written = core.tail.appended().saturating_sub(space.looked);
        let pressed = core.full.is_some() && written >= u64::from(core.tail.active().capacity) / LOOKS_PER_SEGMENT;
        space.due || pressed || space.next_look.is_some_and(|at| at <= self.now())
    }

    /// What is needed of each segment, as it stands there: packed, perhaps.
    fn as_written(&self, mut live: BTreeMap<SegmentId, Live>) -> BTreeMap<SegmentId, Live> {
        for (id, held) in &mut live {
            if let Some(seal) = self.files.known(*id).and_then(|known| known.seal) {
                *held = held.within(u64::from(seal.length));
            }
        }
        live
    }

    /// Retires what is dead, and says what is to be cleaned: what was mostly dead a segment ago and still is, or, with
    /// `all`, whatever is.
    pub(super) fn find_dead(&self, core: &mut Core, all: bool) -> Result<(), Refusal> {
        let (live, ids) = (self.as_written(core.state.live()), self.kept_ids(core));
        let older = core.tail.snapshots().older.segment();
        let (active, key) = (core.tail.active().id, core.tail.active().key_id());
        core.space.looked = core.tail.appended();
        (core.space.due, core.space.next_look) = (false, None);
        let (rolled, left) = (std::mem::take(&mut core.space.rolled), core.space.unclean.len());
        let (mut sparse, mut foreign, mut uncovered) = (BTreeMap::new(), Vec::new(), 0u64);
        for known in self.files.all().into_iter().filter(|known| known.seal.is_some()) {
            // Whoever asks for it after a key was changed wants the old one to be needed no more, whatever that moves.
            let other_key = all && known.segment.key_id() != key && self.options.clean_below > 0;
            if other_key && known.segment.id < older && !core.space.damaged.contains(&known.segment.id) {
                foreign.push(known.segment.id);
            }
            let (id, capacity) = (known.segment.id, u64::from(known.segment.capacity));
            let held = live.get(&id).copied().unwrap_or_default();
            let kept = ids.get(&id).copied().unwrap_or(0);
            let (dead, cost) = (held.messages == 0 && kept == 0, cost_of(held).saturating_add(kept));
            if dead && id < older {
                self.retire(core, id)?;
            } else if dead && id < active {
                uncovered = uncovered.saturating_add(capacity);
            } else if id < older && !core.space.damaged.contains(&id) && self.is_sparse(cost, capacity) {
                sparse.insert(id, (capacity, cost));
            } else if all && id < active && (other_key || self.is_sparse(cost, capacity)) {
                uncovered = uncovered.saturating_add(capacity);
            }
        }
        core.space.uncovered = uncovered;
        // What a consumer goes through is mostly dead for a while, and then dead: no need to carry that about.
        let lasting = |id: &SegmentId| all || core.space.sparse.contains(id);
        let unclean: BTreeMap<SegmentId, (u64, u64)> =
            sparse.iter().filter(|(id, _)| lasting(id)).map(|(id, sizes)| (*id, *sizes)).collect();
        if rolled || all || core.full.is_some() {
            // Half of a segment moved on to make half of one free would be moved for ever.
            let unit = u64::from(self.measure(core));
            let (held, cost) = unclean
                .values()
                .fold((0u64, 0u64), |sum, (held, cost)| (sum.0.saturating_add(*held), sum.1.saturating_add(*cost)));
            if held.saturating_sub(cost) >= unit.min(held) / 4 * 3 {
                core.space.unclean.extend(unclean.into_keys());
            }
            core.space.unclean.extend(foreign);
            core.space.sparse = sparse.into_keys().collect();
        }
        if rolled {
            // Some wait still, and here is the next: as long as that goes on, as many are cleaned at once. At their
            // leisure are those that have become mostly dead for another reason, however many.
            core.space.hurried = (left > 0).then(|| core.space.unclean.len().saturating_sub(CLEANED));
        }
        // Two snapshots cost twice their size; they are worth it if more than that becomes free.
        let worth = uncovered > 0 && uncovered >= core.snapshot.size.saturating_mul(2);
        let pressed = core.full.is_some() || self.is_overdue(core, uncovered);
        core.space.wants_snapshot = pressed && worth && core.snapshot_fits();
        Ok(())
    }

    fn is_sparse(&self, cost: u64, capacity: u64) -> bool {
        cost.saturating_mul(100) < capacity.saturating_mul(u64::from(self.options.clean_below))
    }

    /// Says that a segment is dead. Everything that made it so lies before that in the journal.
    fn retire(&self, core: &mut Core, id: SegmentId) -> Result<(), Refusal> {
        let span = core.record(&Event::SegmentRetired(SegmentRetired { segment: id }))?;
        Seen::SegmentRetired.note();
        core.tail.forget(id);
        self.drop_ids_of(core, id);
        core.space.unclean.remove(&id);
        if let Some(leaving) = self.files.retire(id) {
            core.space.leaving.push((leaving, span.end));
        }
        Ok(())
    }

    /// Removes the files of segments that were retired. Whether there is more to do at once.
    pub(super) fn remove_retired(&self) -> Result<bool> {
        // One at a time, to its end: whoever finds nothing left to remove may say that it is gone.
        let _alone = self.removing.lock();
        let (leaving, orphans) = {
            let mut core = self.core.lock();
            (std::mem::take(&mut core.space.leaving), std::mem::take(&mut core.space.orphans))
        };
        if leaving.is_empty() && orphans.is_empty() {
            return Ok(false);
        }
        let said = leaving.iter().map(|(_, end)| *end).max().unwrap_or_default();
        let durable = if said == Lsn::ZERO { Ok(true) } else { self.drive(said, Durability::Disk, None) };
        let (free, pinned): (Vec<_>, Vec<_>) = leaving.into_iter().partition(|(leaving, _)| !leaving.is_pinned());
        let mut core = self.core.lock();
        let again = !pinned.is_empty();
        core.space.leaving.extend(pinned);
        if let Err(error) = durable {
            core.space.leaving.extend(free);
            return Err(error);
        }
        drop(core);
        for id in orphans {
            self.remove_sidecar(id);
        }
        if let Err((kept, error)) = self.remove_files(free) {
            // A file that is still there is no harm; it is tried again.
            tracing::warn!(%error, "a segment that is done with can't be removed");
            self.core.lock().space.leaving.extend(kept);
            return Ok(false);
        }
        Ok(again)
    }

    /// Files that can be used again are set aside, up to what is to be kept; the others go.
    fn remove_files(&self, leaving: Vec<(Leaving, Lsn)>) -> Result<(), (Vec<(Leaving, Lsn)>, Error)> {
        let mut preparer = self.preparing.lock();
        let storage = &*self.environment.storage;
        let (mut aside, mut removed) = (Vec::new(), Vec::new());
        let mut room = self.spare_room(&mut self.core.lock());
        let mut sizes = BTreeMap::new();
        for (leaving, _) in &leaving {
            let (id, bytes) = (leaving.segment.id, u64::from(leaving.segment.capacity));
            sizes.insert(id, bytes);
            if bytes <= room {
                room -= bytes;
                aside.push((id, bytes));
            } else {
                removed.push(id);
            }
        }
        let outcome = (|| {
            for id in &removed {
                match storage.remove(&segment_name(*id)) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    other => other?,
                }
                self.remove_sidecar(*id);
            }
            if !removed.is_empty() {
                storage.sync_dir(DIRECTORY)?;
            }
            aside.iter().for_each(|(id, _)| self.remove_sidecar(*id));
            preparer.numbers.set_aside(storage, &aside)
        })();
        if outcome.is_ok() {
            Seen::FileRemoved.note_if(!removed.is_empty());
            Seen::FileSetAside.note_if(!aside.is_empty());
            sizes.keys().for_each(|id| self.remove_runs_of(*id));
        }
        let mut core = self.core.lock();
        core.tail.stock_mut().set_banked(preparer.banked());
        if let Err(source) = outcome {
            return Err((leaving, Error::io("removing a segment", source)));
        }
        let (count, bytes) = &mut core.space.freed;
        *count += sizes.len() as u64;
        *bytes += sizes.values().sum::<u64>();
        tracing::debug!(removed = removed.len(), set_aside = aside.len(), "segments that are done with are gone");
        self.gained(core);
        Ok(())
    }

    /// How many bytes of files are worth keeping: the reserve, and some to go on to. Where a large segment was made for
    /// a frame that fits in no other, that and the reserve: else what is made for it beyond the reserve would be thrown
    /// away again before it is used, each time somebody asks for it.
    pub(super) fn kept(&self, core: &Core) -> u64 {
        let (unit, stock) = (u64::from(self.unit(core)), core.tail.stock());
        let next = unit.saturating_mul(u64::from(self.options.spare_segments.max(1)));
        stock.reserve().saturating_add(next.max(u64::from(stock.largest())))
    }

    /// How many more that are.
    pub(super) fn spare_room(&self, core: &mut Core) -> u64 {
        self.measure(core);
        self.kept(core).saturating_sub(core.tail.stock().bytes())
    }

    fn remove_sidecar(&self, id: SegmentId) {
        let storage = &*self.environment.storage;
        for name in [sidecar_name(id), unfinished_sidecar_name(id)] {
            // One that stays says nothing of any other segment, and goes with the next opening.
            _ = storage.remove(&name);
        }
    }
}

/// Bytes that what is needed would take elsewhere.
fn cost_of(held: Live) -> u64 {
    held.bytes.saturating_add(held.messages.saturating_mul(MOVE_OVERHEAD))
}
