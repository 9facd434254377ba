//! The command line of millpond: put messages in, work them off, look at them, check the directory.
//!
//! One file per command. What a command can't do is a [`failure::Failure`], which knows its exit code.

mod arguments;
mod backup;
mod dlq;
mod explain;
mod export;
mod failure;
mod import;
mod info;
mod output;
mod peek;
mod put;
mod schedule;
mod seek;
mod tail;
mod verify;
mod why;
mod work;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

const AFTER_HELP: &str = "\
Examples:
  seq 1 1000 | millpond put ./pond numbers
  millpond work ./pond numbers printer --once -- cat
  millpond peek ./pond numbers -n 3
  millpond info ./pond
  millpond dlq ls ./pond numbers printer
  millpond verify ./pond

Exit codes:
  0  done
  1  failed on the way, or (verify) damaged, or (work --once) left a new dead letter
  2  not begun: wrong usage, no such store or topic, or the store is locked by its owner

A store is a directory that one process has open at a time. While one command
runs on it, another is told that it is locked by its owner; those that only look
(info, peek, tail, verify, backup,
export) work beside it.";

/// An embedded, crash-safe message queue: a directory on disk, no server.
#[derive(Debug, Parser)]
#[command(name = "millpond", version, about, after_help = AFTER_HELP, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Put(put::Put),
    Work(work::Work),
    Peek(peek::Peek),
    Tail(tail::Tail),
    Info(info::Info),
    Dlq(dlq::Dlq),
    Schedule(schedule::Schedule),
    Seek(seek::Seek),
    Why(why::Why),
    Explain(explain::Explain),
    Verify(verify::Verify),
    Backup(backup::Backup),
    Export(export::Export),
    Import(import::Import),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Put(put) => put.run(),
        Command::Work(work) => work.run(),
        Command::Peek(peek) => peek.run(),
        Command::Tail(tail) => tail.run(),
        Command::Info(info) => info.run(),
        Command::Dlq(dlq) => dlq.run(),
        Command::Schedule(schedule) => schedule.run(),
        Command::Seek(seek) => seek.run(),
        Command::Why(why) => why.run(),
        Command::Explain(explain) => explain.run(),
        Command::Verify(verify) => verify.run(),
        Command::Backup(backup) => backup.run(),
        Command::Export(export) => export.run(),
        Command::Import(import) => import.run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
