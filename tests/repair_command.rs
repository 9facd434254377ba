//! `millpond repair`, `dump`, `doctor` and `verify` on damage, end to end: what they print, what they change, and their
//! exit codes.
#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and damages files"
)]

use millpond::{Group, Message, Offset, Store};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn millpond(command: &str, path: &Path, rest: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_millpond")).arg(command).arg(path).args(rest).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    text(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A closed store of ten messages, of which the group has acked two; and where in its segment a payload lies.
fn store() -> (tempfile::TempDir, usize) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let orders = store.topic("orders").unwrap();
    let email = orders.consumer("email", Group::default()).unwrap();
    for number in 0..10 {
        orders.publish(Message::new(format!("order {number}"))).wait().unwrap();
    }
    for _ in 0..2 {
        email.lease().unwrap().ack().wait().unwrap();
    }
    store.close().unwrap();
    let bytes = fs::read(dir.path().join("journal/0000000001.segment")).unwrap();
    let at = bytes.windows(7).position(|window| window == b"order 5").unwrap();
    (dir, at)
}

fn flip(path: &Path, at: usize) {
    let segment = path.join("journal/0000000001.segment");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[at] ^= 1;
    fs::write(segment, bytes).unwrap();
}

#[test]
fn a_damaged_store_opens_again_after_its_repair_with_a_hole_that_is_counted() {
    let (dir, at) = store();
    flip(dir.path(), at);
    let hurt = fs::read(dir.path().join("journal/0000000001.segment")).unwrap();
    assert_eq!(millpond("verify", dir.path(), &[]).status.code(), Some(1));
    assert_eq!(millpond("peek", dir.path(), &["orders"]).status.code(), Some(1));
    let repaired = millpond("repair", dir.path(), &[]);
    assert_eq!(repaired.status.code(), Some(1), "a message is lost");
    let said = text(&repaired);
    assert!(said.contains("lost: topic \"orders\" offsets 5..=5"), "{said}");
    assert!(said.contains("moved aside: journal/0000000001.segment.damaged-1"), "{said}");
    assert_eq!(fs::read(dir.path().join("journal/0000000001.segment.damaged-1")).unwrap(), hurt, "nothing is deleted");
    let report = fs::read_to_string(dir.path().join("repair-1.txt")).unwrap();
    assert!(report.contains("\"orders\" 5..=5"), "{report}");
    assert_eq!(millpond("verify", dir.path(), &[]).status.code(), Some(0));
    let again = millpond("repair", dir.path(), &["--json"]);
    assert_eq!((again.status.code(), &lines(&again)[0]["repaired"]), (Some(0), &json!(false)));
    let store = Store::open(dir.path()).unwrap();
    let orders = store.existing_topic("orders").unwrap();
    let email = orders.consumer("email", Group::default()).unwrap();
    let mut got = Vec::new();
    while let Some(delivery) = email.try_lease().unwrap() {
        got.push(delivery.offset().get());
        delivery.ack().wait().unwrap();
    }
    assert_eq!(got, [2, 3, 4, 6, 7, 8, 9]);
    assert_eq!((orders.stats().removed.lost, orders.publish("next").wait().unwrap().offset), (1, Offset::new(10)));
    let why = email.why(Offset::new(5)).unwrap().to_string();
    assert!(why.contains("gone"), "{why}");
    store.close().unwrap();
}

#[test]
fn repair_as_json_has_a_line_for_everything() {
    let (dir, at) = store();
    flip(dir.path(), at);
    let repaired = millpond("repair", dir.path(), &["--json"]);
    let lines = lines(&repaired);
    let of = |kind: &str| lines.iter().find(|line| line["kind"] == kind).cloned().unwrap_or_default();
    assert_eq!(of("lost"), json!({ "kind": "lost", "topic": "orders", "first": 5, "last": 5 }));
    assert_eq!(of("damage")["file"], "journal/0000000001.segment");
    assert_eq!(of("summary")["lost"], 1);
    assert_eq!(of("summary")["report"], "repair-1.txt");
    assert!(of("quarantined")["file"].as_str().unwrap().contains(".damaged-1"));
}

#[test]
fn salvage_reads_what_is_whole_and_changes_nothing() {
    let (dir, at) = store();
    flip(dir.path(), at);
    let before = fs::read(dir.path().join("journal/0000000001.segment")).unwrap();
    let salvage = Store::salvage(dir.path()).unwrap();
    assert_eq!(salvage.damage().len(), 1);
    assert_eq!(Store::open(dir.path()).unwrap_err().code(), "locked", "nobody opens it meanwhile");
    let read: Vec<_> = salvage.map(|message| message.unwrap().record.payload().to_vec()).collect();
    let wanted = (0..10).filter(|number| *number != 5).map(|number| format!("order {number}").into_bytes());
    assert_eq!(read, wanted.collect::<Vec<_>>());
    assert_eq!(fs::read(dir.path().join("journal/0000000001.segment")).unwrap(), before);
}

