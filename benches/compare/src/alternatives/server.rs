//! A local server that runs for as long as a queue is open, and a connection to it.

use crate::queue::{Error, Result};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to answer, and a reply may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The program `name`, if it is installed.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let more = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(more).map(|directory| directory.join(name)).find(|file| file.is_file())
}

/// What a program says of itself when it is asked with `argument`.
pub(super) fn version(name: &str, argument: &str) -> String {
    let asked = find(name).and_then(|program| Command::new(program).arg(argument).output().ok());
    let text = asked.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let digits = |word: &&str| word.contains('.') && word.chars().any(|letter| letter.is_ascii_digit());
    let word = text.split([' ', '=', '\n']).find(digits).unwrap_or("unknown");
    word.trim_start_matches('v').to_owned()
}

/// A server on a port of the loopback interface; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts `program` in `directory`, on a port that was free a moment ago, and waits until it answers.
    pub(super) fn start(program: &str, directory: &Path, arguments: impl FnOnce(u16) -> Vec<String>) -> Result<Self> {
        let program = find(program).ok_or_else(|| format!("{program} is not installed"))?;
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let mut command = Command::new(program);
        command.args(arguments(address.port())).current_dir(directory);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let server = Self { child, address };
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            if began.elapsed() > PATIENCE {
                return Err("the server does not answer".into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }

    pub(super) fn connect(&self) -> Result<Connection> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let out = Vec::with_capacity(64 << 10);
        Ok(Connection { reader: BufReader::with_capacity(256 << 10, stream.try_clone()?), stream, out })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It is killed, not asked: what it holds is of no use to anybody.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Lines and blobs, in and out.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
    /// What `send` sends.
    pub(super) out: Vec<u8>,
}

impl Connection {
    /// Sends what was put into `out`, in one write.
    pub(super) fn send(&mut self) -> Result<()> {
        self.stream.write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    /// The next line, without its end.
    pub(super) fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err("the server has hung up".into());
        }
        line.truncate(line.trim_end().len());
        Ok(line)
    }

    /// So many bytes, and the end of a line behind them.
    pub(super) fn blob(&mut self, length: usize) -> Result<Vec<u8>> {
        let mut blob = vec![0; length + 2];
        self.reader.read_exact(&mut blob)?;
        blob.truncate(length);
        Ok(blob)
    }
}

/// An answer that was not expected.
pub(super) fn unexpected(answer: &str) -> Error {
    format!("the server answered {answer:?}").into()
}
