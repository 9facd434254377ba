//! How many ids a store remembers.

/// What happens when there are more ids than the budget allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WhenFull {
    /// Publishes with an id are refused with the code `ids-full`, until ids have left their windows. Messages without
    /// an id are taken in.
    Refuse,
    /// The oldest ids are forgotten, many at a time, before their window ends: they can be published again. They are
    /// counted in [`IdStats::forgotten`](crate::IdStats::forgotten) and told to the log.
    ForgetOldest,
}

/// How many ids of published messages a store remembers; see [`Options::id_budget`](crate::Options::id_budget).
///
/// ```
/// use millpond::{IdBudget, Store, WhenFull};
/// let budget = IdBudget::unlimited().ids(10_000_000).bytes(1 << 30).when_full(WhenFull::ForgetOldest);
/// let options = Store::options().id_budget(budget);
/// # let _ = options;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IdBudget {
    pub(crate) ids: u64,
    pub(crate) bytes: u64,
    pub(crate) when_full: WhenFull,
}

impl IdBudget {
    /// No limit but the windows of the topics, and the disk.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self { ids: u64::MAX, bytes: u64::MAX, when_full: WhenFull::Refuse }
    }

    /// At most so many ids.
    #[must_use]
    pub const fn ids(mut self, ids: u64) -> Self {
        self.ids = ids;
        self
    }

    /// At most so many bytes on disk, about 56 for each id.
    #[must_use]
    pub const fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = bytes;
        self
    }

    /// What happens when there are more (default: [`WhenFull::Refuse`]).
    #[must_use]
    pub const fn when_full(mut self, policy: WhenFull) -> Self {
        self.when_full = policy;
        self
    }
}
