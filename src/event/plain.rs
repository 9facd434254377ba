//! One message without attributes on its way to the journal: what most publishes are. The bytes are those of a
//! [`Draft`](super::Draft), drawn in `publish`; with less to carry they are made in half the instructions.

use super::codec::kind;
use super::draft::{LONGEST_SHORT_STAMP, short_stamp};
use super::publish::Published;
use super::slots::Layout;
use super::wire::Inline;
use crate::types::{Offset, Timestamp, TopicId};
use crc32fast::Hasher;
use std::sync::LazyLock;

/// Kind and topic, at their longest.
const LONGEST_LEAD: usize = 6;

/// A checksum of nothing. To make one asks what the processor can do, each time; to copy one does not.
pub(super) static NOTHING: LazyLock<Hasher> = LazyLock::new(Hasher::new);

/// A message that will be alone in its frame, encoded but for its stamp.
#[derive(Debug)]
pub(crate) struct Plain<'a> {
    topic: TopicId,
    payload: &'a [u8],
    lead: Inline<LONGEST_LEAD>,
    /// Over lead and payload.
    crc: Hasher,
}

/// Offset and time of a plain message: the end of its bytes.
#[derive(Debug)]
pub(crate) struct PlainStamp(Inline<LONGEST_SHORT_STAMP>);

impl<'a> Plain<'a> {
    pub(crate) fn new(topic: TopicId, payload: &'a [u8]) -> Self {
        let mut lead = Inline::new();
        lead.push(kind::PUBLISH_ONE);
        lead.varint(u64::from(topic.get()));
        let mut crc = NOTHING.clone();
        crc.update(lead.as_slice());
        crc.update(payload);
        Self { topic, payload, lead, crc }
    }

    /// How many bytes this takes at most, whatever the stamp.
    pub(crate) fn len_max(&self) -> usize {
        self.lead.as_slice().len() + self.payload.len() + LONGEST_SHORT_STAMP
    }

    /// The end of the bytes; see [`Draft::stamp`](super::Draft::stamp).
    pub(crate) fn stamp(&self, offset: Offset, time: Timestamp, base: Timestamp) -> PlainStamp {
        PlainStamp(short_stamp(offset, time, base))
    }

    /// Bytes that `write_into` appends.
    pub(crate) fn body_len(&self, stamp: &PlainStamp) -> usize {
        self.lead.as_slice().len() + self.payload.len() + stamp.0.as_slice().len()
    }

    /// The checksum of exactly those.
    pub(crate) fn crc(&self, stamp: &PlainStamp) -> u32 {
        let mut hasher = self.crc.clone();
        hasher.update(stamp.0.as_slice());
        hasher.finalize()
    }

    /// Appends all the bytes. The payload is copied once, here.
    pub(crate) fn write_into(&self, stamp: &PlainStamp, out: &mut Vec<u8>) {
        out.extend_from_slice(self.lead.as_slice());
        out.extend_from_slice(self.payload);
        out.extend_from_slice(stamp.0.as_slice());
    }

    /// The event that this becomes, without decoding it.
    pub(crate) fn published(&self, first: Offset, time: Timestamp) -> Published<'a> {
        Published {
            topic: self.topic,
            first,
            end: first.next(),
            count: 1,
            time,
            bytes: self.payload.len() as u64,
            layout: Layout::One { content: self.payload, attributes: false },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Draft;
    use crate::message::Message;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_what_a_draft_is(
            payload in proptest::collection::vec(any::<u8>(), 0..300),
            (topic, offset) in (any::<u32>(), 0..u64::MAX),
            (time, base) in (any::<u64>(), any::<u64>()),
        ) {
            let (topic, offset) = (TopicId(topic), Offset(offset));
            let (time, base) = (Timestamp(time), Timestamp(base));
            let message = Message::copy_of(&payload);
            let (plain, draft) = (Plain::new(topic, &payload), Draft::one(topic, &message));
            let (stamp, other) = (plain.stamp(offset, time, base), draft.stamp(offset, time, base));
            let (mut bytes, mut others) = (Vec::new(), Vec::new());
            plain.write_into(&stamp, &mut bytes);
            draft.write_into(&other, &mut others);
            prop_assert_eq!(&bytes, &others);
            prop_assert_eq!(plain.crc(&stamp), crc32fast::hash(&bytes));
            prop_assert_eq!(plain.body_len(&stamp), bytes.len());
            prop_assert_eq!(plain.len_max(), draft.len_max());
            prop_assert_eq!(plain.published(offset, time), draft.published(offset, time));
        }
    }
}
