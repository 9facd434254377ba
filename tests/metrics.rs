//! Metrics: what is counted is what happened, and the page says it in the words that Prometheus reads.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use millpond::testing::SimDisk;
use millpond::{
    Consumer, Durability, Group, GroupMetrics, ManualClock, Message, Options, Redrive, Retry, Store, Timestamp, Topic,
    TopicSettings, WhenParked, Window,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

struct Bench {
    disk: SimDisk,
    clock: ManualClock,
    store: Store,
    orders: Topic,
    email: Consumer,
}

impl Bench {
    fn new(options: Options, group: Group) -> Self {
        let (disk, clock) = (SimDisk::new(1), ManualClock::starting_at(Timestamp::new(1_700_000_000_000)));
        let options = options.first_segment_bytes(1 << 20).segment_bytes(1 << 20);
        let store = Store::open_simulated(&disk, clock.clone(), 1, options).unwrap();
        let settings = TopicSettings::default().deduplicate(Window::Forever);
        let orders = store.topic_with("orders", settings).unwrap();
        let email = orders.consumer("email", group).unwrap();
        Self { disk, clock, store, orders, email }
    }

    fn group(&self) -> GroupMetrics {
        self.store.metrics().groups.remove(0)
    }
}

fn group() -> Group {
    Group::default().retry(Retry::fixed(SECOND).without_jitter().attempts(3))
}

#[test]
fn a_message_that_fails_once_is_counted_at_each_step_with_its_times() {
    let bench = Bench::new(Store::options(), group());
    let (before, synced) = (bench.disk.counts(), bench.store.metrics().syncs.count());
    bench.orders.publish(Message::new("4711!")).wait().unwrap();
    bench.clock.advance(2 * SECOND);
    let order = bench.email.try_lease().unwrap().unwrap();
    bench.clock.advance(3 * SECOND);
    order.nack("no").wait().unwrap();
    bench.clock.advance(SECOND);
    let order = bench.email.try_lease().unwrap().unwrap();
    bench.clock.advance(4 * SECOND);
    order.ack().wait().unwrap();
    let of = bench.group();
    assert_eq!((&*of.topic, &*of.group), ("orders", "email"));
    assert_eq!((of.delivered, of.redelivered, of.acked, of.failed), (2, 1, 1, 1));
    assert_eq!((of.timed_out, of.released, of.buried, of.redriven), (0, 0, 0, 0));
    assert_eq!((of.wait.count(), of.wait.sum()), (1, 2.0), "until it was handed out first");
    assert_eq!((of.processing.count(), of.processing.sum()), (2, 7.0), "both times");
    assert_eq!((of.end_to_end.count(), of.end_to_end.sum()), (1, 10.0), "from the publish, not from the retry");
    let metrics = bench.store.metrics();
    let after = bench.disk.counts();
    assert_eq!(metrics.syncs.count() - synced, after.syncs - before.syncs);
    assert!(after.syncs > before.syncs && metrics.commit_bytes.count() > 0);
    assert_eq!((metrics.topics[0].published, metrics.topics[0].published_bytes), (1, 5));
    assert_eq!(metrics.open_for, 10 * SECOND);
}

#[test]
fn duplicates_dead_letters_releases_and_lost_leases_are_counted() {
    let bench = Bench::new(Store::options().durability(Durability::Os), group().lease(10 * SECOND));
    for _ in 0..3 {
        bench.orders.publish(Message::new("4711").id("a")).wait().unwrap();
    }
    let batch = (0..4).map(|number| Message::new("4712").id(format!("b{}", number / 2)));
    bench.orders.publish_all(batch).wait().unwrap();
    let metrics = bench.store.metrics();
    assert_eq!((metrics.topics[0].published, metrics.topics[0].duplicates), (3, 4));
    assert_eq!(metrics.ids.duplicates, 4);
    let mut held: Vec<_> = bench.email.lease_many(3, Duration::ZERO).unwrap().collect();
    held.pop().unwrap().release().wait().unwrap();
    held.pop().unwrap().bury("never").wait().unwrap();
    let late = held.pop().unwrap();
    bench.clock.advance(11 * SECOND);
    let _ = bench.store.step_upkeep().unwrap();
    bench.clock.advance(2 * SECOND);
    for again in bench.email.lease_many(3, Duration::ZERO).unwrap() {
        again.ack().wait().unwrap();
    }
    late.ack().wait().unwrap_err();
    bench.email.redrive(Redrive::all()).unwrap();
    let of = bench.group();
    assert_eq!((of.delivered, of.redelivered, of.acked), (5, 2, 2));
    assert_eq!((of.released, of.buried, of.timed_out, of.failed, of.redriven), (1, 1, 1, 1, 1));
    assert_eq!(bench.store.metrics().stale_settlements, 1);
}

#[test]
fn what_runs_transactions_and_workers_settle_is_timed_too() {
    let bench = Bench::new(Store::options().durability(Durability::Os), Group::default());
    let ordered = bench.orders.consumer("ordered", Group::default().ordered(WhenParked::Skip)).unwrap();
    let publish = |count: usize| {
        let messages = (0..count).map(|_| Message::new("4711").key("k"));
        bench.orders.publish_all(messages).wait().unwrap();
    };
    publish(5);
    bench.clock.advance(SECOND);
    for run in ordered.lease_runs(10, Duration::ZERO).unwrap() {
        run.ack().wait().unwrap();
    }
    let mut transaction = bench.store.transaction();
    bench.email.lease_many(2, Duration::ZERO).unwrap().for_each(|order| _ = transaction.ack(order));
    transaction.commit().wait().unwrap();
    let batch = bench.email.lease_many(2, Duration::ZERO).unwrap();
    bench.email.ack_all(batch).wait().unwrap();
    bench.email.try_lease().unwrap().unwrap().release().wait().unwrap();
    let groups = bench.store.metrics().groups;
    let counts = |of: &GroupMetrics| (of.acked, of.end_to_end.count(), of.wait.count(), of.processing.count());
    assert_eq!(groups.iter().map(counts).collect::<Vec<_>>(), [(4, 4, 4, 4), (5, 5, 5, 5)]);
    assert_eq!(groups[1].end_to_end.sum(), 5.0);
}

#[test]
fn a_message_that_is_damaged_counts_each_time_it_is_asked_for() {
    let bench = Bench::new(Store::options().tail_cache_bytes(0), Group::default());
    bench.orders.publish("to be damaged").wait().unwrap();
    let name = bench.disk.file_names().into_iter().find(|name| name.starts_with("journal/")).unwrap();
    let bytes = bench.disk.read_file(&name).unwrap();
    let place = bytes.windows(13).position(|window| window == b"to be damaged").unwrap();
    bench.disk.flip_bit(&name, place as u64, 3).unwrap();
    assert!(bench.orders.read(..).next().unwrap().is_err());
    assert_eq!(bench.store.metrics().corrupt, 1);
    assert!(bench.email.try_lease().unwrap().is_none(), "it is charged with it");
    assert_eq!(bench.store.metrics().corrupt, 2);
    assert!(page(&bench.store.metrics().to_prometheus())["millpond_corrupt_records_total"] == 2.0);
}

#[test]
fn topics_and_groups_beyond_the_bound_are_counted_together() {
    let bench = Bench::new(Store::options().durability(Durability::Memory), Group::default());
    bench.orders.publish("0").wait().unwrap();
    for number in 0..1030 {
        bench.store.topic(&format!("t{number}")).unwrap().publish("x").wait().unwrap();
    }
    let metrics = bench.store.metrics();
    assert_eq!(metrics.topics.len(), 1025);
    let others = metrics.topics.last().unwrap();
    assert_eq!((&*others.topic, others.published), ("", 7));
    assert_eq!((metrics.stats.topics.len(), metrics.unlisted_topics), (1024, 7));
    assert_eq!(page(&metrics.to_prometheus())["millpond_published_total{topic=\"(others)\"}"], 7.0);
    // One that goes makes a place.
    assert!(bench.store.remove_topic("t0").unwrap());
    let late = bench.store.topic("late").unwrap();
    late.publish("x").wait().unwrap();
    assert!(bench.store.metrics().topics.iter().any(|topic| topic.topic == "late"));
}

/// Every line of a page, checked for what Prometheus asks of it.
fn page(text: &str) -> BTreeMap<String, f64> {
    let (mut declared, mut current, mut series) = (BTreeSet::new(), String::new(), BTreeMap::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(declared.insert(name.to_owned()), "{name} is declared twice");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            current = name.to_owned();
        } else if line.starts_with("# HELP ") {
            assert!(line.ends_with('.'), "{line}");
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let bare = name.split('{').next().unwrap();
            let of = ["_bucket", "_sum", "_count"].iter().find_map(|end| bare.strip_suffix(end));
            assert!(bare == current || of == Some(&current), "{line} under {current}");
            assert!(series.insert(name.to_owned(), value.parse().unwrap()).is_none(), "{name} twice");
        }
    }
    series
}

