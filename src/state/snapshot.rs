//! The durable state in parts, as they are put into the journal and read back.
//!
//! A part is one whole entity: what belongs to the store, one topic, one group. Each is captured on its own, between
//! ordinary events, so that taking a snapshot stops nobody for longer than the largest of them takes. A part is true
//! as of where its first piece lies in the journal: it holds every event before that and none after. So all of its
//! pieces have to be appended before any event of that entity.
//!
//! To restore: give every piece of one complete snapshot to [`State::restore_piece`], then [`State::restored`], then
//! apply the journal from where that snapshot *began*. Each entity leaves out the events it already holds. A part that
//! is missing is one of an entity that was dropped while the snapshot was taken; what the journal still says of it
//! is ignored. A snapshot lies within one opening of the store.
//!
//! A piece, at most 1 MiB: version (1), kind (1 byte: 0 store, 1 topic, 2 group), number (u32), place among the
//! pieces of its part (u32), whether it is the last (1 byte), all little-endian; then its share of the part's bytes,
//! which are the postcard of one of the structs below. Their fields are in the order of the format. New ones come at
//! the end, and are zero or empty in a part that was written before there were any.

use super::group::{ByCause, DeadLetter, Group, History};
use super::lease::Hands;
use super::moved::{Moved, PlacePart};
use super::priority::Levels;
use super::schedule::Schedule;
use super::settled::Settled;
use super::topic::{Extent, Topic};
use super::values::Values;
use super::{State, Store, Tally, packed};
use crate::config::{GroupPolicy, TopicPolicy};
use crate::event::{self, Run, Setting, TablesTrusted};
use crate::types::{GroupId, Incarnation, Lsn, Offset, SegmentId, Timestamp, TopicId};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

const VERSION: u8 = 1;
const HEAD: usize = 11;
/// No piece is longer.
pub(crate) const MOST_PIECE: usize = 1 << 20;

/// Names a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum PartId {
    Store,
    Topic(TopicId),
    Group(GroupId),
}

/// Why a piece can't be restored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PartError {
    #[error("a piece of a snapshot has version {0}, and this release reads version {VERSION}")]
    Version(u8),
    #[error("a piece of a snapshot is cut short or names no part")]
    Head,
    #[error("piece {found} of {part:?} follows where piece {wanted} should")]
    Order { part: PartId, wanted: u32, found: u32 },
    #[error("{0:?} has no last piece")]
    Unfinished(PartId),
    #[error("{part:?} can't be read or written: {cause}")]
    Body { part: PartId, cause: postcard::Error },
    #[error("a set of offsets in {0:?} can't be read")]
    Offsets(PartId),
}

/// A part of which not every piece is there yet.
#[derive(Debug)]
pub(super) struct Partial {
    lsn: Lsn,
    next: u32,
    bytes: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct StorePart<'a> {
    incarnation: Incarnation,
    newest_time: Timestamp,
    next_topic: TopicId,
    next_group: GroupId,
    #[serde(borrow)]
    boot_id: Cow<'a, str>,
    values: Cow<'a, BTreeMap<Box<str>, Box<[u8]>>>,
    trusted: Option<TablesTrusted>,
    opened: Timestamp,
    doubted: u64,
    ids_since: SegmentId,
    processed: Cow<'a, BTreeMap<u64, u64>>,
    processed_in: Cow<'a, BTreeMap<(SegmentId, u64), Tally>>,
}

#[derive(Serialize, Deserialize)]
struct TopicPart<'a> {
    since: Lsn,
    created: Timestamp,
    end: Offset,
    #[serde(borrow)]
    name: Cow<'a, str>,
    settings: Cow<'a, [Setting]>,
    extents: Cow<'a, [Extent]>,
    #[serde(borrow)]
    moved: Vec<PlacePart<'a>>,
    #[serde(borrow)]
    gone: SettledPart<'a>,
    dropped: Cow<'a, ByCause>,
    #[serde(borrow)]
    delays: Cow<'a, [u8]>,
    #[serde(borrow)]
    deliver_ats: Cow<'a, [u8]>,
    expires: bool,
    /// A set for each priority above the ordinary one, from 1 up.
    levels: Vec<Vec<u8>>,
}

