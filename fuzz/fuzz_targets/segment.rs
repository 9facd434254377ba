//! Any frames and any bytes as the only segment of a store, which is then verified, salvaged, opened and repaired.
//!
//! Promises: each of them ends, without a panic, in memory bounded by the segment's length; looking changes nothing;
//! what a repair leaves verifies. Frames have right checksums, so that the fuzzer gets behind them.
//!
//! Run: `cargo +nightly fuzz run segment` (the build alone is checked on stable: `cargo check` in this directory).
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| millpond::testing::scan_segment(input));
