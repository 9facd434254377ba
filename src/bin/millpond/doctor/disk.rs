//! What the disk does: how much room it has, and how long it takes to sync a few bytes that were written before.

#![expect(clippy::disallowed_methods, reason = "the file that is written here is none of a store's")]

use millpond::{Clock, SystemClock};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Bytes that are written in advance, as a segment's are, and written over after that.
const LENGTH: usize = 256 << 10;
const PIECE: usize = 512;
/// Enough to see what is usual and what happens now and then.
const SYNCS: usize = 100;
/// No text of the system's is longer.
const MOST_TEXT: u64 = 4 << 20;

/// How long syncs took, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Syncs {
    pub(super) median: f64,
    pub(super) slowest: f64,
}

impl fmt::Display for Syncs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} us in the middle of {SYNCS}, {:.1} us at worst", self.median, self.slowest)
    }
}

/// A text that the system makes; nothing if it has none.
pub(super) fn read_text(path: &str) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(MOST_TEXT).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Bytes that an ordinary process may still use there.
#[cfg(unix)]
pub(super) fn free_space(dir: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(dir)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Bytes that an ordinary process may still use there: this system is not asked.
#[cfg(not(unix))]
pub(super) fn free_space(_: &Path) -> io::Result<u64> {
    Ok(u64::MAX)
}

/// Writes and syncs a file in the directory, and removes it.
pub(super) fn measure(dir: &Path) -> io::Result<Syncs> {
    let path = dir.join(format!("millpond-doctor-{}", std::process::id()));
    let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
    let measured = times(&file);
    drop(file);
    std::fs::remove_file(&path)?;
    measured
}

fn times(mut file: &File) -> io::Result<Syncs> {
    file.write_all(&vec![0; LENGTH])?;
    file.sync_all()?;
    let clock = SystemClock::new();
    let mut micros = Vec::with_capacity(SYNCS);
    for round in 0..SYNCS {
        let at = round * PIECE % LENGTH;
        file.seek(SeekFrom::Start(at as u64))?;
        let began = clock.monotonic();
        file.write_all(&[1; PIECE])?;
        file.sync_data()?;
        micros.push(clock.monotonic().saturating_sub(began).as_secs_f64() * 1e6);
    }
    micros.sort_by(f64::total_cmp);
    let at = |index: usize| micros.get(index).copied().unwrap_or_default();
    Ok(Syncs { median: at(SYNCS / 2), slowest: at(SYNCS - 1) })
}
