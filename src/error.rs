//! One error for the whole crate. Its [`ErrorKind`] says what to do next, its `Display` what happened and where,
//! its code can be looked up and stays the same from release to release.

mod explain;

pub use explain::{Explanation, explanations};

use core::fmt;
use std::any::Any;
use std::sync::Arc;

/// The result of everything here that can fail.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// What the caller can do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Try the same call again, later: nothing is wrong with it.
    Retry,
    /// There is no room: drain, wait or free some, then publish again. The message comes back with
    /// [`Error::into_message`].
    Full,
    /// Somebody else holds the message now, or it is settled: drop what was done with it, settle nothing.
    LeaseLost,
    /// Somebody else was quicker, and what the call was built on is not so any more: look again, and decide anew.
    Conflict,
    /// Whether it was written is not known. Reopen; publishing again with the same id settles it.
    OutcomeUnknown,
    /// A write or a sync failed earlier, and the store takes nothing more. Reopen it.
    Poisoned,
    /// Another process (or another `Store` of this one) has the directory. Use that one, or wait for it to close.
    Locked,
    /// Bytes on disk are not what was written. Restore a backup, or salvage what is whole.
    Corrupt,
    /// This release can't read it. Use a newer one.
    Unsupported,
    /// The call itself is wrong: change it.
    Misuse,
    /// The store is closed, or this consumer was stopped.
    Closed,
    /// The operating system refused: mend what it names (permission, space, descriptors), then call again.
    System,
}

/// Every situation that has an error, with its stable code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Code {
    BufferFull,
    BacklogFull,
    DiskFull,
    ValuesFull,
    IdsFull,
    LeaseLost,
    UnexpectedEnd,
    OutcomeUnknown,
    Poisoned,
    Locked,
    Damaged,
    SegmentMissing,
    IdentityDamaged,
    JournalMissing,
    FutureVersion,
    KeyMissing,
    KeyWrong,
    NotAStore,
    NotADirectory,
    NoSuchStore,
    UnknownTopic,
    UnknownGroup,
    BadName,
    BadSetting,
    TooLarge,
    IdReused,
    ForeignDelivery,
    Unencodable,
    Undecodable,
    ForeignTopic,
    Closed,
    Stopped,
    Io,
    ReadOnly,
}

impl Code {
    /// All of them.
    pub(crate) const ALL: [Self; 34] = [
        Self::BufferFull,
        Self::BacklogFull,
        Self::DiskFull,
        Self::ValuesFull,
        Self::IdsFull,
        Self::LeaseLost,
        Self::UnexpectedEnd,
        Self::OutcomeUnknown,
        Self::Poisoned,
        Self::Locked,
        Self::Damaged,
        Self::SegmentMissing,
        Self::IdentityDamaged,
        Self::JournalMissing,
        Self::FutureVersion,
        Self::KeyMissing,
        Self::KeyWrong,
        Self::NotAStore,
        Self::NotADirectory,
        Self::NoSuchStore,
        Self::UnknownTopic,
        Self::UnknownGroup,
        Self::BadName,
        Self::BadSetting,
        Self::TooLarge,
        Self::IdReused,
        Self::ForeignDelivery,
        Self::Unencodable,
        Self::Undecodable,
        Self::ForeignTopic,
        Self::Closed,
        Self::Stopped,
        Self::Io,
        Self::ReadOnly,
    ];

    /// Kind, and the code's stable name.
    const fn entry(self) -> (ErrorKind, &'static str) {
        match self {
            Self::BufferFull => (ErrorKind::Full, "buffer-full"),
            Self::BacklogFull => (ErrorKind::Full, "backlog-full"),
            Self::DiskFull => (ErrorKind::Full, "disk-full"),
            Self::ValuesFull => (ErrorKind::Full, "values-full"),
            Self::IdsFull => (ErrorKind::Full, "ids-full"),
            Self::LeaseLost => (ErrorKind::LeaseLost, "lease-lost"),
            Self::UnexpectedEnd => (ErrorKind::Conflict, "unexpected-end"),
            Self::OutcomeUnknown => (ErrorKind::OutcomeUnknown, "outcome-unknown"),
            Self::Poisoned => (ErrorKind::Poisoned, "poisoned"),
            Self::Locked => (ErrorKind::Locked, "locked"),
            Self::Damaged => (ErrorKind::Corrupt, "damaged"),
            Self::SegmentMissing => (ErrorKind::Corrupt, "segment-missing"),
            Self::IdentityDamaged => (ErrorKind::Corrupt, "identity-damaged"),
            Self::JournalMissing => (ErrorKind::Corrupt, "journal-missing"),
            Self::FutureVersion => (ErrorKind::Unsupported, "future-version"),
            Self::KeyMissing => (ErrorKind::Misuse, "key-missing"),
            Self::KeyWrong => (ErrorKind::Misuse, "key-wrong"),
            Self::NotAStore => (ErrorKind::Misuse, "not-a-store"),
            Self::NotADirectory => (ErrorKind::Misuse, "not-a-directory"),
            Self::NoSuchStore => (ErrorKind::Misuse, "no-such-store"),
            Self::UnknownTopic => (ErrorKind::Misuse, "unknown-topic"),
            Self::UnknownGroup => (ErrorKind::Misuse, "unknown-group"),
            Self::BadName => (ErrorKind::Misuse, "bad-name"),
            Self::BadSetting => (ErrorKind::Misuse, "bad-setting"),
            Self::TooLarge => (ErrorKind::Misuse, "too-large"),
            Self::IdReused => (ErrorKind::Misuse, "id-reused"),
            Self::ForeignDelivery => (ErrorKind::Misuse, "foreign-delivery"),
            Self::Unencodable => (ErrorKind::Misuse, "unencodable"),
            Self::Undecodable => (ErrorKind::Unsupported, "undecodable"),
            Self::ForeignTopic => (ErrorKind::Misuse, "foreign-topic"),
            Self::Closed => (ErrorKind::Closed, "closed"),
            Self::Stopped => (ErrorKind::Closed, "stopped"),
            Self::Io => (ErrorKind::System, "io"),
            Self::ReadOnly => (ErrorKind::System, "read-only"),
        }
    }
}

