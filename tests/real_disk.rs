//! The real disk and the limits of a real process: descriptors, file sizes, memory, full and read-only file systems,
//! directories that are moved or copied, processes started meanwhile. What needs a limit runs in a child.
#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test fails by panicking; its children are processes"
)]

use millpond::{Durability, ErrorKind, Group, Message, Offset, Retention, Store, TopicSettings};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output};

const DIR: &str = "MILLPOND_TEST_REAL_DISK";
/// What a child answers if it could not be put into its place.
const NOT_ALLOWED: i32 = 77;

fn small() -> millpond::Options {
    Store::options().segment_bytes(64 << 10).first_segment_bytes(64 << 10)
}

/// Runs `test` of this file in a process that `setup`, lines of a shell, has limited.
fn child(test: &str, setup: &str, dir: &Path) -> Output {
    let script = format!("{setup}\nexec \"$0\" --exact {test} --nocapture");
    Command::new("sh").arg("-c").arg(script).arg(std::env::current_exe().unwrap()).env(DIR, dir).output().unwrap()
}

#[track_caller]
fn went_well(output: &Output) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
}

fn here() -> Option<String> {
    std::env::var(DIR).ok()
}

/// The offsets that are promised: one a line in a file beside the store.
fn promise(dir: &str, offset: Offset) {
    use std::io::Write;
    let mut file = fs::OpenOptions::new().append(true).create(true).open(format!("{dir}/promised")).unwrap();
    file.write_all(format!("{offset}\n").as_bytes()).unwrap();
}

/// Everything promised is there, and right; how much that is.
fn kept(dir: &Path) -> usize {
    kept_of(dir, 1000)
}

/// The same of messages of so many bytes.
fn kept_of(dir: &Path, length: usize) -> usize {
    let store = small().open(dir.join("store")).unwrap();
    let orders = store.existing_topic("orders").unwrap();
    let text = fs::read_to_string(dir.join("promised")).unwrap();
    for line in text.lines() {
        let offset = Offset::new(line.parse().unwrap());
        let record = orders.read(offset..).next().unwrap().unwrap();
        assert_eq!((record.offset(), record.payload().len()), (offset, length), "offset {offset}");
    }
    store.close().unwrap();
    assert!(Store::verify(dir.join("store"), |_| ()).unwrap().damage.is_empty());
    text.lines().count()
}

/// Opens files until no more can be.
fn use_up_descriptors() -> Vec<fs::File> {
    std::iter::from_fn(|| fs::File::open("/dev/null").ok()).take(10_000).collect()
}

#[test]
fn child_without_descriptors() {
    let Some(dir) = here() else { return };
    let path = format!("{dir}/store");
    let held = use_up_descriptors();
    assert!(held.len() < 10_000, "there is a limit");
    let refused = small().open(&path).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::System, "{refused}");
    drop(held);
    let store = small().open(&path).unwrap();
    let orders = store.topic("orders").unwrap();
    let held = use_up_descriptors();
    // There is no descriptor to write them down with.
    let (mut refusals, mut promised) = (0, Vec::new());
    for _ in 0..300 {
        match orders.publish(vec![7; 1000]).wait() {
            Ok(receipt) => promised.push(receipt.offset),
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::Full | ErrorKind::System), "{error}");
                refusals += 1;
                break;
            }
        }
    }
    assert!(refusals > 0, "segments are files: they ran out");
    drop(held);
    promised.into_iter().for_each(|offset| promise(&dir, offset));
    // With descriptors again, it goes on by itself.
    let mut left = 200;
    loop {
        match orders.publish(vec![7; 1000]).wait() {
            Ok(receipt) => {
                promise(&dir, receipt.offset);
                break;
            }
            Err(error) => {
                left -= 1;
                assert!(left > 0, "it does not recover: {error}");
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
    }
    store.close().unwrap();
}

#[test]
fn without_descriptors_a_call_fails_clearly_nothing_is_lost_and_it_goes_on_when_there_are_some() {
    let dir = tempfile::tempdir().unwrap();
    went_well(&child("child_without_descriptors", "ulimit -n 40", dir.path()));
    assert!(kept(dir.path()) > 20);
}

#[test]
fn child_with_small_files() {
    let Some(dir) = here() else { return };
    let store = Store::options().segment_bytes(4 << 20).first_segment_bytes(64 << 10).open(format!("{dir}/store"));
    let store = store.unwrap();
    let kept = TopicSettings::default().retention(Retention::everything());
    let orders = store.topic_with("orders", kept).unwrap();
    let email = orders.consumer("email", Group::default()).unwrap();
    let mut refused = None;
    for _ in 0..500 {
        match orders.publish(vec![7; 20_000]).wait() {
            Ok(receipt) => promise(&dir, receipt.offset),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    let refused = refused.expect("no file may be so long as the next segment");
    assert!(matches!(refused.kind(), ErrorKind::Full | ErrorKind::System), "{refused}");
    assert_eq!(refused.into_message().map(|message| message.payload().len()), Some(20_000), "handed back");
    // What is there can be worked off all the same.
    for _ in 0..3 {
        email.try_lease().unwrap().unwrap().ack().wait().unwrap();
    }
    drop(store.close());
}

#[test]
fn where_files_may_not_grow_publishing_is_refused_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    // In blocks of 512 bytes or of 1024: 1 MiB or 2. The signal would end the process.
    went_well(&child("child_with_small_files", "trap '' XFSZ; ulimit -f 2048", dir.path()));
    assert!(kept_of(dir.path(), 20_000) > 10);
}

#[test]
fn child_with_little_memory() {
    let Some(dir) = here() else { return };
    let store = small().open(format!("{dir}/store")).unwrap();
    let orders = store.topic("orders").unwrap();
    for _ in 0..50 {
        promise(&dir, orders.publish(vec![7; 1000]).wait().unwrap().offset);
    }
    println!("published");
    // More than there is: the allocator gives up, and with it the process.
    drop(orders.publish(vec![7; 2 << 30]).wait());
    unreachable!("there was memory");
}

/// A failed allocation ends a Rust process. That is a death like any other: nothing that was promised goes with it.
#[test]
fn a_process_that_runs_out_of_memory_loses_nothing_that_was_promised() {
    let dir = tempfile::tempdir().unwrap();
    let output = child("child_with_little_memory", "ulimit -v 1500000", dir.path());
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stdout).contains("published"), "{output:?}");
    assert_eq!(kept(dir.path()), 50);
}

