//! [`Keys`]: what a store is encrypted with, and what it was encrypted with before.

use super::cipher::Cipher;
use crate::error::{Code, Error, Result};
use std::fmt;

/// The name of a key: one to 16 characters of printable ASCII without spaces, such as `2026-11`. It stands in the clear
/// at the head of each segment that was written with the key, so that the right one can be found; the key itself is
/// nowhere on the disk.
///
/// ```
/// use millpond::KeyId;
/// assert_eq!(KeyId::new("2026-11")?.to_string(), "2026-11");
/// assert!(KeyId::new("the key of november").is_err());
/// # Ok::<(), millpond::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; KeyId::LENGTH]);

impl KeyId {
    /// The most bytes a name has.
    pub const LENGTH: usize = 16;

    /// The key's name.
    ///
    /// # Errors
    /// `Misuse` with the code `bad-name` if it is empty, too long, or has other characters.
    pub fn new(name: &str) -> Result<Self> {
        let mut bytes = [0; Self::LENGTH];
        let fits = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
        match bytes.get_mut(..name.len()) {
            Some(place) if fits => {
                place.copy_from_slice(name.as_bytes());
                Ok(Self(bytes))
            }
            _ => {
                Err(Error::new(Code::BadName, "a key's name is 1 to 16 characters of printable ASCII, without spaces"))
            }
        }
    }

    /// As it stands in a segment's header.
    pub(crate) const fn bytes(self) -> [u8; Self::LENGTH] {
        self.0
    }

    /// What a segment's header says; nothing if that is zeros.
    pub(crate) fn of_bytes(bytes: [u8; Self::LENGTH]) -> Option<Self> {
        (bytes != [0; Self::LENGTH]).then_some(Self(bytes))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = self.0.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        write!(f, "{}", self.0.get(..length).unwrap_or_default().escape_ascii())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// The keys of a store, for [`Options::encryption`](crate::Options::encryption): the one that everything new is
/// encrypted with, and those that older segments may need. Needs the feature `encrypt`.
///
/// `Debug` shows the names only; the keys are overwritten in memory when the last clone goes. Where they come from is
/// up to the program: a key management service, a file that only its user can read. A key that is lost is lost with all
/// that it has encrypted.
///
/// ```
/// use millpond::{KeyId, Keys};
/// # let (this_year, last_year) = ([7; 32], [8; 32]);
/// let keys = Keys::new(KeyId::new("2026")?, &this_year).older(KeyId::new("2025")?, &last_year);
/// assert_eq!(format!("{keys:?}"), "Keys { current: 2026, older: [2025] }");
/// # Ok::<(), millpond::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Keys {
    current: Option<KeyId>,
    ring: Vec<(KeyId, Cipher)>,
}

impl Keys {
    /// Everything new is encrypted with this key: 32 bytes that nobody can guess, from a generator of keys and not
    /// typed by a person.
    #[must_use]
    pub fn new(id: KeyId, key: &[u8; 32]) -> Self {
        Self { current: Some(id), ring: vec![(id, Cipher::new(key))] }
    }

    /// Nothing new is encrypted. With [`older`](Self::older) keys, a store that was encrypted goes back to plain text,
    /// a segment after the other.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// One more key, to read what it has encrypted.
    #[must_use]
    pub fn older(mut self, id: KeyId, key: &[u8; 32]) -> Self {
        self.ring.push((id, Cipher::new(key)));
        self
    }

    /// The key that everything new is encrypted with.
    pub(crate) fn current(&self) -> Option<(KeyId, &Cipher)> {
        let id = self.current?;
        self.find(id).map(|cipher| (id, cipher))
    }

    pub(crate) fn find(&self, id: KeyId) -> Option<&Cipher> {
        self.ring.iter().find(|(known, _)| *known == id).map(|(_, cipher)| cipher)
    }

    /// Whether there is none at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Their names, for an error.
    pub(crate) fn names(&self) -> String {
        let names: Vec<String> = self.ring.iter().map(|(id, _)| format!("{:?}", id.to_string())).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }

    /// Refuses what this build can't do, and what can't be meant.
    pub(crate) fn check(&self) -> Result<()> {
        if !self.is_empty() && !cfg!(feature = "encrypt") {
            let what = "keys were given, which this build can't use: build millpond with the feature `encrypt`";
            return Err(Error::new(Code::BadSetting, what));
        }
        let twice = |(at, (id, _)): &(usize, &(KeyId, Cipher))| self.ring.iter().take(*at).any(|(one, _)| one == id);
        match self.ring.iter().enumerate().find(twice) {
            None => Ok(()),
            Some((_, (id, _))) => {
                let what = format!("there are two keys of the name {:?}: each key has its own", id.to_string());
                Err(Error::new(Code::BadSetting, what))
            }
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let older = self.ring.iter().map(|(id, _)| *id).filter(|id| Some(*id) != self.current);
        let names = |ids: Vec<KeyId>| ids.iter().map(KeyId::to_string).collect::<Vec<_>>().join(", ");
        let current = self.current.map_or_else(|| "none".to_owned(), |id| id.to_string());
        write!(f, "Keys {{ current: {current}, older: [{}] }}", names(older.collect()))
    }
}

impl PartialEq for Keys {
    /// By their names.
    fn eq(&self, other: &Self) -> bool {
        self.current == other.current && self.ring.iter().map(|(id, _)| id).eq(other.ring.iter().map(|(id, _)| id))
    }
}

impl Eq for Keys {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_printable_and_reads_back() {
        for bad in ["", "a name", "seventeen-letters", "schl\u{fc}ssel", "new\nline"] {
            assert_eq!(KeyId::new(bad).unwrap_err().code(), "bad-name", "{bad:?}");
        }
        let id = KeyId::new("sixteen-letters.").unwrap();
        assert_eq!(KeyId::of_bytes(id.bytes()), Some(id));
        assert_eq!(KeyId::of_bytes([0; 16]), None);
        let forged = KeyId::of_bytes([b'a', 0, 7, b'"', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        assert_eq!(forged.to_string(), r#"a\x00\x07\""#);
    }

    #[test]
    fn no_key_is_shown_and_no_name_is_there_twice() {
        let id = |name| KeyId::new(name).unwrap();
        let keys = Keys::new(id("b"), &[0xab; 32]).older(id("a"), &[0xcd; 32]);
        let shown = format!("{keys:?} {:?}", crate::config::Options { encryption: keys.clone(), ..Default::default() });
        assert!(shown.contains("current: b") && !shown.contains("171") && !shown.contains("ab, "), "{shown}");
        assert_eq!(keys.check().is_ok(), cfg!(feature = "encrypt"));
        assert_eq!(keys.older(id("b"), &[1; 32]).check().unwrap_err().code(), "bad-setting");
        assert!(Keys::none().check().is_ok());
    }
}
