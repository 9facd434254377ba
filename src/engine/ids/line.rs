//! Publishes with ids that wait in line: what their probes said stays true, whatever becomes of the runs.

use super::{Frozen, Probe, newer};
use crate::engine::Core;
use crate::engine::line::InLine;
use crate::types::Lsn;

impl Probe {
    /// What is in `frozen` is about to be in a run and no more in memory: the probe takes note of it, and is then as
    /// good as one that was made afterwards.
    fn take_in(&mut self, frozen: &Frozen, before: u64, now: u64) {
        if !self.has_ids() || self.found.generation != before {
            return;
        }
        for (place, key) in &*self.keys {
            let Some((row, _)) = frozen.delta.get(*key) else { continue };
            match self.found.rows.binary_search_by_key(place, |(place, _)| *place) {
                Ok(at) => {
                    if let Some((_, held)) = self.found.rows.get_mut(at) {
                        *held = newer((*held, Lsn::ZERO), (row, Lsn::ZERO)).0;
                    }
                }
                Err(at) => self.found.rows.insert(at, (*place, row)),
            }
        }
        self.found.generation = now;
    }
}

impl Core {
    /// The runs are others from now on. `frozen` is what came into one, if anything did; none means that runs were only
    /// made anew or taken away, so that what a probe found is still known, or was to be forgotten.
    pub(super) fn runs_changed(&mut self, frozen: Option<&Frozen>, generation: u64) {
        let before = std::mem::replace(&mut self.ids.generation, generation);
        let lines = self.line.iter_mut().chain(self.backlogs.lines.values_mut().flatten());
        // Of one for whom the disk is being asked the answer will be too old, and it is asked again.
        for probe in lines.flat_map(InLine::probes).filter(|probe| !probe.asking) {
            match frozen {
                Some(frozen) => probe.take_in(frozen, before, generation),
                None if probe.generation() == before => probe.found.generation = generation,
                None => {}
            }
        }
    }
}