#[test]
fn the_page_is_one_that_prometheus_reads_whatever_the_names_are() {
    let bench = Bench::new(Store::options(), Group::default());
    let odd = bench.store.topic("a \"quoted\" \\ name").unwrap();
    odd.publish("4711").wait().unwrap();
    odd.consumer("näme", Group::default()).unwrap().try_lease().unwrap().unwrap().ack().wait().unwrap();
    let text = bench.store.metrics().to_prometheus();
    let series = page(&text);
    let labels = r#"topic="a \"quoted\" \\ name",group="näme""#;
    assert_eq!(series[&format!("millpond_acked_total{{{labels}}}")], 1.0);
    assert_eq!(series[&format!("millpond_end_to_end_seconds_bucket{{{labels},le=\"+Inf\"}}")], 1.0);
    assert_eq!(series[&format!("millpond_end_to_end_seconds_count{{{labels}}}")], 1.0);
    assert_eq!(series["millpond_ready{topic=\"orders\",group=\"email\"}"], 0.0);
    // Buckets rise.
    let mut last = 0.0;
    for line in text.lines().filter(|line| line.starts_with("millpond_fsync_seconds_bucket")) {
        let value: f64 = line.rsplit_once(' ').unwrap().1.parse().unwrap();
        assert!(value >= last, "{line}");
        last = value;
    }
    assert!(last > 0.0);
}

