//! What people and programs read: tables, JSON lines, sizes, times, progress.

use millpond::{Clock, SystemClock, Timestamp};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// Says something on stderr. That nobody reads it is no reason to fail.
pub(crate) fn note(message: &str) {
    drop(writeln!(io::stderr().lock(), "millpond: {message}"));
}

/// Writes a line of text to stdout.
pub(crate) fn line(text: &str) -> Result<(), crate::failure::Failure> {
    Ok(writeln!(io::stdout().lock(), "{text}")?)
}

/// Writes one JSON object and ends the line.
pub(crate) fn json_line(out: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

/// How a column is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows under titles, each column as wide as its widest cell.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these titles and no rows.
    pub(crate) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row: one cell per column.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Writes titles and rows.
    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let titles: Vec<String> = self.columns.iter().map(|(title, _)| (*title).to_owned()).collect();
        let widths: Vec<usize> = (0..titles.len())
            .map(|column| {
                let cells = self.rows.iter().chain([&titles]).filter_map(|row| row.get(column));
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect();
        for row in [&titles].into_iter().chain(&self.rows) {
            let mut line = String::new();
            for ((cell, width), (_, align)) in row.iter().zip(&widths).zip(&self.columns) {
                let blanks = " ".repeat(width.saturating_sub(cell.chars().count()));
                match align {
                    Align::Left => line.extend([cell, &*blanks, "  "]),
                    Align::Right => line.extend([&*blanks, cell, "  "]),
                }
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Bytes as text that can't command a terminal: control characters and what is not UTF-8 are escaped.
pub(crate) fn text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() {
                text.extend(character.escape_default());
            } else {
                text.push(character);
            }
        }
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

/// At most `limit` characters of `text`; a cut is shown.
pub(crate) fn cut(text: String, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text;
    }
    text.chars().take(limit.saturating_sub(3)).chain("...".chars()).collect()
}

/// Two hexadecimal digits per byte: how JSON carries bytes that are no text.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A number of bytes in the largest unit that leaves at least one before the point.
pub(crate) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

/// A span in the two largest units that matter.
pub(crate) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match seconds {
        0 => format!("{} ms", span.as_millis()),
        1..60 => format!("{seconds} s"),
        60..3_600 => format!("{minutes} min {} s", seconds % 60),
        3_600..86_400 => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// A time as `2026-01-31T23:59:59.999Z`.
pub(crate) fn time(time: Timestamp) -> String {
    let (seconds, thousandths) = (time.get() / 1_000, time.get() % 1_000);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    // Civil date from days, counting in eras of 400 years that start on 1 March: then leap days come last.
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{thousandths:03}Z")
}

/// One line on stderr that is written over and over while something long runs; nothing if stderr is no terminal.
#[derive(Debug)]
pub(crate) struct ProgressLine {
    clock: SystemClock,
    next: Duration,
    shown: bool,
    terminal: bool,
}

impl ProgressLine {
    /// Not often enough to flicker or to cost anything.
    const PACE: Duration = Duration::from_millis(200);

    /// Shows nothing before its first pace is over, so that short work shows nothing at all.
    pub(crate) fn new() -> Self {
        Self { clock: SystemClock::new(), next: Self::PACE, shown: false, terminal: io::stderr().is_terminal() }
    }

    /// Shows what `line` says, if it is time to.
    pub(crate) fn show(&mut self, line: impl FnOnce() -> String) {
        if !self.terminal || self.clock.monotonic() < self.next {
            return;
        }
        self.next = self.clock.monotonic() + Self::PACE;
        self.shown = true;
        // Carriage return, the text, erase to the end of the line.
        drop(write!(io::stderr().lock(), "\r{}\x1b[K", line()));
    }

    /// Takes the line away again.
    pub(crate) fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            drop(write!(io::stderr().lock(), "\r\x1b[K"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_shown_as_utc() {
        assert_eq!(time(Timestamp::new(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(Timestamp::new(951_782_400_000)), "2000-02-29T00:00:00.000Z");
        assert_eq!(time(Timestamp::new(1_767_225_599_999)), "2025-12-31T23:59:59.999Z");
        assert_eq!(time(Timestamp::new(4_107_542_400_000)), "2100-03-01T00:00:00.000Z");
    }

    #[test]
    fn text_can_not_command_a_terminal() {
        assert_eq!(text(b"caf\xc3\xa9 \x1b[2J\xff\n"), "caf\u{e9} \\u{1b}[2J\\xff\\n");
    }

    #[test]
    fn a_cut_is_shown() {
        assert_eq!(cut("abcdef".into(), 6), "abcdef");
        assert_eq!(cut("abcdefg".into(), 6), "abc...");
    }

    #[test]
    fn sizes_and_spans_read_like_speech() {
        assert_eq!((size(0), size(1023), size(1536)), ("0 B".into(), "1023 B".into(), "1.5 KiB".into()));
        assert_eq!(span(Duration::from_millis(12)), "12 ms");
        assert_eq!(span(Duration::from_secs(90)), "1 min 30 s");
        assert_eq!(span(Duration::from_secs(90_000)), "1 d 1 h");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&[("NAME", Align::Left), ("N", Align::Right)]);
        table.row(["a".into(), "1000".into()]);
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "NAME     N\na     1000\n");
    }
}
