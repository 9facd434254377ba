//! How recovery writes to a segment before anything is appended to it; and how it gets a file of its own for that, if
//! the one that is there has a second name, in a backup for one.

use super::listing::Listing;
use super::segment::{segment_name, unfinished_name};
use crate::seen::Seen;
use crate::storage::{Access, Storage, StorageFile, read_exact_at, write_all_at};
use crate::types::SegmentId;
use std::io;

const PIECE: u32 = 1 << 20;

fn pieces(from: u32, to: u32) -> impl Iterator<Item = (u32, u32)> {
    (from..to).step_by(PIECE as usize).map(move |at| (at, PIECE.min(to - at)))
}

/// Writes the bytes from `from` to `to` again, as they read: a sync that failed in a former process may have left them
/// in the page cache only, marked as clean, where a sync alone would not touch them.
pub(crate) fn rewrite(file: &dyn StorageFile, from: u32, to: u32) -> io::Result<()> {
    for (at, length) in pieces(from, to) {
        let mut bytes = vec![0; length as usize];
        read_exact_at(file, &mut bytes, u64::from(at))?;
        write_all_at(file, &bytes, u64::from(at))?;
    }
    Ok(())
}

/// Overwrites what was trimmed: else an old frame could come back to life behind a new one of the right length.
pub(crate) fn zero(file: &dyn StorageFile, from: u32, to: u32) -> io::Result<()> {
    for (at, length) in pieces(from, to) {
        write_all_at(file, &vec![0; length as usize], u64::from(at))?;
    }
    Ok(())
}

/// Puts a copy in the place of a segment's file, with what stands before `to` and zeros behind, durable but for its
/// name: whoever has a second name for the file keeps what it had. On a full disk what holds nothing makes room: files
/// that are set aside, then `strays`, segments that no seal leads to. Among those is the reserve.
pub(crate) fn replace(
    storage: &dyn Storage,
    listing: &mut Listing,
    strays: &mut Vec<SegmentId>,
    (id, to): (SegmentId, u32),
) -> io::Result<()> {
    loop {
        // No name that anything was given; what is left of it under this one is a file that was set aside.
        listing.used = SegmentId(listing.highest().get().saturating_add(1));
        let new = unfinished_name(listing.used);
        let file = match storage.open(&new, Access::Create) {
            // Something else that is called so, and none of our business.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            file => file?,
        };
        let copied = copy(storage, &segment_name(id), &*file, to);
        drop(file);
        let Err(error) = copied else {
            Seen::CopyPut.note();
            return storage.rename(&new, &segment_name(id));
        };
        storage.remove(&new)?;
        let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        if !full || !make_room(storage, listing, strays)? {
            return Err(error);
        }
        Seen::RoomForCopy.note();
    }
}

/// Removes a file that holds nothing and has no second name; false if there is none.
fn make_room(storage: &dyn Storage, listing: &mut Listing, strays: &mut Vec<SegmentId>) -> io::Result<bool> {
    let alone = |name: &str| -> io::Result<bool> { Ok(storage.open(name, Access::Read)?.links()? == 1) };
    for at in 0..listing.unfinished.len() {
        let Some(name) = listing.unfinished.get(at).map(|(id, _)| unfinished_name(*id)) else { break };
        if alone(&name)? {
            storage.remove(&name)?;
            listing.unfinished.remove(at);
            return Ok(true);
        }
    }
    while let Some(stray) = strays.pop() {
        let name = segment_name(stray);
        if alone(&name)? {
            storage.remove(&name)?;
            listing.segments.remove(&stray);
            return Ok(true);
        }
    }
    Ok(false)
}

fn copy(storage: &dyn Storage, from: &str, file: &dyn StorageFile, to: u32) -> io::Result<()> {
    let old = storage.open(from, Access::Read)?;
    file.allocate(old.len()?)?;
    for (at, length) in pieces(0, to) {
        let mut bytes = vec![0; length as usize];
        read_exact_at(&*old, &mut bytes, u64::from(at))?;
        write_all_at(file, &bytes, u64::from(at))?;
    }
    file.sync()
}
