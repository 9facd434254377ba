//! `millpond bench`: what a store gets done in a directory, beside the machine's own floor, measured in the same run.

mod floor;

use crate::failure::Failure;
use crate::output::{self, Align, Table};
use millpond::{Clock, Durability, Group, Histogram, Message, SystemClock, Topic};
use serde_json::{Value, json};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Ranges per octave of what is timed, as a power of two: off by less than a hundredth.
const BITS: u32 = 7;

/// What a frame takes around a message, about: so much more the floor writes.
const FRAME: usize = 28;

const AFTER_HELP: &str = r"Examples:
  millpond bench .
  millpond bench /mnt/data --durability os --messages 100000
  millpond bench . --batch 100 --size 1024 --json

It makes a directory of its own there (millpond-bench-PID), and removes it at
the end; a store is not touched. Two things are measured: to publish messages,
each call waited for, and to lease and ack them, one after the other. The floor
is a plain file on the same disk, in the same run, that is written over with as
many bytes and, where the durability is disk, synced each time.

Figures of a machine that does something else at the same time say little: look
at the ratio, and run it twice.";

/// Measure publishing and consuming in a directory, beside the machine's floor
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Bench {
    /// A directory on the disk that is to be measured
    dir: PathBuf,
    /// How many messages
    #[arg(long, short = 'n', value_name = "N", default_value_t = 2_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    messages: u64,
    /// Bytes of each
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=1_048_576))]
    size: u32,
    /// Messages that are published, and leased, at once
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=4096))]
    batch: u64,
    /// How firm a publish is when it answers, and an ack
    #[arg(long, value_enum, default_value_t = Level::Disk)]
    durability: Level,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Level {
    /// Synced to the disk
    Disk,
    /// Written to the kernel
    Os,
    /// In the store's buffer
    Memory,
}

impl Level {
    const fn name(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Os => "os",
            Self::Memory => "memory",
        }
    }

    const fn durability(self) -> Durability {
        match self {
            Self::Disk => Durability::Disk,
            Self::Os => Durability::Os,
            Self::Memory => Durability::Memory,
        }
    }
}

/// One thing that was measured.
#[derive(Debug)]
struct Row {
    what: &'static str,
    durability: &'static str,
    /// Calls, with how long each took.
    calls: Histogram,
    messages: u64,
    seconds: f64,
}

impl Row {
    fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.messages as f64 / self.seconds } else { 0.0 }
    }

    fn line(&self, floor: &Self, bench: &Bench) -> Value {
        let micros = |part| u64::try_from(self.calls.quantile(part).as_micros()).unwrap_or(u64::MAX);
        json!({
            "what": self.what, "durability": self.durability, "messages": self.messages, "size": bench.size,
            "batch": bench.batch, "per_second": self.rate(), "of_floor": self.rate() / floor.rate(),
            "p50_us": micros(0.5), "p90_us": micros(0.9), "p99_us": micros(0.99), "p999_us": micros(0.999),
            "max_us": micros(1.0),
        })
    }

    fn cells(&self, floor: &Self) -> [String; 9] {
        let part = |part| micros(self.calls.quantile(part));
        [
            self.what.to_owned(),
            self.durability.to_owned(),
            format!("{:.0}", self.rate()),
            format!("{:.2}", self.rate() / floor.rate()),
            part(0.5),
            part(0.9),
            part(0.99),
            part(0.999),
            part(1.0),
        ]
    }
}

fn micros(span: Duration) -> String {
    let micros = span.as_micros();
    if micros < 10_000 { format!("{micros} us") } else { format!("{} ms", micros / 1000) }
}

