//! Hostile directories: a store at rest is hurt in every way of the fault model, and then opened, read and verified.
//!
//! Never a wrong payload, never a phantom, never a panic, never silence, never memory or time without bounds, never a
//! foreign file touched. `table` says what may come of which injury.
//!
//! * `cargo test --test hostile` runs a fixed set of seeds.
//! * `MILLPOND_SEEDS=20000 cargo test --release --test hostile seeds` runs more of them.
//!   `MILLPOND_FIRST` says which is the first.
//! * `MILLPOND_SEED=17 cargo test --test hostile seeds` runs one again.
#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::field_reassign_with_default,
    clippy::print_stdout,
    reason = "a test fails by panicking, and damages files"
)]

mod forge;
mod ids;
mod ids_forged;
mod injure;
mod layout;
mod look;
mod mend;
mod plants;
mod pond;
mod resync;
mod table;

use injure::{How, Injury};
use layout::Class;
use look::Outcome;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// More than this is asked for by no look at a store of this size, whatever its files claim.
const MOST_BYTES: u64 = 64 << 20;
/// The longest that a look may work.
const LONGEST: Duration = Duration::from_secs(20);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// How long this thread has worked, as far as the system says: that others kept it waiting is not its fault.
fn worked() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(Duration::from_nanos(text.split_whitespace().next()?.parse().ok()?))
}

/// Runs one look within its bounds.
pub(crate) fn bounded<T>(what: &str, look: impl FnOnce() -> T) -> T {
    let mut found = None;
    let (began, before) = (Instant::now(), worked());
    let asked = allocation_counter::measure(|| found = Some(look()));
    assert!(asked.bytes_max < MOST_BYTES, "{what} asked for {} bytes", asked.bytes_max);
    let took = before.zip(worked()).map_or_else(|| began.elapsed(), |(before, after)| after.saturating_sub(before));
    assert!(took < LONGEST, "{what} took {took:?}");
    found.unwrap()
}

type Hit = (Class, How, Outcome);

/// One injury, or two. What came of it.
fn run(seed: u64) -> Option<Hit> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let ponds = pond::ponds();
    let pond = &ponds[rng.usize(0..ponds.len())];
    let mut files = pond.files.clone();
    let how = injure::ALL[rng.usize(0..injure::ALL.len())];
    let injury = injure::injure(&mut rng, pond, &mut files, how)?;
    let dir = pond::directory();
    pond::write_all(&files, dir.path());
    judge(seed, pond, &injury, dir.path(), &files)
}

fn judge(seed: u64, pond: &pond::Pond, injury: &Injury, path: &std::path::Path, files: &pond::Files) -> Option<Hit> {
    let what = format!("seed {seed}: {:?} of {:?}, {} ({})", injury.how, injury.class, injury.file, pond.name);
    let (told, damage) = bounded(&format!("verify, {what}"), || look::verify(path));
    assert!(pond::read_all(path) == *files, "verifying changed something: {what}");
    let forged = matches!(injury.how, How::ForgeFrame | How::ForgeLength | How::ForgeHeader);
    if injury.hurt && !forged {
        // The end of a store that was not closed may be cut off without a trace: no torn end looks different.
        let end = !pond.closed && injury.class == Class::Active;
        assert!(told || end, "verify says nothing: {what}");
        if pond.closed
            && let Some(byte) = injury.byte
        {
            assert!(look::names(&damage, &injury.file, Some(byte)), "byte {byte} is not named: {what}: {damage:?}");
        }
    }
    if injury.how == How::ForgeFrame || injury.how == How::ForgeLength {
        // What a forged frame says is a fact; only that it does no harm is looked at.
        return bounded(&what, || {
            let outcome =
                catch_unwind(AssertUnwindSafe(|| plants::open_only(path))).unwrap_or_else(|_| panic!("{what}"));
            Some((injury.class, injury.how, outcome))
        });
    }
    let whole = bounded(&format!("salvage, {what}"), || mend::salvage(path, pond, files, &what));
    assert!(whole.is_some() || injury.class != Class::Sealed, "nothing is salvaged: {what}");
    let other = pond::directory();
    pond::write_all(files, other.path());
    bounded(&format!("repair, {what}"), || mend::repair(other.path(), pond, injury, files, &what));
    let seen = bounded(&what, || {
        catch_unwind(AssertUnwindSafe(|| look::look(path, pond))).unwrap_or_else(|_| panic!("{what}"))
    });
    let allowed = table::allowed(injury.class, injury.how, pond.closed);
    assert!(allowed.contains(&seen.outcome), "{:?} is not one of {allowed:?}: {what}: {:?}", seen.outcome, seen.damage);
    if seen.outcome == Outcome::Corrupt && injury.file.ends_with(".segment") {
        assert!(pond::read_all(path) == *files, "a refused opening changed something: {what}");
        assert!(!seen.damage.is_empty(), "nothing is named: {what}");
    }
    Some((injury.class, injury.how, seen.outcome))
}

#[test]
fn seeds_of_injuries_end_as_the_table_says() {
    let (first, count) = match number("MILLPOND_SEED") {
        Some(seed) => (seed, 1),
        None => (number("MILLPOND_FIRST").unwrap_or(0), number("MILLPOND_SEEDS").unwrap_or(600)),
    };
    pond::ponds();
    pond::stranger();
    let next = std::sync::atomic::AtomicU64::new(first);
    let (failed, hits) = (Mutex::new(Vec::new()), Mutex::new(BTreeMap::<Hit, u64>::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if seed >= first + count || failed.lock().unwrap().len() > 8 {
                        break;
                    }
                    match catch_unwind(AssertUnwindSafe(|| run(seed))) {
                        Ok(Some(hit)) => *hits.lock().unwrap().entry(hit).or_default() += 1,
                        Ok(None) => {}
                        Err(_) => failed.lock().unwrap().push(seed),
                    }
                }
            });
        }
    });
    let (failed, hits) = (failed.into_inner().unwrap(), hits.into_inner().unwrap());
    for seed in &failed {
        println!("seed {seed}: MILLPOND_SEED={seed} cargo test --test hostile seeds");
    }
    assert!(failed.is_empty(), "seeds fail: {failed:?}");
    if number("MILLPOND_SEEDS").is_some() {
        hits.iter().for_each(|((class, how, outcome), times)| println!("{class:?} {how:?} {outcome:?}: {times}"));
    }
    if count >= 600 {
        let hurt: BTreeSet<How> = hits.keys().map(|hit| hit.1).collect();
        let missed: Vec<_> = injure::ALL.iter().filter(|how| !hurt.contains(how)).collect();
        assert!(missed.is_empty(), "no seed did {missed:?}");
        let outcomes: BTreeSet<Outcome> = hits.keys().map(|hit| hit.2).collect();
        for outcome in [Outcome::Intact, Outcome::Told, Outcome::Trimmed, Outcome::Corrupt] {
            assert!(outcomes.contains(&outcome), "no seed ended as {outcome:?}");
        }
    }
}
