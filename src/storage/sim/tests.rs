//! What the simulated disk promises, and what it takes away.

use super::*;
use crate::storage::{Lock, contract, read_exact_at, write_all_at};
use std::collections::BTreeSet;

const NAME: &str = "journal/1";

/// A disk with an open, durable, empty file.
fn prepared(seed: u64) -> (SimDisk, Arc<dyn StorageFile>) {
    let disk = SimDisk::new(seed);
    disk.create_directories().unwrap();
    let file = disk.open(NAME, Access::Create).unwrap();
    file.sync().unwrap();
    disk.sync_dir("journal").unwrap();
    (disk, file)
}

/// The file's content after a crash, for many seeds.
fn crashed(disk: &SimDisk) -> impl Iterator<Item = Vec<u8>> + '_ {
    (0..200).map(|seed| {
        let disk = disk.fork(seed);
        disk.crash();
        disk.read_file(NAME).unwrap()
    })
}

fn set(disk: &SimDisk, faults: Faults) {
    disk.set_faults(faults);
}

#[test]
fn the_contract_holds_on_the_simulated_disk() {
    contract::holds(&SimDisk::new(1));
}

#[test]
fn the_contract_holds_with_short_and_interrupted_reads_and_writes() {
    let disk = SimDisk::new(1);
    set(&disk, Faults { short_read: 0.9, short_write: 0.9, ..Faults::default() });
    contract::holds(&disk);
    set(&disk, Faults { short_read: 0.9, short_write: 0.9, interrupted: 0.3, ..Faults::default() });
    disk.write_file(NAME, b"");
    let file = disk.open(NAME, Access::Write).unwrap();
    let bytes: Vec<u8> = (0..=255).cycle().take(2000).collect();
    write_all_at(&*file, &bytes, 0).unwrap();
    let mut buffer = vec![0; 2000];
    read_exact_at(&*file, &mut buffer, 0).unwrap();
    assert_eq!(buffer, bytes);
    assert!(disk.counts().writes > 10 && disk.counts().reads > 10);
}

#[test]
fn synced_bytes_are_never_lost() {
    let (disk, file) = prepared(1);
    write_all_at(&*file, &[1; 3000], 0).unwrap();
    file.sync().unwrap();
    write_all_at(&*file, &[2; 3000], 3000).unwrap();
    for after in crashed(&disk) {
        assert_eq!(after[..3000], [1; 3000]);
    }
}

#[test]
fn unsynced_bytes_may_vanish_in_part_or_in_whole() {
    let (disk, file) = prepared(1);
    write_all_at(&*file, &[1; 6000], 0).unwrap();
    let survived: BTreeSet<_> = crashed(&disk).map(|after| after.iter().filter(|byte| **byte == 1).count()).collect();
    assert!(survived.contains(&0) && survived.contains(&6000) && survived.len() > 10, "{survived:?}");
}

#[test]
fn a_sync_covers_what_another_handle_wrote() {
    let (disk, file) = prepared(1);
    write_all_at(&*file, b"bytes", 0).unwrap();
    disk.open(NAME, Access::Read).unwrap().sync().unwrap();
    assert!(crashed(&disk).all(|after| after == b"bytes"));
}

#[test]
fn a_preallocated_length_is_durable_after_a_sync_and_uncertain_before() {
    let (disk, file) = prepared(1);
    file.allocate(5000).unwrap();
    assert!(crashed(&disk).map(|after| after.len()).collect::<BTreeSet<_>>().len() > 2);
    file.sync().unwrap();
    assert!(crashed(&disk).all(|after| after == [0; 5000]));
}

#[test]
fn a_name_that_was_not_synced_may_vanish_with_the_synced_bytes_of_its_file() {
    let (disk, _file) = prepared(1);
    let new = disk.open("journal/2", Access::Create).unwrap();
    write_all_at(&*new, b"bytes", 0).unwrap();
    new.sync().unwrap();
    let outcomes: BTreeSet<_> = (0..50)
        .map(|seed| {
            let disk = disk.fork(seed);
            disk.crash();
            disk.read_file("journal/2").ok()
        })
        .collect();
    assert_eq!(outcomes, BTreeSet::from([None, Some(b"bytes".to_vec())]));
}

#[test]
fn a_directory_that_was_not_synced_may_vanish_with_all_in_it() {
    let outcomes: BTreeSet<_> = (0..100)
        .map(|seed| {
            let disk = SimDisk::new(seed);
            set(&disk, Faults { stop_after: Some(seed % 4), ..Faults::default() });
            disk.create_directories().unwrap_err();
            disk.crash();
            (disk.list("").is_ok(), disk.list("journal").is_ok())
        })
        .collect();
    assert_eq!(outcomes, BTreeSet::from([(false, false), (true, false), (true, true)]));
}

