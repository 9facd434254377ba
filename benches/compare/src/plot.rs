//! Plots, as SVG: a bar for each alternative with the floor as a line, and a curve for each thing that grows.

use crate::aims::short;
use crate::alternatives::OURS;
use crate::queue::Result;
use crate::results::{CurveOutcome, Entry, Outcome, Results};
use std::fmt::Write;
use std::path::Path;

const WIDTH: f64 = 760.0;
const LEFT: f64 = 190.0;
const RIGHT: f64 = 110.0;
const BAR: f64 = 20.0;
const TOP: f64 = 44.0;

pub(crate) fn all(results: &Results, directory: &Path) -> Result<()> {
    std::fs::create_dir_all(directory)?;
    for row in &results.rows {
        std::fs::write(directory.join(format!("{}.svg", row.id)), bars(row)?)?;
    }
    for curve in &results.curves {
        std::fs::write(directory.join(format!("{}.svg", curve.id)), line(curve)?)?;
    }
    Ok(())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn text(out: &mut String, (x, y): (f64, f64), anchor: &str, more: &str, text: &str) -> Result<()> {
    let text = escaped(text);
    Ok(writeln!(out, r##"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" {more}>{text}</text>"##)?)
}

fn begin(height: f64, title: &str, subtitle: &str) -> Result<String> {
    let mut out = String::new();
    writeln!(
        out,
        concat!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" width="{w}" height="{h}" "##,
            r##"font-family="sans-serif" font-size="12" fill="#24292f">"##
        ),
        w = WIDTH,
        h = height
    )?;
    writeln!(out, r##"<rect width="100%" height="100%" fill="#ffffff"/>"##)?;
    text(&mut out, (8.0, 18.0), "start", r##"font-weight="bold" font-size="14""##, title)?;
    text(&mut out, (8.0, 34.0), "start", r##"fill="#57606a""##, subtitle)?;
    Ok(out)
}

fn bars(row: &Outcome) -> Result<String> {
    let mut entries: Vec<(&Entry, f64)> =
        row.entries.iter().filter_map(|entry| Some((entry, entry.figure.filter(|it| it.is_finite())?))).collect();
    entries.sort_by(|a, b| if row.latency() { a.1.total_cmp(&b.1) } else { b.1.total_cmp(&a.1) });
    let floor = row.floor().filter(|floor| floor.is_finite()).unwrap_or(0.0);
    let most = entries.iter().map(|entry| entry.1).fold(floor, f64::max).max(f64::MIN_POSITIVE);
    let scale = (WIDTH - LEFT - RIGHT) / most;
    let height = TOP + BAR * entries.len() as f64 + 34.0;
    let better = if row.latency() { "microseconds, less is better" } else { "messages a second, more is better" };
    let mut out = begin(height, &row.title, better)?;
    for (index, (entry, figure)) in entries.iter().enumerate() {
        let top = TOP + BAR * index as f64;
        let color = match (entry.name == OURS, entry.claims_without_syncing) {
            (true, _) => "#1f6feb",
            (false, true) => "#d4a72c",
            (false, false) => "#8c959f",
        };
        let width = (figure * scale).max(1.0);
        let (y, tall) = (top + 2.0, BAR - 5.0);
        writeln!(out, r##"<rect x="{LEFT}" y="{y:.1}" width="{width:.1}" height="{tall:.1}" fill="{color}"/>"##)?;
        let level = format!("{} {:?}", entry.shown(), entry.level);
        text(&mut out, (LEFT - 6.0, top + 14.0), "end", "", &level)?;
        let mark = if entry.claims_without_syncing { " ⚠ without syncing" } else { "" };
        text(&mut out, (LEFT + width + 5.0, top + 14.0), "start", "", &format!("{}{mark}", short(*figure)))?;
    }
    let x = LEFT + floor * scale;
    let (from, to) = (TOP - 4.0, height - 26.0);
    writeln!(
        out,
        r##"<line x1="{x:.1}" y1="{from:.1}" x2="{x:.1}" y2="{to:.1}" stroke="#cf222e" stroke-dasharray="4 3"/>"##
    )?;
    let name = row.floors.iter().find(|it| it.leading && it.figure >= floor).map_or("floor", |it| it.name.as_str());
    let label = format!("floor: {name}, {}", short(floor));
    text(&mut out, (x.clamp(120.0, WIDTH - 200.0), height - 10.0), "middle", r##"fill="#cf222e""##, &label)?;
    out.push_str("</svg>\n");
    Ok(out)
}

/// Both axes are logarithmic.
fn line(curve: &CurveOutcome) -> Result<String> {
    const HEIGHT: f64 = 320.0;
    const BOTTOM: f64 = HEIGHT - 44.0;
    let mut out =
        begin(HEIGHT, &format!("{}: {}", curve.axis, curve.title), "messages a second; both axes logarithmic")?;
    let points: Vec<(f64, f64)> = curve.points.iter().map(|(count, rate)| (*count as f64, *rate)).collect();
    let range = |values: &dyn Fn(&(f64, f64)) -> f64| {
        let logs = || points.iter().map(|point| values(point).max(f64::MIN_POSITIVE).log10());
        (logs().fold(f64::INFINITY, f64::min), logs().fold(f64::NEG_INFINITY, f64::max))
    };
    let (x_range, y_range) = (range(&|point| point.0), range(&|point| point.1));
    let y_range = ((y_range.0 - 0.1).floor(), (y_range.1 + 0.1).ceil());
    let place = |value: f64, range: (f64, f64), from: f64, to: f64| {
        from + (value.log10() - range.0) / (range.1 - range.0).max(1e-9) * (to - from)
    };
    let x = |value: f64| place(value, x_range, 80.0, WIDTH - 40.0);
    let y = |value: f64| place(value, y_range, BOTTOM, TOP + 8.0);
    for power in y_range.0 as i32..=y_range.1 as i32 {
        let (value, left, right) = (10_f64.powi(power), 80.0, WIDTH - 40.0);
        let at = y(value);
        writeln!(out, r##"<line x1="{left}" y1="{at:.1}" x2="{right}" y2="{at:.1}" stroke="#d0d7de"/>"##)?;
        text(&mut out, (left - 6.0, at + 4.0), "end", "", &short(value))?;
    }
    let path: String = points.iter().map(|point| format!("{:.1},{:.1} ", x(point.0), y(point.1))).collect();
    writeln!(out, r##"<polyline points="{path}" fill="none" stroke="#1f6feb" stroke-width="2"/>"##)?;
    for (count, rate) in &points {
        let bend = curve.bend.is_some_and(|bend| bend as f64 == *count);
        let color = if bend { "#cf222e" } else { "#1f6feb" };
        writeln!(out, r##"<circle cx="{:.1}" cy="{:.1}" r="4" fill="{color}"/>"##, x(*count), y(*rate))?;
        text(&mut out, (x(*count), y(*rate) - 8.0), "middle", r##"font-size="10""##, &short(*rate))?;
        text(&mut out, (x(*count), BOTTOM + 16.0), "middle", "", &format!("{count}"))?;
    }
    text(&mut out, (WIDTH / 2.0, HEIGHT - 8.0), "middle", r##"fill="#57606a""##, &curve.axis)?;
    out.push_str("</svg>\n");
    Ok(out)
}
