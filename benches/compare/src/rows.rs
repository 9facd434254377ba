//! The rows of the comparison: which work, at which levels, beside which floor.

use crate::floor::Floor;
use crate::queue::Level;
use crate::run::Effort;
use serde::{Deserialize, Serialize};

/// What is done in a row.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Work {
    /// `threads` producers append messages of `bytes`, `batch` a call, each call waited for.
    Append { bytes: usize, batch: usize, threads: usize },
    /// One thread appends with so many on their way.
    Pipelined { bytes: usize, most: usize },
    /// One consumer takes what is there, `batch` a call, and settles it lazily.
    Drain { batch: usize },
    /// `consumers` take one message a call and settle it at the row's level.
    Settle { consumers: usize },
    /// Messages go in at this rate, and a consumer waits for each.
    Latency { per_second: u64 },
    /// One thread appends to each of so many topics in turn; only ours.
    Topics { topics: usize },
    /// So many groups of one topic take all of its messages; only ours.
    Groups { groups: usize },
    /// Batches are taken from behind a backlog of so many messages; only ours.
    Backlog { messages: u64 },
}

impl Work {
    /// Messages that one sync may at most be shared by, if each is as durable as the call says.
    pub(crate) fn share(self) -> usize {
        match self {
            Self::Append { batch, threads, .. } => batch * threads,
            Self::Pipelined { most, .. } => most,
            Self::Drain { batch } => batch,
            Self::Settle { consumers } => consumers,
            _ => 1,
        }
    }

    pub(crate) fn appends(self) -> bool {
        matches!(self, Self::Append { .. } | Self::Pipelined { .. } | Self::Topics { .. })
    }

    /// About how many bytes are going to be appended, and not less.
    pub(crate) fn bytes_in(self, effort: Effort, level: Level) -> u64 {
        const OVERHEAD: u64 = 24;
        const SYNCS: f64 = 20_000.0;
        const DISK: f64 = 1.6e9;
        let (bytes, a_sync) = match self {
            Self::Append { bytes, batch, threads } => (bytes as u64 + OVERHEAD, (batch * threads) as f64),
            Self::Pipelined { bytes, most } => (bytes as u64 + OVERHEAD, most as f64),
            _ => return 0,
        };
        match level {
            Level::Disk => (effort.seconds * (SYNCS * a_sync * bytes as f64).min(DISK)) as u64,
            _ => effort.messages.saturating_mul(bytes),
        }
    }

    pub(crate) fn latency(self) -> bool {
        matches!(self, Self::Latency { .. })
    }
}

/// One row.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    pub(crate) work: Work,
    /// The levels of interest, of what is appended or of what is settled.
    pub(crate) levels: &'static [Level],
    /// The floors. The first `leading` are what the ratio is to: the fastest of them.
    pub(crate) floors: Vec<Floor>,
    pub(crate) leading: usize,
    pub(crate) aim: &'static str,
}

const UNSYNCED: &[Level] = &[Level::Memory, Level::Os];
const DISK: &[Level] = &[Level::Disk];

fn row(
    id: &'static str,
    title: &'static str,
    work: Work,
    levels: &'static [Level],
    floors: Vec<Floor>,
    aim: &'static str,
) -> Row {
    let leading = if let Work::Append { threads: 2.., .. } | Work::Settle { consumers: 2.. } = work
        && levels == DISK
    {
        2
    } else {
        1
    };
    Row { id, title, work, levels, floors, leading, aim }
}

fn append(bytes: usize, batch: usize, threads: usize) -> Work {
    Work::Append { bytes, batch, threads }
}

