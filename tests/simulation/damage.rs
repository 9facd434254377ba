//! Damage in the simulation (I9): a copy of the disk is hurt while the store is down, then verified, opened and
//! repaired. Nothing that was not published is ever read; what is missing is told; what a repair leaves is whole.

use crate::coverage::checked;
use crate::ids::{self, Ids};
use crate::model::{Firm, Model};
use crate::world::{GROUPS, TOPICS};
use millpond::testing::{Faults, SimDisk};
use millpond::{Error, ErrorKind, ManualClock, Options, Store};
use std::collections::BTreeSet;
use std::fmt::Write as _;

const HEADER: usize = 4096;

type Check = Result<(), String>;

/// Where the frames of a segment begin, as their lengths say, and where the last one ends.
fn frames(bytes: &[u8]) -> Vec<usize> {
    let (mut found, mut at) = (Vec::new(), HEADER);
    while let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()) {
        let length = (u32::from_le_bytes(*word) & 0x0fff_ffff) as usize;
        if length == 0 || at + 16 + length > bytes.len() {
            break;
        }
        found.push(at);
        at += 16 + length;
    }
    found.push(at);
    found
}

/// Hurts one file in one way. What was done; nothing if there is nothing to be hurt.
fn injure(rng: &mut fastrand::Rng, disk: &SimDisk) -> Option<String> {
    let mut names = disk.file_names();
    names.retain(|name| match rng.u8(0..4) {
        0 => name.starts_with("journal/"),
        _ => name.ends_with(".segment"),
    });
    let last = names.iter().rfind(|name| name.ends_with(".segment")).cloned();
    let some = names.get(rng.usize(0..names.len().max(1)))?.clone();
    let name = if rng.u8(0..3) == 0 { last.unwrap_or(some) } else { some };
    let mut bytes = disk.read_file(&name).ok().filter(|bytes| !bytes.is_empty())?;
    let frames = if name.ends_with(".segment") { frames(&bytes) } else { vec![0, bytes.len()] };
    let end = frames.last().copied().unwrap_or(0).clamp(1, bytes.len());
    let count = frames.len().max(2) - 1;
    let which = if rng.u8(0..4) == 0 { count - 1 } else { rng.usize(0..count) };
    let frame = frames[which].min(bytes.len() - 1);
    let how = rng.u8(0..9);
    let at = match how {
        // In the header of a frame: its length, its claim, its checksums.
        0 | 1 => frame + rng.usize(0..16),
        4..=6 if rng.bool() => frame,
        _ => rng.usize(0..end),
    };
    let at = at.min(bytes.len() - 1);
    match how {
        0..=3 => bytes[at] ^= 1 << rng.u8(0..8),
        4 => {
            let upto = (at + rng.usize(1..600)).min(bytes.len());
            bytes[at..upto].fill(0);
        }
        5 => {
            let upto = (at + rng.usize(1..600)).min(bytes.len());
            bytes[at..upto].iter_mut().for_each(|byte| *byte = rng.u8(..));
        }
        6 => bytes.truncate(at),
        7 => {
            // A sector of another place.
            let (from, to) = (rng.usize(0..end) / 512 * 512, at / 512 * 512);
            let sector: Vec<u8> = bytes.iter().skip(from).take(512).copied().collect();
            bytes.iter_mut().skip(to).zip(sector).for_each(|(byte, other)| *byte = other);
        }
        _ => {
            disk.remove_file(&name).ok()?;
            return Some(format!("{name} is removed"));
        }
    }
    disk.write_file(&name, &bytes);
    Some(format!("{name} is hurt at {at} in way {how}"))
}

fn options() -> Options {
    let options = Options::default().segment_bytes(16 << 10).first_segment_bytes(16 << 10).create(false);
    options.encryption(crate::keys::ring(Some(0)))
}

/// What can be read of the store, each byte as it was published. `told`: a read that fails is no surprise.
fn read(store: &Store, model: &Model, told: bool) -> Result<Vec<(u64, BTreeSet<u64>)>, String> {
    let mut all = Vec::new();
    for topic in 0..TOPICS {
        let mut seen = BTreeSet::new();
        let Ok(open) = store.existing_topic(&format!("topic {topic}")) else {
            all.push((0, seen));
            continue;
        };
        for record in open.read(..) {
            let record = match record {
                Ok(record) => record,
                Err(error) if told && error.kind() == ErrorKind::Corrupt => break,
                Err(error) => return Err(format!("I9: reading fails, and nothing was told: {error}")),
            };
            let offset = record.offset().get();
            let known = model.topics[topic].get(usize::try_from(offset).unwrap());
            if known.is_none_or(|entry| entry.payload != record.payload()) {
                return Err(format!("I2: topic {topic} offset {offset}: never published, after damage"));
            }
            seen.insert(offset);
        }
        all.push((open.end_offset().get(), seen));
    }
    Ok(all)
}

/// Offsets below the end that are not there, and that nothing explains.
fn missing(model: &Model, topic: usize, end: u64, there: &BTreeSet<u64>) -> Vec<u64> {
    let groups = &model.groups[topic * GROUPS..][..GROUPS];
    let explained = |offset: u64| {
        let entry = &model.topics[topic][usize::try_from(offset).unwrap()];
        let offset = millpond::Offset::new(offset);
        entry.expires || groups.iter().all(|group| group.acked.contains_key(&offset))
    };
    (0..end).filter(|offset| !there.contains(offset) && !explained(*offset)).collect()
}

fn in_words(error: &Error) -> String {
    format!("{}: {error}", error.code())
}

/// How a store went down: what was less firm than `least` may be lost; `closed` says that it was closed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) least: Firm,
    pub(crate) closed: bool,
}

