//! The program `millpond`, end to end: what it prints, what it stores, and its exit codes.
#![cfg(unix)]
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test fails by panicking, and plants files")]

use millpond::{Group, Offset, Retry, Store};
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

fn millpond(arguments: &[&str], path: &Path, rest: &[&str], input: &str) -> Ended {
    let mut child = Command::new(env!("CARGO_BIN_EXE_millpond"))
        .args(arguments)
        .arg(path)
        .args(rest)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that is refused does not read.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    Ended { code: output.status.code(), out, err }
}

#[track_caller]
fn done(ended: Ended) -> Ended {
    assert_eq!(ended.code, Some(0), "{} {}", ended.out, ended.err);
    ended
}

#[track_caller]
fn refused(ended: &Ended, text: &str) {
    assert_eq!(ended.code, Some(2), "{} {}", ended.out, ended.err);
    assert!(ended.err.contains(text), "{}", ended.err);
    assert_eq!(ended.out, "");
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A store of the numbers 1 to 20.
fn numbers() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pond");
    let input: String = (1..=20).map(|number| format!("{number}\n")).collect();
    let ended = done(millpond(&["put"], &path, &["numbers"], &input));
    assert!(ended.err.contains("20 messages accepted into numbers and on disk: offsets 0 to 19"), "{}", ended.err);
    (dir, path)
}

fn lines_of_numbers() -> Vec<String> {
    (1..=20).map(|number| number.to_string()).collect()
}

#[test]
fn what_is_put_is_peeked() {
    let (_dir, path) = numbers();
    let shown = json_lines(&done(millpond(&["peek"], &path, &["numbers", "--json", "-n", "100"], "")).out);
    let payloads: Vec<&str> = shown.iter().map(|line| line["payload"].as_str().unwrap()).collect();
    assert_eq!(payloads, lines_of_numbers());
    let newest =
        json_lines(&done(millpond(&["peek"], &path, &["numbers", "--json", "-n", "3", "--from", "latest"], "")).out);
    let offsets: Vec<u64> = newest.iter().map(|line| line["offset"].as_u64().unwrap()).collect();
    assert_eq!(offsets, [17, 18, 19]);
    let table = done(millpond(&["peek"], &path, &["numbers", "-n", "2", "--from", "5"], "")).out;
    assert!(table.contains("OFFSET") && table.contains("PAYLOAD") && table.lines().count() == 3, "{table}");
    // A last line without its newline counts, an empty line is an empty message.
    done(millpond(&["put"], &path, &["numbers"], "\nlast"));
    let newest = json_lines(&done(millpond(&["peek"], &path, &["numbers", "--json", "--from", "20"], "")).out);
    assert_eq!((&newest[0]["payload"], &newest[1]["payload"]), (&json!(""), &json!("last")));
}

#[test]
fn lines_of_json_keep_everything_and_a_bad_one_stops_with_what_came_before_it_stored() {
    let dir = tempfile::tempdir().unwrap();
    let good = r#"{"payload":"4711","id":"order-1","key":"c-7","headers":[["a","1"],["a","2"]]}"#;
    let input = format!("{good}\n\n{{\"payload\":\"x\",\"delay\":\"5y\"}}\n{{\"payload\":\"never\"}}\n");
    let ended = millpond(&["put"], dir.path(), &["orders", "--jsonl"], &input);
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    assert!(ended.err.contains("line 3") && ended.err.contains("delay"), "{}", ended.err);
    let shown = json_lines(&done(millpond(&["peek"], dir.path(), &["orders", "--json"], "")).out);
    assert_eq!(shown.len(), 1);
    assert_eq!(
        (&shown[0]["payload"], &shown[0]["id"], &shown[0]["key"]),
        (&json!("4711"), &json!("order-1"), &json!("c-7"))
    );
    assert_eq!(shown[0]["headers"], json!([["a", "1"], ["a", "2"]]));
    // Put again it is there already, with another payload it is refused.
    let again =
        done(millpond(&["put"], dir.path(), &["orders", "--jsonl"], &format!("{good}\n{{\"payload\":\"new\"}}\n")));
    assert!(again.err.contains("1 message accepted") && again.err.contains("1 was there already"), "{}", again.err);
    let reused = millpond(&["put"], dir.path(), &["orders", "--jsonl"], &good.replace("4711", "4712"));
    assert_eq!(reused.code, Some(1));
    assert!(reused.err.contains("order-1") && reused.err.contains("another payload"), "{}", reused.err);
}

