//! What a repair is to do: which segments are written anew, what is put in the place of what is lost, and what the
//! store is told to have lost.

use super::super::removal::{Whom, removal};
use super::inventory::Inventory;
use crate::clock::Entropy;
use crate::error::{Error, Result};
use crate::event::{Cause, CreateTopic, Event, Run, SegmentRetired, encode};
use crate::journal::{
    DIRECTORY, Flags, Frame, Gap, LEAST_GAP, Last, Patch, Place, Recovery, SEGMENT_HEADER, Scanner, Segment,
    SegmentKey, Sighting, begin_again, segment_name, sidecar_name, stand_in,
};
use crate::seen::Seen;
use crate::storage::{Access, Storage};
use crate::tables::{Place as RunPlace, Range};
use crate::types::{Lsn, Offset, Position, SegmentId, Timestamp, TopicId};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// Runs in one event: a frame of a few kilobytes.
const RUNS: usize = 1000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) patches: Vec<Patch>,
    /// Files that are moved aside without anything in their place.
    pub(super) aside: Vec<String>,
    /// Messages that somebody still wanted and nobody can read: topic, first and last offset.
    pub(super) lost: Vec<(String, Offset, Offset)>,
    pub(super) notes: Vec<String>,
    /// The names that topics were given anew.
    given: BTreeMap<TopicId, String>,
    /// Topics that can't be given a name.
    nameless: BTreeSet<TopicId>,
    /// Segments of which something is lost.
    hurt: BTreeSet<SegmentId>,
}

