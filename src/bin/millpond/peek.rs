//! `millpond peek`: look at messages without consuming them.

use crate::failure::Failure;
use crate::format::{Format, format};
use crate::output::{self, Align, Table};
use millpond::{ErrorKind, Offset, Record, Replay, Store, Timestamp, Topic};
use serde::Serialize;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;

/// Rows of a table that are kept to find its widths; longer output comes as several tables.
const TABLE_ROWS: u64 = 1_000;
/// Characters of a payload that a terminal is shown; elsewhere it is shown whole.
const TERMINAL_PAYLOAD: usize = 80;
/// Characters of an id, a key or the headers that a table shows.
const CELL: usize = 32;

const AFTER_HELP: &str = r#"Examples:
  millpond peek ./pond numbers                      the ten oldest
  millpond peek ./pond numbers -n 3 --from latest   the three newest
  millpond peek ./pond numbers --from 500 --json | jq -r .payload
  millpond peek ./pond numbers -n 1000 --format '%o %k'

A table cuts what is long; --json gives one object a line with everything:
"offset", "time" (milliseconds since 1970, UTC), "payload", and if the message
has them "id", "key", "headers" (a list of pairs), "priority", "due" and
"expiry" (times like "time"); messages that are not due yet are shown too. What is not UTF-8 comes
as hexadecimal digits under "payload_hex", "id_hex", "key_hex"; such a header's
value is {"hex": ..}."#;

/// Show messages of a topic without consuming them
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Peek {
    /// The store's directory
    dir: PathBuf,
    /// The topic to look into
    topic: String,
    /// How many messages to show
    #[arg(short = 'n', long = "count", value_name = "N", default_value_t = 10)]
    count: u64,
    /// Where to begin: an offset, `earliest` (the oldest there are), or `latest` (so as to show the newest N)
    #[arg(long, value_name = "OFFSET|earliest|latest", default_value = "earliest", value_parser = from)]
    from: From,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// A line of your own: %t time, %o offset, %k key, %i id, %h headers, %s payload
    #[arg(long, value_name = "FORMAT", value_parser = format, conflicts_with = "json")]
    format: Option<Format>,
}

#[derive(Clone, Copy, Debug)]
enum From {
    Earliest,
    Latest,
    Offset(u64),
}

fn from(argument: &str) -> Result<From, String> {
    match argument {
        "earliest" => Ok(From::Earliest),
        "latest" => Ok(From::Latest),
        offset => offset.parse().map(From::Offset).map_err(|_| "not an offset, `earliest` or `latest`".to_owned()),
    }
}

