//! Versions of a type: what a message says it is, and how an old one becomes the present one.

use super::codec::{Codec, CodecResult};
use crate::error::{Code, Error, Result};
use crate::message::{Message, Record};
use crate::workers::panic_message;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// The header that says what a typed payload is: the format's name and the version, as in `postcard/2`. A message
/// without it (put there by hand, or by another program) is read as the present version.
pub const SCHEMA_HEADER: &str = "millpond-schema";

type Upcast<T> = Arc<dyn Fn(&[u8]) -> CodecResult<T> + Send + Sync>;

pub(super) struct Schema<T, C> {
    pub(super) version: u32,
    older: BTreeMap<u32, Upcast<T>>,
    codec: PhantomData<fn() -> C>,
}

impl<T, C> Clone for Schema<T, C> {
    fn clone(&self) -> Self {
        Self { version: self.version, older: self.older.clone(), codec: PhantomData }
    }
}

impl<T, C: Codec> Schema<T, C> {
    pub(super) fn new() -> Self {
        Self { version: 1, older: BTreeMap::new(), codec: PhantomData }
    }

    pub(super) fn upcast<V: DeserializeOwned>(&mut self, version: u32, make: impl Fn(V) -> T + Send + Sync + 'static) {
        self.older.insert(version, Arc::new(move |payload| Ok(make(C::decode(payload)?))));
    }

    pub(super) fn encode(&self, value: &T) -> Result<Message>
    where
        T: Serialize,
    {
        let payload = guarded(|| C::encode(value)).map_err(|error| {
            let what = format!("a {} can't be written as {}: {error}", std::any::type_name::<T>(), C::NAME);
            Error::new(Code::Unencodable, what)
        })?;
        Ok(Message::new(payload).header(SCHEMA_HEADER, format!("{}/{}", C::NAME, self.version)))
    }

    pub(super) fn decode(&self, record: &Record) -> Result<T>
    where
        T: DeserializeOwned,
    {
        let said = record.headers().find(|(name, _)| *name == SCHEMA_HEADER).map(|(_, value)| value);
        let decoded = match said.map(|said| self.known(said)).transpose() {
            Err(unknown) => Err(unknown),
            Ok(None) => guarded(|| C::decode(record.payload())),
            Ok(Some(version)) if version == self.version => guarded(|| C::decode(record.payload())),
            Ok(Some(version)) => match self.older.get(&version) {
                Some(upcast) => guarded(|| upcast(record.payload())),
                None => Err(self.unknown(version)),
            },
        };
        decoded.map_err(|error| {
            let said = said.map_or("no schema".into(), String::from_utf8_lossy);
            let what = format!("the payload ({said}) can't be read as {}: {error}", std::any::type_name::<T>());
            Error::new(Code::Undecodable, what)
        })
    }

    /// The version, if it is of this format.
    fn known(&self, said: &[u8]) -> Result<u32, String> {
        let said = str::from_utf8(said).ok().and_then(|said| said.split_once('/'));
        match said.map(|(codec, version)| (codec, version.parse())) {
            Some((codec, Ok(version))) if codec == C::NAME => Ok(version),
            Some((codec, Ok(_))) => Err(format!("it is {codec}, and this reader reads {}", C::NAME)),
            _ => Err(format!("the header {SCHEMA_HEADER} makes no sense")),
        }
    }

    fn unknown(&self, version: u32) -> String {
        let known: Vec<String> = self.older.keys().chain([&self.version]).map(ToString::to_string).collect();
        format!("this reader doesn't know version {version}, only {}", known.join(", "))
    }
}

/// What others wrote may panic, and a payload can make it.
fn guarded<T>(code: impl FnOnce() -> CodecResult<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(code)) {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(panic) => Err(format!("it panicked: {}", panic_message(&*panic))),
    }
}
