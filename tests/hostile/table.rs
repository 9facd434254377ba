//! What may come of which injury, by class of file. `verify` has a rule of its own: whatever was written for a reason
//! and is not what it was, it tells.

use crate::injure::How;
use crate::layout::Class;
use crate::look::Outcome::{self, Corrupt, Intact, Misuse, System, Told, Trimmed, Unsupported};

/// The outcomes that are right. `closed`: the store was closed, and nothing of it is a torn end.
pub(crate) fn allowed(class: Class, how: How, closed: bool) -> Vec<Outcome> {
    let mut allowed = match class {
        Class::Identity => match how {
            How::ForgeIdentity => vec![Corrupt, Unsupported, Intact],
            How::Remove => vec![Corrupt],
            _ => vec![Corrupt],
        },
        // It is locked, never read.
        Class::Lock => vec![Intact],
        Class::SegmentHeader | Class::Sealed | Class::Active => vec![Intact, Told, Corrupt],
        // It may be named by the last seal.
        Class::Spare => vec![Intact, Corrupt],
        // It is made anew, or its claim of what was there is held against the segment.
        Class::Sidecar => vec![Intact, Corrupt],
        Class::Unfinished | Class::Foreign => vec![Intact],
    };
    // Lies with right checksums are facts as far as anybody can see; some name a newer release.
    if matches!(how, How::ForgeFrame | How::ForgeLength | How::ForgeHeader | How::ForgeSidecar) {
        allowed.extend([Told, Unsupported]);
    }
    // Files that are taken for others carry their class with them, wherever they are put.
    if matches!(how, How::Rename | How::Double | How::SwapFiles | How::Strange) {
        allowed.extend([Corrupt, Told]);
    }
    if !closed && class != Class::Identity {
        allowed.push(Trimmed);
    }
    if class == Class::Foreign {
        allowed.push(Misuse);
    }
    allowed.sort();
    allowed.dedup();
    debug_assert!(!allowed.contains(&System));
    allowed
}
