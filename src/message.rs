//! What is published ([`Message`]), what is read ([`Record`]), and what publishing answers ([`Receipt`]).

use crate::config::Durability;
use crate::error::Error;
use crate::types::{Offset, Timestamp};
use bytes::Bytes;
use std::time::Duration;

/// Everything a message may carry besides its payload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// For deduplication.
    pub(crate) id: Option<Bytes>,
    /// For ordering.
    pub(crate) key: Option<Bytes>,
    /// In the order given; names may repeat.
    pub(crate) headers: Vec<(String, Bytes)>,
    /// Not to be delivered before this time of the engine's clock (`wall` false) or of the wall clock (`wall` true).
    pub(crate) due: Option<Due>,
    /// Not to be delivered at or after this time of the engine's clock.
    pub(crate) expiry: Option<Timestamp>,
    /// What `due` is made of when the message is accepted; not stored.
    pub(crate) delay: Option<Duration>,
    /// What `expiry` is made of when the message is accepted; not stored.
    pub(crate) lifetime: Option<Duration>,
    /// The topic's, if the message has none of its own; not stored.
    pub(crate) default_lifetime: Option<Duration>,
    /// 0 is the ordinary level.
    pub(crate) priority: u8,
    /// Schema and content flags; 0 says plain bytes.
    pub(crate) content: u32,
    /// Keyed 128-bit hash of `id`, filled in when the message is accepted.
    pub(crate) id_hash: Option<[u8; 16]>,
    /// Keyed 128-bit hash of the payload, kept beside an id so that its reuse for something else is noticed.
    pub(crate) payload_hash: Option<[u8; 16]>,
}

/// When a message is due, and by which clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) at: Timestamp,
    /// True for a deliver-at, which follows the wall clock; false for a delay.
    pub(crate) wall: bool,
}

impl Attributes {
    /// Bytes of what the publisher gave.
    pub(crate) fn size(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        headers + length(&self.id) + length(&self.key)
    }

    /// Whether nothing at all is set, so that the short form on disk will do.
    pub(crate) fn is_empty(&self) -> bool {
        let Self { id, key, headers, due, expiry, delay, lifetime, default_lifetime, priority, content, .. } = self;
        let texts = id.is_none() && key.is_none() && headers.is_empty();
        let times = due.is_none() && expiry.is_none() && delay.is_none() && lifetime.is_none();
        let rest = default_lifetime.is_none() && *priority == 0 && *content == 0;
        texts && times && rest && self.id_hash.is_none() && self.payload_hash.is_none()
    }
}

/// A message to be published: a payload, and optionally an id, a key and headers.
///
/// ```
/// use millpond::Message;
/// let message = Message::new("4711").id("order-4711").key("customer-7").header("source", "web");
/// assert_eq!(message.payload(), b"4711");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub(crate) payload: Bytes,
    pub(crate) attributes: Option<Box<Attributes>>,
    pub(crate) durability: Option<Durability>,
}

