//! Making a directory into a store. Until the last step, a rename, it is none: a creation that was cut short is begun
//! again by the next one, and nothing of it is ever taken for damage.

use super::Environment;
use super::open::{known_identity, read_identity, take_lock};
use crate::config::Options;
use crate::error::{Code, Error, Result};
use crate::journal::{
    DIRECTORY, FileKind, IDENTITY, IDENTITY_UNFINISHED, Identity, Numbers, Preparation, Purpose, SEGMENT_HEADER,
    parse_name,
};
use crate::storage::{Access, EntryKind, Storage, StorageFile, read_up_to, write_all_at};
use std::io;
use std::sync::Arc;

/// How much is read at a time.
const PIECE: usize = 64 << 10;

/// What may be in a directory that is to become a store: remains of a creation that was cut short.
const OURS: [&str; 3] = ["lock", IDENTITY_UNFINISHED, DIRECTORY];

/// False only if the path is there and is no directory.
pub(super) fn is_directory(storage: &dyn Storage) -> bool {
    !matches!(storage.list(""), Err(error) if error.kind() == io::ErrorKind::NotADirectory)
}

/// Whether there is nothing but zeros behind the header of a segment. It is written so before it gets its name.
fn is_unused(storage: &dyn Storage, name: &str) -> Result<bool> {
    let failed = |source| Error::io(format!("reading {name}"), source);
    let file = storage.open(name, Access::Read).map_err(failed)?;
    let (mut piece, mut at) = (vec![0; PIECE], u64::from(SEGMENT_HEADER));
    loop {
        let read = read_up_to(&*file, &mut piece, at).map_err(failed)?;
        let read = piece.get(..read).unwrap_or_default();
        if read.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        if read.is_empty() {
            // One that ends within its header was cut: a creation leaves none.
            return Ok(at > u64::from(SEGMENT_HEADER));
        }
        at = at.saturating_add(u64::try_from(read.len()).unwrap_or(u64::MAX));
    }
}

/// Refuses a directory with anything in it that is not ours.
fn check_empty(storage: &dyn Storage, create: bool) -> Result<()> {
    let entries = match storage.list("") {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(Error::new(Code::NotADirectory, "the path is not a directory; a store is one"));
        }
        Err(source) => return Err(Error::io("listing the store's directory", source)),
    };
    if let Some(foreign) = entries.iter().find(|entry| !OURS.contains(&entry.name.as_str())) {
        let what = format!("the directory is no store, and not empty (it has {:?}): nothing was touched", foreign.name);
        return Err(Error::new(Code::NotAStore, what));
    }
    let unfinished = entries.iter().any(|entry| entry.name == IDENTITY_UNFINISHED);
    if entries.iter().any(|entry| entry.name == DIRECTORY) {
        let journal = match storage.list(DIRECTORY) {
            Ok(journal) => journal,
            Err(source) => return Err(Error::io("listing the journal's directory", source)),
        };
        let mut segments = 0;
        for entry in journal {
            match parse_name(&entry.name) {
                Some((_, FileKind::Unfinished)) if entry.kind == EntryKind::File && unfinished => {}
                // A creation makes one segment and puts no frame into it: anything else was a store once.
                Some((_, FileKind::Segment))
                    if entry.kind == EntryKind::File
                        && unfinished
                        && segments == 0
                        && is_unused(storage, &format!("{DIRECTORY}/{}", entry.name))? =>
                {
                    segments += 1;
                }
                Some(_) => {
                    let what = "there is a journal, but no identity: restore the file `identity` from a backup";
                    return Err(Error::new(Code::IdentityDamaged, what));
                }
                None => {
                    let what = format!("the directory is no store, and its `journal` has {:?}", entry.name);
                    return Err(Error::new(Code::NotAStore, what));
                }
            }
        }
    }
    if create { Ok(()) } else { Err(Error::new(Code::NoSuchStore, "there is no store at this path")) }
}

/// Creates the store, or finds that somebody else just did.
pub(super) fn create(environment: &Environment, options: &Options) -> Result<(Arc<dyn StorageFile>, Identity)> {
    let storage = &*environment.storage;
    check_empty(storage, options.create)?;
    storage.create_directories().map_err(|source| Error::io("creating the store's directory", source))?;
    let lock = take_lock(storage)?;
    if let Some(identity) = known_identity(storage)? {
        return Ok((lock, identity));
    }
    check_empty(storage, true)?;
    let identity = make(environment, options).map_err(|source| Error::io("creating the store", source))?;
    Ok((lock, identity))
}

fn make(environment: &Environment, options: &Options) -> io::Result<Identity> {
    let storage = &environment.storage;
    let now = environment.clock.wall();
    let earlier = read_identity(&**storage, IDENTITY_UNFINISHED).map_err(io::Error::other)?;
    let identity = match earlier {
        Some(Ok(identity)) => identity,
        _ => Identity::create(&*environment.entropy, now)?,
    };
    // Of a creation that was cut short: nothing was ever promised in it.
    for entry in storage.list(DIRECTORY)? {
        if parse_name(&entry.name).is_some() {
            storage.remove(&format!("{DIRECTORY}/{}", entry.name))?;
        }
    }
    storage.sync_dir(DIRECTORY)?;
    let file = match storage.open(IDENTITY_UNFINISHED, Access::Create) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            storage.open(IDENTITY_UNFINISHED, Access::Write)?
        }
        other => other?,
    };
    write_all_at(&*file, &identity.encode(), 0)?;
    file.sync()?;
    storage.sync_dir("")?;
    let mut numbers = Numbers::new(crate::types::SegmentId::ZERO, Vec::new());
    let (purpose, capacity) = (Purpose::Segment { least: 0 }, options.first_segment_bytes.min(options.segment_bytes));
    let terms = (purpose, capacity, now, true);
    let of = (identity.store, &environment.keys);
    let mut preparation = Preparation::begin(storage, &mut numbers, of, &*environment.entropy, terms)?;
    while preparation.step(&mut numbers)?.is_none() {}
    storage.rename(IDENTITY_UNFINISHED, IDENTITY)?;
    storage.sync_dir("")?;
    Ok(identity)
}
