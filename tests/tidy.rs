//! The house rules that no compiler checks. Each test lists every offender with its place.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "in a test, a panic is how it fails")]

use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::{Path, PathBuf};

/// Which modules of the crate a module may name besides itself. Arrows point down; `journal` and `state` have never
/// heard of each other, and only `engine` knows both.
const MAY_USE: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("seen", &[]),
    ("sync", &[]),
    ("histogram", &[]),
    ("error", &["types"]),
    ("clock", &["types", "error", "sync"]),
    ("retention", &["types"]),
    ("config", &["types", "error", "clock", "retention"]),
    ("ticket", &["types", "error", "clock", "config", "sync"]),
    ("message", &["types", "error", "config"]),
    ("storage", &["types", "error", "clock", "config", "sync"]),
    // It moves opaque bytes: no message, no event, no topic.
    ("journal", &["types", "error", "clock", "config", "sync", "ticket", "storage"]),
    ("event", &["types", "error", "config", "message"]),
    ("state", &["types", "error", "config", "message", "event"]),
    ("tables", &["types", "error", "storage", "sync"]),
    (
        "engine",
        &[
            "types",
            "error",
            "clock",
            "config",
            "sync",
            "ticket",
            "message",
            "storage",
            "journal",
            "event",
            "state",
            "tables",
            "histogram",
        ],
    ),
];

/// The handles may name what is below them, and each other; nothing below names a handle.
const HANDLES: &[&str] = &[
    "backup",
    "store",
    "topic",
    "consumer",
    "dead_letter",
    "delivery",
    "encryption",
    "leasing",
    "link",
    "metering",
    "prometheus",
    "options",
    "pause",
    "read_only",
    "redrive",
    "replay",
    "restore",
    "run",
    "salvage",
    "schedule",
    "stats",
    "testing",
    "trace",
    "transaction",
    "typed",
    "workers",
];
/// What the handles have no business with: all of it is behind the engine.
const BEHIND_THE_ENGINE: &[&str] = &["storage", "journal", "state", "tables"];
/// These re-export and wire up; any module is theirs to name.
const ROOTS: &[&str] = &["lib", "bin", "testing"];

const MOST_LINES: usize = 500;
const MOST_COLUMNS: usize = 120;

struct Source {
    /// Relative to the crate's directory, with `/`.
    path: String,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[expect(clippy::disallowed_methods, reason = "what is checked are files of the repository, not of a store")]
fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.map(|entry| entry.unwrap()) {
        let name = entry.file_name();
        // `target` and the fuzzer's findings are made here, not written here.
        if entry.file_type().unwrap().is_dir() {
            if !["target", ".git", "corpus", "artifacts"].iter().any(|skipped| name == *skipped) {
                walk(&entry.path(), found);
            }
        } else if name != ".git" {
            found.push(entry.path());
        }
    }
}

/// The files below `directories` whose names end in one of `endings`; all that are text if there are none.
fn sources(directories: &[&str], endings: &[&str]) -> Vec<Source> {
    let mut paths = Vec::new();
    directories.iter().for_each(|directory| walk(&root().join(directory), &mut paths));
    paths.sort();
    let wanted = |path: &str| endings.is_empty() || endings.iter().any(|ending| path.ends_with(ending));
    let relative = |path: &PathBuf| path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
    paths
        .iter()
        .filter(|path| wanted(&relative(path)))
        .filter_map(|path| Some(Source { path: relative(path), text: std::fs::read_to_string(path).ok()? }))
        .collect()
}

fn rust_of_the_crate() -> Vec<Source> {
    sources(&["src"], &[".rs"])
}

fn all_rust() -> Vec<Source> {
    sources(&["src", "tests", "benches", "examples", "fuzz"], &[".rs"])
}

/// Fails with all of them, one a line.
fn none(rule: &str, offenders: &[String]) {
    assert!(offenders.is_empty(), "{rule}:\n  {}\n", offenders.join("\n  "));
}

fn at(source: &Source, line: usize, what: impl Display) -> String {
    format!("{}:{line}: {what}", source.path)
}

/// The lines with their numbers, with what follows `//` taken away. A `//` in a string goes too, which hides nothing
/// that these rules look for.
fn code(source: &Source) -> impl Iterator<Item = (usize, &str)> {
    let numbered = source.text.lines().enumerate();
    numbered.map(|(index, line)| (index + 1, line.split_once("//").map_or(line, |(code, _)| code)))
}

/// Top-level module of a file in `src`: `src/state/group.rs` belongs to `state`.
fn module(path: &str) -> &str {
    let inside = path.strip_prefix("src/").unwrap_or(path);
    inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs")
}

