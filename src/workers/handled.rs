//! What a handler says of a message: [`Handled`], and what can be turned into it.

#[cfg(feature = "testing")]
use crate::delivery::Delivery;
use crate::delivery::text;
use crate::engine::Outcome;
#[cfg(feature = "testing")]
use crate::ticket::Ticket;
use std::fmt::Display;
use std::time::Duration;

/// What becomes of a message that a worker's handler has had.
///
/// A handler that returns `Result<(), E>` needs none of it: `Ok` is [`done`](Self::done), `Err` is
/// [`failed`](Self::failed). One that has more to say returns `Handled`, or `Result<Handled, E>` so that it can use
/// `?`.
///
/// ```
/// use millpond::Handled;
/// use std::time::Duration;
/// fn handle(payload: &[u8]) -> Result<Handled, std::io::Error> {
///     let Ok(address) = std::str::from_utf8(payload) else {
///         return Ok(Handled::bury("the address is not text: no retry will mend it"));
///     };
///     if address.ends_with("@busy.example") {
///         return Ok(Handled::snooze(Duration::from_secs(60))); // not its fault: nothing is charged
///     }
///     std::fs::write("/dev/null", address)?; // an error is a failure, and the retry policy applies
///     Ok(Handled::done())
/// }
/// # assert!(handle(b"a@b.example").is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handled(pub(super) Verdict);

/// As the crate sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Done,
    Failed { error: String, after: Option<Duration> },
    Bury { error: String },
    Release { after: Option<Duration> },
}

impl Handled {
    /// The message is done with: acked.
    #[must_use]
    pub fn done() -> Self {
        Self(Verdict::Done)
    }

    /// It failed: it is tried again when the group's retry policy says, or parked if that was the last time.
    #[must_use]
    pub fn failed(error: impl Display) -> Self {
        Self(Verdict::Failed { error: text(&error), after: None })
    }

    /// It failed, and is tried again after this delay, whatever the policy's wait is.
    #[must_use]
    pub fn retry_after(error: impl Display, delay: Duration) -> Self {
        Self(Verdict::Failed { error: text(&error), after: Some(delay) })
    }

    /// It is parked as a dead letter now: no retry will help.
    #[must_use]
    pub fn bury(error: impl Display) -> Self {
        Self(Verdict::Bury { error: text(&error) })
    }

    /// It goes back unharmed, for anybody and at once; nothing is charged.
    #[must_use]
    pub fn release() -> Self {
        Self(Verdict::Release { after: None })
    }

    /// It goes back unharmed, and is handed out again after this delay at the earliest; nothing is charged.
    #[must_use]
    pub fn snooze(delay: Duration) -> Self {
        Self(Verdict::Release { after: Some(delay) })
    }
}

#[cfg(feature = "testing")]
impl Handled {
    /// Settles a delivery as a worker would.
    pub(crate) fn settle(self, delivery: Delivery) -> Ticket<()> {
        match self.0 {
            Verdict::Done => delivery.ack(),
            Verdict::Failed { error, after: None } => delivery.nack(error),
            Verdict::Failed { error, after: Some(after) } => delivery.nack_after(error, after),
            Verdict::Bury { error } => delivery.bury(error),
            Verdict::Release { after } => delivery.snooze(after.unwrap_or_default()),
        }
    }
}

impl Verdict {
    pub(super) fn outcome(self) -> Outcome {
        match self {
            Self::Done => Outcome::Ack,
            Self::Failed { error, after } => Outcome::Nack { error, after },
            Self::Bury { error } => Outcome::Bury { error },
            Self::Release { after } => Outcome::Release { after },
        }
    }
}

impl BatchHandled {
    /// In a word, and whether that is well.
    pub(super) fn word(&self) -> (&'static str, bool) {
        match self {
            Self::All(Handled(Verdict::Done)) => ("done", true),
            Self::All(Handled(Verdict::Failed { .. })) => ("failed", false),
            Self::All(Handled(Verdict::Bury { .. })) => ("buried", false),
            Self::All(Handled(Verdict::Release { .. })) => ("released", true),
            Self::Each(_) => ("each its own", true),
        }
    }
}

/// What a handler of single messages may return.
pub trait IntoHandled {
    /// What becomes of the message.
    fn into_handled(self) -> Handled;
}

impl IntoHandled for Handled {
    fn into_handled(self) -> Handled {
        self
    }
}

impl IntoHandled for () {
    fn into_handled(self) -> Handled {
        Handled::done()
    }
}

impl<T: IntoHandled, E: Display> IntoHandled for Result<T, E> {
    fn into_handled(self) -> Handled {
        match self {
            Ok(handled) => handled.into_handled(),
            Err(error) => Handled::failed(error),
        }
    }
}

/// What becomes of a batch of messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchHandled {
    /// The same for each.
    All(Handled),
    /// For each its own, in the order of the batch; those it does not come to are released.
    Each(Vec<Handled>),
}

/// What a handler of batches may return. `Ok(())` acks all of a batch in one step, `Err` fails all of it: every message
/// of the batch is charged then, so a handler that knows which one it was says it with a `Vec<Handled>`.
pub trait IntoBatchHandled {
    /// What becomes of the messages.
    fn into_handled(self) -> BatchHandled;
}

impl IntoBatchHandled for BatchHandled {
    fn into_handled(self) -> BatchHandled {
        self
    }
}

impl IntoBatchHandled for Vec<Handled> {
    fn into_handled(self) -> BatchHandled {
        BatchHandled::Each(self)
    }
}

impl IntoBatchHandled for () {
    fn into_handled(self) -> BatchHandled {
        BatchHandled::All(Handled::done())
    }
}

impl<T: IntoBatchHandled, E: Display> IntoBatchHandled for Result<T, E> {
    fn into_handled(self) -> BatchHandled {
        match self {
            Ok(handled) => handled.into_handled(),
            Err(error) => BatchHandled::All(Handled::failed(error)),
        }
    }
}
