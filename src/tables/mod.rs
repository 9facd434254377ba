//! Which ids were seen: views of the journal, which may be deleted at any time and are made again from it.
//!
//! There are two tables, a file here for each. [`published`](Published) answers who publishes with an id;
//! [`processed`](Seen) answers who is about to be handed a message. Rows have a fixed size: hashes and numbers, no
//! payloads. What came since a table was last written is held in memory by the engine, and only what is durable in the
//! journal enters a table.
//!
//! **Published ids** come at the rate of messages. sled takes 30 to 70 thousand of them a second and hundreds of
//! megabytes of memory for a million; so they lie in sorted, checksummed runs beside the segment of the journal that
//! they came with (`run`, `runs`), each with a filter (`filter`), in memory as far as there is room: an id that was
//! never seen costs no read, one that was costs one. A run covers a stretch of one segment, and says which; those of
//! neighbouring segments become one by and by (`merge`), so that there are few. One that is missing or damaged is made
//! again from what it covers alone.
//!
//! **Processed ids** come at the rate of acks, and have no segment that they belong to: a group keeps them as long as
//! it wants. They are in a store of rows, behind the trait [`Tables`]: sled (`sled`), or a twin in memory (`memory`)
//! for the simulator, which can be emptied, rolled back or made to fail at will. It is trusted only if it holds the
//! checkpoint id that the journal names (see the event `TablesTrusted`), and each answer only if nothing is missing
//! around it (`checked`, `places`): sled says nothing of rows that it lost.

mod checked;
#[cfg(test)]
mod checked_tests;
mod commit;
mod delta;
mod filter;
mod lookup;
mod memory;
mod merge;
mod places;
mod premises;
mod processed;
mod published;
mod rows;
mod run;
#[cfg(test)]
mod run_tests;
mod runs;
mod sled;
mod stretch;
mod writer;

pub(crate) use self::sled::SledTables;
pub(crate) use checked::Checked;
pub(crate) use delta::Delta;
pub(crate) use memory::MemoryTables;
#[cfg(test)]
pub(crate) use memory::Step;
pub(crate) use merge::{FAN, Failure, Merge, to_merge};
pub(crate) use places::Keys;
pub(crate) use processed::{ProcessedKey, Seen};
pub(crate) use published::{Published, PublishedKey};
pub(crate) use run::{Run, Share, bytes_of_warm, rows_for};
pub(crate) use runs::{Found, Runs};
pub(crate) use stretch::{Owner, Place, Range, Stretch};
pub(crate) use writer::{Plan, rewrite, write};

use std::fmt::Debug;
use std::io::Result;
use std::sync::Arc;

/// A keyed 128-bit hash.
pub(crate) type Hash = [u8; 16];

/// A change of a row: its key, and its new value or that it is gone.
pub(crate) type Change = (Vec<u8>, Option<Vec<u8>>);

/// A store of rows, in one order, durable from commit to commit. What it says is checked: see [`Checked`].
pub(crate) trait Tables: Send + Sync + Debug {
    /// The values of keys, one for each.
    fn get(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>>;

    /// All rows of some ranges, for each range one behind the other: key and value, which have these lengths.
    fn ranges(&self, ranges: &[Keys], lengths: [usize; 2]) -> Result<Vec<Vec<u8>>>;

    /// Up to `limit` rows behind `after`, in the order of their keys; from the first one on if there is none.
    fn scan(&self, after: Option<&[u8]>, limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>>;

    /// Puts rows in, and when all of them are durable, the last one: it is never there without them.
    fn commit(&self, batch: &[Change], last: &Change) -> Result<()>;
}

/// Puts a row behind others of the same lengths.
fn put_row(out: &mut Vec<u8>, (key, value): (&[u8], &[u8]), lengths: [usize; 2]) -> Result<()> {
    if [key.len(), value.len()] != lengths {
        let what = format!("a row of {} and {} bytes where each has {lengths:?}", key.len(), value.len());
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, what));
    }
    out.extend_from_slice(key);
    out.extend_from_slice(value);
    Ok(())
}

/// The way to the tables: passed in like the disk, since what lies behind it does its own input and output.
pub(crate) trait TablesDoor: Send + Sync + Debug {
    /// Opens what is there, or makes it. Whatever goes wrong in there is an error here, a panic and a stall included.
    fn open(&self) -> Result<Arc<dyn Tables>>;

    /// Puts what is there out of the way, so that [`open`](Self::open) makes it anew. Called when nothing is open, or
    /// what is open is not to be used any more.
    fn set_aside(&self) -> Result<()>;

    /// Whether anything is there.
    fn exists(&self) -> bool;
}
