//! Doors for tests and fuzz targets: the simulated disk, and the decoders on bytes of any kind. Only with feature
//! `testing`; nothing here is promised to stay.

pub use crate::storage::sim::{Counts, Faults, SimDisk};
pub use values::{decode_sidecar, decode_value};

mod segment;
mod values;

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
        if matches!(event, crate::event::Event::Unknown { .. }) {
            continue;
        }
        crate::event::encode(&event, &mut again);
        let again = bytes::Bytes::from(again);
        let decoded = crate::event::events(&again, Timestamp::ZERO).next();
        assert_eq!(decoded.and_then(Result::ok).as_ref(), Some(&event), "what was encoded again says something else");
    }
}
