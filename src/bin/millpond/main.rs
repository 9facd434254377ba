//! The command line of millpond: put messages in, work them off, look at them, check the directory.
//!
//! One file per command. What a command can't do is a [`failure::Failure`], which knows its exit code.

mod arguments;
mod backup;
mod bench;
mod dlq;
mod doctor;
mod dump;
mod explain;
mod export;
mod failure;
mod format;
mod import;
mod info;
mod keys;
mod list;
mod metrics;
mod output;
mod overview;
mod pause;
mod peek;
mod purge;
mod put;
mod repair;
mod retention;
mod schedule;
mod seek;
mod shell;
mod tail;
mod top;
mod verify;
mod why;
mod work;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

const AFTER_HELP: &str = "\
Examples:
  seq 1 1000 | millpond put ./pond numbers
  millpond work ./pond numbers printer --once -- cat
  millpond peek ./pond numbers -n 3
  millpond info ./pond
  millpond dlq ls ./pond numbers printer
  millpond verify ./pond || millpond repair ./pond
  millpond doctor ./pond

Exit codes:
  0  done
  1  failed on the way, or (verify, dump) damaged, (repair) something is lost,
     (doctor) there is a warning, or (work --once) left a new dead letter
  2  not begun: wrong usage, no such store or topic, or the store is locked by its owner

A store is a directory that one process has open at a time. While one command
runs on it, another is told that it is locked by its owner; those that only look
(info, top, metrics, peek, tail, verify, dump,
backup, export) work beside it.";

/// An embedded, crash-safe message queue: a directory on disk, no server.
#[derive(Debug, Parser)]
#[command(name = "millpond", version, about, after_help = AFTER_HELP, arg_required_else_help = true)]
struct Cli {
    /// The keys of an encrypted store: one a line, its name and 64 hexadecimal digits, the current one first
    #[arg(long, global = true, value_name = "FILE")]
    key_file: Option<PathBuf>,
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
    Ls(list::Ls),
    Groups(list::Groups),
    Top(top::Top),
    Metrics(metrics::Metrics),
    Pause(pause::Pause),
    Resume(pause::Resume),
    Retention(retention::Retention),
    Purge(purge::Purge),
    Dlq(dlq::Dlq),
    Schedule(schedule::Schedule),
    Seek(seek::Seek),
    Why(why::Why),
    Explain(explain::Explain),
    Verify(verify::Verify),
    Completions(shell::Completions),
    Man(shell::Man),
    Repair(repair::Repair),
    Dump(dump::Dump),
    Doctor(doctor::Doctor),
    Bench(bench::Bench),
    Backup(backup::Backup),
    Export(export::Export),
    Import(import::Import),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(Err(failure)) = cli.key_file.as_deref().map(keys::read) {
        return failure.report();
    }
    let outcome = match cli.command {
        Command::Put(put) => put.run(),
        Command::Work(work) => work.run(),
        Command::Peek(peek) => peek.run(),
        Command::Tail(tail) => tail.run(),
        Command::Info(info) => info.run(),
        Command::Ls(ls) => ls.run(),
        Command::Groups(groups) => groups.run(),
        Command::Top(top) => top.run(),
        Command::Metrics(metrics) => metrics.run(),
        Command::Pause(pause) => pause.run(),
        Command::Resume(resume) => resume.run(),
        Command::Retention(retention) => retention.run(),
        Command::Purge(purge) => purge.run(),
        Command::Dlq(dlq) => dlq.run(),
        Command::Schedule(schedule) => schedule.run(),
        Command::Seek(seek) => seek.run(),
        Command::Why(why) => why.run(),
        Command::Explain(explain) => explain.run(),
        Command::Verify(verify) => verify.run(),
        Command::Completions(completions) => completions.run::<Cli>(),
        Command::Man(man) => man.run::<Cli>(),
        Command::Repair(repair) => repair.run(),
        Command::Dump(dump) => dump.run(),
        Command::Doctor(doctor) => doctor.run(),
        Command::Bench(bench) => bench.run(),
        Command::Backup(backup) => backup.run(),
        Command::Export(export) => export.run(),
        Command::Import(import) => import.run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
