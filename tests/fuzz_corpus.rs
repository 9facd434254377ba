//! Every stored case of the fuzz targets, and a bounded number of seeded changes of each, through the same functions on
//! a stable toolchain. What a fuzzer has found stays found.
//!
//! `MILLPOND_MUTATIONS=10000 cargo test --release --all-features --test fuzz_corpus` tries more changes.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::field_reassign_with_default,
    reason = "a test, and its cases are files of the repository"
)]

#[path = "lockstep/action.rs"]
mod action;
#[path = "lockstep/model.rs"]
mod model;
#[path = "lockstep/run.rs"]
mod run;

use action::Action;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Files and bytes of the whole corpus: it is for finding old mistakes again, not for keeping everything.
const MOST_FILES: usize = 200;
const MOST_BYTES: u64 = 1 << 20;

type Target = (&'static str, fn(&[u8]), u32);

/// Each target, with how many changes of each case are tried here.
const TARGETS: [Target; 7] = [
    ("decode", millpond::testing::decode_frame_body, 300),
    ("segment", millpond::testing::scan_segment, 4),
    ("sidecar", millpond::testing::decode_sidecar, 300),
    ("values", millpond::testing::decode_value, 300),
    ("operations", operations, 1),
    ("recovery", recovery, 1),
    ("packed", packed, 1000),
];

#[cfg(feature = "lz4")]
fn packed(bytes: &[u8]) {
    millpond::testing::unpack_body(bytes);
}

/// Without the feature there is nothing that could unpack it.
#[cfg(not(feature = "lz4"))]
fn packed(_: &[u8]) {}

fn operations(bytes: &[u8]) {
    run::run(&Action::all(bytes).into_iter().filter(|action| !action.is_fault()).take(200).collect::<Vec<_>>());
}

fn recovery(bytes: &[u8]) {
    run::run(&Action::all(bytes).into_iter().take(200).collect::<Vec<_>>());
}

fn corpus(target: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut cases: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

fn mutations() -> Option<u32> {
    std::env::var("MILLPOND_MUTATIONS").ok()?.parse().ok()
}

/// One to four small changes, of the kinds that fuzzers make.
fn change(rng: &mut fastrand::Rng, bytes: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..rng.usize(1..5) {
        let at = rng.usize(0..bytes.len().max(1));
        match rng.u8(0..7) {
            0 => bytes.insert(at.min(bytes.len()), rng.u8(..)),
            1 if !bytes.is_empty() => drop(bytes.remove(at)),
            2 if !bytes.is_empty() => bytes[at] ^= 1 << rng.u8(0..8),
            3 if !bytes.is_empty() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][rng.usize(0..5)],
            4 => bytes.truncate(at),
            5 if !other.is_empty() => {
                let from = rng.usize(0..other.len());
                let piece: Vec<u8> = other[from..].iter().take(rng.usize(1..40)).copied().collect();
                let at = at.min(bytes.len());
                bytes.splice(at..at, piece);
            }
            _ => bytes.iter_mut().skip(at).take(rng.usize(1..10)).for_each(|byte| *byte = 0xff),
        }
    }
}

fn try_target((name, target, usual): Target) {
    let cases = corpus(name);
    assert!(!cases.is_empty(), "{name} has no corpus");
    let contents: Vec<Vec<u8>> = cases.iter().map(|case| fs::read(case).unwrap()).collect();
    for (number, (path, bytes)) in cases.iter().zip(&contents).enumerate() {
        let good = catch_unwind(AssertUnwindSafe(|| target(bytes))).is_ok();
        assert!(good, "{}", path.display());
        let mut rng = fastrand::Rng::with_seed(number as u64);
        for _ in 0..mutations().unwrap_or(usual) {
            let mut changed = bytes.clone();
            let other = rng.usize(0..contents.len());
            change(&mut rng, &mut changed, &contents[other]);
            let good = catch_unwind(AssertUnwindSafe(|| target(&changed))).is_ok();
            // Whoever sees this adds the bytes to the corpus.
            assert!(good, "{name}: a change of {}: {changed:?}", path.display());
        }
    }
}

#[test]
fn bodies_of_frames() {
    try_target(TARGETS[0]);
}

#[test]
fn segments() {
    try_target(TARGETS[1]);
}

#[test]
fn sidecars() {
    try_target(TARGETS[2]);
}

#[test]
fn values() {
    try_target(TARGETS[3]);
}

#[test]
fn operations_against_the_model() {
    try_target(TARGETS[4]);
}

#[test]
fn operations_on_a_bad_disk() {
    try_target(TARGETS[5]);
}

#[test]
fn bodies_that_are_compressed() {
    try_target(TARGETS[6]);
}

#[test]
fn the_corpus_is_small_and_each_target_has_one() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let mut targets: Vec<String> = fs::read_dir(directory.join("fuzz_targets"))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    targets.sort();
    let mut tried: Vec<&str> = TARGETS.iter().map(|target| target.0).collect();
    tried.sort_unstable();
    assert_eq!(targets, tried, "a target that is not tried here");
    let cases: Vec<PathBuf> = tried.iter().flat_map(|target| corpus(target)).collect();
    let bytes: u64 = cases.iter().map(|case| fs::metadata(case).unwrap().len()).sum();
    assert!(cases.len() < MOST_FILES && bytes < MOST_BYTES, "{} files, {bytes} bytes", cases.len());
}
