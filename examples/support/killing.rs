//! What the examples of patterns share: a program that starts itself as a child, kills it in the middle of its work
//! again and again, and looks at the end whether everything is as it should be.

use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The only argument that makes this the child; its directory follows.
const CHILD: &str = "--child";
/// The child is killed (SIGKILL) when it has said so many lines since it was started; then it may come to its end.
const KILLS: [usize; 8] = [1, 2, 3, 5, 8, 13, 21, 34];

/// Runs `child` in a process of its own, which is killed now and then, until it comes to its end; then `verdict`, which
/// lists what is wrong. Both get the same directory.
pub(crate) fn run(child: fn(&Path) -> Outcome<()>, verdict: fn(&Path) -> Outcome<Vec<String>>) -> Outcome<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => {}
        [CHILD, directory] => return child(Path::new(directory)).map(|()| ExitCode::SUCCESS),
        _ => return Err("this takes no arguments".into()),
    }
    let directory = tempfile::Builder::new().prefix("millpond-").tempdir()?;
    let mut kills = 0;
    for lines in KILLS {
        kills += usize::from(start(directory.path(), Some(lines))?);
    }
    start(directory.path(), None)?;
    let wrong = verdict(directory.path())?;
    if wrong.is_empty() {
        say(&format!("killed {kills} times, and everything is as it should be"))?;
        return Ok(ExitCode::SUCCESS);
    }
    wrong.iter().try_for_each(|line| say(&format!("WRONG: {line}")))?;
    say(&format!("all of it is kept in {}", directory.keep().display()))?;
    Ok(ExitCode::FAILURE)
}

/// One line to whoever reads; the child is killed by the number of them.
pub(crate) fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// Starts the child, and kills it when it has said so many lines. Whether it was killed.
fn start(directory: &Path, kill_at: Option<usize>) -> Outcome<bool> {
    let mut child = Command::new(std::env::current_exe()?).arg(CHILD).arg(directory).stdout(Stdio::piped()).spawn()?;
    let said = BufReader::new(child.stdout.take().ok_or("the child has no stdout")?);
    let mut count = 0;
    for line in said.lines() {
        say(&format!("  {}", line?))?;
        count += 1;
        if kill_at == Some(count) {
            child.kill()?;
        }
    }
    let status = child.wait()?;
    if status.success() {
        // Also if it came to its end just before it was to be killed.
        return Ok(false);
    }
    if kill_at.is_none_or(|lines| count < lines) {
        return Err(format!("the child ended by itself: {status}").into());
    }
    say("killed")?;
    Ok(true)
}