#[derive(Serialize, Deserialize)]
struct GroupPart<'a> {
    topic: TopicId,
    created: Timestamp,
    start: Offset,
    paused_until: Timestamp,
    #[serde(borrow)]
    name: Cow<'a, str>,
    settings: Cow<'a, [Setting]>,
    #[serde(borrow)]
    settled: SettledPart<'a>,
    #[serde(borrow)]
    handed: Cow<'a, [u8]>,
    history: Cow<'a, BTreeMap<Offset, History>>,
    dead: Cow<'a, BTreeMap<Offset, DeadLetter>>,
    passed: Cow<'a, ByCause>,
    lone: Option<Offset>,
}

#[derive(Serialize, Deserialize)]
struct SettledPart<'a> {
    floor: Offset,
    #[serde(borrow)]
    above: Cow<'a, [u8]>,
}

impl SettledPart<'_> {
    fn of(settled: &Settled) -> Self {
        Self { floor: settled.floor(), above: packed(settled.above()).into() }
    }

    fn restore(&self) -> Option<Settled> {
        Some(Settled::from_parts(self.floor, packed::decode(&self.above)?))
    }
}

fn packed(set: &super::offsets::OffsetSet) -> Vec<u8> {
    let mut bytes = Vec::new();
    packed::encode(set, &mut bytes);
    bytes
}

impl PartId {
    fn number(self) -> (u8, u32) {
        match self {
            Self::Store => (0, 0),
            Self::Topic(topic) => (1, topic.0),
            Self::Group(group) => (2, group.0),
        }
    }

    fn of_number(kind: u8, id: u32) -> Option<Self> {
        match kind {
            0 => Some(Self::Store),
            1 => Some(Self::Topic(TopicId(id))),
            2 => Some(Self::Group(GroupId(id))),
            _ => None,
        }
    }
}

/// A piece taken apart.
struct Piece<'a> {
    part: PartId,
    place: u32,
    last: bool,
    bytes: &'a [u8],
}

impl<'a> Piece<'a> {
    fn new(piece: &'a [u8]) -> Result<Self, PartError> {
        let (head, bytes) = piece.split_first_chunk::<HEAD>().ok_or(PartError::Head)?;
        let [version, kind, a, b, c, d, e, f, g, h, last] = *head;
        if version != VERSION {
            return Err(PartError::Version(version));
        }
        let part = PartId::of_number(kind, u32::from_le_bytes([a, b, c, d])).ok_or(PartError::Head)?;
        Ok(Self { part, place: u32::from_le_bytes([e, f, g, h]), last: last != 0, bytes })
    }
}

/// The bytes of a part, cut into pieces.
fn pieces(part: PartId, bytes: &[u8]) -> Vec<Vec<u8>> {
    let (kind, id) = part.number();
    let mut pieces = Vec::new();
    let mut shares = bytes.chunks(MOST_PIECE - HEAD).peekable();
    let mut place = 0_u32;
    while let Some(share) = shares.next() {
        let mut piece = Vec::with_capacity(HEAD + share.len());
        piece.extend([VERSION, kind]);
        piece.extend(id.to_le_bytes());
        piece.extend(place.to_le_bytes());
        piece.push(u8::from(shares.peek().is_none()));
        piece.extend_from_slice(share);
        pieces.push(piece);
        place = place.saturating_add(1);
    }
    pieces
}