/// The store is down. A copy of it is hurt.
pub(crate) fn hurt(
    rng: &mut fastrand::Rng,
    (disk, clock): (&SimDisk, &ManualClock),
    model: &Model,
    ids: Option<&Ids>,
    ended: Ended,
    trace: &mut String,
) -> Check {
    let copy = disk.fork(rng.u64(..));
    copy.set_faults(Faults::default());
    let Some(what) = injure(rng, &copy) else { return Ok(()) };
    let _ = writeln!(trace, "on a copy, {what}");
    let with = |problem: String| format!("{problem}; {what}");
    hurt_so(rng, (&copy, clock), model, ids, ended).map_err(with)
}

fn hurt_so(
    rng: &mut fastrand::Rng,
    (copy, clock): (&SimDisk, &ManualClock),
    model: &Model,
    ids: Option<&Ids>,
    Ended { least, closed }: Ended,
) -> Check {
    let verified = options().verify_simulated(copy, clock.clone());
    let told = match &verified {
        Ok(report) => !report.damage.is_empty() || !report.snapshot_damage.is_empty() || report.torn.is_some(),
        Err(_) => true,
    };
    // Without a clean close the end may be cut off without a trace: no torn end looks different. Of a store that was
    // closed before, went on and was killed, what is left may end with that close, and looks closed.
    let closed = closed && verified.is_ok_and(|report| report.clean);
    let other = copy.fork(rng.u64(..));
    match Store::open_simulated(&other, clock.clone(), rng.u64(..), options()) {
        Ok(store) => {
            let shorter = store.recovery().trimmed.is_some();
            for (topic, (end, there)) in read(&store, model, told)?.iter().enumerate() {
                let log = &model.topics[topic];
                let promised = log.iter().rposition(|entry| entry.firm >= least).map_or(0, |last| last + 1);
                if *end < promised as u64 && closed && !told && !shorter {
                    return Err(format!("I9: topic {topic} ends at {end} of {promised}, and nobody is told"));
                }
                let missing = missing(model, topic, *end, there);
                if !missing.is_empty() && !told {
                    return Err(format!("I9: topic {topic} lacks {missing:?}, and nobody is told"));
                }
            }
        }
        Err(error) if error.kind() == ErrorKind::Corrupt && told => {}
        Err(error) => return Err(format!("I9: told {told}, and opening says {}", in_words(&error))),
    }
    repair(rng, (copy, clock), model, ids.filter(|_| closed), least)
}

fn repair(
    rng: &mut fastrand::Rng,
    (copy, clock): (&SimDisk, &ManualClock),
    model: &Model,
    ids: Option<&Ids>,
    least: Firm,
) -> Check {
    let before: Vec<_> =
        copy.file_names().into_iter().map(|name| (name.clone(), copy.read_file(&name).unwrap().len())).collect();
    let repaired = options().repair_simulated(copy, clock.clone(), rng.u64(..));
    if repaired.as_ref().is_err_and(|error| error.code() == "journal-missing") {
        // Its only segment is gone: there is nothing to go by, and that is said.
        return Ok(());
    }
    let repaired = repaired.map_err(|error| format!("I9: a repair fails: {}", in_words(&error)))?;
    let again = options().repair_simulated(copy, clock.clone(), rng.u64(..)).map_err(|error| in_words(&error))?;
    if again.report.is_some() {
        return Err(format!("I9: a second repair finds something: {again:?}, after {repaired:?}; {before:?}"));
    }
    let opened = Store::open_simulated(copy, clock.clone(), rng.u64(..), options());
    let store = opened.map_err(|error| {
        let what = in_words(&error);
        format!("I9: it does not open after its repair: {what}; {repaired:?}; before {before:?}")
    })?;
    let there = read(&store, model, false).map_err(|error| format!("{error}; after {repaired:?}"))?;
    for (topic, (end, there)) in there.iter().enumerate() {
        let name = format!("topic {topic}");
        let lost: BTreeSet<u64> = repaired
            .lost
            .iter()
            .filter(|(of, ..)| *of == name)
            .flat_map(|(_, first, last)| first.get()..=last.get())
            .collect();
        if *end > model.topics[topic].len() as u64 {
            return Err(format!("I2: {name} ends at {end} after a repair: {repaired:?}"));
        }
        if let Some(both) = lost.intersection(there).next() {
            return Err(format!("I9: {name} offset {both} is called lost, and is there"));
        }
        let silent: Vec<u64> = missing(model, topic, *end, there).into_iter().filter(|at| !lost.contains(at)).collect();
        // The creation of a group may be lost, which is noted: then it needs nothing, and what the others are done with
        // is gone. Its bytes are whole, and a salvage has them.
        if !silent.is_empty() && repaired.notes.is_empty() {
            return Err(format!("I9: {name} lacks {silent:?} after a repair: {repaired:?}"));
        }
    }
    if let Some(ids) = ids {
        // What a repair tells to be lost may take ids with it; what it calls whole may not. Without a clean close the
        // end may be lost, and ids with it.
        let accounted = !repaired.lost.is_empty() || !repaired.notes.is_empty() || !repaired.damage.is_empty();
        ids::known_after(ids, &store, least, accounted || store.recovery().trimmed.is_some())?;
    }
    store.close().map_err(|error| in_words(&error))?;
    let report = options().verify_simulated(copy, clock.clone()).map_err(|error| in_words(&error))?;
    if !report.damage.is_empty() || !report.snapshot_damage.is_empty() {
        return Err(format!("I9: what a repair leaves is damaged: {:?}", report.damage));
    }
    checked("I9");
    Ok(())
}
