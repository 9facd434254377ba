//! Measuring: rows in order, alternatives and floor in turns, each in a child process.

use crate::alternatives::{self, OURS};
use crate::arguments::Arguments;
use crate::floor::Floor;
use crate::machine::{self, Machine};
use crate::queue::{Alternative, Level, Result};
use crate::results::{Aim, CurveOutcome, Entry, FloorFigure, Outcome, Results};
use crate::rows::{self, Row, Work};
use crate::run::{self, Effort, RESULT, Sample, Spec, Subject};
use crate::syncs::{self, Calls};
use crate::{aims, scaling};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a run may take: `--quick` stays under 3 minutes, a full one under 20.
#[derive(Clone, Copy, Debug)]
struct Plan {
    turns: usize,
    seconds: f64,
    /// Messages that are filled in, or appended unsynced, at most.
    messages: u64,
    /// All of it.
    total: Duration,
    /// One child.
    child: Duration,
}

const QUICK: Plan =
    Plan { turns: 1, seconds: 0.1, messages: 50_000, total: Duration::from_secs(150), child: Duration::from_secs(4) };
const FULL: Plan = Plan {
    turns: 5,
    seconds: 0.8,
    messages: 1_000_000,
    total: Duration::from_secs(17 * 60),
    child: Duration::from_secs(40),
};

/// Unsynced appends stay below the limit at which the kernel makes writers wait for the disk.
const UNSYNCED: u64 = 2_000_000;
/// How long the row of the disk's own rate takes, twice.
const SUSTAINED: Duration = Duration::from_secs(60);

pub(crate) struct Measuring<'a> {
    arguments: &'a Arguments,
    plan: Plan,
    began: Instant,
    traces: bool,
}

/// An alternative at a level of a row.
struct Candidate {
    alternative: &'static dyn Alternative,
    level: Level,
    work: Work,
    append: Level,
    settle: Level,
    /// Begins with what was used before, not with nothing.
    used: bool,
    samples: Vec<Sample>,
    /// To the floor of the same turn.
    ratios: Vec<f64>,
    failed: Option<String>,
}

fn median(numbers: impl Iterator<Item = f64>) -> Option<f64> {
    let mut numbers: Vec<f64> = numbers.filter(|number| number.is_finite()).collect();
    numbers.sort_unstable_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied()
}

/// Messages a second, or the p50.
fn figure(sample: &Sample, work: Option<Work>) -> f64 {
    match sample.percentiles {
        Some([median, ..]) if work.is_none_or(Work::latency) => median,
        _ => sample.messages as f64 / sample.seconds,
    }
}

impl<'a> Measuring<'a> {
    pub(crate) fn new(arguments: &'a Arguments) -> Result<Self> {
        std::fs::create_dir_all(&arguments.scratch)?;
        let plan = if arguments.quick { QUICK } else { FULL };
        let traces = syncs::possible();
        if !traces {
            eprintln!("strace is not here or may not trace: syncs are not counted");
        }
        Ok(Self { arguments, plan, began: Instant::now(), traces })
    }

    pub(crate) fn all(&self) -> Result<Results> {
        let machine = Machine::this(&self.arguments.scratch);
        let date = machine::now();
        let (mut rows, mut curves) = (Vec::new(), Vec::new());
        if self.arguments.scaling {
            curves = self.curves()?;
        } else {
            rows = self.rows()?;
        }
        Ok(Results {
            date,
            command: self.arguments.command(),
            machine,
            quick: self.arguments.quick,
            took_seconds: self.began.elapsed().as_secs_f64().round(),
            rows,
            curves,
        })
    }

    fn rows(&self) -> Result<Vec<Outcome>> {
        let wanted: Vec<Row> = rows::all().into_iter().filter(|row| self.arguments.wants_row(row.id)).collect();
        let mut done = Vec::new();
        for (index, row) in wanted.iter().enumerate() {
            // An equal part of the time that is left.
            let left = self.plan.total.saturating_sub(self.began.elapsed());
            let share = left / u32::try_from(wanted.len() - index)?;
            let outcome = self.row(row, share, &done)?;
            done.push(outcome);
        }
        if !self.arguments.quick && self.arguments.wants_row("sustained") {
            done.push(self.sustained()?);
        }
        Ok(done)
    }

