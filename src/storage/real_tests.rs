//! What the real disk promises, on this machine's own.

use super::*;
use crate::storage::{contract, write_all_at};
use std::os::unix::fs::{PermissionsExt, symlink};
use tempfile::TempDir;

fn store() -> (TempDir, RealDisk) {
    let directory = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(directory.path().join("store"));
    disk.create_directories().unwrap();
    (directory, disk)
}

fn refusal(disk: &RealDisk, name: &str, access: Access) -> String {
    let error = disk.open(name, access).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    error.to_string()
}

fn pipe(path: &Path) {
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
}

#[test]
fn the_contract_holds_on_the_real_disk() {
    let directory = tempfile::tempdir().unwrap();
    contract::holds(&RealDisk::new(directory.path().join("store")));
}

#[test]
fn lacking_parents_are_made_and_closed_to_others() {
    let directory = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(directory.path().join("a/b/store"));
    disk.create_directories().unwrap();
    disk.open("identity", Access::Create).unwrap();
    for (name, mode) in
        [("a", 0o700), ("a/b/store", 0o700), ("a/b/store/journal", 0o700), ("a/b/store/identity", 0o600)]
    {
        let found = fs::metadata(directory.path().join(name)).unwrap().permissions().mode();
        assert_eq!(found & 0o777, mode, "{name}");
    }
}

#[test]
fn a_store_behind_a_link_is_the_users_choice() {
    let (directory, disk) = store();
    let link = directory.path().join("link");
    symlink(disk.path(), &link).unwrap();
    let linked = RealDisk::new(&link);
    linked.create_directories().unwrap();
    linked.open("identity", Access::Create).unwrap();
    assert_eq!(disk.list("").unwrap().len(), 2);
}

#[test]
fn a_file_where_a_directory_should_be_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("file"), b"mine").unwrap();
    for below in ["file", "file/store"] {
        let error = RealDisk::new(directory.path().join(below)).create_directories().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotADirectory, "{error}");
    }
    let (_directory, disk) = store();
    fs::remove_dir(disk.path().join("journal")).unwrap();
    fs::write(disk.path().join("journal"), b"mine").unwrap();
    for error in [disk.create_directories().unwrap_err(), disk.list("journal").unwrap_err()] {
        assert_eq!(error.to_string(), "\"journal\" is a regular file, not a directory");
    }
}

#[test]
fn links_are_not_followed() {
    let (directory, disk) = store();
    let outside = directory.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), b"precious").unwrap();
    symlink(outside.join("file"), disk.path().join("identity")).unwrap();
    for access in [Access::Read, Access::Write] {
        assert_eq!(refusal(&disk, "identity", access), "\"identity\" is a symbolic link, not a regular file");
    }
    assert_eq!(disk.open("identity", Access::Create).unwrap_err().kind(), ErrorKind::AlreadyExists);
    fs::remove_dir(disk.path().join("journal")).unwrap();
    symlink(&outside, disk.path().join("journal")).unwrap();
    for error in [
        disk.create_directories().unwrap_err(),
        disk.list("journal").unwrap_err(),
        disk.open("journal/file", Access::Read).unwrap_err(),
        disk.open("journal/new", Access::Create).unwrap_err(),
        disk.rename("journal/file", "journal/mine").unwrap_err(),
        disk.remove("journal/file").unwrap_err(),
        disk.sync_dir("journal").unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotADirectory);
    }
    assert_eq!(fs::read(outside.join("file")).unwrap(), b"precious");
}

#[test]
fn a_pipe_is_refused_without_waiting_for_somebody_at_its_other_end() {
    let (_directory, disk) = store();
    pipe(&disk.path().join("identity"));
    for access in [Access::Read, Access::Write] {
        assert_eq!(refusal(&disk, "identity", access), "\"identity\" is a pipe, not a regular file");
    }
}

#[test]
fn a_link_or_a_pipe_put_there_after_the_look_is_neither_followed_nor_waited_for() {
    let (_directory, disk) = store();
    symlink("/dev/null", disk.path().join("link")).unwrap();
    pipe(&disk.path().join("pipe"));
    let mut options = OpenOptions::new();
    guard(options.read(true));
    options.open(disk.path().join("link")).unwrap_err();
    options.open(disk.path().join("pipe")).unwrap();
}

#[test]
fn a_directory_is_not_opened_as_a_file() {
    let (_directory, disk) = store();
    assert_eq!(refusal(&disk, "journal", Access::Read), "\"journal\" is a directory, not a regular file");
}

#[test]
fn listing_tells_files_from_directories_and_from_everything_else() {
    use std::os::unix::ffi::OsStrExt;
    let (_directory, disk) = store();
    write_all_at(&*disk.open("file", Access::Create).unwrap(), b"four", 0).unwrap();
    symlink("/dev/zero", disk.path().join("zeros")).unwrap();
    pipe(&disk.path().join("pipe"));
    fs::write(disk.path().join(std::ffi::OsStr::from_bytes(b"bad\xFF")), b"?").unwrap();
    let mut entries = disk.list("").unwrap();
    entries.sort_by(|one, other| one.name.cmp(&other.name));
    let found: Vec<_> = entries.iter().map(|entry| (entry.name.as_str(), entry.kind, entry.len)).collect();
    let expected = [
        ("bad\u{FFFD}", EntryKind::Other, 0),
        ("file", EntryKind::File, 4),
        ("journal", EntryKind::Directory, 0),
        ("pipe", EntryKind::Other, 0),
        ("zeros", EntryKind::Other, 0),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_second_name_of_a_file_is_noticed() {
    let (_directory, disk) = store();
    let file = disk.open("file", Access::Create).unwrap();
    fs::hard_link(disk.path().join("file"), disk.path().join("again")).unwrap();
    assert_eq!(file.links().unwrap(), 2);
}

#[test]
fn preallocation_takes_the_space() {
    use std::os::unix::fs::MetadataExt;
    let (_directory, disk) = store();
    let file = disk.open("file", Access::Create).unwrap();
    file.allocate(1 << 20).unwrap();
    let metadata = fs::metadata(disk.path().join("file")).unwrap();
    assert_eq!(metadata.len(), 1 << 20);
    assert!(metadata.blocks() * 512 >= 1 << 20, "this file system reserves nothing");
}

#[test]
fn linux_has_a_boot_id() {
    assert_eq!(boot_id().len(), 36);
}
