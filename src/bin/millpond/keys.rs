//! `--key-file`: the keys of an encrypted store.

use crate::failure::Failure;
use millpond::{KeyId, Keys, Options, Store};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::OnceLock;

/// No file of keys is longer.
const MOST_BYTES: u64 = 64 << 10;

/// Given once, for whatever the command opens.
static KEYS: OnceLock<Keys> = OnceLock::new();

/// The settings that every command opens a store with: the defaults, and the keys.
pub(crate) fn options() -> Options {
    Store::options().encryption(KEYS.get().cloned().unwrap_or_default())
}

/// Reads the keys of `file` for all that follows.
#[expect(clippy::disallowed_methods, reason = "it is no file of a store")]
pub(crate) fn read(file: &Path) -> Result<(), Failure> {
    let failed = |what: String| Failure::refused(format!("{}: {what}", file.display()));
    let mut text = String::new();
    let opened = File::open(file).map_err(|error| failed(error.to_string()))?;
    opened.take(MOST_BYTES).read_to_string(&mut text).map_err(|error| failed(error.to_string()))?;
    _ = KEYS.set(parse(&text).map_err(failed)?);
    Ok(())
}

/// One key a line: its name, a space, 64 hexadecimal digits. The first is for all that is written; lines that begin
/// with `#` say nothing. What is wrong is told by its line, without the key.
fn parse(text: &str) -> Result<Keys, String> {
    let mut keys: Option<Keys> = None;
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |what: &str| format!("line {}: {what}", at + 1);
        let (name, digits) =
            line.split_once(char::is_whitespace).ok_or_else(|| wrong("a name and a key are needed"))?;
        let id = KeyId::new(name).map_err(|error| wrong(&error.to_string()))?;
        let key = hexadecimal(digits.trim()).ok_or_else(|| wrong("a key is 64 hexadecimal digits"))?;
        keys = Some(keys.map_or_else(|| Keys::new(id, &key), |keys| keys.older(id, &key)));
    }
    keys.ok_or_else(|| "there is no key in it".to_owned())
}

fn hexadecimal(digits: &str) -> Option<[u8; 32]> {
    let mut key = [0; 32];
    let fits = digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    for (at, byte) in key.iter_mut().enumerate().filter(|_| fits) {
        *byte = u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    fits.then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_current_key_first_and_what_is_wrong_is_told_without_it() {
        let digits = "00ff".repeat(16);
        let keys = parse(&format!("# of this year\n2026 {digits}\n\n2025\t{digits}\n")).unwrap();
        assert_eq!(format!("{keys:?}"), "Keys { current: 2026, older: [2025] }");
        assert_eq!(hexadecimal(&digits).map(|key| (key[0], key[1], key[31])), Some((0, 255, 255)));
        for (text, told) in [
            ("", "there is no key in it"),
            ("2026", "line 1: a name and a key are needed"),
            ("\n2026 00ff", "line 2: a key is 64 hexadecimal digits"),
            ("2026 +0ff", "line 1: a key is 64 hexadecimal digits"),
        ] {
            assert_eq!(parse(text).unwrap_err(), told);
        }
        assert!(parse(&format!("a-name-of-seventeen {digits}")).unwrap_err().contains("1 to 16 characters"));
    }
}
