//! `millpond put`: one message a line from stdin, durable before the command ends.

mod line;
mod span;

use crate::failure::Failure;
use crate::output::{self, ProgressLine};
use millpond::{BatchReceipt, Message, Offset, Ticket, Topic};
use std::collections::VecDeque;
use std::io::{self, BufRead, Read};
use std::path::PathBuf;

/// Messages that are published as one frame, if as many have been read already.
const BATCH_MESSAGES: usize = 500;
/// A batch is not grown beyond this, however few its messages are.
const BATCH_BYTES: usize = 1 << 20;
/// Batches that are on their way to the disk while further lines are read.
const BATCHES_IN_FLIGHT: usize = 16;
/// The longest line. The store's own limit for a message is the same by default.
const LINE_BYTES: usize = 16 << 20;
/// What stdin is read through: as much as a pipe holds on most systems, a few times over.
const INPUT_BYTES: usize = 256 << 10;

const AFTER_HELP: &str = r#"Examples:
  seq 1 1000 | millpond put ./pond numbers
  echo '{"payload":"4711","key":"customer-7","headers":{"source":"web"}}' |
      millpond put ./pond orders --jsonl

With --jsonl each line is an object: "payload" (a string), and optionally "id",
"key" (strings) and "headers" (an object, or a list of [name, value] pairs if a
name repeats or the order matters). All of it is stored and shown by `peek`.
An id is stored once for as long as its topic remembers it (a week unless the
program that made the topic said otherwise): a line with a known id and the same
payload is counted as there already, one with another payload is refused.
"delay": 5000 or "5s" (ms, s, m, h, d) delivers the message no earlier than so
long after it was stored; "deliver_at": 1893456000000, no earlier than that time
(milliseconds since 1970, UTC); "expires_after", like "delay", only so long
after it was stored, or was due.

Without --jsonl a line is a payload as it stands, without its newline; an empty
line is an empty message, and a last line without a newline counts.

The store and the topic are created if they are not there. When the command
ends with 0, every line is on disk and survives a power cut. A line that can't
be taken stops the command with 1; the lines before it are stored, and the
message says how many."#;

/// Publish each line of stdin as a message; durable before it ends
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Put {
    /// The store's directory
    dir: PathBuf,
    /// The topic to publish to
    topic: String,
    /// Read JSON objects, one a line, instead of plain payloads
    #[arg(long)]
    jsonl: bool,
}

impl Put {
    /// Reads stdin to its end.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let store = crate::keys::options().open(&self.dir)?;
        let mut intake = Intake::new(store.topic(&self.topic)?);
        let read = intake.read_all(io::stdin().lock(), self.jsonl);
        // What was read before a bad line was taken: it has to be durable too before anything is reported.
        intake.publish();
        intake.settle(0);
        // A topic may be set to less than `Disk`; what this command says is on disk is on disk all the same.
        let synced = store.sync().wait();
        intake.progress.clear();
        if let Err(error) = synced {
            return Err(Failure::failed(format!("what was read may not be on disk: {error}")));
        }
        output::note(&intake.summary());
        let Intake { refused, .. } = intake;
        // A publish that failed says more about what went wrong than the end of the reading does.
        let refused: Vec<String> = refused
            .into_iter()
            .map(|(first, last, reason)| format!("lines {first} to {last} were not stored: {reason}"))
            .collect();
        let outcome = if refused.is_empty() { read } else { Err(Failure::failed(refused.join("\n"))) };
        let closed = store.close();
        outcome?;
        Ok(closed?)
    }
}

/// Lines on their way into a topic.
struct Intake {
    topic: Topic,
    /// Lines read so far, blank ones included: the number of the last one.
    lines: u64,
    batch: Vec<Message>,
    batch_bytes: usize,
    batch_first_line: u64,
    /// Batches not known to be durable, oldest first, with their first and last line.
    tickets: VecDeque<(u64, u64, Ticket<BatchReceipt>)>,
    stored: u64,
    /// Lines whose id was accepted before.
    known: usize,
    first: Option<Offset>,
    end: Offset,
    /// First and last line of what was refused, and why.
    refused: Vec<(u64, u64, String)>,
    progress: ProgressLine,
}

impl Intake {
    fn new(topic: Topic) -> Self {
        Self {
            topic,
            lines: 0,
            batch: Vec::new(),
            batch_bytes: 0,
            batch_first_line: 1,
            tickets: VecDeque::new(),
            stored: 0,
            known: 0,
            first: None,
            end: Offset::ZERO,
            refused: Vec::new(),
            progress: ProgressLine::new(),
        }
    }

