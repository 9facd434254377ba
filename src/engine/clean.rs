//! Cleaning: the few messages that are still needed of a mostly dead segment are appended again, so that its file can
//! go.
//!
//! A piece at a time: some frames of the segment are read, each verified; what of them is needed is found under the
//! lock; it is encoded without it, by topic and offset; and appended under it again. What was settled in between is
//! moved for nothing, which is no harm. Then the ids of the segment that are still refused are appended again (see
//! `ids`). Once all of it was gone through, nothing in it is needed, and it is removed as any other dead one.

use super::ids::Carrying;
use super::read::{readable, undecodable};
use super::{Core, Engine};
use crate::config::Options;
use crate::error::{Code, Damage, Error, ErrorKind, Result};
use crate::event::{Event, MessageView, Published, encode, events};
use crate::journal::{Carried, Class, Flags, Frame, Refusal, Window, pack, seal_of, segment_name};
use crate::seen::Seen;
use crate::types::{Lsn, Position, SegmentId, Timestamp, TopicId};
use std::collections::BTreeMap;

/// Bytes of messages that one frame takes on: to read one of them, its frame is read.
const FRAME_BYTES: u64 = 16 << 10;

/// Messages that one frame takes on.
const FRAME_MESSAGES: usize = 512;

/// While so many segments are to be cleaned, another one is prepared only after some of them were: the brake on those
/// who publish faster than that.
const BRAKED: usize = 4;

/// So many, then. Fewer than two would not catch up: what is moved takes room as well.
pub(super) const CLEANED: usize = 2;

/// Pieces that cleaning a segment takes at most, besides those that read it: its end, and its ids.
const CLEANED_PIECES: usize = 3;

/// So often a snapshot is begun for one that is wanted now: one that was on its way already comes first, and one is
/// given up where there is no room for it.
const SNAPSHOT_TRIES: usize = 4;

/// What [`Store::clean_now`](crate::Store::clean_now) did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cleaned {
    /// Segments that went.
    pub segments: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// Messages that were written again elsewhere.
    pub moved: u64,
    /// Bytes of those, without framing.
    pub moved_bytes: u64,
    /// What can't be read; the segments it is in stay.
    pub damage: Vec<Damage>,
}

/// Whoever is cleaning.
#[derive(Debug, Default)]
pub(super) struct Cleaner {
    /// The segment that is being gone through, and how far.
    at: Option<Lsn>,
    /// Its messages lie further on; its ids are on their way.
    carrying: Option<Carrying>,
    moved: u64,
    moved_bytes: u64,
    damage: Vec<Damage>,
}

/// What is to be cleaned before another segment is prepared: until so few are left, but only so many pieces: what can't
/// be cleaned keeps nobody waiting for long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Brake {
    enough: usize,
    pieces: usize,
}

impl Brake {
    fn one_less(self) -> Option<Self> {
        Some(Self { pieces: self.pieces.checked_sub(1)?, ..self })
    }
}

/// A frame to be appended.
pub(super) struct Load<'a> {
    messages: Published<'a>,
    pub(super) bytes: Vec<u8>,
    flags: Flags,
}