impl State {
    /// The parts of a snapshot that begins now. One that is created later is not needed: its creation lies behind
    /// the beginning.
    pub(crate) fn snapshot_parts(&self) -> Vec<PartId> {
        let topics = self.topics.keys().map(|topic| PartId::Topic(*topic));
        let groups = self.groups.keys().map(|group| PartId::Group(*group));
        std::iter::once(PartId::Store).chain(topics).chain(groups).collect()
    }

    /// A part as it is now, in pieces; nothing if it is gone meanwhile.
    pub(crate) fn encode_part(&self, part: PartId) -> Result<Option<Vec<Vec<u8>>>, PartError> {
        let bytes = match part {
            PartId::Store => Some(self.store.encode()),
            PartId::Topic(topic) => self.topics.get(&topic).map(Topic::encode),
            PartId::Group(group) => self.groups.get(&group).map(Group::encode),
        };
        let bytes = bytes.transpose().map_err(|cause| PartError::Body { part, cause })?;
        Ok(bytes.map(|bytes| pieces(part, &bytes)))
    }

    /// Takes one piece of a snapshot, read at `lsn`.
    pub(crate) fn restore_piece(&mut self, lsn: Lsn, piece: &[u8]) -> Result<(), PartError> {
        let Piece { part, place, last, bytes } = Piece::new(piece)?;
        let mut partial = match self.restoring.remove(&part) {
            Some(partial) if place != 0 => partial,
            _ => Partial { lsn, next: 0, bytes: Vec::new() },
        };
        if partial.next != place {
            return Err(PartError::Order { part, wanted: partial.next, found: place });
        }
        if last && place == 0 {
            return self.restore_part(part, lsn, bytes);
        }
        partial.bytes.extend_from_slice(bytes);
        if last {
            return self.restore_part(part, partial.lsn, &partial.bytes);
        }
        partial.next = place.saturating_add(1);
        self.restoring.insert(part, partial);
        Ok(())
    }

    /// Ends the restoring: every part that was begun has to be whole.
    pub(crate) fn restored(&mut self) -> Result<(), PartError> {
        match std::mem::take(&mut self.restoring).into_keys().next() {
            Some(part) => Err(PartError::Unfinished(part)),
            None => Ok(()),
        }
    }

    fn restore_part(&mut self, part: PartId, lsn: Lsn, bytes: &[u8]) -> Result<(), PartError> {
        let unreadable = |cause| PartError::Body { part, cause };
        let offsets = || PartError::Offsets(part);
        match part {
            PartId::Store => self.restore_store(lsn, event::read_extended(bytes).map_err(unreadable)?),
            PartId::Topic(id) => {
                let stored: TopicPart<'_> = event::read_extended(bytes).map_err(unreadable)?;
                self.put_topic(stored.restore(id, lsn).ok_or_else(offsets)?);
            }
            PartId::Group(id) => {
                let stored: GroupPart<'_> = event::read_extended(bytes).map_err(unreadable)?;
                self.put_group(stored.restore(id, lsn).ok_or_else(offsets)?);
            }
        }
        Ok(())
    }

    fn restore_store(&mut self, lsn: Lsn, stored: StorePart<'_>) {
        self.store = Store {
            applied: lsn,
            incarnation: stored.incarnation,
            boot_id: stored.boot_id.into(),
            newest_time: self.store.newest_time.max(stored.newest_time),
            next_topic: self.store.next_topic.max(stored.next_topic),
            next_group: self.store.next_group.max(stored.next_group),
            values: Values::new(stored.values.into_owned()),
            trusted: stored.trusted,
            opened: stored.opened,
            doubted: stored.doubted,
            ids_since: stored.ids_since,
            processed: stored.processed.into_owned(),
            processed_in: stored.processed_in.into_owned(),
        };
    }
}