impl Plan {
    pub(super) fn make(recovery: &Recovery, found: &Inventory, entropy: &dyn Entropy) -> Result<Self> {
        let mut plan = Self::default();
        for (index, visit) in found.visited.iter().enumerate() {
            let successor = found.visited.get(index + 1).map(|next| next.id);
            let patch = if visit.missing {
                Some(plan.replace(recovery, found, index, entropy)?)
            } else {
                mend(recovery, found, visit.id, successor)?
            };
            if patch.is_some() {
                plan.hurt.insert(visit.id);
            }
            plan.patches.extend(patch);
        }
        if let [only] = found.visited.as_slice()
            && found.frames == 0
            && !found.damage.is_empty()
            && plan.patches.is_empty()
        {
            // All that is left is a segment that was prepared and never begun: the journal begins anew with it.
            plan.hurt.insert(only.id);
            plan.patches.push(plan.replace(recovery, found, 0, entropy)?);
            plan.notes.push("nothing of the journal is left: the store begins anew, and is empty".to_owned());
        }
        plan.name_topics(found);
        plan.count_losses(recovery, found)?;
        plan.put_aside(recovery, found);
        plan.put_ids_aside(recovery)?;
        Ok(plan)
    }

    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.patches.is_empty() && self.aside.is_empty()
    }

    /// A segment that stands in for one that can't be read at all.
    fn replace(&self, recovery: &Recovery, found: &Inventory, index: usize, entropy: &dyn Entropy) -> Result<Patch> {
        let id = found.visited.get(index).map_or(SegmentId::ZERO, |visit| visit.id);
        let previous = index.checked_sub(1).and_then(|before| found.visited.get(before)).map(|visit| visit.id);
        let successor = found.visited.get(index + 1).map(|next| next.id);
        let mut salt = [0; 8];
        let random = |source| Error::io("asking for randomness", source);
        entropy.fill(&mut salt).map_err(random)?;
        let segments = &recovery.listing.segments;
        let near = segments.range(..id).next_back().or_else(|| segments.range(id..).next());
        let base = near.map_or(Timestamp::ZERO, |(_, segment)| segment.base);
        let snapshots = found.snapshots.range(id..).next().or_else(|| found.snapshots.range(..id).next_back());
        let snapshots = snapshots.map(|(_, snapshots)| *snapshots).unwrap_or_default();
        let place = Place { store: recovery.store, id, salt: u64::from_le_bytes(salt), base };
        let key = SegmentKey::fresh(&recovery.keys, place, entropy).map_err(random)?;
        // A snapshot further on is none to start from here, but opening looks for the newest segment's word only.
        Ok(Patch {
            segment: stand_in(place, key),
            source: None,
            gaps: Vec::new(),
            end: SEGMENT_HEADER,
            more: vec![begin_again(previous.unwrap_or(SegmentId::ZERO), snapshots)],
            last: successor.map_or(Last::Open, Last::Seal),
        })
    }

    /// Topics whose creation is lost are created again, in a place before their first message.
    fn name_topics(&mut self, found: &Inventory) {
        let nameless: Vec<TopicId> =
            found.topics().into_iter().filter(|topic| !found.created.contains(topic)).collect();
        for topic in nameless {
            let before = found.first.get(&topic).copied().unwrap_or(Lsn::from_raw(u64::MAX));
            let known = found.state.topic(topic);
            let name = known.map_or_else(|| format!("recovered-{topic}"), |known| known.name().to_owned());
            let settings = known.map(|known| known.settings().clone()).unwrap_or_default();
            let time = known.map_or(Timestamp::ZERO, |known| known.created());
            let event = |name: &str| {
                let mut body = Vec::new();
                let name = Cow::Borrowed(name);
                let (time, settings) = (time, settings.clone());
                encode(&Event::CreateTopic(CreateTopic { topic, time, name, settings }), &mut body);
                body
            };
            if known.is_none() {
                self.given.insert(topic, name.clone());
            }
            let placed = self.place(before, &event(&name))
                || known.is_none() && self.place_padded(before, &format!("#{topic}"), event);
            if known.is_none() {
                if !placed {
                    self.nameless.insert(topic);
                }
                self.notes.push(if placed {
                    format!("the name of topic number {topic} is lost: it has another one now, see the topics")
                } else {
                    format!(
                        "the name of topic number {topic} is lost, and there is no room for another one: its messages \
                         can be salvaged only"
                    )
                });
            }
        }
    }

    /// Puts the body of a frame into the last gap or stand-in before `before` that has room for it.
    fn place(&mut self, before: Lsn, body: &[u8]) -> bool {
        for patch in self.patches.iter_mut().rev().filter(|patch| patch.segment.id <= before.segment()) {
            let id = patch.segment.id;
            let overhead = patch.overhead();
            let length = |body: &[u8]| u32::try_from(body.len()).unwrap_or(u32::MAX).saturating_add(overhead);
            // Whatever is written anew has room behind its frames.
            if id < before.segment() {
                patch.more.push((Flags::NONE, body.to_vec()));
                return true;
            }
            for gap in patch.gaps.iter_mut().rev().filter(|gap| Lsn::new(id, Position(gap.from)) < before) {
                let used = gap.instead.iter().map(|body| length(body)).fold(0, u32::saturating_add);
                let left = (gap.to - gap.from).saturating_sub(used);
                let rest = left.checked_sub(length(body));
                if rest.is_some_and(|rest| rest == 0 || rest >= LEAST_GAP) {
                    gap.instead.push(body.to_vec());
                    return true;
                }
            }
        }
        false
    }

    /// The same with a name that is made longer until it fits.
    fn place_padded(&mut self, before: Lsn, name: &str, event: impl Fn(&str) -> Vec<u8>) -> bool {
        (0..LEAST_GAP as usize).any(|more| self.place(before, &event(&format!("{name}{}", "-".repeat(more)))))
    }

    /// What nobody can read any more is written down as lost at the journal's end. What can be read, but not where it
    /// is looked for, is to come behind that: see [`write`](super::write).
    fn count_losses(&mut self, recovery: &Recovery, found: &Inventory) -> Result<()> {
        let mut more = Vec::new();
        for topic in found.topics().into_iter().filter(|topic| !self.nameless.contains(topic)) {
            let (lost, settled) = found.missing(topic);
            let name = self.given.get(&topic).cloned().unwrap_or_else(|| found.name_of(topic));
            let last = |run: &Run| Offset::new(run.end().get().saturating_sub(1));
            self.lost.extend(lost.iter().map(|run| (name.clone(), run.first, last(run))));
            let settled = if lost.is_empty() && found.damage.is_empty() { Vec::new() } else { settled };
            Seen::Lost.note_if(!lost.is_empty());
            for (cause, runs) in [(Cause::Lost, lost), (Cause::Settled, settled)] {
                for runs in runs.chunks(RUNS) {
                    let mut body = Vec::new();
                    encode(&removal(Whom::Everybody(topic), cause, runs.to_vec()), &mut body);
                    more.push((Flags::NONE, body));
                }
            }
        }
        for (first, last) in found.lost_groups() {
            self.notes.push(if first == last {
                format!("the creation of group number {first} is lost: its progress is too")
            } else {
                format!("the creation of the groups number {first} to {last} is lost: their progress is too")
            });
        }
        // That a segment went is said once more where what said it stands behind a torn place.
        let there = &recovery.listing.segments;
        let needed = recovery.gone.needed.iter().filter(|id| recovery.gone.retired.contains(id));
        let unsaid: Vec<SegmentId> =
            needed.filter(|id| !found.retired.contains(id) && !there.contains_key(id)).copied().collect();
        for segment in &unsaid {
            let mut body = Vec::new();
            encode(&Event::SegmentRetired(SegmentRetired { segment: *segment }), &mut body);
            more.push((Flags::NONE, body));
        }
        let nothing = more.is_empty() || (self.lost.is_empty() && found.damage.is_empty() && unsaid.is_empty());
        if nothing && found.misplaced.is_empty() {
            return Ok(());
        }
        let Some(last) = found.visited.last() else { return Ok(()) };
        if !self.patches.iter().any(|patch| patch.segment.id == last.id) {
            let patch = whole(recovery, found, last.id)?;
            self.patches.push(patch);
        }
        if let Some(patch) = self.patches.iter_mut().find(|patch| patch.segment.id == last.id) {
            patch.more.extend(more);
        }
        Ok(())
    }

    /// Ids that were written in pieces: where one ends, a frame may have ended that is lost. Those of the whole segment
    /// stay, and with them ids whose frames are lost.
    fn put_ids_aside(&mut self, recovery: &Recovery) -> Result<()> {
        let entries = recovery.storage.list(DIRECTORY);
        let entries = entries.map_err(|source| Error::io("listing the journal's directory", source))?;
        let pieces = entries.into_iter().filter(|entry| {
            let place = RunPlace::of_name(&entry.name, Position(SEGMENT_HEADER));
            place.is_some_and(|place| self.hurt.contains(&place.first) && place.range.to != Range::END)
        });
        let pieces: Vec<String> = pieces.map(|entry| format!("{DIRECTORY}/{}", entry.name)).collect();
        if !pieces.is_empty() {
            let what = "ids that were published or carried over in what is lost may be accepted once more";
            self.notes.push(what.to_owned());
        }
        self.aside.extend(pieces);
        Ok(())
    }

    fn put_aside(&mut self, recovery: &Recovery, found: &Inventory) {
        let there = |name: &String| recovery.storage.open(name, Access::Read).is_ok();
        let patched = self.patches.iter().map(|patch| patch.segment.id);
        self.aside.extend(patched.map(sidecar_name).filter(there));
        self.aside.extend(found.wrong.iter().map(|id| sidecar_name(*id)));
        let visited: BTreeSet<SegmentId> = found.visited.iter().map(|visit| visit.id).collect();
        let strange = recovery.listing.bad.keys().filter(|id| !visited.contains(id) && !recovery.gone.has(**id));
        self.aside.extend(strange.map(|id| segment_name(*id)));
        // A file that was another segment than its name says, where none of that name is needed.
        let needed: BTreeSet<String> = visited.iter().map(|id| segment_name(*id)).collect();
        let strays = recovery.listing.aliases.values().filter(|file| !needed.contains(*file));
        self.aside.extend(strays.cloned());
        // A segment that was prepared and holds nothing is not written anew when its header is hurt.
        let hurt = found.damage.iter().map(|place| &place.file).filter(|file| !needed.contains(*file));
        self.aside.extend(hurt.filter(|file| there(file)).cloned());
        self.aside.sort();
        self.aside.dedup();
    }
}

