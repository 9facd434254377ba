//! `millpond top`: what comes in, what is done and what waits, over and over, beside whoever has the store open.

mod draw;
mod sample;

use crate::failure::Failure;
use crate::output;
use draw::Looks;
use millpond::{Clock, ReadOnlyStore, SystemClock};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use sample::{Look, View};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

const AFTER_HELP: &str = r"Examples:
  millpond top ./pond
  millpond top ./pond --once
  millpond top ./pond --once --json | jq 'select(.dead > 0)'

The store is only looked at: whoever has it open goes on undisturbed. IN/S is
what was published to the topic, DONE/S what the group was done with, per
second since the last look. LAG is what it is not done with, dead letters left
out; OLDEST how long the oldest message that can be handed out has been waiting.

With --once, or where the output is no terminal, two looks are taken, one
interval apart, and shown as a table; --json gives one object a line. NO_COLOR is
heeded. q, Escape or an interrupt ends it.";

/// Show rates, lag and dead letters live
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Top {
    /// The store's directory
    dir: PathBuf,
    /// Show it once and end
    #[arg(long)]
    once: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// Time between two looks
    #[arg(long, value_name = "SPAN", default_value = "1s", value_parser = humantime::parse_duration)]
    interval: Duration,
}

/// No quicker than this: a look costs the reading of what was written since.
const QUICKEST: Duration = Duration::from_millis(100);

struct Watch {
    store: ReadOnlyStore,
    clock: SystemClock,
    before: Option<Look>,
    now: Look,
}

impl Watch {
    fn open(top: &Top) -> Result<Self, Failure> {
        let (store, clock) = (crate::keys::options().open_read_only(&top.dir)?, SystemClock::new());
        let now = Look { stats: store.stats()?, at: clock.monotonic() };
        Ok(Self { store, clock, before: None, now })
    }

    /// Looks again.
    fn look(&mut self) -> millpond::Result<()> {
        self.store.refresh()?;
        let now = Look { stats: self.store.stats()?, at: self.clock.monotonic() };
        self.before = Some(std::mem::replace(&mut self.now, now));
        Ok(())
    }

    fn view(&self) -> View {
        View::of(self.before.as_ref(), &self.now)
    }
}

impl Top {
    /// Looks, and shows.
    pub(crate) fn run(mut self) -> Result<(), Failure> {
        self.interval = self.interval.max(QUICKEST);
        let mut watch = Watch::open(&self)?;
        if !self.once && !self.json && io::stdout().is_terminal() {
            return self.live(&mut watch);
        }
        loop {
            pause(self.interval);
            watch.look()?;
            self.show(&watch)?;
            if self.once || !self.json {
                return Ok(());
            }
        }
    }

    fn show(&self, watch: &Watch) -> Result<(), Failure> {
        let (view, stats) = (watch.view(), &watch.now.stats);
        let mut out = BufWriter::new(io::stdout().lock());
        if self.json {
            view.lines(stats).iter().try_for_each(|line| output::json_line(&mut out, line))?;
        } else {
            view.table().write(&mut out)?;
        }
        Ok(out.flush()?)
    }

    fn live(&self, watch: &mut Watch) -> Result<(), Failure> {
        // It puts the terminal back also if this panics.
        let mut terminal = ratatui::try_init()?;
        let outcome = self.paint(watch, &mut terminal);
        ratatui::restore();
        outcome
    }

    fn paint(&self, watch: &mut Watch, terminal: &mut ratatui::DefaultTerminal) -> Result<(), Failure> {
        let colour = std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
        let mut looks = Looks { colour, skipped: 0 };
        let (path, mut trouble) = (self.dir.display().to_string(), None);
        loop {
            let view = View { trouble: trouble.clone(), ..watch.view() };
            looks.skipped = looks.skipped.min(view.rows.len().saturating_sub(1));
            terminal.draw(|frame| draw::draw(frame, &path, &view, looks))?;
            let next = watch.clock.monotonic().saturating_add(self.interval);
            loop {
                let left = next.saturating_sub(watch.clock.monotonic());
                if left.is_zero() || !event::poll(left)? {
                    // Its owner may be busy, or repairing: what was seen last stays.
                    trouble = watch.look().err().map(|error| error.to_string());
                    break;
                }
                match event::read()? {
                    Event::Key(key) if key.kind == KeyEventKind::Press => match key.code {
                        KeyCode::Char('q') | KeyCode::Esc => return Ok(()),
                        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Ok(()),
                        KeyCode::Down => looks.skipped = looks.skipped.saturating_add(1),
                        KeyCode::Up => looks.skipped = looks.skipped.saturating_sub(1),
                        _ => continue,
                    },
                    Event::Resize(..) => {}
                    _ => continue,
                }
                let view = View { trouble: trouble.clone(), ..watch.view() };
                looks.skipped = looks.skipped.min(view.rows.len().saturating_sub(1));
                terminal.draw(|frame| draw::draw(frame, &path, &view, looks))?;
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a person waits for the second look, and nothing else does")]
fn pause(span: Duration) {
    std::thread::sleep(span);
}
