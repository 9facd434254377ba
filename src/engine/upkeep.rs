//! What happens by itself, by time or because something fell due: leases that run out, segments and sidecars,
//! snapshots, the mark of a store that goes quiet.

use super::{Core, Engine};
use crate::error::{Error, Result};
use crate::journal::{Known, Sealed, sidecar, sidecar_name, unfinished_sidecar_name};
use crate::seen::Seen;
use crate::storage::{Access, write_all_at};
use crate::types::{GroupId, Lsn, Position, SegmentId, Timestamp};
use std::io;
use std::task::Waker;
use std::time::Duration;

/// The pause after a preparation has failed.
const FULL_PAUSE: Duration = Duration::from_secs(1);

impl Engine {
    /// Something falls due at `at`: the upkeep must not sleep beyond it.
    pub(super) fn upkeep_by(&self, core: &mut Core, at: Timestamp) {
        if core.next_upkeep.is_none_or(|next| at < next) {
            core.next_upkeep = Some(at);
            self.call_upkeep(core);
        }
    }

    /// Does what is due. Whether there is more to do at once.
    pub(crate) fn poll_upkeep(&self) -> Result<bool> {
        // Tasks wait for nothing else than that.
        if self.ask_line() {
            self.serve_front();
        }
        let mut more = self.tend_groups()?;
        more |= self.write_sidecars()?;
        let braked = self.begins_segment() && self.is_braked();
        match if braked { Ok(true) } else { self.prepare_piece(false) } {
            Ok(again) => more |= again,
            // Said to those who publish; here it is only tried again.
            Err(error) if error.kind() == crate::error::ErrorKind::Full => {}
            Err(error) => return Err(error),
        }
        // Ids that can't be written for now keep nothing else from being done: it may make the room that they lack.
        let mut failed = None;
        let ids = [Self::flush_ids, Self::merge_ids, Self::expire_ids, |engine: &Self| engine.checkpoint(false)];
        for write in ids {
            match write(self) {
                Ok(again) => more |= again,
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        match self.snapshot_piece().and_then(|again| Ok(again | self.reclaim_piece()?)) {
            Ok(again) => more |= again,
            // What there is of room is for those who settle.
            Err(error) if error.kind() == crate::error::ErrorKind::Full => {}
            Err(error) => return Err(error),
        }
        self.mark_quiet()?;
        loop {
            // Whoever called since the groups were tended is not heard again.
            self.ask_line();
            let wakers = self.room_made(&mut self.core.lock());
            wakers.into_iter().for_each(Waker::wake);
            if !self.read_wanted()? {
                // One that was let in may want a segment: nobody else may come by to see to that.
                more |= self.wants_segment();
                return self.upkept(more, failed);
            }
        }
    }

    /// How it went. What is left to do is done at once, whatever failed.
    fn upkept(&self, more: bool, failed: Option<Error>) -> Result<bool> {
        match failed {
            None => Ok(more),
            Some(error) => {
                self.core.lock().upkeep_due |= more;
                Err(error)
            }
        }
    }

    fn wants_segment(&self) -> bool {
        let core = self.core.lock();
        core.wanted_bytes > 0 && core.full.is_none()
    }

    /// Ends the leases that have run out, and says when the next thing falls due.
    fn tend_groups(&self) -> Result<bool> {
        let now = self.now();
        let groups: Vec<GroupId> = {
            let mut core = self.open_core()?;
            core.upkeep_due = false;
            if core.next_upkeep.is_none_or(|next| next > now) {
                return Ok(false);
            }
            core.next_upkeep = None;
            core.state.groups().map(|group| group.id()).collect()
        };
        let mut next: Option<Timestamp> = None;
        for group in groups {
            let mut core = self.open_core()?;
            if let Err(refusal) = self.end_expired(&mut core, group, now) {
                core.next_upkeep = Some(now);
                drop(core);
                self.relieve(refusal)?;
                return Ok(true);
            }
            let due = core.state.group(group).and_then(|group| group.next_due(now));
            let shut = self.gate_due(&core, group, now);
            next = next.into_iter().chain(due).chain(shut).min();
            if core.state.condemned(group).is_some() {
                drop(core);
                self.park_keys(group)?;
            }
        }
        let retained = self.retain_due()?;
        let mut core = self.core.lock();
        let (more, scheduled) = self.turn_schedules(&mut core);
        let looks = core.space.next_look();
        core.next_upkeep = core.next_upkeep.into_iter().chain(next).chain(scheduled).chain(retained).chain(looks).min();
        self.tell_leasing(&mut core);
        core.upkeep_due = false;
        Ok(more)
    }

    /// How long the upkeep may sleep; nothing if nothing is in sight.
    pub(super) fn upkeep_pause(&self, core: &Core) -> Option<Duration> {
        let now = self.now();
        let due = core.next_upkeep.map(|next| next.since(now).max(Duration::from_millis(1)));
        let full = (core.full.is_some() || core.ids.failed().is_some()).then_some(FULL_PAUSE);
        let quiet = core.tail.wants_mark().then_some(self.options.sync_interval);
        due.into_iter().chain(full).chain(quiet).min()
    }

    /// Writes the index of every segment that was sealed beside it. It is derived: a crash in between costs a scan.
    pub(super) fn write_sidecars(&self) -> Result<bool> {
        let sealed = {
            let mut core = self.open_core()?;
            let sealed = core.tail.take_sealed();
            core.space.sealed(!sealed.is_empty());
            // Under the same hold of the lock: readers find an index here or there at any moment.
            for Sealed { segment, seal, index } in &sealed {
                self.files.add(Known { segment: segment.clone(), seal: Some(*seal), index: Some(index.clone()) });
            }
            sealed
        };
        if !sealed.is_empty() {
            self.watch_free_space();
        }
        for sealed in sealed {
            self.write_sidecar(&sealed)?;
        }
        Ok(false)
    }

    pub(super) fn write_sidecar(&self, sealed: &Sealed) -> Result<()> {
        // It claims that the segment is durable, seal and all, so it may not be there before that is so: a segment
        // whose seal is lost goes on, and what was said of it would stand beside it for ever.
        let end = match sealed.seal.successor {
            SegmentId::ZERO => sealed.seal.length,
            _ => sealed.seal.end(),
        };
        let end = Lsn::new(sealed.segment.id, Position(end));
        self.drive(end, crate::config::Durability::Disk, None)?;
        let bytes = sidecar::encode(&sealed.index, self.identity.store, sealed.segment.id, sealed.seal);
        let storage = &self.environment.storage;
        let (unfinished, name) = (unfinished_sidecar_name(sealed.segment.id), sidecar_name(sealed.segment.id));
        let write = || -> io::Result<()> {
            let file = match storage.open(&unfinished, Access::Create) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    storage.remove(&unfinished)?;
                    storage.open(&unfinished, Access::Create)?
                }
                other => other?,
            };
            write_all_at(&*file, &bytes, 0)?;
            file.sync()?;
            storage.rename(&unfinished, &name)?;
            storage.sync_dir(crate::journal::DIRECTORY)
        };
        match write() {
            Ok(()) => {
                Seen::SidecarWritten.note();
                Ok(())
            }
            Err(source) => {
                // The store can do without: the next opening scans the segment.
                let error = Error::io(format!("writing {name}"), source);
                tracing::warn!(%error, "a segment's index could not be written");
                // What there is of it only takes space.
                _ = storage.remove(&unfinished);
                Ok(())
            }
        }
    }

    /// A store that goes quiet says how far it is durable, so that damage can be told from a torn write later.
    fn mark_quiet(&self) -> Result<()> {
        let mut core = self.open_core()?;
        let quiet = self.environment.clock.monotonic().saturating_sub(core.last_sync) >= self.options.sync_interval;
        if quiet && core.tail.wants_mark() && core.tail.append_control(false).is_ok() {
            core.marks = core.marks.saturating_add(1);
            self.arm(&mut core, true);
        }
        Ok(())
    }
}
