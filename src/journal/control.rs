//! The journal's own frames: how a segment begins and ends, and what is known durable when nothing else is written.

use super::frame::FRAME_HEADER;
use crate::types::{Lsn, SegmentId};

/// The body of a frame flagged `CONTROL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    /// A segment's first frame.
    Begin(Begin),
    /// A segment's last frame.
    Seal(Seal),
    /// The store went quiet: everything before this is durable.
    Mark { durable: Lsn },
    /// The store was closed; whatever is damaged before this was whole then.
    Closed { checksum: u32 },
    /// What stood here was damaged, and a repair has put this in its place.
    Hole,
}

/// What a segment's first frame says of those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Begin {
    /// The segment that this one follows; 0 for the first of all.
    pub(crate) previous: SegmentId,
    /// The running checksum in that segment's seal.
    pub(crate) previous_checksum: u32,
    /// Where the two newest complete snapshots start; zero if there are fewer.
    pub(crate) snapshots: Snapshots,
}

/// Where the two newest complete snapshots start; zero if there are fewer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshots {
    pub(crate) older: Lsn,
    pub(crate) newer: Lsn,
}

/// How a segment ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seal {
    /// Where the seal's own frame starts.
    pub(crate) length: u32,
    /// Over the header checksums of all frames before it, in order.
    pub(crate) checksum: u32,
    /// The segment that goes on.
    pub(crate) successor: SegmentId,
}

impl Seal {
    /// Where the segment's last frame, the seal, ends.
    pub(crate) const fn end(&self) -> u32 {
        self.length.saturating_add(SEAL_FRAME)
    }
}

/// Bytes a seal takes with its frame header; always kept free at the end of the active segment.
pub(crate) const SEAL_FRAME: u32 = FRAME_HEADER + 13;

impl Control {
    /// The frame's body.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(25);
        match self {
            Self::Begin(begin) => {
                body.push(1);
                body.extend_from_slice(&begin.previous.get().to_le_bytes());
                body.extend_from_slice(&begin.previous_checksum.to_le_bytes());
                body.extend_from_slice(&begin.snapshots.older.raw().to_le_bytes());
                body.extend_from_slice(&begin.snapshots.newer.raw().to_le_bytes());
            }
            Self::Seal(seal) => {
                body.push(2);
                body.extend_from_slice(&seal.length.to_le_bytes());
                body.extend_from_slice(&seal.checksum.to_le_bytes());
                body.extend_from_slice(&seal.successor.get().to_le_bytes());
            }
            Self::Mark { durable } => {
                body.push(3);
                body.extend_from_slice(&durable.raw().to_le_bytes());
            }
            Self::Closed { checksum } => {
                body.push(4);
                body.extend_from_slice(&checksum.to_le_bytes());
            }
            Self::Hole => body.push(5),
        }
        body
    }

    /// Reads a body; nothing if it is none that this release writes. Longer ones are read as far as they are known.
    pub(crate) fn decode(body: &[u8]) -> Option<Self> {
        let (kind, rest) = body.split_first()?;
        let word = |at: usize| rest.get(at..)?.first_chunk().copied().map(u32::from_le_bytes);
        let long = |at: usize| rest.get(at..)?.first_chunk().copied().map(u64::from_le_bytes).map(Lsn::from_raw);
        Some(match kind {
            1 => Self::Begin(Begin {
                previous: SegmentId(word(0)?),
                previous_checksum: word(4)?,
                snapshots: Snapshots { older: long(8)?, newer: long(16)? },
            }),
            2 => Self::Seal(Seal { length: word(0)?, checksum: word(4)?, successor: SegmentId(word(8)?) }),
            3 => Self::Mark { durable: long(0)? },
            4 => Self::Closed { checksum: word(0)? },
            5 => Self::Hole,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Position;

    #[test]
    fn control_frames_have_these_bytes_and_read_back() {
        let at = |segment, position| Lsn::new(SegmentId(segment), Position(position));
        let golden = [
            (
                Control::Begin(Begin {
                    previous: SegmentId(2),
                    previous_checksum: 0xaabb_ccdd,
                    snapshots: Snapshots { older: at(1, 4096), newer: at(2, 8192) },
                }),
                "0102000000ddccbbaa00100000010000000020000002000000",
            ),
            (
                Control::Seal(Seal { length: 60_000, checksum: 0x0102_0304, successor: SegmentId(3) }),
                "0260ea00000403020103000000",
            ),
            (Control::Mark { durable: at(3, 5000) }, "038813000003000000"),
            (Control::Closed { checksum: 0x0102_0304 }, "0404030201"),
            (Control::Hole, "05"),
        ];
        for (control, hex) in golden {
            let body = control.encode();
            assert_eq!(body.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), hex);
            assert_eq!(Control::decode(&body), Some(control));
            for length in 0..body.len() {
                assert_eq!(Control::decode(&body[..length]), None);
            }
        }
        assert_eq!(SEAL_FRAME as usize, 16 + Control::Seal(Seal::default()).encode().len());
    }

    #[test]
    fn an_unknown_kind_is_none_of_ours() {
        assert_eq!(Control::decode(&[9, 0, 0, 0, 0, 0, 0, 0, 0]), None);
    }
}
