//! What the README and the guide show is what there is: the worker of the README is short and is compiled as the
//! documentation's tests are, and the captures of the guide have the lines that the program prints.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use millpond::{Group, Message, Store};
use std::process::{Command, Stdio};

fn read(path: &str) -> String {
    std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn the_readme_is_of_a_length_that_is_read_and_its_worker_has_less_than_forty_lines() {
    let readme = read("README.md");
    let lines = readme.lines().count();
    assert!((100..=200).contains(&lines), "{lines}");
    let worker = readme.split("```rust").find(|block| block.contains("run_async")).unwrap();
    let worker = worker.split("```").next().unwrap().lines().skip(1).count();
    assert!(worker < 40, "{worker}");
}

/// The first words of the lines of the fenced block that has `within` in it.
fn labels(text: &str, within: &str) -> Vec<String> {
    let block = text.split("```").find(|block| block.contains(within)).unwrap();
    let lines = block.lines().map(|line| line.trim_start_matches("//!").trim()).filter(|line| !line.is_empty());
    lines.filter(|line| *line != "text").map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

#[test]
fn the_dead_letter_in_the_guide_looks_as_the_program_shows_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("pond")).unwrap();
    let orders = store.topic("orders").unwrap();
    let group = Group::default().retry(millpond::Retry::fixed(std::time::Duration::ZERO).attempts(3));
    let email = orders.consumer("email", group).unwrap();
    orders.publish(Message::new("{\"order\":4711}").key("customer-7")).wait().unwrap();
    for _ in 0..3 {
        email.lease().unwrap().nack("550 no such mailbox").wait().unwrap();
    }
    store.close().unwrap();
    let shown = Command::new(env!("CARGO_BIN_EXE_millpond"))
        .args(["dlq", "show"])
        .arg(dir.path().join("pond"))
        .args(["orders", "email", "0"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let shown = labels(&format!("```\n{shown}```"), "offset");
    assert_eq!(shown, labels(&read("src/guide/operations.rs"), "550 no such mailbox"));
}

#[test]
fn the_picture_of_top_in_the_guide_is_the_one_that_its_test_pins() {
    let (guide, test) = (read("src/guide/operations.rs"), read("src/bin/millpond/top/draw.rs"));
    let picture = guide.split("```").find(|block| block.contains("DONE/S")).unwrap();
    let lines = picture.lines().map(|line| line.trim_start_matches("//!").trim());
    let mut held = 0;
    for line in lines.filter(|line| !line.is_empty() && *line != "text") {
        assert!(test.contains(line), "{line}");
        held += 1;
    }
    assert_eq!(held, 6);
}