/// The segment as it is, to be written anew with something behind it.
fn whole(recovery: &Recovery, found: &Inventory, id: SegmentId) -> Result<Patch> {
    let file = recovery.listing.file_of(id);
    let source = recovery.storage.open(&file, Access::Read);
    let source = source.map_err(|source| Error::io(format!("opening {file}"), source))?;
    let segment = recovery.listing.segments.get(&id).map(|segment| Segment::clone(segment));
    let segment = segment.ok_or_else(|| Error::new(crate::error::Code::SegmentMissing, file))?;
    let end = found.end.filter(|end| end.segment() == id).map_or(SEGMENT_HEADER, |end| end.position().get());
    let last = if found.closed { Last::Closed } else { Last::Open };
    Ok(Patch { segment, source: Some(source), gaps: Vec::new(), end, more: Vec::new(), last })
}

/// What a segment needs; nothing if it is as it should be.
fn mend(recovery: &Recovery, found: &Inventory, id: SegmentId, successor: Option<SegmentId>) -> Result<Option<Patch>> {
    let name = segment_name(id);
    let places: Vec<(u32, u32)> = found
        .damage
        .iter()
        .filter(|place| place.file == name)
        .filter_map(|place| Some((u32::try_from(place.from).ok()?, u32::try_from(place.to).ok()?)))
        .collect();
    let seal = found.seals.get(&id);
    let passed_over = seal.map(|seal| seal.successor).filter(|next| recovery.gone.has(*next));
    let astray = passed_over.is_none() && seal.is_some_and(|seal| Some(seal.successor) != successor);
    if places.is_empty() && !astray && recovery.listing.file_of(id) == name {
        return Ok(None);
    }
    let mut patch = whole(recovery, found, id)?;
    // A place without length is where a file was cut off between two frames.
    let tail = places.iter().filter(|(from, to)| *from >= SEGMENT_HEADER && from <= to);
    patch.end = match (seal, found.end.filter(|end| end.segment() == id)) {
        (Some(seal), _) => seal.length,
        (None, Some(end)) => end.position().get(),
        // Everything from the last damaged place on is gone.
        (None, None) => tail.clone().map(|(from, _)| *from).max().unwrap_or(SEGMENT_HEADER),
    };
    if let Some(successor) = passed_over.or(successor) {
        patch.last = Last::Seal(successor);
    }
    let mut gaps: Vec<Gap> = Vec::new();
    let mut sorted: Vec<(u32, u32)> = tail.copied().filter(|(from, _)| *from < patch.end).collect();
    sorted.sort_unstable();
    for (from, to) in sorted {
        let to = wide_enough(&patch, from, to.min(patch.end))?;
        match gaps.last_mut().filter(|last| from <= last.to) {
            Some(last) => last.to = last.to.max(to),
            None => gaps.push(Gap { from, to, instead: Vec::new() }),
        }
    }
    patch.gaps = gaps;
    Ok(Some(patch))
}

/// A gap that is too short for a frame takes the one behind it along. No writer leaves such a gap.
fn wide_enough(patch: &Patch, from: u32, to: u32) -> Result<u32> {
    let Some(source) = patch.source.clone().filter(|_| to - from < LEAST_GAP) else { return Ok(to) };
    let mut scanner = Scanner::new(source, std::sync::Arc::new(patch.segment.clone()));
    scanner.seek(Position(to));
    let failed = |source| Error::io(format!("reading {}", segment_name(patch.segment.id)), source);
    match scanner.next().map_err(failed)? {
        Sighting::Frame(Frame { next, .. }) => Ok(next.get().min(patch.end.max(to))),
        Sighting::Bad { .. } => Ok(to),
    }
}

/// Whether a file of this name is there, whatever it is.
pub(super) fn exists(storage: &dyn Storage, name: &str) -> Result<bool> {
    let (directory, file) = name.rsplit_once('/').unwrap_or(("", name));
    match storage.list(directory) {
        Ok(entries) => Ok(entries.iter().any(|entry| entry.name == file)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(Error::io(format!("listing {directory:?}"), source)),
    }
}
