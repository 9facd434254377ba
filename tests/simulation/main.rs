//! The whole engine on a simulated disk and a manual clock, from one seed: a workload, crashes anywhere, and the
//! invariants of the contract after each of them.
//!
//! * `cargo test --all-features --test simulation` runs a fixed set of seeds, and fails also if they did not come to
//!   every place that `coverage` knows. With `-- --nocapture` it shows how often each was come to.
//! * `MILLPOND_SEEDS=10000 cargo test --release --all-features --test simulation many_seeds` runs more of them.
//! * `MILLPOND_SEED=17 cargo test --all-features --test simulation many_seeds` runs one again. A seed that fails is
//!   made smaller, for a minute (`MILLPOND_SHRINK` says how many seconds), and `MILLPOND_PLAN` is what is left of it.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::field_reassign_with_default,
    clippy::disallowed_methods,
    reason = "a test"
)]

mod awaited;
mod coverage;
mod damage;
mod ending;
mod filter;
mod flow;
mod gone;
mod ids;
mod keys;
mod letters;
mod links;
mod model;
mod opening;
mod order;
mod pending;
mod plan;
mod poison;
mod rules;
mod space;
mod tail;
mod transactions;
mod visible;
mod work;
mod world;

use coverage::Coverage;
use plan::Plan;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use world::World;

/// Seeds that have to come to every place.
const SEEDS: u64 = 100;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// What went wrong, and the trace up to there.
type Failure = (String, String);

/// Runs one plan: its trace, and how many steps there were.
fn run(plan: &Plan) -> Result<(String, u64), Failure> {
    let mut world = World::new(plan.clone());
    let outcome = catch_unwind(AssertUnwindSafe(|| world.run()));
    let trace = std::mem::take(&mut world.trace);
    match outcome {
        Ok(Ok(())) => Ok((trace, world.steps)),
        Ok(Err(what)) => Err((what, trace)),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err((format!("panic: {}", text.unwrap_or_default()), trace))
        }
    }
}

/// In which way it fails: what it says, without what differs from one run to the next.
fn way(what: &str) -> String {
    let words =
        what.split_whitespace().filter(|word| !word.contains(|c: char| c.is_ascii_digit()) || word.starts_with('I'));
    words.take(6).collect::<Vec<_>>().join(" ")
}

/// Makes a failing seed as small as can be, and says how it is run again.
fn tell(plan: Plan, what: &str) {
    println!("seed {}: {what}", plan.seed);
    let limit = Duration::from_secs(number("MILLPOND_SHRINK").unwrap_or(60));
    let silent = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let small = plan.shrink(limit, |plan| run(plan).err().map(|(what, _)| way(&what)));
    let again = run(&small);
    std::panic::set_hook(silent);
    if let Err((what, trace)) = again {
        let lines: Vec<&str> = trace.lines().collect();
        lines[lines.len().saturating_sub(number("MILLPOND_LINES").map_or(40, |n| usize::try_from(n).unwrap()))..]
            .iter()
            .for_each(|line| println!("  {line}"));
        println!("made smaller: {what}");
    }
    println!(
        "  MILLPOND_SEED={} MILLPOND_PLAN={small} cargo test --all-features --test simulation many_seeds",
        small.seed
    );
}

/// A run that does not end is a failure too.
fn watch(running: &Mutex<BTreeMap<u64, Instant>>, over: &AtomicBool) {
    let limit = Duration::from_secs(number("MILLPOND_LIMIT").unwrap_or(300));
    while !over.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(200));
        let late = running.lock().unwrap().iter().find(|(_, began)| began.elapsed() > limit).map(|(seed, _)| *seed);
        if let Some(seed) = late {
            println!("seed {seed} does not end within {limit:?}");
            std::process::exit(1);
        }
    }
}

