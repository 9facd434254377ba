//! Damage is never silent (I9): whatever is missing, cut, swapped or flipped in a store that was closed cleanly, it is
//! refused with file and bytes, or harmless; never a wrong payload, never a panic, and nothing is changed by looking.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and damages files"
)]

use millpond::{Damage, Error, ErrorKind, Group, Message, Offset, Retention, Store, TopicSettings};
use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

const PAYLOAD: usize = 400;
/// Bytes before a segment's first frame, and of a frame's own header.
const HEADER: usize = 4096;
const FRAME: usize = 16;

fn payload(number: u64) -> Vec<u8> {
    let mut bytes = format!("message {number} ").into_bytes();
    bytes.resize(PAYLOAD, b'a' + u8::try_from(number % 26).unwrap());
    bytes
}

/// A closed store with `messages` messages, one a frame, every third of the first half acked.
fn store_with(messages: u64, segment_bytes: u32) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let options = Store::options().segment_bytes(segment_bytes).first_segment_bytes(16 << 10);
    let store = options.open(dir.path()).unwrap();
    let orders = store.topic_with("orders", TopicSettings::default().retention(Retention::everything())).unwrap();
    for number in 0..messages {
        orders.publish(Message::new(payload(number)).durability(millpond::Durability::Os)).wait().unwrap();
        // Snapshots and indexes are made when they are due, and not when the upkeep's thread gets its turn.
        if number % 50 == 0 {
            while store.step_upkeep().unwrap() {}
        }
    }
    let email = orders.consumer("email", Group::default()).unwrap();
    let batch = email.lease_many(usize::try_from(messages / 2).unwrap(), std::time::Duration::ZERO).unwrap();
    for delivery in batch {
        if delivery.offset().get() % 3 == 0 {
            delivery.ack().wait().unwrap();
        } else {
            delivery.release().wait().unwrap();
        }
    }
    store.close().unwrap();
    dir
}

/// Two segments and no snapshot: opening reads everything.
fn small() -> tempfile::TempDir {
    let dir = store_with(60, 1 << 20);
    assert_eq!(segments(dir.path()).len(), 2);
    dir
}

/// Many segments, and snapshots that let an opening start behind most of them.
fn large() -> tempfile::TempDir {
    let dir = store_with(1500, 32 << 10);
    assert!(segments(dir.path()).len() > 10);
    dir
}

fn segments(path: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        fs::read_dir(path.join("journal")).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|ending| ending == "segment"));
    found.sort();
    // The newest may be one that was prepared and never used.
    while found.last().is_some_and(|path| frames(path).is_empty()) {
        found.pop();
    }
    found
}

/// Where the frames of a segment are.
fn frames(segment: &Path) -> Vec<Range<usize>> {
    let bytes = fs::read(segment).unwrap();
    let mut found = Vec::new();
    let mut at = HEADER;
    while let Some(word) = bytes.get(at..at + 4) {
        let length = u32::from_le_bytes(word.try_into().unwrap()) & 0x0fff_ffff;
        if length == 0 {
            break;
        }
        let end = at + FRAME + length as usize;
        found.push(at..end);
        at = end;
    }
    found
}

fn name(segment: &Path) -> String {
    format!("journal/{}", segment.file_name().unwrap().to_str().unwrap())
}

fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for directory in [directory.to_owned(), directory.join("journal")] {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_file() {
                found.insert(entry.path(), fs::read(entry.path()).unwrap());
            }
        }
    }
    found
}

fn restore(contents: &BTreeMap<PathBuf, Vec<u8>>, path: &Path) {
    for file in self::contents(path).keys().filter(|file| !contents.contains_key(*file)) {
        fs::remove_file(file).unwrap();
    }
    contents.iter().for_each(|(file, bytes)| fs::write(file, bytes).unwrap());
}

/// What opening a store showed of its messages.
enum Seen {
    Refused(Error),
    /// It opened: how many messages could be read, and the error that a reader was told.
    Opened {
        right: u64,
        told: Option<Error>,
    },
}

