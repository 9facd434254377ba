//! Every error code in words: what it means, and what to do.

use super::{Code, ErrorKind};

/// A code of [`Error::code`](crate::Error::code), explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// The code; it stays the same from release to release.
    pub code: &'static str,
    /// What the caller can do next, in a word.
    pub kind: ErrorKind,
    /// What has happened.
    pub meaning: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

/// Every error code there is, explained: what `millpond explain` shows.
///
/// ```
/// let locked = millpond::explanations().find(|known| known.code == "locked").unwrap();
/// assert_eq!(locked.kind, millpond::ErrorKind::Locked);
/// println!("{} {}", locked.meaning, locked.remedy);
/// ```
pub fn explanations() -> impl Iterator<Item = Explanation> {
    Code::ALL.into_iter().map(|code| {
        let (kind, name) = code.entry();
        let (meaning, remedy) = words(code);
        Explanation { code: name, kind, meaning, remedy }
    })
}

const fn words(code: Code) -> (&'static str, &'static str) {
    match code {
        Code::BufferFull => (
            "More is published than the disk takes: the store's buffer and the line before it are full.",
            "Publish again later; the message is in the error. `buffer_bytes`, `max_waiting_publishes` are the limits.",
        ),
        Code::BacklogFull => (
            "As much waits in the topic as its `max_backlog` allows: consumers are slower than publishers.",
            "Publish again later; the message is in the error. Add consumers, or let publishes wait or drop old ones.",
        ),
        Code::DiskFull => (
            "No segment can be prepared for more messages: the disk, or the quota, is full. Nothing was lost.",
            "Free some space, or let consumers settle; publishing goes on by itself then. The message is in the error.",
        ),
        Code::ValuesFull => (
            "The application's values would take more than all of them together may.",
            "Remove some, or raise `max_values_bytes`. The transaction is in the error.",
        ),
        Code::UnexpectedEnd => (
            "A topic did not end where the call expected it to: somebody has published to it since. Nothing was done.",
            "Read what is new, decide anew, and call again. The message, or the transaction, is in the error.",
        ),
        Code::IdsFull => (
            "As many ids of published messages are remembered as `id_budget` allows, and its policy is to refuse.",
            "Wait until ids leave their windows, raise the budget, or shorten them. The message is in the error.",
        ),
        Code::LeaseLost => (
            "The lease ran out and somebody else was given the message, or it is settled already.",
            "Settle nothing; undo what was done with the message, or let the other holder's outcome stand.",
        ),
        Code::OutcomeUnknown => (
            "A write or sync failed while this call waited for it: it may have taken effect or not.",
            "Reopen the store, and publish again with the same id.",
        ),
        Code::Poisoned => (
            "A write or sync failed earlier. What the disk holds is not known, so the store takes nothing more.",
            "Mend the disk, and reopen the store: opening finds out what is there.",
        ),
        Code::Locked => (
            "Another process, or another `Store` of this one, has the directory open.",
            "Use that one, or wait until it is closed. The lock goes with its process: there is no file to remove.",
        ),
        Code::Damaged => (
            "Bytes that were promised durable are not what was written. The error says where, and what it hits.",
            "Restore a backup. `millpond verify` says what is hit.",
        ),
        Code::SegmentMissing => (
            "A file of the journal that is needed is not there.",
            "Bring the file back from a backup; all files of a store belong together.",
        ),
        Code::IdentityDamaged => (
            "The file `identity` is damaged or missing beside a journal.",
            "Restore `identity` from a backup of this very store.",
        ),
        Code::JournalMissing => {
            ("The directory has an identity and no journal.", "Restore the directory `journal` from a backup.")
        }
        Code::FutureVersion => {
            ("A newer release wrote this, or it uses a feature that this release lacks.", "Use that release.")
        }
        Code::KeyMissing => (
            "The store is encrypted with a key that was not given. The error has the key's name, and those given.",
            "Open it with that key: `Options::encryption`, or `--key-file` on the command line.",
        ),
        Code::KeyWrong => (
            "The key given under this name is not the one that the store was encrypted with. Nothing was touched.",
            "Give the right key under that name. If it is lost, so is what it has encrypted.",
        ),
        Code::NotAStore => (
            "The directory holds something else. Nothing in it was touched.",
            "Name an empty or absent directory, or one that is a store.",
        ),
        Code::NotADirectory => ("The path is not a directory; a store is one.", "Name a directory."),
        Code::NoSuchStore => ("There is no store at this path, and none was to be made.", "Check the path."),
        Code::UnknownTopic => (
            "There is no topic of this name, or it was dropped.",
            "Check the name; `Store::topic` makes a topic, unless `create_topics` is off.",
        ),
        Code::UnknownGroup => ("The consumer group was dropped.", "Open it anew with `Topic::consumer`."),
        Code::BadName => ("A topic, a group or a value can't have this name.", "Use 1 to 255 bytes of UTF-8."),
        Code::BadSetting => ("A setting makes no sense; the error says which and why.", "Change the setting."),
        Code::TooLarge => (
            "The message, or what was to be written with it, is larger than a limit that the error names.",
            "Make it smaller, or raise the limit. The message is in the error.",
        ),
        Code::IdReused => (
            "A message with this id was accepted before, or stands before it in the batch, with another payload.",
            "Give this one an id of its own; or set `refuse_reused_ids(false)`. The message is in the error.",
        ),
        Code::ForeignDelivery => (
            "A delivery of another group or store was given to be settled here. Nothing was settled.",
            "Settle each delivery with its own group; they are in the error.",
        ),
        Code::Unencodable => (
            "A value can't be written in the format of its typed topic. Nothing was published.",
            "Change the value or its type; the error has the format's own reason.",
        ),
        Code::Undecodable => (
            "The payload is no value of the typed topic's type: it was written by something else, or as a version that \
             this program doesn't know. The payload is whole.",
            "Teach the reader that version with `TypedTopic::upcast`, or read it untyped.",
        ),
        Code::ForeignTopic => (
            "A transaction names a topic of another store, or of a former opening of this one. Nothing was done.",
            "Open the topic with the store whose transaction it is; everything is in the error.",
        ),
        Code::Closed => ("The store is closed.", "Open it again."),
        Code::Stopped => {
            ("This consumer was stopped by its stopper. The store is open.", "Open the consumer anew to lease again.")
        }
        Code::Io => (
            "The operating system refused something; the error says what, and its own reason.",
            "Mend what it names, then call again.",
        ),
        Code::ReadOnly => {
            ("The directory, or its file system, can't be written.", "Mend its permissions, or mount it for writing.")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_code_is_explained_once() {
        let codes: BTreeSet<&str> = explanations().map(|known| known.code).collect();
        let source = include_str!("../error.rs");
        let declared =
            source.lines().filter(|line| line.trim_start().starts_with("Self::") && line.contains(" => (ErrorKind::"));
        assert_eq!(codes.len(), declared.count(), "`Code::ALL` lacks one");
        assert_eq!(codes.len(), Code::ALL.len(), "a code is there twice");
        assert!(explanations().all(|known| known.meaning.ends_with('.') && known.remedy.ends_with('.')));
    }
}