impl Engine {
    /// Goes on with the segment that is being cleaned, or begins with the next one. Whether there is more to do.
    pub(super) fn clean_piece(&self) -> Result<bool> {
        let mut cleaner = self.cleaning.lock();
        let (segment, outcome) = if let Some(carrying) = cleaner.carrying.take() {
            (carrying.segment(), self.carry_piece(&mut cleaner, carrying))
        } else if let Some(at) = cleaner.at.take().or_else(|| self.next_unclean()) {
            let segment = at.segment();
            let outcome = self.clean_from(&mut cleaner, at).and_then(|next| {
                cleaner.at = next;
                if next.is_none() {
                    cleaner.carrying = self.begin_carrying(segment)?;
                }
                // Ids that are not in runs yet are there soon: it is begun again then.
                Ok(next.is_some() || cleaner.carrying.is_some())
            });
            (segment, outcome)
        } else {
            return Ok(false);
        };
        match outcome {
            Ok(more) => Ok(more),
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported) => {
                tracing::error!(%error, %segment, "what is needed of a segment can't be read; it stays");
                cleaner.damage.extend_from_slice(error.damage());
                let mut core = self.core.lock();
                core.space.damaged.insert(segment);
                core.space.unclean.remove(&segment);
                Ok(true)
            }
            // Without room it is begun again when there is some.
            Err(error) if error.kind() == ErrorKind::Full => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the upkeep still has to clean before it prepares another segment; asked at each of its turns.
    pub(super) fn is_braked(&self) -> bool {
        let mut core = self.core.lock();
        let brake = match core.space.brake.take() {
            None => core.brake(&self.options),
            Some(brake) => (core.space.unclean.len() > brake.enough).then_some(brake),
        };
        core.space.brake = brake.and_then(Brake::one_less);
        core.space.brake.is_some()
    }

    /// The same for whoever wants the segment: does what is to be done before. They are not told what failed of it; the
    /// upkeep says so when it gets there itself.
    pub(super) fn clean_first(&self) {
        let mut brake = self.core.lock().brake(&self.options);
        while let Some(there) = brake.and_then(Brake::one_less) {
            let more = self.clean_piece().is_ok_and(|more| more);
            brake = (more && self.core.lock().space.unclean.len() > there.enough).then_some(there);
        }
    }

    /// Goes on with the ids of a segment; when they are through, so is the segment.
    fn carry_piece(&self, cleaner: &mut Cleaner, mut carrying: Carrying) -> Result<bool> {
        if self.carry_ids(&mut carrying)? {
            cleaner.carrying = Some(carrying);
        } else {
            let mut core = self.core.lock();
            core.space.unclean.remove(&carrying.segment());
            core.space.look_soon();
        }
        Ok(true)
    }

    fn next_unclean(&self) -> Option<Lsn> {
        let mut core = self.core.lock();
        loop {
            let id = *core.space.unclean.first()?;
            if self.files.known(id).is_some_and(|known| known.seal.is_some()) {
                return Some(Lsn::new(id, Position(crate::journal::SEGMENT_HEADER)));
            }
            core.space.unclean.remove(&id);
        }
    }

    /// Cleans about one step's bytes. Where to go on; nothing at the segment's end.
    fn clean_from(&self, cleaner: &mut Cleaner, at: Lsn) -> Result<Option<Lsn>> {
        let written = self.open_core()?.tail.written();
        let Some(window) =
            Window::read(&self.files, at, self.options.clean_step_bytes, written, bytes::BytesMut::new())?
        else {
            return Ok(None);
        };
        let (mut frames, mut position, mut ended) = (Vec::new(), at.position(), false);
        while let Some(frame) = window.frame(position)? {
            position = frame.next;
            ended = seal_of(&frame).is_some();
            if ended {
                break;
            }
            readable(&frame)?;
            if frame.flags.is_events() {
                frames.push(frame);
            }
        }
        let base = window.segment().base;
        let needed = self.needed_of(&frames, base, at.segment())?;
        let packs: Vec<TopicId> = {
            let core = self.open_core()?;
            needed.keys().filter(|topic| core.packs(**topic)).copied().collect()
        };
        for load in loads(&needed, &packs) {
            let (count, bytes) = (load.messages.count, load.messages.bytes);
            self.append_load(&load)?;
            cleaner.moved += count;
            cleaner.moved_bytes += bytes;
        }
        Ok((!ended).then(|| Lsn::new(at.segment(), position)))
    }

    /// The messages in these frames that somebody needs and that lie nowhere else, each verified.
    fn needed_of<'a>(
        &self,
        frames: &'a [Frame],
        base: Timestamp,
        segment: SegmentId,
    ) -> Result<BTreeMap<TopicId, Vec<MessageView<'a>>>> {
        let mut needed: BTreeMap<TopicId, Vec<MessageView<'a>>> = BTreeMap::new();
        for frame in frames {
            for event in events(&frame.body, base) {
                let event = event.map_err(|error| undecodable(frame, error))?;
                let (Event::Publish(published) | Event::Move(published)) = event else { continue };
                let core = self.open_core()?;
                let Some(topic) = core.state.topic(published.topic) else { continue };
                let before = needed.get(&published.topic).map_or(0, Vec::len);
                for view in published.messages() {
                    let view = view.map_err(|error| undecodable(frame, error))?;
                    if topic.extent_of(view.offset) == Some(segment) && core.state.is_needed(topic, view.offset) {
                        needed.entry(published.topic).or_default().push(view);
                    }
                }
                drop(core);
                let fresh = needed.get(&published.topic).and_then(|views| views.get(before..)).unwrap_or_default();
                if let Some(bad) = fresh.iter().find(|view| !view.verify(published.topic)) {
                    return Err(damaged(frame, published.topic, bad));
                }
            }
        }
        for views in needed.values_mut() {
            views.sort_by_key(|view| view.offset);
            views.dedup_by_key(|view| view.offset);
        }
        Ok(needed)
    }

    /// Appends one frame of messages that are carried over.
    fn append_load(&self, load: &Load<'_>) -> Result<()> {
        loop {
            let refusal = {
                let mut core = self.open_core()?;
                match core.carry(load) {
                    Ok(()) => {
                        self.arm(&mut core, false);
                        self.want_successor(&mut core);
                        return Ok(());
                    }
                    Err(refusal) => refusal,
                }
            };
            self.relieve(refusal)?;
        }
    }

    /// Cleans every segment that is mostly dead, and removes every dead one, now.
    pub(crate) fn clean_now(&self) -> Result<Cleaned> {
        let before = self.open_core()?.space.freed;
        {
            let mut cleaner = self.cleaning.lock();
            (cleaner.moved, cleaner.moved_bytes) = (0, 0);
            cleaner.damage.clear();
        }
        self.write_sidecars()?;
        while self.flush_ids()? {}
        self.look_now()?;
        // What two snapshots begin behind may go.
        for _ in 0..2 {
            if self.open_core()?.space.uncovered() > 0 {
                self.snapshot_now()?;
            }
        }
        self.look_now()?;
        while self.clean_piece()? {}
        self.look_now()?;
        while self.remove_retired()? {}
        let (segments, bytes) = self.open_core()?.space.freed;
        let cleaner = self.cleaning.lock();
        Ok(Cleaned {
            segments: segments.saturating_sub(before.0),
            bytes: bytes.saturating_sub(before.1),
            moved: cleaner.moved,
            moved_bytes: cleaner.moved_bytes,
            damage: cleaner.damage.clone(),
        })
    }

    fn look_now(&self) -> Result<()> {
        loop {
            let refusal = {
                let mut core = self.open_core()?;
                match self.find_dead(&mut core, true) {
                    Ok(()) => return Ok(()),
                    Err(refusal) => refusal,
                }
            };
            self.relieve(refusal)?;
        }
    }

    /// Takes a snapshot that begins behind all that is there, whether or not one is due.
    fn snapshot_now(&self) -> Result<()> {
        let from = self.open_core()?.tail.end();
        let (mut begun, mut tries) = (None, 0);
        while tries < SNAPSHOT_TRIES {
            {
                let mut core = self.open_core()?;
                let fits = core.full.is_none() || core.snapshot_fits();
                if core.tail.snapshots().newer >= from || !fits {
                    return Ok(());
                }
                // Each time: the upkeep, which may be at it as well, has reasons of its own to want none.
                core.space.want_snapshot();
                let running = core.snapshot.begun();
                tries += usize::from(running.is_some() && running != begun);
                begun = running.or(begun);
            }
            // As the upkeep does: a snapshot may go on from segment to segment.
            self.make_room(0)?;
            _ = self.snapshot_piece()?;
        }
        Ok(())
    }
}

