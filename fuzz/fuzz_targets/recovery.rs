//! Any sequence of operations on a disk that fails, and openings that are cut short.
//!
//! Promises: what was answered is there after whatever happened, what was not is there whole or not at all, and every
//! store opens again.
//!
//! Run: `cargo +nightly fuzz run recovery` (the build alone is checked on stable: `cargo check` in this directory).
#![no_main]

#[path = "../../tests/lockstep/action.rs"]
mod action;
#[path = "../../tests/lockstep/model.rs"]
mod model;
#[path = "../../tests/lockstep/run.rs"]
mod run;

use action::Action;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut actions: Vec<Action> = Action::all(bytes).into_iter().take(200).collect();
    if !actions.iter().any(|action| action.is_fault()) {
        actions.insert(0, Action::Faults { often: 2 });
    }
    run::run(&actions);
});