fn names_in(text: &str) -> BTreeSet<String> {
    let word = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let words = text.split(|character| !word(character));
    words.filter(|word| word.starts_with("millpond_")).map(str::to_owned).collect()
}

#[test]
fn every_metric_that_the_alerts_and_the_dashboard_name_exists() {
    let bench = Bench::new(Store::options(), Group::default());
    let text = bench.store.metrics().to_prometheus();
    let declared: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let files = ["examples/monitoring/alerts.yml", "examples/monitoring/dashboard.json", "src/guide/monitoring.rs"];
    for file in files {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let named = names_in(&std::fs::read_to_string(path).unwrap());
        assert!(named.len() > 10, "{file}: {named:?}");
        for name in named {
            let family = name.strip_suffix("_bucket").unwrap_or(&name);
            assert!(declared.contains(family), "{file} names {name}, which no store has");
        }
    }
    let dashboard = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(files[1]);
    let dashboard: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(dashboard).unwrap()).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() > 10);
}

#[test]
fn a_poisoned_store_says_so_and_a_closed_one_says_nothing() {
    let bench = Bench::new(Store::options(), Group::default());
    bench.disk.set_faults(millpond::testing::Faults { fail_after: Some(0), ..Default::default() });
    bench.orders.publish("lost").wait().unwrap_err();
    let metrics = bench.store.metrics();
    assert!(metrics.poisoned);
    assert_eq!(page(&metrics.to_prometheus())["millpond_poisoned"], 1.0);
    let other = Bench::new(Store::options(), Group::default());
    let again = other.store.clone();
    other.store.close().unwrap();
    assert!(!again.metrics().poisoned && again.metrics().topics.is_empty());
}

#[cfg(feature = "metrics")]
#[test]
fn a_recorder_of_the_facade_is_told_the_same() {
    use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Told(Arc<Mutex<BTreeMap<String, f64>>>);
    struct One(Told, String);
    impl metrics::CounterFn for One {
        fn increment(&self, _: u64) {
            unreachable!("they are told as they are");
        }
        fn absolute(&self, value: u64) {
            self.0.0.lock().unwrap().insert(self.1.clone(), value as f64);
        }
    }
    impl metrics::GaugeFn for One {
        fn increment(&self, _: f64) {
            unreachable!("likewise");
        }
        fn decrement(&self, _: f64) {
            unreachable!("likewise");
        }
        fn set(&self, value: f64) {
            self.0.0.lock().unwrap().insert(self.1.clone(), value);
        }
    }
    impl metrics::HistogramFn for One {
        fn record(&self, _: f64) {
            *self.0.0.lock().unwrap().entry(self.1.clone()).or_default() += 1.0;
        }
    }
    impl Told {
        fn one(&self, key: &Key) -> Arc<One> {
            let labels: Vec<String> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
            Arc::new(One(self.clone(), format!("{} {}", key.name(), labels.join(","))))
        }
    }
    impl Recorder for Told {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(self.one(key))
        }
        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(self.one(key))
        }
        fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::from_arc(self.one(key))
        }
    }

    let bench = Bench::new(Store::options(), Group::default());
    let told = Told::default();
    let mut feed = millpond::MetricsFeed::new(&bench.store);
    for round in 1..=3 {
        bench.orders.publish("4711").wait().unwrap();
        bench.email.try_lease().unwrap().unwrap().ack().wait().unwrap();
        metrics::with_local_recorder(&told, || feed.update());
        let told = told.0.lock().unwrap();
        assert_eq!(told["millpond_acked_total topic=orders,group=email"], f64::from(round));
        assert_eq!(told["millpond_ready topic=orders,group=email"], 0.0);
        assert_eq!(told["millpond_end_to_end_seconds topic=orders,group=email"], f64::from(round), "each once");
    }
}
