//! [`Filter`]: which messages of its topic a group wants.

use super::Group;
use crate::error::{Code, Error, Result};
use bytes::Bytes;
use std::sync::Arc;

/// Which messages a group is given; see [`Group::filter`]. It selects a message that meets at least one of its
/// conditions: a header with exactly this value, or a key that begins with these bytes.
///
/// What it does not select is settled for the group without being handed out, and counted as
/// [`filtered`](crate::Removed::filtered). NATS calls it `filter_subject`, Amazon SNS a filter policy.
///
/// ```
/// use millpond::{Filter, Group};
/// let settings = Group::default().filter(Filter::header("kind", "order-created").or_key_prefix("customer-7/"));
/// # let _ = settings;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Filter {
    /// Empty: everything.
    pub(crate) conditions: Arc<[Condition]>,
}

/// One of those of which one has to hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Condition {
    Header { name: String, value: Bytes },
    KeyPrefix(Bytes),
}

impl Filter {
    /// A filter has at most so many conditions: each is looked at for every message.
    pub(crate) const CONDITIONS_MAX: usize = 32;
    /// Its names, values and prefixes have at most so many bytes: they are stored with the group and in each snapshot.
    pub(crate) const BYTES_MAX: usize = 4096;

    /// Every message: the default.
    #[must_use]
    pub fn everything() -> Self {
        Self::default()
    }

    /// The messages that have this header with exactly this value. Of several headers of one name, one is enough.
    #[must_use]
    pub fn header(name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        Self::default().or_header(name, value)
    }

    /// The messages with a key that begins with `prefix`; the empty prefix selects those that have a key.
    #[must_use]
    pub fn key_prefix(prefix: impl Into<Bytes>) -> Self {
        Self::default().or_key_prefix(prefix)
    }

    /// Also those with this header.
    #[must_use]
    pub fn or_header(self, name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.or(Condition::Header { name: name.into(), value: value.into() })
    }

    /// Also those with such a key.
    #[must_use]
    pub fn or_key_prefix(self, prefix: impl Into<Bytes>) -> Self {
        self.or(Condition::KeyPrefix(prefix.into()))
    }

    fn or(self, condition: Condition) -> Self {
        Self { conditions: self.conditions.iter().cloned().chain([condition]).collect() }
    }

    /// Whether it leaves nothing out.
    pub(crate) fn is_everything(&self) -> bool {
        self.conditions.is_empty()
    }

    /// Refuses what is too large to be stored.
    pub(crate) fn check(&self) -> Result<()> {
        let bytes = |condition: &Condition| match condition {
            Condition::Header { name, value } => name.len() + value.len(),
            Condition::KeyPrefix(prefix) => prefix.len(),
        };
        let (count, bytes) = (self.conditions.len(), self.conditions.iter().map(bytes).sum::<usize>());
        if count <= Self::CONDITIONS_MAX && bytes <= Self::BYTES_MAX {
            return Ok(());
        }
        let what = format!(
            "a filter of {count} conditions with {bytes} bytes is too large: it has up to {} with {} bytes",
            Self::CONDITIONS_MAX,
            Self::BYTES_MAX
        );
        Err(Error::new(Code::BadSetting, what))
    }
}

impl Group {
    /// Which messages the group is given (default: [`Filter::everything`]). A change goes for what is not settled and
    /// not out: what an earlier filter left out does not come back, unless the group [seeks](crate::Consumer::seek).
    ///
    /// The store looks at the messages as their turn comes, and ahead of that in the background, so that a group that
    /// wants little of what there is does not keep the rest. Until it has looked at a message, that counts as ready.
    #[must_use]
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }
}