    fn row(&self, row: &Row, share: Duration, before: &[Outcome]) -> Result<Outcome> {
        let began = Instant::now();
        let mut candidates = self.candidates(row);
        let mut floors: Vec<Vec<f64>> = vec![Vec::new(); row.floors.len()];
        let mut turns = 0;
        while turns < self.plan.turns {
            let turn_began = Instant::now();
            for (floor, figures) in row.floors.iter().zip(&mut floors) {
                figures.push(self.floor(*floor)?);
            }
            let leading = floors.iter().take(row.leading).filter_map(|figures| figures.last().copied());
            let floor = leading.reduce(f64::max).unwrap_or(f64::NAN);
            let count = candidates.len();
            for index in 0..count {
                // Each turn begins with another one, so that nobody always comes right behind the floor.
                let candidate = &mut candidates[(index + turns) % count];
                if candidate.failed.is_some() {
                    continue;
                }
                if began.elapsed() > share * 2 {
                    if candidate.samples.is_empty() {
                        candidate.failed = Some("no time was left".to_owned());
                    }
                    continue;
                }
                match self.child(&candidate.spec(self.effort(candidate)), None) {
                    Ok(sample) => {
                        candidate.ratios.push(figure(&sample, Some(candidate.work)) / floor);
                        candidate.samples.push(sample);
                    }
                    Err(error) => candidate.failed = Some(error.to_string()),
                }
            }
            turns += 1;
            if began.elapsed() + turn_began.elapsed() > share {
                break;
            }
        }
        let entries: Vec<Entry> =
            candidates.iter().map(|candidate| self.entry(candidate, began.elapsed() < share * 3)).collect();
        let named = row.floors.iter().zip(&floors).enumerate().map(|(index, (floor, figures))| FloorFigure {
            name: floor.name(),
            figure: median(figures.iter().copied()).unwrap_or(f64::NAN),
            leading: index < row.leading,
        });
        let mut outcome = Outcome {
            id: row.id.to_owned(),
            title: row.title.to_owned(),
            unit: if row.work.latency() { "us" } else { "messages/s" }.to_owned(),
            turns,
            floors: named.collect(),
            aim: Aim::default(),
            entries,
        };
        outcome.aim = aims::judge(row.aim, &outcome, before);
        self.tell(&outcome, began.elapsed());
        Ok(outcome)
    }

    fn tell(&self, outcome: &Outcome, took: Duration) {
        let floor = outcome.floor().map_or_else(|| "-".to_owned(), aims::short);
        eprintln!(
            "{:7.1} s  {:18} {:.1} s, {} turns; floor {floor}",
            self.began.elapsed().as_secs_f64(),
            outcome.id,
            took.as_secs_f64(),
            outcome.turns
        );
        for entry in &outcome.entries {
            let figure = entry.figure.map_or_else(|| "-".to_owned(), aims::short);
            let ratio = entry.floor_ratio.map_or_else(|| "-".to_owned(), aims::short);
            let failed = entry.failed.as_deref().unwrap_or_default();
            eprintln!("           {:16} {:?} {figure} ({ratio} of the floor) {failed}", entry.shown(), entry.level);
        }
    }

    /// Who takes part in a row, and at which level.
    fn candidates(&self, row: &Row) -> Vec<Candidate> {
        let mut found = Vec::new();
        for alternative in alternatives::ALL.iter().copied() {
            if !self.arguments.wants(alternative.name()) || !alternative.installed() {
                continue;
            }
            let (appends, settles) = (alternative.appends(), alternative.settles());
            if matches!(row.work, Work::Pipelined { .. }) && !alternative.pipelines() {
                continue;
            }
            if !row.work.appends() && settles.is_empty() {
                continue;
            }
            let lowest = |levels: &[Level]| levels.first().copied().unwrap_or(Level::Disk);
            let offered = if row.work.appends() || row.work.latency() { appends } else { settles };
            let mut levels: Vec<Level> = offered.iter().copied().filter(|level| row.levels.contains(level)).collect();
            if matches!(row.work, Work::Drain { .. }) {
                levels.truncate(1);
            }
            // Both of ours; of the others one, since that is what there is time for.
            let consumed = row.work.appends() && !settles.is_empty();
            let ours = alternative.name() == OURS;
            let uses: &[bool] = match (self.arguments.used, ours) {
                (true, _) if consumed => &[true],
                (false, true) if consumed => &[false, true],
                _ => &[false],
            };
            found.extend(levels.into_iter().flat_map(|level| uses.iter().map(move |used| (level, *used))).map(
                |(level, used)| {
                    let appending = row.work.appends() || row.work.latency();
                    let (append, settle) = match appending {
                        true => (level, lowest(settles)),
                        false => (lowest(appends), level),
                    };
                    let (samples, ratios) = (Vec::new(), Vec::new());
                    Candidate {
                        alternative,
                        level,
                        work: row.work,
                        append,
                        settle,
                        used,
                        samples,
                        ratios,
                        failed: None,
                    }
                },
            ));
        }
        found
    }

