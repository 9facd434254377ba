//! Keeps `FAULTS.md` true: every test that it names exists, and every row names one.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test, and it reads files of the repository")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Rows of all tables: their cells.
fn rows() -> Vec<Vec<String>> {
    let text = fs::read_to_string(root().join("tests/FAULTS.md")).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| Fault "));
    rows.map(|line| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// The files in which a test of this file or directory may be.
fn files(place: &str) -> Vec<PathBuf> {
    if place.starts_with("src/") {
        return vec![root().join(place)];
    }
    let directory = root().join("tests").join(place);
    if !directory.is_dir() {
        return vec![root().join(format!("tests/{place}.rs"))];
    }
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Whether there is a test of this name: a function, with the attribute before it.
fn exists(test: &str) -> bool {
    let Some((place, name)) = test.rsplit_once("::") else { return false };
    files(place).iter().any(|file| {
        let Ok(text) = fs::read_to_string(file) else { return false };
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let heading = format!("fn {name}(");
        lines.iter().enumerate().any(|(index, line)| {
            let mut before = lines.iter().take(index).rev();
            line.starts_with(&heading)
                && (before.find(|line| !line.starts_with("#[cfg")).is_some_and(|line| *line == "#[test]")
                    || lines.contains(&"proptest! {"))
        })
    })
}

#[test]
fn every_row_names_its_tests_and_all_of_them_exist() {
    let rows = rows();
    assert!(rows.len() > 25, "{} rows", rows.len());
    let mut offenders = Vec::new();
    let mut named = BTreeSet::new();
    for row in &rows {
        let [fault, must, tests] = row.as_slice() else {
            offenders.push(format!("not three cells: {row:?}"));
            continue;
        };
        if fault.is_empty() || must.is_empty() {
            offenders.push(format!("says too little: {row:?}"));
        }
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        if names.is_empty() {
            offenders.push(format!("no test: {fault}"));
        }
        offenders.extend(names.iter().filter(|name| !exists(name)).map(|name| format!("{fault}: no test {name}")));
        named.extend(names);
    }
    assert!(offenders.is_empty(), "{}", offenders.join("\n"));
    assert!(named.len() > 40, "{}", named.len());
}

#[test]
fn a_name_that_is_no_test_is_noticed() {
    assert!(exists("fault_table::a_name_that_is_no_test_is_noticed"));
    assert!(!exists("fault_table::exists"));
    assert!(!exists("fault_table::no_such_test"));
    assert!(!exists("no_such_file::no_such_test"));
    assert!(exists("lockstep::store_and_model_show_the_same_after_each_action"));
}

#[test]
fn the_table_of_mutations_has_each_patch_and_all_were_noticed() {
    let text = fs::read_to_string(root().join("tests/mutations/README.md")).unwrap();
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| `")).collect();
    let listed: BTreeSet<String> = rows.iter().map(|row| row.split('`').nth(1).unwrap().to_owned()).collect();
    let files = fs::read_dir(root().join("tests/mutations")).unwrap().map(|entry| entry.unwrap().file_name());
    let patches = files.filter_map(|name| Some(name.to_str()?.strip_suffix(".patch")?.to_owned()));
    assert_eq!(listed, patches.collect(), "`tests/mutations/run 2000 PATCH` writes the row of a patch");
    let missed: Vec<_> = rows.iter().filter(|row| row.contains("| **")).collect();
    assert!(missed.is_empty(), "not noticed when it was run last: {missed:#?}");
}