#[test]
fn work_hands_each_message_to_a_command_once() {
    let (_dir, path) = numbers();
    // What the first group has settled would be gone for one that comes later.
    let store = Store::open(&path).unwrap();
    store.topic("numbers").unwrap().consumer("other", Group::default()).unwrap();
    store.close().unwrap();
    let names = r#""$MILLPOND_OFFSET" "$MILLPOND_ATTEMPT" "$MILLPOND_TOPIC" "$MILLPOND_GROUP""#;
    let script = &format!(r#"printf '%s %s %s %s %s\n' "$(cat)" {names}"#);
    let ended = done(millpond(&["work"], &path, &["numbers", "printer", "--once", "--", "sh", "-c", script], ""));
    let expected: Vec<String> = (1..=20).map(|number| format!("{number} {} 1 numbers printer", number - 1)).collect();
    assert_eq!(ended.out.lines().collect::<Vec<_>>(), expected);
    assert!(ended.err.contains("20 acknowledged, 0 failed"), "{}", ended.err);
    let again = done(millpond(&["work"], &path, &["numbers", "printer", "--once", "--", "cat"], ""));
    assert_eq!(again.out, "");
    // Another group gets everything, here with four at a time.
    let other = done(millpond(&["work"], &path, &["numbers", "other", "--once", "--jobs", "4", "--", "sed", "p"], ""));
    // Each number twice, and the newline that sed puts between the two.
    assert_eq!(other.out.len(), 2 * lines_of_numbers().concat().len() + lines_of_numbers().len());
}

#[test]
fn work_with_lines_feeds_one_command() {
    let (_dir, path) = numbers();
    let rest = ["numbers", "printer", "--once", "--lines", "--", "sh", "-c", "while read n; do echo $$ $n; done"];
    let ended = done(millpond(&["work"], &path, &rest, ""));
    let lines: Vec<(&str, &str)> = ended.out.lines().map(|line| line.split_once(' ').unwrap()).collect();
    assert_eq!(lines.iter().map(|(_, number)| *number).collect::<Vec<_>>(), lines_of_numbers());
    assert!(lines.iter().all(|(process, _)| *process == lines[0].0), "one process for all");
    let again = done(millpond(&["work"], &path, &rest, ""));
    assert_eq!(again.out, "");
}

#[test]
fn a_thousand_through_lines_are_each_delivered_once() {
    let dir = tempfile::tempdir().unwrap();
    let input: String = (1..=1000).map(|number| format!("{number}\n")).collect();
    done(millpond(&["put"], dir.path(), &["numbers"], &input));
    let ended = done(millpond(&["work"], dir.path(), &["numbers", "printer", "--once", "--lines", "--", "cat"], ""));
    assert_eq!(ended.out, input);
}

#[test]
fn exit_codes_of_the_command_ack_release_and_fail() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let jobs = store.topic("jobs").unwrap();
    jobs.publish_all(["fine", "later", "bad"].map(Into::into)).wait().unwrap();
    let quick = Group::default().retry(Retry::fixed(Duration::from_millis(1)).attempts(2));
    jobs.consumer("runner", quick).unwrap();
    store.close().unwrap();
    let flag = dir.path().with_extension("flag");
    let script = format!(
        r#"case "$(cat)" in
            later) [ -e {0} ] || {{ touch {0}; exit 75; }};;
            bad) echo "no such thing $MILLPOND_ATTEMPT" >&2; exit 3;;
        esac"#,
        flag.display()
    );
    let ended = millpond(&["work"], dir.path(), &["jobs", "runner", "--once", "--", "sh", "-c", &script], "");
    std::fs::remove_file(&flag).unwrap();
    assert_eq!(ended.code, Some(1), "a new dead letter: {}", ended.err);
    assert!(ended.err.contains("2 acknowledged, 2 failed, 1 released, 1 new dead letters"), "{}", ended.err);
    let store = Store::open(dir.path()).unwrap();
    let runner = store.topic("jobs").unwrap().consumer("runner", Group::default()).unwrap();
    let letters: Vec<_> = runner.dead_letters().map(Result::unwrap).collect();
    assert_eq!((letters.len(), letters[0].offset(), letters[0].failures()), (1, Offset::new(2), 2));
    let errors: Vec<&str> = letters[0].errors().iter().map(|(_, text)| text.as_str()).collect();
    assert!(errors[0].contains("no such thing 1") && errors[1].contains("no such thing 2"), "{errors:?}");
    assert!(errors[0].contains('3'), "the exit status: {errors:?}");
}

