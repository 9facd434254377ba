//! Publishes that find the backlog of their topic full: those that wait for room in it, and those that drop the oldest.
//!
//! Who waits for a place in a backlog stands in a line of the topic's own, so that a full topic holds up no other. All
//! publishes of a topic are in one line at a time: whoever comes while one waits stands behind it.

use super::backlog::NoPlace;
use super::line::{InLine, Work};
use super::publish::Terms;
use super::removal::{Whom, removal};
use super::{Core, Engine};
use crate::error::{Code, Error, Result};
use crate::event::{Cause, Draft, Run};
use crate::journal::{Class, Refusal};
use crate::ticket::{Admission, Slot};
use crate::types::TopicId;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

impl Core {
    /// Takes in a draft in place of what is dropped for it: one frame, so a crash leaves both or neither.
    pub(super) fn admit_for(
        &mut self,
        draft: &mut Draft<'_>,
        terms: Terms,
        dropped: Vec<Run>,
    ) -> Result<Admission, Refusal> {
        if dropped.is_empty() {
            return self.admit(draft, terms);
        }
        let (topic, draft) = (draft.topic(), draft.for_company());
        tracing::debug!(%topic, runs = dropped.len(), "the backlog is full: the oldest messages are dropped");
        let removal = removal(Whom::Everybody(topic), Cause::Overflow, dropped);
        let recorded = self.record_frame(Class::Publish, &[removal], &[(&draft, terms)])?;
        let first = recorded.firsts.first().copied().unwrap_or_default();
        let (end, level, count) = (recorded.span.end, terms.level, draft.count());
        Ok(Admission { first, count, ..Admission::empty(end, level, terms.now) })
    }

    /// How many publishes of a topic wait, for whatever it is.
    pub(super) fn waiting_publishes(&self, topic: TopicId) -> usize {
        let behind = self.backlogs.lines.get(&topic).map_or(0, std::collections::VecDeque::len);
        self.line.iter().filter(|waiting| waiting.concerns(topic)).count().saturating_add(behind)
    }

    /// Whether whoever publishes now has to stand behind somebody.
    pub(super) fn stands_in_line(&self, topic: TopicId) -> bool {
        self.backlogs.lines.contains_key(&topic) || self.line.iter().any(|waiting| waiting.concerns(topic))
    }

    /// Puts one that has to wait into the line that it waits in.
    pub(super) fn put_in_line(&mut self, waiting: InLine) {
        let topic = waiting.topic;
        let behind = !self.line.iter().any(|other| other.concerns(topic))
            && (self.backlogs.lines.contains_key(&topic)
                || matches!(self.make_way(&waiting.work.draft(topic)), Err(NoPlace::Wait)));
        if behind {
            self.backlogs.lines.entry(topic).or_default().push_back(waiting);
        } else {
            self.line.push_back(waiting);
        }
    }

    /// The one at the front of the common line waits for a place in a backlog: it and all of its topic go to that line,
    /// but for what stands behind a transaction that has to do with the topic.
    pub(super) fn set_aside(&mut self, front: InLine) {
        let topic = front.topic;
        let mut behind = false;
        let (mine, others) = std::mem::take(&mut self.line).into_iter().partition(|waiting| {
            let publish = !matches!(waiting.work, Work::Deal(_));
            behind |= !publish && waiting.concerns(topic);
            !behind && publish && waiting.topic == topic
        });
        self.line = others;
        let line = self.backlogs.lines.entry(topic).or_default();
        line.push_back(front);
        line.append(&mut { mine });
    }
}

impl Engine {
    /// Takes in, from the line of each topic, those that now fit into its backlog.
    pub(super) fn admit_backlogs(&self, core: &mut Core) -> Vec<Waker> {
        core.backlogs.freed = false;
        let mut wakers = Vec::new();
        let topics: Vec<TopicId> = core.backlogs.lines.keys().copied().collect();
        for topic in topics {
            let Some(mut line) = core.backlogs.lines.remove(&topic) else { continue };
            while let Some(front) = line.pop_front() {
                match self.admit_one(core, front).map_err(|back| *back) {
                    Ok(woken) => wakers.extend(woken),
                    Err((front, _)) => {
                        line.push_front(front);
                        break;
                    }
                }
            }
            if !line.is_empty() {
                core.backlogs.lines.insert(topic, line);
            }
        }
        self.admitted.notify_all();
        wakers
    }

    /// Something was settled: those who wait for a place are told, and the commit thread sees to the others.
    pub(super) fn tell_freed(&self, core: &mut Core) {
        if core.flows.freed {
            self.tell_waiting(core);
        }
        if core.backlogs.freed {
            self.admitted.notify_all();
            self.arm(core, true);
        }
    }

    /// Waits for a place in a backlog, if that is what the slot waits for. Nothing if it is not; otherwise whether
    /// there is an answer now: the time may have run out.
    pub(super) fn await_place(&self, slot: &Slot, deadline: Option<Duration>) -> Option<bool> {
        let mut core = self.core.lock();
        if slot.is_filled() || core.backlogs.freed || core.check().is_err() {
            return Some(slot.is_filled()).filter(|filled| *filled);
        }
        let stands = |waiting: &InLine| std::ptr::eq(Arc::as_ptr(&waiting.slot), slot);
        if !core.backlogs.lines.values().flatten().any(stands) {
            return None;
        }
        match deadline {
            None => self.admitted.wait(&mut core),
            Some(deadline) => {
                let left = deadline.saturating_sub(self.environment.clock.monotonic());
                if left.is_zero() || self.admitted.wait_for(&mut core, left).timed_out() {
                    return Some(slot.is_filled());
                }
            }
        }
        slot.is_filled().then_some(true)
    }
}

/// Too many wait already.
pub(super) fn line_full(work: Work, waiting: usize, backlog: bool) -> Error {
    let (code, what) = if backlog { (Code::BacklogFull, "a place in the backlog") } else { (Code::BufferFull, "room") };
    let what = format!("{waiting} publishes wait for {what} already (`max_waiting_publishes`); try again later");
    work.hand_back(Error::new(code, what))
}
