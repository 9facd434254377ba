//! What several commands take: where in a topic, which offsets, and the handles of what must be there already.

use crate::failure::Failure;
use millpond::{Consumer, ErrorKind, Group, Offset, ReadOnlyStore, Start, Store, Timestamp, Topic};
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::UNIX_EPOCH;

/// The most offsets that a list of them names, ranges counted out.
const MOST_OFFSETS: u64 = 1_000_000;

/// `earliest`, `latest`, an offset, or a time as `2026-01-31T23:59:59Z`.
pub(crate) fn start(argument: &str) -> Result<Start, String> {
    match argument {
        "earliest" => return Ok(Start::Earliest),
        "latest" => return Ok(Start::Latest),
        _ => {}
    }
    if let Ok(offset) = argument.parse() {
        return Ok(Start::Offset(Offset::new(offset)));
    }
    time(argument)
        .map(Start::Time)
        .map_err(|_| "not `earliest`, `latest`, an offset, or a time like 2026-01-31T23:59:59Z (in UTC)".to_owned())
}

/// A time as `2026-01-31T23:59:59Z`, with `T` and `Z` left out if need be.
pub(crate) fn time(argument: &str) -> Result<Timestamp, String> {
    let time = humantime::parse_rfc3339_weak(argument).map_err(|error| error.to_string())?;
    let since = time.duration_since(UNIX_EPOCH).map_err(|_| "a time before 1970".to_owned())?;
    Ok(Timestamp::new(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
}

/// One piece of a list of offsets: `7`, or `10-19` with both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offsets {
    first: u64,
    last: u64,
}

/// `7`, or `10-19`.
pub(crate) fn offsets(argument: &str) -> Result<Offsets, String> {
    let (first, last) = argument.split_once('-').unwrap_or((argument, argument));
    let number =
        |text: &str| text.parse::<u64>().map_err(|_| "not an offset, or a range of them like 10-19".to_owned());
    let (first, last) = (number(first)?, number(last)?);
    if last < first {
        return Err("the range ends before it begins".to_owned());
    }
    if last - first >= MOST_OFFSETS {
        return Err(format!("a range of more than {MOST_OFFSETS} offsets"));
    }
    Ok(Offsets { first, last })
}

/// All offsets that a list names.
pub(crate) fn each(list: &[Offsets]) -> Vec<Offset> {
    list.iter().flat_map(|piece| (piece.first..=piece.last).map(Offset::new)).collect()
}

/// Opens a store that must be there, hands it to `work`, and closes it.
pub(crate) fn with_store<T>(dir: &Path, work: impl FnOnce(&Store) -> Result<T, Failure>) -> Result<T, Failure> {
    work_on(open(dir)?, work)
}

/// The same; a store that another process has open is only looked at, and its owner is not disturbed.
pub(crate) fn with_store_or_beside<T>(
    dir: &Path,
    work: impl FnOnce(&Store) -> Result<T, Failure>,
    look: impl FnOnce(&ReadOnlyStore) -> Result<T, Failure>,
) -> Result<T, Failure> {
    match open(dir) {
        Ok(store) => work_on(store, work),
        Err(error) if error.kind() == ErrorKind::Locked => look(&Store::open_read_only(dir)?),
        Err(error) => Err(error.into()),
    }
}

fn open(dir: &Path) -> millpond::Result<Store> {
    Store::options().create(false).create_topics(false).open(dir)
}

fn work_on<T>(store: Store, work: impl FnOnce(&Store) -> Result<T, Failure>) -> Result<T, Failure> {
    let outcome = work(&store);
    let closed = store.close();
    let value = outcome?;
    closed?;
    Ok(value)
}

/// A group that must be there: looking at one does not make it.
pub(crate) fn group(topic: &Topic, name: &str) -> Result<Consumer, Failure> {
    if !topic.groups().iter().any(|group| group == name) {
        let known = topic.groups();
        let known = if known.is_empty() { "it has none".to_owned() } else { format!("it has {}", known.join(", ")) };
        return Err(Failure::refused(format!("topic {:?} has no group {name:?}: {known}", topic.name())));
    }
    Ok(topic.consumer(name, Group::default())?)
}

/// Asks the person at the terminal; without one, `--yes` has to say it.
pub(crate) fn confirm(question: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::refused(format!("{question} Say so with --yes")));
    }
    let mut err = io::stderr().lock();
    drop(write!(err, "{question} [y/N] "));
    drop(err.flush());
    let mut answer = String::new();
    drop(io::stdin().read_line(&mut answer));
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(Failure::refused("nothing was done")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_a_word_an_offset_or_a_time() {
        assert_eq!(start("earliest"), Ok(Start::Earliest));
        assert_eq!(start("17"), Ok(Start::Offset(Offset::new(17))));
        assert_eq!(start("2026-01-31T23:59:59Z"), Ok(Start::Time(Timestamp::new(1_769_903_999_000))));
        assert!(start("yesterday").is_err() && start("-3").is_err());
    }

    #[test]
    fn a_list_of_offsets_has_single_ones_and_ranges() {
        let list = [offsets("3").unwrap(), offsets("10-12").unwrap()];
        assert_eq!(each(&list), [3, 10, 11, 12].map(Offset::new));
        for bad in ["", "x", "5-3", "1-", "0-99999999999"] {
            assert!(offsets(bad).is_err(), "{bad}");
        }
    }
}
