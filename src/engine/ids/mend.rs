//! Making ids anew from the journal, a stretch of a segment at a time.

use super::{Core, rows_of};
use crate::engine::Engine;
use crate::engine::read::{readable, undecodable};
use crate::error::{Code, Error, Result};
use crate::event::{Event, events};
use crate::journal::{Flags, Scanner, Segment, Sighting, seal_of, segment_name};
use crate::seen::Seen;
use crate::storage::{Access, Storage};
use crate::tables::{Delta, Plan, Range, Run, write};
use crate::types::{Lsn, Position};
use std::sync::Arc;

/// The events of a stretch of a segment, each frame's with where it ends; `range` begins where a frame does. All of it
/// has been written. A frame for which `each` says no is the last.
pub(in crate::engine) fn events_of(
    storage: &dyn Storage,
    segment: &Arc<Segment>,
    range: Range,
    each: &mut dyn FnMut(&[Event<'_>], Lsn) -> Result<bool>,
) -> Result<()> {
    let name = segment_name(segment.id);
    let failed = |source| Error::io(format!("reading {name}"), source);
    let file = storage.open(&name, Access::Read).map_err(failed)?;
    let mut scanner = Scanner::new(file, segment.clone());
    scanner.seek(range.from);
    while scanner.position() < range.to {
        let position = scanner.position();
        let Sighting::Frame(frame) = scanner.next().map_err(failed)? else {
            let damage = crate::journal::damaged(segment.id, position, "a frame whose ids are needed is damaged");
            return Err(Error::new(Code::Damaged, "the journal is damaged").with_damage(vec![damage]));
        };
        if seal_of(&frame).is_some() {
            break;
        }
        if frame.flags.has(Flags::SNAPSHOT) || frame.flags.has(Flags::CONTROL) {
            continue;
        }
        readable(&frame)?;
        let events: Vec<Event<'_>> =
            events(&frame.body, segment.base).collect::<Result<_, _>>().map_err(|error| undecodable(&frame, error))?;
        if !each(&events, Lsn::new(segment.id, frame.next))? {
            break;
        }
    }
    Ok(())
}

/// The ids of a stretch, as far as `limit` bytes hold them; and where it stopped.
pub(super) fn ids_of(
    storage: &dyn Storage,
    segment: &Arc<Segment>,
    range: Range,
    limit: usize,
) -> Result<(Delta, Position)> {
    let (mut delta, mut stopped) = (Delta::default(), range.to);
    events_of(storage, segment, range, &mut |events, end| {
        for event in events {
            event.identities(|identity| {
                let (key, row) = rows_of(identity);
                // What is read back is durable.
                delta.insert(key, row, Lsn::ZERO);
            });
        }
        if delta.bytes() > limit {
            stopped = end.position();
            return Ok(false);
        }
        Ok(true)
    })?;
    Ok((delta, stopped))
}

impl Engine {
    /// Makes a run anew that can't be read, unless somebody else just did; of one of several segments one for each.
    pub(super) fn mend_run(&self, run: &Arc<Run>, error: &std::io::Error) -> Result<()> {
        let _alone = self.mending.lock();
        let known = self.runs.lock().all().iter().find(|known| known.is(run)).cloned();
        let Some(run) = known else { return Ok(()) };
        tracing::warn!(run = run.name(), %error, "published ids can't be read; they are read from the journal again");
        let several = run.stretches().count() > 1;
        let storage = &*self.environment.storage;
        let mut made = Vec::new();
        for stretch in run.stretches() {
            let id = stretch.segment;
            let active = Some(self.core.lock().tail.active().clone()).filter(|active| active.id == id);
            let Some(segment) = active.or_else(|| self.files.known(id).map(|known| known.segment)) else {
                if several {
                    // It was retired this moment: what it had is not needed, or lies further on.
                    continue;
                }
                let what = format!("{} is needed, and is not there", segment_name(id));
                return Err(Error::new(Code::SegmentMissing, what));
            };
            let (delta, _) = ids_of(storage, &segment, stretch.range, usize::MAX)?;
            let rows = delta.sorted();
            let warm = self.core.lock().ids.may_be_warm(rows.len() as u64);
            let plan = Plan::of_stretch(run.store, *stretch, rows.len(), warm);
            let written = write(storage, plan, rows.map(Ok));
            made.push(written.map_err(|source| Error::io("writing published ids anew", source))?);
        }
        if self.replace_runs(&[run], made) {
            self.core.lock().count_mended();
            Seen::IdsMended.note();
        }
        Ok(())
    }

    /// Other runs with the same ids take the place of some, whose files go, if all of those are still there. If not,
    /// the files of the others go.
    pub(super) fn replace_runs(&self, before: &[Arc<Run>], after: Vec<Run>) -> bool {
        let (going, done): (Vec<String>, bool) = {
            let mut core = self.core.lock();
            let mut runs = self.runs.lock();
            let known = |run: &Arc<Run>| runs.all().iter().find(|known| known.is(run)).cloned();
            let known: Vec<Arc<Run>> = before.iter().filter_map(known).collect();
            if known.len() < before.len() {
                (after.iter().map(Run::name).collect(), false)
            } else {
                // What was done with meanwhile is done with in the new ones as well.
                let live = |segment| known.iter().any(|run| run.stretches().any(|one| one.segment == segment));
                let (mut others, mut going) = (Vec::new(), Vec::new());
                for run in after {
                    let name = run.name();
                    match run.limited_to(&live) {
                        Some(run) => others.push(run),
                        None => going.push(name),
                    }
                }
                let names: Vec<String> = others.iter().map(Run::name).collect();
                going.extend(known.iter().map(|run| run.name()).filter(|name| !names.contains(name)));
                let others = runs.instead(&known, others);
                core.put_runs(&mut runs, others);
                (going, true)
            }
        };
        for name in going {
            // What is left is removed by the next opening.
            drop(self.environment.storage.remove(&name));
        }
        done
    }
}

impl Core {
    fn count_mended(&mut self) {
        self.ids.counts.mended = self.ids.counts.mended.saturating_add(1);
    }
}