impl Store {
    fn encode(&self) -> postcard::Result<Vec<u8>> {
        postcard::to_allocvec(&StorePart {
            incarnation: self.incarnation,
            newest_time: self.newest_time,
            next_topic: self.next_topic,
            next_group: self.next_group,
            boot_id: Cow::Borrowed(&self.boot_id),
            values: Cow::Borrowed(self.values.by_key()),
            trusted: self.trusted,
            opened: self.opened,
            doubted: self.doubted,
            ids_since: self.ids_since,
            processed: Cow::Borrowed(&self.processed),
            processed_in: Cow::Borrowed(&self.processed_in),
        })
    }
}

impl Topic {
    fn encode(&self) -> postcard::Result<Vec<u8>> {
        let (delays, deliver_ats) = self.schedule.parts();
        postcard::to_allocvec(&TopicPart {
            since: self.since,
            created: self.created,
            end: self.end,
            name: Cow::Borrowed(&self.name),
            settings: Cow::Borrowed(&self.settings),
            extents: Cow::Borrowed(&self.extents),
            moved: self.moved.parts(),
            gone: SettledPart::of(&self.gone),
            dropped: Cow::Borrowed(&self.dropped),
            delays: packed::encode_keys(delays).into(),
            deliver_ats: packed::encode_keys(deliver_ats).into(),
            expires: self.expires,
            levels: self.levels.sets().iter().map(packed).collect(),
        })
    }
}

impl TopicPart<'_> {
    fn restore(self, id: TopicId, applied: Lsn) -> Option<Topic> {
        let settings = self.settings.into_owned();
        let gone = self.gone.restore()?;
        let (delays, deliver_ats) = (packed::decode_keys(&self.delays)?, packed::decode_keys(&self.deliver_ats)?);
        let levels: Option<Vec<_>> = self.levels.iter().map(|set| packed::decode(set)).collect();
        let mut levels = Levels::from_sets(levels?);
        let mut schedule = Schedule::from_parts(delays, deliver_ats);
        let below = Run { first: Offset::ZERO, count: gone.floor().0 };
        std::iter::once(below).chain(gone.above().runs()).for_each(|run| {
            schedule.forget(run);
            levels.forget(run);
        });
        Some(Topic {
            applied,
            since: self.since,
            id,
            name: self.name.into(),
            created: self.created,
            policy: event::patch_topic_policy(TopicPolicy::default(), &settings),
            settings,
            end: self.end,
            extents: self.extents.into_owned(),
            moved: Moved::from_parts(&self.moved)?,
            groups: Vec::new(),
            gone,
            dropped: self.dropped.into_owned(),
            schedule,
            expires: self.expires,
            levels,
        })
    }
}

impl Group {
    fn encode(&self) -> postcard::Result<Vec<u8>> {
        postcard::to_allocvec(&GroupPart {
            topic: self.topic,
            created: self.created,
            start: self.start,
            paused_until: self.paused_until,
            name: Cow::Borrowed(&self.name),
            settings: Cow::Borrowed(&self.settings),
            settled: SettledPart::of(&self.settled),
            handed: packed(&self.handed).into(),
            history: Cow::Borrowed(&self.history),
            dead: Cow::Borrowed(&self.dead),
            passed: Cow::Borrowed(&self.passed),
            lone: self.lone,
        })
    }
}

impl GroupPart<'_> {
    fn restore(self, id: GroupId, applied: Lsn) -> Option<Group> {
        let (settled, settings) = (self.settled.restore()?, self.settings.into_owned());
        let history = self.history.into_owned();
        let mut group = Group {
            applied,
            id,
            topic: self.topic,
            name: self.name.into(),
            created: self.created,
            start: self.start,
            policy: event::patch_group_policy(GroupPolicy::default(), &settings),
            settings,
            hands: Hands::new(settled.floor(), &history),
            settled,
            history,
            dead: self.dead.into_owned(),
            handed: packed::decode(&self.handed)?,
            paused_until: self.paused_until,
            passed: self.passed.into_owned(),
            lone: self.lone,
            order: None,
            orders: 0,
        };
        group.reorder();
        Some(group)
    }
}