    fn effort(&self, candidate: &Candidate) -> Effort {
        let Plan { seconds, messages, .. } = self.plan;
        let messages = match candidate.work {
            Work::Append { .. } if candidate.level < Level::Disk => UNSYNCED,
            Work::Append { .. } | Work::Pipelined { .. } => u64::MAX,
            Work::Settle { .. } if candidate.level == Level::Disk => messages.min((seconds * 1e5) as u64),
            _ => messages,
        };
        // Two million messages take longer for some; they stop when the time is over.
        let seconds = if candidate.level < Level::Disk { seconds * 2.0 } else { seconds };
        Effort { seconds, messages }
    }

    fn floor(&self, floor: Floor) -> Result<f64> {
        let messages = if let Floor::Write { .. } = floor { UNSYNCED } else { u64::MAX };
        let sample = self.child(
            &|directory: &Path| Spec {
                subject: Subject::Floor(floor),
                effort: Effort { seconds: self.plan.seconds, messages },
                directory: directory.to_owned(),
            },
            None,
        )?;
        Ok(figure(&sample, None))
    }

    /// Runs a spec in a child, in a fresh directory; with strace, if its log is to be somewhere.
    fn child(&self, spec: &dyn Fn(&Path) -> Spec, trace: Option<&mut String>) -> Result<Sample> {
        self.child_for(spec, trace, self.plan.child)
    }

    /// Likewise, waiting so much longer than it is to measure.
    fn child_for(
        &self,
        spec: &dyn Fn(&Path) -> Spec,
        trace: Option<&mut String>,
        patience: Duration,
    ) -> Result<Sample> {
        let directory = run::fresh(&self.arguments.scratch)?;
        let inside = directory.path().join("queue");
        std::fs::create_dir(&inside)?;
        let mut command = Command::new(std::env::current_exe()?);
        let spec = spec(&inside);
        command.arg("--child").arg(serde_json::to_string(&spec)?);
        command.env("WALRUS_DATA_DIR", inside.join("walrus")).env("WALRUS_QUIET", "1");
        let log = directory.path().join("trace");
        if trace.is_some() {
            command = syncs::traced(&command, &log);
        }
        let printed = directory.path().join("printed");
        command.stdin(Stdio::null()).stderr(Stdio::null()).stdout(std::fs::File::create(&printed)?);
        let mut child = command.spawn()?;
        let began = Instant::now();
        let patience = patience + Duration::from_secs_f64(spec.effort.seconds);
        while child.try_wait()?.is_none() {
            if began.elapsed() > patience {
                child.kill()?;
                child.wait()?;
                return Err("it took too long".into());
            }
            std::thread::sleep(Duration::from_millis(3));
        }
        if let Some(trace) = trace {
            *trace = String::from_utf8_lossy(&std::fs::read(&log)?).into_owned();
        }
        let printed = String::from_utf8_lossy(&std::fs::read(&printed)?).into_owned();
        let line = printed.lines().find_map(|line| line.strip_prefix(RESULT)).ok_or("it ended without a result")?;
        let outcome: std::result::Result<Sample, String> = serde_json::from_str(line)?;
        Ok(outcome?)
    }

    /// What came out; `counted`: with its system calls, if there is time for that.
    fn entry(&self, candidate: &Candidate, counted: bool) -> Entry {
        let Candidate { alternative, level, work, used, samples, ratios, failed, .. } = candidate;
        let figures = || samples.iter().map(|sample| figure(sample, Some(*work)));
        let middle =
            |index: usize| median(samples.iter().filter_map(|sample| sample.percentiles.map(|all| all[index])));
        let calls = if counted && failed.is_none() { self.count(candidate) } else { None };
        Entry {
            name: alternative.name().to_owned(),
            version: alternative.version(),
            level: *level,
            used: *used,
            guarantee: alternative.promise(*level).to_owned(),
            figure: median(figures()),
            lowest: figures().reduce(f64::min),
            highest: figures().reduce(f64::max),
            floor_ratio: median(ratios.iter().copied()),
            latency: middle(0).zip(middle(1)).zip(middle(2)).map(|((p50, p99), p999)| [p50, p99, p999]),
            rate: work.latency().then(|| median(samples.iter().map(|it| it.messages as f64 / it.seconds))).flatten(),
            messages: samples.iter().map(|sample| sample.messages).sum(),
            cpu_ns: self.cpu(candidate),
            calls,
            syncs_per_message: calls.map(|calls| calls.per_message(calls.syncs())),
            claims_without_syncing: self.claims(candidate, calls),
            failed: failed.clone(),
        }
    }

    fn cpu(&self, candidate: &Candidate) -> Option<f64> {
        let each =
            candidate.samples.iter().filter_map(|sample| Some(sample.cpu? * 1e9 / sample.messages.max(1) as f64));
        median(each).filter(|_| candidate.alternative.in_process())
    }

