//! What a run found: the shape of the JSON.

use crate::machine::Machine;
use crate::queue::{Level, Result};
use crate::syncs::Calls;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Everything that one run found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) date: String,
    pub(crate) command: String,
    pub(crate) machine: Machine,
    /// `--quick`: to see that everything works, not to be quoted.
    pub(crate) quick: bool,
    pub(crate) took_seconds: f64,
    pub(crate) rows: Vec<Outcome>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) curves: Vec<CurveOutcome>,
}

/// What a row found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) id: String,
    pub(crate) title: String,
    /// `messages/s`, or `us` where less is better.
    pub(crate) unit: String,
    pub(crate) turns: usize,
    pub(crate) floors: Vec<FloorFigure>,
    pub(crate) aim: Aim,
    pub(crate) entries: Vec<Entry>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FloorFigure {
    pub(crate) name: String,
    pub(crate) figure: f64,
    /// Whether ratios are to it, or to another one if that is faster.
    pub(crate) leading: bool,
}

/// What we want, and whether we have it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Aim {
    pub(crate) text: String,
    /// Nothing if what it is compared with was not measured.
    pub(crate) met: Option<bool>,
    /// The figures that decide it.
    pub(crate) because: String,
}

/// One alternative at one level in one row.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) level: Level,
    pub(crate) guarantee: String,
    /// It began with what was used before, not with nothing.
    #[serde(default)]
    pub(crate) used: bool,
    /// Median over the turns: messages a second, or microseconds.
    pub(crate) figure: Option<f64>,
    pub(crate) lowest: Option<f64>,
    pub(crate) highest: Option<f64>,
    /// Median over the turns of this to the floor of the same turn.
    pub(crate) floor_ratio: Option<f64>,
    /// p50, p99 and p99.9, in microseconds, and how many messages a second there were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) latency: Option<[f64; 3]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rate: Option<f64>,
    pub(crate) messages: u64,
    /// Processor time a message of the process, all threads, in nanoseconds; not that of a server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_ns: Option<f64>,
    /// Counted in another, slower run.
    pub(crate) calls: Option<Calls>,
    pub(crate) syncs_per_message: Option<f64>,
    /// It says `Disk`, and there are not enough syncs for it.
    pub(crate) claims_without_syncing: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failed: Option<String>,
}

/// A scaling curve of ours.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CurveOutcome {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) axis: String,
    /// What there was of it, and messages a second.
    pub(crate) points: Vec<(u64, f64)>,
    /// Where it bends.
    pub(crate) bend: Option<u64>,
}

impl CurveOutcome {
    /// The first point behind the best one that has less than 0.8 of it.
    pub(crate) fn bend_of(points: &[(u64, f64)]) -> Option<u64> {
        let best = points.iter().map(|point| point.1).fold(0.0, f64::max);
        let at = points.iter().position(|point| point.1 >= best)?;
        points.iter().skip(at).find(|point| point.1 < 0.8 * best).map(|point| point.0)
    }
}

impl Results {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        Ok(serde_json::from_str(&std::fs::read_to_string(path)?)?)
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        Ok(std::fs::write(path, serde_json::to_string_pretty(self)? + "\n")?)
    }
}

impl Entry {
    /// Its name, and what it began with if that was not nothing.
    pub(crate) fn shown(&self) -> String {
        if self.used { format!("{}, used", self.name) } else { self.name.clone() }
    }
}

impl Outcome {
    pub(crate) fn latency(&self) -> bool {
        self.unit == "us"
    }

    /// The fastest of the leading floors.
    pub(crate) fn floor(&self) -> Option<f64> {
        self.floors.iter().filter(|floor| floor.leading).map(|floor| floor.figure).reduce(f64::max)
    }

    /// The figure of an alternative at its level, or at its fastest.
    pub(crate) fn figure(&self, name: &str, level: Option<Level>) -> Option<f64> {
        let mine = self.entries.iter().filter(|entry| entry.name == name);
        let there = mine.filter(|entry| level.is_none_or(|level| entry.level == level));
        there.filter_map(|entry| entry.figure).reduce(f64::max)
    }

    /// Ours that began with nothing, as the others do.
    pub(crate) fn ours_new(&self, level: Option<Level>) -> Option<&Entry> {
        let ours = |entry: &&Entry| entry.name == crate::alternatives::OURS && !entry.used && entry.figure.is_some();
        let there = self.entries.iter().filter(ours).filter(|entry| level.is_none_or(|level| entry.level == level));
        there.max_by(|a, b| a.figure.unwrap_or(0.0).total_cmp(&b.figure.unwrap_or(0.0)))
    }

    /// Ours that the aims are for: begun with what was used before, where that was measured.
    pub(crate) fn ours(&self) -> impl Iterator<Item = &Entry> {
        let ours = |entry: &&Entry| entry.name == crate::alternatives::OURS && entry.figure.is_some();
        let used = self.entries.iter().filter(ours).any(|entry| entry.used);
        self.entries.iter().filter(ours).filter(move |entry| entry.used == used)
    }

    /// The figure of those, at this level or at the fastest.
    pub(crate) fn our_figure(&self, level: Option<Level>) -> Option<f64> {
        let there = self.ours().filter(|entry| level.is_none_or(|level| entry.level == level));
        there.filter_map(|entry| entry.figure).reduce(f64::max)
    }

    /// The best of the others that holds what it says, by rate.
    pub(crate) fn best_other(&self) -> Option<&Entry> {
        let honest = self.entries.iter().filter(|entry| entry.name != crate::alternatives::OURS);
        let honest = honest.filter(|entry| !entry.claims_without_syncing && entry.figure.is_some());
        let better = |a: &Entry, b: &Entry| match (a.figure, b.figure) {
            (Some(a), Some(b)) if self.latency() => b.total_cmp(&a),
            (Some(a), Some(b)) => a.total_cmp(&b),
            _ => std::cmp::Ordering::Equal,
        };
        honest.max_by(|a, b| better(a, b))
    }
}