impl Peek {
    /// Shows up to `count` messages.
    pub(crate) fn run(self) -> Result<(), Failure> {
        match Store::options().create(false).open(&self.dir) {
            Ok(store) => {
                let shown = self.show_of(&store.existing_topic(&self.topic)?);
                let closed = store.close();
                shown?;
                Ok(closed?)
            }
            // Its owner is not disturbed by one who only looks.
            Err(error) if error.kind() == ErrorKind::Locked => {
                let topic = Store::open_read_only(&self.dir)?.topic(&self.topic)?;
                self.show(topic.bounds()?, |from| topic.read(from..))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A store that can't say where the topic ends is an error: it is not taken for an empty topic.
    fn show_of(&self, topic: &Topic) -> Result<(), Failure> {
        self.show(topic.bounds()?, |from| topic.read(from..))
    }

    fn show(&self, (first, end): (Offset, Offset), read: impl Fn(Offset) -> Replay) -> Result<(), Failure> {
        let start = match self.from {
            From::Earliest => first,
            From::Latest => Offset::new(end.get().saturating_sub(self.count)).max(first),
            From::Offset(offset) => Offset::new(offset),
        };
        if first == end {
            output::note(&format!("topic {} holds no messages", self.topic));
            return Ok(());
        }
        if start >= end {
            output::note(&format!("topic {} ends before offset {start}: its next message gets {end}", self.topic));
            return Ok(());
        }
        if start < first {
            output::note(&format!("what lay before offset {first} is gone"));
        }
        let mut out = BufWriter::new(io::stdout().lock());
        let mut records = read(start.max(first));
        let mut left = self.count;
        while left > 0 {
            let page: Vec<Record> =
                records.by_ref().take(usize::try_from(left.min(TABLE_ROWS)).unwrap_or(1)).collect::<Result<_, _>>()?;
            if page.is_empty() {
                break;
            }
            left = left.saturating_sub(page.len() as u64);
            if let Some(format) = &self.format {
                page.iter().try_for_each(|record| writeln!(out, "{}", format.line(record)))?;
            } else if self.json {
                page.iter().try_for_each(|record| output::json_line(&mut out, &Line::of(record)))?;
            } else {
                table(&page).write(&mut out)?;
            }
        }
        Ok(out.flush()?)
    }
}

fn table(page: &[Record]) -> Table {
    let payload_width = if io::stdout().is_terminal() { TERMINAL_PAYLOAD } else { usize::MAX };
    let mut columns = vec![("OFFSET", Align::Right), ("TIME", Align::Left)];
    let (ids, keys) = (page.iter().any(|r| r.id().is_some()), page.iter().any(|r| r.key().is_some()));
    let headers = page.iter().any(|record| record.headers().next().is_some());
    let dues = page.iter().any(|record| record.due().is_some());
    // A column that would be empty all the way down only takes room from the payload.
    columns.extend(ids.then_some(("ID", Align::Left)));
    columns.extend(keys.then_some(("KEY", Align::Left)));
    columns.extend(headers.then_some(("HEADERS", Align::Left)));
    columns.extend(dues.then_some(("DUE", Align::Left)));
    columns.push(("PAYLOAD", Align::Left));
    let mut table = Table::new(&columns);
    for record in page {
        let cell = |bytes: Option<&[u8]>| output::cut(output::text(bytes.unwrap_or_default()), CELL);
        let mut row = vec![record.offset().to_string(), output::time(record.time())];
        row.extend(ids.then(|| cell(record.id())));
        row.extend(keys.then(|| cell(record.key())));
        row.extend(headers.then(|| {
            let pairs: Vec<String> = record.headers().map(|(name, value)| pair(name, value)).collect();
            output::cut(pairs.join(" "), CELL)
        }));
        row.extend(dues.then(|| record.due().map(output::time).unwrap_or_default()));
        row.push(output::cut(output::text(record.payload()), payload_width));
        table.row(row);
    }
    table
}

fn pair(name: &str, value: &[u8]) -> String {
    format!("{}={}", output::text(name.as_bytes()), output::text(value))
}

/// A message as `--json` shows it.
#[derive(Debug, Serialize)]
pub(crate) struct Line<'a> {
    offset: u64,
    time: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_hex: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<(&'a str, Value<'a>)>,
    #[serde(skip_serializing_if = "is_ordinary")]
    priority: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    due: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiry: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_hex: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde asks for")]
const fn is_ordinary(priority: &u8) -> bool {
    *priority == 0
}

/// A header's value: text, or the digits of what is no text.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Value<'a> {
    Text(&'a str),
    Bytes { hex: String },
}

impl<'a> Line<'a> {
    /// Of a record.
    pub(crate) fn of(record: &'a Record) -> Self {
        let (id, id_hex) = text_or_hex(record.id());
        let (key, key_hex) = text_or_hex(record.key());
        let (payload, payload_hex) = text_or_hex(Some(record.payload()));
        let headers = record.headers().map(|(name, value)| match str::from_utf8(value) {
            Ok(text) => (name, Value::Text(text)),
            Err(_) => (name, Value::Bytes { hex: output::hex(value) }),
        });
        Self {
            offset: record.offset().get(),
            time: record.time().get(),
            id,
            id_hex,
            key,
            key_hex,
            headers: headers.collect(),
            priority: record.priority(),
            due: record.due().map(Timestamp::get),
            expiry: record.expiry().map(Timestamp::get),
            payload,
            payload_hex,
        }
    }
}

fn text_or_hex(bytes: Option<&[u8]>) -> (Option<&str>, Option<String>) {
    match bytes.map(|bytes| (bytes, str::from_utf8(bytes))) {
        None => (None, None),
        Some((_, Ok(text))) => (Some(text), None),
        Some((bytes, Err(_))) => (None, Some(output::hex(bytes))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_does_not_answer_is_not_an_empty_topic() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let topic = store.topic("orders").unwrap();
        topic.publish("4711").wait().unwrap();
        store.close().unwrap();
        for from in [From::Earliest, From::Latest, From::Offset(0)] {
            let (dir, topic_name) = (dir.path().to_owned(), "orders".to_owned());
            let peek = Peek { dir, topic: topic_name, count: 10, from, json: false, format: None };
            let failed = peek.show_of(&topic).unwrap_err();
            assert!(format!("{failed:?}").contains("closed"), "{failed:?}");
        }
    }
}
