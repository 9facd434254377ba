//! Reading a store from front to back and saying what is wrong with it, without changing anything.

use super::open::{known_identity, share_lock};
use super::rebuild::Replay;
use super::salvage::gone;
use crate::error::{Code, Damage, Error, ErrorKind, Result};
use crate::journal::{Recovery, Trimmed};
use crate::types::{Lsn, SegmentId};
use std::collections::BTreeMap;

/// How far a long piece of work has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes that were read.
    pub done_bytes: u64,
    /// Bytes there are to read.
    pub total_bytes: u64,
}

/// What a store holds, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// What is damaged; empty if the store is intact.
    pub damage: Vec<Damage>,
    /// Damaged pieces of snapshots: nothing is lost with them, but opening takes longer.
    pub snapshot_damage: Vec<Damage>,
    /// A torn tail that nobody was promised; the next opening trims it.
    pub torn: Option<Trimmed>,
    /// Whether the store was closed cleanly.
    pub clean: bool,
    /// Segments of the journal.
    pub segments: u64,
    /// Whole frames.
    pub frames: u64,
    /// Messages in them.
    pub messages: u64,
    /// Topics, by name, with the number of messages each has had.
    pub topics: Vec<(String, u64)>,
}

/// How often it is said how far the reading has come.
const SAY_EVERY: u64 = 1 << 20;

/// How often it is begun anew because the owner gave a segment back to the disk meanwhile.
const ATTEMPTS: usize = 10;

/// Reads everything. A store that is closed stays so meanwhile: its lock is shared with others who verify. Of one that
/// is open, what had been written when it began is read, and its owner is not held up.
pub(crate) fn verify(environment: &super::Environment, progress: &mut dyn FnMut(Progress)) -> Result<Report> {
    let storage = environment.storage.clone();
    let Some(_) = known_identity(&*storage)? else {
        return Err(Error::new(Code::NoSuchStore, "there is no store at this path"));
    };
    let lock = match share_lock(&*storage) {
        Err(error) if error.kind() == ErrorKind::Locked => None,
        lock => Some(lock?),
    };
    let Some(identity) = known_identity(&*storage)? else {
        return Err(Error::new(Code::NoSuchStore, "there is no store at this path"));
    };
    if lock.is_some() {
        return read_all(Recovery::begin(storage, identity.store, &environment.keys)?, progress);
    }
    let storage = environment.clone().read_only().storage;
    let (mut attempts, mut before) = (0, Vec::new());
    loop {
        let recovery = Recovery::observe(storage.clone(), identity.store, &environment.keys);
        match recovery.and_then(|recovery| read_all(recovery, progress)) {
            Err(error) if error.is_not_found() && attempts < ATTEMPTS => attempts += 1,
            // What is damaged is so twice.
            Ok(report) if report.damage != before && attempts < ATTEMPTS => {
                (attempts, before) = (attempts + 1, report.damage);
            }
            outcome => return outcome,
        }
    }
}

fn read_all(mut recovery: Recovery, progress: &mut dyn FnMut(Progress)) -> Result<Report> {
    let total_bytes = recovery.listing.bytes;
    progress(Progress { done_bytes: 0, total_bytes });
    // As an opening would, to know what there should be.
    let mut opened = Replay::default();
    let mut damage = match opened.run(&mut recovery) {
        Ok(()) => std::mem::take(recovery.damage()),
        Err(error) if !error.damage().is_empty() => error.damage().to_vec(),
        Err(error) => return Err(error),
    };
    recovery.gone = if damage.is_empty() { opened.gone.clone() } else { gone(&mut recovery)? };
    let mut replay = Replay { seen: Some(BTreeMap::new()), ..Replay::default() };
    // Then from the very first segment, whatever snapshots say: every byte is looked at.
    let before: BTreeMap<SegmentId, u64> = recovery
        .listing
        .segments
        .values()
        .scan(0, |sum: &mut u64, segment| {
            let before = *sum;
            *sum = sum.saturating_add(u64::from(segment.capacity));
            Some((segment.id, before))
        })
        .collect();
    let mut said = 0;
    let mut met = |lsn: Lsn| {
        let before = before.get(&lsn.segment()).copied().unwrap_or_default();
        let done_bytes = before.saturating_add(u64::from(lsn.position().get())).min(total_bytes);
        if done_bytes >= said + SAY_EVERY {
            said = done_bytes;
            progress(Progress { done_bytes, total_bytes });
        }
    };
    match replay.fold(&mut recovery, Lsn::ZERO, &mut met) {
        Ok(()) => {}
        Err(error) if !error.damage().is_empty() => recovery.damage().extend_from_slice(error.damage()),
        Err(error) => return Err(error),
    }
    progress(Progress { done_bytes: total_bytes, total_bytes });
    let found = std::mem::take(recovery.damage());
    // Most of it was met twice.
    damage.retain(|one| !found.iter().any(|other| (&one.file, one.from) == (&other.file, other.from)));
    damage.splice(0..0, found);
    let known = if opened.state.topics().next().is_some() { &opened.state } else { &replay.state };
    let topics = known.topics().map(|topic| (topic.name().to_owned(), topic.end().get())).collect();
    Ok(Report {
        clean: recovery.closed,
        frames: recovery.frames,
        messages: replay.messages,
        topics,
        segments: recovery.listing.segments.len() as u64 + recovery.listing.bad.len() as u64,
        torn: recovery.trimmed().cloned(),
        snapshot_damage: recovery.snapshot_damage().to_vec(),
        damage,
    })
}
