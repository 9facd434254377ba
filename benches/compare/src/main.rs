//! millpond beside the alternatives: the same work for each, at its true guarantee, beside the machine's floor.
//!
//! ```text
//! cargo run --release --manifest-path benches/compare/Cargo.toml -- [--quick] [--only ROW] [--with NAME] [--out DIR]
//! ```
//!
//! Every figure is taken in a process of its own, in turns with the floor. The README beside this tells the rest.
#![forbid(unsafe_code)]

mod aims;
mod alternatives;
mod arguments;
mod floor;
mod machine;
mod measure;
mod payloads;
mod plot;
mod queue;
mod report;
mod results;
mod rows;
mod run;
mod scaling;
mod syncs;

use arguments::{Arguments, HELP};
use measure::Measuring;
use queue::Result;
use results::Results;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match words.as_slice() {
        [child, spec] if child == "--child" => run::child(spec),
        _ => Arguments::parse(&words).and_then(|arguments| arguments.map_or_else(help, |it| compare(&it))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn help() -> Result<()> {
    println!("{HELP}");
    Ok(())
}

fn compare(arguments: &Arguments) -> Result<()> {
    let out = &arguments.out;
    std::fs::create_dir_all(out)?;
    let name = if arguments.scaling { "scaling" } else { "results" };
    let file = out.join(format!("{name}.json"));
    let results = if arguments.render {
        Results::read(&file)?
    } else {
        let results = Measuring::new(arguments)?.all()?;
        results.write(&file)?;
        results
    };
    let table = report::markdown(&results);
    std::fs::write(out.join(format!("{name}.md")), &table)?;
    plot::all(&results, &out.join("plots"))?;
    println!("{table}");
    Ok(())
}
