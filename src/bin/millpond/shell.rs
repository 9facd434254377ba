//! `millpond completions` and `millpond man`: what shells and manual readers want to know of the command line.

use crate::failure::Failure;
use clap::CommandFactory;
use std::io;

/// Write completions for a shell to stdout
#[derive(Debug, clap::Args)]
#[command(after_help = r"Examples:
  millpond completions bash > ~/.local/share/bash-completion/completions/millpond
  millpond completions zsh > ~/.zfunc/_millpond")]
pub(crate) struct Completions {
    /// The shell
    shell: clap_complete::Shell,
}

impl Completions {
    /// Writes them.
    pub(crate) fn run<C: CommandFactory>(self) -> Result<(), Failure> {
        clap_complete::generate(self.shell, &mut C::command(), "millpond", &mut io::stdout().lock());
        Ok(())
    }
}

/// Write the manual page to stdout, or that of one command
#[derive(Debug, clap::Args)]
#[command(after_help = r"Examples:
  millpond man > millpond.1
  millpond man put | man -l -")]
pub(crate) struct Man {
    /// The command
    command: Option<String>,
}

impl Man {
    /// Writes it.
    pub(crate) fn run<C: CommandFactory>(self) -> Result<(), Failure> {
        let mut all = C::command();
        all.build();
        let page = match &self.command {
            None => all,
            Some(name) => {
                let found = all.find_subcommand(name).cloned();
                found.ok_or_else(|| Failure::refused(format!("there is no command {name:?}")))?
            }
        };
        Ok(clap_mangen::Man::new(page).render(&mut io::stdout().lock())?)
    }
}
