//! The directory of the tables, before sled is let into it: sled follows links, waits for pipes and believes in sizes,
//! so it is shown nothing but ordinary files of its own. And how what was there is set aside, without a file of
//! somebody else's being removed.

#![expect(clippy::disallowed_methods, reason = "sled does its own input and output: this looks before it does")]

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

/// No database of ours comes near that: a million processed ids are some 100 MB in it. sled looks at every half MiB of
/// what the file claims to be.
const MOST_BYTES: u64 = 16 << 30;

/// Its settings are a hundred bytes, and are read whole.
const MOST_CONF: u64 = 64 << 10;

/// A snapshot, which is read whole too, is a part of the database's bytes, but for a little that it begins with.
const SNAPSHOT_ALONE: u64 = 1 << 20;

/// Names under which something is kept that is not to be removed.
const KEPT: u32 = 1_000;

fn strange(path: &Path, what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("{} is {what}", path.display()))
}

/// What is there under a name, if anything; a link is a link.
fn found(path: &Path) -> Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_sleds(name: &OsStr) -> bool {
    name == "db" || name == "conf" || name.to_str().is_some_and(|name| name.starts_with("snap."))
}

#[cfg(unix)]
fn has_other_names(metadata: &Metadata) -> bool {
    std::os::unix::fs::MetadataExt::nlink(metadata) > 1
}

#[cfg(not(unix))]
fn has_other_names(_: &Metadata) -> bool {
    false
}

fn check_file(path: &Path, most: u64) -> Result<()> {
    let Some(metadata) = found(path)? else { return Ok(()) };
    if !metadata.is_file() {
        return Err(strange(path, "no file, but something in the place of one"));
    }
    if has_other_names(&metadata) {
        return Err(strange(path, "a file that has another name elsewhere"));
    }
    if metadata.len() > most {
        return Err(strange(path, "larger than any that was ever written here"));
    }
    Ok(())
}

fn check_directory(path: &Path) -> Result<bool> {
    match found(path)? {
        None => Ok(false),
        Some(metadata) if metadata.is_dir() => Ok(true),
        Some(_) => Err(strange(path, "no directory, but something in the place of one")),
    }
}

/// Whether sled may be let into this directory: an error says what is in its way.
pub(super) fn check(directory: &Path) -> Result<()> {
    if !check_directory(directory)? {
        return Ok(());
    }
    let database = found(&directory.join("db"))?.map_or(0, |metadata| metadata.len());
    for entry in fs::read_dir(directory)? {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        if name == "db" {
            check_file(&path, MOST_BYTES)?;
        } else if name == "conf" {
            check_file(&path, MOST_CONF)?;
        } else if is_sleds(&name) {
            check_file(&path, database.saturating_add(SNAPSHOT_ALONE))?;
        }
    }
    let blobs = directory.join("blobs");
    if check_directory(&blobs)? {
        for entry in fs::read_dir(&blobs)? {
            check_file(&entry?.path(), MOST_BYTES)?;
        }
    }
    Ok(())
}

/// Gives what is in the directory's place another name, for whoever wants to look at it. What was set aside before
/// goes, as far as it is sled's: it tells nothing new, and they must not pile up.
pub(super) fn set_aside(directory: &Path) -> Result<()> {
    let aside = directory.with_extension("aside");
    if found(&aside)?.is_some() && !remove_sleds(&aside)? {
        fs::rename(&aside, free_name(directory)?)?;
    }
    match fs::rename(directory, &aside) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Removes what is sled's in a directory, and the directory if nothing else was in it. Whether it is gone.
fn remove_sleds(directory: &Path) -> Result<bool> {
    if !fs::symlink_metadata(directory)?.is_dir() {
        return Ok(false);
    }
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let (kind, name) = (entry.file_type()?, entry.file_name());
        if kind.is_file() && is_sleds(&name) {
            fs::remove_file(entry.path())?;
        } else if kind.is_dir() && name == "blobs" {
            for blob in fs::read_dir(entry.path())? {
                let blob = blob?;
                let number = blob.file_name().to_str().is_some_and(|name| name.parse::<i64>().is_ok());
                if number && blob.file_type()?.is_file() {
                    fs::remove_file(blob.path())?;
                }
            }
            gone(fs::remove_dir(entry.path()))?;
        }
    }
    gone(fs::remove_dir(directory))
}

/// Whether a directory could be removed; one that has something in it can't.
fn gone(outcome: Result<()>) -> Result<bool> {
    match outcome {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Ok(false),
        Err(error) => Err(error),
    }
}

fn free_name(directory: &Path) -> Result<PathBuf> {
    for number in 1..=KEPT {
        let name = directory.with_extension(format!("aside.{number}"));
        if found(&name)?.is_none() {
            return Ok(name);
        }
    }
    Err(strange(directory, "beside too many directories that were set aside and hold what is not the store's"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_aside_a_second_time_takes_no_file_of_somebody_else_along() {
        let root = tempfile::tempdir().unwrap();
        let (tables, aside) = (root.path().join("tables"), root.path().join("tables.aside"));
        for round in 0..3 {
            fs::create_dir_all(tables.join("blobs")).unwrap();
            for name in ["db", "conf", "snap.0000000000000001", "blobs/-12"] {
                fs::write(tables.join(name), b"x").unwrap();
            }
            check(&tables).unwrap();
            if round == 0 {
                fs::write(tables.join("notes.txt"), b"mine").unwrap();
            }
            set_aside(&tables).unwrap();
            assert!(!tables.exists() && aside.join("db").exists());
        }
        let kept = root.path().join("tables.aside.1");
        assert_eq!(fs::read(kept.join("notes.txt")).unwrap(), b"mine");
        assert!(!kept.join("db").exists() && !root.path().join("tables.aside.2").exists());
        set_aside(&tables).unwrap();
    }

    #[test]
    fn something_else_in_the_place_of_what_was_set_aside_stays() {
        let root = tempfile::tempdir().unwrap();
        let tables = root.path().join("tables");
        fs::write(root.path().join("tables.aside"), b"mine").unwrap();
        fs::write(&tables, b"no directory").unwrap();
        assert!(check(&tables).is_err());
        set_aside(&tables).unwrap();
        assert_eq!(fs::read(root.path().join("tables.aside.1")).unwrap(), b"mine");
        assert_eq!(fs::read(root.path().join("tables.aside")).unwrap(), b"no directory");
    }

    #[test]
    #[cfg(unix)]
    fn sled_is_shown_no_link() {
        let root = tempfile::tempdir().unwrap();
        let tables = root.path().join("tables");
        let victim = root.path().join("victim");
        fs::write(&victim, b"mine").unwrap();
        fs::create_dir(&tables).unwrap();
        std::os::unix::fs::symlink(&victim, tables.join("db")).unwrap();
        assert!(check(&tables).unwrap_err().to_string().contains("in the place of one"));
        fs::remove_file(tables.join("db")).unwrap();
        fs::hard_link(&victim, tables.join("db")).unwrap();
        assert!(check(&tables).unwrap_err().to_string().contains("another name"));
    }
}
