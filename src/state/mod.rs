//! Everything there is to know about topics and groups, as a fold over the journal.

mod chunk;
mod offsets;
mod packed;
mod settled;
