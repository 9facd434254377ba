//! The identity of a store whose identity is damaged.

use super::super::open::{known_identity, read_identity};
use crate::clock::{Clock, Entropy};
use crate::error::{Code, Error, ErrorKind, Result};
use crate::journal::{IDENTITY, IDENTITY_LENGTH, Identity, mend_identity, store_of_segments};
use crate::storage::{Access, Storage, read_up_to, write_all_at};
use std::io;

/// The name of an identity that was made out and is not in its place yet.
const REPAIRED: &str = "identity.repaired";

/// An identity, and what had to be done to have it; nothing if it is as it should be.
pub(super) struct Known {
    pub(super) identity: Identity,
    pub(super) mended: Option<String>,
}

/// The identity as it stands, or as it can be made out. Whoever only reads gets one too when its key is lost: ids are
/// all that the key is for.
pub(super) fn find(storage: &dyn Storage, clock: &dyn Clock, entropy: &dyn Entropy) -> Result<Known> {
    let error = match known_identity(storage) {
        Ok(Some(identity)) => {
            let others = store_of_segments(storage).filter(|store| *store != identity.store);
            return match others {
                None => Ok(Known { identity, mended: None }),
                Some(store) => {
                    let what = format!(
                        "the identity is of store {}, and all segments are of store {store}: put the right file there",
                        identity.store
                    );
                    Err(Error::new(Code::IdentityDamaged, what))
                }
            };
        }
        Ok(None) => Error::new(Code::NoSuchStore, "there is no store at this path"),
        Err(error) if matches!(error.kind(), ErrorKind::Unsupported) => return Err(error),
        Err(error) => error,
    };
    // A repair was cut short between the two renames.
    if let Some(Ok(identity)) = read_identity(storage, REPAIRED)? {
        let mended = Some("the identity was damaged; what it said was made out earlier".to_owned());
        return Ok(Known { identity, mended });
    }
    let damaged = match storage.open(IDENTITY, Access::Read) {
        Ok(file) => {
            let mut bytes = vec![0; IDENTITY_LENGTH];
            let read = read_up_to(&*file, &mut bytes, 0).map_err(|source| Error::io("reading the identity", source))?;
            mend_identity(bytes.get(..read).unwrap_or_default())
        }
        Err(_) => None,
    };
    if let Some(identity) = damaged {
        let mended = Some("the identity was damaged; what it said was made out".to_owned());
        return Ok(Known { identity, mended });
    }
    let Some(store) = store_of_segments(storage) else { return Err(error) };
    let made = Identity::create(entropy, clock.wall());
    let mut identity = made.map_err(|source| Error::io("asking for randomness", source))?;
    identity.store = store;
    let mended = "the identity was lost; a new one was made for the segments there are, with a new key: ids that were \
                  published or processed before are not known again";
    Ok(Known { identity, mended: Some(mended.to_owned()) })
}

/// Puts an identity that was made out in its place; what was there is moved aside by `set_aside`.
pub(super) fn restore(
    storage: &dyn Storage,
    identity: &Identity,
    set_aside: &mut dyn FnMut(&str) -> io::Result<()>,
) -> io::Result<()> {
    match storage.remove(REPAIRED) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = storage.open(REPAIRED, Access::Create)?;
    write_all_at(&*file, &identity.encode(), 0)?;
    file.sync()?;
    set_aside(IDENTITY)?;
    storage.rename(REPAIRED, IDENTITY)?;
    storage.sync_dir("")
}