impl Core {
    /// The brake, if cleaning is so far behind. On a full disk there is none: what there is of room is needed for other
    /// things.
    fn brake(&self, options: &Options) -> Option<Brake> {
        let waiting = self.space.unclean.len();
        if waiting < BRAKED || self.full.is_some() {
            return None;
        }
        Seen::Braked.note();
        let capacity = usize::try_from(self.tail.active().capacity).unwrap_or(usize::MAX);
        let pieces = (capacity / options.clean_step_bytes).saturating_add(CLEANED_PIECES);
        Some(Brake { enough: waiting.saturating_sub(CLEANED), pieces: pieces.saturating_mul(CLEANED) })
    }

    fn carry(&mut self, load: &Load<'_>) -> Result<(), Refusal> {
        self.tail.place(load.bytes.len(), Class::Clean)?;
        let (first, last) = (load.messages.first.get(), load.messages.end.get().saturating_sub(1));
        let event = Event::Move(load.messages.clone());
        let (crc, bytes) = (crc32fast::hash(&load.bytes), &load.bytes);
        let span = self.tail.append(load.flags, crc, bytes.len(), |out| out.extend_from_slice(bytes), &[]);
        Seen::Cleaned.note();
        self.apply(span.start, &event);
        let position = span.start.position();
        self.tail.note_carried(load.messages.topic.get(), Carried { first, last, position });
        Ok(())
    }

    /// Whether there is room for a snapshot like the last one, and some to settle besides.
    pub(super) fn snapshot_fits(&self) -> bool {
        let there = self.tail.stock().bytes().saturating_add(self.tail.rest());
        let size = self.snapshot.size;
        there >= size.saturating_add(size / 4).saturating_add(u64::from(self.tail.active().capacity) / 4)
    }
}

/// Frames for what is carried over, each of one topic.
pub(super) fn loads<'a>(needed: &'a BTreeMap<TopicId, Vec<MessageView<'a>>>, packs: &[TopicId]) -> Vec<Load<'a>> {
    let mut loads = Vec::new();
    for (topic, views) in needed {
        let mut rest = views.as_slice();
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |view: &&MessageView<'_>| {
                bytes += view.content_len();
                bytes <= FRAME_BYTES
            };
            let count = rest.iter().take(FRAME_MESSAGES).take_while(fits).count().max(1);
            let Some((these, others)) = rest.split_at_checked(count) else { break };
            rest = others;
            let messages = Published::moved(*topic, these);
            let mut encoded = Vec::new();
            encode(&Event::Move(messages.clone()), &mut encoded);
            let packed = if packs.contains(topic) { pack(&encoded) } else { None };
            Seen::MovedPacked.note_if(packed.is_some());
            let flags = if packed.is_some() { Flags::COMPRESSED } else { Flags::NONE };
            loads.push(Load { messages, bytes: packed.unwrap_or(encoded), flags });
        }
    }
    loads
}

fn damaged(frame: &Frame, topic: TopicId, view: &MessageView<'_>) -> Error {
    let what = format!("the check of topic {topic} offset {} does not fit", view.offset);
    let (from, to) = (u64::from(frame.lsn.position().get()), u64::from(frame.next.get()));
    let damage = Damage { file: segment_name(frame.lsn.segment()), from, to, what, messages: Vec::new() };
    Error::new(Code::Damaged, "a message that is needed is damaged").with_damage(vec![damage])
}
