//! What we want in each row, and whether we have it.

use crate::queue::Level;
use crate::results::{Aim, Outcome};

/// A figure against what it has to be.
fn at_least(what: &str, figure: Option<f64>, least: Option<f64>) -> (Option<bool>, String) {
    let (Some(figure), Some(least)) = (figure, least) else {
        return (None, format!("{what}: not measured"));
    };
    (Some(figure >= least), format!("{what}: {} of {}", short(figure), short(least)))
}

/// Both of them.
fn both(one: (Option<bool>, String), other: (Option<bool>, String)) -> (Option<bool>, String) {
    let met = match (one.0, other.0) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    };
    (met, format!("{}; {}", one.1, other.1))
}

/// A number with three digits or so.
pub(crate) fn short(number: f64) -> String {
    match number {
        number if !number.is_finite() => "-".to_owned(),
        number if number >= 1e7 => format!("{:.1} M", number / 1e6),
        number if number >= 1e6 => format!("{:.2} M", number / 1e6),
        number if number >= 1e5 => format!("{:.0} k", number / 1e3),
        number if number >= 1e4 => format!("{:.1} k", number / 1e3),
        number if number >= 1e3 => format!("{:.2} k", number / 1e3),
        number if number >= 100.0 => format!("{number:.0}"),
        number if number >= 10.0 => format!("{number:.1}"),
        number if number >= 0.01 || number == 0.0 => format!("{number:.2}"),
        number => format!("{number:.4}"),
    }
}

/// Judges a row; `before` are those that were measured before it.
pub(crate) fn judge(text: &str, row: &Outcome, before: &[Outcome]) -> Aim {
    let ratio = |level| row.ours().find(|entry| entry.level == level)?.floor_ratio;
    let ours = row.our_figure(None);
    let times = |name, factor: f64| row.figure(name, None).map(|figure| figure * factor);
    let (met, because) = match row.id.as_str() {
        "append-100" => both(
            at_least("`Os` to the floor", ratio(Level::Os), Some(0.8)),
            at_least("`Memory` a second", row.our_figure(Some(Level::Memory)), times("yaque", 5.0)),
        ),
        "append-100-batch" => at_least("`Os` to the floor", ratio(Level::Os), Some(0.85)),
        "append-1k-4" => at_least("a second", ours, Some(1.5e6)),
        "durable-1" => at_least("to the floor", ratio(Level::Disk), Some(0.95)),
        "durable-4" => at_least("to the floor", ratio(Level::Disk), Some(0.9)),
        "durable-16" | "durable-64" | "durable-256" => {
            let other = row.best_other().and_then(|entry| entry.figure).map(|figure| figure * 1.5);
            let floor = row.floor().map(|floor| floor * 0.8);
            let least = match (other, floor) {
                (Some(other), Some(floor)) => Some(other.min(floor)),
                (other, floor) => other.or(floor),
            };
            at_least("a second", ours, least)
        }
        "durable-100x100" | "durable-1000x100" => at_least("a second", ours, times("okaywal", 1.2)),
        "durable-100x1k" | "durable-1000x1k" => at_least("a second", ours, times("raft-engine", 1.3)),
        "pipelined" => at_least("a second", ours, Some(2e6)),
        "drain-1" => at_least("a second", ours, Some(2e6)),
        "drain-100" => at_least("a second", ours, Some(6e6)),
        "settle-durable-1" => at_least("to the floor", ratio(Level::Disk), Some(0.9)),
        "settle-durable-8" => {
            let one = before.iter().find(|row| row.id == "settle-durable-1");
            at_least("a second", ours, one.and_then(|row| row.our_figure(None)).map(|one| one * 4.0))
        }
        "settle-unsynced" => at_least("a second, fastest level", ours, Some(1e6)),
        _ if row.latency() => match (ours, row.floor()) {
            (Some(ours), Some(floor)) => {
                (Some(ours <= floor), format!("p50: {} us, at most {} us", short(ours), short(floor)))
            }
            _ => (None, "not measured".to_owned()),
        },
        _ => (None, String::new()),
    };
    Aim { text: text.to_owned(), met, because }
}
