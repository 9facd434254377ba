//! Spans and events by the names that OpenTelemetry has for messaging, and the trace that a message is a part of.
//!
//! Nothing is made, looked up or put together unless somebody listens at that level.

use crate::consumer::Consumer;
use crate::delivery::Delivery;
use crate::engine::Outcome;
use crate::link::Link;
use crate::message::{Message, Record};
use crate::ticket::Ticket;
use crate::types::{GroupId, Offset};
use std::str::from_utf8;
use tracing::{Level, Span, enabled, event};

/// The header that says of which trace a message is a part, in the words of W3C Trace Context.
const PARENT: &str = "traceparent";
const STATE: &str = "tracestate";

/// The trace that a message is a part of: the W3C Trace Context in its headers, as it was published.
///
/// ```
/// use millpond::Message;
/// let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
/// let message = Message::new("4711").trace_parent(parent);
/// # let dir = tempfile::tempdir().unwrap();
/// # let orders = millpond::Store::open(dir.path()).and_then(|store| { let topic = store.topic("orders")?;
/// # topic.publish(message).wait()?; let email = topic.consumer("email", millpond::Group::default())?;
/// # let order = email.lease()?;
/// let trace = order.trace_context().unwrap();
/// assert_eq!(trace.trace_id(), "0af7651916cd43dd8448eb211c80319c");
/// assert!(trace.is_sampled());
/// # order.ack().wait() });
/// # orders.unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext<'a> {
    parent: &'a str,
    state: Option<&'a str>,
}

impl<'a> TraceContext<'a> {
    /// One from a `traceparent` and a `tracestate`, if the first is well-formed: `00-`, 32 hexadecimal digits that are
    /// not all zero, `-`, 16 likewise, `-`, 2; a later version may have more behind.
    #[must_use]
    pub fn new(parent: &'a str, state: Option<&'a str>) -> Option<Self> {
        let mut parts = parent.split('-');
        let mut part = |length: usize| {
            let part = parts.next()?;
            let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            (part.len() == length && part.bytes().all(hex)).then_some(part)
        };
        let (version, trace, span, _flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        let zero = |part: &str| part.bytes().all(|byte| byte == b'0');
        let more = parts.next().is_some();
        (version != "ff" && !zero(trace) && !zero(span) && (version != "00" || !more)).then_some(Self { parent, state })
    }

    /// As it stands in the header.
    #[must_use]
    pub fn parent(&self) -> &'a str {
        self.parent
    }

    /// What vendors added, as it stands in the header `tracestate`.
    #[must_use]
    pub fn state(&self) -> Option<&'a str> {
        self.state
    }

    /// The trace's id: 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> &'a str {
        self.parent.get(3..35).unwrap_or_default()
    }

    /// The id of the span that published the message: 16 hexadecimal digits.
    #[must_use]
    pub fn span_id(&self) -> &'a str {
        self.parent.get(36..52).unwrap_or_default()
    }

    /// Whether whoever began the trace keeps it.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        let flags = self.parent.get(53..55).and_then(|flags| u8::from_str_radix(flags, 16).ok());
        flags.is_some_and(|flags| flags & 1 == 1)
    }

    fn of(record: &'a Record) -> Option<Self> {
        let header = |wanted| record.headers().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        let text = |(_, value)| from_utf8(value).ok();
        Self::new(header(PARENT).and_then(text)?, header(STATE).and_then(text))
    }
}

impl Message {
    /// Says of which trace it is a part, in the header `traceparent`: the W3C Trace Context of the span that publishes
    /// it, as an OpenTelemetry propagator gives it. What stands there is not looked at.
    #[must_use]
    pub fn trace_parent(self, parent: &str) -> Self {
        self.header(PARENT, parent.to_owned())
    }

    /// What vendors added to that, in the header `tracestate`.
    #[must_use]
    pub fn trace_state(self, state: &str) -> Self {
        self.header(STATE, state.to_owned())
    }
}

impl Record {
    /// The trace that the message was published in; none if its headers don't say, or not in a way that can be read.
    #[must_use]
    pub fn trace_context(&self) -> Option<TraceContext<'_>> {
        TraceContext::of(self)
    }
}

impl Delivery {
    /// The trace that the message was published in; see [`Record::trace_context`].
    #[must_use]
    pub fn trace_context(&self) -> Option<TraceContext<'_>> {
        self.record().trace_context()
    }
}