#[test]
fn many_seeds_hold_the_invariants() {
    let (first, count) = match number("MILLPOND_SEED") {
        Some(seed) => (seed, 1),
        None => (number("MILLPOND_FIRST").unwrap_or(0), number("MILLPOND_SEEDS").unwrap_or(SEEDS)),
    };
    let plan = |seed: u64| match std::env::var("MILLPOND_PLAN") {
        Ok(text) => Plan::read(seed, &text).unwrap(),
        Err(_) => Plan::new(seed),
    };
    let (next, failed) = (AtomicU64::new(first), Mutex::new(Vec::new()));
    let (all, began) = (Mutex::new(Coverage::default()), Instant::now());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (running, over) = (Mutex::new(BTreeMap::new()), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| watch(&running, &over));
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= first + count || !failed.lock().unwrap().is_empty() {
                            break;
                        }
                        running.lock().unwrap().insert(seed, Instant::now());
                        let outcome = run(&plan(seed));
                        running.lock().unwrap().remove(&seed);
                        let mut coverage = Coverage::take();
                        coverage.seeds = 1;
                        match outcome {
                            Ok((_, steps)) => coverage.operations = steps,
                            Err((what, _)) => failed.lock().unwrap().push((seed, what)),
                        }
                        all.lock().unwrap().add(coverage);
                    }
                })
            })
            .collect();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        over.store(true, Ordering::Relaxed);
    });
    let (all, took) = (all.into_inner().unwrap(), began.elapsed());
    all.lines().iter().for_each(|line| println!("{line}"));
    let pace = all.operations as f64 / took.as_secs_f64() * 60.0 / 1e6;
    println!(
        "{} seeds, {} operations in {:.1} s on {threads} threads: {pace:.2} million a minute",
        all.seeds,
        all.operations,
        took.as_secs_f64()
    );
    let failed = failed.into_inner().unwrap();
    failed.iter().for_each(|(seed, what)| tell(plan(*seed), what));
    assert!(failed.is_empty(), "{} seeds fail", failed.len());
    // A run that leaves a part out does not come to its places.
    if count >= SEEDS && std::env::var_os("MILLPOND_PLAN").is_none() {
        assert!(all.missed().is_empty(), "no seed came to:\n  {}\n", all.missed().join("\n  "));
    }
}

/// Seeds that found something once, as they were when they did, and what it was. A change of the simulation makes
/// another run of them, so they are no proof of the mend; but they cost nothing.
const ONCE_FAILED: [(u64, &str); 11] = [
    // A repair: what lies elsewhere was not carried over; a torn end said what went; groups that were removed.
    (154, "6:333"),
    (1550, "6:333"),
    (5934, "6:333"),
    // A damaged seal right behind a clean close.
    (1886, "6:333"),
    // A group of which nothing was said but its creation, and that is lost.
    (45783, "1:124:cleaning,clocks,cuts,encrypted,faults,ids,links"),
    // Segments that went by what lies behind the journal's end, and whose files are there.
    (47138, "1:271:ids,packed"),
    (48598, "3:333:ids,packed"),
    (49214, "5:333:ids,packed"),
    // Ids that could not be made anew on a full disk kept the upkeep from all that would have made room.
    (20391, "2:333"),
    // A message that had been moved on lay nowhere: where to was lost, and that its segment went was not.
    (12946, "5:333:ids,packed"),
    // No fault but the checker's: a store that was closed, went on and was killed, cut off right behind that close.
    (60278, "2:333:faults"),
];

#[test]
fn seeds_that_once_failed_hold_the_invariants() {
    for (seed, plan) in ONCE_FAILED {
        if let Err((what, _)) = run(&Plan::read(seed, plan).unwrap()) {
            panic!("MILLPOND_SEED={seed} MILLPOND_PLAN={plan}: {what}");
        }
    }
}

#[test]
fn a_seed_runs_the_same_way_twice() {
    for seed in 0..5 {
        let plan = Plan::new(seed);
        let first = run(&plan);
        // In a thread of its own: nothing of it may depend on where it runs.
        let second = std::thread::scope(|scope| scope.spawn(|| run(&plan)).join().unwrap());
        assert_eq!(first, second, "seed {seed}");
    }
}
