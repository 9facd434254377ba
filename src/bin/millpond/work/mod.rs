//! `millpond work`: hand each message of a topic to a command, and settle it by how the command ends.
//!
//! `each` starts the command once per message, `lines` feeds many to one that stays; `shop` is what their jobs share.

mod each;
mod held;
mod lines;
mod shop;
mod stderr;

use crate::failure::Failure;
use crate::output;
use millpond::{Consumer, Group, Store};
use shop::Shop;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What a shell reports of a program that an interrupt ended.
const INTERRUPTED: i32 = 130;

const AFTER_HELP: &str = r#"Examples:
  millpond work ./pond numbers printer --once -- cat
  millpond work ./pond orders email --jobs 4 -- ./send-email
  millpond work ./pond orders upper --lines -- sed -u 's/.*/\U&/'

The command gets the payload on its stdin, and in its environment
MILLPOND_TOPIC, MILLPOND_GROUP, MILLPOND_OFFSET, MILLPOND_ATTEMPT (1 at first),
and MILLPOND_ID and MILLPOND_KEY if the message has them. Its stdout is ours.
It is done when it has exited and its stderr is closed. What its exit status
means:
  0         acknowledged: this group does not get the message again
  75        released: tried again soon, nothing is charged
  any other a failure: tried again after a growing wait (1 s to 10 min), and
            parked as a dead letter after 10 failures, unless the group was
            created with other settings; the end of stderr is its error
While the command runs, its lease is renewed, however long it takes.

With --lines the command is started once per job and fed many messages, one a
line. Each line that it writes to stdout acknowledges one message, in the order
they were fed (up to 256 ahead), and is passed on to our stdout. It must write
its lines as it goes (`sed -u`, `grep --line-buffered`, `stdbuf -oL ..`): one
that holds 256 lines and answers none for 5 seconds has its stdin closed, and a
fresh one takes over when it has ended. If it ends before it has answered
everything, the first unanswered message has failed, with the end of stderr as
its error, and those behind it are handed out again uncharged (after status 75:
all of them). A payload that holds a newline can't be a line and fails. With
--once its stdin is closed when nothing is left to feed.

An interrupt (SIGINT, SIGTERM) takes no new messages and waits for the commands
that run; a command that fails from then on is not charged for it. Another
interrupt, a second or more later, ends at once. That, kill -9 and a power cut
lose nothing either: what was not acknowledged is handed out again, and what
was acknowledged just before a power cut may be, too.

Messages are delivered at least once: a command may see one twice, and must
bear it.

The topic must exist; the group is created at the topic's oldest message. Exit
codes: 0 done (or interrupted), 1 failed, or with --once a message became a
dead letter, 2 not begun."#;

/// Run a command for each message of a topic
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Work {
    /// The store's directory
    dir: PathBuf,
    /// The topic to take messages from
    topic: String,
    /// The consumer group: each group gets every message
    group: String,
    /// How many commands run at a time
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: u16,
    /// End when nothing is left to hand out and nothing waits for another attempt
    #[arg(long)]
    once: bool,
    /// Feed many messages to one command, one a line, each acknowledged by a line on its stdout
    #[arg(long)]
    lines: bool,
    /// The command and its arguments
    #[arg(last = true, required = true, num_args = 1.., value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Work {
    /// Works until interrupted, or with `--once` until nothing is left.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let (stop, impatient) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        for signal in [SIGINT, SIGTERM] {
            // In this order: a signal that raises the flags does not find them raised.
            flag::register_conditional_shutdown(signal, INTERRUPTED, Arc::clone(&impatient))
                .and_then(|_| flag::register(signal, Arc::clone(&stop)))
                .map_err(|error| Failure::refused(format!("can't listen for interrupts: {error}")))?;
        }
        let store = Store::options().create(false).open(&self.dir)?;
        let consumer = store.existing_topic(&self.topic)?.consumer(&self.group, Group::default())?;
        let dead_before = consumer.try_stats()?.dead;
        let shop = Shop::new(consumer.clone(), &self.command, self.once, stop, impatient);
        let worked = shop.run(usize::from(self.jobs), if self.lines { lines::run } else { each::run });
        let dead = consumer.stats().dead.saturating_sub(dead_before);
        output::note(&shop.summary(dead));
        drop(shop);
        let closed = store.close();
        worked?;
        closed?;
        self.verdict(&consumer, dead > 0)
    }

    fn verdict(&self, consumer: &Consumer, parked: bool) -> Result<(), Failure> {
        if self.once && parked {
            return Err(Failure::failed(format!("group {} has new dead letters", consumer.name())));
        }
        Ok(())
    }
}
