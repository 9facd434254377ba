//! The journal: one append-only log for a whole store, in segments. It moves opaque bytes and has never heard of a
//! topic.
//!
//! This page is the format, version 1. All numbers are little-endian; all checksums are CRC-32 (IEEE 802.3, as in
//! zlib).
//!
//! # Files
//!
//! | name | what |
//! |---|---|
//! | `identity` | what makes the directory a store |
//! | `identity.new` | the same, of a store whose creation is not finished |
//! | `lock` | locked while the store is open; empty |
//! | `journal/NNNNNNNNNN.segment` | a segment, named by its number in ten decimal digits |
//! | `journal/NNNNNNNNNN.new` | space that is set aside, or a segment that is being prepared; holds nothing |
//! | `journal/NNNNNNNNNN.repaired` | a segment as a repair makes it anew, not yet in its place |
//! | `journal/NNNNNNNNNN.segment.damaged-N` | what a repair has put aside; so with other names; never read again |
//! | `repair.unfinished`, `repair-N.txt` | the report of a repair, until it is done, and then |
//! | `journal/NNNNNNNNNN.index` | the sidecar of a sealed segment, or of the last one after a clean close; see `sidecar` |
//!
//! # Identity, 64 bytes
//!
//! ```text
//!  0         8    10    12      16        20                  36
//!  | MILLPOND | ver | hash| compat | incompat | store id (16)    |
//! 36                   52        60    64
//!  | hash key (16)       | created | crc |
//! ```
//!
//! `ver` (u16) is 1. `hash` (u16) names the algorithm by which ids are hashed: 1 is SipHash-1-3 with 128 bits of
//! output, keyed with `hash key`. A release that doesn't know a bit of `incompat` must not open the store; bits of
//! `compat` it may ignore. `created` is in milliseconds since the Unix epoch. `crc` covers bytes 0 to 60. A future
//! version keeps magic, version, and a checksum in the last four bytes.
//!
//! # Segment header, 4096 bytes
//!
//! ```text
//!  0            8    10   12      16                32       36       40      48
//!  | MILLSEG \n | ver | old | flags | store id (16)   | number | length | salt  |
//! 48     56       72       88      104           4092   4096
//!  | base | key id | random | check | zeros ...     | crc |
//! ```
//!
//! `ver` (u16) is 1, `old` (u16) 1 if the file had a life before this one, so that stale bytes stand where no frame is
//! yet, otherwise 0; `flags` (u32) is 1 if the segment's frames are encrypted, otherwise 0; who doesn't know a flag
//! must not read the segment. `length` (u32) is that of the header, 4096. `salt` (u64) is random, new each time the
//! file is prepared. `base` (u64) is the engine's time then; times of single messages are counted from it. Key id,
//! random and check are zeros where nothing is encrypted. `crc` covers bytes 0 to 4092. The file's length is the
//! segment's capacity.
//!
//! # Frame: 16 bytes of header, then the body
//!
//! ```text
//!  0                 4         8          12           16
//!  | length, flags   | durable | body crc | header crc | body ...
//! ```
//!
//! * `length` is in the low 28 bits, at least 1; `flags` in the high four: 1 compressed (see `packed`), 2 encrypted,
//!   4 a piece of a snapshot, 8 one of the journal's own frames.
//! * `durable`: everything before this position of this segment, and every segment before it, was durable when the
//!   frame was made. 0 while the segment before was not.
//! * `body crc` covers the body and not its place, so that it can be made before the place is known.
//! * `header crc` covers salt (u64), LSN (u64), and bytes 0 to 12. Salt and LSN are not stored: a frame verifies at its
//!   own place in its own segment only, and bytes of a former life of the file never do. It is verified before the
//!   length is believed.
//!
//! Frames follow each other without gaps from byte 4096 on. A frame is a fact: all of it counts, or nothing.
//!
//! # Encryption
//!
//! In a segment with a key id (its name, in ASCII, with zeros behind) the body of every frame but the journal's own is
//! encrypted with XChaCha20-Poly1305, after it was packed if it is, and has flag 2:
//!
//! ```text
//!  0        16             length - 16    length
//!  | random | cipher text ... | tag (16)  |
//! ```
//!
//! * The nonce is `random`, 16 bytes, then the frame's LSN (u64).
//! * The tag covers the cipher text and: store id (16), salt (u64), and bytes 0 to 8 of the frame's header, which are
//!   length, flags and durable position. So a frame decrypts at its own place in its own segment only, with the flags
//!   and the claim that it was written with, whatever checksums somebody has forged.
//! * `body crc` and `length` are those of the bytes above: what is a whole frame, where the journal ends and what is
//!   torn is found out without a key, and by the same rules. A frame whose checksums fit and whose tag does not is
//!   damage wherever it is: a write that was cut short leaves no such thing.
//! * In such a segment a frame without flag 2 is damage, and so is one with it in any other. The journal's own are
//!   excepted: those hold positions and checksums, and are in the clear, so that segments are followed without a key.
//! * `random` in the segment's header is new each time the file is prepared, and `check` is the tag of an empty body
//!   under the key, with the nonce `random`, then the LSN of position 0, over store id, number, salt, base and key id.
//!   It tells a wrong key from damage before anything is written.
//! * A segment has one key. Another one is begun with another segment: an opening with another current key than the
//!   active segment's seals that before it writes anything, and nothing that is prepared outlives an opening.
//!
//! **The nonce never repeats under a key.** Its random part is drawn anew from the system for every frame. Two frames
//! with the same nonce would have to have the same LSN, in two copies or two histories of one store, and the same 128
//! random bits: among 2^40 frames that were all written at one LSN that has a chance of less than 2^-48. That covers a
//! torn place that is written again, a backup or a copy of the directory that goes on beside its original, a file that
//! is used again (its LSN is new besides), and a repair, which leaves frames as they are and encrypts what it adds with
//! random bytes of its own. If the system has no random bytes to give at some moment, those of the frame before are
//! used once more, with the new LSN: within one opening no LSN is written twice, so that pair is new too; an opening
//! that gets none does not begin. What remains is a machine whose memory is copied while it runs, and of which both
//! copies go on with a random generator that was not told of it (Linux tells it where the hypervisor says so).
//!
//! # The journal's own frames
//!
//! | kind (u8) | name | then |
//! |---|---|---|
//! | 1 | `Begin`, a segment's first frame | previous segment (u32), its seal's checksum (u32), LSN where the older and the newer of the two newest complete snapshots start (2 x u64) |
//! | 2 | `Seal`, its last | its own position (u32), checksum over the header checksums (4 bytes each) of all frames before it (u32), the successor's number (u32) |
//! | 3 | `Mark`, when the store went quiet | durable LSN (u64) |
//! | 4 | `Closed`, after a clean close | the checksum as in a seal (u32) |
//! | 5 | `Hole`, in the place of frames that were damaged, made by a repair | zeros |
//!
//! All other frames hold events; see the page of `event`.
//!
//! # Rules
//!
//! * Numbers of segments rise in the order of use and are never used twice. A segment is prepared under its `.new`
//!   name, synced, renamed, and the directory synced, before the seal that names it is written.
//! * Bytes are written before they are synced, older segments first in both. Nothing in a new segment is promised
//!   before a sync of the old one has covered its seal.
//! * A segment goes when an event that retires it is durable and two complete snapshots began behind it. Then its name
//!   goes, or changes to one that holds nothing; the directory is synced; and only then may the file be written again,
//!   if it has no other name and nobody else has a lock on it. Until then it may still be there, which is no damage.
//! * A failed write or sync poisons the store; neither is tried again.
//! * Recovery judges every place by the table of `judge`. What lies behind the end is overwritten with zeros, what lies
//!   behind the highest durable position that a frame claims is written again, both are synced, and only then is
//!   anything answered.
//! * A sidecar is written after what it describes is durable, so it is also a claim: a segment that is shorter was cut.
//!
//! # What is assumed of the disk
//!
//! * A sync that succeeds has made durable what was written before it through the same handle.
//! * A sector (512 bytes or more) that is written again with the same bytes in front keeps those bytes, whichever
//!   version survives a power cut. Anything else may happen to what was not synced: lost, torn, reordered.
//! * Renames within a directory are atomic.
//! * Damage is random: an adversary who can write to the files can forge them.

