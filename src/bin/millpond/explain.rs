//! `millpond explain`: what an error code means, and what to do about it.

use crate::failure::Failure;
use crate::output::{self, Align, Table};
use std::io;

const AFTER_HELP: &str = "\
Examples:
  millpond explain locked
  millpond explain                 all codes there are

A code is what `Error::code` gives and logs carry: it stays the same from
release to release.";

/// Say what an error code means and what to do about it
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Explain {
    /// The code; without one, all are listed
    code: Option<String>,
}

impl Explain {
    /// Says it.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let Some(code) = self.code else {
            let mut table = Table::new(&[("CODE", Align::Left), ("KIND", Align::Left), ("WHAT TO DO", Align::Left)]);
            for known in millpond::explanations() {
                table.row([known.code.to_owned(), format!("{:?}", known.kind), known.remedy.to_owned()]);
            }
            return Ok(table.write(&mut io::stdout().lock())?);
        };
        let Some(known) = millpond::explanations().find(|known| known.code == code) else {
            return Err(Failure::refused(format!("no error has the code {code:?}; `millpond explain` lists all")));
        };
        output::line(&format!("{} ({:?})\n\n{}\n\nWhat to do: {}", known.code, known.kind, known.meaning, known.remedy))
    }
}
