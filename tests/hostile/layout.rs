//! Where things are in the files of a store, read from the format's page and not by the code under test.

use crate::pond::Files;
use std::ops::Range;

/// Bytes before a segment's first frame, and of a frame's own header.
pub(crate) const HEADER: usize = 4096;
pub(crate) const FRAME: usize = 16;

/// What kind of file it is: each has a row of its own in the table of outcomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    Identity,
    Lock,
    /// The first 4096 bytes of a segment that is in use.
    SegmentHeader,
    /// The frames of a segment that has its seal.
    Sealed,
    /// The frames of the last segment.
    Active,
    /// A segment that was prepared and has no frame.
    Spare,
    Sidecar,
    /// A file that was being prepared.
    Unfinished,
    Foreign,
}

/// The names of the segments that have frames, oldest first.
pub(crate) fn segments(files: &Files) -> Vec<String> {
    let segment = |name: &&String| name.ends_with(".segment");
    files.keys().filter(segment).filter(|name| !frames(&files[*name]).is_empty()).cloned().collect()
}

/// Where the frames of a segment are.
pub(crate) fn frames(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = HEADER;
    while let Some(word) = bytes.get(at..at + 4) {
        let length = u32::from_le_bytes(word.try_into().unwrap()) & 0x0fff_ffff;
        let end = at + FRAME + length as usize;
        if length == 0 || end > bytes.len() {
            break;
        }
        found.push(at..end);
        at = end;
    }
    found
}

/// The end of the last frame: everything before it was written for a reason.
pub(crate) fn used(bytes: &[u8]) -> usize {
    frames(bytes).last().map_or(HEADER, |last| last.end)
}

/// What class a byte of a file belongs to.
pub(crate) fn class(files: &Files, name: &str, at: usize) -> Class {
    if name == "identity" {
        return Class::Identity;
    }
    if name == "lock" {
        return Class::Lock;
    }
    if name.ends_with(".index") {
        return Class::Sidecar;
    }
    if name.ends_with(".new") {
        return Class::Unfinished;
    }
    if !name.ends_with(".segment") {
        return Class::Foreign;
    }
    let used = segments(files);
    if !used.iter().any(|segment| segment == name) {
        return Class::Spare;
    }
    if at < HEADER {
        return Class::SegmentHeader;
    }
    if used.last().is_some_and(|last| last == name) { Class::Active } else { Class::Sealed }
}
