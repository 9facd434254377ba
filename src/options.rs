//! The setters of [`Options`]. A setting that makes no sense is reported by [`Options::open`], not here.

use crate::config::{Durability, IdBudget, Options};
use std::time::Duration;

/// One setter for each setting. All take and return the options, so that they can be chained.
///
/// ```
/// # fn main() -> millpond::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use millpond::{Durability, Store};
/// let store = Store::options().durability(Durability::Os).segment_bytes(8 << 20).open(dir.path())?;
/// # store.close()
/// # }
/// ```
impl Options {
    /// Whether a store is made where there is none: in a directory that is empty or absent. Default: yes.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Whether [`Store::topic`](crate::Store::topic) and [`Store::topic_with`](crate::Store::topic_with) make topics
    /// that don't exist. Default: yes; with no, an unknown name is an error with the code `unknown-topic`.
    #[must_use]
    pub fn create_topics(mut self, create: bool) -> Self {
        self.create_topics = create;
        self
    }

    /// Where a message must be when its publish resolves, unless its topic or the message says otherwise. Default:
    /// [`Durability::Disk`].
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Where a settlement must be when it resolves. Default: [`Durability::Os`]; what is lost with the machine is
    /// delivered again.
    #[must_use]
    pub fn ack_durability(mut self, durability: Durability) -> Self {
        self.ack_durability = durability;
        self
    }

    /// Size of a segment, one file of the journal, in bytes, at least 16 KiB. Default: 64 MiB.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u32) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// Size of a new store's first segment in bytes, at least 16 KiB, so that a small store stays small. Default:
    /// 4 MiB.
    #[must_use]
    pub fn first_segment_bytes(mut self, bytes: u32) -> Self {
        self.first_segment_bytes = bytes;
        self
    }

    /// The largest frame in bytes, less than 256 MiB: what one call publishes, all its messages together, is one frame.
    /// Default: 128 MiB. Anything larger is refused with the code `too-large`.
    #[must_use]
    pub fn max_frame_bytes(mut self, bytes: u32) -> Self {
        self.max_frame_bytes = bytes;
        self
    }

    /// The largest message in bytes, payload and attributes together; less than
    /// [`max_frame_bytes`](Self::max_frame_bytes). Default: 16 MiB. Anything larger is refused with the code
    /// `too-large`.
    #[must_use]
    pub fn max_message_bytes(mut self, bytes: u32) -> Self {
        self.max_message_bytes = bytes;
        self
    }