#[test]
fn a_command_that_can_not_be_started_fails_the_work_and_charges_no_message() {
    let (_dir, path) = numbers();
    let ended = millpond(&["work"], &path, &["numbers", "printer", "--once", "--", "no-such-command-here"], "");
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("no-such-command-here"), "{}", ended.err);
    let info = json_lines(&done(millpond(&["info"], &path, &["--json"], "")).out);
    let group = info.iter().find(|line| line["kind"] == "group").unwrap();
    assert_eq!((&group["ready"], &group["retrying"], &group["dead"]), (&json!(20), &json!(0), &json!(0)));
}

#[test]
fn a_delayed_line_is_shown_and_not_worked_on_before_it_is_due() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pond");
    let lines = "{\"payload\":\"later\",\"delay\":\"1h\"}\n{\"payload\":\"now\",\"expires_after\":\"1h\"}\n";
    done(millpond(&["put"], &path, &["jobs", "--jsonl"], lines));
    let worked = done(millpond(&["work"], &path, &["jobs", "runner", "--once", "--", "cat"], ""));
    assert_eq!(worked.out, "now");
    let info = json_lines(&done(millpond(&["info"], &path, &["--json"], "")).out);
    let group = info.iter().find(|line| line["kind"] == "group").unwrap();
    assert_eq!((&group["delayed"], &group["ready"]), (&json!(1), &json!(0)));
    let peeked = json_lines(&done(millpond(&["peek"], &path, &["jobs", "--json"], "")).out);
    assert_eq!((peeked.len(), &peeked[0]["payload"]), (1, &json!("later")));
    assert!(peeked[0]["due"].as_u64().unwrap() >= peeked[0]["time"].as_u64().unwrap() + 3_600_000);
    let table = done(millpond(&["peek"], &path, &["jobs"], "")).out;
    assert!(table.contains("DUE"), "{table}");
}

#[test]
fn info_counts_topics_groups_and_segments() {
    let (_dir, path) = numbers();
    done(millpond(&["work"], &path, &["numbers", "printer", "--once", "--", "true"], ""));
    let info = json_lines(&done(millpond(&["info"], &path, &["--json"], "")).out);
    let of = |kind: &str| info.iter().find(|line| line["kind"] == kind).unwrap().clone();
    assert_eq!(
        (&of("topic")["topic"], &of("topic")["messages"], &of("topic")["end"]),
        (&json!("numbers"), &json!(0), &json!(20)),
        "what every group has settled is gone"
    );
    assert_eq!((&of("group")["group"], &of("group")["ready"]), (&json!("printer"), &json!(0)));
    assert!(of("segment")["bytes"].as_u64().unwrap() > 0 && of("store")["openings"].as_u64().unwrap() >= 3);
    let table = done(millpond(&["info"], &path, &[], "")).out;
    assert!(table.contains("TOPIC") && table.contains("numbers") && table.contains("printer"), "{table}");
}

