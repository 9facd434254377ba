//! Segments to write to, before they are needed, and the space that is kept for those who settle.
//!
//! What is accepted fits in what is prepared. So a disk that runs full strikes nobody but the preparer: publishes are
//! refused then, and the reserve, files that were made while there was space, serves settling, snapshots and cleaning.
//! A new store has none of it; it comes to be when a quarter of the first segment is used, and then no publish goes on
//! to another segment before it is whole.

use super::{Core, Engine};
use crate::config::Options;
use crate::error::{Error, Result};
use crate::journal::{Numbers, Preparation, Prepared, Purpose};
use crate::sync::MutexGuard;
use crate::types::SegmentId;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

/// `Disk` commits within this time make it worth writing a segment's blocks in advance.
const DISK_SEEN: Duration = Duration::from_secs(60);

/// As long as one commits fewer bytes than these. A sync into new blocks costs the file system a note of its own, about
/// as long as writing so much; whoever syncs more at a time does better not to have it written twice.
const PREWRITTEN_SHARE: u64 = 64 << 10;

/// From so many bytes on a segment is large: what is left of it while its successor is written in advance suffices.
const LARGE: u32 = 8 << 20;

/// A new segment has at most so many times the bytes of all there are: a small store has small ones.
const SEGMENT_GROWTH: u64 = 2;

/// What whoever prepares a segment holds, one at a time.
#[derive(Debug)]
pub(super) struct Preparer {
    pub(super) numbers: Numbers,
    preparation: Option<Preparation>,
}

impl Preparer {
    pub(super) fn new(numbers: Numbers) -> Self {
        Self { numbers, preparation: None }
    }

    /// Bytes that are set aside, what is being made of them included.
    pub(super) fn banked(&self) -> u64 {
        let taken = self.preparation.as_ref().map_or(0, Preparation::recycled_bytes);
        self.numbers.banked().saturating_add(taken)
    }
}

/// What came of a piece of preparation.
enum Step {
    /// There is more to do.
    More,
    /// Nothing lacks.
    Done,
    /// Nothing more can be set aside. What is can still be made a segment of.
    NoBank(Error),
}

/// What the next piece of preparation needs to know.
struct Plan {
    passed_over: Vec<(SegmentId, u64)>,
    purpose: Purpose,
    capacity: u32,
    zero: bool,
    late: bool,
}

impl Engine {
    /// Asks for a successor once a quarter of the active segment is used, or a sixteenth of a large one.
    pub(super) fn want_successor(&self, core: &mut Core) {
        if self.needs_successor(core) && core.full.is_none() {
            self.call_upkeep(core);
        }
    }

    fn needs_successor(&self, core: &Core) -> bool {
        core.wanted_bytes > 0 || (core.tail.stock().spares() == 0 && used(core, 1, if is_large(core) { 16 } else { 4 }))
    }

    /// Whether the next piece of preparation begins a segment.
    pub(super) fn begins_segment(&self) -> bool {
        self.preparing.lock().preparation.is_none() && self.needs_successor(&self.core.lock())
    }

    /// What lacks, if anything. The reserve is measured anew first.
    fn lacks(&self, core: &mut Core) -> Option<Purpose> {
        let unit = self.measure(core);
        if self.needs_successor(core) {
            return Some(Purpose::Segment { least: core.wanted_bytes.max(Options::SEGMENT_MIN) });
        }
        let stock = core.tail.stock();
        let (there, reserve) = (stock.bytes(), stock.reserve());
        let enough = there >= reserve.saturating_add(u64::from(unit.max(stock.largest())));
        let asked = core.space.asked_beyond(enough);
        let lacks = if there < reserve {
            asked || core.space.has_sealed() || used(core, 1, 4)
        } else if asked {
            true
        } else {
            // What becomes free by then is used first.
            there < reserve.saturating_add(u64::from(unit)) && used(core, 1, 2)
        };
        lacks.then_some(Purpose::Bank)
    }

    /// How large the next segment is to be.
    pub(super) fn unit(&self, core: &Core) -> u32 {
        let most = self.options.segment_bytes;
        let least = self.options.first_segment_bytes.min(most);
        let held = self.files.capacity(core.tail.active().id).saturating_mul(SEGMENT_GROWTH);
        u32::try_from(held).unwrap_or(u32::MAX).clamp(least, most)
    }