mod appending;
mod begins;
mod cache;
mod commit;
mod control;
mod crypt;
mod files;
mod finish;
mod frame;
mod gone;
mod identity;
mod index;
mod judge;
mod listing;
mod locked;
mod mend;
mod observe;
mod packed;
mod patch;
mod prepare;
#[cfg(test)]
mod prepare_tests;
mod read;
mod recover;
mod scan;
mod secure;
mod segment;
pub(crate) mod sidecar;
mod stock;
mod tail;
mod visits;

pub(crate) use appending::{Class, Limits, Refusal, Span};
pub(crate) use commit::{Commit, Failure, Stage};
pub(crate) use control::Seal;
pub(crate) use control::Snapshots;
pub(crate) use crypt::{Locked, Nonces, Place, Sealer, SegmentKey};
pub(crate) use files::{Files, Known, Leaving, Pin};
pub(crate) use finish::Found;
pub(crate) use frame::{FRAME_HEADER, Flags, Frame};
pub(crate) use gone::Gone;
pub(crate) use identity::{BadIdentity, IDENTITY, IDENTITY_LENGTH, IDENTITY_UNFINISHED, Identity};
pub(crate) use index::{Carried, Note, SegmentIndex};
pub(crate) use listing::{Listing, read_sidecar};
pub(crate) use mend::{mend_identity, store_of_segments};
pub(crate) use packed::pack;
#[cfg(all(feature = "lz4", any(test, feature = "testing")))]
pub(crate) use packed::unpack;
pub(crate) use patch::{Gap, LEAST_GAP, Last, Onward, Patch, repaired_name};
pub(crate) use prepare::{Numbers, Preparation, Prepared, Purpose};
pub(crate) use read::{Glance, Window};
pub use recover::Trimmed;
pub(crate) use recover::{Recovery, Step, Walked, damaged, whole_file};
pub(crate) use scan::{Scanner, Sighting};
pub(crate) use segment::{
    DIRECTORY, FileKind, SEGMENT_HEADER, Segment, parse_name, segment_name, sidecar_name, unfinished_sidecar_name,
};
pub(crate) use tail::{Sealed, Start, Tail};
pub(crate) use visits::Visit;

