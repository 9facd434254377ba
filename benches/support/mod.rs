//! What the benchmarks share: the machine's floor, and figures beside it.
//!
//! The machine is noisy and shared, so yesterday's seconds say nothing. A figure and its floor are measured in turns,
//! and what counts is the median over the turns of figure / floor.

use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What a raw write of the floor takes: about what a message of [`PAYLOAD`] bytes takes in the journal.
pub(crate) const RAW: usize = 128;

/// The payload of every message that is measured.
pub(crate) static PAYLOAD: [u8; 100] = [b'm'; 100];

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Turns of floor and figure.
    pub(crate) rounds: usize,
    /// How long each half of a turn is.
    pub(crate) slice: Duration,
    /// Messages where a number is asked for and not a time.
    pub(crate) messages: u64,
}

/// A directory for one store, on the disk of the target directory, gone when it is dropped. `CARGO_TARGET_TMPDIR` is
/// not `/tmp`, which may be no disk at all.
pub(crate) fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("bench-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// A file that is written to as plainly as can be.
#[derive(Debug)]
pub(crate) struct RawFile {
    pub(crate) file: File,
    pub(crate) length: u64,
    pub(crate) position: AtomicU64,
}

impl RawFile {
    /// An empty file, which grows.
    pub(crate) fn fresh(directory: &Path) -> Self {
        let path = directory.join("raw");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path).unwrap();
        Self { file, length: u64::MAX, position: AtomicU64::new(0) }
    }

    /// A file whose blocks are all written and synced.
    pub(crate) fn written(directory: &Path, length: u64) -> Self {
        let raw = Self::fresh(directory);
        let zeros = vec![0; 1 << 20];
        (0..length).step_by(zeros.len()).for_each(|position| put(&raw.file, &zeros, position));
        raw.file.sync_all().unwrap();
        Self { length, ..raw }
    }

    /// Writes 128 bytes behind the last ones, or at the start if the file is full.
    pub(crate) fn write(&self) {
        let position = self.position.fetch_add(RAW as u64, Ordering::Relaxed);
        put(&self.file, &[b'r'; RAW], position % self.length);
    }

    pub(crate) fn write_and_sync(&self) {
        self.write();
        self.file.sync_data().unwrap();
    }
}

#[cfg(unix)]
pub(crate) fn put(file: &File, bytes: &[u8], position: u64) {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, position).unwrap();
}

#[cfg(windows)]
pub(crate) fn put(file: &File, bytes: &[u8], position: u64) {
    assert_eq!(std::os::windows::fs::FileExt::seek_write(file, bytes, position).unwrap(), bytes.len());
}

/// A block of memory that messages are copied into, each with its checksum: what no queue that checks can do without.
#[derive(Debug)]
pub(crate) struct Memory {
    block: Vec<u8>,
    position: usize,
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self { block: vec![0; 256 << 10], position: 0 }
    }

    pub(crate) fn copy_and_checksum(&mut self) {
        let place = &mut self.block[self.position..self.position + PAYLOAD.len()];
        place.copy_from_slice(black_box(&PAYLOAD));
        black_box(crc32fast::hash(place));
        self.position = (self.position + RAW) % (256 << 10);
    }
}

/// How often a second `turn` can be done, measured for about this time; the clock is looked at every so many turns.
pub(crate) fn rate(slice: Duration, at_a_time: u64, mut turn: impl FnMut()) -> f64 {
    let (began, mut count) = (Instant::now(), 0);
    loop {
        (0..at_a_time).for_each(|_| turn());
        count += at_a_time;
        let taken = began.elapsed();
        if taken >= slice {
            return count as f64 / taken.as_secs_f64();
        }
    }
}

/// How many a second it is if `all` does so many.
pub(crate) fn rate_of(count: u64, all: impl FnOnce()) -> f64 {
    let began = Instant::now();
    all();
    count as f64 / began.elapsed().as_secs_f64()
}

/// A figure beside its floor, both per second.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) floor_name: &'static str,
    pub(crate) figure: f64,
    pub(crate) floor: f64,
    pub(crate) ratio: f64,
    pub(crate) aim: &'static str,
}

impl Row {
    /// Measures the floor and the figure in turns.
    pub(crate) fn measure(
        [name, floor_name, aim]: [&'static str; 3],
        rounds: usize,
        mut floor: impl FnMut() -> f64,
        mut figure: impl FnMut() -> f64,
    ) -> Self {
        let turns: Vec<(f64, f64)> = (0..rounds.max(1)).map(|_| (floor(), figure())).collect();
        Self {
            name,
            floor_name,
            aim,
            floor: median(turns.iter().map(|turn| turn.0)),
            figure: median(turns.iter().map(|turn| turn.1)),
            ratio: median(turns.iter().map(|turn| turn.1 / turn.0)),
        }
    }
}

fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_unstable_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// The table at the end of a run.
pub(crate) fn print(rows: &[Row]) {
    let wide = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    let floor_wide = rows.iter().map(|row| row.floor_name.len()).max().unwrap_or(0);
    println!(
        "\n{:wide$}  {:>12}  {:floor_wide$}  {:>12}  {:>7}  aim",
        "figure", "per second", "floor", "per second", "ratio"
    );
    for Row { name, floor_name, figure, floor, ratio, aim } in rows {
        println!("{name:wide$}  {figure:>12.0}  {floor_name:floor_wide$}  {floor:>12.0}  {ratio:>7.3}  {aim}");
    }
}