/// All of them, in the order of the table in the project's plan.
pub(crate) fn all() -> Vec<Row> {
    let mut rows = vec![
        row(
            "append-100",
            "append 100 B, not synced, one a call",
            append(100, 1, 1),
            UNSYNCED,
            vec![Floor::write(100, 1, 1), Floor::Copy { bytes: 100 }],
            "`Os` at least 0.8 of the floor; `Memory` at least 5 x yaque",
        ),
        row(
            "append-100-batch",
            "append 100 B, not synced, batches of 100",
            append(100, 100, 1),
            UNSYNCED,
            vec![Floor::write(100, 100, 1), Floor::Copy { bytes: 100 }],
            "`Os` at least 0.85 of the floor",
        ),
        row(
            "append-1k-4",
            "append 1 KiB, not synced, 4 producers",
            append(1024, 1, 4),
            UNSYNCED,
            vec![Floor::write(1024, 1, 4), Floor::Recycled { bytes: 1024, threads: 4 }],
            "over 1.5 M/s",
        ),
        row(
            "durable-1",
            "durable, 100 B, one a call",
            append(100, 1, 1),
            DISK,
            vec![Floor::Sync { bytes: 100, batch: 1 }, Floor::Growing { bytes: 100 }],
            "at least 0.95 of the floor",
        ),
    ];
    let threads = [
        ("durable-4", "durable, 1 KiB, 4 threads", 4, "at least 0.9 of the floor"),
        ("durable-16", "durable, 1 KiB, 16 threads", 16, "1.5 x the best alternative, or 0.8 of the floor"),
        ("durable-64", "durable, 1 KiB, 64 threads", 64, "1.5 x the best alternative, or 0.8 of the floor"),
        ("durable-256", "durable, 1 KiB, 256 threads", 256, "1.5 x the best alternative, or 0.8 of the floor"),
    ];
    rows.extend(threads.map(|(id, title, threads, aim)| {
        let floors = vec![Floor::Overlapped { bytes: 1024, threads }, Floor::Grouped { bytes: 1024, threads }];
        row(id, title, append(1024, 1, threads), DISK, floors, aim)
    }));
    let batches = [
        ("durable-100x100", "durable batches of 100 x 100 B", 100, 100, "1.2 x okaywal"),
        ("durable-1000x100", "durable batches of 1000 x 100 B", 1000, 100, "1.2 x okaywal"),
        ("durable-100x1k", "durable batches of 100 x 1 KiB", 100, 1024, "1.3 x raft-engine"),
        ("durable-1000x1k", "durable batches of 1000 x 1 KiB", 1000, 1024, "1.3 x raft-engine"),
    ];
    rows.extend(batches.map(|(id, title, batch, bytes, aim)| {
        row(id, title, append(bytes, batch, 1), DISK, vec![Floor::Sync { bytes, batch }], aim)
    }));
    rows.push(row(
        "pipelined",
        "durable, 100 B, 1 thread, 1000 on their way",
        Work::Pipelined { bytes: 100, most: 1000 },
        DISK,
        vec![Floor::Sync { bytes: 100, batch: 1000 }],
        "over 2 M/s",
    ));
    rows.extend(consuming());
    rows
}

fn consuming() -> Vec<Row> {
    let sync = Floor::Sync { bytes: 16, batch: 1 };
    vec![
        row(
            "drain-1",
            "drain 100 B, checked, one a call, acks lazy",
            Work::Drain { batch: 1 },
            UNSYNCED,
            vec![Floor::Scan { bytes: 100 }],
            "over 2 M/s",
        ),
        row(
            "drain-100",
            "drain 100 B, checked, 100 a call, acks lazy",
            Work::Drain { batch: 100 },
            UNSYNCED,
            vec![Floor::Scan { bytes: 100 }],
            "over 6 M/s",
        ),
        row(
            "settle-durable-1",
            "lease one, ack it durably, 1 consumer",
            Work::Settle { consumers: 1 },
            DISK,
            vec![sync],
            "at least 0.9 of the floor",
        ),
        row(
            "settle-durable-8",
            "lease one, ack it durably, 8 consumers",
            Work::Settle { consumers: 8 },
            DISK,
            vec![Floor::Overlapped { bytes: 16, threads: 8 }, Floor::Grouped { bytes: 16, threads: 8 }],
            "4 x one consumer",
        ),
        row(
            "settle-unsynced",
            "lease one, ack it unsynced, 1 consumer",
            Work::Settle { consumers: 1 },
            UNSYNCED,
            vec![Floor::write(16, 1, 1)],
            "1 M/s",
        ),
        latency("latency-memory", "publish to delivery at 10 k/s, `Memory`", &[Level::Memory]),
        latency("latency-os", "publish to delivery at 10 k/s, `Os`", &[Level::Os]),
        latency("latency-disk", "publish to delivery at 10 k/s, `Disk`", DISK),
    ]
}

fn latency(id: &'static str, title: &'static str, levels: &'static [Level]) -> Row {
    let level = levels.first().copied().unwrap_or(Level::Os);
    let work = Work::Latency { per_second: 10_000 };
    row(id, title, work, levels, vec![Floor::Wake { level }], "p50 under two wake-ups and the level's floor")
}
