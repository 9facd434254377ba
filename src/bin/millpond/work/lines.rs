//! One long-lived command per job: a message is a line on its stdin, a line on its stdout acknowledges the oldest
//! unanswered one.

use super::held::Held;
use super::shop::{PATIENCE, Shop, Verdict};
use super::stderr;
use crate::failure::Failure;
use crate::output;
use millpond::Delivery;
use std::io::{self, Read, Write};
use std::process::{ChildStdin, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// How far the command is fed ahead of its answers.
const AHEAD: usize = 256;
/// An unfinished line longer than this is passed on in pieces.
const LINE_BYTES: usize = 1 << 20;
/// How long a command that holds [`AHEAD`] lines may answer none of them before its stdin is closed.
const SILENCE: Duration = Duration::from_secs(5);
/// How long a command that answered nothing is left alone before it is started again; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest of those pauses.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// One job: commands one after the other, each fed until it ends.
pub(super) fn run(shop: &Shop<'_>, held: &Held) -> Result<(), Failure> {
    let mut pause = FIRST_PAUSE;
    // No command is started before there is something to feed it.
    while let Some(first) = shop.next()? {
        if session(shop, held, first)? > 0 {
            pause = FIRST_PAUSE;
        } else {
            shop.pause(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
    Ok(())
}

/// Feeds one command until it ends, and settles what it left. Gives how many messages it was done with.
fn session(shop: &Shop<'_>, held: &Held, first: Delivery) -> Result<u64, Failure> {
    let mut command = shop.command();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            held.push(first);
            return Err(shop.not_started(&error));
        }
    };
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let answers = Answers { shop, held, count: AtomicU64::new(0), ended: AtomicBool::new(false) };
    let (fed, answered, tail) = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let outcome = stdout.map_or(Ok(()), |stdout| answers.read(stdout));
            answers.ended.store(true, Ordering::SeqCst);
            outcome
        });
        let tail = scope.spawn(|| stderr.map(stderr::tail).unwrap_or_default());
        let fed = stdin.map_or(Ok(()), |stdin| feed(shop, held, &answers, first, stdin));
        let answered = reader.join().unwrap_or_else(|_| Err(Failure::failed("the reader of answers panicked")));
        if answered.is_err() {
            // It can't be trusted any more, or nobody reads what it says.
            drop(child.kill());
        }
        (fed, answered, tail.join().unwrap_or_default())
    });
    let status = child.wait().map_err(|error| Failure::failed(format!("can't wait for the command: {error}")))?;
    answered?;
    fed?;
    settle_rest(shop, held, status, &tail)?;
    Ok(answers.count.load(Ordering::SeqCst))
}

/// Writes messages to the command until it ends, it is time to stop, or (`--once`) there are no more.
fn feed(
    shop: &Shop<'_>,
    held: &Held,
    answers: &Answers<'_>,
    first: Delivery,
    mut stdin: ChildStdin,
) -> Result<(), Failure> {
    if !write(shop, held, answers, &mut stdin, first)? {
        return Ok(());
    }
    while !answers.ended.load(Ordering::SeqCst) && !shop.stopping() {
        if !held.wait_below(AHEAD, SILENCE) {
            // Either it is slow, then a fresh one goes on where it ends; or it keeps its answers until a buffer is
            // full or its input ends, and would be waited for for ever.
            output::note("the command answers none of its lines: closing its stdin (does it write them as it goes?)");
            return Ok(());
        }
        let batch = shop.consumer.lease_many(AHEAD.saturating_sub(held.len()).max(1), PATIENCE)?;
        let mut any = false;
        for delivery in batch {
            any = true;
            if !write(shop, held, answers, &mut stdin, delivery)? {
                // What the batch has not yielded goes back by itself.
                return Ok(());
            }
        }
        // A command that keeps its answers until its input ends would otherwise be waited for for ever.
        if shop.once && !any {
            return Ok(());
        }
    }
    Ok(())
}

/// Writes one message; false if the command takes no more.
fn write(
    shop: &Shop<'_>,
    held: &Held,
    answers: &Answers<'_>,
    stdin: &mut ChildStdin,
    delivery: Delivery,
) -> Result<bool, Failure> {
    let record = delivery.record().clone();
    if record.payload().contains(&b'\n') {
        let refusal = "its payload holds a newline, so that it can't be fed as one line (work --lines)";
        shop.settle(delivery, Verdict::Failed(refusal.to_owned()))?;
        // Not the command's fault: this counts as progress.
        answers.count.fetch_add(1, Ordering::SeqCst);
        return Ok(true);
    }
    // Held first: the answer may come before the write returns.
    held.push(delivery);
    let mut line = Vec::with_capacity(record.payload().len() + 1);
    line.extend_from_slice(record.payload());
    line.push(b'\n');
    Ok(stdin.write_all(&line).is_ok())
}

/// Where answers go.
struct Answers<'a> {
    shop: &'a Shop<'a>,
    held: &'a Held,
    count: AtomicU64,
    /// The command has closed its stdout.
    ended: AtomicBool,
}

impl Answers<'_> {
    /// Passes whole lines on to our stdout, then acknowledges as many messages: what is acknowledged was passed on.
    fn read(&self, mut stdout: impl Read) -> Result<(), Failure> {
        let mut buffer = vec![0; 64 << 10];
        let mut pending = Vec::new();
        loop {
            let read = match stdout.read(&mut buffer) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Failure::failed(format!("can't read the command's answers: {error}"))),
            };
            pending.extend_from_slice(buffer.get(..read).unwrap_or_default());
            let whole = pending.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
            // The end of an unfinished line is passed on too, but answers nothing.
            let passed = if read == 0 || pending.len() > LINE_BYTES { pending.len() } else { whole };
            let piece: Vec<u8> = pending.drain(..passed).collect();
            let mut out = io::stdout().lock();
            out.write_all(&piece)?;
            out.flush()?;
            drop(out);
            self.acknowledge(piece.iter().filter(|&&byte| byte == b'\n').count())?;
            if read == 0 {
                return Ok(());
            }
        }
    }

    fn acknowledge(&self, lines: usize) -> Result<(), Failure> {
        let answered: Vec<Delivery> = (0..lines).map_while(|_| self.held.pop()).collect();
        let missing = lines.saturating_sub(answered.len());
        self.count.fetch_add(answered.len() as u64, Ordering::SeqCst);
        self.shop.ack_all(answered)?;
        if missing > 0 {
            // Which message the earlier lines really answered is now unknown: going on would acknowledge wrong ones.
            return Err(Failure::failed("the command wrote more lines than it was fed: with --lines, one answers one"));
        }
        Ok(())
    }
}

/// The command has ended. The oldest message it did not answer is the one it ended on; those behind it had no turn.
fn settle_rest(shop: &Shop<'_>, held: &Held, status: ExitStatus, tail: &str) -> Result<(), Failure> {
    let mut verdict = match shop.judge(status, tail) {
        Verdict::Done if shop.stopping() => Verdict::Release,
        Verdict::Done => Verdict::Failed(format!("the command ended ({status}) without answering")),
        other => other,
    };
    while let Some(delivery) = held.pop() {
        shop.settle(delivery, verdict)?;
        verdict = Verdict::Release;
    }
    Ok(())
}
