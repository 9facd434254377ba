//! Reading a topic from the disk, beside reading the same files plainly. `MILLPOND_SCALE_CASE=TEXT` does only those
//! whose line has this text: `one of 1 topics` for one.

use crate::machine::{PAYLOAD, forget, median, one, options, scale, scratch};
use millpond::{Message, Store};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

const ROUNDS: usize = 5;

/// Segments that are read plainly, and then as messages, before the next ones. A virtual machine may get the memory of
/// its page cache from its host only as it is touched, and from some gigabytes on at a quarter of the speed: whoever
/// reads more than that measures the host's memory, one way or the other.
const PART: usize = 16;

/// Seconds of reading these files from front to back, and their bytes.
fn plainly(files: &[PathBuf]) -> (f64, f64) {
    let (mut block, mut bytes) = (vec![0; 1 << 20], 0);
    let began = Instant::now();
    for path in files {
        let mut file = std::fs::File::open(path).unwrap();
        loop {
            let read = file.read(&mut block).unwrap();
            if read == 0 {
                break;
            }
            bytes += read;
        }
    }
    (began.elapsed().as_secs_f64(), bytes as f64)
}

/// What reading `name` makes of the rate of reading the files plainly, all of them from the disk: in turns, some
/// segments at a time.
fn round(store: &Store, directory: &Path, name: &str, how: &str) -> f64 {
    let used: u64 = store.stats().segments.iter().map(|segment| segment.bytes).sum();
    let mut files = forget(directory);
    // As many as have anything in them.
    files.truncate(store.stats().segments.len());
    let topic = store.existing_topic(name).unwrap();
    let end = topic.end_offset().get();
    let parts = files.len().div_ceil(PART) as u64;
    let (mut records, mut count) = (topic.read(..), 0);
    let (mut raw, mut bytes, mut ours) = (0.0, 0.0, 0.0);
    for (part, files) in (1..).zip(files.chunks(PART)) {
        let (seconds, read) = plainly(files);
        (raw, bytes) = (raw + seconds, bytes + read);
        forget(directory);
        let began = Instant::now();
        // As many of the messages as of the files, as near as may be.
        while count < end * part / parts {
            assert!(records.next().unwrap().unwrap().payload().len() >= PAYLOAD.len());
            count += 1;
        }
        ours += began.elapsed().as_secs_f64();
        forget(directory);
    }
    assert!(records.next().is_none());
    let (floor, journal, messages) = (bytes / raw, used as f64 / ours, end as f64 / ours);
    println!("{how}: raw {:.0} MB/s, journal {:.0} MB/s, {messages:.0} messages/s", floor / 1e6, journal / 1e6);
    journal / floor
}

/// The median of some rounds.
fn measure(directory: &Path, name: &str, how: &str) -> f64 {
    let store = options().open(directory).unwrap();
    let ratio = median((0..ROUNDS).map(|_| round(&store, directory, name, how)).collect());
    store.close().unwrap();
    ratio
}

/// A store of so many topics, whose messages of `size` bytes alternate, published one by one or in batches.
fn filled(topics: usize, batch: u64, size: usize) -> tempfile::TempDir {
    let directory = scratch();
    let store = options().open(directory.path()).unwrap();
    let topics: Vec<_> = (0..topics).map(|number| store.topic(&number.to_string()).unwrap()).collect();
    let messages = scale() * PAYLOAD.len() as u64 / size as u64;
    for number in 0..messages / batch {
        let topic = topics.get(usize::try_from(number).unwrap() % topics.len()).unwrap();
        if batch == 1 {
            one(topic, number, size);
        } else {
            topic.publish_all((0..batch).map(|_| Message::new(vec![b'm'; size]))).wait().unwrap();
        }
    }
    store.close().unwrap();
    directory
}

#[test]
#[ignore = "measures the machine: minutes and gigabytes, in a release build"]
fn a_cold_replay_is_nearly_as_fast_as_the_disk() {
    let mut missed = Vec::new();
    let cases = [(1, 1, 1000, 0.7), (1, 1, 100, 0.7), (1, 100, 100, 0.7), (10, 1, 100, 0.25), (10, 100, 100, 0.25)];
    for (topics, batch, size, least) in cases {
        let how = format!("one of {topics} topics, {size} bytes, published {batch} at a time");
        if std::env::var("MILLPOND_SCALE_CASE").is_ok_and(|wanted| !how.contains(&wanted)) {
            continue;
        }
        let directory = filled(topics, batch, size);
        let ratio = measure(directory.path(), "0", &how);
        println!("{how}: {ratio:.3} of raw, aim {least}");
        if ratio < least {
            missed.push(format!("{how}: {ratio:.3}, not {least}"));
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}