fn identifier(text: &str) -> &str {
    text.split(|character: char| !character.is_alphanumeric() && character != '_').next().unwrap_or_default()
}

/// Each `crate::x` and each `x` of `crate::{x, ..}`, with its line.
fn crate_paths(source: &Source) -> Vec<(usize, String)> {
    let text: String = code(source).map(|(_, line)| format!("{line}\n")).collect();
    let mut found = Vec::new();
    for (position, _) in text.match_indices("crate::") {
        let line = text[..position].matches('\n').count() + 1;
        let rest = &text[position + "crate::".len()..];
        if !rest.starts_with('{') {
            found.push((line, identifier(rest).to_owned()));
            continue;
        }
        let (mut depth, mut item_begins) = (0, true);
        for (index, character) in rest.char_indices() {
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => item_begins = true,
                _ if depth == 1 && item_begins && character.is_alphabetic() => {
                    item_begins = false;
                    let line = line + rest[..index].matches('\n').count();
                    found.push((line, identifier(&rest[index..]).to_owned()));
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    found
}

fn may_name(from: &str, to: &str) -> Result<bool, String> {
    // Any place may say that it was come to.
    if from == to || to == "seen" || ROOTS.contains(&from) {
        return Ok(true);
    }
    if HANDLES.contains(&from) {
        return Ok(!BEHIND_THE_ENGINE.contains(&to));
    }
    let row = MAY_USE.iter().find(|(module, _)| *module == from);
    row.map(|(_, below)| below.contains(&to)).ok_or_else(|| format!("module `{from}` has no place in the layers"))
}

#[test]
fn arrows_between_modules_point_down() {
    let mut offenders = Vec::new();
    for source in rust_of_the_crate() {
        let from = module(&source.path);
        for (line, to) in crate_paths(&source) {
            // Capitals are the crate's re-exports, seen from a program; a module below naming one goes round the order.
            let ok = if to.starts_with(char::is_uppercase) { Ok(ROOTS.contains(&from)) } else { may_name(from, &to) };
            match ok {
                Ok(true) => {}
                Ok(false) => offenders.push(at(&source, line, format!("`{from}` must not name `crate::{to}`"))),
                Err(why) => offenders.push(at(&source, line, why)),
            }
        }
    }
    none("layers (see MAY_USE)", &offenders);
}

#[test]
fn a_module_that_grows_out_of_the_layers_is_noticed() {
    assert_eq!(may_name("journal", "state"), Ok(false));
    assert_eq!(may_name("state", "journal"), Ok(false));
    assert_eq!(may_name("store", "journal"), Ok(false));
    assert_eq!(may_name("store", "engine"), Ok(true));
    assert!(may_name("utils", "types").is_err());
    let text = "use crate::{\n    journal::{Frame, Lsn},\n    types::Offset, // crate::state\n};\n\
        fn f(x: crate::engine::E) {}";
    let source = Source { path: "src/state/x.rs".into(), text: text.into() };
    let names: Vec<(usize, &str)> = vec![(2, "journal"), (3, "types"), (5, "engine")];
    let found = crate_paths(&source);
    assert_eq!(found.iter().map(|(line, name)| (*line, name.as_str())).collect::<Vec<_>>(), names);
}

#[test]
fn no_file_is_longer_than_a_person_reads() {
    let files = sources(&["src", "tests", "benches", "examples"], &[".rs"]);
    let long = files.iter().map(|source| (source, source.text.lines().count())).filter(|(_, n)| *n > MOST_LINES);
    let offenders: Vec<String> = long.map(|(source, n)| at(source, n, format!("over {MOST_LINES} lines"))).collect();
    none("one noun per file", &offenders);
}

#[test]
fn no_line_is_wider_than_the_page() {
    let mut offenders = Vec::new();
    for source in all_rust() {
        for (index, line) in source.text.lines().enumerate() {
            let columns = line.chars().count();
            // A row of a table can't be broken.
            let row = line.trim_start().trim_start_matches(['/', '!']).trim_start().starts_with('|');
            if columns > MOST_COLUMNS && !row {
                offenders.push(at(&source, index + 1, format!("{columns} columns")));
            }
        }
    }
    none("columns", &offenders);
}

#[test]
fn nothing_is_left_for_later_in_the_code() {
    let mut offenders = Vec::new();
    for source in sources(&["src", "benches", "examples", "fuzz"], &[".rs"]) {
        for (number, line) in code(&source) {
            for banned in ["todo!", "unimplemented!", "dbg!"] {
                if line.contains(banned) {
                    offenders.push(at(&source, number, banned));
                }
            }
        }
        for (index, line) in source.text.lines().enumerate() {
            for banned in ["TODO", "FIXME", "XXX"] {
                if line.contains(banned) {
                    offenders.push(at(&source, index + 1, banned));
                }
            }
        }
    }
    none("unfinished", &offenders);
}

#[test]
fn an_exception_is_expected_and_argued_never_allowed() {
    let mut offenders = Vec::new();
    for source in all_rust() {
        for (number, line) in code(&source) {
            let attribute = line.trim_start();
            if attribute.starts_with("#[allow(") || attribute.starts_with("#![allow(") {
                offenders.push(at(&source, number, "allow: use expect, with a reason"));
            }
        }
        // An attribute may go over several lines; its reason is before the bracket that ends it.
        for (position, _) in source.text.match_indices("[expect(") {
            let attribute = &source.text[position..];
            if !attribute[..attribute.find(")]").unwrap_or(attribute.len())].contains("reason") {
                let line = source.text[..position].matches('\n').count() + 1;
                offenders.push(at(&source, line, "expect without a reason"));
            }
        }
    }
    offenders.retain(|offender| !offender.starts_with("tests/tidy.rs"));
    none("lint exceptions", &offenders);
}

#[test]
fn every_file_says_first_what_it_is_for() {
    let files = all_rust();
    let silent = files.iter().filter(|source| !source.text.starts_with("//!"));
    let offenders: Vec<String> = silent.map(|source| at(source, 1, "does not begin with `//!`")).collect();
    none("module docs", &offenders);
}

/// Where `mod name;` in `path` may lead.
fn candidates(path: &str, name: &str) -> [String; 2] {
    let (directory, file) = path.rsplit_once('/').unwrap_or(("", path));
    let inside = match file {
        "lib.rs" | "main.rs" | "mod.rs" => directory.to_owned(),
        other => format!("{directory}/{}", other.trim_end_matches(".rs")),
    };
    [format!("{inside}/{name}.rs"), format!("{inside}/{name}/mod.rs")]
}

#[test]
fn every_file_is_part_of_the_crate() {
    let files = rust_of_the_crate();
    let mut reached: BTreeSet<String> = BTreeSet::new();
    let mut waiting: Vec<String> = vec!["src/lib.rs".into()];
    waiting.extend(files.iter().map(|source| source.path.clone()).filter(|path| is_program(path)));
    while let Some(path) = waiting.pop() {
        let Some(source) = files.iter().find(|source| source.path == path) else { continue };
        if !reached.insert(path) {
            continue;
        }
        for (_, line) in code(source) {
            if let Some((_, path)) = line.split_once("#[path = \"") {
                let directory = source.path.rsplit_once('/').map_or("", |(directory, _)| directory);
                waiting.push(format!("{directory}/{}", path.split('"').next().unwrap_or_default()));
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            // `mod x;`, `pub mod x;`, `#[cfg(test)] mod x;`
            if let [.., "mod", name] = words.as_slice()
                && let Some(name) = name.strip_suffix(';')
            {
                waiting.extend(candidates(&source.path, name));
            }
        }
    }
    let dead = files.iter().filter(|source| !reached.contains(&source.path));
    let offenders: Vec<String> = dead.map(|source| at(source, 1, "no `mod` line leads here")).collect();
    none("dead files", &offenders);
}

fn is_program(path: &str) -> bool {
    path.strip_prefix("src/bin/")
        .is_some_and(|inside| !inside.contains('/') || inside.ends_with("/main.rs") && inside.matches('/').count() == 1)
}

#[test]
fn nothing_names_the_machine_it_was_written_on() {
    // In pieces, or this file would be the first offender.
    let machines = [concat!("/wo", "rk/"), concat!("/tmp/", "bash_jobs"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
    let mut offenders = Vec::new();
    for source in sources(&["."], &[]) {
        for (index, line) in source.text.lines().enumerate() {
            for machine in machines {
                if line.contains(machine) {
                    offenders.push(at(&source, index + 1, machine));
                }
            }
        }
    }
    none("machine paths", &offenders);
}

/// The doc lines and attributes right above line `index`, last one first.
fn docs_above(lines: &[&str], index: usize) -> String {
    let above = lines[..index].iter().rev().map(|line| line.trim());
    above.take_while(|line| line.starts_with("///") || line.starts_with("#[")).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_setting_of_a_store_tells_its_default() {
    let mut offenders = Vec::new();
    for source in rust_of_the_crate().iter().filter(|source| module(&source.path) == "config") {
        let lines: Vec<&str> = source.text.lines().collect();
        let mut in_options = false;
        for (index, line) in lines.iter().enumerate() {
            in_options = match *line {
                "impl Options {" => true,
                "}" => false,
                _ => in_options,
            };
            let setter = line.trim_start().starts_with("pub fn ") && line.contains("mut self");
            if in_options && setter && !docs_above(&lines, index).to_lowercase().contains("default") {
                offenders.push(at(source, index + 1, "its doc does not tell the default"));
            }
        }
    }
    none("settings", &offenders);
}

#[test]
fn every_dependency_is_argued_on_its_line() {
    let mut offenders = Vec::new();
    for source in sources(&["."], &["Cargo.toml"]) {
        let mut in_dependencies = false;
        for (index, line) in source.text.lines().enumerate() {
            if line.starts_with('[') {
                in_dependencies = line.trim_end().ends_with("dependencies]");
            } else if in_dependencies && line.contains('=') && !line.starts_with('#') {
                let reason = line.rsplit_once('#').map_or("", |(_, reason)| reason.trim());
                if reason.is_empty() {
                    offenders.push(at(&source, index + 1, line));
                }
            }
        }
    }
    none("dependencies", &offenders);
}

/// A mutation that does not apply any more would prove nothing, and is found only when somebody runs them all.
#[test]
fn every_mutation_of_the_engine_still_applies() {
    let mut patches = Vec::new();
    walk(&root().join("tests/mutations"), &mut patches);
    patches.retain(|path| path.extension().is_some_and(|ending| ending == "patch"));
    assert!(patches.len() >= 6, "{patches:?}");
    let mut offenders = Vec::new();
    for path in patches {
        let text = std::fs::read_to_string(&path).unwrap();
        let mut file = String::new();
        for part in text.split("\n@@ ").flat_map(|part| part.split("diff --git")) {
            if let Some(name) = part.lines().find_map(|line| line.strip_prefix("--- a/")) {
                file = std::fs::read_to_string(root().join(name)).unwrap();
                continue;
            }
            let old: Vec<&str> = part.lines().skip(1).filter_map(|line| line.strip_prefix([' ', '-'])).collect();
            if !old.is_empty() && !file.contains(&old.join("\n")) {
                offenders.push(format!("{}: {}", path.display(), old.join(" / ")));
            }
        }
    }
    none("a patch of tests/mutations does not apply to this tree", &offenders);
}

/// Nothing is dropped that no cause names: the events by which messages leave have one constructor.
#[test]
fn removals_are_made_in_one_place() {
    let mut offenders = Vec::new();
    for source in rust_of_the_crate().iter().filter(|source| module(&source.path) == "engine") {
        for (index, line) in source.text.lines().enumerate() {
            let made = ["Settle {", "Dropped {"].iter().any(|made| line.contains(made));
            if made && !source.path.ends_with("removal.rs") {
                offenders.push(format!("{}:{}", source.path, index + 1));
            }
        }
    }
    none("removals (see `Core::remove`)", &offenders);
}

/// The lines of a section of Cargo.toml.
fn section<'a>(manifest: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let header = format!("[{name}]");
    let lines = manifest.lines().skip_while(move |line| *line != header).skip(1);
    lines.take_while(|line| !line.starts_with('[')).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

#[test]
fn the_default_build_has_twelve_direct_dependencies_and_each_feature_is_checked_alone() {
    let manifest = &sources(&["."], &["Cargo.toml"]).into_iter().find(|file| file.path == "Cargo.toml").unwrap().text;
    let direct: Vec<&str> =
        section(manifest, "dependencies").filter(|line| !line.contains("optional = true")).collect();
    assert!(direct.len() <= 12, "{} of them: {direct:#?}", direct.len());
    let lean = section(manifest, "dependencies").filter(|line| !line.contains("clap") && !line.contains('#'));
    assert_eq!(lean.collect::<Vec<_>>(), [""; 0], "each says why it is there");
    // Names of features, from the lines that begin with one.
    let features = section(manifest, "features").filter_map(|line| Some(line.split_once(" = ")?.0));
    let features: BTreeSet<&str> = features.filter(|name| *name != "default" && !name.starts_with(' ')).collect();
    let ci = &sources(&[".ci"], &[]).into_iter().find(|file| file.path == ".ci/run").unwrap().text;
    let alone = ci.lines().find_map(|line| line.trim().strip_prefix("for feature in ")).unwrap();
    let alone: BTreeSet<&str> = alone.trim_end_matches("; do").split(' ').collect();
    assert_eq!(alone, features);
    assert!(ci.contains("cargo check --no-default-features\n"));
}
