//! The formats of typed payloads.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::error::Error;

/// What a format says when it can't.
pub type CodecResult<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// A format of payloads. [`Postcard`] and, with feature `json`, `Json` are there; another one is a few lines.
pub trait Codec: Send + Sync + 'static {
    /// Its name, which stands in each message's [`SCHEMA_HEADER`](crate::SCHEMA_HEADER). It may not have a `/`.
    const NAME: &'static str;

    /// Writes a value.
    ///
    /// # Errors
    /// Whatever keeps the format from writing it.
    fn encode<T: Serialize + ?Sized>(value: &T) -> CodecResult<Vec<u8>>;

    /// Reads a value; all of the payload has to be it.
    ///
    /// # Errors
    /// Whatever is wrong with the payload.
    fn decode<T: DeserializeOwned>(payload: &[u8]) -> CodecResult<T>;
}

/// [postcard](https://docs.rs/postcard): small and quick. It names no fields, so a type that changes in any way needs a
/// new [version](crate::TypedTopic::version).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Postcard {}

impl Codec for Postcard {
    const NAME: &'static str = "postcard";

    fn encode<T: Serialize + ?Sized>(value: &T) -> CodecResult<Vec<u8>> {
        Ok(postcard::to_allocvec(value)?)
    }

    fn decode<T: DeserializeOwned>(payload: &[u8]) -> CodecResult<T> {
        let (value, rest) = postcard::take_from_bytes(payload)?;
        if rest.is_empty() { Ok(value) } else { Err(format!("{} bytes are left over", rest.len()).into()) }
    }
}

/// JSON, with feature `json`: any language reads it, and new optional fields need no new version.
#[cfg(feature = "json")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Json {}

#[cfg(feature = "json")]
impl Codec for Json {
    const NAME: &'static str = "json";

    fn encode<T: Serialize + ?Sized>(value: &T) -> CodecResult<Vec<u8>> {
        Ok(serde_json::to_vec(value)?)
    }

    fn decode<T: DeserializeOwned>(payload: &[u8]) -> CodecResult<T> {
        Ok(serde_json::from_slice(payload)?)
    }
}
