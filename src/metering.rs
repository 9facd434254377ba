//! [`MetricsFeed`]: the metrics of a store for whatever recorder a program has, by the `metrics` facade.

use crate::engine::Metrics;
use crate::histogram::Histogram;
use crate::prometheus::{Family, Kind, Value};
use crate::store::Store;
use metrics::{Key, Label, Level, Metadata, Recorder, Unit};
use std::collections::HashMap;

static METADATA: Metadata<'static> = Metadata::new("millpond", Level::INFO, Some(module_path!()));

/// Tells the recorder of the `metrics` facade what a store has counted. Only with feature `metrics`.
///
/// The store counts by itself, whether or not anybody asks; this carries it over whenever [`update`](Self::update) is
/// called, which is best done every few seconds, or whenever the recorder is about to be read. Names and labels are
/// those of [`Metrics::to_prometheus`](crate::Metrics::to_prometheus). Of the histograms, what came since the last call
/// is told, each amount as the end of its range: at most an eighth too much.
///
/// ```
/// # fn main() -> millpond::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// let store = millpond::Store::open(dir.path())?;
/// let mut feed = millpond::MetricsFeed::new(&store);
/// feed.update(); // to the recorder that the program has installed
/// # store.close()
/// # }
/// ```
#[derive(Debug)]
pub struct MetricsFeed {
    store: Store,
    /// Histograms as they were told last.
    told: HashMap<Key, Histogram>,
    described: bool,
}

impl MetricsFeed {
    /// One that has told nothing yet. It keeps the store open, as any clone of it does.
    #[must_use]
    pub fn new(store: &Store) -> Self {
        Self { store: store.clone(), told: HashMap::new(), described: false }
    }

    /// Tells the recorder that is installed, globally or for this thread, how things are now.
    pub fn update(&mut self) {
        let metrics = self.store.metrics();
        metrics::with_recorder(|recorder| self.tell(recorder, &metrics));
    }

    fn tell(&mut self, recorder: &dyn Recorder, metrics: &Metrics) {
        for family in metrics.families() {
            if !self.described {
                describe(recorder, &family);
            }
            for (labels, value) in family.series {
                let labels: Vec<Label> =
                    labels.into_iter().map(|(name, value)| Label::new(name, value.to_owned())).collect();
                let key = Key::from_parts(family.name, labels);
                match value {
                    Value::Histogram(histogram) => self.tell_histogram(recorder, key, histogram),
                    Value::Number(number) if family.kind == Kind::Gauge => {
                        recorder.register_gauge(&key, &METADATA).set(number);
                    }
                    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it was a u64")]
                    Value::Number(number) => recorder.register_counter(&key, &METADATA).absolute(number as u64),
                }
            }
        }
        self.described = true;
    }

    fn tell_histogram(&mut self, recorder: &dyn Recorder, key: Key, histogram: &Histogram) {
        let told = recorder.register_histogram(&key, &METADATA);
        let empty;
        let before = match self.told.get(&key) {
            Some(before) => before,
            None => {
                empty = histogram.emptied();
                &empty
            }
        };
        for (amount, count) in histogram.since(before) {
            told.record_many(amount, usize::try_from(count).unwrap_or(usize::MAX));
        }
        self.told.insert(key, histogram.clone());
    }
}

fn describe(recorder: &dyn Recorder, family: &Family<'_>) {
    let (name, help) = (family.name.into(), family.help.into());
    let unit = if family.name.ends_with("_seconds") {
        Some(Unit::Seconds)
    } else if family.name.contains("_bytes") {
        Some(Unit::Bytes)
    } else {
        None
    };
    match family.kind {
        Kind::Counter => recorder.describe_counter(name, unit, help),
        Kind::Gauge => recorder.describe_gauge(name, unit, help),
        Kind::Histogram => recorder.describe_histogram(name, unit, help),
    }
}
