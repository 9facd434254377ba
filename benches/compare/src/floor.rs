//! The machine's floor: what the same work costs without any queue.

use crate::queue::{Level, Result};
use crate::run::{Effort, Sample, percentiles, together};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, mpsc};
use std::time::{Duration, Instant};

/// What the journal adds to a message that is alone in its frame.
const OVERHEAD: usize = 24;

/// Bytes of a file that is written beforehand.
const WRITTEN: u64 = 64 << 20;

/// One measure of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Floor {
    /// `pwrite` to a file that grows.
    Write { bytes: usize, batch: usize, threads: usize },
    /// `pwrite` to a file whose pages are in memory.
    Recycled { bytes: usize, threads: usize },
    /// memcpy and CRC.
    Copy { bytes: usize },
    /// `pwrite` and fdatasync on blocks that were written before.
    Sync { bytes: usize, batch: usize },
    /// The same on a file that grows.
    Growing { bytes: usize },
    /// Each thread writes and syncs by itself, all at once.
    Overlapped { bytes: usize, threads: usize },
    /// The threads share syncs, through as little as can be.
    Grouped { bytes: usize, threads: usize },
    /// A file of frames is read and checked.
    Scan { bytes: usize },
    /// Twice a thread's wake-up, and a write or a sync if the level asks for it: microseconds.
    Wake { level: Level },
}

impl Floor {
    pub(crate) fn write(bytes: usize, batch: usize, threads: usize) -> Self {
        Self::Write { bytes, batch, threads }
    }

    pub(crate) fn name(self) -> String {
        match self {
            Self::Write { batch: 1, threads: 1, .. } => "pwrite, growing file".to_owned(),
            Self::Write { batch, threads: 1, .. } => format!("pwrite of {batch}, growing file"),
            Self::Write { threads, .. } => format!("pwrite, {threads} threads, growing file"),
            Self::Recycled { threads, .. } => format!("pwrite, {threads} threads, resident pages"),
            Self::Copy { .. } => "memcpy + CRC".to_owned(),
            Self::Sync { batch: 1, .. } => "pwrite + fdatasync, written file".to_owned(),
            Self::Sync { batch, .. } => format!("pwrite of {batch} + fdatasync, written file"),
            Self::Growing { .. } => "pwrite + fdatasync, growing file".to_owned(),
            Self::Overlapped { threads, .. } => format!("{threads} threads, a sync each, overlapping"),
            Self::Grouped { threads, .. } => format!("{threads} threads, syncs shared by an empty engine"),
            Self::Scan { .. } => "read + CRC".to_owned(),
            Self::Wake { level: Level::Memory } => "2 wake-ups".to_owned(),
            Self::Wake { level: Level::Os } => "2 wake-ups + pwrite".to_owned(),
            Self::Wake { level: Level::Disk } => "2 wake-ups + pwrite + fdatasync".to_owned(),
        }
    }