    /// The same; and says how much is kept in reserve: two of those, or two snapshots and one.
    pub(super) fn measure(&self, core: &mut Core) -> u32 {
        let unit = self.unit(core);
        let snapshots = core.snapshot.size.saturating_mul(2).saturating_add(u64::from(unit));
        core.tail.stock_mut().set_reserve(snapshots.max(2 * u64::from(unit)));
        unit
    }

    /// Wakes the upkeep.
    pub(super) fn call_upkeep(&self, core: &mut Core) {
        if !core.upkeep_due {
            core.upkeep_due = true;
            self.upkeep_work.notify_one();
        }
    }

    /// Does a piece of the preparation that is due, if any. Whether there is more.
    pub(super) fn prepare_piece(&self, hurry: bool) -> Result<bool> {
        match self.prepare(hurry)? {
            Step::More => Ok(true),
            Step::Done => Ok(false),
            Step::NoBank(error) => Err(error),
        }
    }

    fn prepare(&self, hurry: bool) -> Result<Step> {
        let mut preparer = self.preparing.lock();
        let Some(plan) = self.plan(&preparer, hurry)? else {
            self.discard_surplus(&mut preparer);
            return Ok(Step::Done);
        };
        // From here on without the engine's lock: it takes milliseconds to make a large file.
        self.put_aside(&mut preparer, &plan.passed_over)?;
        let begun = match preparer.preparation.take() {
            Some(preparation) => Ok(preparation),
            None => {
                let terms = (plan.purpose, plan.capacity, self.now(), plan.zero);
                let (storage, entropy) = (&self.environment.storage, &*self.environment.entropy);
                let of = (self.identity.store, &self.environment.keys);
                Preparation::begin(storage, &mut preparer.numbers, of, entropy, terms)
            }
        };
        let mut begun = match begun {
            Ok(begun) => begun,
            Err(source) => {
                let mut core = self.core.lock();
                core.tail.stock_mut().set_banked(preparer.banked());
                return self.preparation_failed(core, plan.purpose, source);
            }
        };
        if plan.late || !plan.zero {
            begun.hurry();
        }
        let outcome = begun.step(&mut preparer.numbers);
        match outcome {
            Ok(None) => {
                preparer.preparation = Some(begun);
                Ok(Step::More)
            }
            Ok(Some(prepared)) => {
                let mut core = self.core.lock();
                if let Prepared::Segment(segment) = prepared {
                    self.files.add(crate::journal::Known { segment: segment.segment.clone(), seal: None, index: None });
                    core.tail.stock_mut().add(segment);
                    core.wanted_bytes = 0;
                    core.refused_part();
                }
                core.tail.stock_mut().set_banked(preparer.banked());
                self.gained(core);
                Ok(Step::More)
            }
            Err(source) => {
                let purpose = begun.purpose();
                begun.abandon(&mut preparer.numbers);
                let mut core = self.core.lock();
                core.tail.stock_mut().set_banked(preparer.banked());
                self.preparation_failed(core, purpose, source)
            }
        }
    }

    /// Removes a file that is set aside if there are more than are kept: the store was larger once.
    fn discard_surplus(&self, preparer: &mut Preparer) {
        let least = {
            let mut core = self.core.lock();
            let (room, stock) = (self.spare_room(&mut core), core.tail.stock());
            if room > 0 || core.full.is_some() {
                return;
            }
            let others = stock.bytes().saturating_sub(preparer.numbers.banked());
            self.kept(&core).saturating_sub(others)
        };
        match preparer.numbers.discard(&*self.environment.storage, least) {
            Ok(false) => {}
            Ok(true) => self.core.lock().tail.stock_mut().set_banked(preparer.banked()),
            Err(error) => tracing::warn!(%error, "a file that is not needed can't be removed"),
        }
    }

