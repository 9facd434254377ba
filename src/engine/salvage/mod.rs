//! What is left of a damaged store: every frame that still verifies, what it says, and what is missing beside it.
//!
//! A frame verifies at its own place in its own segment only (store id, salt and position go into its checksum), and
//! what lies inside a frame whose header is whole is never searched: so nothing that only looks like a frame, in
//! somebody's payload, comes to life here.

mod copies;
mod gone;
mod identity;
mod inventory;
mod plan;
mod records;
mod repair;
mod write;

pub(super) use gone::{ended_snapshots, gone};
pub(crate) use records::{Opened, Salvage, open_for_reading, salvage};
pub use repair::Repaired;
pub(super) use repair::refuse_half_repaired;
pub(crate) use repair::repair;
