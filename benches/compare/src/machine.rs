//! What it was measured on.

use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// The machine, as far as it matters for the figures.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: f64,
    pub(crate) kernel: String,
    pub(crate) file_system: String,
    /// Of the last minute, before the run: what others were doing.
    pub(crate) load: String,
}

fn text(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// What stands behind `name` and a colon.
fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

impl Machine {
    /// This one; the file system is that of `scratch`.
    pub(crate) fn this(scratch: &Path) -> Self {
        let memory = field(&text("/proc/meminfo"), "MemTotal").unwrap_or_default();
        let kib: f64 = memory.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0.0);
        Self {
            cpu: field(&text("/proc/cpuinfo"), "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gib: (kib / 104_857.6).round() / 10.0,
            kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
            file_system: file_system(scratch).unwrap_or_else(|| "unknown".to_owned()),
            load: text("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
        }
    }
}

/// The type of the file system with the longest path above `directory`, and whether its device is a spinning disk.
fn file_system(directory: &Path) -> Option<String> {
    let directory = directory.canonicalize().ok()?;
    let mounts = text("/proc/self/mounts");
    let rows = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (device, point, kind) = (words.next()?, words.next()?, words.next()?);
        directory.starts_with(point).then_some((point.len(), device.to_owned(), kind.to_owned()))
    });
    let (_, device, kind) = rows.max_by_key(|row| row.0)?;
    let device = device.rsplit('/').next().unwrap_or_default().to_owned();
    Some(format!("{kind} on {device}"))
}

/// The day and time, in UTC, as `2026-01-31T12:00:00Z`.
pub(crate) fn now() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01, in eras of 400 years.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hours, minutes) = (time / 3600, time / 60 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{:02}Z", time % 60)
}

/// The version of a crate that this was built with; of ours, that of the commit if git knows it.
pub(crate) fn locked_version(name: &str) -> String {
    let lock = include_str!("../Cargo.lock");
    let package = format!("name = \"{name}\"\nversion = \"");
    let version = lock.split_once(&package).and_then(|(_, rest)| rest.split('"').next()).unwrap_or("unknown");
    if name != crate::alternatives::OURS {
        return version.to_owned();
    }
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let git = std::process::Command::new("git").args(["-C", root, "rev-parse", "--short", "HEAD"]).output();
    let commit = git.ok().filter(|output| output.status.success());
    match commit.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()) {
        Some(commit) => format!("{version} ({commit})"),
        None => version.to_owned(),
    }
}
