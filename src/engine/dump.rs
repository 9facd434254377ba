//! The journal frame by frame, for people who want to see what is there.
//!
//! Beside an owner who goes on writing, segments come and go meanwhile: what is there when its turn comes is shown, and
//! what is gone by then is neither shown nor damage.

use super::Environment;
use super::open::known_identity;
use super::salvage::{Opened, gone, open_for_reading};
use crate::error::{Code, Damage, Error, ErrorKind, Result};
use crate::event::{Event, events};
use crate::journal::{Flags, Frame, Recovery, SEGMENT_HEADER, Segment, Step};
use crate::storage::StorageFile;
use crate::types::{Lsn, Position};
use std::sync::Arc;

/// One entry of a [`Dump`](crate::Dump).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dumped {
    /// A whole frame.
    Frame(DumpedFrame),
    /// A place where there is none.
    Damage(Damage),
}

/// A frame of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DumpedFrame {
    /// Where it is.
    pub lsn: Lsn,
    /// Bytes, its header included.
    pub length: u32,
    /// What it says is durable of its segment; zero: nothing.
    pub durable: Lsn,
    /// Whether it is a piece of a snapshot: then it has one event, which is opaque here.
    pub snapshot: bool,
    /// What it says, in order: the kind of each event, and its fields as text. Payloads are not shown.
    pub events: Vec<(String, String)>,
}

/// See [`crate::Dump`].
#[derive(Debug)]
pub(crate) struct Dump {
    _lock: Option<Arc<dyn StorageFile>>,
    recovery: Recovery,
    from: Lsn,
    told: usize,
    /// Where it is looked again if a segment went, and how often that was since anything was shown; nothing if the
    /// store is nobody's meanwhile.
    beside: Option<(Environment, usize)>,
    ready: std::collections::VecDeque<Dumped>,
    ended: bool,
}

/// Makes ready to show everything from `from` on.
pub(crate) fn dump(environment: &Environment, from: Lsn) -> Result<Dump> {
    let Opened { lock, mut recovery, mended } = match open_for_reading(environment) {
        Err(error) if error.kind() == ErrorKind::Locked => return beside(environment.clone().read_only(), from),
        opened => opened?,
    };
    recovery.shows_locked = true;
    recovery.gone = gone(&mut recovery)?;
    recovery.start_anywhere()?;
    let ready = mended.into_iter().map(Dumped::Damage).collect();
    Ok(Dump { _lock: lock, recovery, from, told: 0, beside: None, ready, ended: false })
}

/// How often it is looked again before it is believed that nothing can be read.
const ATTEMPTS: usize = 50;

/// The same beside an owner.
fn beside(environment: Environment, from: Lsn) -> Result<Dump> {
    let mut attempts = 0;
    let recovery = loop {
        match observe(&environment, from) {
            Err(error) if error.is_not_found() && attempts < ATTEMPTS => attempts += 1,
            recovery => break recovery?,
        }
    };
    let ready = std::collections::VecDeque::new();
    Ok(Dump { _lock: None, recovery, from, told: 0, beside: Some((environment, 0)), ready, ended: false })
}

/// Starts at the first segment that is there and may have something from `from` on.
fn observe(environment: &Environment, from: Lsn) -> Result<Recovery> {
    let storage = environment.storage.clone();
    let Some(identity) = known_identity(&*storage)? else {
        return Err(Error::new(Code::NoSuchStore, "there is no store at this path"));
    };
    let mut recovery = Recovery::observe(storage, identity.store, &environment.keys)?;
    recovery.shows_locked = true;
    let first = recovery.listing.segments.range(from.segment()..).next().map(|(id, _)| *id);
    // Whoever asks for what is still to come waits at the end.
    let Some(first) = first.or(recovery.newest_begin().map(Lsn::segment)) else {
        return Err(Error::new(Code::JournalMissing, "there is not one segment of the journal"));
    };
    recovery.start(Lsn::new(first, Position(SEGMENT_HEADER)))?;
    Ok(recovery)
}

impl Dump {
    pub(crate) fn next(&mut self) -> Result<Option<Dumped>> {
        loop {
            if let Some(next) = self.ready.pop_front() {
                return Ok(Some(next));
            }
            if self.ended {
                return Ok(None);
            }
            let step = self.recovery.next().map(|(step, _)| step);
            if let (Err(error), Some((environment, attempts))) = (&step, &mut self.beside)
                && error.is_not_found()
                && *attempts < ATTEMPTS
            {
                *attempts += 1;
                match observe(environment, self.from) {
                    Err(error) if error.is_not_found() => {}
                    recovery => (self.recovery, self.told) = (recovery?, 0),
                }
                continue;
            }
            self.ended = !matches!(step, Ok(Step::Frame(..) | Step::Damage));
            // Damage is noted before the step that lies behind it.
            let damage: Vec<Damage> = self.recovery.damage().get(self.told..).unwrap_or_default().to_vec();
            self.told += damage.len();
            let gone = |damage: &Damage| self.beside.is_some() && damage.from == damage.to;
            let damage: Vec<Damage> = damage.into_iter().filter(|damage| !gone(damage)).collect();
            self.ready.extend(damage.into_iter().map(Dumped::Damage));
            match step? {
                Step::Frame(frame, segment) if frame.lsn >= self.from => {
                    self.from = Lsn::new(frame.lsn.segment(), frame.next);
                    if let Some((_, attempts)) = &mut self.beside {
                        *attempts = 0;
                    }
                    self.ready.push_back(Dumped::Frame(describe(&frame, &segment)));
                }
                Step::Frame(..) | Step::Damage => {}
                Step::End => {
                    let pieces = self.recovery.snapshot_damage().iter().cloned().map(Dumped::Damage);
                    self.ready.extend(pieces);
                }
            }
        }
    }
}

fn describe(frame: &Frame, segment: &Segment) -> DumpedFrame {
    let mut said = Vec::new();
    if let Some(how) = frame.flags.unknown() {
        said.push((how.to_owned(), String::new()));
    } else {
        for event in events(&frame.body, segment.base) {
            match event {
                Ok(event) => said.push(text(&event)),
                Err(error) => said.push(("undecodable".to_owned(), error.to_string())),
            }
        }
    }
    DumpedFrame {
        lsn: frame.lsn,
        length: frame.header.frame_length(),
        durable: Lsn::new(segment.id, frame.header.durable),
        snapshot: frame.flags.has(Flags::SNAPSHOT),
        events: said,
    }
}

/// The kind of an event, and what it says.
fn text(event: &Event<'_>) -> (String, String) {
    let (kind, published) = match event {
        Event::Publish(published) => ("Publish", published),
        Event::Move(published) => ("Move", published),
        Event::SnapshotPart(bytes) => return ("SnapshotPart".to_owned(), format!("bytes: {}", bytes.len())),
        Event::Unknown { kind } => return ("Unknown".to_owned(), format!("kind: {kind:#04x}")),
        other => {
            // "Ack(Ack { group: 1, .. })": the name, and what is in the inner braces.
            let debug = format!("{other:?}");
            let kind = debug.split('(').next().unwrap_or_default().to_owned();
            let fields = debug.split_once("{ ").map_or("", |(_, rest)| rest.trim_end_matches(')'));
            return (kind, fields.strip_suffix(" }").unwrap_or(fields).to_owned());
        }
    };
    let (topic, first, count) = (published.topic, published.first, published.count);
    let fields = format!(
        "topic: {topic}, offsets: {first}..{}, count: {count}, bytes: {}, time: {}",
        published.end,
        published.bytes,
        published.time.get()
    );
    (kind.to_owned(), fields)
}
