//! A model in lockstep: plain collections beside the store, the same actions for both, reopenings, deaths and power
//! cuts among them; after each action both must show the same. Failing sequences shrink.
//!
//! `MILLPOND_CASES=20000 cargo test --release --all-features --test lockstep` runs more of them.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::field_reassign_with_default,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test"
)]

mod action;
mod model;
mod run;

use action::Action;
use proptest::prelude::*;

fn cases(usual: u32) -> u32 {
    std::env::var("MILLPOND_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(usual)
}

fn actions(faults: bool) -> impl Strategy<Value = Vec<Action>> {
    let action = any::<[u8; 3]>().prop_map(|bytes| Action::take(&mut &bytes[..]).unwrap());
    prop::collection::vec(action.prop_filter("no faults", move |action| faults || !action.is_fault()), 1..90)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(60), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn store_and_model_show_the_same_after_each_action(actions in actions(false)) {
        run::run(&actions);
    }

    #[test]
    fn store_and_model_agree_again_after_whatever_a_bad_disk_did(actions in actions(true)) {
        run::run(&actions);
    }
}

/// A case of a fuzzer, in a file that `MILLPOND_CASE` names, with its actions.
#[test]
fn one_case_of_a_fuzzer() {
    let Ok(path) = std::env::var("MILLPOND_CASE") else { return };
    let actions = Action::all(&std::fs::read(path).unwrap());
    actions.iter().for_each(|action| println!("{action:?}"));
    run::run(&actions);
}

#[test]
fn bytes_of_any_kind_are_actions() {
    let bytes: Vec<u8> = (0..=255).collect();
    let actions = Action::all(&bytes);
    assert!(actions.len() > 80);
    run::run(&actions);
}