    /// What is to be done; nothing if nothing lacks.
    fn plan(&self, preparer: &Preparer, hurry: bool) -> Result<Option<Plan>> {
        let mut core = self.core.lock();
        core.check()?;
        let lacks = self.lacks(&mut core);
        // Whatever else the upkeep does then keeps its pace.
        core.preparing_behind = false;
        if preparer.preparation.is_none() && lacks.is_none() {
            if core.full.is_some() {
                // What failed is not asked for any more.
                core.full = None;
                self.gained(core);
            }
            return Ok(None);
        }
        let purpose = lacks.unwrap_or(Purpose::Bank);
        let monotonic = self.environment.clock.monotonic();
        let synced = core.last_disk.is_some_and(|last| monotonic.saturating_sub(last) < DISK_SEEN);
        let zero = synced && core.disk_share < PREWRITTEN_SHARE;
        // The rest of the segment is left to those who publish while the rest is done.
        let waited = hurry || core.wanted_bytes > 0 || !core.line.is_empty();
        let late =
            waited || (purpose != Purpose::Bank && if is_large(&core) { used(&core, 3, 4) } else { used(&core, 1, 2) });
        core.preparing_behind = zero && preparer.preparation.as_ref().is_some_and(|begun| is_behind(&core, begun));
        let capacity = self.measure(&mut core).max(core.wanted_bytes);
        let passed_over = core.tail.stock().passed_over();
        Ok(Some(Plan { passed_over, purpose, capacity, zero, late }))
    }

    /// Sets aside the files of segments that hold nothing.
    fn put_aside(&self, preparer: &mut Preparer, segments: &[(SegmentId, u64)]) -> Result<()> {
        if segments.is_empty() {
            return Ok(());
        }
        let aside = preparer.numbers.set_aside(&*self.environment.storage, segments);
        let banked = preparer.banked();
        let mut core = self.core.lock();
        for (id, _) in segments {
            core.tail.stock_mut().put_aside(*id);
            _ = self.files.retire(*id);
        }
        core.tail.stock_mut().set_banked(banked);
        aside.map_err(|source| Error::io("setting a segment aside", source))
    }

    /// There is more room than before: those who waited for it are told.
    pub(super) fn gained(&self, mut core: MutexGuard<'_, Core>) {
        if core.tail.stock().is_whole() && core.full.take().is_some() {
            tracing::info!("there is room again; publishes are taken");
        }
        let wakers = self.room_made(&mut core);
        self.wake_followers();
        self.tell_arrival(&mut core);
        drop(core);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The disk is full, or as good as: publishes are refused until a preparation succeeds. Nothing is poisoned.
    fn preparation_failed(
        &self,
        mut core: MutexGuard<'_, Core>,
        purpose: Purpose,
        source: std::io::Error,
    ) -> Result<Step> {
        let source = Arc::new(source);
        core.ran_full(source.clone());
        if purpose != Purpose::Bank {
            // Whoever wants it still asks again.
            core.wanted_bytes = 0;
        }
        let wakers = self.room_made(&mut core);
        self.wake_followers();
        drop(core);
        wakers.into_iter().for_each(Waker::wake);
        let error = super::publish::disk_full(source);
        if purpose == Purpose::Bank { Ok(Step::NoBank(error)) } else { Err(error) }
    }

    /// Prepares what is asked for, now. That the reserve can't be made whole is no failure for those who want a segment
    /// of `wanted` bytes: one can be made of what there is of the reserve. It may be there, or may have been taken by
    /// somebody else since: they find out when they ask again.
    pub(super) fn make_room(&self, wanted: u32) -> Result<()> {
        loop {
            match self.prepare(true)? {
                Step::More => {}
                // Somebody else wants a segment, which can be made of what is set aside.
                Step::NoBank(_) if wanted == 0 && self.core.lock().wanted_bytes > 0 => {}
                Step::NoBank(error) if wanted == 0 => return Err(error),
                Step::Done | Step::NoBank(_) => return Ok(()),
            }
        }
    }
}

/// Whether so many parts of the active segment are used.
fn used(core: &Core, parts: u32, of: u32) -> bool {
    core.tail.end().position().get() / parts >= core.tail.active().capacity / of
}

/// Whether there is enough of the active segment for its successor to be begun soon and finished late.
fn is_large(core: &Core) -> bool {
    core.tail.active().capacity >= LARGE
}

/// Whether a smaller part of the next segment is written than of the active one.
fn is_behind(core: &Core, begun: &Preparation) -> bool {
    let (end, active) = (core.tail.end().position().get(), core.tail.active().capacity);
    let (written, capacity) = begun.written();
    begun.purpose() != Purpose::Bank && u64::from(written) * u64::from(active) < u64::from(end) * u64::from(capacity)
}