    /// Measures it.
    pub(crate) fn run(self, directory: &Path, effort: Effort) -> Result<Sample> {
        match self {
            Self::Write { bytes, batch, threads } => {
                let file = Raw::growing(directory)?;
                let block = vec![b'r'; (bytes + OVERHEAD) * batch];
                company(|| together(threads, effort, batch as u64, |_| Ok(|_| file.write(&block).map(drop))))
            }
            Self::Recycled { bytes, threads } => {
                let file = Raw::written(directory)?;
                let block = vec![b'r'; bytes + OVERHEAD];
                together(threads, effort, 1, |_| Ok(|_| file.write(&block).map(drop)))
            }
            Self::Copy { bytes } => copy(bytes, effort),
            Self::Sync { bytes, batch } => {
                let file = Raw::written(directory)?;
                let block = vec![b'r'; (bytes + OVERHEAD) * batch];
                together(1, effort, batch as u64, |_| Ok(|_| file.write_and_sync(&block)))
            }
            Self::Growing { bytes } => {
                let file = Raw::growing(directory)?;
                let block = vec![b'r'; bytes + OVERHEAD];
                together(1, effort, 1, |_| Ok(|_| file.write_and_sync(&block)))
            }
            Self::Overlapped { bytes, threads } => {
                let file = Raw::written(directory)?;
                let block = vec![b'r'; bytes + OVERHEAD];
                together(threads, effort, 1, |_| {
                    // A descriptor of its own: the kernel keeps its error mark for each.
                    let own = OpenOptions::new().write(true).open(directory.join("raw"))?;
                    let (file, block) = (&file, &block);
                    Ok(move |_| {
                        file.write(block)?;
                        Ok(own.sync_data()?)
                    })
                })
            }
            Self::Grouped { bytes, threads } => {
                let engine = Empty::new(Raw::written(directory)?);
                let block = vec![b'r'; bytes + OVERHEAD];
                together(threads, effort, 1, |_| Ok(|_| engine.append(&block)))
            }
            Self::Scan { bytes } => scan(directory, bytes, effort),
            Self::Wake { level } => wake(directory, level, effort),
        }
    }
}

/// Runs it beside another thread, as in a process that has a store: the kernel's way to a file is longer then.
fn company<T>(run: impl FnOnce() -> Result<T>) -> Result<T> {
    let (end, over) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || over.recv());
        let done = run();
        drop(end);
        done
    })
}

/// A file that is written to as plainly as can be.
struct Raw {
    file: File,
    length: u64,
    position: AtomicU64,
}

impl Raw {
    fn growing(directory: &Path) -> Result<Self> {
        let path = directory.join("raw");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        Ok(Self { file, length: u64::MAX, position: AtomicU64::new(0) })
    }

    fn written(directory: &Path) -> Result<Self> {
        let raw = Self::growing(directory)?;
        let zeros = vec![0; 1 << 20];
        for position in (0..WRITTEN).step_by(zeros.len()) {
            raw.file.write_all_at(&zeros, position)?;
        }
        raw.file.sync_all()?;
        Ok(Self { length: WRITTEN, ..raw })
    }

    /// Writes a block behind the last one, or at the start if the file is full.
    fn write(&self, block: &[u8]) -> Result<u64> {
        let position = self.position.fetch_add(block.len() as u64, Ordering::Relaxed);
        let position = position % self.length.saturating_sub(block.len() as u64).max(1);
        self.file.write_all_at(block, position)?;
        Ok(position)
    }

    fn write_and_sync(&self, block: &[u8]) -> Result<()> {
        self.write(block)?;
        Ok(self.file.sync_data()?)
    }
}

/// Group commit and nothing else: blocks are gathered under a lock, and whoever finds nobody at it writes and syncs all
/// that is there.
struct Empty {
    file: Raw,
    state: Mutex<Gathering>,
    synced: Condvar,
}

#[derive(Default)]
struct Gathering {
    bytes: Vec<u8>,
    spare: Vec<u8>,
    /// The group that gathers, and the one that was synced last.
    gathering: u64,
    done: u64,
    busy: bool,
}

impl Empty {
    fn new(file: Raw) -> Self {
        let state = Gathering { gathering: 1, ..Gathering::default() };
        Self { file, state: Mutex::new(state), synced: Condvar::new() }
    }

    fn append(&self, block: &[u8]) -> Result<()> {
        let mut state = self.state.lock().map_err(|_| "another thread failed")?;
        state.bytes.extend_from_slice(block);
        let mine = state.gathering;
        loop {
            if state.done >= mine {
                return Ok(());
            }
            if state.busy {
                state = self.synced.wait(state).map_err(|_| "another thread failed")?;
                continue;
            }
            state.busy = true;
            let group = state.gathering;
            state.gathering += 1;
            let spare = std::mem::take(&mut state.spare);
            let bytes = std::mem::replace(&mut state.bytes, spare);
            drop(state);
            self.file.write_and_sync(&bytes)?;
            state = self.state.lock().map_err(|_| "another thread failed")?;
            state.busy = false;
            state.done = group;
            state.spare = bytes;
            state.spare.clear();
            self.synced.notify_all();
        }
    }
}

