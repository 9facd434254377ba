//! Why a command ended early, and with which exit code.

use crate::output;
use millpond::{Error, ErrorKind};
use std::io;
use std::process::ExitCode;

/// What was asked for was begun and failed.
const FAILED: u8 = 1;
/// What was asked for was not begun.
const REFUSED: u8 = 2;

/// The end of a command that did not do what it was asked to.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    /// What to say on stderr; nothing if the reader of our output went away, which is no failure of ours.
    message: Option<String>,
}

impl Failure {
    /// It was begun and failed.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { code: FAILED, message: Some(message.into()) }
    }

    /// It was not begun.
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self { code: REFUSED, message: Some(message.into()) }
    }

    /// The same, but it is known that nothing was done.
    pub(crate) fn into_refused(mut self) -> Self {
        self.code = REFUSED;
        self
    }

    /// Tells the person at the other end, and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        if let Some(message) = self.message {
            output::note(&message);
        }
        ExitCode::from(self.code)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::Locked | ErrorKind::Misuse | ErrorKind::Unsupported => Self::refused(error.to_string()),
            _ => Self::failed(error.to_string()),
        }
    }
}

/// An error of writing to stdout. A reader that has seen enough (`| head`) ends the command quietly.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self { code: 0, message: None };
        }
        Self::failed(format!("can't write the output: {error}"))
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        io::Error::from(error).into()
    }
}
