//! The program `millpond` where a person takes care of a store: dead letters, seeks, schedules, explanations.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use millpond::{Group, Message, Store};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Exit code, stdout, stderr.
type Ended = (i32, String, String);

fn millpond(arguments: &[&str], path: &Path, rest: &[&str]) -> Ended {
    let output = Command::new(env!("CARGO_BIN_EXE_millpond"))
        .args(arguments)
        .arg(path)
        .args(rest)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (output.status.code().unwrap(), out, err)
}

#[track_caller]
fn done(arguments: &[&str], path: &Path, rest: &[&str]) -> String {
    let (code, out, err) = millpond(arguments, path, rest);
    assert_eq!(code, 0, "{out} {err}");
    out
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Twenty orders; the group `email` has buried the even ones of the first ten and acked the odd ones.
fn orders() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pond");
    let store = Store::open(&path).unwrap();
    let keeps = millpond::TopicSettings::default().retention(millpond::Retention::everything());
    let orders = store.topic_with("orders", keeps).unwrap();
    orders.publish_all((0..20).map(|number| Message::new(format!("order {number}")).key("k"))).wait().unwrap();
    let email = orders.consumer("email", Group::default()).unwrap();
    for number in 0..10 {
        let order = email.lease().unwrap();
        match number % 4 {
            0 => order.bury("no such address").wait().unwrap(),
            2 => order.bury("mailbox full").wait().unwrap(),
            _ => order.ack().wait().unwrap(),
        }
    }
    store.close().unwrap();
    (dir, path)
}

#[test]
fn dead_letters_are_listed_and_shown_with_their_errors() {
    let (_dir, path) = orders();
    let listed = lines(&done(&["dlq", "ls"], &path, &["orders", "email", "--json"]));
    let offsets: Vec<u64> = listed.iter().map(|letter| letter["offset"].as_u64().unwrap()).collect();
    assert_eq!(offsets, [0, 2, 4, 6, 8]);
    assert_eq!(listed[1]["errors"][0]["error"], "mailbox full");
    assert_eq!(listed[1]["message"]["payload"], "order 2");
    let shown = done(&["dlq", "show"], &path, &["orders", "email", "4"]);
    for part in ["reason    asked", "no such address", "payload   order 4", "key       k"] {
        assert!(shown.contains(part), "{shown}");
    }
    let (code, _, err) = millpond(&["dlq", "show"], &path, &["orders", "email", "1"]);
    assert!(code == 2 && err.contains("the group is done with it"), "{err}");
}

#[test]
fn a_redrive_says_first_what_it_would_do_and_then_does_it_if_told_to() {
    let (_dir, path) = orders();
    let redrive = |rest: &[&str]| millpond(&["dlq", "redrive"], &path, &[&["orders", "email"], rest].concat());
    let (code, _, err) = redrive(&[]);
    assert!(code == 2 && err.contains("say which"), "{err}");
    let (code, _, err) = redrive(&["--all"]);
    assert!(code == 2 && err.contains("Redrive 5 dead letters? Say so with --yes"), "{err}");
    assert_eq!(redrive(&["--match", "full", "--dry-run"]).1, "2 would be redriven\n");
    assert_eq!(redrive(&["--match", "full", "--yes"]).1, "2 redriven\n");
    assert_eq!(redrive(&["0-3", "8", "--yes"]).1, "2 redriven\n");
    let ready = || lines(&done(&["info"], &path, &["--json"])).iter().find_map(|line| line["ready"].as_u64());
    assert_eq!(ready(), Some(14));
    let purged = done(&["dlq", "purge"], &path, &["orders", "email", "--all", "--yes", "--json"]);
    assert_eq!(lines(&purged)[0]["changed"], 1);
    assert_eq!(done(&["dlq", "ls"], &path, &["orders", "email", "--json"]), "");
}

#[test]
fn a_group_is_moved_after_a_dry_run() {
    let (_dir, path) = orders();
    let seek = |rest: &[&str]| millpond(&["seek"], &path, &[&["orders", "email"], rest].concat());
    let (code, out, _) = seek(&["earliest", "--dry-run"]);
    assert!(code == 0 && out.contains("would go on at offset 0: 10 messages come again"), "{out}");
    let (code, _, err) = seek(&["5"]);
    assert!(code == 2 && err.contains("--yes"), "{err}");
    let (_, out, _) = seek(&["5", "--yes", "--json"]);
    assert_eq!(lines(&out)[0]["to"], 5);
    assert!(done(&["why"], &path, &["orders", "email", "5"]).contains("next"), "it is handed out next");
    let (code, _, err) = seek(&["yesterday", "--yes"]);
    assert!(code == 2 && err.contains("not `earliest`"), "{err}");
}

#[test]
fn what_waits_for_its_time_is_listed_and_called_off() {
    let (_dir, path) = orders();
    let store = Store::open(&path).unwrap();
    let orders = store.topic("orders").unwrap();
    let later = |hours: u64| Message::new("later").delay(Duration::from_secs(3600 * hours));
    orders.publish_all([later(2), later(1)]).wait().unwrap();
    store.close().unwrap();
    let listed = lines(&done(&["schedule", "ls"], &path, &["orders", "--json"]));
    let offsets: Vec<u64> = listed.iter().map(|waiting| waiting["offset"].as_u64().unwrap()).collect();
    assert_eq!(offsets, [21, 20]);
    let cancelled = done(&["schedule", "cancel"], &path, &["orders", "19-21", "--yes"]);
    assert!(cancelled.starts_with("2 of 3 cancelled"), "{cancelled}");
    assert_eq!(done(&["schedule", "ls"], &path, &["orders", "--json"]), "");
}