/// A segment that holds nothing, to stand in the place of one that is lost.
pub(crate) fn stand_in(place: Place, key: Option<SegmentKey>) -> Segment {
    let Place { id, salt, base, .. } = place;
    Segment { id, salt, base, key, capacity: STAND_IN, recycled: false }
}

/// The first frame of a segment that stands in for one that is lost: its flags and body.
pub(crate) fn begin_again(previous: crate::types::SegmentId, snapshots: Snapshots) -> (Flags, Vec<u8>) {
    let begin = control::Begin { previous, previous_checksum: 0, snapshots };
    (Flags::CONTROL, control::Control::Begin(begin).encode())
}

/// Bytes of a segment that stands in for one that is lost.
pub(crate) const STAND_IN: u32 = 64 << 10;

/// The seal in a frame, if it is one.
pub(crate) fn seal_of(frame: &Frame) -> Option<Seal> {
    match control::Control::decode(&frame.body).filter(|_| frame.header.flags.has(Flags::CONTROL)) {
        Some(control::Control::Seal(seal)) => Some(seal),
        _ => None,
    }
}

/// For tests and fuzzers: a frame of any kind, with right checksums.
#[cfg(any(test, feature = "testing"))]
pub(crate) struct FrameDraft<'a> {
    /// Flags in bits 1 to 3; with bit 4 the frame says that everything before it is durable, with bit 5 it is not
    /// encrypted where frames are.
    pub(crate) tag: u8,
    pub(crate) body: &'a [u8],
}

#[cfg(any(test, feature = "testing"))]
impl FrameDraft<'_> {
    /// Its bytes at `position` of `segment`.
    pub(crate) fn bytes(&self, segment: &Segment, position: usize) -> Vec<u8> {
        let position = crate::types::Position(u32::try_from(position).unwrap_or(u32::MAX));
        let lsn = crate::types::Lsn::new(segment.id, position);
        let flags = [Flags::NONE, Flags::SNAPSHOT, Flags::CONTROL, Flags::NONE];
        let mut header = frame::FrameHeader {
            length: u32::try_from(self.body.len()).unwrap_or(frame::MAX_BODY),
            flags: flags.into_iter().nth(usize::from(self.tag >> 1 & 3)).unwrap_or_default(),
            durable: if self.tag & 16 == 0 { crate::types::Position::ZERO } else { position },
            body_crc: 0,
        };
        let mut stored = self.body.to_vec();
        if let Some(key) = segment.key.as_ref().filter(|_| self.tag & 32 == 0 && crypt::is_sealed(header.flags)) {
            stored.splice(0..0, [7; crypt::RANDOM]);
            header.length = header.length.saturating_add(crypt::SEALED);
            header.flags = header.flags.with(Flags::ENCRYPTED);
            key.seal(lsn, header.head(), &mut stored, 0);
        }
        header.body_crc = crc32fast::hash(&stored);
        let mut bytes = header.seal(&segment.header_seed(), lsn).to_vec();
        bytes.extend_from_slice(&stored);
        bytes
    }
}

/// For fuzzers: decodes the body of one of the journal's own frames; what decodes is encoded to the same again.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn decode_control(body: &[u8]) {
    if let Some(control) = control::Control::decode(body) {
        assert_eq!(control::Control::decode(&control.encode()), Some(control));
    }
}
