//! One line of `put --jsonl`, made into a message.

use super::span;
use millpond::{Message, Timestamp};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::time::Duration;

/// The fields of a line. An unknown one is an error: a misspelt `key` must not be lost in silence.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    payload: String,
    id: Option<String>,
    key: Option<String>,
    #[serde(default)]
    headers: Headers,
    #[serde(default, deserialize_with = "span::deserialize")]
    delay: Option<Duration>,
    /// Milliseconds since 1970, UTC.
    deliver_at: Option<u64>,
    #[serde(default, deserialize_with = "span::deserialize")]
    expires_after: Option<Duration>,
}

/// Names and values in the order they stand in the line; a name may repeat, which a map would not keep.
#[derive(Debug, Default)]
struct Headers(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = Headers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("headers as an object or a list of [name, value] pairs")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Headers, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Headers(pairs))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Headers, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = list.next_element()? {
                    pairs.push(pair);
                }
                Ok(Headers(pairs))
            }

            fn visit_unit<E>(self) -> Result<Headers, E> {
                Ok(Headers::default())
            }
        }

        deserializer.deserialize_any(Pairs)
    }
}

/// The message a line describes, or why it describes none.
pub(super) fn parse(line: &[u8]) -> Result<Message, String> {
    if line.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err("not a JSON object".to_owned());
    }
    let line: Line = serde_json::from_slice(line).map_err(|error| within_line(&error))?;
    let mut message = Message::new(line.payload);
    match (line.delay, line.deliver_at) {
        (Some(_), Some(_)) => return Err("`delay` and `deliver_at` exclude each other".to_owned()),
        (Some(delay), None) => message = message.delay(delay),
        (None, Some(time)) => message = message.deliver_at(Timestamp::new(time)),
        (None, None) => {}
    }
    if let Some(lifetime) = line.expires_after {
        message = message.expires_after(lifetime);
    }
    if let Some(id) = line.id {
        message = message.id(id);
    }
    if let Some(key) = line.key {
        message = message.key(key);
    }
    Ok(line.headers.0.into_iter().fold(message, |message, (name, value)| message.header(name, value)))
}

/// The reason with its column. The parser's own line number is always 1 here and would contradict ours.
fn within_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let reason = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason);
    format!("{reason} (column {})", error.column())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_as_an_object_or_as_pairs_and_keep_their_order() {
        let expected = Message::new("x").id("i").key("k").header("z", "1").header("a", "2");
        let object = br#"{"payload":"x","id":"i","key":"k","headers":{"z":"1","a":"2"}}"#;
        let pairs = br#" {"headers":[["z","1"],["a","2"]],"key":"k","id":"i","payload":"x"} "#;
        assert_eq!(parse(object), Ok(expected.clone()));
        assert_eq!(parse(pairs), Ok(expected));
    }

    #[test]
    fn times_come_as_milliseconds_or_with_a_unit() {
        let delayed = Message::new("x").delay(Duration::from_secs(5)).expires_after(Duration::from_secs(60));
        assert_eq!(parse(br#"{"payload":"x","delay":5000,"expires_after":"1m"}"#), Ok(delayed.clone()));
        assert_eq!(parse(br#"{"payload":"x","delay":"5s","expires_after":60000}"#), Ok(delayed));
        let later = Message::new("x").deliver_at(Timestamp::new(1_900_000_000_000));
        assert_eq!(parse(br#"{"payload":"x","deliver_at":1900000000000}"#), Ok(later));
    }

    #[test]
    fn what_is_null_is_not_there() {
        let line = br#"{"payload":"x","id":null,"key":null,"headers":null,"delay":null}"#;
        assert_eq!(parse(line), Ok(Message::new("x")));
    }

    #[test]
    fn a_line_that_is_no_message_says_why() {
        for (line, reason) in [
            (r#""x""#, "not a JSON object"),
            (r#"["x"]"#, "not a JSON object"),
            (r#"{"id":"i"}"#, "missing field `payload`"),
            (r#"{"payload":7}"#, "invalid type"),
            (r#"{"payload":"x","kye":"k"}"#, "unknown field `kye`"),
            (r#"{"payload":"x","delay":"5 apples"}"#, "milliseconds, or a whole number with the unit"),
            (r#"{"payload":"x","delay":-1}"#, "milliseconds, or a whole number with the unit"),
            (r#"{"payload":"x","delay":1,"deliver_at":2}"#, "exclude each other"),
            (r#"{"payload":"x"#, "EOF"),
            (r#"{"payload":"x"} {}"#, "trailing characters"),
        ] {
            let refusal = parse(line.as_bytes()).unwrap_err();
            assert!(refusal.contains(reason), "{line}: {refusal}");
            assert!(!refusal.contains("line 1"), "{refusal}");
        }
    }
}
