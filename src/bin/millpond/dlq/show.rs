//! `millpond dlq show`: one dead letter with its message, its errors and what happened to it.

use crate::arguments::{group, with_store_or_beside};
use crate::failure::Failure;
use crate::output;
use crate::peek::Line;
use millpond::{DeadLetter, Offset, ReadOnlyStore, Store};
use serde_json::{Value, json};
use std::io;
use std::path::PathBuf;

/// Show one dead letter: its message, why it was parked, and its errors
#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// The store's directory
    dir: PathBuf,
    /// The topic
    topic: String,
    /// The group
    group: String,
    /// The message's offset
    offset: u64,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

impl Show {
    /// Shows it.
    pub(super) fn run(self) -> Result<(), Failure> {
        let offset = Offset::new(self.offset);
        let none = |why: String| Failure::refused(format!("offset {offset} is no dead letter of the group: {why}"));
        let own = |store: &Store| {
            let consumer = group(&store.existing_topic(&self.topic)?, &self.group)?;
            match consumer.dead_letter(offset)? {
                Some(letter) => self.tell(&letter),
                None => Err(none(consumer.why(offset)?.to_string())),
            }
        };
        let look = |seen: &ReadOnlyStore| {
            let letter = seen.topic(&self.topic)?.dead_letter(&self.group, offset)?;
            self.tell(&letter.ok_or_else(|| none("why, only the store's owner can tell".to_owned()))?)
        };
        with_store_or_beside(&self.dir, own, look)
    }

    fn tell(&self, letter: &DeadLetter) -> Result<(), Failure> {
        if self.json {
            return Ok(output::json_line(&mut io::stdout().lock(), &object(letter))?);
        }
        output::line(text(letter).trim_end())
    }
}

/// A letter as `--json` shows it.
pub(super) fn object(letter: &DeadLetter) -> Value {
    let errors: Vec<Value> =
        letter.errors().iter().map(|(time, text)| json!({ "time": time.get(), "error": text })).collect();
    json!({
        "offset": letter.offset().get(), "parked": letter.time().get(),
        "reason": format!("{:?}", letter.reason()).to_lowercase(), "life": letter.life(),
        "leases": letter.leases(), "failures": letter.failures(), "timeouts": letter.timeouts(),
        "crashes": letter.crashes(), "errors": errors, "message": letter.record().map(Line::of),
        "unreadable": letter.unreadable().map(ToString::to_string),
    })
}

fn text(letter: &DeadLetter) -> String {
    let mut text = String::new();
    let mut say = |name: &str, value: String| text.push_str(&format!("{name:<10}{value}\n"));
    say("offset", letter.offset().to_string());
    say("parked", output::time(letter.time()));
    say("reason", format!("{:?}", letter.reason()).to_lowercase());
    say("leases", letter.leases().to_string());
    say("failures", letter.failures().to_string());
    say("timeouts", letter.timeouts().to_string());
    say("crashes", letter.crashes().to_string());
    say("life", letter.life().to_string());
    if let Some(record) = letter.record() {
        say("published", output::time(record.time()));
        if let Some(id) = record.id() {
            say("id", output::text(id));
        }
        if let Some(key) = record.key() {
            say("key", output::text(key));
        }
        for (name, value) in record.headers() {
            say("header", format!("{}={}", output::text(name.as_bytes()), output::text(value)));
        }
        say("payload", output::text(record.payload()));
    }
    if let Some(error) = letter.unreadable() {
        say("payload", format!("can't be read: {error}"));
    }
    for (time, error) in letter.errors() {
        say("error", format!("{} {}", output::time(*time), output::text(error.as_bytes())));
    }
    text
}
