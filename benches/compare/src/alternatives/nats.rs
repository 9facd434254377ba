//! NATS JetStream over the loopback interface: file storage, acknowledged publishes, a pull consumer with explicit
//! acks. Spoken in its own text protocol.

use super::server::{Connection, Server, find, unexpected, version};
use crate::queue::{Alternative, Consumer, Level, Levels, Producer, Queue, Result};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(crate) struct Nats;

const PROGRAM: &str = "nats-server";

impl Alternative for Nats {
    fn name(&self) -> &'static str {
        "nats jetstream"
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

    /// What it calls persisted is in the rows of `Disk` too: the count of its syncs says what that is.
    fn appends(&self) -> &'static [Level] {
        &[Level::Os, Level::Disk]
    }

    fn settles(&self) -> &'static [Level] {
        &[Level::Os, Level::Disk]
    }

    fn pipelines(&self) -> bool {
        true
    }

    fn syncs(&self) -> bool {
        false
    }

    fn promise(&self, _: Level) -> &'static str {
        "file storage, acknowledged when it is with the kernel; synced every 2 minutes by default"
    }

    fn open(&self, directory: &Path, _: Levels) -> Result<Box<dyn Queue>> {
        let server = Server::start(PROGRAM, directory, |port| {
            let port = port.to_string();
            ["-a", "127.0.0.1", "-p", &port, "-js", "-sd", "."].into_iter().map(str::to_owned).collect()
        })?;
        let mut client = Client::connect(&server, 0)?;
        client.request("$JS.API.STREAM.CREATE.Q", r#"{"name":"Q","subjects":["q"],"storage":"file"}"#)?;
        let consumer = concat!(
            r#"{"stream_name":"Q","config":{"durable_name":"c","ack_policy":"explicit","#,
            r#""deliver_policy":"all","max_ack_pending":100000}}"#
        );
        client.request("$JS.API.CONSUMER.DURABLE.CREATE.Q.c", consumer)?;
        Ok(Box::new(Open { server, clients: AtomicU64::new(1) }))
    }
}

struct Open {
    server: Server,
    clients: AtomicU64,
}

impl Open {
    fn client(&self) -> Result<Client> {
        Client::connect(&self.server, self.clients.fetch_add(1, Ordering::Relaxed))
    }
}

impl Queue for Open {
    fn producer(&self) -> Result<Box<dyn Producer + '_>> {
        Ok(Box::new(self.client()?))
    }

    fn consumer(&self) -> Result<Box<dyn Consumer + '_>> {
        Ok(Box::new(self.client()?))
    }
}

struct Client {
    connection: Connection,
    inbox: String,
    on_their_way: usize,
}

/// A message from the server: where an answer to it goes, its body, and its status if it is none of the stream's.
struct Received {
    reply: Option<String>,
    body: Vec<u8>,
    status: bool,
}

impl Client {
    fn connect(server: &Server, number: u64) -> Result<Self> {
        let mut connection = server.connect()?;
        // `INFO ..`
        connection.line()?;
        let inbox = format!("_INBOX.{number}");
        write!(connection.out, "CONNECT {{\"verbose\":false,\"headers\":true}}\r\nSUB {inbox} 1\r\nPING\r\n")?;
        connection.send()?;
        while connection.line()? != "PONG" {}
        Ok(Self { connection, inbox, on_their_way: 0 })
    }

    fn put(&mut self, subject: &str, reply: bool, body: &[u8]) -> Result<()> {
        let out = &mut self.connection.out;
        match reply {
            true => write!(out, "PUB {subject} {} {}\r\n", self.inbox, body.len())?,
            false => write!(out, "PUB {subject} {}\r\n", body.len())?,
        }
        out.extend_from_slice(body);
        out.extend_from_slice(b"\r\n");
        Ok(())
    }

    /// The next message. `MSG subject sid [reply] bytes`, `HMSG subject sid [reply] header bytes`.
    fn receive(&mut self) -> Result<Received> {
        loop {
            let line = self.connection.line()?;
            let words: Vec<&str> = line.split(' ').collect();
            let (kind, middle, last) = match words.as_slice() {
                ["PING"] => {
                    self.connection.out.extend_from_slice(b"PONG\r\n");
                    self.connection.send()?;
                    continue;
                }
                ["PONG" | "+OK"] => continue,
                [kind @ ("MSG" | "HMSG"), _, _, middle @ .., last] => (*kind, middle, *last),
                _ => return Err(unexpected(&line)),
            };
            let mut body = self.connection.blob(last.parse()?)?;
            let (mut status, mut reply) = (false, middle.first().map(|reply| (*reply).to_owned()));
            if kind == "HMSG" {
                let header: usize = middle.last().copied().unwrap_or_default().parse()?;
                status = body.get(..header).is_some_and(|header| !header.starts_with(b"NATS/1.0\r\n"));
                body.drain(..header.min(body.len()));
                reply = reply.filter(|_| middle.len() > 1);
            }
            return Ok(Received { reply, body, status });
        }
    }

    fn answer(&mut self) -> Result<()> {
        let answer = String::from_utf8_lossy(&self.receive()?.body).into_owned();
        if answer.contains("\"error\"") { Err(unexpected(&answer)) } else { Ok(()) }
    }

    fn request(&mut self, subject: &str, body: &str) -> Result<()> {
        self.put(subject, true, body.as_bytes())?;
        self.connection.send()?;
        self.answer()
    }

    fn next(&mut self, max: usize, wait: Option<Duration>, see: &mut dyn FnMut(&[u8])) -> Result<usize> {
        let asked = match wait {
            None => format!("{{\"batch\":{max},\"no_wait\":true}}"),
            Some(patience) => format!("{{\"batch\":{max},\"expires\":{}}}", patience.as_nanos()),
        };
        self.put("$JS.API.CONSUMER.MSG.NEXT.Q.c", true, asked.as_bytes())?;
        self.connection.send()?;
        let mut taken = 0;
        while taken < max {
            let message = self.receive()?;
            let Some(reply) = message.reply.filter(|_| !message.status) else { break };
            see(&message.body);
            taken += 1;
            // Answered, as an ack that is waited for is.
            self.put(&reply, true, b"+ACK")?;
            self.on_their_way += 1;
        }
        if taken > 0 {
            self.connection.send()?;
            self.settle_pipeline()?;
        }
        Ok(taken)
    }
}

impl Producer for Client {
    fn append(&mut self, payload: &'static [u8]) -> Result<()> {
        self.append_batch(&[payload])
    }

    fn append_batch(&mut self, payloads: &[&'static [u8]]) -> Result<()> {
        payloads.iter().try_for_each(|payload| self.put("q", true, payload))?;
        self.connection.send()?;
        payloads.iter().try_for_each(|_| self.answer())
    }

    fn append_pipelined(&mut self, payload: &'static [u8], most: usize) -> Result<()> {
        if self.on_their_way >= most {
            self.answer()?;
            self.on_their_way -= 1;
        }
        self.put("q", true, payload)?;
        self.on_their_way += 1;
        self.connection.send()
    }

    fn settle_pipeline(&mut self) -> Result<()> {
        for _ in 0..std::mem::take(&mut self.on_their_way) {
            self.answer()?;
        }
        Ok(())
    }
}

impl Consumer for Client {
    fn take(&mut self, max: usize, see: &mut dyn FnMut(&[u8])) -> Result<usize> {
        self.next(max, None, see)
    }

    fn wait(&mut self, patience: Duration, see: &mut dyn FnMut(&[u8])) -> Result<usize> {
        self.next(1, Some(patience), see)
    }
}
