//! For tests, only with feature `testing`.
//!
//! For yours there are [`Pond`], a store in memory whose time passes when you say so, and [`Chaos`], which finds out
//! whether a handler can be run again; see the guide's chapter on [testing](crate::guide::testing). The rest are doors
//! for millpond's own tests and fuzz targets, of which nothing is promised to stay: the simulated disk, and the
//! decoders on bytes of any kind.

pub use crate::seen::Seen;
pub use crate::storage::sim::{Counts, Faults, Hang, SimDisk};
#[cfg(feature = "lz4")]
pub use values::unpack_body;
pub use values::{decode_sidecar, decode_value};

#[cfg(feature = "testing")]
mod chaos;
#[cfg(feature = "testing")]
mod pond;
mod segment;
mod values;

#[cfg(feature = "testing")]
pub use chaos::{Chaos, ChaosReport, Fault, Finding, Steps};
#[cfg(feature = "testing")]
pub use pond::Pond;
pub use segment::scan_segment;

use crate::types::Timestamp;

/// Decodes `body` as the body of a frame, looks at every message in it, and checks that what decodes can be encoded
/// again. For fuzzing: whatever the bytes, it ends without a panic.
pub fn decode_frame_body(body: &[u8]) {
    let shared = bytes::Bytes::copy_from_slice(body);
    for event in crate::event::events(&shared, Timestamp::ZERO) {
        let Ok(event) = event else { return };
        if let crate::event::Event::Publish(published) | crate::event::Event::Move(published) = &event {
            for view in published.messages() {
                let Ok(view) = view else { return };
                let _ = view.verify(published.topic);
                let _ = view.record(&shared).is_ok();
            }
        }
        let mut again = Vec::new();
        match &event {
            crate::event::Event::Unknown { .. } => continue,
            // What has a table has a number that is not zero: this was written by nobody.
            crate::event::Event::Ack(ack) if ack.sequence == 0 && ack.table != 0 => continue,
            _ => {}
        }
        crate::event::encode(&event, &mut again);
        let again = bytes::Bytes::from(again);
        let decoded = crate::event::events(&again, Timestamp::ZERO).next();
        assert_eq!(decoded.and_then(Result::ok).as_ref(), Some(&event), "what was encoded again says something else");
    }
}

/// The tables of a simulated store, which outlive its openings, and can be emptied, rolled back or broken.
#[derive(Clone, Debug, Default)]
pub struct SimTables(pub(crate) crate::tables::MemoryTables);

impl SimTables {
    /// Everything is gone, as if the directory had been deleted.
    pub fn clear(&self) {
        self.0.clear();
    }

    /// As they were so many commits ago, or as long ago as is known.
    pub fn roll_back(&self, commits: usize) {
        self.0.roll_back(commits);
    }

    /// A row of a processed id, the how-manieth of them, is gone in silence: what no honest disk does.
    pub fn lose_a_row(&self, which: usize) {
        self.0.lose_a_row(which);
    }

    /// A row of a processed id, the how-manieth of them, is what it was before the last commit, in silence.
    pub fn age_a_row(&self, which: usize) {
        self.0.age_a_row(which);
    }

    /// So many calls go well, then all fail until the tables are set aside.
    pub fn fail_after(&self, calls: u64) {
        self.0.fail_after(calls);
    }

    /// How often they were set aside.
    #[must_use]
    pub fn times_set_aside(&self) -> u64 {
        self.0.times_set_aside()
    }

    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.0.rows()
    }
}
