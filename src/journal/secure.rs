//! The two ways in which recovery writes to a segment before anything is appended to it.

use crate::storage::{StorageFile, read_exact_at, write_all_at};
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
