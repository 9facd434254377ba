//! `--format`: a message as the line that somebody wants of it.

use crate::output;
use millpond::Record;

/// What a percent sign stands before.
const HELP: &str = "%t time, %T time in milliseconds, %o offset, %k key, %i id, %h headers, %s payload, %S its length, \
                    %x payload in hexadecimal, %n newline, %% percent";

/// A line with places in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Format(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Place(char),
}

/// Reads one, as clap wants it.
pub(crate) fn format(argument: &str) -> Result<Format, String> {
    let (mut pieces, mut text) = (Vec::new(), String::new());
    let mut characters = argument.chars();
    while let Some(character) = characters.next() {
        let place = match character {
            '%' => characters.next().ok_or_else(|| format!("it ends in a percent sign; there are: {HELP}"))?,
            '\\' => match characters.next() {
                Some('t') => {
                    text.push('\t');
                    continue;
                }
                Some('n') => 'n',
                other => {
                    text.extend(['\\'].into_iter().chain(other));
                    continue;
                }
            },
            other => {
                text.push(other);
                continue;
            }
        };
        match place {
            '%' => text.push('%'),
            'n' => text.push('\n'),
            't' | 'T' | 'o' | 'k' | 'i' | 'h' | 's' | 'S' | 'x' => {
                pieces.extend([Piece::Text(std::mem::take(&mut text)), Piece::Place(place)]);
            }
            other => return Err(format!("there is no %{other}; there are: {HELP}")),
        }
    }
    pieces.push(Piece::Text(text));
    Ok(Format(pieces))
}

impl Format {
    /// The line of a message. What could command a terminal is escaped.
    pub(crate) fn line(&self, record: &Record) -> String {
        let bytes = |bytes: Option<&[u8]>| bytes.map(output::text).unwrap_or_default();
        let pieces = self.0.iter().map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Place('t') => output::time(record.time()),
            Piece::Place('T') => record.time().get().to_string(),
            Piece::Place('o') => record.offset().to_string(),
            Piece::Place('k') => bytes(record.key()),
            Piece::Place('i') => bytes(record.id()),
            Piece::Place('h') => {
                let each = record.headers();
                let each =
                    each.map(|(name, value)| format!("{}={}", output::text(name.as_bytes()), output::text(value)));
                each.collect::<Vec<_>>().join(",")
            }
            Piece::Place('S') => record.payload().len().to_string(),
            Piece::Place('x') => output::hex(record.payload()),
            Piece::Place(_) => output::text(record.payload()),
        });
        pieces.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond::{Message, Store};

    #[test]
    fn each_place_is_filled_and_what_is_none_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let orders = store.topic("orders").unwrap();
        let message = Message::new("47\u{1b}11").key("k").id("i").header("a", "b").header("c", "d");
        orders.publish(message).wait().unwrap();
        let record = orders.read(..).next().unwrap().unwrap();
        let line = |text: &str| format(text).unwrap().line(&record);
        assert_eq!(line("%o %k %i %h %s %S %x 100%%"), "0 k i a=b,c=d 47\\u{1b}11 5 34371b3131 100%");
        assert_eq!(line("%T\\t%o\\n"), format!("{}\t0\n", record.time().get()));
        assert_eq!(line("%t"), output::time(record.time()));
        assert!(format("%z").unwrap_err().contains("there is no %z") && format("50%").is_err());
    }
}