#[test]
fn verify_says_intact_or_names_the_damage() {
    let (_dir, path) = numbers();
    let ended = done(millpond(&["verify"], &path, &[], ""));
    assert!(ended.out.contains("intact") && ended.out.contains("messages: 20"), "{}", ended.out);
    let segment = path.join("journal/0000000001.segment");
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = bytes.windows(4).position(|window| window == b"numb").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let ended = millpond(&["verify"], &path, &[], "");
    assert_eq!(ended.code, Some(1));
    assert!(ended.out.contains("journal/0000000001.segment bytes"), "{}", ended.out);
    let ended = millpond(&["verify"], &path, &["--json"], "");
    let lines = json_lines(&ended.out);
    assert_eq!((ended.code, &lines.last().unwrap()["intact"]), (Some(1), &json!(false)));
    let place = lines.iter().find(|line| line["kind"] == "damage").unwrap();
    assert!(place["from"].as_u64().unwrap() <= at as u64 && (at as u64) < place["to"].as_u64().unwrap());
    // Nothing else works on it, and says so.
    assert_eq!(millpond(&["peek"], &path, &["numbers"], "").code, Some(1));
    assert_eq!(millpond(&["put"], &path, &["numbers"], "21\n").code, Some(1));
}

#[test]
fn an_unknown_topic_or_store_is_an_error_and_no_empty_answer() {
    let (dir, path) = numbers();
    refused(&millpond(&["peek"], &path, &["nombres"], ""), "nombres");
    refused(&millpond(&["work"], &path, &["nombres", "printer", "--once", "--", "cat"], ""), "nombres");
    let nowhere = dir.path().join("nowhere");
    for arguments in [&["peek"], &["info"], &["verify"], &["work"]] {
        let rest: &[&str] = match arguments {
            ["peek"] => &["numbers"],
            ["work"] => &["numbers", "printer", "--once", "--", "cat"],
            _ => &[],
        };
        refused(&millpond(arguments, &nowhere, rest, ""), "no store");
        assert!(!nowhere.exists());
    }
    let topics = json_lines(&done(millpond(&["info"], &path, &["--json"], "")).out);
    assert_eq!(topics.iter().filter(|line| line["kind"] == "topic").count(), 1, "looking made no topic");
    assert_eq!(millpond(&["peek"], &path, &["numbers", "--from", "yesterday"], "").code, Some(2));
}

#[test]
fn a_store_that_somebody_else_has_open_is_locked_by_its_owner() {
    let (_dir, path) = numbers();
    let owner = Store::open(&path).unwrap();
    let commands: [(&[&str], &[&str]); 2] =
        [(&["put"], &["numbers"]), (&["work"], &["numbers", "printer", "--once", "--", "cat"])];
    for (command, rest) in commands {
        refused(&millpond(command, &path, rest, ""), "locked by its owner");
    }
    // Those that only look are not in its way.
    owner.topic("numbers").unwrap().publish("4711").wait().unwrap();
    let tail = done(millpond(&["tail"], &path, &["numbers", "-n", "1", "--json"], "")).out;
    assert_eq!(json_lines(&tail)[0]["payload"], "4711");
    let info = json_lines(&done(millpond(&["info"], &path, &["--json"], "")).out);
    let topic = info.iter().find(|line| line["kind"] == "topic").unwrap();
    let peeked = done(millpond(&["peek"], &path, &["numbers", "--json", "-n", "1000"], "")).out;
    assert_eq!(topic["messages"].as_u64().unwrap(), json_lines(&peeked).len() as u64);
    done(millpond(&["verify"], &path, &[], ""));
    let copy = path.with_extension("copy");
    done(millpond(&["backup"], &path, &[copy.to_str().unwrap()], ""));
    refused(&millpond(&["backup"], &path, &[copy.to_str().unwrap()], ""), "not empty");
    let copied = done(millpond(&["peek"], &copy, &["numbers", "--json", "-n", "1000"], "")).out;
    assert_eq!(copied, peeked);
    owner.close().unwrap();
    done(millpond(&["info"], &path, &[], ""));
}
