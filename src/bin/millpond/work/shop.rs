//! What the jobs of one `work` share: where messages come from, how they are settled, when it is over.

use super::held::Held;
use crate::failure::Failure;
use crate::output;
use millpond::{Consumer, Delivery, ErrorKind, Record, Result as StoreResult};
use parking_lot::{Condvar, Mutex};
use std::ffi::OsString;
use std::io;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// The exit status that gives a message back: `EX_TEMPFAIL` of sysexits.h.
const RELEASE_STATUS: i32 = 75;
/// How long a job waits for a message before it looks again whether it should stop.
pub(super) const PATIENCE: Duration = Duration::from_millis(250);

/// How long further interrupts count as the first one: some senders signal a process and then its whole group.
const GRACE: Duration = Duration::from_secs(1);

/// How the handling of a message ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Done,
    Release,
    Failed(String),
}

/// The shared part of all jobs.
pub(super) struct Shop<'a> {
    pub(super) consumer: Consumer,
    command: &'a [OsString],
    pub(super) once: bool,
    /// Raised by an interrupt, or by the job that fails first.
    stop: Arc<AtomicBool>,
    /// Raised [`GRACE`] later: from then on an interrupt ends the process.
    impatient: Arc<AtomicBool>,
    over: Mutex<bool>,
    /// Rung when it is over.
    bell: Condvar,
    acked: AtomicU64,
    failed: AtomicU64,
    released: AtomicU64,
    lost: AtomicU64,
}

impl<'a> Shop<'a> {
    pub(super) fn new(
        consumer: Consumer,
        command: &'a [OsString],
        once: bool,
        stop: Arc<AtomicBool>,
        impatient: Arc<AtomicBool>,
    ) -> Self {
        Self {
            consumer,
            command,
            once,
            stop,
            impatient,
            over: Mutex::new(false),
            bell: Condvar::new(),
            acked: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            released: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        }
    }

    /// Runs `jobs` of them beside a heartbeat. The first failure stops all; each gives back what it holds.
    pub(super) fn run(&self, jobs: usize, job: fn(&Self, &Held) -> Result<(), Failure>) -> Result<(), Failure> {
        let held: Vec<Held> = (0..jobs).map(|_| Held::default()).collect();
        thread::scope(|scope| {
            scope.spawn(|| self.beat(&held));
            let running: Vec<_> = held
                .iter()
                .map(|held| {
                    scope.spawn(move || {
                        let outcome = job(self, held);
                        if outcome.is_err() {
                            self.stop.store(true, Ordering::SeqCst);
                        }
                        let given_back = held.release();
                        self.released.fetch_add(given_back.as_ref().copied().unwrap_or(0), Ordering::Relaxed);
                        outcome.and(given_back.map(drop))
                    })
                })
                .collect();
            let outcomes: Vec<Result<(), Failure>> = running
                .into_iter()
                .map(|job| job.join().unwrap_or_else(|_| Err(Failure::failed("a job panicked"))))
                .collect();
            *self.over.lock() = true;
            self.bell.notify_all();
            outcomes.into_iter().collect()
        })
    }

    /// Renews leases, and notes how long ago it was told to stop, until it is over.
    fn beat(&self, held: &[Held]) {
        let (mut since_renewal, mut since_stop) = (Duration::ZERO, Duration::ZERO);
        let mut over = self.over.lock();
        while !*over {
            self.bell.wait_for(&mut over, PATIENCE);
            since_renewal += PATIENCE;
            if since_renewal >= Held::BEAT {
                since_renewal = Duration::ZERO;
                held.iter().for_each(Held::renew);
            }
            if self.stopping() {
                since_stop += PATIENCE;
                self.impatient.store(since_stop >= GRACE, Ordering::SeqCst);
            }
        }
    }

    /// Lets a moment pass, unless it is time to stop.
    pub(super) fn pause(&self, span: Duration) {
        let mut left = span;
        while !left.is_zero() && !self.stopping() {
            let step = left.min(PATIENCE);
            self.bell.wait_for(&mut self.over.lock(), step);
            left = left.saturating_sub(step);
        }
    }

