//! The decoders of everything that is not a frame, on bytes of any kind.

use crate::journal::{Identity, decode_control, sidecar};
use crate::state::State;
use crate::types::{Lsn, SegmentId, StoreId};

const STORE: StoreId = StoreId([7; 16]);

/// The bytes with a right checksum behind them: else no fuzzer gets past it.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut sealed = bytes.to_vec();
    sealed.extend_from_slice(&crc32fast::hash(bytes).to_le_bytes());
    sealed
}

/// Decodes `body` as a sidecar's, behind a right header and before a right checksum. For fuzzing: it ends without a
/// panic, and what decodes is encoded to something that decodes to the same.
pub fn decode_sidecar(body: &[u8]) {
    let header =
        sidecar::encode(&crate::journal::SegmentIndex::default(), STORE, SegmentId::new(3), Default::default());
    let mut bytes = header.get(..36).unwrap_or_default().to_vec();
    bytes.extend_from_slice(body);
    let id = SegmentId::new(3);
    if let Ok((index, seal)) = sidecar::decode(&sealed(&bytes), STORE, id) {
        let again = sidecar::encode(&index, STORE, id, seal);
        assert_eq!(sidecar::decode(&again, STORE, id), Ok((index, seal)), "what was encoded again says something else");
    }
}

/// Decodes `bytes` as whatever the first of them says: an identity, a frame of the journal's own, or pieces of a
/// snapshot, which are then put together. For fuzzing: it ends without a panic.
pub fn decode_value(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    match kind % 3 {
        0 => {
            if let Ok(identity) = Identity::decode(&sealed(rest)) {
                assert_eq!(Identity::decode(&identity.encode()).map(|again| again.store), Ok(identity.store));
            }
        }
        1 => decode_control(rest),
        _ => restore(rest),
    }
}

/// Pieces of a snapshot, each behind its length (u16).
fn restore(mut bytes: &[u8]) {
    let mut state = State::default();
    while let Some(([low, high], behind)) = bytes.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(behind.len());
        let (piece, behind) = behind.split_at_checked(length).unwrap_or((behind, &[]));
        bytes = behind;
        if state.restore_piece(Lsn::from_raw(1 << 32 | 4096), piece).is_err() {
            return;
        }
    }
    if state.restored().is_ok() {
        // What was restored can be asked, and put into a snapshot again.
        for topic in state.topics() {
            let _ = (state.earliest(topic), state.next_present(topic, topic.end()));
        }
        for part in state.snapshot_parts() {
            let _ = state.encode_part(part).is_ok();
        }
    }
}

/// Unpacks `bytes` as a body that is compressed, and packs them as one that is to be. For fuzzing: whatever the bytes,
/// it ends without a panic, takes no more memory than so many bytes can stand for, and what was packed comes back.
#[cfg(feature = "lz4")]
pub fn unpack_body(bytes: &[u8]) {
    if let Ok(body) = crate::journal::unpack(bytes) {
        // A byte of a block stands for 255 at most, and what is not packed for itself.
        assert!(body.len() <= bytes.len().saturating_mul(255), "{} of {}", body.len(), bytes.len());
        if let Some(packed) = crate::journal::pack(&body) {
            assert!(packed.len() < body.len());
            let again = crate::journal::unpack(&packed);
            assert!(again.is_ok_and(|again| again == body), "it does not come back");
        }
    }
    if let Some(mut packed) = crate::journal::pack(bytes) {
        packed.extend_from_slice(b"behind it");
        let again = crate::journal::unpack(&packed);
        let whole = [bytes, b"behind it"].concat();
        assert!(again.is_ok_and(|again| again == whole), "it does not come back");
    }
}