impl Message {
    /// A message with this payload. A `&'static str`, `Vec<u8>`, `String` or `Bytes` is taken without a copy.
    #[must_use]
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Self { payload: payload.into(), attributes: None, durability: None }
    }

    /// A message with a copy of these bytes.
    #[must_use]
    pub fn copy_of(payload: &[u8]) -> Self {
        Self::new(Bytes::copy_from_slice(payload))
    }

    /// Names the message, for deduplication: publishing the same id again within the topic's
    /// [window](crate::TopicSettings::deduplicate) appends nothing and answers with the first one's receipt.
    #[must_use]
    pub fn id(mut self, id: impl Into<Bytes>) -> Self {
        self.attributes_mut().id = Some(id.into());
        self
    }

    /// The key by which an [ordered](crate::Group::ordered) group keeps messages in order.
    #[must_use]
    pub fn key(mut self, key: impl Into<Bytes>) -> Self {
        self.attributes_mut().key = Some(key.into());
        self
    }

    /// Adds a header. Names may repeat; the order is kept.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.attributes_mut().headers.push((name.into(), value.into()));
        self
    }

    /// Delivers the message no earlier than `delay` after it was accepted, rounded up to whole milliseconds. It keeps
    /// its place in the topic and holds nobody up, but for those of its key in an ordered group. The time
    /// that passes is counted by a clock that nobody sets while the store is open, and by the wall clock from a close,
    /// or a crash, to the next opening. Takes the place of [`deliver_at`](Self::deliver_at). This is what SQS calls
    /// `DelaySeconds`; there is no upper limit.
    ///
    /// ```
    /// # fn main() -> millpond::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = millpond::Store::open(dir.path())?;
    /// use millpond::{Group, Message};
    /// use std::time::Duration;
    /// let reminders = store.topic("reminders")?;
    /// let mail = reminders.consumer("mail", Group::default())?;
    /// reminders.publish(Message::new("call back").delay(Duration::from_millis(20))).wait()?;
    /// assert!(mail.try_lease()?.is_none());
    /// mail.lease()?.ack().wait()?; // waits until it is due
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        let attributes = self.attributes_mut();
        (attributes.delay, attributes.due) = (Some(delay), None);
        self
    }

    /// Delivers the message no earlier than when the machine's wall clock shows `time`, in milliseconds since 1970
    /// (UTC). It is held against the clock as it stands: if that is set back, what was not handed out yet waits again;
    /// if it is set forward, the message is due at once. Takes the place of [`delay`](Self::delay).
    ///
    /// ```
    /// use millpond::{Message, Timestamp};
    /// let new_year = Message::new("happy new year").deliver_at(Timestamp::new(1_893_456_000_000));
    /// # let _ = new_year;
    /// ```
    #[must_use]
    pub fn deliver_at(mut self, time: Timestamp) -> Self {
        let attributes = self.attributes_mut();
        (attributes.delay, attributes.due) = (None, Some(Due { at: time, wall: true }));
        self
    }

    /// Delivers the message only within `lifetime` of when it was accepted, or of when it is due if it is delayed,
    /// rounded up to whole milliseconds. Afterwards it is settled for each group that comes to it, and counted as
    /// `expired`. One that is in somebody's hands stays there until its lease ends. Wins over
    /// [`TopicSettings::expires_after`](crate::TopicSettings::expires_after).
    ///
    /// ```
    /// use millpond::Message;
    /// use std::time::Duration;
    /// let code = Message::new("123456").expires_after(Duration::from_secs(300));
    /// # let _ = code;
    /// ```
    #[must_use]
    pub fn expires_after(mut self, lifetime: Duration) -> Self {
        self.attributes_mut().lifetime = Some(lifetime);
        self
    }

    /// How urgent the message is: 0, the ordinary level, to 7. It has an effect in topics with
    /// [`priorities`](crate::TopicSettings::priorities): what is above the topic's highest level is taken as that.
    /// Elsewhere it is kept and shown.
    #[must_use]
    pub fn priority(mut self, level: u8) -> Self {
        self.attributes_mut().priority = level;
        self
    }

    /// Where this message must be when its publish resolves, whatever its topic and store say.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = Some(durability);
        self
    }

    /// The payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Makes it again what its publisher made: without the hashes and times that were filled in on the way in.
    pub(crate) fn unaccept(&mut self) {
        if let Some(attributes) = &mut self.attributes {
            attributes.id_hash = None;
            attributes.payload_hash = None;
            attributes.expiry = None;
            attributes.default_lifetime = None;
            if attributes.delay.is_some() {
                attributes.due = None;
            }
            if attributes.is_empty() {
                self.attributes = None;
            }
        }
    }

    fn unaccepted(mut self) -> Self {
        self.unaccept();
        self
    }

    /// Not to be delivered at or after `expiry` of the engine's clock, whenever it was accepted.
    pub(crate) fn expiring(mut self, expiry: Timestamp) -> Self {
        self.attributes_mut().expiry = Some(expiry);
        self
    }

    pub(crate) fn attributes_mut(&mut self) -> &mut Attributes {
        self.attributes.get_or_insert_default()
    }
}

impl<T: Into<Bytes>> From<T> for Message {
    fn from(payload: T) -> Self {
        Self::new(payload)
    }
}

/// What publishing answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Receipt {
    /// The message's place in its topic.
    pub offset: Offset,
    /// When it was accepted, on the engine's clock.
    pub time: Timestamp,
    /// Whether a message with this id had been accepted before; offset and time are then those of that one.
    pub duplicate: bool,
}