    /// Whether no new message should be begun.
    pub(super) fn stopping(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// The next message; nothing when this job is over.
    pub(super) fn next(&self) -> Result<Option<Delivery>, Failure> {
        while !self.stopping() {
            if let Some(delivery) = self.consumer.lease_timeout(PATIENCE)? {
                return Ok(Some(delivery));
            }
            if self.once && self.consumer.idle() {
                break;
            }
            // Nobody can resume it while this command has the store.
            if self.once && self.consumer.try_stats()?.paused_until.is_some() {
                return Err(Failure::failed("the group is paused: `millpond resume` lets it go on"));
            }
        }
        Ok(None)
    }

    /// The command, with the environment that every message shares.
    pub(super) fn command(&self) -> Command {
        let (program, arguments) = self.command.split_first().map_or((None, &[][..]), |(p, a)| (Some(p), a));
        let mut command = Command::new(program.map_or("".as_ref(), OsString::as_os_str));
        command.args(arguments);
        command.env("MILLPOND_TOPIC", self.consumer.topic_name()).env("MILLPOND_GROUP", self.consumer.name());
        // What an outer `work` said of its message must not be taken for ours.
        for name in ["MILLPOND_OFFSET", "MILLPOND_ATTEMPT", "MILLPOND_ID", "MILLPOND_KEY"] {
            command.env_remove(name);
        }
        command
    }

    /// Why the command could not be started.
    pub(super) fn not_started(&self, error: &io::Error) -> Failure {
        let program = self.command.first().map(|program| program.to_string_lossy()).unwrap_or_default();
        Failure::failed(format!("can't start {program}: {error}"))
    }

    /// What an exit status and the end of stderr say about a message.
    pub(super) fn judge(&self, status: ExitStatus, stderr: &str) -> Verdict {
        match status.code() {
            Some(0) => Verdict::Done,
            Some(RELEASE_STATUS) => Verdict::Release,
            // Whether it failed by itself or by the interrupt that reached it too can't be told.
            _ if self.stopping() => Verdict::Release,
            _ if stderr.is_empty() => Verdict::Failed(status.to_string()),
            _ => Verdict::Failed(format!("{status}: {stderr}")),
        }
    }

    /// Settles a message, and waits until that is settled itself.
    pub(super) fn settle(&self, delivery: Delivery, verdict: Verdict) -> Result<(), Failure> {
        let record = delivery.record().clone();
        match verdict {
            Verdict::Done => self.count(&record, delivery.ack().wait(), &self.acked),
            Verdict::Release => self.count(&record, delivery.release().wait(), &self.released),
            Verdict::Failed(error) => self.count(&record, delivery.nack(error).wait(), &self.failed),
        }
    }

    /// Acknowledges several: all are on their way before the first is waited for.
    pub(super) fn ack_all(&self, deliveries: Vec<Delivery>) -> Result<(), Failure> {
        let tickets: Vec<_> =
            deliveries.into_iter().map(|delivery| (delivery.record().clone(), delivery.ack())).collect();
        tickets.into_iter().try_for_each(|(record, ticket)| self.count(&record, ticket.wait(), &self.acked))
    }

    fn count(&self, record: &Record, settled: StoreResult<()>, counter: &AtomicU64) -> Result<(), Failure> {
        match settled {
            Ok(()) => {
                counter.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            // It happens if this process was stopped for longer than the lease: the message is somebody else's now.
            Err(error) if error.kind() == ErrorKind::LeaseLost => {
                self.lost.fetch_add(1, Ordering::Relaxed);
                output::note(&format!("offset {}: {error}", record.offset()));
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What was done, in one line.
    pub(super) fn summary(&self, dead: impl std::fmt::Display) -> String {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (acked, failed, released) = (load(&self.acked), load(&self.failed), load(&self.released));
        let mut line = format!("{acked} acknowledged, {failed} failed, {released} released, {dead} new dead letters");
        let lost = load(&self.lost);
        if lost > 0 {
            line.push_str(&format!(", {lost} settled too late"));
        }
        line
    }
}
