//! The pattern: the client's key is the message's id, and the answer is made of the receipt alone. So a request that is
//! repeated, because its answer was lost with the connection or with the process, is not accepted again and has the
//! same answer; the same key with another body is a conflict, and changes nothing. Stripe calls it an idempotency key;
//! the IETF has a draft of a header of that name.

use millpond::{ErrorKind, Message, Result, Store, Topic, TopicSettings, Window};
use std::time::Duration;

/// How long a client may repeat a request.
const WINDOW: Duration = Duration::from_secs(24 * 3600);

pub(crate) struct Desk {
    orders: Topic,
}

/// As HTTP would have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
}

/// What a client sends: a key of its own making, and an order.
pub(crate) fn request(number: u64) -> (String, String) {
    (format!("key-{number}"), format!("{{\"order\":{number}}}"))
}

impl Desk {
    pub(crate) fn open(store: &Store) -> Result<Self> {
        let settings = TopicSettings::default().deduplicate(Window::For(WINDOW));
        Ok(Self { orders: store.topic_with("orders", settings)? })
    }

    /// Accepts a request, or says why not. What this returns was on the disk before; an error is no answer, and the
    /// client repeats the request.
    pub(crate) fn accept(&self, key: &str, body: &str) -> Result<Answer> {
        let message = Message::copy_of(body.as_bytes()).id(key.to_owned());
        let answer = |status, text: String| Ok(Answer { status, text });
        match self.orders.publish(message).wait() {
            // Of a duplicate these are the first one's, so the answer is the same to the letter.
            Ok(receipt) => answer(202, format!("accepted as number {} at {}", receipt.offset, receipt.time)),
            Err(error) if error.code() == "id-reused" => answer(409, format!("{key} was used for another order")),
            Err(error) if error.kind() == ErrorKind::Full => answer(503, "come again later".to_owned()),
            Err(error) => Err(error),
        }
    }

    /// What is not as it should be, once all requests were answered.
    pub(crate) fn wrong(&self, requests: u64) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for record in self.orders.read(..) {
            found.push(String::from_utf8_lossy(record?.payload()).into_owned());
        }
        let mut expected: Vec<String> = (0..requests).map(|number| request(number).1).collect();
        found.sort();
        expected.sort();
        let same = found == expected;
        Ok(if same { Vec::new() } else { vec![format!("{} orders of {requests} requests", found.len())] })
    }
}