/// Something on disk that is not what was written there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// The file, relative to the store's directory.
    pub file: String,
    /// The first damaged byte.
    pub from: u64,
    /// The byte after the last damaged one.
    pub to: u64,
    /// What is wrong there.
    pub what: String,
    /// Which messages are hit: topic name, first and last offset. Empty if that can't be told.
    pub messages: Vec<(String, crate::types::Offset, crate::types::Offset)>,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes {}..{}: {}", self.file, self.from, self.to, self.what)?;
        for (topic, first, last) in &self.messages {
            write!(f, "; topic {topic:?} offsets {first}..={last}")?;
        }
        Ok(())
    }
}

type Cause = Arc<dyn std::error::Error + Send + Sync>;

struct Inner {
    code: Code,
    what: String,
    source: Option<Cause>,
    damage: Vec<Damage>,
    returned: Option<Box<dyn Any + Send + Sync>>,
}

/// Why a call failed. See [`ErrorKind`] for what to do about it.
pub struct Error(Box<Inner>);

impl Error {
    pub(crate) fn new(code: Code, what: impl Into<String>) -> Self {
        Self(Box::new(Inner { code, what: what.into(), source: None, damage: Vec::new(), returned: None }))
    }

    pub(crate) fn because(mut self, source: Cause) -> Self {
        self.0.source = Some(source);
        self
    }

    pub(crate) fn with_damage(mut self, damage: Vec<Damage>) -> Self {
        self.0.damage = damage;
        self
    }

    /// Adds what is handed back to the caller; see `into_message`.
    pub(crate) fn returning(mut self, refused: impl Any + Send + Sync) -> Self {
        self.0.returned = Some(Box::new(refused));
        self
    }

    /// Takes out what was handed back, if it is a `T`.
    pub(crate) fn take_returned<T: Any>(&mut self) -> Option<T> {
        let returned = self.0.returned.take()?;
        match returned.downcast() {
            Ok(found) => Some(*found),
            Err(other) => {
                self.0.returned = Some(other);
                None
            }
        }
    }

    /// An error of the operating system, with what was being done. A full disk and a read-only one keep their own
    /// codes, since the caller can mend them.
    pub(crate) fn io(doing: impl Into<String>, source: std::io::Error) -> Self {
        let code = match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Code::DiskFull,
            std::io::ErrorKind::ReadOnlyFilesystem | std::io::ErrorKind::PermissionDenied => Code::ReadOnly,
            _ => Code::Io,
        };
        Self::new(code, doing).because(Arc::new(source))
    }

    /// Whether a file that was to be read is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        let source = self.0.source.as_deref().and_then(|source| source.downcast_ref::<std::io::Error>());
        source.is_some_and(|source| source.kind() == std::io::ErrorKind::NotFound)
    }

    /// What the caller can do next.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.code.entry().0
    }

    /// A stable name of this very situation, for logs, alerts and look-ups.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.0.code.entry().1
    }

    /// What was found damaged; empty unless the kind is [`ErrorKind::Corrupt`].
    #[must_use]
    pub fn damage(&self) -> &[Damage] {
        &self.0.damage
    }

    /// The same error, with what it is about put before it.
    pub(crate) fn about(mut self, what: &str) -> Self {
        self.0.what.insert_str(0, what);
        self
    }

    /// The same error once more, for another of those it concerns. What is handed back stays with the first.
    pub(crate) fn again(&self) -> Self {
        Self(Box::new(Inner {
            code: self.0.code,
            what: self.0.what.clone(),
            source: self.0.source.clone(),
            damage: self.0.damage.clone(),
            returned: None,
        }))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.what)?;
        if let Some(source) = &self.0.source {
            write!(f, ": {source}")?;
        }
        self.0.damage.iter().try_for_each(|damage| write!(f, "\n  {damage}"))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error").field("code", &self.code()).field("what", &self.to_string()).finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_small_and_can_cross_threads() {
        fn crosses<T: Send + Sync + 'static>() {}
        crosses::<Error>();
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }

    #[test]
    fn what_is_handed_back_can_be_taken_once_and_by_its_own_type() {
        let mut error = Error::new(Code::BufferFull, "no room").returning(7u32);
        assert_eq!(error.take_returned::<String>(), None);
        assert_eq!(error.take_returned::<u32>(), Some(7));
        assert_eq!(error.take_returned::<u32>(), None);
        assert_eq!((error.kind(), error.code()), (ErrorKind::Full, "buffer-full"));
    }

    #[test]
    fn a_full_disk_is_told_from_other_system_errors() {
        let full = Error::io("preparing", std::io::Error::from(std::io::ErrorKind::StorageFull));
        assert_eq!(full.code(), "disk-full");
        assert_eq!(Error::io("reading", std::io::Error::other("x")).kind(), ErrorKind::System);
    }
}
