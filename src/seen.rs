//! Which paths of the engine a run has taken, counted for tests: without feature `testing` it is nothing at all.
//!
//! A simulation that never comes to a place proves nothing about it. So each place that matters has a name here, says
//! [`Seen::note`] when it is come to, and the simulation fails if one of them was not. Counted for each thread, since a
//! simulated store has none of its own.

/// Makes the list, and what it is grouped by.
macro_rules! places {
    ($($group:literal { $($name:ident $text:literal)* })*) => {
        /// A place of the engine, or a fault of the simulated disk.
        #[cfg_attr(
            not(any(test, feature = "testing")),
            expect(dead_code, unreachable_pub, reason = "only tests count")
        )]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Seen {
            $($(#[doc = $text] $name,)*)*
        }

        #[cfg(any(test, feature = "testing"))]
        impl Seen {
            /// All of them, each with its group and in words.
            pub const ALL: &[(Self, &str, &str)] = &[$($((Self::$name, $group, $text),)*)*];
        }
    };
}

places! {
    "recovery table" {
        RowAccept "a whole frame"
        RowBehindSeal "a whole frame behind the seal"
        RowNothing "no header, nothing promised"
        RowStale "stale header, nothing promised"
        RowTorn "torn body, nothing promised"
        RowNothingCovered "no header, covered"
        RowStaleCovered "stale header, covered"
        RowBadCovered "bad body, covered"
        RowNothingClosed "no header, closed"
        RowStaleClosed "stale header, closed"
        RowBadClosed "bad body, closed"
        RowSealed "nothing behind the seal"
        RowSealedStale "stale bytes behind the seal"
        RowSealedTorn "half a frame behind the seal"
    }
    "recovery" {
        TailTrimmed "a torn tail was trimmed"
        TailRewritten "what may not be durable was written again"
        StraySetAside "a segment that no seal leads to was set aside"
        CopyPut "a copy took the place of a segment that a backup shares"
        RoomForCopy "a file that holds nothing made room for such a copy"
        FromSnapshot "the newest snapshot was begun with"
        FromOlderSnapshot "the newest snapshot was no use, an older one was"
        FromStart "everything was read from the start"
        SuspectsMade "messages became suspects"
        ParkedForCrashes "a message was parked for the deaths laid to it"
        SidecarRebuilt "an index was made anew"
        IdsRebuilt "published ids were read from the journal again"
        TablesRebuilt "the tables of processed ids were made anew"
    }
    "removal" {
        Expired "expired"
        Filtered "filtered"
        Aged "aged"
        OverBytes "over the bytes kept"
        OverCount "over the count kept"
        Overflowed "overflowed"
        Purged "purged"
        Cancelled "cancelled"
        Processed "processed already"
        Settled "settled by every group"
        Lost "lost to damage"
    }
    "background" {
        Rolled "the journal went on to another segment"
        BufferFull "another buffer was begun for frames to come"
        BufferTaken "a batch's buffer became one of the journal's"
        Braked "a segment was prepared only after some cleaning"
        PreparedNew "a segment was prepared in a new file"
        PreparedRecycled "a segment was prepared in an old file"
        PreparedBank "a file was set aside for later"
        Packed "what was published was packed"
        MovedPacked "what was carried over was packed"
        SidecarWritten "an index was written"
        SnapshotBegun "a snapshot was begun"
        SnapshotDone "a snapshot was completed"
        SnapshotFirst "a part of a snapshot was the first to get new room"
        SnapshotGivenUp "a snapshot was given up half way"
        SegmentRetired "a segment was retired"
        FileRemoved "the file of a segment was removed"
        FileSetAside "the file of a segment was set aside"
        Cleaned "messages were carried over"
        IdsCarried "ids were carried over"
        IdsFlushed "published ids were written as a run"
        IdsMended "a run of ids was made anew while the store was open"
        Checkpointed "processed ids were written to the tables"
        MarkWritten "a quiet store marked how far it is durable"
        ClosedWritten "a store was closed cleanly"
        LeaseExpired "a lease ran out"
        LineAdmitted "a publish that had to wait was taken in"
        DealAdmitted "a transaction that had to wait was taken in"
        LineAsked "ids of one that had to wait were looked up on the disk"
    }
    "failure" {
        PoisonedByWrite "a write failed, and the store was poisoned"
        PoisonedBySync "a sync failed, and the store was poisoned"
        RanFull "no segment could be prepared"
    }
    "repair" {
        RepairedNothing "there was nothing to repair"
        RepairedFile "a file was put aside"
        RepairedLost "messages were given up as lost"
    }
    "fault of the disk" {
        ReadFailed "a read failed"
        WriteFailed "a write failed"
        SyncFailed "a sync failed"
        NameFailed "a change of names failed"
        BackgroundFailed "write-back failed in the background"
        ReadShort "a read was short"
        WriteShort "a write was short"
        Interrupted "a read or write was interrupted"
        DiskFull "the disk was full"
        Stopped "the machine stopped in the middle of an operation"
        Killed "the process was killed"
        CutLostAll "a power cut lost all that was not synced"
        CutKeptAll "a power cut lost nothing"
        CutInOrder "a power cut kept a file's first writes"
        CutScattered "a power cut tore the last write apart"
        CutOutOfOrder "a power cut kept later writes and lost earlier ones"
        CutByPage "a power cut kept each page as of a moment of its own"
        LengthWithoutBytes "a file had grown, and its bytes were missing"
        NameLost "a power cut took a change of names back"
    }
}

#[cfg(any(test, feature = "testing"))]
mod counting {
    use super::Seen;
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    thread_local! {
        static COUNTS: RefCell<BTreeMap<Seen, u64>> = const { RefCell::new(BTreeMap::new()) };
    }

    impl Seen {
        /// This place was come to.
        pub(crate) fn note(self) {
            COUNTS.with_borrow_mut(|counts| *counts.entry(self).or_default() += 1);
        }

        /// How often each place was come to in this thread since this was last asked.
        #[must_use]
        pub fn take() -> BTreeMap<Self, u64> {
            COUNTS.take()
        }
    }
}

#[cfg(not(any(test, feature = "testing")))]
impl Seen {
    pub(crate) const fn note(self) {}
}

impl Seen {
    /// This place was come to, if `condition` is so.
    pub(crate) fn note_if(self, condition: bool) {
        if condition {
            self.note();
        }
    }
}
