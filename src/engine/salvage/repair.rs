//! Repairing a store: what is damaged is moved aside, never deleted; what is whole is kept where it was; what is lost
//! is written down.
//!
//! Everything is made ready beside the store first, under names that no opening looks at, and synced; then the report,
//! whose name says that this is done; then files change places. A repair that is cut short before the report is begun
//! again, one that is cut short after it is finished: by the next repair, and with the same result. Until then the
//! store refuses to open.

use super::super::Environment;
use super::super::open::take_lock;
use super::identity;
use super::inventory::Inventory;
use super::plan::{Plan, exists};
use super::write::{Further, discard, write, written};
use crate::error::{Code, Damage, Error, Result};
use crate::journal::{DIRECTORY, Recovery, repaired_name, segment_name};
use crate::seen::Seen;
use crate::storage::{Access, EntryKind, Storage, read_up_to, write_all_at};
use crate::types::Offset;
use std::fmt::Write as _;
use std::io;

/// The report of a repair that is not done.
const UNFINISHED: &str = "repair.unfinished";
/// A report that is being written.
const DRAFT: &str = "repair.draft";
/// No report that is read back is longer.
const MOST_REPORT: usize = 16 << 20;

/// What [`Store::repair`](crate::Store::repair) did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repaired {
    /// What was damaged.
    pub damage: Vec<Damage>,
    /// Messages that are lost and that somebody still wanted: topic, first and last offset. Their offsets stay theirs.
    pub lost: Vec<(String, Offset, Offset)>,
    /// Files that were moved aside, by their new names in the store's directory.
    pub quarantined: Vec<String>,
    /// What else there is to know: names, groups, keys that are lost.
    pub notes: Vec<String>,
    /// The report's file in the store's directory; nothing if there was nothing to repair.
    pub report: Option<String>,
    /// A repair that had been cut short was finished; what it had found is in its report.
    pub resumed: bool,
}

impl Repaired {
    /// How many messages are lost.
    #[must_use]
    pub fn lost_messages(&self) -> u64 {
        let count = |(_, first, last): &(String, Offset, Offset)| last.next().get().saturating_sub(first.get());
        self.lost.iter().map(count).fold(0, u64::saturating_add)
    }

    fn text(&self) -> String {
        let mut text = String::from("A repair of a millpond store.\n\nDamaged:\n");
        let lines = |text: &mut String, lines: &mut dyn Iterator<Item = String>, none: &str| {
            let mut any = false;
            for line in lines {
                any = true;
                _ = writeln!(text, "  {line}");
            }
            if !any {
                _ = writeln!(text, "  {none}");
            }
        };
        lines(&mut text, &mut self.damage.iter().map(ToString::to_string), "no place in a segment");
        text.push_str("\nLost messages, by topic and offsets:\n");
        let lost = self.lost.iter().map(|(topic, first, last)| format!("{topic:?} {first}..={last}"));
        lines(&mut text, &mut lost.into_iter(), "none");
        text.push_str("\nNotes:\n");
        lines(&mut text, &mut self.notes.iter().cloned(), "none");
        text.push_str("\nAcks and other calls that were in damaged frames are lost too: messages may come again.\n");
        text
    }
}

/// Repairs the store, which must not be open.
pub(crate) fn repair(environment: &Environment) -> Result<Repaired> {
    let storage = &environment.storage;
    let known = identity::find(&**storage, &*environment.clock, &*environment.entropy)?;
    let _lock = take_lock(&**storage)?;
    let io = |what: &'static str| move |source| Error::io(what, source);
    let mut done = Repaired::default();
    let resumed = exists(&**storage, UNFINISHED)?;
    if !resumed && !begin(environment, &known, &mut done)? {
        return Ok(done);
    }
    done.resumed = resumed;
    let text = read_report(&**storage).map_err(io("reading the report of the repair"))?;
    finish(&**storage, &known, &text, &mut done).map_err(io("putting the repaired files in their places"))?;
    Ok(done)
}

