//! `millpond dlq`: the dead letters of a group: list, show, redrive, purge.

mod ls;
mod show;
mod sweep;

use crate::failure::Failure;

const AFTER_HELP: &str = r"Examples:
  millpond dlq ls ./pond orders email
  millpond dlq show ./pond orders email 4711
  millpond dlq redrive ./pond orders email --match 'connection refused' --rate 100
  millpond dlq redrive ./pond orders email 17 20-29 --dry-run
  millpond dlq purge ./pond orders email --all --yes

A dead letter is a message that one group has given up on. It stays where it is
in the topic; other groups are not concerned. `ls` and `show` also look into a
store that a program has open.";

/// List, show, redrive or purge the dead letters of a group
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Dlq {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Ls(ls::Ls),
    Show(show::Show),
    Redrive(sweep::Redriving),
    Purge(sweep::Purging),
}

impl Dlq {
    /// Does what was asked for.
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self.what {
            What::Ls(ls) => ls.run(),
            What::Show(show) => show.run(),
            What::Redrive(redriving) => redriving.run(),
            What::Purge(purging) => purging.run(),
        }
    }
}
