//! Spans and events: in the words of OpenTelemetry, with the trace that a message came in, and nothing for nobody.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use millpond::{Delivery, Durability, Group, Message, Store, TraceContext, Workers};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

type Fields = BTreeMap<String, String>;

#[derive(Default)]
struct Told {
    spans: Vec<Fields>,
    events: Vec<Fields>,
    /// Spans that are entered now, of any thread.
    within: Vec<u64>,
}

/// Keeps what comes from the crate's own targets.
#[derive(Clone, Default)]
struct Listener(Arc<Mutex<Told>>);

struct Into<'a>(&'a mut Fields);

impl Visit for Into<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").trim_matches('"').to_owned());
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        ["publish", "receive", "process", "settle"].iter().any(|end| metadata.target() == format!("millpond::{end}"))
            || metadata.target() == "handler"
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields::new();
        span.record(&mut Into(&mut fields));
        let mut told = self.0.lock().unwrap();
        told.spans.push(fields);
        Id::from_u64(told.spans.len() as u64)
    }
    fn record(&self, span: &Id, values: &Record<'_>) {
        let mut told = self.0.lock().unwrap();
        let place = usize::try_from(span.into_u64()).unwrap() - 1;
        values.record(&mut Into(told.spans.get_mut(place).unwrap()));
    }
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::new();
        event.record(&mut Into(&mut fields));
        let mut told = self.0.lock().unwrap();
        let within = told.within.last().map(u64::to_string).unwrap_or_default();
        fields.insert("within".to_owned(), within);
        told.events.push(fields);
    }
    fn enter(&self, span: &Id) {
        self.0.lock().unwrap().within.push(span.into_u64());
    }
    fn exit(&self, _: &Id) {
        self.0.lock().unwrap().within.pop();
    }
}

/// Whoever listens does so alone: a place that is first come to by a thread that nobody listens to, just while another
/// one begins to, may be taken for one that nobody wants to hear of. That is known of `tracing`.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn of(fields: &Fields) -> Vec<(&str, &str)> {
    let named = fields.iter().filter(|(name, _)| *name != "message" && *name != "within");
    named.map(|(name, value)| (name.trim_start_matches("messaging."), value.as_str())).collect()
}

#[test]
fn each_step_is_told_in_the_words_of_opentelemetry() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let store = Store::options().durability(Durability::Os).open(dir.path()).unwrap();
    let orders = store.topic("orders").unwrap();
    let email = orders.consumer("email", Group::default()).unwrap();
    let listener = Listener::default();
    tracing::subscriber::with_default(listener.clone(), || {
        orders.publish("4711").wait().unwrap();
        orders.publish_all(["a".into(), "b".into()]).wait().unwrap();
        email.try_lease().unwrap().unwrap().ack().wait().unwrap();
        let batch = email.lease_many(2, Duration::ZERO).unwrap();
        email.ack_all(batch).wait().unwrap();
    });
    let told = listener.0.lock().unwrap();
    let events: Vec<_> = told.events.iter().map(of).collect();
    let (system, topic, group) =
        (("system", "millpond"), ("destination.name", "orders"), ("consumer.group.name", "email"));
    let op = |name, kind| [("operation.name", name), ("operation.type", kind)];
    let sorted = |parts: &[&[(&'static str, &'static str)]]| {
        let mut all: Vec<_> = parts.concat();
        all.sort_unstable();
        all
    };
    let (two, zero) = (("batch.message_count", "2"), ("message.id", "0"));
    assert_eq!(
        events,
        [
            sorted(&[&[system, topic, zero], &op("publish", "publish")]),
            sorted(&[&[system, topic, two], &op("publish", "publish")]),
            sorted(&[&[system, topic, group, zero], &op("lease", "receive")]),
            sorted(&[&[system, topic, group, zero], &op("ack", "settle")]),
            sorted(&[&[system, topic, group, two], &op("lease", "receive")]),
            sorted(&[&[system, topic, group, two], &op("ack", "settle")]),
        ]
    );
    store.close().unwrap();
}