#[test]
fn a_group_or_topic_that_is_not_there_is_not_made_by_looking() {
    let (_dir, path) = orders();
    for command in [&["dlq", "ls"][..], &["seek"], &["why"]] {
        let more: &[&str] = match command[0] {
            "seek" => &["earliest"],
            "why" => &["0"],
            _ => &[],
        };
        let (code, _, err) = millpond(command, &path, &[&["orders", "emial"], more].concat());
        assert!(code == 2 && err.contains("has no group \"emial\": it has email"), "{err}");
        let (code, _, err) = millpond(command, &path, &[&["oders", "email"], more].concat());
        assert!(code == 2 && err.contains("oders"), "{err}");
    }
    assert_eq!(lines(&done(&["info"], &path, &["--json"])).iter().filter(|line| line["kind"] == "group").count(), 1);
}

#[test]
fn every_error_code_is_explained() {
    let all = Command::new(env!("CARGO_BIN_EXE_millpond")).arg("explain").output().unwrap();
    let all = String::from_utf8(all.stdout).unwrap();
    for known in millpond::explanations() {
        assert!(all.contains(known.code), "{}", known.code);
        let one = Command::new(env!("CARGO_BIN_EXE_millpond")).args(["explain", known.code]).output().unwrap();
        assert!(String::from_utf8(one.stdout).unwrap().contains(known.meaning));
    }
    let unknown = Command::new(env!("CARGO_BIN_EXE_millpond")).args(["explain", "lokced"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(2));
}

#[test]
fn topics_and_groups_are_listed() {
    let (_dir, path) = orders();
    let listed = lines(&done(&["ls"], &path, &["--json"]));
    assert_eq!((listed.len(), &listed[0]["topic"], &listed[0]["messages"]), (1, &"orders".into(), &20.into()));
    assert!(done(&["ls"], &path, &[]).starts_with("TOPIC "));
    let groups = lines(&done(&["groups"], &path, &["orders", "--json"]));
    let group = (&groups[0]["group"], &groups[0]["ready"], &groups[0]["dead"]);
    assert_eq!(group, (&"email".into(), &10.into(), &5.into()));
    assert_eq!(lines(&done(&["groups"], &path, &["--json"])).len(), 1);
    let (code, _, err) = millpond(&["groups"], &path, &["nobody"]);
    assert!(code == 2 && err.contains("nobody"), "{err}");
}

#[test]
fn a_group_is_paused_and_resumed() {
    let (_dir, path) = orders();
    assert_eq!(done(&["pause"], &path, &["orders", "email"]), "paused: until resumed\n");
    let (code, out, err) = millpond(&["work"], &path, &["orders", "email", "--once", "--", "cat"]);
    assert!(code == 1 && out.is_empty() && err.contains("paused"), "{out} {err}");
    assert_eq!(done(&["resume"], &path, &["orders", "email"]), "resumed\n");
    assert_eq!(done(&["resume"], &path, &["orders", "email"]), "it was not paused\n");
    assert!(done(&["pause"], &path, &["orders", "email", "--for", "2h"]).starts_with("paused: 20"));
    let (code, _, err) = millpond(&["pause"], &path, &["orders", "sms"]);
    assert!(code == 2 && err.contains("no group \"sms\": it has email"), "{err}");
}

#[test]
fn retention_is_shown_and_set_and_a_topic_is_purged() {
    let (_dir, path) = orders();
    assert!(done(&["retention"], &path, &["orders"]).starts_with("--keep-count "));
    let (code, _, err) = millpond(&["retention"], &path, &["orders", "--max-count", "8"]);
    assert!(code == 2 && err.contains("--yes"), "{err}");
    let set = done(&["retention"], &path, &["orders", "--max-count", "8", "--keep-age", "7d", "--yes", "--json"]);
    assert_eq!(lines(&set), [serde_json::json!({ "keep_age": 604_800_000, "max_count": 8 })]);
    assert_eq!(
        done(&["retention"], &path, &["orders", "--until-settled", "--yes"]),
        "until every group has settled it\n"
    );
    let purged = done(&["purge"], &path, &["orders", "--before", "15", "--yes", "--json"]);
    let purged = lines(&purged);
    // 12, 13 and 14: the rule above has dropped what is before; the five dead letters are still there, and 15 to 19.
    assert_eq!((&purged[0]["purged"], &purged[0]["left"]), (&3.into(), &10.into()));
    assert_eq!(done(&["purge"], &path, &["orders", "--yes"]), "5 purged, 5 are left\n");
}

#[test]
fn shells_and_manuals_are_told_of_every_command() {
    let plain = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_millpond")).args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (_, help) = plain(&["--help"]);
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names: Vec<&str> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.len() > 14, "{names:?}");
    for shell in ["bash", "zsh", "fish"] {
        let (code, script) = plain(&["completions", shell]);
        assert_eq!(code, Some(0));
        names.iter().for_each(|name| assert!(script.contains(name), "{shell} lacks {name}"));
    }
    let (code, page) = plain(&["man"]);
    assert!(code == Some(0) && names.iter().filter(|name| **name != "help").all(|name| page.contains(name)));
    let (code, page) = plain(&["man", "put"]);
    assert!(code == Some(0) && page.contains(".TH millpond-put"), "{page}");
    assert_eq!(plain(&["man", "nothing"]).0, Some(2));
}
