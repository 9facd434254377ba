//! One command per message.

use super::held::Held;
use super::shop::{Shop, Verdict};
use super::stderr;
use crate::failure::Failure;
use millpond::Record;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::process::{ChildStdin, Command, Stdio};
use std::thread;

/// A payload up to this size fits in an empty pipe on every system, so that writing it waits for nobody.
const PIPE_BYTES: usize = 4_096;

/// One job: messages one after the other, each with a command of its own.
pub(super) fn run(shop: &Shop<'_>, held: &Held) -> Result<(), Failure> {
    while let Some(delivery) = shop.next()? {
        let (record, attempt) = (delivery.record().clone(), delivery.attempt());
        held.push(delivery);
        let verdict = handle(shop, &record, attempt)?;
        if let Some(delivery) = held.pop() {
            shop.settle(delivery, verdict)?;
        }
    }
    Ok(())
}

fn handle(shop: &Shop<'_>, record: &Record, attempt: u32) -> Result<Verdict, Failure> {
    let mut command = shop.command();
    command.env("MILLPOND_OFFSET", record.offset().to_string()).env("MILLPOND_ATTEMPT", attempt.to_string());
    for (name, bytes) in [("MILLPOND_ID", record.id()), ("MILLPOND_KEY", record.key())] {
        if let Err(refusal) = set(&mut command, name, bytes) {
            return Ok(Verdict::Failed(refusal));
        }
    }
    let mut child = match command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn() {
        Ok(child) => child,
        // The message's own doing: a huge id or key.
        Err(error) if error.kind() == io::ErrorKind::ArgumentListTooLong => {
            return Ok(Verdict::Failed(format!("its id or key does not fit in an environment: {error}")));
        }
        Err(error) => return Err(shop.not_started(&error)),
    };
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    let tail = thread::scope(|scope| {
        if record.payload().len() <= PIPE_BYTES {
            feed(stdin, record.payload());
        } else {
            scope.spawn(move || feed(stdin, record.payload()));
        }
        stderr.map(stderr::tail).unwrap_or_default()
    });
    let status = child.wait().map_err(|error| Failure::failed(format!("can't wait for the command: {error}")))?;
    Ok(shop.judge(status, &tail))
}

/// Writes the payload and closes the pipe. A command that does not read all of its input may still succeed.
fn feed(stdin: Option<ChildStdin>, payload: &[u8]) {
    if let Some(mut stdin) = stdin {
        drop(stdin.write_all(payload));
    }
}

/// Sets a variable to bytes, or says why no variable can hold them.
fn set(command: &mut Command, name: &str, bytes: Option<&[u8]>) -> Result<(), String> {
    let Some(bytes) = bytes else { return Ok(()) };
    if bytes.contains(&0) {
        return Err(format!("{name} can't be set: it would hold a zero byte, which no environment variable can"));
    }
    command.env(name, os_str(name, bytes)?);
    Ok(())
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere not every sequence of bytes can be a variable")]
fn os_str<'a>(_name: &str, bytes: &'a [u8]) -> Result<&'a OsStr, String> {
    Ok(std::os::unix::ffi::OsStrExt::from_bytes(bytes))
}

#[cfg(not(unix))]
fn os_str<'a>(name: &str, bytes: &'a [u8]) -> Result<&'a OsStr, String> {
    str::from_utf8(bytes).map(OsStr::new).map_err(|_| format!("{name} can't be set: it is not UTF-8"))
}
