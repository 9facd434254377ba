//! Tracing: the spans and events of the [`tracing`](https://docs.rs/tracing) crate, by OpenTelemetry's names, and how a
//! trace goes on from a publish to the handler.
//!
//! # What is told
//!
//! | target | kind, level | when | attributes beside the common ones |
//! |---|---|---|---|
//! | `millpond::publish` | event, debug | a publish was taken in | `messaging.message.id` (the offset) or `messaging.batch.message_count` |
//! | `millpond::receive` | event, debug | messages were leased | likewise, `messaging.consumer.group.name` |
//! | `millpond::process` | span, info | around a handler of [workers](super::workers), at each poll of a task | likewise, `traceparent`, `tracestate`, `millpond.attempt`, `millpond.outcome`, `otel.name`, `otel.kind`, `otel.status_code` |
//! | `millpond::settle` | event, debug | messages were settled | likewise; `messaging.operation.name` is `ack`, `nack`, `release`, `bury` or `drop` |
//!
//! Common are `messaging.system` (`millpond`), `messaging.destination.name` (the topic), `messaging.operation.type`
//! (`publish`, `receive`, `process`, `settle`) and `messaging.operation.name`. Payloads, keys and ids are never told.
//! Where nobody listens at that level, it costs the look at one number; see [below](#what-it-costs).
//!
//! # From the publish to the handler
//!
//! A message carries its trace in the headers of W3C Trace Context. Whoever publishes puts it there, a worker's span
//! has it as fields, and a handler without workers finds it in
//! [`Delivery::trace_context`](crate::Delivery::trace_context):
//!
//! ```
//! # fn main() -> millpond::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! # let store = millpond::Store::open(dir.path())?;
//! # let orders = store.topic("orders")?;
//! # let email = orders.consumer("email", millpond::Group::default())?;
//! use millpond::Message;
//! // Yours comes from the propagator of your tracer.
//! let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
//! orders.publish(Message::new("4711").trace_parent(parent)).wait()?;
//!
//! let order = email.lease()?;
//! let trace = order.trace_context().expect("it was published with one");
//! assert_eq!((trace.parent(), trace.is_sampled()), (parent, true));
//! # order.ack().wait()
//! # }
//! ```
//!
//! With `tracing-opentelemetry`, the first line of a handler makes its span a part of that trace:
//! `Span::current().set_parent(propagator.extract(&headers))`. The store does not do it, since it knows no tracer. A
//! retry is another span of the same trace; OpenTelemetry would rather have a *link* where a batch is handled, and
//! there the span names no trace.
//!
//! # What it costs
//!
//! Where nobody listens, nothing is put together, nothing is allocated, and no listener is asked: a test of
//! `tests/allocations.rs` counts that. What is left is a look at one number for each call. Instructions of a call, as
//! it is and with all of it left out by the compiler, by callgrind on `benches/loops` with nobody listening:
//!
//! | | as it is | left out | ratio |
//! |---|---|---|---|
//! | publish at `Memory` | 1678 | 1619 | 1.04 |
//! | publish at `Os` | 2481 | 2436 | 1.02 |
//! | a message published in a batch, leased and acked in one of 100 | 1957 | 1945 | 1.01 |
//! | one published in a batch, leased and acked by itself | 7919 | 7792 | 1.02 |
//!
//! `cargo bench --bench loops --no-run` and the same with `--features tracing/release_max_level_off` say where the two
//! programs are; `valgrind --tool=callgrind PROGRAM memory 60000` counts, and the same with 20000 is taken off for what
//! preparing costs (`os`, `drain`, `one` are the other paths).
