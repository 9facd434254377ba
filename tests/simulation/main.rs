//! The whole engine on a simulated disk and a manual clock, from one seed: a workload, crashes anywhere, and the
//! invariants of the contract after each of them.
//!
//! * `cargo test --all-features --test simulation` runs a fixed set of seeds.
//! * `MILLPOND_SEEDS=10000 cargo test --release --all-features --test simulation many_seeds` runs more of them.
//! * `MILLPOND_SEED=17 cargo test --all-features --test simulation many_seeds` runs one again.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::field_reassign_with_default,
    reason = "a test"
)]

mod awaited;
mod filter;
mod flow;
mod gone;
mod ids;
mod letters;
mod model;
mod order;
mod space;
mod transactions;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use world::World;

const OPERATIONS: u32 = 2_000;
const CRASHES: u32 = 5;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn run(seed: u64) -> Result<String, String> {
    let mut world = World::new(seed);
    match catch_unwind(AssertUnwindSafe(|| world.run(OPERATIONS, CRASHES))) {
        Ok(Ok(())) => Ok(world.trace),
        Ok(Err(what)) => {
            // The last steps, for whoever looks into it.
            let lines: Vec<&str> = world.trace.lines().collect();
            let from = lines.len().saturating_sub(if number("MILLPOND_SEED").is_some() { 60 } else { 0 });
            lines[from..].iter().for_each(|line| println!("{line}"));
            Err(what)
        }
        Err(_) => Err("a panic, see above".to_owned()),
    }
}

#[test]
fn many_seeds_hold_the_invariants() {
    let (first, count) = match number("MILLPOND_SEED") {
        Some(seed) => (seed, 1),
        None => (0, number("MILLPOND_SEEDS").unwrap_or(100)),
    };
    let next = std::sync::atomic::AtomicU64::new(first);
    let failed = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if seed >= first + count || !failed.lock().unwrap().is_empty() {
                        break;
                    }
                    if let Err(what) = run(seed) {
                        failed.lock().unwrap().push((seed, what));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    for (seed, what) in &failed {
        println!("seed {seed}: {what}");
        println!("  MILLPOND_SEED={seed} cargo test --all-features --test simulation many_seeds");
    }
    assert!(failed.is_empty(), "{} seeds fail", failed.len());
}

#[test]
fn a_seed_runs_the_same_way_twice() {
    for seed in 0..5 {
        assert_eq!(run(seed), run(seed));
    }
}