/// Looks, and makes everything ready. Whether there is anything to do.
fn begin(environment: &Environment, known: &identity::Known, done: &mut Repaired) -> Result<bool> {
    let storage = &*environment.storage;
    let mut recovery = Recovery::begin(environment.storage.clone(), known.identity.store, &environment.keys)?;
    let mended = recovery.mend()?;
    let found = Inventory::take(&mut recovery, mended)?;
    let plan = Plan::make(&recovery, &found, &*environment.entropy)?;
    done.damage.clone_from(&found.damage);
    done.lost.clone_from(&plan.lost);
    done.notes.clone_from(&plan.notes);
    Seen::RepairedLost.note_if(!plan.lost.is_empty());
    if plan.is_empty() && known.mended.is_none() {
        Seen::RepairedNothing.note();
        return Ok(false);
    }
    done.notes.extend(known.mended.clone());
    let removing = |source| Error::io("removing what a repair that was cut short has written", source);
    discard(storage).map_err(removing)?;
    let further = Further::of(&recovery, &found);
    let again = found.again(&mut recovery)?;
    let outcome = write(environment, &plan, further, again).and_then(|()| {
        let mut text = done.text();
        plan.aside.iter().for_each(|name| _ = writeln!(text, "aside: {name}"));
        _ = writeln!(text, "whole: {} frames, {} messages", found.frames, found.messages);
        write_report(storage, &text).map_err(|source| Error::io("writing the report of the repair", source))
    });
    if outcome.is_err() && exists(storage, UNFINISHED).is_ok_and(|there| !there) {
        // Nothing was changed, and what it took of the disk is given back. The first error is the one to tell.
        _ = discard(storage);
        _ = storage.remove(DRAFT);
    }
    outcome?;
    Ok(true)
}

/// A repair that was cut short is to be finished before anything else: it puts files in their places whatever was
/// written to them meanwhile, and until then what is there is part of one store and part of another.
pub(in crate::engine) fn refuse_half_repaired(storage: &dyn Storage) -> Result<()> {
    let entries = storage.list("").map_err(|source| Error::io("listing the store's directory", source))?;
    if entries.iter().any(|entry| entry.name == UNFINISHED && entry.kind == EntryKind::File) {
        let what = "a repair of the store was cut short: repair it once more, which finishes it";
        return Err(Error::new(Code::Damaged, what));
    }
    Ok(())
}

/// A report that has its name is whole: until then it has another one.
fn write_report(storage: &dyn Storage, text: &str) -> io::Result<()> {
    match storage.remove(DRAFT) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = storage.open(DRAFT, Access::Create)?;
    write_all_at(&*file, text.as_bytes(), 0)?;
    file.sync()?;
    storage.rename(DRAFT, UNFINISHED)?;
    storage.sync_dir("")
}

fn read_report(storage: &dyn Storage) -> io::Result<String> {
    let file = storage.open(UNFINISHED, Access::Read)?;
    let length = usize::try_from(file.len()?).unwrap_or(usize::MAX).min(MOST_REPORT);
    let mut bytes = vec![0; length];
    let read = read_up_to(&*file, &mut bytes, 0)?;
    Ok(String::from_utf8_lossy(bytes.get(..read).unwrap_or_default()).into_owned())
}

/// Files change places. Every step of it may be the last one, and is then the first one of the next time.
fn finish(storage: &dyn Storage, known: &identity::Known, text: &str, done: &mut Repaired) -> io::Result<()> {
    let mut aside = |name: &str| set_aside(storage, name, &mut done.quarantined);
    if known.mended.is_some() {
        identity::restore(storage, &known.identity, &mut aside)?;
    }
    // Sidecars first: each is a claim of what its segment holds.
    for name in text.lines().filter_map(|line| line.strip_prefix("aside: ")) {
        // A report that was tampered with moves nothing outside.
        if name.starts_with("journal/") && !name.contains("..") {
            aside(name)?;
        }
    }
    for id in written(storage)? {
        aside(&segment_name(id))?;
        storage.rename(&repaired_name(id), &segment_name(id))?;
        storage.sync_dir(DIRECTORY)?;
    }
    let report = free_name(storage, |number| format!("repair-{number}.txt"))?;
    storage.rename(UNFINISHED, &report)?;
    storage.sync_dir("")?;
    done.report = Some(report);
    Ok(())
}

/// Moves a file, or whatever stands in its place, to a name that nothing has and nobody looks at.
fn set_aside(storage: &dyn Storage, name: &str, moved: &mut Vec<String>) -> io::Result<()> {
    let (directory, file) = name.rsplit_once('/').unwrap_or(("", name));
    let there = storage.list(directory)?.iter().any(|entry| entry.name == file);
    if !there {
        return Ok(());
    }
    let to = free_name(storage, |number| format!("{name}.damaged-{number}"))?;
    storage.rename(name, &to)?;
    storage.sync_dir(directory)?;
    Seen::RepairedFile.note();
    moved.push(to);
    Ok(())
}

/// The first of these names, counted from 1, that nothing has.
fn free_name(storage: &dyn Storage, name: impl Fn(u32) -> String) -> io::Result<String> {
    let sample = name(0);
    let directory = sample.rsplit_once('/').map_or("", |(directory, _)| directory);
    let entries = storage.list(directory)?;
    let taken = |wanted: &str| {
        let file = wanted.rsplit_once('/').map_or(wanted, |(_, file)| file);
        entries.iter().any(|entry| entry.name == file)
    };
    let free = (1..u32::MAX).map(name).find(|wanted| !taken(wanted));
    free.ok_or_else(|| io::Error::from(io::ErrorKind::AlreadyExists))
}
