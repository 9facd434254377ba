//! The journal frame by frame, for people who want to see what is there.

use super::Environment;
use super::salvage::{Opened, gone, open_for_reading};
use crate::error::{Damage, Result};
use crate::event::{Event, events};
use crate::journal::{Flags, Frame, Recovery, Segment, Step};
use crate::storage::StorageFile;
use crate::types::Lsn;
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
    ready: std::collections::VecDeque<Dumped>,
    ended: bool,
}

/// Makes ready to show everything from `from` on.
pub(crate) fn dump(environment: &Environment, from: Lsn) -> Result<Dump> {
    let Opened { lock, mut recovery, mended } = open_for_reading(environment)?;
    recovery.gone = gone(&mut recovery)?;
    recovery.start_anywhere()?;
    let ready = mended.into_iter().map(Dumped::Damage).collect();
    Ok(Dump { _lock: lock, recovery, from, told: 0, ready, ended: false })
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
            self.ended = !matches!(step, Ok(Step::Frame(..) | Step::Damage));
            // Damage is noted before the step that lies behind it.
            let damage: Vec<Damage> = self.recovery.damage().get(self.told..).unwrap_or_default().to_vec();
            self.told += damage.len();
            self.ready.extend(damage.into_iter().map(Dumped::Damage));
            match step? {
                Step::Frame(frame, segment) if frame.lsn >= self.from => {
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
    if let Some(how) = frame.header.flags.unknown() {
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
        snapshot: frame.header.flags.has(Flags::SNAPSHOT),
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
