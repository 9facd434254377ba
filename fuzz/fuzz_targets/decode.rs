//! Any bytes as the body of a frame.
//!
//! Promises: decoding ends, never panics, never reads outside the body, and never allocates more than a small multiple
//! of the body's length, whatever lengths and counts the bytes claim. What decodes is encoded to something that decodes
//! to the same.
//!
//! Run: `cargo +nightly fuzz run decode` (the build alone is checked on stable: `cargo check` in this directory).
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| millpond::testing::decode_frame_body(body));