#[test]
fn child_on_a_read_only_mount() {
    let Some(dir) = here() else { return };
    let path = format!("{dir}/store");
    let refused = small().open(&path).unwrap_err();
    assert_eq!((refused.kind(), refused.code()), (ErrorKind::System, "read-only"), "{refused}");
    let refused = small().open(format!("{dir}/new")).unwrap_err();
    assert_eq!(refused.code(), "read-only", "{refused}");
    // Looking works.
    let report = Store::verify(&path, |_| ()).unwrap();
    assert!(report.damage.is_empty() && report.messages == 5);
    assert_eq!(Store::salvage(&path).unwrap().filter(|message| message.is_ok()).count(), 5);
    assert_eq!(Store::repair(&path).unwrap_err().code(), "read-only");
}

/// A name space of its own for the child, with mounts that are only its own; nothing if this machine does not let us.
fn in_own_mounts(test: &str, mounts: &str, dir: &Path) -> Option<Output> {
    let setup = format!(
        "[ \"$UNSHARED\" ] || exec env UNSHARED=1 unshare -m sh -c 'D=\"${DIR}\"; ({mounts}) || exit {NOT_ALLOWED}; \
         exec \"$0\" --exact {test} --nocapture' \"$0\" || exit {NOT_ALLOWED}"
    );
    let output = child(test, &setup, dir);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() == Some(NOT_ALLOWED) || said.contains("unshare") {
        println!("not tested: this process may not mount ({said})");
        return None;
    }
    Some(output)
}

#[test]
fn a_read_only_mount_is_said_to_be_one_and_can_be_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let store = small().open(dir.path().join("store")).unwrap();
    let orders = store.topic("orders").unwrap();
    (0..5).for_each(|_| _ = orders.publish(vec![7; 1000]).wait().unwrap());
    store.close().unwrap();
    let mounts = "mount --bind \"$D\" \"$D\" && mount -o remount,bind,ro \"$D\"";
    if let Some(output) = in_own_mounts("child_on_a_read_only_mount", mounts, dir.path()) {
        went_well(&output);
    }
}

