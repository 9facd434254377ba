//! The table, in Markdown, from the JSON and nothing else.

use crate::aims::short;
use crate::alternatives::OURS;
use crate::results::{CurveOutcome, Entry, Outcome, Results};
use std::fmt::Write;

/// What a write to a string can't do: fail.
type Text = Result<(), std::fmt::Error>;

pub(crate) fn markdown(results: &Results) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _: Text = page(&mut out, results);
    out
}

fn page(out: &mut String, results: &Results) -> Text {
    let machine = &results.machine;
    writeln!(out, "# millpond beside the alternatives\n")?;
    writeln!(out, "    {}\n", results.command)?;
    writeln!(
        out,
        "{}, in {:.0} s. {}, {} cores, {} GiB, Linux {}, {}; load before the run {}.\n",
        results.date,
        results.took_seconds,
        machine.cpu,
        machine.cores,
        machine.memory_gib,
        machine.kernel,
        machine.file_system,
        machine.load
    )?;
    if results.quick {
        writeln!(out, "**A quick look: one short turn of each. Not to be quoted.**\n")?;
    }
    if !results.rows.is_empty() {
        writeln!(
            out,
            "Every figure is the median of turns in which floor and alternatives were measured one after the other; a \
             ratio is the median over the turns of the figure to the floor of its turn. Syncs (fsync, fdatasync, \
             msync, and writes to files opened for synced writing; not sync_file_range) were counted in a run of their \
             own. ⚠ marks who says durable and does not sync what it says so of, or delivers it before it is synced.\n"
        )?;
        writeln!(
            out,
            "*New* begins with an empty directory, as every alternative does. *Used* begins where as much was taken in \
             and out again, in a store that keeps the files of that (`Options::spare_segments`): what a queue is like \
             in service, and what the aims and the ratio to the floor are judged by. Who writes to the files of what \
             is done with again within a run does so here too: okaywal, raft-engine.\n"
        )?;
        summary(out, &results.rows)?;
        losses(out, &results.rows)?;
        results.rows.iter().try_for_each(|row| table(out, row))?;
    }
    results.curves.iter().try_for_each(|curve| curve_table(out, curve))
}

fn summary(out: &mut String, rows: &[Outcome]) -> Text {
    writeln!(
        out,
        "| work | ours, new | ours, used | to the floor | best alternative | ours, new, to it | aim | met |"
    )?;
    writeln!(out, "|---|--:|--:|--:|---|--:|---|---|")?;
    for row in rows {
        let (new, ours) = (row.ours_new(None), best(row));
        let other = row.best_other();
        let times = new.or(ours).and_then(|ours| ours.figure).zip(other.and_then(|other| other.figure));
        let times = times.map(|(ours, other)| if row.latency() { other / ours } else { ours / other });
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            row.title,
            new.map_or_else(|| "-".to_owned(), |entry| valued(row, entry)),
            ours.filter(|entry| entry.used).map_or_else(String::new, |entry| valued(row, entry)),
            ours.and_then(|entry| entry.floor_ratio).map_or_else(|| "-".to_owned(), short),
            other.map_or_else(|| "none".to_owned(), |entry| format!("{} {}", entry.name, valued(row, entry))),
            times.map_or_else(|| "-".to_owned(), |times| format!("{} x", short(times))),
            row.aim.text,
            met(row)
        )?;
    }
    writeln!(out)
}

fn met(row: &Outcome) -> String {
    let because = if row.aim.because.is_empty() { String::new() } else { format!(" ({})", row.aim.because) };
    match row.aim.met {
        Some(true) => format!("yes{because}"),
        Some(false) => format!("**no**{because}"),
        None => format!("-{because}"),
    }
}

/// Ours at its fastest level.
fn best(row: &Outcome) -> Option<&Entry> {
    row.ours().max_by(|a, b| a.figure.unwrap_or(0.0).total_cmp(&b.figure.unwrap_or(0.0)))
}

fn valued(row: &Outcome, entry: &Entry) -> String {
    match entry.figure {
        Some(figure) if row.latency() => format!("{} us", short(figure)),
        Some(figure) => format!("{}/s", short(figure)),
        None => "-".to_owned(),
    }
}

