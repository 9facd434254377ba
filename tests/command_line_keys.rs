//! `millpond --key-file FILE`: each command on an encrypted store, with its keys and without.
#![cfg(unix)]
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test fails by panicking, and writes files")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { dir: tempfile::tempdir().unwrap() };
        fs::write(bench.keys("first"), format!("# the first\nfirst {}\n", "5a".repeat(32))).unwrap();
        let both = format!("second {}\nfirst {}\n", "a5".repeat(32), "5a".repeat(32));
        fs::write(bench.keys("both"), both).unwrap();
        fs::write(bench.keys("wrong"), format!("first {}\n", "00".repeat(32))).unwrap();
        bench
    }

    fn keys(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn pond(&self) -> PathBuf {
        self.dir.path().join("pond")
    }

    /// What a command says on both its outputs, and how it ends.
    fn run(&self, keys: Option<&str>, arguments: &[&str], stdin: &str) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millpond"));
        if let Some(keys) = keys {
            command.arg("--key-file").arg(self.keys(keys));
        }
        command.args(arguments).current_dir(self.dir.path());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // One that refuses reads nothing.
        drop(child.stdin.take().unwrap().write_all(stdin.as_bytes()));
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        (status.code().unwrap(), format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
    }
}

fn holds(path: &Path, text: &str) -> bool {
    let journal = fs::read_dir(path.join("journal")).unwrap();
    let bytes = journal.map(|entry| fs::read(entry.unwrap().path()).unwrap());
    bytes.into_iter().any(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
}

#[test]
fn every_command_takes_the_keys_and_none_gets_by_without() {
    let bench = Bench::new();
    let (code, said) = bench.run(Some("first"), &["put", "pond", "numbers"], "number one\nnumber two\n");
    assert_eq!(code, 0, "{said}");
    assert!(!holds(&bench.pond(), "number one") && !holds(&bench.pond(), "numbers"));
    let looking: [&[&str]; 10] = [
        &["peek", "pond", "numbers"],
        &["info", "pond"],
        &["metrics", "pond"],
        &["ls", "pond"],
        &["verify", "pond"],
        &["repair", "pond"],
        &["export", "pond", "numbers"],
        &["backup", "pond", "copy"],
        &["put", "pond", "numbers"],
        &["work", "pond", "numbers", "printer", "--once", "--", "cat"],
    ];
    for arguments in looking {
        let (code, said) = bench.run(None, arguments, "");
        assert_eq!(code, 2, "{arguments:?}: {said}");
        assert!(said.contains(r#"the key named "first""#), "{arguments:?}: {said}");
        let (code, said) = bench.run(Some("wrong"), arguments, "");
        assert_eq!(code, 2, "{arguments:?}: {said}");
        assert!(said.contains("another key than the one given"), "{arguments:?}: {said}");
    }
    for arguments in looking {
        let (code, said) = bench.run(Some("first"), arguments, "");
        assert_eq!(code, 0, "{arguments:?}: {said}");
        let shown = ["peek", "export", "work"].iter().any(|name| arguments.first() == Some(name));
        assert!(!shown || said.contains("number one"), "{arguments:?}: {said}");
    }
    assert!(!holds(&bench.dir.path().join("copy"), "number one"));
    let (code, said) = bench.run(None, &["dump", "pond"], "");
    assert!(code == 0 && said.contains("encrypted") && !said.contains("Publish"), "{said}");
    let (code, said) = bench.run(Some("first"), &["dump", "pond"], "");
    assert!(code == 0 && said.contains("Publish"), "{said}");
}

#[test]
fn another_first_key_is_the_one_from_then_on_and_info_names_both() {
    let bench = Bench::new();
    assert_eq!(bench.run(Some("first"), &["put", "pond", "numbers"], "one\n").0, 0);
    assert_eq!(bench.run(Some("both"), &["put", "pond", "numbers"], "two\n").0, 0);
    let (code, said) = bench.run(Some("both"), &["info", "pond"], "");
    assert!(code == 0 && said.contains("KEY") && said.contains("first") && said.contains("second"), "{said}");
    let (code, said) = bench.run(Some("first"), &["info", "pond"], "");
    assert!(code == 2 && said.contains(r#"the key named "second""#), "{said}");
}

#[test]
fn a_file_of_keys_that_is_wrong_is_told_without_what_is_in_it() {
    let bench = Bench::new();
    fs::write(bench.keys("bad"), "first 5a5a5a\n").unwrap();
    let (code, said) = bench.run(Some("bad"), &["put", "pond", "numbers"], "one\n");
    assert!(code == 2 && said.contains("line 1: a key is 64 hexadecimal digits") && !said.contains("5a5a"), "{said}");
    let (code, said) = bench.run(Some("nowhere"), &["put", "pond", "numbers"], "one\n");
    assert!(code == 2 && said.contains("nowhere"), "{said}");
    assert!(!bench.pond().exists());
}