/// Opens the store and reads all of it, by readers and by a group. A wrong payload fails the test.
fn look(path: &Path) -> Seen {
    let store = match Store::open(path) {
        Ok(store) => store,
        Err(error) => return Seen::Refused(error),
    };
    let Ok(orders) = store.existing_topic("orders") else { panic!("the topic is gone without a word") };
    let (mut right, mut told) = (0, None);
    let (mut next, end) = (orders.first_offset(), orders.end_offset());
    while next < end {
        match orders.read(next..).next() {
            Some(Ok(record)) => {
                assert_eq!(record.offset(), next, "passed over in silence");
                assert_eq!(record.payload(), payload(next.get()), "a wrong payload");
                right += 1;
            }
            Some(Err(error)) => told = Some(error),
            None => panic!("offset {next} is missing without a word"),
        }
        next = next.next();
    }
    let audit = orders.consumer("audit", Group::default()).unwrap();
    while let Some(delivery) = audit.try_lease().unwrap() {
        assert_eq!(delivery.payload(), payload(delivery.offset().get()), "a wrong payload was delivered");
        delivery.ack().detach();
    }
    store.close().unwrap();
    Seen::Opened { right, told }
}

/// Refused as corrupt, and nothing changed; with what is damaged.
#[track_caller]
fn refused(path: &Path) -> Vec<Damage> {
    let before = contents(path);
    let error = Store::open(path).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(!error.damage().is_empty(), "{error}");
    assert!(contents(path) == before, "the refused opening changed something");
    error.damage().to_vec()
}

/// What `verify` finds, from its report or its error; it changes nothing either.
#[track_caller]
fn verified(path: &Path) -> Vec<Damage> {
    let before = contents(path);
    let found = match Store::verify(path, |_| ()) {
        Ok(report) => report.damage.into_iter().chain(report.snapshot_damage).collect(),
        Err(error) if error.kind() == ErrorKind::Corrupt => error.damage().to_vec(),
        Err(error) => panic!("{error}"),
    };
    assert!(contents(path) == before, "verifying changed something");
    found
}

fn names(damage: &[Damage], file: &str) -> bool {
    damage.iter().any(|place| place.file == file && !place.what.is_empty())
}

/// Names the file and a range with this byte in it, or the file as a whole.
fn names_byte(damage: &[Damage], file: &str, at: usize) -> bool {
    let at = at as u64;
    damage.iter().any(|place| place.file == file && (place.from <= at && at < place.to || place.from == place.to))
}

fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 0x10;
    fs::write(file, bytes).unwrap();
}