#[test]
fn a_replaced_file_may_come_back_until_the_directory_is_synced() {
    let (disk, file) = prepared(1);
    write_all_at(&*file, b"old", 0).unwrap();
    file.sync().unwrap();
    let new = disk.open("journal/new", Access::Create).unwrap();
    write_all_at(&*new, b"new", 0).unwrap();
    new.sync().unwrap();
    disk.rename("journal/new", NAME).unwrap();
    drop((file, new));
    let outcomes: BTreeSet<_> = crashed(&disk).collect();
    assert_eq!(outcomes, BTreeSet::from([b"old".to_vec(), b"new".to_vec()]));
    disk.sync_dir("journal").unwrap();
    assert!(crashed(&disk).all(|after| after == b"new"));
}

#[test]
fn a_killed_process_leaves_the_page_cache_and_nothing_more_durable() {
    let (disk, file) = prepared(1);
    assert!(file.try_lock(Lock::Exclusive).unwrap());
    write_all_at(&*file, b"written", 0).unwrap();
    let boot = disk.boot_id();
    disk.kill();
    assert_eq!(disk.boot_id(), boot);
    assert_eq!(disk.read_file(NAME).unwrap(), b"written");
    assert_eq!(disk.synced_file(NAME).unwrap(), b"");
    file.len().unwrap_err();
    file.write_at(b"late", 0).unwrap_err();
    let next = disk.open(NAME, Access::Write).unwrap();
    assert!(next.try_lock(Lock::Exclusive).unwrap());
    drop(file);
    assert!(
        !disk.open(NAME, Access::Write).unwrap().try_lock(Lock::Shared).unwrap(),
        "the dead handle took no lock along"
    );
    assert!(crashed(&disk).any(|after| after.is_empty()));
    next.sync().unwrap();
    assert!(crashed(&disk).all(|after| after == b"written"));
}

#[test]
fn a_crash_ends_handles_and_locks_and_changes_the_boot_id() {
    let (disk, file) = prepared(1);
    assert!(file.try_lock(Lock::Exclusive).unwrap());
    let boot = disk.boot_id();
    disk.crash();
    assert_ne!(disk.boot_id(), boot);
    file.sync().unwrap_err();
    assert!(disk.open(NAME, Access::Write).unwrap().try_lock(Lock::Exclusive).unwrap());
    disk.set_boot_id("");
    disk.crash();
    assert_eq!(disk.boot_id(), "");
}

#[test]
fn after_a_failed_sync_reads_see_what_later_syncs_never_make_durable() {
    let mut lost = 0;
    for seed in 0..50 {
        let (disk, file) = prepared(seed);
        write_all_at(&*file, &[1; 1000], 0).unwrap();
        set(&disk, Faults { fail_after: Some(0), ..Faults::default() });
        file.sync().unwrap_err();
        file.sync().unwrap();
        assert_eq!(disk.read_file(NAME).unwrap(), [1; 1000]);
        let gone = disk.synced_file(NAME).unwrap() != [1; 1000];
        lost += usize::from(gone);
        let rewritten = disk.fork(seed);
        disk.crash();
        assert_eq!(disk.read_file(NAME).unwrap() != [1; 1000], gone);

        let file = rewritten.open(NAME, Access::Write).unwrap();
        write_all_at(&*file, &[1; 1000], 0).unwrap();
        file.sync().unwrap();
        rewritten.crash();
        assert_eq!(rewritten.read_file(NAME).unwrap(), [1; 1000]);
    }
    assert!(lost > 25, "{lost}");
}

#[test]
fn each_handle_hears_once_of_a_failed_sync_and_a_handle_opened_later_never() {
    let (disk, reporter) = prepared(1);
    let other = disk.open(NAME, Access::Write).unwrap();
    write_all_at(&*reporter, b"bytes", 0).unwrap();
    set(&disk, Faults { fail_after: Some(0), ..Faults::default() });
    reporter.sync().unwrap_err();
    let later = disk.open(NAME, Access::Write).unwrap();
    later.sync().unwrap();
    other.sync().unwrap_err();
    for handle in [reporter, other, later] {
        handle.sync().unwrap();
    }
}

#[test]
fn write_back_that_fails_in_the_background_is_told_at_the_next_sync() {
    let (disk, file) = prepared(1);
    write_all_at(&*file, b"bytes", 0).unwrap();
    disk.fail_write_back(NAME).unwrap();
    let later = disk.open(NAME, Access::Write).unwrap();
    later.sync().unwrap();
    file.sync().unwrap_err();
    set(&disk, Faults { background_error: 1.0, ..Faults::default() });
    write_all_at(&*file, b"bytes", 0).unwrap();
    later.sync().unwrap_err();
}