/// Tells of messages that were published: their topic, and how many; if it is one, its offset.
#[inline]
pub(crate) fn published<T>(topic: &str, ticket: &Ticket<T>, first: impl Fn(&T) -> (Offset, u64)) {
    if enabled!(target: "millpond::publish", Level::DEBUG) {
        let (offset, count) = ticket.value().map(first).unzip();
        tell_published(topic, offset, count);
    }
}

/// Apart, so that a publish that nobody listens to does not carry it along.
#[cold]
fn tell_published(topic: &str, offset: Option<Offset>, count: Option<u64>) {
    let one = count.is_none_or(|count| count == 1);
    event!(
        target: "millpond::publish",
        Level::DEBUG,
        messaging.system = "millpond",
        messaging.operation.type = "publish",
        messaging.operation.name = "publish",
        messaging.destination.name = topic,
        messaging.message.id = offset.filter(|_| one).map(Offset::get),
        messaging.batch.message_count = count.filter(|_| !one),
        "publish"
    );
}

/// Tells of messages that were leased.
#[inline]
pub(crate) fn received(topic: &str, group: &str, first: Option<Offset>, count: usize) {
    if count > 0 && enabled!(target: "millpond::receive", Level::DEBUG) {
        event!(
            target: "millpond::receive",
            Level::DEBUG,
            messaging.system = "millpond",
            messaging.operation.type = "receive",
            messaging.operation.name = "lease",
            messaging.destination.name = topic,
            messaging.consumer.group.name = group,
            messaging.message.id = first.filter(|_| count == 1).map(Offset::get),
            messaging.batch.message_count = (count > 1).then_some(count),
            "receive"
        );
    }
}

/// Tells of messages that were settled, and how.
#[inline]
pub(crate) fn settled(link: &Link, group: GroupId, held: &[(Offset, u64)], how: &Outcome) {
    if enabled!(target: "millpond::settle", Level::DEBUG) {
        tell_settled(link, group, held, how);
    }
}

fn tell_settled(link: &Link, group: GroupId, held: &[(Offset, u64)], how: &Outcome) {
    let names = link.engine().ok().and_then(|engine| engine.names_of(group));
    let (topic, group) = names.unzip();
    let name = match how {
        Outcome::Ack => "ack",
        Outcome::Nack { .. } => "nack",
        Outcome::Release { .. } => "release",
        Outcome::Bury { .. } => "bury",
        Outcome::Dropped | Outcome::Panicked => "drop",
    };
    event!(
        target: "millpond::settle",
        Level::DEBUG,
        messaging.system = "millpond",
        messaging.operation.type = "settle",
        messaging.operation.name = name,
        messaging.destination.name = topic,
        messaging.consumer.group.name = group,
        messaging.message.id = held.first().filter(|_| held.len() == 1).map(|(offset, _)| offset.get()),
        messaging.batch.message_count = (held.len() > 1).then_some(held.len()),
        "settle"
    );
}

/// The span in which a handler works.
pub(crate) fn processing(consumer: &Consumer, deliveries: &[Delivery]) -> Span {
    if !enabled!(target: "millpond::process", Level::INFO) {
        return Span::none();
    }
    let one = deliveries.first().filter(|_| deliveries.len() == 1);
    let trace = one.and_then(Delivery::trace_context);
    let name = format!("process {}", consumer.topic_name());
    tracing::info_span!(
        target: "millpond::process",
        "process",
        otel.name = name,
        otel.kind = "consumer",
        otel.status_code = tracing::field::Empty,
        messaging.system = "millpond",
        messaging.operation.type = "process",
        messaging.operation.name = "process",
        messaging.destination.name = consumer.topic_name(),
        messaging.consumer.group.name = consumer.name(),
        messaging.message.id = one.map(|one| one.offset().get()),
        messaging.batch.message_count = (deliveries.len() > 1).then_some(deliveries.len()),
        millpond.attempt = one.map(Delivery::attempt),
        millpond.outcome = tracing::field::Empty,
        traceparent = trace.map(|trace| trace.parent()),
        tracestate = trace.and_then(|trace| trace.state()),
    )
}

/// Says in the span of a handler what came of it.
pub(crate) fn processed(span: &Span, (outcome, well): (&'static str, bool)) {
    span.record("millpond.outcome", outcome);
    if !well {
        span.record("otel.status_code", "ERROR");
    }
}
