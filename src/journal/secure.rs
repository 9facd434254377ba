//! How recovery writes to a segment before anything is appended to it; and how it gets a file of its own for that, if
//! the one that is there has a second name, in a backup for one.

use super::listing::Listing;
use super::segment::{segment_name, unfinished_name};
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
/// name: whoever has a second name for the file keeps what it had. On a full disk files that are set aside make room.
pub(crate) fn replace(storage: &dyn Storage, listing: &mut Listing, id: SegmentId, to: u32) -> io::Result<()> {
    // No name that anything was given; what is left of it under this one is a file that was set aside.
    let new = unfinished_name(SegmentId(listing.highest().get().saturating_add(1)));
    while let Err(error) = copy(storage, &segment_name(id), &new, to) {
        match storage.remove(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let spare = if error.kind() == io::ErrorKind::StorageFull { listing.unfinished.pop() } else { None };
        let Some((spare, _)) = spare else { return Err(error) };
        storage.remove(&unfinished_name(spare))?;
    }
    storage.rename(&new, &segment_name(id))
}

fn copy(storage: &dyn Storage, from: &str, new: &str, to: u32) -> io::Result<()> {
    let old = storage.open(from, Access::Read)?;
    let file = storage.open(new, Access::Create)?;
    file.allocate(old.len()?)?;
    for (at, length) in pieces(0, to) {
        let mut bytes = vec![0; length as usize];
        read_exact_at(&*old, &mut bytes, u64::from(at))?;
        write_all_at(&*file, &bytes, u64::from(at))?;
    }
    file.sync()
}
