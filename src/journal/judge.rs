//! What recovery makes of the bytes where a frame is expected: one decision, as a table.
//!
//! | sealed | whole frame | covered or closed | verdict |
//! |---|---|---|---|
//! | no | yes | any | [`Verdict::Accept`] |
//! | no | no | yes | [`Verdict::Damage`]: it was promised, or it was whole when the store was closed |
//! | no | no | no | [`Verdict::Tail`]: nobody was promised this; trimmed and reported if anything is there |
//! | yes | yes | any | [`Verdict::Damage`]: nothing is ever written behind a seal |
//! | yes | no | any | [`Verdict::EndOfSegment`] |
//!
//! A frame is whole if its header makes sense, its header checksum fits this place of this segment, and its body
//! checksum fits. Zeros are never evidence: they are what is left of a lost write as well as what nobody wrote.
//! A whole frame *behind* a bad one proves nothing by itself, since one unsynced group may reach the disk out of order;
//! it covers the bad one only if it says that the bad one's place was durable when it was written.

use crate::seen::Seen;

/// What is known about one place of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sight {
    /// The header's fields make sense: a length, within the segment, no claim beyond itself.
    pub(crate) header_ok: bool,
    /// The header's checksum fits, seeded with this segment's salt and this position.
    pub(crate) seed_ok: bool,
    /// The body's checksum fits.
    pub(crate) body_ok: bool,
    /// A whole frame further on says that this place was durable when that frame was written.
    pub(crate) covered: bool,
    /// The frame before this place is the segment's seal.
    pub(crate) sealed: bool,
    /// The store was closed cleanly with the journal reaching beyond this place.
    pub(crate) closed: bool,
}

/// What is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Verdict {
    /// The frame is a fact.
    Accept,
    /// The segment ends here, as its seal says.
    EndOfSegment,
    /// The journal ends here.
    Tail,
    /// Something that was whole no longer is.
    Damage,
}

impl Sight {
    /// Its row: the table with every way in which a frame may not be whole.
    pub(crate) const fn row(self) -> Seen {
        match (self.sealed, self.covered, self.closed, self.header_ok, self.seed_ok, self.body_ok) {
            (false, _, _, true, true, true) => Seen::RowAccept,
            (true, _, _, true, true, true) => Seen::RowBehindSeal,
            (true, _, _, true, true, false) => Seen::RowSealedTorn,
            (true, _, _, true, false, _) => Seen::RowSealedStale,
            (true, _, _, false, _, _) => Seen::RowSealed,
            (false, true, _, true, true, false) => Seen::RowBadCovered,
            (false, true, _, true, false, _) => Seen::RowStaleCovered,
            (false, true, _, false, _, _) => Seen::RowNothingCovered,
            (false, false, true, true, true, false) => Seen::RowBadClosed,
            (false, false, true, true, false, _) => Seen::RowStaleClosed,
            (false, false, true, false, _, _) => Seen::RowNothingClosed,
            (false, false, false, true, true, false) => Seen::RowTorn,
            (false, false, false, true, false, _) => Seen::RowStale,
            (false, false, false, false, _, _) => Seen::RowNothing,
        }
    }
}

/// The table.
pub(crate) fn judge(sight: Sight) -> Verdict {
    let whole = sight.header_ok && sight.seed_ok && sight.body_ok;
    match (sight.sealed, whole, sight.covered || sight.closed) {
        (false, true, _) => Verdict::Accept,
        (false, false, true) | (true, true, _) => Verdict::Damage,
        (false, false, false) => Verdict::Tail,
        (true, false, _) => Verdict::EndOfSegment,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table once more, written as rows of conditions: `None` means "whatever it is".
    type Row = (&'static str, [Option<bool>; 6], Verdict);
    const ANY: Option<bool> = None;
    const YES: Option<bool> = Some(true);
    const NO: Option<bool> = Some(false);

    /// header, seed, body, covered, sealed, closed
    const ROWS: [Row; 14] = [
        ("a whole frame", [YES, YES, YES, ANY, NO, ANY], Verdict::Accept),
        ("a whole frame behind the seal", [YES, YES, YES, ANY, YES, ANY], Verdict::Damage),
        ("no header, nothing promised", [NO, ANY, ANY, NO, NO, NO], Verdict::Tail),
        ("stale header, nothing promised", [YES, NO, ANY, NO, NO, NO], Verdict::Tail),
        ("torn body, nothing promised", [YES, YES, NO, NO, NO, NO], Verdict::Tail),
        ("no header, covered", [NO, ANY, ANY, YES, NO, ANY], Verdict::Damage),
        ("stale header, covered", [YES, NO, ANY, YES, NO, ANY], Verdict::Damage),
        ("bad body, covered", [YES, YES, NO, YES, NO, ANY], Verdict::Damage),
        ("no header, closed", [NO, ANY, ANY, NO, NO, YES], Verdict::Damage),
        ("stale header, closed", [YES, NO, ANY, NO, NO, YES], Verdict::Damage),
        ("bad body, closed", [YES, YES, NO, NO, NO, YES], Verdict::Damage),
        ("nothing behind the seal", [NO, ANY, ANY, ANY, YES, ANY], Verdict::EndOfSegment),
        ("stale bytes behind the seal", [YES, NO, ANY, ANY, YES, ANY], Verdict::EndOfSegment),
        ("half a frame behind the seal", [YES, YES, NO, ANY, YES, ANY], Verdict::EndOfSegment),
    ];

    #[test]
    fn every_input_matches_exactly_one_row_and_the_row_decides() {
        for input in 0..64u32 {
            let bits: [bool; 6] = std::array::from_fn(|bit| input & (1 << bit) != 0);
            let [header_ok, seed_ok, body_ok, covered, sealed, closed] = bits;
            let rows: Vec<&Row> = ROWS
                .iter()
                .filter(|(_, when, _)| when.iter().zip(bits).all(|(want, is)| want.is_none_or(|want| want == is)))
                .collect();
            assert_eq!(rows.len(), 1, "{bits:?} matches {rows:?}");
            let sight = Sight { header_ok, seed_ok, body_ok, covered, sealed, closed };
            assert_eq!(judge(sight), rows[0].2, "{}", rows[0].0);
            let named = Seen::ALL.iter().find(|(seen, _, _)| *seen == sight.row()).unwrap();
            assert_eq!(named.2, rows[0].0, "the simulation counts it as another row");
        }
    }

    #[test]
    fn only_a_whole_frame_is_ever_accepted() {
        for input in 0..64u32 {
            let bit = |at: u32| input & (1 << at) != 0;
            let sight = Sight {
                header_ok: bit(0),
                seed_ok: bit(1),
                body_ok: bit(2),
                covered: bit(3),
                sealed: bit(4),
                closed: bit(5),
            };
            let whole = sight.header_ok && sight.seed_ok && sight.body_ok;
            assert_eq!(judge(sight) == Verdict::Accept, whole && !sight.sealed, "{sight:?}");
        }
    }
}