    /// How many bytes may wait in memory to be written; publishes beyond that wait in their tickets. Default: 8 MiB.
    #[must_use]
    pub fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.buffer_bytes = bytes;
        self
    }

    /// How many bytes of the newest messages are kept in memory for those who read right behind the publishers.
    /// Default: 4 MiB.
    #[must_use]
    pub fn tail_cache_bytes(mut self, bytes: usize) -> Self {
        self.tail_cache_bytes = bytes;
        self
    }

    /// How many bytes all groups together keep of what they have read ahead of themselves, so that ten thousand of them
    /// take no more memory than a hundred. Those that read last keep theirs, the others read again; one alone may
    /// exceed it, by a batch that is larger. Groups that read one behind another far behind the publishers are quicker
    /// with more: each takes up to some 128 KiB. Default: 16 MiB.
    #[must_use]
    pub fn read_ahead_bytes(mut self, bytes: usize) -> Self {
        self.read_ahead_bytes = bytes;
        self
    }

    /// From how many unwritten bytes on they are written though nobody waits for them. Default: 64 KiB.
    #[must_use]
    pub fn write_threshold_bytes(mut self, bytes: usize) -> Self {
        self.write_threshold_bytes = bytes;
        self
    }

    /// How long bytes stay unwritten though nobody waits for them. Default: 1 ms.
    #[must_use]
    pub fn write_delay(mut self, delay: Duration) -> Self {
        self.write_delay = delay;
        self
    }

    /// How long what was written stays unsynced at most: what a power cut may take of what was published or settled
    /// with [`Durability::Os`] or less. Default: 1 s.
    #[must_use]
    pub fn sync_interval(mut self, interval: Duration) -> Self {
        self.sync_interval = interval;
        self
    }

    /// How many publishes may wait in line for room; further ones are refused and hand their message back. Default:
    /// 1024.
    #[must_use]
    pub fn max_waiting_publishes(mut self, publishes: usize) -> Self {
        self.max_waiting_publishes = publishes;
        self
    }

    /// How many bytes of an error text are kept; longer ones are cut at a character. Default: 1024.
    #[must_use]
    pub fn error_text_bytes(mut self, bytes: usize) -> Self {
        self.error_text_bytes = bytes;
        self
    }

    /// How many segments are kept open for reading, a file descriptor each. Default: 64.
    #[must_use]
    pub fn open_segments(mut self, segments: usize) -> Self {
        self.open_segments = segments;
        self
    }

    /// How soon a machine's clock that was set forward, or a machine that slept, is noticed while a message waits for
    /// [`Message::deliver_at`](crate::Message::deliver_at): the wall clock is looked at again after this time. Without
    /// such a message it is not looked at. Default: 10 s.
    #[must_use]
    pub fn wall_check(mut self, interval: Duration) -> Self {
        self.wall_check = interval.max(Duration::from_millis(1));
        self
    }

    /// If the machine's clock shows at opening that more than this has passed since the store was last used, the clock
    /// may be wrong: that is reported in [`RecoveryReport::gap`](crate::RecoveryReport::gap), and messages do not age
    /// by the gap before the store has been open for an hour. Default: 7 days.
    #[must_use]
    pub fn doubtful_gap(mut self, gap: Duration) -> Self {
        self.doubtful_gap = gap;
        self
    }

    /// How many bytes of memory the ids of published messages may take, at least 16 KiB: those that came last, and what
    /// finds the others, which are on disk. Publishes with an id wait in their tickets while there is no room, but one
    /// call is taken in whole. Those on disk take 2.5 bytes of memory each, up to half of this. What does not fit is
    /// asked on disk: each new id then costs a read for every run that is *cold*, which are the largest ones, and one
    /// that was seen before some three. With the default that begins between 13 and 25 million ids. Besides, some 50
    /// bytes for each segment and topic with ids in the window, and up to 2 MiB while runs are written. Default: 64
    /// MiB.
    #[must_use]
    pub fn id_memory_bytes(mut self, bytes: usize) -> Self {
        self.id_memory_bytes = bytes;
        self
    }

    /// How many ids of published messages the store remembers, and what happens when there are more. Default:
    /// [`IdBudget::unlimited`](crate::IdBudget::unlimited), so that only the windows of the topics, and the disk, set a
    /// limit.
    #[must_use]
    pub fn id_budget(mut self, budget: IdBudget) -> Self {
        self.id_budget = budget;
        self
    }

    /// How late expiry, and the rules of a topic's retention, may take effect by themselves in a topic that is in use.
    /// Readers, seeks and new groups see them take effect at once, and nothing that expired is handed out. Shorter
    /// costs more work. Default: 1 s.
    #[must_use]
    pub fn retention_step(mut self, step: Duration) -> Self {
        self.retention_step = step.max(Duration::from_millis(1));
        self
    }

    /// How many files of segments that are done with are kept at most to be used again, each as large as the next
    /// segment is to be, besides the reserve; at least 1. More saves making new ones where the load comes in waves.
    /// Default: 2.
    #[must_use]
    pub fn spare_segments(mut self, segments: u32) -> Self {
        self.spare_segments = segments.max(1);
        self
    }

    /// A segment of which less than this percentage is still needed is cleaned: what is needed of it is written again
    /// elsewhere, and its file goes. More keeps the store smaller and writes more; 0 never cleans by itself or by
    /// [`Store::clean_now`](crate::Store::clean_now). Default: 50.
    #[must_use]
    pub fn clean_below(mut self, percent: u8) -> Self {
        self.clean_below = percent.min(100);
        self
    }

    /// How many bytes cleaning reads in one step. Between two steps it pauses for up to 2 ms, so that those who publish
    /// and settle hardly notice; not where segments become mostly dead faster than that. Default: 128 KiB.
    #[must_use]
    pub fn clean_step_bytes(mut self, bytes: usize) -> Self {
        self.clean_step_bytes = bytes.max(4096);
        self
    }

    /// With less space than this free on the disk, in bytes, a warning is logged whenever the journal goes on to
    /// another segment. Default: 1 GiB; 0 never warns.
    #[must_use]
    pub fn warn_free_bytes(mut self, bytes: u64) -> Self {
        self.warn_free_bytes = bytes;
        self
    }

    /// The largest value of the application in bytes, see [`Transaction::set`](crate::Transaction::set). Default:
    /// 8 KiB. Anything larger is refused with the code `too-large`: what is that large is better a message, or a file.
    #[must_use]
    pub fn max_value_bytes(mut self, bytes: u32) -> Self {
        self.max_value_bytes = bytes;
        self
    }

    /// How many bytes all values of the application may take together, with their keys and 64 bytes for each. They are
    /// in memory, and in each snapshot, as a whole. Default: 1 MiB. What would exceed it is refused with the code
    /// `values-full`.
    #[must_use]
    pub fn max_values_bytes(mut self, bytes: u64) -> Self {
        self.max_values_bytes = bytes;
        self
    }
}
