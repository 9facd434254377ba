//! Redis streams with a consumer group, over the loopback interface: XADD, XREADGROUP, XACK. A batch is one pipeline.

use super::server::{Connection, Server, find, unexpected, version};
use crate::queue::{Alternative, Consumer, Level, Levels, Producer, Queue, Result};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(crate) struct Redis;

const PROGRAM: &str = "redis-server";

impl Alternative for Redis {
    fn name(&self) -> &'static str {
        "redis streams"
    }

    fn version(&self) -> String {
        version(PROGRAM, "--version")
    }

    fn installed(&self) -> bool {
        find(PROGRAM).is_some()
    }

    fn in_process(&self) -> bool {
        false
    }

    fn appends(&self) -> &'static [Level] {
        &[Level::Os, Level::Disk]
    }

    fn settles(&self) -> &'static [Level] {
        &[Level::Os, Level::Disk]
    }

    fn promise(&self, level: Level) -> &'static str {
        match level {
            Level::Disk => "`appendfsync always`",
            _ => "`appendfsync everysec`: in its append-only file, synced every second",
        }
    }

    fn open(&self, directory: &Path, levels: Levels) -> Result<Box<dyn Queue>> {
        let sync = if levels.append.max(levels.settle) == Level::Disk { "always" } else { "everysec" };
        let server = Server::start(PROGRAM, directory, |port| {
            let port = port.to_string();
            let arguments = ["--bind", "127.0.0.1", "--port", &port, "--save", "", "--appendonly", "yes"];
            arguments.into_iter().chain(["--appendfsync", sync]).map(str::to_owned).collect()
        })?;
        let mut connection = server.connect()?;
        command(&mut connection.out, &[b"XGROUP", b"CREATE", b"q", b"g", b"0", b"MKSTREAM"])?;
        connection.send()?;
        match reply(&mut connection)? {
            Reply::Line(line) if line == "OK" => {}
            other => return Err(format!("{other:?}").into()),
        }
        Ok(Box::new(Open { server, consumers: AtomicU64::new(0) }))
    }
}

struct Open {
    server: Server,
    consumers: AtomicU64,
}

impl Queue for Open {
    fn producer(&self) -> Result<Box<dyn Producer + '_>> {
        Ok(Box::new(Client { connection: self.server.connect()?, name: String::new() }))
    }

    fn consumer(&self) -> Result<Box<dyn Consumer + '_>> {
        let number = self.consumers.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(Client { connection: self.server.connect()?, name: format!("c{number}") }))
    }
}

struct Client {
    connection: Connection,
    name: String,
}

/// One command, as an array of bulk strings.
fn command(out: &mut Vec<u8>, words: &[&[u8]]) -> Result<()> {
    write!(out, "*{}\r\n", words.len())?;
    for word in words {
        write!(out, "${}\r\n", word.len())?;
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
    Ok(())
}

#[derive(Debug)]
enum Reply {
    Nothing,
    Line(String),
    Blob(Vec<u8>),
    List(Vec<Reply>),
}

impl Reply {
    fn list(self) -> Vec<Reply> {
        if let Reply::List(list) = self { list } else { Vec::new() }
    }

    fn blob(self) -> Vec<u8> {
        if let Reply::Blob(blob) = self { blob } else { Vec::new() }
    }
}

fn reply(connection: &mut Connection) -> Result<Reply> {
    let line = connection.line()?;
    let (kind, rest) = line.split_at_checked(1).ok_or_else(|| unexpected(&line))?;
    match kind {
        "+" | ":" => Ok(Reply::Line(rest.to_owned())),
        "$" if rest == "-1" => Ok(Reply::Nothing),
        "*" if rest == "-1" => Ok(Reply::Nothing),
        "$" => Ok(Reply::Blob(connection.blob(rest.parse()?)?)),
        "*" => Ok(Reply::List((0..rest.parse::<usize>()?).map(|_| reply(connection)).collect::<Result<_>>()?)),
        _ => Err(unexpected(&line)),
    }
}

impl Producer for Client {
    fn append(&mut self, payload: &'static [u8]) -> Result<()> {
        self.append_batch(&[payload])
    }

    fn append_batch(&mut self, payloads: &[&'static [u8]]) -> Result<()> {
        for payload in payloads {
            command(&mut self.connection.out, &[b"XADD", b"q", b"*", b"p", payload])?;
        }
        self.connection.send()?;
        payloads.iter().try_for_each(|_| reply(&mut self.connection).map(drop))
    }
}

impl Client {
    /// `[[stream, [[id, [field, value]], ..]]]`
    fn read(&mut self, max: usize, block: Option<&str>, see: &mut dyn FnMut(&[u8])) -> Result<usize> {
        let count = max.to_string();
        let mut words: Vec<&[u8]> = vec![b"XREADGROUP", b"GROUP", b"g", self.name.as_bytes(), b"COUNT"];
        words.push(count.as_bytes());
        if let Some(milliseconds) = block {
            words.extend([&b"BLOCK"[..], milliseconds.as_bytes()]);
        }
        words.extend([&b"STREAMS"[..], b"q", b">"]);
        command(&mut self.connection.out, &words)?;
        self.connection.send()?;
        let stream = reply(&mut self.connection)?.list().into_iter().next();
        let entries = stream.and_then(|stream| stream.list().into_iter().nth(1)).map(Reply::list).unwrap_or_default();
        if entries.is_empty() {
            return Ok(0);
        }
        let mut ids = Vec::with_capacity(entries.len());
        for entry in entries {
            let mut parts = entry.list().into_iter();
            ids.push(parts.next().map(Reply::blob).unwrap_or_default());
            let value = parts.next().and_then(|fields| fields.list().into_iter().nth(1));
            see(&value.map(Reply::blob).unwrap_or_default());
        }
        let words: Vec<&[u8]> = [&b"XACK"[..], b"q", b"g"].into_iter().chain(ids.iter().map(Vec::as_slice)).collect();
        command(&mut self.connection.out, &words)?;
        self.connection.send()?;
        reply(&mut self.connection)?;
        Ok(ids.len())
    }
}

impl Consumer for Client {
    fn take(&mut self, max: usize, see: &mut dyn FnMut(&[u8])) -> Result<usize> {
        self.read(max, None, see)
    }

    fn wait(&mut self, patience: Duration, see: &mut dyn FnMut(&[u8])) -> Result<usize> {
        self.read(1, Some(&patience.as_millis().max(1).to_string()), see)
    }
}
