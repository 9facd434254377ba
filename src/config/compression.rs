//! [`Compression`]: how the messages of a topic stand on the disk.

use super::TopicSettings;
use crate::error::{Code, Error, Result};

/// How the messages of a topic are written; see [`TopicSettings::compression`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// As they are: the default.
    #[default]
    Off,
    /// Packed as blocks of LZ4: quick, and about half as long for text. Needs the feature `lz4`.
    Lz4,
}

impl Compression {
    /// Refuses what this build can't do.
    pub(crate) fn check(self) -> Result<()> {
        if self == Self::Off || cfg!(feature = "lz4") {
            return Ok(());
        }
        let what = "`compression` is `Lz4`, which this build can't do: build millpond with the feature `lz4`";
        Err(Error::new(Code::BadSetting, what))
    }
}

impl TopicSettings {
    /// How the messages of the topic are written (default: [`Compression::Off`]). A change goes for what is published,
    /// or cleaned, from then on; what was written before stays as it is, and all of it is read.
    ///
    /// What is published in one call is packed as one, so batches gain most, and single short messages nothing: what
    /// does not become shorter is written as it is. Messages of a transaction, of an import, and those that waited for
    /// room are not packed before they are cleaned. All sizes that are counted and limited are those before packing,
    /// but for what the disk holds. To read one message, its batch is unpacked.
    ///
    /// A build without the feature `lz4` refuses the setting. A store with packed messages is not opened, or they are
    /// not read, by a build without it: the error says so, and nothing is lost.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = Some(compression);
        self
    }
}
