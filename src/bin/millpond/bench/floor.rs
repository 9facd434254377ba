//! The machine's floor: a file that is written to and synced as plainly as can be, one write after the other.

#![expect(clippy::disallowed_methods, reason = "the file that is written here is none of a store's")]

use millpond::{Clock, Histogram, SystemClock};
use std::fs::OpenOptions;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

/// Bytes that are written in advance, as a segment's are, and written over after that.
const LENGTH: usize = 4 << 20;

/// Makes the directory, which must not be there.
pub(super) fn make(dir: &Path) -> io::Result<()> {
    std::fs::create_dir(dir)
}

/// Removes it with all that is in it.
pub(super) fn remove(dir: &Path) -> io::Result<()> {
    std::fs::remove_dir_all(dir)
}

/// How long it takes to write so many bytes, and to sync them if `sync` says so, so many times.
pub(super) fn measure(dir: &Path, bytes: usize, sync: bool, times: u64) -> io::Result<(Histogram, f64)> {
    let path = dir.join("floor");
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(&vec![0; LENGTH])?;
    file.sync_all()?;
    let (clock, data) = (SystemClock::new(), vec![1; bytes.min(LENGTH)]);
    let mut took = Histogram::of_micros(super::BITS);
    let begun = clock.monotonic();
    let mut at = 0;
    for _ in 0..times {
        if at + data.len() > LENGTH {
            at = 0;
        }
        let one = clock.monotonic();
        file.seek(SeekFrom::Start(at as u64))?;
        file.write_all(&data)?;
        if sync {
            file.sync_data()?;
        }
        took.record(clock.monotonic().saturating_sub(one));
        at += data.len();
    }
    Ok((took, clock.monotonic().saturating_sub(begun).as_secs_f64()))
}
