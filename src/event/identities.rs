//! What the tables have to know of messages and acks: the hashes of their ids.

use super::publish::{Published, split};
use super::slots::Layout;
use super::{Event, attributes};
use crate::message::Message;
use crate::types::{GroupId, Offset, Timestamp, TopicId};

/// The id of a message that is to be recognized when it is published again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) topic: TopicId,
    pub(crate) offset: Offset,
    pub(crate) time: Timestamp,
    pub(crate) id: [u8; 16],
    /// Zeros if none was kept.
    pub(crate) payload: [u8; 16],
    /// It is not to be recognized any more, up to this offset.
    pub(crate) forgotten: bool,
}

impl<'a> Published<'a> {
    /// The ids that these messages are known by, in offset order; those whose topic keeps none have no hash. Where no
    /// message has attributes it looks at nothing. Ends at what can't be decoded: that is said when it is read.
    pub(crate) fn identities(&self) -> impl Iterator<Item = Identity> + use<'a> {
        let (topic, first, time) = (self.topic, self.first, self.time);
        let drafted: &[Message] = match self.layout {
            Layout::Draft { messages, prefixes } if !prefixes.is_empty() => messages,
            _ => &[],
        };
        let read = match self.layout {
            Layout::One { attributes, .. } => attributes,
            Layout::Draft { .. } => false,
            Layout::Batch { .. } | Layout::Move { .. } | Layout::Views(_) => true,
        };
        let drafted = (0..).zip(drafted).filter_map(move |(place, message)| {
            let attributes = message.attributes.as_ref()?;
            let payload = attributes.payload_hash.unwrap_or_default();
            Some(Identity {
                topic,
                offset: first.plus(place),
                time,
                id: attributes.id_hash?,
                payload,
                forgotten: false,
            })
        });
        let slots = read.then(|| self.slots()).into_iter().flatten();
        let slots = slots.map_while(Result::ok).filter(|slot| slot.attributes).filter_map(move |slot| {
            let (_, block, _) = split(slot.head).ok()?;
            let (id, payload) = attributes::hashes(block).ok()??;
            Some(Identity { topic, offset: slot.offset, time: slot.time, id, payload, forgotten: false })
        });
        drafted.chain(slots)
    }
}

impl Event<'_> {
    /// The ids of published messages that this event tells: every way there is by which the tables learn of one.
    pub(crate) fn identities(&self, mut each: impl FnMut(Identity)) {
        match self {
            Event::Publish(run) if run.is_plain() => {}
            Event::Publish(run) | Event::Move(run) => run.identities().for_each(each),
            Event::KeepId(kept) => each(Identity {
                topic: kept.topic,
                offset: kept.offset,
                time: kept.time,
                id: kept.id_hash,
                payload: kept.payload_hash,
                forgotten: false,
            }),
            Event::ForgetId(event) => each(Identity {
                topic: event.topic,
                offset: event.offset,
                time: event.time,
                id: event.id_hash,
                payload: [0; 16],
                forgotten: true,
            }),
            _ => {}
        }
    }
}

/// An id that was processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Processed {
    /// The table's number: that of a group, or one that several groups share, see [`table_of`].
    pub(crate) table: u64,
    pub(crate) id: [u8; 16],
    pub(crate) time: Timestamp,
    /// The how-manieth it was in its table, from 1 on.
    pub(crate) sequence: u64,
}

/// The number of the table that a group's processed ids are in. Shared ones have numbers above those of groups.
pub(crate) fn table_of(group: GroupId, shared: u64) -> u64 {
    if shared == 0 { u64::from(group.get()) } else { shared | 1 << 63 }
}

impl Event<'_> {
    /// Whether a message has an id that is to be remembered.
    pub(crate) fn has_identity(&self) -> bool {
        match self {
            Event::Publish(run) if run.is_plain() => false,
            Event::Publish(run) | Event::Move(run) => run.identities().next().is_some(),
            Event::KeepId(_) => true,
            _ => false,
        }
    }

    /// The processed ids that this event tells: every way there is by which the tables learn of one.
    pub(crate) fn processed(&self, mut each: impl FnMut(Processed)) {
        match self {
            Event::Ack(ack) => {
                for (sequence, id) in (ack.sequence..).zip(&*ack.processed) {
                    each(Processed { table: table_of(ack.group, ack.table), id: *id, time: ack.time, sequence });
                }
            }
            Event::KeepProcessed(kept) => {
                let table = table_of(kept.group, kept.table);
                each(Processed { table, id: kept.id_hash, time: kept.time, sequence: kept.sequence });
            }
            _ => {}
        }
    }
}
