//! Asking the disk for the ids of those who stand in line. Publishing is called from tasks, which must not wait for a
//! disk; so who may wait for one asks: whoever waits for a ticket, and the upkeep. Nobody holds the lock meanwhile.

use super::probe::Keys;
use crate::engine::line::InLine;
use crate::engine::{Core, Engine};
use crate::error::Result;
use crate::seen::Seen;
use crate::tables::Found;
use crate::ticket::Slot;
use std::sync::Arc;
use std::task::Waker;

/// So many questions are taken on in one go: others can take on the next ones meanwhile.
const LOT: usize = 16;

/// What is to be asked, and for whom.
struct Question {
    slot: Arc<Slot>,
    /// Which of its topics, if it is a transaction.
    place: usize,
    keys: Keys,
}

impl Engine {
    /// Asks the disk for the ids of all who stand in line and lack that. Whether there were any.
    pub(in crate::engine) fn ask_line(&self) -> bool {
        let mut any = false;
        loop {
            let questions = self.core.lock().questions();
            if questions.is_empty() {
                return any;
            }
            any = true;
            for Question { slot, place, keys } in questions {
                let found = self.find_ids(&keys);
                let mut core = self.core.lock();
                let woken = core.answered((&slot, place), keys, found);
                self.admitted.notify_all();
                drop(core);
                woken.into_iter().for_each(Waker::wake);
            }
        }
    }
}

impl Core {
    fn questions(&mut self) -> Vec<Question> {
        let generation = self.ids.generation;
        let mut questions = Vec::new();
        for waiting in self.line.iter_mut().chain(self.backlogs.lines.values_mut().flatten()) {
            let slot = waiting.slot.clone();
            for (place, probe) in waiting.probes().enumerate().filter(|(_, probe)| probe.wants_asking(generation)) {
                probe.asking = true;
                questions.push(Question { slot: slot.clone(), place, keys: std::mem::take(&mut probe.keys) });
            }
            if questions.len() >= LOT {
                break;
            }
        }
        questions
    }

    /// Whether somebody asks the disk for this one, or for one before it in the common line.
    pub(in crate::engine) fn is_asking(&self, slot: &Slot) -> bool {
        let upto = self.line.iter().position(|waiting| std::ptr::eq(Arc::as_ptr(&waiting.slot), slot));
        upto.is_some_and(|upto| self.line.iter().take(upto.saturating_add(1)).any(InLine::is_asking))
    }

    /// There is an answer. If the runs are others by now, it is asked again; if they can't be read, whoever wanted to
    /// know is sent away.
    fn answered(&mut self, (slot, place): (&Arc<Slot>, usize), keys: Keys, found: Result<Found>) -> Option<Waker> {
        let lines = self.line.iter_mut().chain(self.backlogs.lines.values_mut().flatten());
        let mut waiting = lines.filter(|waiting| Arc::ptr_eq(&waiting.slot, slot));
        let probe = waiting.next()?.probes().nth(place)?;
        (probe.keys, probe.asking) = (keys, false);
        match found {
            Ok(found) => {
                Seen::LineAsked.note();
                probe.found = found;
                None
            }
            Err(error) => self.take_out(slot).and_then(|waiting| self.dismiss(waiting, error)),
        }
    }
}