impl Bench {
    /// Measures, shows, and cleans up.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let refused = |error: io::Error| Failure::refused(format!("{}: {error}", self.dir.display()));
        let dir = self.dir.join(format!("millpond-bench-{}", std::process::id()));
        floor::make(&dir).map_err(refused)?;
        let measured = self.measure(&dir);
        let removed = floor::remove(&dir);
        let rows = measured?;
        removed.map_err(|error| Failure::failed(format!("{} can't be removed: {error}", dir.display())))?;
        self.show(&rows)
    }

    /// The floor first.
    fn measure(&self, dir: &Path) -> Result<Vec<Row>, Failure> {
        let calls = self.messages.div_ceil(self.batch);
        let bytes = (self.size as usize).saturating_add(FRAME).saturating_mul(usize::try_from(self.batch).unwrap_or(1));
        let sync = self.durability == Level::Disk;
        let failed = |error: io::Error| Failure::failed(format!("measuring the floor: {error}"));
        let (took, seconds) = floor::measure(dir, bytes, sync, calls).map_err(failed)?;
        let what = if sync { "floor: write + fdatasync" } else { "floor: write" };
        let floor = Row { what, durability: self.durability.name(), calls: took, messages: self.messages, seconds };
        let level = self.durability.durability();
        let store = crate::keys::options().durability(level).ack_durability(level).open(dir.join("store"))?;
        let topic = store.topic("bench")?;
        let published = self.publish(&topic)?;
        let consumed = self.consume(&topic)?;
        store.close()?;
        Ok(vec![floor, published, consumed])
    }

    fn row(&self, what: &'static str, mut call: impl FnMut(u64) -> Result<(), Failure>) -> Result<Row, Failure> {
        let (clock, mut calls) = (SystemClock::new(), Histogram::of_micros(BITS));
        let mut left = self.messages;
        while left > 0 {
            let count = left.min(self.batch);
            let begun = clock.monotonic();
            call(count)?;
            calls.record(clock.monotonic().saturating_sub(begun));
            left -= count;
        }
        let seconds = clock.monotonic().as_secs_f64();
        Ok(Row { what, durability: self.durability.name(), calls, messages: self.messages, seconds })
    }

    fn publish(&self, topic: &Topic) -> Result<Row, Failure> {
        let payload = bytes(self.size);
        self.row("publish", |count| {
            let message = || Message::new(payload.clone());
            match count {
                1 => topic.publish(message()).wait().map(drop)?,
                count => topic.publish_all((0..count).map(|_| message())).wait().map(drop)?,
            }
            Ok(())
        })
    }

    fn consume(&self, topic: &Topic) -> Result<Row, Failure> {
        let consumer = topic.consumer("bench", Group::default())?;
        self.row("lease + ack", |count| {
            let batch = consumer.lease_many(usize::try_from(count).unwrap_or(1), Duration::from_secs(60))?;
            Ok(consumer.ack_all(batch).wait()?)
        })
    }

    fn show(&self, rows: &[Row]) -> Result<(), Failure> {
        let Some(floor) = rows.first() else { return Ok(()) };
        let mut out = BufWriter::new(io::stdout().lock());
        if self.json {
            rows.iter().try_for_each(|row| output::json_line(&mut out, &row.line(floor, self)))?;
        } else {
            let right = Align::Right;
            let mut table = Table::new(&[
                ("", Align::Left),
                ("DURABILITY", Align::Left),
                ("MESSAGES/S", right),
                ("OF FLOOR", right),
                ("P50", right),
                ("P90", right),
                ("P99", right),
                ("P99.9", right),
                ("MAX", right),
            ]);
            rows.iter().for_each(|row| table.row(row.cells(floor)));
            let (messages, size, batch) = (self.messages, self.size, self.batch);
            writeln!(out, "{messages} messages of {size} bytes, {batch} a call, each call waited for")?;
            table.write(&mut out)?;
        }
        Ok(out.flush()?)
    }
}

/// A payload that does not compress.
fn bytes(size: u32) -> Vec<u8> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes().first().copied().unwrap_or_default()
    };
    std::iter::repeat_with(next).take(size as usize).collect()
}
