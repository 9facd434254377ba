//! Encryption at rest: what of a store is encrypted on the disk, what is not, and how keys change.
//!
//! With the feature `encrypt`, and keys in [`Options::encryption`](crate::Options::encryption), what a program gives to
//! a store is on the disk only as XChaCha20-Poly1305 has encrypted it: for whoever finds the disk, a copy of the
//! directory, or a backup. Everything else is as it is without: what survives what, how it recovers, what a damaged
//! place is.
//!
//! ```
//! # #[cfg(feature = "encrypt")]
//! # fn main() -> millpond::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! # fn key_from_somewhere(_: &str) -> [u8; 32] { [7; 32] }
//! use millpond::{KeyId, Keys, Store};
//! let keys = Keys::new(KeyId::new("2026-11")?, &key_from_somewhere("2026-11"));
//! let store = Store::options().encryption(keys).open(dir.path())?;
//! store.topic("orders")?.publish("4711").wait()?;
//! assert!(store.stats().segments.iter().all(|segment| segment.key == KeyId::new("2026-11").ok()));
//! store.close()?;
//! // Without the key the store is not opened, and not touched.
//! let refused = Store::open(dir.path()).unwrap_err();
//! assert_eq!(refused.code(), "key-missing");
//! assert!(refused.to_string().contains("2026-11"));
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "encrypt"))]
//! # fn main() {}
//! ```
//!
//! # What is encrypted
//!
//! Every frame of the journal but those it writes for itself: payloads, ids, keys, headers, names of topics, groups and
//! tables, settings, filters, error texts, values of the application, who has acked what, and all that snapshots repeat
//! of it. Packed messages ([`TopicSettings::compression`](crate::TopicSettings::compression)) are encrypted after they
//! were packed. The journal is where all of this is; it is nowhere else in the clear.
//!
//! # What is not
//!
//! | where | what can be read without the key |
//! |---|---|
//! | `identity` | the store's id, when it was made, and the key under which ids are hashed |
//! | a segment's header | its number, when it was prepared, the name of its key |
//! | a frame's header | how long it is, so how much was published or settled at once; whether it is packed or of a snapshot |
//! | the journal's own frames | positions and checksums of frames and segments |
//! | `NNNNNNNNNN.index` | for each topic's number: how many messages, their offsets, and the time of the first and last of a segment |
//! | runs of ids, `tables/` | each id, and its message's payload, hashed to 128 bits; topic's number, offset and time |
//! | `repair-N.txt` | names of topics of which something was lost, with offsets |
//! | what `millpond export` writes | all of it: an export is meant to be read |
//!
//! The hashes are made with SipHash under the key in `identity`. So whoever has the directory can try a guess: whether
//! a certain id was published, and whether its payload was a certain one. Ids and payloads that nobody can guess are
//! safe from that; for others give no ids, or set [`Window::Off`](crate::Window) in the topic and have no group
//! [remember](crate::Group::remember_processed) what it processed: then no hash is written outside the journal.
//! Compression makes lengths depend on contents: where somebody else can put text of their choosing beside a secret, in
//! one message or one batch, and watch lengths, leave it off.
//!
//! Nobody is kept from *changing* a store by it. A frame that was changed, moved, or put there by somebody without the
//! key is damage and no message. But whole segments, or the whole directory, can be put back to what they were earlier,
//! or cut off, or replaced by segments in plain text. Who may write to the directory is up to the file system.
//!
//! # Keys
//!
//! A key is 32 random bytes and a name; [`Keys`](crate::Keys) has the one for all that is written, and those that older
//! segments may need. The name stands in the segments, and the key nowhere. It is overwritten in memory when the store
//! and the program's own `Keys` are gone; messages that were read are in memory like any others. A key that is lost is
//! lost with all that is encrypted with it.
//!
//! *Changing the key*: open with the new one, and the old one as [`Keys::older`](crate::Keys::older). Before it writes
//! anything, the opening goes on to a new segment, under the new key. Older segments stay as they are and go as their
//! messages are done with, like any segments; [`Store::clean_now`](crate::Store::clean_now) ends that at once, by
//! writing anew all that is needed of segments that have another key than the current one, which needs as much room.
//! When no [`SegmentStats::key`](crate::SegmentStats::key) of [`StoreStats::segments`](crate::StoreStats::segments)
//! names the old key, the store does not need it any more; backups made before do.
//!
//! *A store that was not encrypted*, or is not to be any longer ([`Keys::none`](crate::Keys::none) with the older
//! keys), changes in the same way. What was written in plain text stays in its files until they go, and after that in
//! their space: in files that are kept to be used again (`.new`), until they have been written over, and in free blocks
//! of the file system, and of the drive, for as long as those keep it. If that matters, begin a new, encrypted store on
//! an encrypted disk, and [restore](crate::Store::restore) into it.
//!
//! On the command line, `--key-file FILE` goes with every command. The file has a key a line, its name and 64
//! hexadecimal digits; the first is the current one:
//!
//! ```sh
//! (umask 077; echo "2026-11 $(od -An -tx1 -N32 /dev/urandom | tr -d ' \n')" > pond.keys)
//! millpond info ./pond --key-file pond.keys   # names the key of each segment
//! ```
//!
//! Everything that reads what frames say needs the keys: opening, looking, `verify`, `repair`, `export`, `backup`, and
//! [`Options`](crate::Options) has each of them. `dump` without keys shows where frames are and how long. What is wrong
//! is told by code: `key-missing` names the key that is needed and those that were given, `key-wrong` that the one
//! given is not the one; `bad-setting`, or `future-version` for a store that is encrypted already, that this build
//! lacks the feature. Whatever it is, nothing was touched then.
//!
//! # What it costs
//!
//! 32 bytes a frame, which is a message, or a batch of them, and the time to encrypt and decrypt. `cargo test --release
//! --all-features --test encryption -- --ignored --nocapture what_it_costs` does the same work with and without it, in
//! turn, at level `Os` and past the caches. On two cores that others kept busy too (so the times are too long, and the
//! ratios are what counts), it took so many times as long, and so much longer for each message:
//!
//! | messages | publish | read | lease and ack | bytes of the journal |
//! |---|---|---|---|---|
//! | 100 bytes, one a frame | x4.5, +2.6 us | x23, +2.2 us | x12, +2.2 us | x1.26 |
//! | 100 bytes, batches of 100 | x1.3, +0.1 us | x2.0, +0.1 us | x1.6, +0.1 us | x1.01 |
//! | 10,000 bytes, one a frame | x1.8, +9 us | x7.5, +10 us | x6.5, +10 us | x1.00 |
//!
//! Nearly all of that is the cipher: 2.0 us for 120 bytes, of which 1.4 us are not needed. The library's code for AVX2
//! (`poly1305` 0.9) is only as quick as it should be where the whole program is built for processors that have it: with
//! `RUSTFLAGS="-C target-feature=+avx2"` the same 120 bytes take 0.6 us, and 10,000 bytes 7 us and not 9. Where old
//! processors have to be served too, `RUSTFLAGS='--cfg poly1305_backend="soft"'` has 0.6 us for small messages, and 12
//! us for those of 10,000 bytes.
//!
//! So batches are worth more here than without. A store that is not given keys does none of it.