#[test]
fn a_worker_handles_a_message_in_a_span_that_knows_the_trace_it_came_in() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let orders = store.topic("orders").unwrap();
    let email = orders.consumer("email", Group::default()).unwrap();
    orders.publish(Message::new("well").trace_parent(PARENT).trace_state("vendor=1")).wait().unwrap();
    orders.publish("badly").wait().unwrap();
    let listener = Listener::default();
    // Workers are threads of their own: they hear what the whole program hears.
    tracing::subscriber::set_global_default(listener.clone()).unwrap();
    let stopper = email.stopper();
    email
        .run(Workers::threads(1), move |order: &Delivery| {
            tracing::info!(target: "handler", "at work");
            if order.payload() == b"well" {
                return Ok(());
            }
            stopper.stop();
            Err("no such address")
        })
        .unwrap();
    let told = listener.0.lock().unwrap();
    let spans = told.spans.iter().filter(|span| span["messaging.destination.name"] == "orders");
    let spans: Vec<&Fields> = spans.filter(|span| span["messaging.operation.type"] == "process").collect();
    assert_eq!(spans.len(), 2);
    assert_eq!((&*spans[0]["traceparent"], &*spans[0]["tracestate"]), (PARENT, "vendor=1"));
    assert_eq!((&*spans[0]["otel.name"], &*spans[0]["otel.kind"]), ("process orders", "consumer"));
    assert_eq!((&*spans[0]["messaging.message.id"], &*spans[0]["millpond.attempt"]), ("0", "1"));
    assert_eq!((&*spans[0]["millpond.outcome"], spans[0].get("otel.status_code")), ("done", None));
    assert!(!spans[1].contains_key("traceparent"));
    assert_eq!((&*spans[1]["millpond.outcome"], &*spans[1]["otel.status_code"]), ("failed", "ERROR"));
    let at_work: Vec<&str> =
        told.events.iter().filter(|event| event["message"] == "at work").map(|event| &*event["within"]).collect();
    assert!(at_work.len() == 2 && at_work.iter().all(|within| !within.is_empty()), "{at_work:?}");
}

#[test]
fn only_a_trace_that_is_well_formed_is_one() {
    let good = TraceContext::new(PARENT, None).unwrap();
    assert_eq!((good.trace_id(), good.span_id()), ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"));
    assert!(good.is_sampled() && good.parent() == PARENT && good.state().is_none());
    let later = format!("cc{}-what-comes-later", &PARENT[2..]);
    assert!(TraceContext::new(&later, None).is_some());
    let bad = [
        "",
        "00",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0af7651916cd43dd8448eb211c8031-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
        "00-0af7651916cd43dd8448eb211c80319\u{e4}-b7ad6b7169203331-01",
    ];
    for parent in bad {
        assert_eq!(TraceContext::new(parent, None), None, "{parent}");
    }
    let unsampled = format!("{}00", &PARENT[..53]);
    assert!(!TraceContext::new(&unsampled, None).unwrap().is_sampled());
}

#[cfg(feature = "tokio")]
#[test]
fn so_does_a_task_at_each_poll() {
    let _alone = alone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let orders = store.topic("tasks").unwrap();
        let email = orders.consumer("email", Group::default()).unwrap();
        orders.publish(Message::new("4711").trace_parent(PARENT)).await.unwrap();
        let listener = Listener::default();
        let _guard = tracing::subscriber::set_default(listener.clone());
        let stopper = email.stopper();
        let work = email.run_async(Workers::tasks(1), move |_| {
            let stopper = stopper.clone();
            async move {
                tokio::task::yield_now().await;
                tracing::info!(target: "handler", "at work");
                stopper.stop();
            }
        });
        work.await.unwrap();
        let told = listener.0.lock().unwrap();
        let span = told.spans.iter().position(|span| span["messaging.destination.name"] == "tasks").unwrap();
        assert_eq!((&*told.spans[span]["traceparent"], &*told.spans[span]["millpond.outcome"]), (PARENT, "done"));
        let event = told.events.iter().find(|event| event["message"] == "at work").unwrap();
        assert_eq!(event["within"], (span + 1).to_string());
    });
}