#[test]
fn a_full_disk_takes_what_fits_and_lets_bytes_inside_a_file_be_rewritten() {
    let (disk, file) = prepared(1);
    set(&disk, Faults { capacity: Some(1000), ..Faults::default() });
    file.allocate(600).unwrap();
    assert_eq!(disk.free_space().unwrap(), 400);
    assert_eq!(file.allocate(1001).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(file.write_at(&[1; 500], 600).unwrap(), 400);
    assert_eq!(file.write_at(&[1; 500], 1000).unwrap_err().kind(), ErrorKind::StorageFull);
    write_all_at(&*file, &[2; 1000], 0).unwrap();
    disk.remove(NAME).unwrap();
    assert_eq!(disk.free_space().unwrap(), 0, "it is still open");
    drop(file);
    assert_eq!(disk.free_space().unwrap(), 1000);
}

#[test]
fn space_is_counted_anew_after_a_crash() {
    let (disk, file) = prepared(1);
    set(&disk, Faults { capacity: Some(10_000), ..Faults::default() });
    write_all_at(&*file, &[1; 5000], 0).unwrap();
    disk.crash();
    assert_eq!(disk.free_space().unwrap(), 10_000 - disk.read_file(NAME).unwrap().len() as u64);
}

#[test]
fn every_operation_fails_from_the_one_at_which_the_machine_stops() {
    for stop in 0..8 {
        let (disk, file) = prepared(stop);
        let before = disk.operations();
        set(&disk, Faults { stop_after: Some(stop), ..Faults::default() });
        let run = || -> Result<()> {
            write_all_at(&*file, &[1; 2000], 0)?;
            file.sync()?;
            disk.open("journal/2", Access::Create)?;
            disk.sync_dir("journal")?;
            disk.rename("journal/2", "journal/3")?;
            disk.remove("journal/3")
        };
        assert_eq!(run().is_err(), stop < 6);
        assert_eq!(disk.operations() - before, if stop < 6 { stop + 1 } else { 6 });
        if stop < 6 {
            file.read_at(&mut [0], 0).unwrap_err();
            disk.list("").unwrap_err();
            disk.free_space().unwrap_err();
        }
        disk.crash();
        if stop >= 2 {
            assert_eq!(disk.read_file(NAME).unwrap(), [1; 2000]);
        }
        if stop == 4 {
            assert!(disk.file_names().len() == 2, "one name or the other");
        }
    }
}

#[test]
fn errors_come_as_they_were_asked_for() {
    let (disk, file) = prepared(1);
    set(&disk, Faults { read_error: 1.0, write_error: 1.0, name_error: 1.0, ..Faults::default() });
    file.read_at(&mut [0], 0).unwrap_err();
    file.write_at(b"bytes", 0).unwrap_err();
    file.allocate(10).unwrap_err();
    file.sync().unwrap();
    disk.open("journal/2", Access::Create).unwrap_err();
    disk.rename(NAME, "journal/2").unwrap_err();
    disk.remove(NAME).unwrap_err();
    disk.sync_dir("journal").unwrap_err();
    assert_eq!(disk.file_names(), [NAME]);
}

#[test]
fn operations_are_counted_by_kind() {
    let (disk, file) = prepared(1);
    let before = disk.counts();
    write_all_at(&*file, b"bytes", 0).unwrap();
    write_all_at(&*file, b"bytes", 5).unwrap();
    file.sync().unwrap();
    disk.sync_dir("journal").unwrap();
    file.read_at(&mut [0], 0).unwrap();
    let after = disk.counts();
    assert_eq!((after.writes - before.writes, after.bytes_written - before.bytes_written), (2, 10));
    assert_eq!((after.syncs - before.syncs, after.dir_syncs - before.dir_syncs), (1, 1));
    assert_eq!((after.reads - before.reads, after.operations - before.operations), (1, 4));
}

#[test]
fn the_same_seed_gives_the_same_outcome() {
    let run = |seed| {
        let (disk, _) = prepared(seed);
        let mut rng = fastrand::Rng::with_seed(5);
        set(&disk, Faults { write_error: 0.1, sync_error: 0.1, short_write: 0.3, ..Faults::default() });
        for round in 0..5 {
            let file = disk.open(NAME, Access::Write).unwrap();
            for _ in 0..100 {
                let _ = file.write_at(&[round; 700], rng.u64(..20_000));
                if rng.u8(..10) == 0 {
                    let _ = file.sync();
                }
            }
            let _ = disk.open(&format!("journal/{}", round + 2), Access::Create);
            disk.crash();
            if disk.read_file(NAME).is_err() {
                break;
            }
        }
        let contents: Vec<_> = disk.file_names().iter().map(|name| disk.read_file(name).unwrap()).collect();
        (disk.file_names(), contents, disk.counts())
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn files_that_nothing_brings_back_take_no_memory() {
    let (disk, _file) = prepared(1);
    for _ in 0..20 {
        let file = disk.open("journal/2", Access::Create).unwrap();
        write_all_at(&*file, &[1; 10_000], 0).unwrap();
        disk.remove("journal/2").unwrap();
        drop(file);
        disk.sync_dir("journal").unwrap();
    }
    assert_eq!(disk.machine.lock().files.len(), 1);
}