#[test]
fn a_lost_identity_is_made_anew_from_the_segments_and_a_damaged_one_is_put_right() {
    let (dir, _) = store();
    let identity = dir.path().join("identity");
    let whole = fs::read(&identity).unwrap();
    let mut hurt = whole.clone();
    hurt[40] ^= 0x40;
    fs::write(&identity, &hurt).unwrap();
    assert_eq!(Store::open(dir.path()).unwrap_err().code(), "identity-damaged");
    assert_eq!(millpond("repair", dir.path(), &[]).status.code(), Some(0));
    assert_eq!(fs::read(&identity).unwrap(), whole, "one byte was wrong, and is right again");
    assert_eq!(fs::read(dir.path().join("identity.damaged-1")).unwrap(), hurt);
    fs::remove_file(&identity).unwrap();
    let repaired = millpond("repair", dir.path(), &[]);
    assert_eq!(repaired.status.code(), Some(0));
    assert!(text(&repaired).contains("with a new key"), "{}", text(&repaired));
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.existing_topic("orders").unwrap().end_offset(), Offset::new(10));
    store.close().unwrap();
}

#[test]
fn dump_shows_frames_events_and_damage() {
    let (dir, at) = store();
    let whole = millpond("dump", dir.path(), &["--json"]);
    assert_eq!(whole.status.code(), Some(0));
    let all = lines(&whole);
    let kinds = |line: &Value| -> Vec<String> {
        line["events"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap().to_owned()).collect()
    };
    let said: Vec<String> = all.iter().flat_map(kinds).collect();
    for kind in ["Opened", "CreateTopic", "CreateGroup", "Publish", "Delivered", "Ack"] {
        assert!(said.iter().any(|said| said == kind), "{kind} in {said:?}");
    }
    assert_eq!(said.iter().filter(|said| *said == "Publish").count(), 10);
    let from = all[3]["lsn"].as_str().unwrap();
    let rest = lines(&millpond("dump", dir.path(), &["--json", "--from", from]));
    assert_eq!(rest, all[3..]);
    flip(dir.path(), at);
    let damaged = millpond("dump", dir.path(), &[]);
    assert_eq!(damaged.status.code(), Some(1));
    let shown = text(&damaged);
    assert!(shown.contains("damage: journal/0000000001.segment bytes"), "{shown}");
    assert_eq!(shown.matches("Publish topic: 1").count(), 9, "{shown}");
    assert_eq!(millpond("dump", dir.path(), &["--from", "here"]).status.code(), Some(2));
}

#[test]
fn doctor_says_what_the_directory_lies_on_and_how_long_a_sync_takes() {
    let dir = tempfile::tempdir().unwrap();
    let looked = millpond("doctor", dir.path(), &["--json"]);
    assert!(matches!(looked.status.code(), Some(0 | 1)), "{looked:?}");
    let lines = lines(&looked);
    for name in ["file system", "free space", "a sync of 512 bytes"] {
        assert!(lines.iter().any(|line| line["name"] == name), "{name} in {lines:?}");
    }
    let warned = lines.iter().any(|line| line["kind"] == "warning");
    assert_eq!(looked.status.code(), Some(i32::from(warned)));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "it cleans up behind itself");
    if Path::new("/dev/shm").is_dir() {
        let memory = tempfile::tempdir_in("/dev/shm").unwrap();
        let looked = millpond("doctor", memory.path(), &[]);
        assert!(text(&looked).contains("in memory"), "{}", text(&looked));
        assert_eq!(looked.status.code(), Some(1));
    }
    assert_eq!(millpond("doctor", &dir.path().join("nowhere"), &[]).status.code(), Some(2));
}

#[test]
fn what_is_no_store_or_open_is_refused_by_all_of_them() {
    let (dir, _) = store();
    let owner = Store::open(dir.path()).unwrap();
    for command in ["verify", "dump"] {
        assert_eq!(millpond(command, dir.path(), &[]).status.code(), Some(0), "{command} looks on beside the owner");
    }
    let refused = millpond("repair", dir.path(), &[]);
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("locked by its owner"), "{said}");
    owner.close().unwrap();
    let nowhere = dir.path().join("nowhere");
    for command in ["repair", "dump", "verify", "doctor"] {
        assert_eq!(millpond(command, &nowhere, &[]).status.code(), Some(2), "{command}");
        assert!(!nowhere.exists());
    }
}
