//! Opening what is left, reading all of it, and saying what came of it. What must never be fails the test here: a wrong
//! payload, a phantom, silence, a panic, too much memory, a foreign file touched.

use crate::pond::{Expected, Pond, options};
use millpond::{BuryReason, Damage, Error, ErrorKind, Group, Offset, Store, Topic};
use std::collections::BTreeSet;
use std::path::Path;

/// What came of an opening. See `table` for what may come of which injury.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// It opened, and everything is there.
    Intact,
    /// It opened; what is lost was reported when a reader came to it.
    Told,
    /// It opened without its last messages: a torn end of a store that was not closed, reported as trimmed.
    Trimmed,
    /// Refused as corrupt.
    Corrupt,
    /// Refused: a newer release's.
    Unsupported,
    /// Refused by the operating system, or because something is in the place of a file.
    System,
    /// Refused: not a store.
    Misuse,
}

/// The kind of a refusal.
pub(crate) fn refusal(error: &Error) -> Outcome {
    assert!(!error.to_string().is_empty());
    match error.kind() {
        ErrorKind::Corrupt => Outcome::Corrupt,
        ErrorKind::Unsupported => Outcome::Unsupported,
        ErrorKind::System | ErrorKind::Full => Outcome::System,
        ErrorKind::Misuse => Outcome::Misuse,
        other => panic!("an opening is not refused with {other:?}: {error}"),
    }
}

/// What a look has to say besides its outcome.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) outcome: Outcome,
    pub(crate) damage: Vec<Damage>,
}

/// Reads a topic from front to back. Whether somebody was told of a loss, and how many messages it has.
fn read(topic: &Topic, expected: &[Vec<u8>], may_be_gone: impl Fn(u64) -> bool) -> (bool, u64) {
    let (mut told, end) = (false, topic.end_offset());
    assert!(end.get() <= expected.len() as u64, "a phantom: {} ends at {end}", topic.name());
    let mut next = Offset::ZERO;
    while next < end {
        match topic.read(next..).next() {
            Some(Ok(record)) => {
                let offset = record.offset();
                let payload = usize::try_from(offset.get()).ok().and_then(|index| expected.get(index));
                assert_eq!(Some(record.payload()), payload.map(Vec::as_slice), "a wrong payload at {offset}");
                let passed = (next.get()..offset.get()).find(|passed| !may_be_gone(*passed));
                assert_eq!(passed, None, "passed over in silence, {}", topic.name());
                next = offset.next();
            }
            Some(Err(error)) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                told = true;
                next = next.next();
            }
            None => {
                let passed = (next.get()..end.get()).find(|passed| !may_be_gone(*passed));
                assert_eq!(passed, None, "the end of {} is missing in silence", topic.name());
                break;
            }
        }
    }
    (told, end.get())
}

/// Takes everything that the group is still to get.
fn drain(jobs: &Topic, expected: &Expected, acks_may_be_lost: bool) -> bool {
    let worker = jobs.consumer("worker", Group::default()).unwrap();
    let (mut seen, mut told) = (BTreeSet::new(), false);
    loop {
        match worker.try_lease() {
            Ok(Some(delivery)) => {
                let offset = delivery.offset().get();
                let payload = usize::try_from(offset).ok().and_then(|index| expected.jobs.get(index));
                assert_eq!(Some(delivery.payload()), payload.map(Vec::as_slice), "a wrong payload was delivered");
                assert!(acks_may_be_lost || !expected.acked.contains(&offset), "offset {offset} came back");
                seen.insert(offset);
                // Suspects come one by one: what is behind this one waits for its answer.
                if delivery.ack().wait().is_err() {
                    told = true;
                }
            }
            Ok(None) => break,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                told = true;
                break;
            }
        }
    }
    for letter in worker.dead_letters() {
        match letter {
            Ok(letter) => {
                told |= letter.reason() == BuryReason::Unreadable;
                seen.insert(letter.offset().get());
            }
            Err(_) => told = true,
        }
    }
    let stats = worker.stats();
    // Those that wait for their retry are there, and are not handed out today.
    let waiting = stats.retrying;
    let missing = (0..jobs.end_offset().get())
        .filter(|offset| !expected.acked.contains(offset) && !seen.contains(offset))
        .count() as u64;
    assert!(told || acks_may_be_lost || missing <= waiting, "{missing} are missing: {stats:?}");
    told
}

/// Opens the store and reads all of it.
pub(crate) fn look(path: &Path, pond: &Pond) -> Seen {
    let refused = |error: &Error| Seen { outcome: refusal(error), damage: error.damage().to_vec() };
    let store = match options(32 << 10).create(false).open(path) {
        Ok(store) => store,
        Err(error) => return refused(&error),
    };
    let expected = &pond.expected;
    let trimmed = store.recovery().trimmed.is_some();
    let topic = |name: &str| store.existing_topic(name);
    let (orders, jobs) = match (topic("orders"), topic("jobs")) {
        (Ok(orders), Ok(jobs)) => (orders, jobs),
        // Of a store that was not closed, everything may be the torn end, if all behind the first frames is gone.
        _ if !pond.closed => {
            store.close().unwrap();
            return Seen { outcome: Outcome::Trimmed, damage: Vec::new() };
        }
        _ => panic!("a topic is gone in silence"),
    };
    let (mut told, orders_end) = read(&orders, &expected.orders, |_| false);
    let acked = |offset| expected.acked.contains(&offset);
    let (jobs_told, jobs_end) = read(&jobs, &expected.jobs, acked);
    let short = (orders_end, jobs_end) < (expected.orders.len() as u64, expected.jobs.len() as u64);
    assert!(!(short && pond.closed), "the end of a store that was closed is missing in silence");
    told |= jobs_told | drain(&jobs, expected, short || (trimmed && !pond.closed));
    match store.close() {
        Ok(()) => {}
        Err(error) => assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Poisoned | ErrorKind::System)),
    }
    let outcome = match (told, short || (trimmed && !pond.closed)) {
        (true, _) => Outcome::Told,
        (false, true) => Outcome::Trimmed,
        (false, false) => Outcome::Intact,
    };
    Seen { outcome, damage: Vec::new() }
}

/// What `verify` says: whether anything at all, and which places.
pub(crate) fn verify(path: &Path) -> (bool, Vec<Damage>) {
    match Store::verify(path, |_| ()) {
        Ok(report) => {
            let found: Vec<Damage> = report.damage.into_iter().chain(report.snapshot_damage).collect();
            (!found.is_empty() || report.torn.is_some(), found)
        }
        Err(error) => {
            let _ = refusal(&error);
            (true, error.damage().to_vec())
        }
    }
}

/// Whether a damaged place that is named covers this byte of this file.
pub(crate) fn names(damage: &[Damage], file: &str, at: Option<usize>) -> bool {
    damage.iter().any(|place| {
        let byte = at.map(|at| at as u64);
        let covers = byte.is_none_or(|at| place.from == place.to || (place.from <= at && at < place.to));
        place.file == file && covers && !place.what.is_empty()
    })
}
