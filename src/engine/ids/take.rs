//! What follows from what is known of ids, for those who publish: what is answered, and what there is room for.

use super::{Known, Of, Probe, Unfit, rows_of};
use crate::config::{Durability, IdBudget};
use crate::engine::backlog::NoPlace;
use crate::engine::line::{InLine, Stop, Work};
use crate::engine::publish::{Terms, disk_full};
use crate::engine::{Core, Engine};
use crate::error::{Code, Error, Result};
use crate::event::{Draft, Event};
use crate::journal::Refusal;
use crate::message::Message;
use crate::tables::{Published, PublishedKey};
use crate::ticket::Admission;
use crate::types::{Lsn, Offset, TopicId};
use std::borrow::Cow;

/// The messages that are not known, in their order.
pub(in crate::engine) fn without<'a>(messages: &'a [Message], known: &[Known]) -> Cow<'a, [Message]> {
    if known.is_empty() {
        return Cow::Borrowed(messages);
    }
    let mut known = known.iter().peekable();
    let fresh = |(index, _): &(usize, &Message)| known.next_if(|known| known.index == *index).is_none();
    Cow::Owned(messages.iter().enumerate().filter(fresh).map(|(_, message)| message.clone()).collect())
}

impl Core {
    /// What is answered if all the ids are known: nothing is appended, and it resolves when what was accepted before is
    /// as durable as is asked now.
    pub(in crate::engine) fn repeat(&mut self, topic: TopicId, known: &[Known], terms: Terms) -> Admission {
        let first = self.state.topic(topic).map(|held| held.end()).unwrap_or_default();
        let (level, time) = (terms.level, terms.now);
        self.with_known(topic, Admission { first, ..Admission::empty(Lsn::ZERO, level, time) }, known)
    }

    /// Of the runs that what is not in memory is in.
    pub(in crate::engine) fn ids_generation(&self) -> u64 {
        self.ids.generation
    }

    /// Whether anything is known in memory of an id, whatever it is.
    pub(in crate::engine) fn may_know(&self, key: PublishedKey) -> bool {
        self.ids.get(key).is_some()
    }

    /// Whether one more id can be remembered, now and without a word to anybody.
    pub(in crate::engine) fn has_room_for_id(&self, budget: &IdBudget) -> bool {
        !self.over_budget(budget, 1) && !self.ids.is_full()
    }

    /// Remembers the id of a message that was appended and applied alone: what [`Core::note_ids`] does, for those who
    /// have its hashes at hand.
    pub(in crate::engine) fn note_identified(
        &mut self,
        lsn: Lsn,
        event: &Event<'_>,
        (key, payload): (PublishedKey, [u8; 16]),
    ) {
        let Event::Publish(run) = event else { return self.note_ids(lsn, event) };
        if self.ids_turn(lsn) {
            self.turn_ids();
        }
        let row = Published { offset: run.first, time: run.time, payload, forgotten: false };
        debug_assert!(run.identities().map(rows_of).eq([(key, row)]), "they are the hashes of this message");
        let end = self.tail.end();
        self.ids.active.insert(key, row, end);
    }

    /// Says in the answer which messages are known, and has it wait for those.
    pub(in crate::engine) fn with_known(
        &mut self,
        topic: TopicId,
        mut admission: Admission,
        known: &[Known],
    ) -> Admission {
        for (place, one) in known.iter().enumerate() {
            let (offset, time) = match one.of {
                Of::Before { offset, time, end } => {
                    admission.end = admission.end.max(end);
                    (offset, time)
                }
                Of::Within(first) => {
                    // As many come before it in the topic as there are new ones before it in the call.
                    let skipped = known.iter().take(place).filter(|other| other.index < first).count();
                    (admission.first.plus(first.saturating_sub(skipped) as u64), admission.time)
                }
            };
            admission.known.push((one.index, offset, time));
        }
        if admission.level == Durability::Disk {
            self.disk_end = self.disk_end.max(admission.end);
        }
        self.meters.duplicates(topic, known.len() as u64);
        self.ids.counts.duplicates = self.ids.counts.duplicates.saturating_add(known.len() as u64);
        admission
    }

    /// The error for an id that was used for something else.
    pub(in crate::engine) fn reused(&mut self, messages: &[Message], index: usize, offset: Option<Offset>) -> Error {
        self.ids.counts.reused = self.ids.counts.reused.saturating_add(1);
        let id = messages.get(index).and_then(|message| message.attributes.as_ref()?.id.clone()).unwrap_or_default();
        let id = String::from_utf8_lossy(id.get(..id.len().min(64)).unwrap_or_default()).into_owned();
        let before = match offset {
            Some(offset) => format!("the message at offset {offset} was published with it, and with another payload"),
            None => "a message before it in the same batch has it, and another payload".to_owned(),
        };
        let place = if messages.len() > 1 { format!(" of message {index} of the batch") } else { String::new() };
        let advice = "give this one an id of its own, or set `refuse_reused_ids(false)` on the topic";
        Error::new(Code::IdReused, format!("the id {id:?}{place} is taken: {before}; {advice}"))
    }
}

impl Engine {
    /// Whether there is room for so many more ids now; an error if there will be none by waiting.
    pub(in crate::engine) fn room_for_ids(&self, core: &Core, probe: &Probe, new: usize) -> Result<bool> {
        if !probe.has_ids() {
            return Ok(true);
        }
        if core.over_budget(&self.options.id_budget, new) {
            let what = "as many ids are remembered as `id_budget` allows; messages without an id are still taken in";
            return Err(Error::new(Code::IdsFull, what));
        }
        match (core.ids.is_full(), core.ids.failed()) {
            (false, _) => Ok(true),
            (true, None) => Ok(false),
            (true, Some(source)) => Err(disk_full(source)),
        }
    }

    /// Takes in one that stands in line. The outer error is that it has to go on waiting, or can't be taken in; the
    /// inner one refuses it.
    pub(in crate::engine) fn admit_waiting(
        &self,
        core: &mut Core,
        waiting: &InLine,
        terms: Terms,
    ) -> Result<Result<Admission>, Stop> {
        let messages = waiting.work.messages();
        let known = match core.judge(waiting.topic, messages, &waiting.probe, || self.age_now()) {
            Ok(known) => known,
            Err(Unfit::Reused { index, offset }) => return Ok(Err(core.reused(messages, index, offset))),
            // Whoever works the line asks the disk first.
            Err(Unfit::Stale) => return Err(Refusal::BufferFull.into()),
        };
        let fresh = without(messages, &known);
        if fresh.is_empty() {
            return Ok(Ok(core.repeat(waiting.topic, &known, terms)));
        }
        match self.room_for_ids(core, &waiting.probe, fresh.len()) {
            Ok(true) => {}
            Ok(false) => return Err(Refusal::BufferFull.into()),
            Err(error) => return Ok(Err(error)),
        }
        let mut draft = match (&waiting.work, &*fresh) {
            (Work::One(_), [message]) => Draft::one(waiting.topic, message),
            _ => Draft::batch(waiting.topic, &fresh),
        };
        let dropped = match core.make_way(&draft) {
            Ok(dropped) => dropped,
            Err(NoPlace::Wait) => return Err(Stop::Place),
            Err(NoPlace::Refused(error)) => return Ok(Err(error)),
        };
        let admission = core.admit_for(&mut draft, terms, dropped)?;
        Ok(Ok(core.with_known(waiting.topic, admission, &known)))
    }
}
