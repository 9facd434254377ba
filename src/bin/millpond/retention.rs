//! `millpond retention`: how long the messages of a topic stay.

use crate::arguments::{confirm, with_store};
use crate::failure::Failure;
use crate::output;
use millpond::{Retention as Rules, TopicSettings};
use serde_json::{Map, Value, json};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Show how long the messages of a topic stay, or set it
#[derive(Debug, clap::Args)]
#[command(after_help = r"Examples:
  millpond retention ./pond orders
  millpond retention ./pond orders --keep-age 7d --max-age 30d --yes
  millpond retention ./pond orders --until-settled --yes

Without a rule it shows those that hold. With any, these replace all that held:
--keep-... keeps what every group has settled, --max-... drops what some group
still needs.")]
pub(crate) struct Retention {
    /// The store's directory
    dir: PathBuf,
    /// The topic
    topic: String,
    /// No rules: until every group has settled it
    #[arg(long)]
    until_settled: bool,
    /// Keep what is not older, as 12h or 7d
    #[arg(long, value_name = "SPAN", value_parser = humantime::parse_duration)]
    keep_age: Option<Duration>,
    /// Keep the newest that have so many bytes together
    #[arg(long, value_name = "BYTES")]
    keep_bytes: Option<u64>,
    /// Keep so many of the newest
    #[arg(long, value_name = "N")]
    keep_count: Option<u64>,
    /// Drop what is older
    #[arg(long, value_name = "SPAN", value_parser = humantime::parse_duration)]
    max_age: Option<Duration>,
    /// Drop the oldest of what has more bytes together
    #[arg(long, value_name = "BYTES")]
    max_bytes: Option<u64>,
    /// Drop all but so many of the newest
    #[arg(long, value_name = "N")]
    max_count: Option<u64>,
    /// Do not ask before rules are set that drop messages
    #[arg(long)]
    yes: bool,
    /// One JSON object; ages in milliseconds
    #[arg(long)]
    json: bool,
}

impl Retention {
    fn wanted(&self) -> Rules {
        let Self { keep_age, keep_bytes, keep_count, max_age, max_bytes, max_count, .. } = self;
        let rules = Rules::until_settled();
        let rules = keep_age.map_or(rules, |age| rules.keep_age(age));
        let rules = keep_bytes.map_or(rules, |bytes| rules.keep_bytes(bytes));
        let rules = keep_count.map_or(rules, |count| rules.keep_count(count));
        let rules = max_age.map_or(rules, |age| rules.max_age(age));
        let rules = max_bytes.map_or(rules, |bytes| rules.max_bytes(bytes));
        max_count.map_or(rules, |count| rules.max_count(count))
    }

    /// Shows or sets it.
    pub(crate) fn run(self) -> Result<(), Failure> {
        with_store(&self.dir, |store| {
            let topic = store.existing_topic(&self.topic)?;
            let wanted = self.wanted();
            if self.until_settled && wanted != Rules::until_settled() {
                return Err(Failure::refused("--until-settled is no rules at all, and there are others"));
            }
            if self.until_settled || wanted != Rules::until_settled() {
                let question = format!("Let these rules replace those of {:?}? Some may drop messages.", topic.name());
                confirm(&question, self.yes)?;
                drop(store.topic_with(&self.topic, TopicSettings::default().retention(wanted))?);
            }
            self.show(topic.try_stats()?.retention)
        })
    }

    fn show(&self, rules: Rules) -> Result<(), Failure> {
        if self.json {
            let rules: Map<String, Value> = rules.rules().map(|(name, rule)| (name.to_owned(), json!(rule))).collect();
            return Ok(output::json_line(&mut io::stdout().lock(), &rules)?);
        }
        let mut none = true;
        for (name, rule) in rules.rules() {
            none = false;
            let said = match name {
                "keep_age" | "max_age" => humantime::format_duration(Duration::from_millis(rule)).to_string(),
                "keep_bytes" | "max_bytes" => output::size(rule),
                _ => rule.to_string(),
            };
            output::line(&format!("--{} {said}", name.replace('_', "-")))?;
        }
        if none { output::line("until every group has settled it") } else { Ok(()) }
    }
}