    /// Takes lines until the input ends, a line can't be taken, or a publish fails.
    fn read_all(&mut self, input: impl Read, jsonl: bool) -> Result<(), Failure> {
        let mut input = io::BufReader::with_capacity(INPUT_BYTES, input);
        while self.refused.is_empty() {
            let Some(line) = self.next_line(&mut input)? else { return Ok(()) };
            if let Some(message) = self.message(line, jsonl)? {
                self.add(message);
            }
            // A batch is what is there already: nothing that was read waits for what may never come.
            let more = input.buffer().contains(&b'\n');
            if !more || self.batch.len() >= BATCH_MESSAGES || self.batch_bytes >= BATCH_BYTES {
                self.publish();
                self.settle(BATCHES_IN_FLIGHT);
            }
        }
        Ok(())
    }

    fn next_line(&mut self, input: &mut impl BufRead) -> Result<Option<Vec<u8>>, Failure> {
        let number = self.lines + 1;
        let mut line = Vec::new();
        // One byte more than the limit, and one for the newline, tell a line that fits from one that does not.
        let bound = u64::try_from(LINE_BYTES).unwrap_or(u64::MAX).saturating_add(2);
        let read = input.take(bound).read_until(b'\n', &mut line);
        read.map_err(|error| Failure::failed(format!("line {number}: can't read stdin: {error}")))?;
        if line.is_empty() {
            return Ok(None);
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        if line.len() > LINE_BYTES {
            return Err(Failure::failed(format!(
                "line {number} is longer than {}; nothing from it on is stored",
                output::size(LINE_BYTES as u64)
            )));
        }
        self.lines = number;
        Ok(Some(line))
    }

    fn message(&self, line: Vec<u8>, jsonl: bool) -> Result<Option<Message>, Failure> {
        if !jsonl {
            return Ok(Some(Message::new(line)));
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        let parsed = line::parse(&line);
        parsed
            .map(Some)
            .map_err(|reason| Failure::failed(format!("line {}: {reason}; nothing from it on is stored", self.lines)))
    }

    fn add(&mut self, message: Message) {
        if self.batch.is_empty() {
            self.batch_first_line = self.lines;
        }
        self.batch_bytes += message.payload().len();
        self.batch.push(message);
    }

    /// Sends off what was read.
    fn publish(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let last_line = self.batch_first_line.max(self.lines);
        let ticket = self.topic.publish_all(std::mem::take(&mut self.batch));
        self.tickets.push_back((self.batch_first_line, last_line, ticket));
        self.batch_bytes = 0;
    }

    /// Waits until at most `in_flight` batches are not durable.
    fn settle(&mut self, in_flight: usize) {
        while self.tickets.len() > in_flight {
            let Some((first_line, last_line, ticket)) = self.tickets.pop_front() else { return };
            match ticket.wait() {
                Ok(receipt) => {
                    self.known += receipt.duplicates.len();
                    if receipt.count > 0 {
                        self.stored += receipt.count;
                        self.first.get_or_insert(receipt.first);
                        self.end = receipt.first.plus(receipt.count);
                    }
                }
                Err(error) => self.refuse(first_line, last_line, error.to_string()),
            }
            let (stored, lines) = (self.stored, self.lines);
            self.progress.show(|| format!("{lines} lines read, {stored} messages on disk"));
        }
    }

    /// Keeps why lines were refused; what follows for the same reason (the disk is full) is told once.
    fn refuse(&mut self, first_line: u64, last_line: u64, reason: String) {
        match self.refused.last_mut() {
            Some((_, last, known)) if *known == reason && *last + 1 >= first_line => *last = last_line,
            _ => self.refused.push((first_line, last_line, reason)),
        }
    }

    fn summary(&self) -> String {
        let name = self.topic.name();
        let known = match self.known {
            0 => String::new(),
            1 => "; 1 was there already, by its id".to_owned(),
            known => format!("; {known} were there already, by their ids"),
        };
        let stored = match (self.stored, self.first) {
            (0, _) | (_, None) => format!("no message accepted into {name}"),
            (1, Some(first)) => format!("1 message accepted into {name} and on disk: offset {first}"),
            (stored, Some(first)) => {
                let last = self.end.since(Offset::new(1));
                format!("{stored} messages accepted into {name} and on disk: offsets {first} to {last}")
            }
        };
        stored + &known
    }
}
