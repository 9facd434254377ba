//! What every disk must do, simulated or real: the same checks for both.

use super::{Access, Entry, EntryKind, Lock, Storage, read_exact_at, read_up_to, write_all_at};
use std::io::ErrorKind;

/// Runs all checks on a disk without a store.
pub(super) fn holds(disk: &dyn Storage) {
    assert_eq!(disk.list("").unwrap_err().kind(), ErrorKind::NotFound);
    disk.create_directories().unwrap();
    disk.create_directories().unwrap();
    assert_eq!(disk.list("journal").unwrap(), []);
    assert_eq!(disk.list("nothing").unwrap_err().kind(), ErrorKind::NotFound);
    files_are_created_once_and_found_again(disk);
    bytes_are_read_as_written(disk);
    preallocated_bytes_are_zeros_and_the_length_never_shrinks(disk);
    names_change_at_once(disk);
    locks_exclude_each_other(disk);
    assert!(disk.free_space().unwrap() > 0);
    assert_eq!(disk.boot_id(), disk.boot_id());
}

fn files_are_created_once_and_found_again(disk: &dyn Storage) {
    assert_eq!(disk.open("journal/1", Access::Write).unwrap_err().kind(), ErrorKind::NotFound);
    let file = disk.open("journal/1", Access::Create).unwrap();
    assert_eq!((file.len().unwrap(), file.links().unwrap()), (0, 1));
    assert_eq!(disk.open("journal/1", Access::Create).unwrap_err().kind(), ErrorKind::AlreadyExists);
    disk.sync_dir("journal").unwrap();
    disk.open("journal/1", Access::Read).unwrap();
    assert_eq!(disk.open("nowhere/1", Access::Create).unwrap_err().kind(), ErrorKind::NotFound);
    let expected = Entry { name: "journal".into(), kind: EntryKind::Directory, len: 0 };
    assert_eq!(disk.list("").unwrap(), [expected]);
}

fn bytes_are_read_as_written(disk: &dyn Storage) {
    let file = disk.open("journal/1", Access::Write).unwrap();
    write_all_at(&*file, b"0123456789", 5).unwrap();
    write_all_at(&*file, b"abc", 7).unwrap();
    file.sync().unwrap();
    assert_eq!(file.len().unwrap(), 15);
    let other = disk.open("journal/1", Access::Read).unwrap();
    let mut buffer = [9; 15];
    read_exact_at(&*other, &mut buffer, 0).unwrap();
    assert_eq!(&buffer, b"\0\0\0\0\x0001abc56789");
    assert_eq!(read_up_to(&*other, &mut buffer, 12).unwrap(), 3);
    assert_eq!(read_up_to(&*other, &mut buffer, 15).unwrap(), 0);
    assert_eq!(read_up_to(&*other, &mut buffer, 1 << 40).unwrap(), 0);
    assert_eq!(read_exact_at(&*other, &mut buffer, 1).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    other.write_at(b"x", 0).unwrap_err();
    assert_eq!(disk.list("journal").unwrap(), [Entry { name: "1".into(), kind: EntryKind::File, len: 15 }]);
}

fn preallocated_bytes_are_zeros_and_the_length_never_shrinks(disk: &dyn Storage) {
    let file = disk.open("journal/1", Access::Write).unwrap();
    file.allocate(0).unwrap();
    file.allocate(8192).unwrap();
    file.allocate(100).unwrap();
    assert_eq!(file.len().unwrap(), 8192);
    let mut buffer = [9; 20];
    read_exact_at(&*file, &mut buffer, 14).unwrap();
    assert_eq!((buffer[0], &buffer[1..]), (b'9', &[0; 19][..]));
}

fn names_change_at_once(disk: &dyn Storage) {
    let old = disk.open("journal/1", Access::Read).unwrap();
    let new = disk.open("journal/2.new", Access::Create).unwrap();
    write_all_at(&*new, b"new", 0).unwrap();
    disk.rename("journal/2.new", "journal/1").unwrap();
    assert_eq!((old.links().unwrap(), new.links().unwrap()), (0, 1));
    assert_eq!((old.len().unwrap(), disk.list("journal").unwrap().len()), (8192, 1));
    assert_eq!(disk.rename("journal/2.new", "journal/3").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(disk.rename("journal/1", "1").unwrap_err().kind(), ErrorKind::InvalidInput);
    disk.remove("journal/1").unwrap();
    assert_eq!(disk.remove("journal/1").unwrap_err().kind(), ErrorKind::NotFound);
    let mut buffer = [0; 3];
    read_exact_at(&*new, &mut buffer, 0).unwrap();
    assert_eq!((&buffer, new.links().unwrap()), (b"new", 0));
    disk.sync_dir("journal").unwrap();
}

fn locks_exclude_each_other(disk: &dyn Storage) {
    let first = disk.open("lock", Access::Create).unwrap();
    assert_eq!(disk.list("lock").unwrap_err().kind(), ErrorKind::NotADirectory);
    let second = disk.open("lock", Access::Write).unwrap();
    assert!(first.try_lock(Lock::Shared).unwrap());
    assert!(second.try_lock(Lock::Shared).unwrap());
    assert!(!second.try_lock(Lock::Exclusive).unwrap());
    drop(first);
    assert!(second.try_lock(Lock::Exclusive).unwrap());
    let third = disk.open("lock", Access::Read).unwrap();
    assert!(!third.try_lock(Lock::Shared).unwrap());
    drop(second);
    assert!(third.try_lock(Lock::Shared).unwrap());
}