    /// Whether it says `Disk` and is not: there are too few syncs, its source has none, or it delivers well before a
    /// sync could be over.
    fn claims(&self, candidate: &Candidate, calls: Option<Calls>) -> bool {
        let Candidate { alternative, level, work, ratios, .. } = candidate;
        let early = work.latency() && median(ratios.iter().copied()).is_some_and(|ratio| ratio < 0.5);
        let few = calls.is_some_and(|calls| calls.too_few(work.share()));
        *level == Level::Disk && (!alternative.syncs() || few || early)
    }

    /// The system calls of a short run of the same work.
    fn count(&self, candidate: &Candidate) -> Option<Calls> {
        if !self.traces || candidate.work.latency() {
            return None;
        }
        let messages = match candidate.work {
            // What is saved every so often shows in many.
            Work::Drain { .. } => 20_000,
            work => (work.share() as u64 * 5).clamp(100, 5_000),
        };
        let seconds = self.plan.seconds;
        let mut trace = String::new();
        let sample = self.child(&candidate.spec(Effort { seconds, messages }), Some(&mut trace)).ok()?;
        Some(syncs::counted(&trace, sample.messages))
    }

    /// The disk's own rate: what is left when the kernel's buffers are full. Ours beside plain writes.
    fn sustained(&self) -> Result<Outcome> {
        let effort = Effort { seconds: SUSTAINED.as_secs_f64(), messages: u64::MAX };
        let write = Floor::write(100, 1, 1);
        let subject =
            |directory: &Path| Spec { subject: Subject::Floor(write), effort, directory: directory.to_owned() };
        let floor = figure(&self.child(&subject, None)?, None);
        let ours = alternatives::named(OURS).ok_or("ours is missing")?;
        let mut candidate = Candidate {
            alternative: ours,
            level: Level::Os,
            work: Work::Append { bytes: 100, batch: 1, threads: 1 },
            append: Level::Os,
            settle: Level::Os,
            used: false,
            samples: Vec::new(),
            ratios: Vec::new(),
            failed: None,
        };
        let sample = self.child(&candidate.spec(effort), None)?;
        candidate.ratios.push(figure(&sample, None) / floor);
        candidate.samples.push(sample);
        let outcome = Outcome {
            id: "sustained".to_owned(),
            title: "append 100 B, `Os`, for a minute: the disk's own rate".to_owned(),
            unit: "messages/s".to_owned(),
            turns: 1,
            floors: vec![FloorFigure { name: write.name(), figure: floor, leading: true }],
            aim: Aim { text: "none: it names the disk's rate".to_owned(), ..Aim::default() },
            entries: vec![self.entry(&candidate, true)],
        };
        self.tell(&outcome, SUSTAINED * 2);
        Ok(outcome)
    }

    fn curves(&self) -> Result<Vec<CurveOutcome>> {
        let mut found = Vec::new();
        for curve in scaling::curves(self.arguments.quick) {
            if !self.arguments.wants_row(curve.id) {
                continue;
            }
            let mut points = Vec::new();
            for (count, work) in curve.points {
                let messages = if work.appends() { u64::MAX } else { self.plan.messages };
                // A topic is durable when it is there, so ten thousand of them take as many syncs.
                let patience = Duration::from_secs(120);
                let spec = |directory: &Path| Spec {
                    subject: Subject::Alternative {
                        name: OURS.to_owned(),
                        work,
                        append: curve.level,
                        settle: Level::Memory,
                        used: false,
                    },
                    effort: Effort { seconds: self.plan.seconds, messages },
                    directory: directory.to_owned(),
                };
                match self.child_for(&spec, None, patience) {
                    Ok(sample) => {
                        let rate = figure(&sample, None);
                        eprintln!("{:18} {count:10} {}: {}", curve.id, curve.axis, aims::short(rate));
                        points.push((count, rate));
                    }
                    Err(error) => eprintln!("{:18} {count:10} {}: {error}", curve.id, curve.axis),
                }
            }
            found.push(CurveOutcome {
                id: curve.id.to_owned(),
                title: curve.title.to_owned(),
                axis: curve.axis.to_owned(),
                bend: CurveOutcome::bend_of(&points),
                points,
            });
        }
        Ok(found)
    }
}

impl Candidate {
    fn spec(&self, effort: Effort) -> impl Fn(&Path) -> Spec + use<> {
        let (name, work) = (self.alternative.name().to_owned(), self.work);
        let (append, settle, used) = (self.append, self.settle, self.used);
        move |directory| Spec {
            subject: Subject::Alternative { name: name.clone(), work, append, settle, used },
            effort,
            directory: directory.to_owned(),
        }
    }
}
