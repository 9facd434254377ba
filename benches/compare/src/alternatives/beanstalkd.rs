//! beanstalkd over the loopback interface: put, reserve, delete. A batch is so many commands in one write.

use super::server::{Connection, Server, find, unexpected, version};
use crate::queue::{Alternative, Consumer, Level, Levels, Producer, Queue, Result};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

pub(crate) struct Beanstalkd;

const PROGRAM: &str = "beanstalkd";

impl Alternative for Beanstalkd {
    fn name(&self) -> &'static str {
        PROGRAM
    }

    fn version(&self) -> String {
        version(PROGRAM, "-v")
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
            Level::Disk => "`-f0`: its log is synced by each command",
            _ => "its default: in its log, synced every 50 ms",
        }
    }

    fn open(&self, directory: &Path, levels: Levels) -> Result<Box<dyn Queue>> {
        let sync = levels.append.max(levels.settle) == Level::Disk;
        let server = Server::start(PROGRAM, directory, |port| {
            let mut arguments = vec!["-l".to_owned(), "127.0.0.1".to_owned(), "-p".to_owned(), port.to_string()];
            arguments.extend(["-b".to_owned(), ".".to_owned()]);
            if sync {
                arguments.push("-f0".to_owned());
            }
            arguments
        })?;
        Ok(Box::new(Open(server)))
    }
}

struct Open(Server);

impl Queue for Open {
    fn producer(&self) -> Result<Box<dyn Producer + '_>> {
        Ok(Box::new(Client(self.0.connect()?)))
    }

    fn consumer(&self) -> Result<Box<dyn Consumer + '_>> {
        Ok(Box::new(Client(self.0.connect()?)))
    }
}

struct Client(Connection);

impl Producer for Client {
    fn append(&mut self, payload: &'static [u8]) -> Result<()> {
        self.append_batch(&[payload])
    }

    fn append_batch(&mut self, payloads: &[&'static [u8]]) -> Result<()> {
        for payload in payloads {
            write!(self.0.out, "put 0 0 60 {}\r\n", payload.len())?;
            self.0.out.extend_from_slice(payload);
            self.0.out.extend_from_slice(b"\r\n");
        }
        self.0.send()?;
        for _ in payloads {
            let line = self.0.line()?;
            if !line.starts_with("INSERTED") {
                return Err(unexpected(&line));
            }
        }
        Ok(())
    }
}

impl Client {
    /// So many `reserve`s in one write, then so many `delete`s.
    fn reserve(&mut self, max: usize, command: &str, see: &mut dyn FnMut(&[u8])) -> Result<usize> {
        (0..max).try_for_each(|_| write!(self.0.out, "{command}\r\n"))?;
        self.0.send()?;
        let mut ids = Vec::with_capacity(max);
        for _ in 0..max {
            let line = self.0.line()?;
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["RESERVED", id, length] => {
                    ids.push((*id).to_owned());
                    see(&self.0.blob(length.parse()?)?);
                }
                ["TIMED_OUT"] => {}
                _ => return Err(unexpected(&line)),
            }
        }
        ids.iter().try_for_each(|id| write!(self.0.out, "delete {id}\r\n"))?;
        if !ids.is_empty() {
            self.0.send()?;
        }
        for _ in &ids {
            let line = self.0.line()?;
            if line != "DELETED" {
                return Err(unexpected(&line));
            }
        }
        Ok(ids.len())
    }
}

impl Consumer for Client {
    fn take(&mut self, max: usize, see: &mut dyn FnMut(&[u8])) -> Result<usize> {
        self.reserve(max, "reserve-with-timeout 0", see)
    }

    fn wait(&mut self, patience: Duration, see: &mut dyn FnMut(&[u8])) -> Result<usize> {
        self.reserve(1, &format!("reserve-with-timeout {}", patience.as_secs().max(1)), see)
    }
}
