//! What the state has to know of a message besides that it is there: when it is due, and whether it expires.

use super::attributes;
use super::publish::{Published, split};
use crate::message::Due;
use crate::types::{Offset, Timestamp};

/// The times that a message carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timing {
    pub(crate) offset: Offset,
    pub(crate) due: Option<Due>,
    pub(crate) expiry: Option<Timestamp>,
}

impl<'a> Published<'a> {
    /// The messages with a priority above the ordinary one, in offset order, likewise.
    pub(crate) fn levels(&self) -> impl Iterator<Item = (Offset, u8)> + use<'a> {
        self.carrying().filter_map(|(offset, block)| {
            let level = attributes::priority(block).ok()?;
            (level > 0).then_some((offset, level))
        })
    }

    /// The messages that carry a time, in offset order. Looks at heads and attributes only; where no message has
    /// attributes it looks at nothing. Ends at what can't be decoded: that is said when it is read.
    pub(crate) fn timings(&self) -> impl Iterator<Item = Timing> + use<'a> {
        self.carrying().filter_map(|(offset, block)| {
            let (due, expiry) = attributes::times(block).ok()?;
            (due.is_some() || expiry.is_some()).then_some(Timing { offset, due, expiry })
        })
    }

    /// The messages that have attributes, with the block of them.
    fn carrying(&self) -> impl Iterator<Item = (Offset, &'a [u8])> + use<'a> {
        let slots = (!self.is_plain()).then(|| self.slots()).into_iter().flatten();
        slots.map_while(Result::ok).filter(|slot| slot.attributes).filter_map(|slot| {
            let (_, block, _) = split(slot.head).ok()?;
            Some((slot.offset, block))
        })
    }
}
