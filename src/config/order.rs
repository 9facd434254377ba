//! Order by key: whether a group keeps it, and what bounds the memory that takes.

use super::Group;

/// What an [ordered](Group::ordered) group does with the other messages of a key when one of them is parked as a dead
/// letter.
///
/// As long as an earlier message of its key is a dead letter of the group, a message is treated so, whether it was
/// published before or after that. A [redrive](crate::Consumer::redrive) or a [purge](crate::Consumer::purge) ends it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WhenParked {
    /// They go on, and [`Delivery::skipped`](crate::Delivery::skipped) says that one is missing. The default.
    #[default]
    Skip,
    /// They wait until the dead letter is redriven or purged. Other keys flow.
    Block,
    /// They are parked with it, as the group comes to them, with the reason
    /// [`BuryReason::KeyParked`](crate::BuryReason::KeyParked); redriven together they come in their order.
    ParkKey,
}

impl Group {
    /// Keeps the messages of a key in order: at most one consumer has messages of a key at a time, and they come in
    /// the order of their offsets; a message that failed comes again before its successors, which wait for it
    /// meanwhile. Other keys flow. Messages without a key are not ordered (default: no message is).
    ///
    /// What may be handed out of a key is the first of its messages that the group has not settled and not given up
    /// on. So a message that waits, after a failure, snoozed, or published for later, holds those behind it; one that
    /// expires, is cancelled or dropped by a rule holds nobody.
    ///
    /// A change takes effect at once. What was handed out before the group was made ordered stays out: the key of such
    /// a message waits until it comes back.
    ///
    /// SQS calls a key a message group of a FIFO queue, Service Bus a session; Kafka keeps the order of a whole
    /// partition. See the guide's chapter on [order](crate::guide::ordering).
    #[must_use]
    pub fn ordered(mut self, when_parked: WhenParked) -> Self {
        self.ordered = Some(Some(when_parked));
        self
    }

    /// No order by key any more, from the next lease on.
    #[must_use]
    pub fn unordered(mut self) -> Self {
        self.ordered = Some(None);
        self
    }

    /// How many messages an [ordered](Self::ordered) group keeps in mind that it may not hand out, because an earlier
    /// one of their key goes first, while it looks for others (default 100,000, at least 1). Each takes less than 48
    /// bytes of memory. If so many wait, keys of which many wait are cut short: of the rest of their messages the group
    /// knows only where they begin and how many there are, and reads them again when it comes to them. So one busy key
    /// stops nobody. If very many keys wait at a time, so that this frees nothing, the group looks no further until one
    /// of them can go, and [`Consumer::why`](crate::Consumer::why) says so of those behind.
    #[must_use]
    pub fn look_ahead(mut self, messages: u32) -> Self {
        self.look_ahead = Some(messages.max(1));
        self
    }

    /// How many messages may wait for a retry, or be snoozed, before no new ones are leased (default 100,000, at least
    /// 1): each takes memory until it is through. What falls due is leased all the same.
    #[must_use]
    pub fn max_retrying(mut self, messages: u32) -> Self {
        self.max_retrying = Some(messages.max(1));
        self
    }
}
