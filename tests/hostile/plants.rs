//! What is put in the place of files: links, pipes, directories, files of 64 GiB without content, strangers' files.

use crate::ids;
use crate::look::{self, Outcome, refusal};
use crate::pond::{self, Files, Pond, options};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Opens and closes, without holding what is there against anything.
pub(crate) fn open_only(path: &Path) -> Outcome {
    let store = match options(32 << 10).create(false).open(path) {
        Ok(store) => store,
        Err(error) => return refusal(&error),
    };
    let mut told = false;
    for name in store.topics() {
        // A name that a lie has made too long for a topic is one of those.
        let Ok(topic) = store.existing_topic(&name) else { continue };
        told |= topic.read(..).take(2_000).any(|record| record.is_err());
        let _ = topic.stats();
        if let Ok(consumer) = topic.consumer("audit", millpond::Group::default()) {
            for _ in 0..50 {
                match consumer.try_lease() {
                    Ok(Some(delivery)) => delivery.ack().detach(),
                    Ok(None) => break,
                    Err(_) => {
                        told = true;
                        break;
                    }
                }
            }
        }
    }
    while store.step_upkeep().unwrap_or(false) {}
    told |= store.close().is_err();
    if told { Outcome::Told } else { Outcome::Intact }
}

/// The files that a plant takes the place of.
fn places(pond: &Pond) -> Vec<String> {
    let segments = crate::layout::segments(&pond.files);
    let mut places = vec!["identity".to_owned(), "lock".to_owned()];
    places.extend([&segments[0], &segments[segments.len() / 2], &segments[segments.len() - 1]].map(Clone::clone));
    places.extend(pond.files.keys().find(|name| name.ends_with(".index")).cloned());
    places.push("journal/0000000777.segment".to_owned());
    places.push("journal/0000000777.new".to_owned());
    places.push("journal/0000000001.index.new".to_owned());
    places.push("identity.new".to_owned());
    places
}

/// Something to be put in a place.
type Plant = fn(&Path, &Path);

const PLANTS: [(&str, Plant); 8] = [
    ("a link to /dev/zero", |place, _| symlink("/dev/zero", place).unwrap()),
    ("a link to a file of somebody else", |place, victim| symlink(victim, place).unwrap()),
    ("a link to nowhere", |place, _| symlink("/nonexistent/file", place).unwrap()),
    ("a link to itself", |place, _| symlink(place, place).unwrap()),
    ("a pipe", |place, _| assert!(Command::new("mkfifo").arg(place).status().unwrap().success())),
    ("a directory", |place, _| fs::create_dir(place).unwrap()),
    ("64 GiB of nothing", |place, _| fs::File::create(place).unwrap().set_len(64 << 30).unwrap()),
    ("3 GiB of nothing", |place, _| fs::File::create(place).unwrap().set_len(3 << 30).unwrap()),
];

/// What the place of a file holds, without following anything.
fn kind(place: &Path) -> (fs::FileType, u64, Option<PathBuf>) {
    let metadata = fs::symlink_metadata(place).unwrap();
    (metadata.file_type(), metadata.len(), fs::read_link(place).ok())
}

/// A store with something else in the place of one of its files.
struct Planted {
    _directory: tempfile::TempDir,
    path: PathBuf,
    /// The place.
    planted: PathBuf,
    victim: PathBuf,
}

impl Planted {
    fn new(files: &Files, place: &str, plant: Plant) -> Self {
        let directory = pond::directory();
        let path = directory.path().join("store");
        pond::write_all(files, &path);
        let victim = directory.path().join("victim");
        fs::write(&victim, b"somebody else's").unwrap();
        let planted = path.join(place);
        // An original that a plant takes the place of is gone: as removed.
        let _ = fs::remove_file(&planted);
        let _ = fs::remove_dir_all(&planted);
        plant(&planted, &victim);
        Self { _directory: directory, path, planted, victim }
    }

    /// Nobody has written to what lies outside.
    fn assert_harmless(&self, what: &str) {
        assert_eq!(fs::read(&self.victim).unwrap(), b"somebody else's", "{what}: it was followed, and written to");
    }
}

