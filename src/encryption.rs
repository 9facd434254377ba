//! [`Options::encryption`], and what else is done to an encrypted store: all of it with options that have its keys.

use crate::config::{Keys, Options};
use crate::engine::{Environment, Progress, Repaired, Report};
use crate::error::Result;
use crate::read_only::ReadOnlyStore;
use crate::salvage::{Dump, Salvage};
use crate::types::Lsn;
use std::path::Path;

impl Options {
    /// Encrypts what the store holds, with XChaCha20-Poly1305. Default: [`Keys::none`]. Needs the feature `encrypt`.
    ///
    /// What is written from this opening on is written with the current key, in segments of its own; what was there
    /// before stays as it is, in plain text or under an older key, until its segments go, and is read as long as the
    /// keys are given. [`Store::clean_now`](crate::Store::clean_now) writes anew what is needed of it, and
    /// [`SegmentStats::key`](crate::SegmentStats::key) says which keys are needed still. The guide's chapter on
    /// [encryption](crate::guide::encryption) says what is encrypted, and what is not.
    ///
    /// [`open`](Self::open) and the others fail with the code `key-missing` if a key is needed that is not given, with
    /// `key-wrong` if another one was given under its name, with `bad-setting` if a name is there twice or this build
    /// lacks the feature. The store is as it was then.
    ///
    /// ```
    /// # #[cfg(feature = "encrypt")]
    /// # fn main() -> millpond::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let (first, second) = ([7; 32], [8; 32]);
    /// use millpond::{KeyId, Keys, Store};
    /// let store = Store::options().encryption(Keys::new(KeyId::new("first")?, &first)).open(dir.path())?;
    /// store.topic("orders")?.publish("4711").wait()?;
    /// store.close()?;
    /// assert_eq!(Store::open(dir.path()).unwrap_err().code(), "key-missing");
    ///
    /// let keys = Keys::new(KeyId::new("second")?, &second).older(KeyId::new("first")?, &first);
    /// let store = Store::options().encryption(keys).open(dir.path())?;
    /// let read = store.topic("orders")?.read(..).next().unwrap()?;
    /// assert_eq!(read.payload(), &b"4711"[..]);
    /// # store.close()
    /// # }
    /// # #[cfg(not(feature = "encrypt"))]
    /// # fn main() {}
    /// ```
    #[must_use]
    pub fn encryption(mut self, keys: Keys) -> Self {
        self.encryption = keys;
        self
    }

    /// [`Store::verify`](crate::Store::verify) with the keys of these options; nothing else of them matters.
    ///
    /// # Errors
    /// As there, and as [`encryption`](Self::encryption) says.
    pub fn verify(&self, path: impl AsRef<Path>, mut progress: impl FnMut(Progress)) -> Result<Report> {
        crate::engine::verify(&self.environment(path.as_ref())?, &mut progress)
    }

    /// [`Store::repair`](crate::Store::repair) with the keys of these options; nothing else of them matters.
    ///
    /// # Errors
    /// As there, and as [`encryption`](Self::encryption) says.
    pub fn repair(&self, path: impl AsRef<Path>) -> Result<Repaired> {
        crate::engine::repair(&self.environment(path.as_ref())?)
    }

    /// [`Store::salvage`](crate::Store::salvage) with the keys of these options; nothing else of them matters.
    ///
    /// # Errors
    /// As there, and as [`encryption`](Self::encryption) says.
    pub fn salvage(&self, path: impl AsRef<Path>) -> Result<Salvage> {
        Salvage::open(&self.environment(path.as_ref())?)
    }

    /// [`Store::dump`](crate::Store::dump) with the keys of these options; nothing else of them matters. Frames whose
    /// key is not among them are shown as `encrypted`, without what they say.
    ///
    /// # Errors
    /// As there, and as [`encryption`](Self::encryption) says of settings.
    pub fn dump(&self, path: impl AsRef<Path>, from: Lsn) -> Result<Dump> {
        Dump::open(&self.environment(path.as_ref())?, from)
    }

    /// [`Store::open_read_only`](crate::Store::open_read_only) with these options, as far as they concern reading.
    ///
    /// # Errors
    /// As there, and as [`encryption`](Self::encryption) says.
    pub fn open_read_only(self, path: impl AsRef<Path>) -> Result<ReadOnlyStore> {
        self.check()?;
        ReadOnlyStore::open(Environment::on_disk(path.as_ref()), self)
    }

    fn environment(&self, path: &Path) -> Result<Environment> {
        self.encryption.check()?;
        Ok(Environment::on_disk(path).with_keys(&self.encryption))
    }
}

/// For tests and the simulator; no promise of stability covers it.
#[cfg(feature = "testing")]
impl Options {
    /// [`verify`](Self::verify) of a store on a simulated disk.
    ///
    /// # Errors
    /// As there.
    pub fn verify_simulated(&self, disk: &crate::engine::SimDisk, clock: crate::clock::ManualClock) -> Result<Report> {
        crate::engine::verify(&self.simulated(disk, clock, 0)?, &mut |_| ())
    }

    /// [`repair`](Self::repair) of a store on a simulated disk.
    ///
    /// # Errors
    /// As there.
    pub fn repair_simulated(
        &self,
        disk: &crate::engine::SimDisk,
        clock: crate::clock::ManualClock,
        seed: u64,
    ) -> Result<Repaired> {
        crate::engine::repair(&self.simulated(disk, clock, seed)?)
    }

    /// [`salvage`](Self::salvage) of a store on a simulated disk.
    ///
    /// # Errors
    /// As there.
    pub fn salvage_simulated(
        &self,
        disk: &crate::engine::SimDisk,
        clock: crate::clock::ManualClock,
    ) -> Result<Salvage> {
        Salvage::open(&self.simulated(disk, clock, 0)?)
    }

    fn simulated(
        &self,
        disk: &crate::engine::SimDisk,
        clock: crate::clock::ManualClock,
        seed: u64,
    ) -> Result<Environment> {
        self.encryption.check()?;
        let tables = crate::testing::SimTables::default();
        Ok(Environment::simulated(disk, &tables.0, clock, seed).with_keys(&self.encryption))
    }
}