/// What publishing a batch answers. Those of its messages that were appended have consecutive offsets; without ids
/// that are all of them.
///
/// ```
/// # fn main() -> millpond::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = millpond::Store::open(dir.path())?;
/// # let orders = store.topic("orders")?;
/// use millpond::Message;
/// let message = |number: u32| Message::new(number.to_string()).id(format!("order-{number}"));
/// orders.publish(message(2)).wait()?;
/// let receipt = orders.publish_all([message(1), message(2), message(3), message(1)]).wait()?;
/// assert_eq!((receipt.first.get(), receipt.count), (1, 2)); // 1 and 3 were appended
/// let all: Vec<(u64, bool)> = receipt.receipts().map(|one| (one.offset.get(), one.duplicate)).collect();
/// assert_eq!(all, [(1, false), (0, true), (2, false), (1, true)]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct BatchReceipt {
    /// The offset of the first message that was appended; the topic's next offset if none was.
    pub first: Offset,
    /// How many messages were appended: those of the batch that are no duplicates.
    pub count: u64,
    /// When they were accepted, on the engine's clock.
    pub time: Timestamp,
    /// Those that were not appended, since a message with the same id had been accepted before, or stands before them
    /// in the batch; in the order of the batch.
    pub duplicates: Vec<Duplicate>,
}

/// A message of a batch that was not appended; see [`BatchReceipt::duplicates`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Duplicate {
    /// Its place in the batch, from 0 on.
    pub index: usize,
    /// The offset of the message that was accepted with its id.
    pub offset: Offset,
    /// When that was accepted, on the engine's clock.
    pub time: Timestamp,
}

impl BatchReceipt {
    /// A receipt for each message of the batch, in its order.
    pub fn receipts(&self) -> impl Iterator<Item = Receipt> + '_ {
        let total = usize::try_from(self.count).unwrap_or(usize::MAX).saturating_add(self.duplicates.len());
        let (mut known, mut next) = (self.duplicates.iter().peekable(), self.first);
        (0..total).map(move |index| match known.next_if(|known| known.index == index) {
            Some(known) => Receipt { offset: known.offset, time: known.time, duplicate: true },
            None => {
                let offset = next;
                next = offset.next();
                Receipt { offset, time: self.time, duplicate: false }
            }
        })
    }
}

/// A message as it is read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub(crate) offset: Offset,
    pub(crate) time: Timestamp,
    pub(crate) payload: Bytes,
    pub(crate) attributes: Option<Box<Attributes>>,
}

impl Record {
    /// The message's place in its topic.
    #[must_use]
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// When it was accepted, on the engine's clock.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// The payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The payload, shared and not copied.
    #[must_use]
    pub fn payload_bytes(&self) -> Bytes {
        self.payload.clone()
    }

    /// The id it was published with.
    #[must_use]
    pub fn id(&self) -> Option<&[u8]> {
        self.attributes.as_ref()?.id.as_deref()
    }

    /// The key it was published with.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.attributes.as_ref()?.key.as_deref()
    }

    /// How urgent it is; 0 is the ordinary level. As published, whatever levels its topic has.
    #[must_use]
    pub fn priority(&self) -> u8 {
        self.attributes.as_ref().map_or(0, |attributes| attributes.priority)
    }

    /// From when on it is delivered, if it was delayed: by the wall clock for a deliver-at, by the engine's for a
    /// delay; in milliseconds since 1970 (UTC).
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        self.attributes.as_ref()?.due.map(|due| due.at)
    }

    /// From when on it is not delivered any more, on the engine's clock; in milliseconds since 1970 (UTC).
    #[must_use]
    pub fn expiry(&self) -> Option<Timestamp> {
        self.attributes.as_ref()?.expiry
    }

    /// The headers, in the order they were given.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let headers = self.attributes.as_ref().map_or(&[][..], |attributes| attributes.headers.as_slice());
        headers.iter().map(|(name, value)| (name.as_str(), value.as_ref()))
    }
}

impl Error {
    /// The message that was refused, if this error is about one: nothing of it was written.
    #[must_use]
    pub fn into_message(mut self) -> Option<Message> {
        self.take_returned().map(Message::unaccepted)
    }
}