#[test]
fn child_on_a_full_disk() {
    let Some(dir) = here() else { return };
    let store = small().open(format!("{dir}/store")).unwrap();
    let orders = store.topic("orders").unwrap();
    let email = orders.consumer("email", Group::default()).unwrap();
    let mut published = 0_u64;
    let refused = loop {
        match orders.publish(Message::new(vec![7; 1000]).durability(Durability::Os)).wait() {
            Ok(_) => published += 1,
            Err(error) => break error,
        }
        assert!(published < 100_000, "a disk of 4 MiB has room for everything");
    };
    assert_eq!((refused.kind(), refused.code()), (ErrorKind::Full, "disk-full"), "{refused}");
    let settled = published.min(20);
    for offset in 0..settled {
        let delivery =
            email.try_lease().unwrap().unwrap_or_else(|| panic!("{offset} of {published} is not handed out"));
        delivery.ack().wait().unwrap();
    }
    // Room again: it goes on without being opened anew.
    fs::remove_file(format!("{dir}/ballast")).unwrap();
    let mut left = 200;
    while let Err(error) = orders.publish(vec![7; 1000]).wait() {
        left -= 1;
        assert!(left > 0, "it does not recover: {error}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    store.close().unwrap();
    let store = small().open(format!("{dir}/store")).unwrap();
    let orders = store.existing_topic("orders").unwrap();
    assert_eq!(orders.end_offset(), Offset::new(published + 1));
    let worker = orders.consumer("email", Group::default()).unwrap();
    assert_eq!(worker.try_lease().unwrap().unwrap().offset(), Offset::new(settled));
    store.close().unwrap();
}

#[test]
fn a_full_disk_refuses_publishes_lets_acks_through_and_recovers_when_there_is_room() {
    // Of 4 MiB, with all that a store keeps in reserve; and of 1 MiB, which ends at each point of making that.
    let small = (20..=900).step_by(20).map(|kib| (1, kib));
    for (mib, ballast_kib) in [(4, 1000)].into_iter().chain(small) {
        let dir = tempfile::tempdir().unwrap();
        let mounts =
            format!("mount -t tmpfs -o size={mib}m tmpfs \"$D\" && head -c {ballast_kib}K /dev/zero > \"$D/ballast\"");
        let Some(output) = in_own_mounts("child_on_a_full_disk", &mounts, dir.path()) else { return };
        println!("{mib} MiB with {ballast_kib} KiB of others");
        went_well(&output);
    }
}

#[test]
fn a_store_that_was_moved_or_copied_while_closed_is_the_same_store() {
    let dir = tempfile::tempdir().unwrap();
    let (first, moved, copied) = (dir.path().join("a"), dir.path().join("deeper/b"), dir.path().join("c"));
    let store = small().open(&first).unwrap();
    let orders = store.topic("orders").unwrap();
    for _ in 0..200 {
        promise(dir.path().to_str().unwrap(), orders.publish(vec![7; 1000]).wait().unwrap().offset);
    }
    let email = orders.consumer("email", Group::default()).unwrap();
    email.lease().unwrap().ack().wait().unwrap();
    store.close().unwrap();
    fs::create_dir(dir.path().join("deeper")).unwrap();
    fs::rename(&first, &moved).unwrap();
    assert!(Command::new("cp").arg("-a").args([&moved, &copied]).status().unwrap().success());
    // Both at a time: they share nothing.
    let both = [&moved, &copied].map(|path| small().open(path).unwrap());
    for store in both {
        let orders = store.existing_topic("orders").unwrap();
        assert_eq!(orders.end_offset(), Offset::new(200));
        let email = orders.consumer("email", Group::default()).unwrap();
        assert_eq!(email.lease().unwrap().offset(), Offset::new(1));
        assert_eq!(orders.publish(vec![7; 1000]).wait().unwrap().offset, Offset::new(200));
        store.close().unwrap();
    }
    assert_eq!(small().create(false).open(&first).unwrap_err().code(), "no-such-store");
}

#[test]
fn child_with_an_open_umask() {
    let Some(dir) = here() else { return };
    let store = small().open(format!("{dir}/made/store")).unwrap();
    let orders = store.topic("orders").unwrap();
    (0..300).for_each(|_| _ = orders.publish(vec![7; 1000]).wait().unwrap());
    store.close().unwrap();
}

/// Payloads are nobody else's business, whatever the umask says.
#[test]
fn files_and_directories_are_their_owners_alone() {
    let dir = tempfile::tempdir().unwrap();
    went_well(&child("child_with_an_open_umask", "umask 000", dir.path()));
    let mut open = vec![dir.path().join("made")];
    let (mut files, mut directories) = (0, 0);
    while let Some(path) = open.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let mode = metadata.permissions().mode() & 0o777;
        if metadata.is_dir() {
            assert_eq!(mode, 0o700, "{}", path.display());
            directories += 1;
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            assert_eq!((mode, metadata.nlink()), (0o600, 1), "{}", path.display());
            files += 1;
        }
    }
    // The directory above the store's own is made by us too.
    assert!(directories == 3 && files > 5, "{directories} directories, {files} files");
}

/// A child has all descriptors of its parent until it becomes another program: a lock must end all the same.
#[test]
fn a_store_is_free_when_it_is_closed_though_processes_are_being_started() {
    let dir = tempfile::tempdir().unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                Command::new("true").status().unwrap();
            }
        });
        let outcome = std::panic::catch_unwind(|| {
            for _ in 0..150 {
                small().open(dir.path()).unwrap().close().unwrap();
            }
        });
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        outcome.unwrap();
    });
}