fn copy(bytes: usize, effort: Effort) -> Result<Sample> {
    let message = vec![b'm'; bytes];
    together(1, effort, 1, |_| {
        let (mut block, message, mut position) = (vec![0_u8; 1 << 20], &message, 0);
        Ok(move |_| {
            if position + message.len() > block.len() {
                position = 0;
            }
            let place = &mut block[position..position + message.len()];
            place.copy_from_slice(black_box(message));
            black_box(crc32fast::hash(place));
            position += message.len();
            Ok(())
        })
    })
}

fn scan(directory: &Path, bytes: usize, effort: Effort) -> Result<Sample> {
    const CHUNK: u64 = 128 << 10;
    let file = Raw::written(directory)?;
    let frame = bytes + OVERHEAD;
    let each = CHUNK / frame as u64;
    together(1, effort, each, |_| {
        let (file, mut chunk, mut position) = (&file, vec![0; CHUNK as usize], 0);
        Ok(move |_| {
            file.file.read_exact_at(&mut chunk, position)?;
            position = (position + CHUNK) % WRITTEN;
            chunk.chunks_exact(frame).for_each(|frame| {
                black_box(crc32fast::hash(frame));
            });
            Ok(())
        })
    })
}

/// Thrown to a thread that sleeps.
#[derive(Default)]
struct Ball {
    thrown: Option<Instant>,
    flight: Option<Duration>,
    over: bool,
}

/// The percentiles of a wake-up, twice, with those of what the level asks for added.
fn wake(directory: &Path, level: Level, effort: Effort) -> Result<Sample> {
    let file = Raw::written(directory)?;
    let block = [b'r'; 100 + OVERHEAD];
    let (mut wakes, mut writes) = (Vec::new(), Vec::new());
    let (ball, thrown, caught) = (Mutex::new(Ball::default()), Condvar::new(), Condvar::new());
    std::thread::scope(|scope| -> Result<()> {
        scope.spawn(|| {
            let Ok(mut held) = ball.lock() else { return };
            while !held.over {
                if let Some(at) = held.thrown.take() {
                    held.flight = Some(at.elapsed());
                    caught.notify_one();
                }
                let Ok(again) = thrown.wait(held) else { return };
                held = again;
            }
        });
        let began = Instant::now();
        while began.elapsed().as_secs_f64() < effort.seconds {
            // Long enough for the other thread to sleep, as it does between two messages.
            std::thread::sleep(Duration::from_micros(60));
            let mut held = ball.lock().map_err(|_| "the other thread failed")?;
            held.thrown = Some(Instant::now());
            thrown.notify_one();
            while held.flight.is_none() {
                held = caught.wait(held).map_err(|_| "the other thread failed")?;
            }
            wakes.extend(held.flight.take().map(|flight| flight.as_secs_f64() * 1e6));
            drop(held);
            let wrote = Instant::now();
            match level {
                Level::Memory => {}
                Level::Os => {
                    file.write(&block)?;
                }
                Level::Disk => file.write_and_sync(&block)?,
            }
            writes.push(wrote.elapsed().as_secs_f64() * 1e6);
        }
        ball.lock().map_err(|_| "the other thread failed")?.over = true;
        thrown.notify_one();
        Ok(())
    })?;
    let count = wakes.len() as u64;
    let (wakes, writes) = (percentiles(wakes), percentiles(writes));
    let sum = [0, 1, 2].map(|index| 2.0 * wakes[index] + writes[index]);
    Ok(Sample { messages: count, seconds: effort.seconds, percentiles: Some(sum), cpu: None })
}