#[test]
fn nothing_in_the_place_of_a_file_is_followed_waited_for_or_read_without_end() {
    for pond in &pond::ponds()[..2] {
        for place in places(pond) {
            for (what, plant) in PLANTS {
                let store = Planted::new(&pond.files, &place, plant);
                let before = kind(&store.planted);
                let what = format!("{what} as {place}, {}", pond.name);
                let (told, _) = crate::bounded(&format!("verify, {what}"), || look::verify(&store.path));
                let seen = crate::bounded(&what, || look::look(&store.path, pond));
                let needed = pond.files.contains_key(&place) && place.ends_with(".segment");
                assert!(told || !needed, "verify says nothing: {what}");
                let refused = matches!(seen.outcome, Outcome::Corrupt | Outcome::System | Outcome::Misuse);
                if place == "identity" || needed && pond.name.starts_with("small") {
                    assert!(refused, "{:?}: {what}", seen.outcome);
                } else if place.ends_with(".index") && !place.contains(".index.") {
                    // It is made anew beside what is in its place, or in its place.
                    assert!(matches!(seen.outcome, Outcome::Intact | Outcome::System), "{:?}: {what}", seen.outcome);
                } else {
                    assert!(refused || matches!(seen.outcome, Outcome::Intact | Outcome::Told), "{what}");
                }
                store.assert_harmless(&what);
                if !place.ends_with(".index") && !place.ends_with(".new") && refused {
                    assert_eq!(kind(&store.planted), before, "{what}");
                }
            }
        }
    }
}

#[test]
fn foreign_files_are_left_alone_wherever_they_lie() {
    for pond in pond::ponds() {
        let dir = pond::directory();
        pond::write_all(&pond.files, dir.path());
        let foreign = [
            "notes.txt",
            "identity.bak",
            "lock2",
            "journal/notes.txt",
            "journal/1.segment",
            "journal/0000000001.segment~",
            "journal/0000000001.segment.bak",
            "journal/00000000001.segment",
            "journal/+000000001.segment",
            "journal/0000000001.SEGMENT",
            "journal/9999999999.segment",
            "journal/.0000000002.segment",
        ];
        for name in foreign {
            fs::write(dir.path().join(name), name).unwrap();
        }
        fs::create_dir(dir.path().join("tables2")).unwrap();
        fs::write(dir.path().join("tables2/file"), b"x").unwrap();
        symlink("/etc/hostname", dir.path().join("journal/link")).unwrap();
        let seen = look::look(dir.path(), pond);
        assert_eq!(seen.outcome, Outcome::Intact, "{}: {:?}", pond.name, seen.damage);
        for name in foreign {
            assert_eq!(fs::read(dir.path().join(name)).unwrap(), name.as_bytes(), "{name}");
        }
        assert_eq!(fs::read(dir.path().join("tables2/file")).unwrap(), b"x");
        assert!(dir.path().join("journal/link").is_symlink());
    }
}

/// A name is no path: whatever a topic or a group is called, nothing is made outside the store's files.
#[test]
fn names_of_topics_and_groups_never_become_paths() {
    let dir = pond::directory();
    let path = dir.path().join("a/store");
    let store = options(32 << 10).open(&path).unwrap();
    for name in ["../x", "/etc/x", "a/b", "..", ".", "con", "x\\y", "-rf", "\u{202e}", "name with spaces"] {
        let Ok(topic) = store.topic(name) else { continue };
        topic.publish(name.to_owned()).wait().unwrap();
        let group = topic.consumer(name, millpond::Group::default()).unwrap();
        assert_eq!(group.lease().unwrap().payload(), name.as_bytes());
    }
    store.close().unwrap();
    let above: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(above, ["a"]);
    let ours = |name: &String| name == "identity" || name == "lock" || name.starts_with("journal/00000000");
    let files = pond::read_all(&path);
    assert!(files.keys().all(ours), "{:?}", files.keys());
}

/// What lies in the directories of ids and tables is not followed either, and what is not the store's stays.
#[test]
fn nothing_in_the_place_of_runs_and_tables_is_followed_waited_for_or_read_without_end() {
    let pond = &ids::ponds()[0];
    let run = pond.files.keys().find(|name| name.ends_with(".ids")).unwrap().clone();
    let mut places = vec![run, "tables".to_owned()];
    // Each takes ten seconds without optimisation: the rest is for `cargo test --release`.
    if !cfg!(debug_assertions) {
        let more = ["tables/db", "tables/conf", "tables/blobs", "tables/snap.0000000000000777", "tables.aside"];
        places.extend(more.into_iter().chain(["journal/0000000001-0000000777.ids"]).map(String::from));
    }
    for place in places {
        for (what, plant) in PLANTS {
            let store = Planted::new(&pond.files, &place, plant);
            let what = format!("{what} as {place}");
            crate::bounded(&what, || ids::look(&store.path, &what));
            store.assert_harmless(&what);
        }
    }
}
