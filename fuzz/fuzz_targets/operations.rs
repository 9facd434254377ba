//! Any sequence of operations, on the store and on plain collections.
//!
//! Promises: after each operation both show the same, across closings, deaths of the process and power cuts. See
//! `tests/lockstep`, which this shares with a test.
//!
//! Run: `cargo +nightly fuzz run operations` (the build alone is checked on stable: `cargo check` in this directory).
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
    let actions: Vec<Action> = Action::all(bytes).into_iter().filter(|action| !action.is_fault()).take(200).collect();
    run::run(&actions);
});