/// Where somebody is ahead of us, and where an aim is missed, said plainly.
fn losses(out: &mut String, rows: &[Outcome]) -> Text {
    writeln!(out, "## Where we lose\n")?;
    let mut none = true;
    for row in rows {
        let ahead: Vec<String> = row
            .entries
            .iter()
            .filter(|entry| entry.name != OURS)
            .filter_map(|entry| {
                // At the same level or a higher one, ours has to be faster.
                let new = row.ours_new(Some(entry.level)).and_then(|ours| ours.figure);
                let same = new.or_else(|| row.our_figure(Some(entry.level)))?;
                let theirs = entry.figure?;
                let faster = if row.latency() { theirs < same } else { theirs > same };
                let mark = if entry.claims_without_syncing { " without syncing" } else { "" };
                faster.then(|| format!("{} at {:?}{mark}, {}", entry.name, entry.level, valued(row, entry)))
            })
            .collect();
        let missed = row.aim.met == Some(false);
        if ahead.is_empty() && !missed {
            continue;
        }
        none = false;
        write!(out, "- {}:", row.title)?;
        if missed {
            write!(out, " the aim is missed, {}.", row.aim.because)?;
        }
        if !ahead.is_empty() {
            write!(out, " Ahead of us at the same level: {}.", ahead.join("; "))?;
        }
        writeln!(out)?;
    }
    if none {
        writeln!(out, "Nowhere in this run.")?;
    }
    writeln!(out)
}

fn table(out: &mut String, row: &Outcome) -> Text {
    writeln!(out, "## {}\n", row.title)?;
    writeln!(out, "![{}](plots/{}.svg)\n", row.id, row.id)?;
    let unit = if row.latency() { "p50 / p99 / p99.9, us" } else { "messages/s" };
    writeln!(
        out,
        "| | level | {unit} | lowest to highest | to the floor | CPU ns a message | syncs a message | guarantee |"
    )?;
    writeln!(out, "|---|---|--:|--:|--:|--:|--:|---|")?;
    for floor in &row.floors {
        let leading = if floor.leading { "floor" } else { "for comparison" };
        writeln!(out, "| *{}* | *{leading}* | {} | | | | | |", floor.name, short(floor.figure))?;
    }
    let mut entries: Vec<&Entry> = row.entries.iter().collect();
    entries.sort_by(|a, b| {
        let (a, b) = (a.figure.unwrap_or(0.0), b.figure.unwrap_or(0.0));
        if row.latency() { a.total_cmp(&b) } else { b.total_cmp(&a) }
    });
    for entry in entries {
        let name = if entry.name == OURS { format!("**{}**", entry.shown()) } else { entry.shown() };
        let value = match (entry.latency, entry.rate) {
            (Some([p50, p99, p999]), Some(rate)) if row.latency() => {
                format!("{} / {} / {} ({}/s)", short(p50), short(p99), short(p999), short(rate))
            }
            _ => entry.figure.map_or_else(|| "failed".to_owned(), short),
        };
        let spread = entry.lowest.zip(entry.highest);
        writeln!(
            out,
            "| {name} {} | {:?} | {value} | {} | {} | {} | {}{} | {} |",
            entry.version,
            entry.level,
            spread.map_or_else(|| "-".to_owned(), |(low, high)| format!("{} to {}", short(low), short(high))),
            entry.floor_ratio.map_or_else(|| "-".to_owned(), short),
            entry.cpu_ns.map_or_else(|| "-".to_owned(), short),
            entry.syncs_per_message.map_or_else(|| "-".to_owned(), short),
            if entry.claims_without_syncing { " ⚠" } else { "" },
            entry.failed.as_deref().unwrap_or(&entry.guarantee)
        )?;
    }
    writeln!(out)
}

fn curve_table(out: &mut String, curve: &CurveOutcome) -> Text {
    writeln!(out, "## {}: {}\n\n![{}](plots/{}.svg)\n", curve.axis, curve.title, curve.id, curve.id)?;
    writeln!(out, "| {} | messages/s |\n|--:|--:|", curve.axis)?;
    curve.points.iter().try_for_each(|(count, rate)| writeln!(out, "| {count} | {} |", short(*rate)))?;
    match curve.bend {
        Some(bend) => writeln!(out, "\nIt bends at {bend}: there it is below 0.8 of its best.\n"),
        None => writeln!(out, "\nIt does not bend.\n"),
    }
}
