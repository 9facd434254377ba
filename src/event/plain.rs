//! One message without attributes, or with nothing but a short id, on its way to the journal: what most publishes are.
//! The bytes are those of a [`Draft`](super::Draft), drawn in `publish`; with less to carry they are made in half the
//! instructions.

use super::attributes;
use super::codec::kind;
use super::draft::{LONGEST_SHORT_STAMP, short_stamp};
use super::publish::Published;
use super::slots::Layout;
use super::wire::Inline;
use crate::message::Message;
use crate::types::{Offset, Timestamp, TopicId};
use crc32fast::Hasher;
use std::slice;
use std::sync::LazyLock;

/// Kind and topic, at their longest.
const LONGEST_LEAD: usize = 6;

/// The longest id that goes the short way: a UUID as text has 36 bytes.
const LONGEST_ID: usize = 48;

/// What an id takes at most: the lengths of the block and of itself, which fields there are, its hash, the payload's.
const LONGEST_BLOCK: usize = 1 + 2 + 1 + LONGEST_ID + 32;

/// A checksum of nothing. To make one asks what the processor can do, each time; to copy one does not.
pub(super) static NOTHING: LazyLock<Hasher> = LazyLock::new(Hasher::new);

/// A message without attributes.
pub(crate) type Bare<'a> = Plain<'a, LONGEST_LEAD>;

/// A message with nothing but an id.
pub(crate) type Identified<'a> = Plain<'a, { LONGEST_LEAD + LONGEST_BLOCK }>;

/// A message that will be alone in its frame, encoded but for its stamp.
#[derive(Debug)]
pub(crate) struct Plain<'a, const LEAD: usize> {
    topic: TopicId,
    payload: &'a [u8],
    /// Kind and topic, and behind `prefix` the attributes with their length.
    lead: Inline<LEAD>,
    prefix: usize,
    /// The message, if it has some.
    message: Option<&'a Message>,
    /// Over lead and payload.
    crc: Hasher,
}

/// Offset and time of a plain message: the end of its bytes.
#[derive(Debug)]
pub(crate) struct PlainStamp(Inline<LONGEST_SHORT_STAMP>);

impl<'a> Bare<'a> {
    pub(crate) fn new(topic: TopicId, payload: &'a [u8]) -> Self {
        let mut lead = Inline::new();
        lead.push(kind::PUBLISH_ONE);
        lead.varint(u64::from(topic.get()));
        let prefix = lead.as_slice().len();
        Self::with(topic, payload, lead, prefix, None)
    }
}

impl<'a> Identified<'a> {
    /// The message, whose id has been hashed; nothing if it has anything else, or an id that is longer than most.
    pub(crate) fn of(topic: TopicId, message: &'a Message) -> Option<Self> {
        let mut lead = Inline::new();
        lead.push(kind::PUBLISH_ONE_WITH_ATTRIBUTES);
        lead.varint(u64::from(topic.get()));
        let prefix = lead.as_slice().len();
        attributes::put_id(message.attributes.as_ref()?, LONGEST_ID, &mut lead)?;
        Some(Self::with(topic, &message.payload, lead, prefix, Some(message)))
    }
}

impl<'a, const LEAD: usize> Plain<'a, LEAD> {
    #[inline]
    fn with(
        topic: TopicId,
        payload: &'a [u8],
        lead: Inline<LEAD>,
        prefix: usize,
        message: Option<&'a Message>,
    ) -> Self {
        let mut crc = NOTHING.clone();
        crc.update(lead.as_slice());
        crc.update(payload);
        Self { topic, payload, lead, prefix, message, crc }
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
    pub(crate) fn published(&self, first: Offset, time: Timestamp) -> Published<'_> {
        let prefixes = self.lead.as_slice().get(self.prefix..).unwrap_or_default();
        let layout = match self.message {
            None => Layout::One { content: self.payload, attributes: false },
            Some(message) => Layout::Draft { messages: slice::from_ref(message), prefixes },
        };
        let bytes = (prefixes.len() + self.payload.len()) as u64;
        Published { topic: self.topic, first, end: first.next(), count: 1, time, bytes, layout }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Draft;
    use proptest::prelude::*;
    use std::time::Duration;

    proptest! {
        #[test]
        fn both_are_what_a_draft_is(
            payload in proptest::collection::vec(any::<u8>(), 0..300),
            (topic, offset) in (any::<u32>(), 0..u64::MAX),
            (time, base) in (any::<u64>(), any::<u64>()),
            (id, hash) in (proptest::collection::vec(any::<u8>(), 1..60), any::<u128>()),
        ) {
            let (topic, offset) = (TopicId(topic), Offset(offset));
            let (time, base) = (Timestamp(time), Timestamp(base));
            let message = Message::copy_of(&payload);
            same(&Bare::new(topic, &payload), &Draft::one(topic, &message), (offset, time, base))?;
            let mut message = message.id(id);
            prop_assert!(Identified::of(topic, &message).is_none(), "its id has no hash");
            let attributes = message.attributes_mut();
            (attributes.id_hash, attributes.payload_hash) = (Some(hash.to_le_bytes()), Some([7; 16]));
            let short = message.attributes_mut().id.as_ref().unwrap().len() <= LONGEST_ID;
            let identified = Identified::of(topic, &message);
            prop_assert_eq!(identified.is_some(), short);
            if let Some(identified) = identified {
                same(&identified, &Draft::one(topic, &message), (offset, time, base))?;
            }
            prop_assert!(Identified::of(topic, &message.clone().key("k")).is_none());
            prop_assert!(Identified::of(topic, &message.clone().header("k", "v")).is_none());
            prop_assert!(Identified::of(topic, &message.clone().priority(1)).is_none());
            prop_assert!(Identified::of(topic, &message.delay(Duration::from_secs(1))).is_none());
        }
    }

    fn same<const LEAD: usize>(
        plain: &Plain<'_, LEAD>,
        draft: &Draft<'_>,
        (offset, time, base): (Offset, Timestamp, Timestamp),
    ) -> Result<(), TestCaseError> {
        let (stamp, other) = (plain.stamp(offset, time, base), draft.stamp(offset, time, base));
        let (mut bytes, mut others) = (Vec::new(), Vec::new());
        plain.write_into(&stamp, &mut bytes);
        draft.write_into(&other, &mut others);
        prop_assert_eq!(&bytes, &others);
        prop_assert_eq!(plain.crc(&stamp), crc32fast::hash(&bytes));
        prop_assert_eq!(plain.body_len(&stamp), bytes.len());
        prop_assert_eq!(plain.len_max(), draft.len_max());
        let (event, other) = (plain.published(offset, time), draft.published(offset, time));
        prop_assert!(event.is_calm() && other.is_calm() && event.is_plain() == other.is_plain());
        prop_assert!(event.identities().eq(other.identities()));
        prop_assert_eq!(event, other);
        Ok(())
    }
}