#[test]
fn an_undamaged_store_is_read_whole_and_verifies() {
    for (dir, messages) in [(small(), 60), (large(), 1500)] {
        let report = Store::verify(dir.path(), |_| ()).unwrap();
        assert!(report.clean && report.damage.is_empty() && report.snapshot_damage.is_empty(), "{report:?}");
        assert_eq!((report.messages, report.topics), (messages, vec![("orders".to_owned(), messages)]));
        match look(dir.path()) {
            Seen::Opened { right, told: None } => assert_eq!(right, messages),
            Seen::Opened { told: Some(error), .. } | Seen::Refused(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_missing_segment_is_named_be_it_first_middle_or_last() {
    for dir in [small(), large()] {
        let whole = contents(dir.path());
        let all = segments(dir.path());
        for missing in [&all[0], &all[all.len() / 2], &all[all.len() - 1]] {
            fs::remove_file(missing).unwrap();
            let found = verified(dir.path());
            assert!(names(&found, &name(missing)), "verify: {} of {}: {found:?}", name(missing), all.len());
            let found = refused(dir.path());
            assert!(names(&found, &name(missing)), "{} of {}: {found:?}", name(missing), all.len());
            restore(&whole, dir.path());
        }
    }
}

#[test]
fn swapped_segments_are_named() {
    for dir in [small(), large()] {
        let whole = contents(dir.path());
        let all = segments(dir.path());
        for (one, other) in [(0, 1), (0, all.len() - 1), (all.len() - 2, all.len() - 1)] {
            let (one, other) = (&all[one], &all[other]);
            let (bytes, others) = (fs::read(one).unwrap(), fs::read(other).unwrap());
            fs::write(one, others).unwrap();
            fs::write(other, bytes).unwrap();
            let found = refused(dir.path());
            assert!(names(&found, &name(one)) || names(&found, &name(other)), "{found:?}");
            let found = verified(dir.path());
            assert!(names(&found, &name(one)) || names(&found, &name(other)), "{found:?}");
            restore(&whole, dir.path());
        }
    }
}

#[test]
fn a_segment_that_is_there_twice_says_nothing_twice() {
    let dir = large();
    let all = segments(dir.path());
    for number in [0, 999] {
        let copy = dir.path().join(format!("journal/{number:010}.segment"));
        fs::copy(&all[1], &copy).unwrap();
        match look(dir.path()) {
            Seen::Opened { right, told } => assert!(right == 1500 && told.is_none()),
            Seen::Refused(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}"),
        }
        fs::remove_file(copy).unwrap();
    }
}

#[test]
fn a_segment_that_was_cut_after_a_clean_close_is_named() {
    for dir in [small(), large()] {
        let whole = contents(dir.path());
        let all = segments(dir.path());
        for cut in [&all[0], &all[all.len() / 2], &all[all.len() - 1]] {
            let frames = frames(cut);
            let (middle, last) = (&frames[frames.len() / 2], &frames[frames.len() - 1]);
            for length in [0, 100, HEADER, middle.start, middle.start + 20, last.start, last.end - 1] {
                let file = fs::OpenOptions::new().write(true).open(cut).unwrap();
                file.set_len(length as u64).unwrap();
                let found = verified(dir.path());
                assert!(names(&found, &name(cut)), "{} cut to {length}: verify: {found:?}", name(cut));
                let found = refused(dir.path());
                assert!(names(&found, &name(cut)), "{} cut to {length}: {found:?}", name(cut));
                restore(&whole, dir.path());
            }
        }
    }
}

#[test]
fn a_segment_full_of_zeros_is_named() {
    for dir in [small(), large()] {
        let whole = contents(dir.path());
        let all = segments(dir.path());
        for zeroed in [&all[0], &all[all.len() / 2], &all[all.len() - 1]] {
            let length = usize::try_from(fs::metadata(zeroed).unwrap().len()).unwrap();
            fs::write(zeroed, vec![0; length]).unwrap();
            assert!(names(&verified(dir.path()), &name(zeroed)));
            assert!(names(&refused(dir.path()), &name(zeroed)));
            restore(&whole, dir.path());
        }
    }
}

/// Of a segment: bytes of each field of its header, and of some frames the whole header and both ends of the body.
fn places(segment: &Path) -> Vec<usize> {
    let frames = frames(segment);
    let mut places = vec![0, 8, 12, 16, 31, 32, 36, 40, 48, 56, 72, 2000, 4091, 4092, 4095];
    for frame in [0, 1, frames.len() / 2, frames.len() - 2, frames.len() - 1].map(|index| &frames[index]) {
        places.extend(frame.start..frame.start + FRAME);
        places.extend([frame.start + FRAME, frame.start + FRAME + 3, frame.end - 1]);
    }
    places
}

#[test]
fn any_flipped_byte_that_opening_reads_is_refused_with_its_file_and_place() {
    let dir = small();
    for segment in segments(dir.path()) {
        for at in places(&segment) {
            flip(&segment, at);
            let found = refused(dir.path());
            assert!(names_byte(&found, &name(&segment), at), "byte {at} of {}: {found:?}", name(&segment));
            let found = verified(dir.path());
            assert!(names_byte(&found, &name(&segment), at), "verify: byte {at} of {}: {found:?}", name(&segment));
            flip(&segment, at);
        }
    }
    assert!(matches!(look(dir.path()), Seen::Opened { right: 60, told: None }));
}

#[test]
fn damage_says_which_messages_it_hit() {
    let dir = small();
    let bytes = fs::read(&segments(dir.path())[0]).unwrap();
    let text = payload(7);
    let at = bytes.windows(text.len()).position(|window| window == text).unwrap();
    flip(&segments(dir.path())[0], at + 100);
    for found in [refused(dir.path()), verified(dir.path())] {
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].messages, [("orders".to_owned(), Offset::new(7), Offset::new(7))]);
        assert!(found[0].to_string().contains("offsets 7..=7"), "{}", found[0]);
    }
}

#[test]
fn a_flipped_byte_behind_a_snapshot_is_told_when_it_is_met_and_by_verify() {
    let dir = large();
    let whole = contents(dir.path());
    let all = segments(dir.path());
    let mut opened = 0;
    for segment in [0, 1, all.len() / 2, all.len() - 3, all.len() - 2, all.len() - 1].map(|index| &all[index]) {
        let last = frames(segment).len() - 1;
        let (first, ends) = (frames(segment)[0].clone(), frames(segment)[last].clone());
        let middle = frames(segment)[last / 2].clone();
        let places =
            [8, 32, first.start, first.end - 1, middle.start + 2, middle.start + 13, middle.end - 2, ends.end - 1];
        for at in places {
            flip(segment, at);
            let found = verified(dir.path());
            assert!(names_byte(&found, &name(segment), at), "byte {at} of {}: {found:?}", name(segment));
            match look(dir.path()) {
                Seen::Refused(error) => {
                    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                    assert!(names_byte(error.damage(), &name(segment), at), "byte {at}: {error}");
                }
                Seen::Opened { right, told } => {
                    opened += 1;
                    assert!(right == 1500 || told.is_some_and(|error| error.kind() == ErrorKind::Corrupt));
                }
            }
            restore(&whole, dir.path());
        }
    }
    assert!(opened > 0, "no snapshot spared an opening the old segments");
}

#[test]
fn a_damaged_piece_of_a_snapshot_costs_time_and_no_message() {
    let dir = large();
    let whole = contents(dir.path());
    let mut pieces = 0;
    for segment in segments(dir.path()) {
        let bytes = fs::read(&segment).unwrap();
        // Flag 4 in the high four bits of a frame's first word.
        for frame in frames(&segment).into_iter().filter(|frame| bytes[frame.start + 3] & 0x40 != 0) {
            pieces += 1;
            flip(&segment, frame.end - 1);
            let report = Store::verify(dir.path(), |_| ()).unwrap();
            assert!(report.damage.is_empty(), "{:?}", report.damage);
            assert!(names_byte(&report.snapshot_damage, &name(&segment), frame.end - 1));
            match look(dir.path()) {
                Seen::Opened { right, told: None } => assert_eq!(right, 1500),
                Seen::Opened { told: Some(error), .. } | Seen::Refused(error) => panic!("{error}"),
            }
            restore(&whole, dir.path());
        }
    }
    // How many snapshots there are depends on when the upkeep came to it; one has at least three pieces.
    assert!(pieces >= 3, "{pieces}");
}

#[test]
fn an_index_that_is_deleted_or_damaged_is_made_anew() {
    let dir = large();
    let whole = contents(dir.path());
    let indexes: Vec<PathBuf> =
        whole.keys().filter(|path| path.extension().is_some_and(|e| e == "index")).cloned().collect();
    assert!(indexes.len() > 10);
    let read_all = || match look(dir.path()) {
        Seen::Opened { right, told: None } => assert_eq!(right, 1500),
        Seen::Opened { told: Some(error), .. } | Seen::Refused(error) => panic!("{error}"),
    };
    indexes.iter().for_each(|index| fs::remove_file(index).unwrap());
    let store = Store::open(dir.path()).unwrap();
    assert!(store.recovery().rebuilt > 0);
    store.close().unwrap();
    read_all();
    restore(&whole, dir.path());
    for at in [0, 8, 16, 32, 40, 60] {
        indexes.iter().for_each(|index| flip(index, at % whole[index].len()));
        read_all();
        restore(&whole, dir.path());
    }
    for index in &indexes {
        fs::write(index, b"").unwrap();
    }
    read_all();
    restore(&whole, dir.path());
    // Those of its neighbours say nothing of a segment.
    for pair in indexes.windows(2) {
        fs::write(&pair[0], &whole[&pair[1]]).unwrap();
    }
    read_all();
}

#[test]
fn verifying_tells_how_far_it_is_and_changes_nothing() {
    let dir = store_with(200, 1 << 20);
    let store = Store::open(dir.path()).unwrap();
    let orders = store.topic("orders").unwrap();
    for _ in 0..40 {
        orders.publish_all((0..10).map(|_| Message::new(vec![1; 10_000]))).wait().unwrap();
    }
    // As well while it is open.
    let beside = Store::verify(dir.path(), |_| ()).unwrap();
    assert_eq!((beside.messages, beside.damage.len(), beside.clean), (600, 0, false));
    store.close().unwrap();
    fs::remove_file(dir.path().join("lock")).unwrap();
    let before = contents(dir.path());
    let mut told = Vec::new();
    let report = Store::verify(dir.path(), |progress| {
        if told.is_empty() {
            // Two may look at the same time.
            assert!(Store::verify(dir.path(), |_| ()).unwrap().damage.is_empty());
        }
        told.push((progress.done_bytes, progress.total_bytes));
    })
    .unwrap();
    assert_eq!((report.messages, report.damage.len(), report.clean), (600, 0, true));
    assert!(told.len() >= 5, "{told:?}");
    assert!(told.is_sorted() && told.first().unwrap().0 == 0);
    assert!(told.iter().all(|(_, total)| *total == told[0].1) && told.last().unwrap().0 == told[0].1);
    assert_eq!(contents(dir.path()), before);
}
