//! Backups of a store that is in use.

use crate::engine::Backup;
use crate::error::Result;
use crate::read_only::ReadOnlyStore;
use crate::store::Store;
use std::path::Path;

impl Store {
    /// Makes a copy of the store in `directory`, which is empty or absent, while everything goes on: it holds what was
    /// in the journal at one moment, durably, and nothing that came later. To restore, open it, or a copy of it.
    ///
    /// Segments that are full are given a second name where the file system can, which takes no time and no space until
    /// the store is done with them; a backup on another disk is copied whole. What is linked shares its bytes with the
    /// store: against damage of the disk, copy the backup elsewhere. Deliveries that are out are not charged for it if
    /// the backup is opened after the machine was started again, and may be delivered alone first otherwise, as after
    /// the death of a process.
    ///
    /// # Errors
    /// `Misuse` if the directory is not empty; `Closed`, `Poisoned`; `System` or `Full` if the operating system
    /// refused. Nothing is left of a backup that failed.
    ///
    /// ```
    /// # fn main() -> millpond::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use millpond::Store;
    /// let store = Store::open(dir.path().join("data"))?;
    /// store.topic("orders")?.publish("4711").wait()?;
    /// store.backup(dir.path().join("backup"))?;
    /// store.topic("orders")?.publish("4712").wait()?;
    /// let restored = Store::open(dir.path().join("backup"))?;
    /// assert_eq!(restored.topic("orders")?.stats().messages, 1);
    /// # restored.close()?;
    /// # store.close()
    /// # }
    /// ```
    pub fn backup(&self, directory: impl AsRef<Path>) -> Result<Backup> {
        self.engine().backup(directory.as_ref())
    }
}

impl ReadOnlyStore {
    /// Makes a copy of the store as [`Store::backup`] does, beside its owner, who may be another process. It holds what
    /// is seen, or more if the owner gave back a segment meanwhile.
    ///
    /// # Errors
    /// As there.
    pub fn backup(&self, directory: impl AsRef<Path>) -> Result<Backup> {
        self.retrying(|engine| engine.backup(directory.as_ref()))
    }
}
