//! The small file that makes a directory a store: written once, before everything else.

use crate::clock::Entropy;
use crate::types::{StoreId, Timestamp};
use std::io;

/// Its name, and the name it has until the first segment is there: a store whose creation was cut short has only the
/// second, and its creation is simply begun again.
pub(crate) const IDENTITY: &str = "identity";
pub(crate) const IDENTITY_UNFINISHED: &str = "identity.new";

const MAGIC: &[u8; 8] = b"MILLPOND";

/// The format of the whole store that this release writes.
pub(crate) const STORE_VERSION: u16 = 1;

/// SipHash-1-3 with 128-bit output.
pub(crate) const HASH_SIPHASH13_128: u16 = 1;

/// Incompatible features that this release understands: none yet.
const INCOMPAT_KNOWN: u32 = 0;

/// The file's length in bytes.
pub(crate) const IDENTITY_LENGTH: usize = 64;

/// What the file says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) store: StoreId,
    /// The key under which ids are hashed.
    pub(crate) hash_key: [u8; 16],
    pub(crate) created: Timestamp,
    /// Features that a release which doesn't know them may ignore.
    pub(crate) compat: u32,
}

impl std::fmt::Debug for Identity {
    /// The hash key is a secret and stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("store", &self.store).field("created", &self.created).finish_non_exhaustive()
    }
}

/// Why a file is not an identity that this release can use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadIdentity {
    #[error("it is not {IDENTITY_LENGTH} bytes long")]
    Length,
    #[error("its checksum does not fit its bytes")]
    Damaged,
    #[error("it has format version {0}, newer than this release reads")]
    Future(u16),
    #[error("it needs features (bits {0:#x}) that this release does not have")]
    Features(u32),
    #[error("it hashes ids with algorithm {0}, which this release does not have")]
    Hash(u16),
}

impl Identity {
    /// A new store's identity.
    pub(crate) fn create(entropy: &dyn Entropy, created: Timestamp) -> io::Result<Self> {
        let (mut store, mut hash_key) = ([0; 16], [0; 16]);
        entropy.fill(&mut store)?;
        entropy.fill(&mut hash_key)?;
        Ok(Self { store: StoreId(store), hash_key, created, compat: 0 })
    }

    /// The file's bytes.
    pub(crate) fn encode(&self) -> [u8; IDENTITY_LENGTH] {
        let mut bytes = Vec::with_capacity(IDENTITY_LENGTH);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&STORE_VERSION.to_le_bytes());
        bytes.extend_from_slice(&HASH_SIPHASH13_128.to_le_bytes());
        bytes.extend_from_slice(&self.compat.to_le_bytes());
        bytes.extend_from_slice(&0u32.to_le_bytes());
        bytes.extend_from_slice(&self.store.bytes());
        bytes.extend_from_slice(&self.hash_key);
        bytes.extend_from_slice(&self.created.get().to_le_bytes());
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        let mut file = [0; IDENTITY_LENGTH];
        for (place, byte) in file.iter_mut().zip(bytes) {
            *place = byte;
        }
        file
    }

    /// Reads the file's bytes. The version is looked at before the rest is believed to have this shape, and the
    /// checksum before the version: a future format keeps magic, version and a checksum in the last four bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, BadIdentity> {
        let (covered, crc) = bytes.split_last_chunk::<4>().ok_or(BadIdentity::Length)?;
        if !covered.starts_with(MAGIC) || crc32fast::hash(covered) != u32::from_le_bytes(*crc) {
            return Err(BadIdentity::Damaged);
        }
        let version = u16::from_le_bytes(field(covered, 8)?);
        if version != STORE_VERSION {
            return Err(BadIdentity::Future(version));
        }
        if bytes.len() != IDENTITY_LENGTH {
            return Err(BadIdentity::Length);
        }
        let incompat = u32::from_le_bytes(field(covered, 16)?) & !INCOMPAT_KNOWN;
        if incompat != 0 {
            return Err(BadIdentity::Features(incompat));
        }
        let hash = u16::from_le_bytes(field(covered, 10)?);
        if hash != HASH_SIPHASH13_128 {
            return Err(BadIdentity::Hash(hash));
        }
        Ok(Self {
            store: StoreId(field(covered, 20)?),
            hash_key: field(covered, 36)?,
            created: Timestamp(u64::from_le_bytes(field(covered, 52)?)),
            compat: u32::from_le_bytes(field(covered, 12)?),
        })
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], BadIdentity> {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or(BadIdentity::Length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity { store: StoreId([7; 16]), hash_key: [9; 16], created: Timestamp(1_700_000_000_000), compat: 0 }
    }

    fn resealed(mut bytes: [u8; IDENTITY_LENGTH]) -> [u8; IDENTITY_LENGTH] {
        let crc = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    #[test]
    fn the_file_has_these_bytes() {
        let hex: String = identity().encode().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "4d494c4c504f4e4401000100000000000000000007070707070707070707070707070707\
             09090909090909090909090909090909\
             0068e5cf8b010000e7e46b13"
        );
    }

    #[test]
    fn it_reads_back_and_every_flipped_bit_is_noticed() {
        let bytes = identity().encode();
        assert_eq!(Identity::decode(&bytes), Ok(identity()));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Identity::decode(&damaged), Err(BadIdentity::Damaged));
        }
        for length in 0..bytes.len() {
            assert!(Identity::decode(&bytes[..length]).is_err());
        }
    }

    #[test]
    fn future_versions_features_and_hashes_are_refused_by_name() {
        let mut future = identity().encode();
        future[8] = 2;
        assert_eq!(Identity::decode(&resealed(future)), Err(BadIdentity::Future(2)));
        let mut features = identity().encode();
        features[16] = 4;
        assert_eq!(Identity::decode(&resealed(features)), Err(BadIdentity::Features(4)));
        let mut hash = identity().encode();
        hash[10] = 2;
        assert_eq!(Identity::decode(&resealed(hash)), Err(BadIdentity::Hash(2)));
        let mut compat = identity().encode();
        compat[12] = 1;
        assert_eq!(Identity::decode(&resealed(compat)).map(|found| found.compat), Ok(1));
    }
}
