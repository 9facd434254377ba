//! Counting the system calls of a child, with strace: what it says of its guarantee is not enough.

use crate::run::{BEGIN, END};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::path::Path;
use std::process::Command;

/// The calls that are traced; `statx` shows where the work begins and ends.
const TRACED: &str = "trace=fsync,fdatasync,sync_file_range,msync,openat,write,pwrite64,writev,pwritev,pwritev2,\
                      io_uring_enter,statx";

/// Calls while the work was done.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Calls {
    pub(crate) messages: u64,
    pub(crate) fsync: u64,
    pub(crate) fdatasync: u64,
    pub(crate) sync_file_range: u64,
    pub(crate) msync: u64,
    /// Writes to a file that was opened with `O_SYNC` or `O_DSYNC`.
    pub(crate) synced_writes: u64,
    /// Other writes, to files and to whatever else.
    pub(crate) writes: u64,
    pub(crate) io_uring_enter: u64,
}

impl Calls {
    /// Calls that put data on the disk. `sync_file_range` is none: it empties no cache of the drive, and writes no
    /// metadata.
    pub(crate) fn syncs(&self) -> u64 {
        self.fsync + self.fdatasync + self.msync + self.synced_writes
    }

    pub(crate) fn per_message(&self, calls: u64) -> f64 {
        calls as f64 / self.messages.max(1) as f64
    }

    /// Whether there are fewer syncs than every message being durable takes, if at most so many share one.
    pub(crate) fn too_few(&self, share: usize) -> bool {
        (self.syncs() as f64) * (share as f64) < 0.5 * self.messages as f64
    }
}

/// Whether strace is here and may trace.
pub(crate) fn possible() -> bool {
    let tried = Command::new("strace").args(["-o", "/dev/null", "-e", TRACED, "true"]).output();
    tried.is_ok_and(|output| output.status.success())
}

/// `command`, traced into `log`.
pub(crate) fn traced(command: &Command, log: &Path) -> Command {
    let mut traced = Command::new("strace");
    traced.args(["-f", "-y", "-s", "64", "-e", TRACED, "-o"]).arg(log);
    traced.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            traced.env(name, value);
        }
    }
    traced
}

/// What a trace says.
pub(crate) fn counted(log: &str, messages: u64) -> Calls {
    let mut calls = Calls { messages, ..Calls::default() };
    let mut synced: HashSet<&str> = HashSet::new();
    let mut working = false;
    for line in log.lines() {
        // `pid call(arguments) = result`; the end of a call that was interrupted begins with `<`.
        let call = line.trim_start_matches(|letter: char| letter.is_ascii_digit()).trim_start();
        let Some((name, arguments)) = call.split_once('(') else { continue };
        match name {
            "statx" => working = (working || arguments.contains(BEGIN)) && !arguments.contains(END),
            "openat" if arguments.contains("O_SYNC") || arguments.contains("O_DSYNC") => {
                synced.extend(arguments.split('"').nth(1));
            }
            _ if !working => {}
            "fsync" => calls.fsync += 1,
            "fdatasync" => calls.fdatasync += 1,
            "sync_file_range" => calls.sync_file_range += 1,
            "msync" => calls.msync += u64::from(arguments.contains("MS_SYNC")),
            "io_uring_enter" => calls.io_uring_enter += 1,
            "write" | "pwrite64" | "writev" | "pwritev" | "pwritev2" => {
                let file = arguments.split(['<', '>']).nth(1).unwrap_or_default();
                if synced.contains(file) { calls.synced_writes += 1 } else { calls.writes += 1 }
            }
            _ => {}
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_calls_between_the_marks_count_and_each_once() {
        let log = format!(
            "1 fdatasync(3</d/a>) = 0\n\
             1 openat(AT_FDCWD</d>, \"/d/b\", O_RDWR|O_SYNC|O_CLOEXEC) = 4</d/b>\n\
             1 statx(AT_FDCWD</d>, \"{BEGIN}\", 0) = -1 ENOENT\n\
             2 fdatasync(3</d/a> <unfinished ...>\n\
             1 pwrite64(4</d/b>, \"x\"..., 1, 0) = 1\n\
             1 write(5</d/c>, \"x\", 1) = 1\n\
             2 <... fdatasync resumed>) = 0\n\
             1 msync(0x7f, 4096, MS_ASYNC) = 0\n\
             1 msync(0x7f, 4096, MS_SYNC) = 0\n\
             1 sync_file_range(3</d/a>, 0, 0, 7) = 0\n\
             1 statx(AT_FDCWD</d>, \"{END}\", 0) = -1 ENOENT\n\
             1 fsync(3</d/a>) = 0\n"
        );
        let calls = counted(&log, 10);
        assert_eq!((calls.fdatasync, calls.fsync, calls.msync, calls.sync_file_range), (1, 0, 1, 1));
        assert_eq!((calls.synced_writes, calls.writes, calls.syncs()), (1, 1, 3));
    }

    #[test]
    fn sharing_a_sync_is_allowed_and_having_none_is_not() {
        let calls = |fdatasync| Calls { messages: 1000, fdatasync, ..Calls::default() };
        assert!(!calls(1000).too_few(1) && !calls(16).too_few(64));
        assert!(calls(0).too_few(64) && calls(10).too_few(1));
    }
}
