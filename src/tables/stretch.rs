//! What of the journal a run of published ids covers, and the name of its file that tells it.

use crate::types::{Position, SegmentId, StoreId};

/// Where segments are, and runs beside them.
pub(super) const DIRECTORY: &str = "journal";

/// Bytes of a stretch in a file.
pub(super) const STRETCH: usize = 20;

/// The segment that ids came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) store: StoreId,
    pub(crate) segment: SegmentId,
    /// Of this life of the segment's file.
    pub(crate) salt: u64,
}

/// A part of a segment: whole frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Range {
    pub(crate) from: Position,
    pub(crate) to: Position,
}

impl Range {
    /// The end of a stretch that goes to the segment's end, wherever that is.
    pub(crate) const END: Position = Position(u32::MAX);
}

/// A part of the journal that a run covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) segment: SegmentId,
    pub(crate) salt: u64,
    pub(crate) range: Range,
}

/// What a run's name tells: its segments, and the part of them that it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) first: SegmentId,
    pub(crate) last: SegmentId,
    pub(crate) range: Range,
}

impl Place {
    /// The name of the file.
    pub(crate) fn name(&self) -> String {
        let Self { first, last, range } = self;
        if first == last {
            format!("{DIRECTORY}/{:010}.{:08x}-{:08x}.ids", first.get(), range.from.get(), range.to.get())
        } else {
            format!("{DIRECTORY}/{:010}-{:010}.ids", first.get(), last.get())
        }
    }

    /// What a name in the journal's directory tells, if it is a run's; `start` is where segments' frames begin.
    pub(crate) fn of_name(name: &str, start: Position) -> Option<Self> {
        let name = name.strip_suffix(".ids")?;
        let number = |text: &str| {
            let digits = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit());
            if digits { text.parse().ok().map(SegmentId) } else { None }
        };
        let position = |text: &str| {
            let digits = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            if digits { u32::from_str_radix(text, 16).ok().map(Position) } else { None }
        };
        if let Some((segment, rest)) = name.split_once('.') {
            let (from, to) = rest.split_once('-')?;
            let (first, range) = (number(segment)?, Range { from: position(from)?, to: position(to)? });
            return Some(Self { first, last: first, range });
        }
        let (first, last) = name.split_once('-')?;
        let (first, last) = (number(first)?, number(last)?);
        (first < last).then_some(Self { first, last, range: Range { from: start, to: Range::END } })
    }
}

/// The place of a run that covers these.
pub(super) fn place_of(stretches: &[Stretch]) -> Place {
    let (first, last) = (stretches.first(), stretches.last());
    let from = first.map_or(Position::ZERO, |first| first.range.from);
    let to = last.map_or(Range::END, |last| last.range.to);
    let segment = |stretch: Option<&Stretch>| stretch.map_or(SegmentId::ZERO, |stretch| stretch.segment);
    Place { first: segment(first), last: segment(last), range: Range { from, to } }
}

pub(super) fn put_stretches(stretches: &[Stretch], out: &mut Vec<u8>) {
    for stretch in stretches {
        out.extend_from_slice(&stretch.segment.get().to_le_bytes());
        out.extend_from_slice(&stretch.salt.to_le_bytes());
        out.extend_from_slice(&stretch.range.from.get().to_le_bytes());
        out.extend_from_slice(&stretch.range.to.get().to_le_bytes());
    }
}

pub(super) fn seed(stretches: &[Stretch], edition: u32) -> u32 {
    let mut out = Vec::with_capacity(stretches.len() * STRETCH + 4);
    put_stretches(stretches, &mut out);
    out.extend_from_slice(&edition.to_le_bytes());
    crc32fast::hash(&out)
}

pub(super) fn take_stretch(stretch: &[u8; STRETCH]) -> Option<Stretch> {
    let (segment, rest) = stretch.split_first_chunk()?;
    let (salt, rest) = rest.split_first_chunk()?;
    let (from, rest) = rest.split_first_chunk()?;
    let to = rest.first_chunk()?;
    let range = Range { from: Position(u32::from_le_bytes(*from)), to: Position(u32::from_le_bytes(*to)) };
    Some(Stretch { segment: SegmentId(u32::from_le_bytes(*segment)), salt: u64::from_le_bytes(*salt), range })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_what_is_covered() {
        let start = Position(4096);
        let range = Range { from: Position(0x1000), to: Position(0xabcd) };
        let part = Place { first: SegmentId(7), last: SegmentId(7), range };
        let whole = Range { from: start, to: Range::END };
        let several = Place { first: SegmentId(7), last: SegmentId(12), range: whole };
        for (place, name) in [(part, "0000000007.00001000-0000abcd.ids"), (several, "0000000007-0000000012.ids")] {
            assert_eq!(place.name(), format!("journal/{name}"));
            assert_eq!(Place::of_name(name, start), Some(place));
        }
        for name in [
            "0000000007.segment",
            "0000000012-0000000007.ids",
            "0000000007-0000000007.ids",
            "+000000007-0000000012.ids",
            "0000000007.00001000-ffff.ids",
            "0000000007.ids",
            ".ids",
        ] {
            assert_eq!(Place::of_name(name, start), None, "{name}");
        }
    }

    #[test]
    fn a_stretch_reads_back() {
        let range = Range { from: Position(1), to: Position(2) };
        let stretch = Stretch { segment: SegmentId(3), salt: 4, range };
        let mut bytes = Vec::new();
        put_stretches(&[stretch], &mut bytes);
        assert_eq!(bytes.len(), STRETCH);
        assert_eq!(take_stretch(bytes.first_chunk().unwrap()), Some(stretch));
        assert_ne!(seed(&[stretch], 0), seed(&[stretch], 1));
    }
}
