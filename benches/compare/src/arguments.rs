//! The command line.

use crate::queue::Result;
use std::path::PathBuf;

pub(crate) const HELP: &str = "\
millpond beside the alternatives

  --quick        a look at everything in under 3 minutes; figures to be quoted take a full run
  --only ROW     only rows whose id begins so, for instance durable; may be given again
  --with NAME    only this alternative and ours; may be given again
  --used         all that can be consumed from begins with what was used before, not ours alone
  --scaling      the curves of ours instead: producers, payload, topics, groups, backlog
  --render       no measuring: the table and the plots again, from the JSON in the directory
  --out DIR      where the JSON, the table and the plots go; target/compare without it
  --scratch DIR  where the queues are while they are measured; beside the program without it
  --list         the rows and the alternatives, with what is installed";

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arguments {
    pub(crate) quick: bool,
    pub(crate) used: bool,
    pub(crate) scaling: bool,
    pub(crate) render: bool,
    pub(crate) only: Vec<String>,
    pub(crate) with: Vec<String>,
    pub(crate) out: PathBuf,
    pub(crate) scratch: PathBuf,
}

impl Arguments {
    /// Nothing if help was asked for.
    pub(crate) fn parse(words: &[String]) -> Result<Option<Self>> {
        let program = std::env::current_exe()?;
        let beside = program.parent().ok_or("the program is nowhere")?.to_path_buf();
        let target = beside.parent().unwrap_or(&beside).join("compare");
        let mut arguments = Self { out: target, scratch: beside, ..Self::default() };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().cloned().ok_or_else(|| format!("{word} needs a value\n\n{HELP}"));
            match word.as_str() {
                "--quick" => arguments.quick = true,
                "--used" => arguments.used = true,
                "--scaling" => arguments.scaling = true,
                "--render" => arguments.render = true,
                "--only" => arguments.only.push(value()?),
                "--with" => arguments.with.push(value()?),
                "--out" => arguments.out = value()?.into(),
                "--scratch" => arguments.scratch = value()?.into(),
                "--list" => {
                    list();
                    return Ok(None);
                }
                "--help" | "-h" => return Ok(None),
                _ => return Err(format!("{word} is not known\n\n{HELP}").into()),
            }
        }
        Ok(Some(arguments))
    }

    pub(crate) fn wants_row(&self, id: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| id.starts_with(only.as_str()))
    }

    pub(crate) fn wants(&self, name: &str) -> bool {
        self.with.is_empty() || name == crate::alternatives::OURS || self.with.iter().any(|with| with == name)
    }

    /// The same run, as somebody would type it.
    pub(crate) fn command(&self) -> String {
        let mut command = "cargo run --release --manifest-path benches/compare/Cargo.toml --".to_owned();
        let mut add = |word: &str| command.extend([" ", word]);
        if self.quick {
            add("--quick");
        }
        if self.used {
            add("--used");
        }
        if self.scaling {
            add("--scaling");
        }
        self.only.iter().for_each(|only| add(&format!("--only {only}")));
        self.with.iter().for_each(|with| add(&format!("--with '{with}'")));
        command.trim_end_matches(" --").to_owned()
    }
}

fn list() {
    for row in crate::rows::all() {
        println!("{:18} {}", row.id, row.title);
    }
    println!();
    for alternative in crate::alternatives::ALL {
        let version = if alternative.installed() { alternative.version() } else { "not installed".to_owned() };
        println!("{:18} {version}", alternative.name());
    }
    println!();
}
