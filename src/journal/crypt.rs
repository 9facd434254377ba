//! Encryption, a frame at a time, with XChaCha20-Poly1305. The format page of `journal` says what is encrypted, with
//! what nonce, and why that never repeats.

use super::frame::{FRAME_HEADER, Flags, FrameHeader, MAX_BODY, checksum};
use super::segment::Segment;
use crate::clock::Entropy;
use crate::config::{Cipher, KeyId, Keys, NONCE, TAG};
use crate::error::{Code, Error};
use crate::types::{Lsn, Position, SegmentId, StoreId, Timestamp};
use crc32fast::Hasher;
use std::io;
use std::sync::Arc;

/// Random bytes of a nonce; the rest is the LSN, which is not stored.
pub(crate) const RANDOM: usize = 16;

/// Bytes by which an encrypted body is longer: the random part of its nonce before it, the tag behind.
pub(crate) const SEALED: u32 = 32;

/// What a segment's header says of its key: name, random bytes, check.
pub(crate) const KEY_FIELDS: usize = KeyId::LENGTH + RANDOM + TAG;

/// A segment as its key knows it: what a header says that is checked with the key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) store: StoreId,
    pub(crate) id: SegmentId,
    pub(crate) salt: u64,
    pub(crate) base: Timestamp,
}

impl Place {
    fn bytes(&self, key: KeyId) -> Vec<u8> {
        let (id, salt, base) = (self.id.get().to_le_bytes(), self.salt.to_le_bytes(), self.base.get().to_le_bytes());
        [&self.store.bytes()[..], &id, &salt, &base, &key.bytes()].concat()
    }
}

/// Why a segment's frames can't be decrypted.
#[derive(Debug)]
pub(crate) struct Refused {
    code: Code,
    what: String,
}

impl Refused {
    pub(crate) fn error(&self) -> Error {
        Error::new(self.code, self.what.clone())
    }
}

/// What kept the body of a frame from being had.
#[derive(Clone, Debug)]
pub(crate) enum Locked {
    /// There is no key for it.
    Refused(Arc<Refused>),
    /// It is not what was encrypted there, though its checksum fits: nobody tears a page like that.
    Altered,
}

/// The key of a segment, as far as it is known.
#[derive(Clone, Debug)]
pub(crate) struct SegmentKey {
    pub(crate) id: KeyId,
    random: [u8; RANDOM],
    check: [u8; TAG],
    /// What every frame's tag covers besides the frame: store and salt.
    beside: [u8; 24],
    cipher: Result<Cipher, Arc<Refused>>,
}

impl PartialEq for SegmentKey {
    fn eq(&self, other: &Self) -> bool {
        (self.id, self.random, self.check) == (other.id, other.random, other.check)
    }
}

impl Eq for SegmentKey {}

impl SegmentKey {
    /// For a segment that is prepared: the current one of `keys`, if there is one.
    pub(crate) fn fresh(keys: &Keys, place: Place, entropy: &dyn Entropy) -> io::Result<Option<Self>> {
        let Some((id, cipher)) = keys.current() else { return Ok(None) };
        let mut random = [0; RANDOM];
        entropy.fill(&mut random)?;
        let check = check(cipher, id, &random, place);
        Ok(Some(Self { id, random, check, beside: beside(place), cipher: Ok(cipher.clone()) }))
    }

    /// As a segment's header says; nothing if it is not encrypted.
    pub(crate) fn read(fields: &[u8; KEY_FIELDS], keys: &Keys, place: Place) -> Option<Self> {
        let (id, rest) = fields.split_first_chunk()?;
        let (random, rest) = rest.split_first_chunk()?;
        let (id, random, check_said) = (KeyId::of_bytes(*id)?, *random, *rest.first_chunk()?);
        let file = super::segment::segment_name(place.id);
        let refused = |code, what| Err(Arc::new(Refused { code, what }));
        let cipher = match keys.find(id) {
            _ if !cfg!(feature = "encrypt") => {
                let what = format!("{file} is encrypted: build millpond with the feature `encrypt`, and give the key");
                refused(Code::FutureVersion, format!("{what} named \"{id}\""))
            }
            None => {
                let what = format!("{file} is encrypted with the key named \"{id}\", which is not among those given");
                let what = format!("{what} ({}): give it with `Options::encryption`", keys.names());
                refused(Code::KeyMissing, what)
            }
            Some(cipher) if check(cipher, id, &random, place) == check_said => Ok(cipher.clone()),
            Some(_) => {
                let what = format!("{file} is encrypted with another key than the one given under the name \"{id}\"");
                refused(Code::KeyWrong, format!("{what}: give the one that it was written with"))
            }
        };
        Some(Self { id, random, check: check_said, beside: beside(place), cipher })
    }

    /// What the header says of it.
    pub(crate) fn fields(&self) -> [u8; KEY_FIELDS] {
        let mut fields = [0; KEY_FIELDS];
        let all = self.id.bytes().into_iter().chain(self.random).chain(self.check);
        fields.iter_mut().zip(all).for_each(|(place, byte)| *place = byte);
        fields
    }

    /// Why nothing can be decrypted with it, if so.
    pub(crate) fn refused(&self) -> Option<&Arc<Refused>> {
        self.cipher.as_ref().err()
    }

    /// Encrypts the body of the frame at `lsn`, which stands in `stored` behind as many random bytes as were drawn for
    /// it; the tag goes behind it. `head` is the frame's header before its checksums.
    pub(super) fn seal(&self, lsn: Lsn, head: [u8; 8], stored: &mut Vec<u8>, from: usize) {
        let Some((random, body)) = stored.get_mut(from..).and_then(|stored| stored.split_first_chunk_mut::<RANDOM>())
        else {
            return;
        };
        let tag = match &self.cipher {
            Ok(cipher) => cipher.encrypt(&nonce(random, lsn), &self.covered(head), body),
            Err(_) => {
                // Nothing is appended to a segment whose key is not there; if it were, it would not be in the clear.
                body.fill(0);
                None
            }
        };
        stored.extend_from_slice(&tag.unwrap_or_default());
    }

    /// Decrypts the stored body of the frame at `lsn` where it stands; what it says is then the part of it that
    /// [`opened`](Self::opened) gives.
    pub(super) fn open(&self, lsn: Lsn, head: [u8; 8], stored: &mut [u8]) -> Result<(), Locked> {
        let cipher = self.cipher.as_ref().map_err(|refused| Locked::Refused(refused.clone()))?;
        let parts = stored.split_first_chunk_mut();
        let parts = parts.and_then(|(random, rest)| Some((random, rest.split_last_chunk_mut()?)));
        let (random, (body, tag)) = parts.ok_or(Locked::Altered)?;
        let whole = !body.is_empty() && cipher.decrypt(&nonce(random, lsn), &self.covered(head), body, tag);
        if whole { Ok(()) } else { Err(Locked::Altered) }
    }

    /// What lies between nonce and tag.
    pub(super) fn opened(stored: &[u8]) -> Option<&[u8]> {
        stored.get(RANDOM..stored.len().checked_sub(TAG)?)
    }

    fn covered(&self, head: [u8; 8]) -> [u8; 32] {
        let mut covered = [0; 32];
        let (first, last) = covered.split_at_mut(self.beside.len());
        first.copy_from_slice(&self.beside);
        last.copy_from_slice(&head);
        covered
    }
}

fn nonce(random: &[u8; RANDOM], lsn: Lsn) -> [u8; NONCE] {
    let mut nonce = [0; NONCE];
    let (first, last) = nonce.split_at_mut(RANDOM);
    first.copy_from_slice(random);
    last.copy_from_slice(&lsn.raw().to_le_bytes());
    nonce
}

fn beside(place: Place) -> [u8; 24] {
    let mut beside = [0; 24];
    let (first, last) = beside.split_at_mut(16);
    first.copy_from_slice(&place.store.bytes());
    last.copy_from_slice(&place.salt.to_le_bytes());
    beside
}

/// The tag of nothing under the key, over what the header says: it tells a wrong key from damage. No frame is at
/// position 0, so its nonce is none of a frame's.
fn check(cipher: &Cipher, id: KeyId, random: &[u8; RANDOM], place: Place) -> [u8; TAG] {
    let nonce = nonce(random, Lsn::new(place.id, Position::ZERO));
    cipher.encrypt(&nonce, &place.bytes(id), &mut []).unwrap_or_default()
}

/// Random bytes for the nonces of frames: drawn anew for each.
#[derive(Debug)]
pub(crate) struct Nonces {
    entropy: Arc<dyn Entropy>,
    last: [u8; RANDOM],
}

impl Nonces {
    /// The first ones are drawn here, so that whoever has none to give says so before anything is written.
    pub(crate) fn begin(entropy: Arc<dyn Entropy>) -> io::Result<Self> {
        let mut last = [0; RANDOM];
        entropy.fill(&mut last)?;
        Ok(Self { entropy, last })
    }

    /// Those for the next frame. If there are none to be had just then, those before serve once more: no other frame of
    /// this opening is at the same LSN, and no other opening has them.
    pub(crate) fn next(&mut self) -> [u8; RANDOM] {
        let mut fresh = [0; RANDOM];
        if self.entropy.fill(&mut fresh).is_ok() {
            self.last = fresh;
        }
        self.last
    }
}

/// Encrypts what a journal's end takes in.
#[derive(Debug)]
pub(crate) struct Sealer {
    /// With what new segments are encrypted, if they are.
    pub(super) key: Option<KeyId>,
    nonces: Nonces,
}

impl Sealer {
    pub(crate) fn begin(keys: &Keys, entropy: Arc<dyn Entropy>) -> io::Result<Self> {
        Ok(Self { key: keys.current().map(|(id, _)| id), nonces: Nonces::begin(entropy)? })
    }

    /// The header of a frame in this segment, as it is once the body is encrypted.
    #[inline]
    pub(super) fn lengthened(&self, segment: &Segment, header: FrameHeader) -> FrameHeader {
        if segment.key.is_none() || !is_sealed(header.flags) {
            return header;
        }
        let length = header.length.saturating_add(SEALED).min(MAX_BODY);
        FrameHeader { length, flags: header.flags.with(Flags::ENCRYPTED), ..header }
    }

    /// Puts the frame that starts at `lsn` behind `out`: its header, which is returned, and what `write` writes,
    /// encrypted. Under the engine's lock, since the place is part of what is encrypted with.
    pub(super) fn put(
        &mut self,
        segment: &Segment,
        (mut header, lsn): (FrameHeader, Lsn),
        seed: &Hasher,
        out: &mut Vec<u8>,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> [u8; FRAME_HEADER as usize] {
        let at = out.len();
        let body = at + FRAME_HEADER as usize;
        out.extend_from_slice(&[0; FRAME_HEADER as usize]);
        out.extend_from_slice(&self.nonces.next());
        write(out);
        if let Some(key) = &segment.key {
            key.seal(lsn, header.head(), out, body);
        }
        header.body_crc = checksum(out.get(body..).unwrap_or_default());
        let bytes = header.seal(seed, lsn);
        if let Some(place) = out.get_mut(at..).and_then(|place| place.first_chunk_mut()) {
            *place = bytes;
        }
        bytes
    }
}

/// Whether the body of a frame with these flags is encrypted where frames are: the journal's own are not.
pub(super) const fn is_sealed(flags: Flags) -> bool {
    !flags.has(Flags::CONTROL)
}

#[cfg(test)]
#[cfg(feature = "encrypt")]
mod tests {
    use super::super::frame::Frame;
    use super::super::segment::SEGMENT_HEADER;
    use super::*;
    use crate::clock::SeededEntropy;
    use bytes::Bytes;

    const STORE: StoreId = StoreId([7; 16]);
    const LSN: Lsn = Lsn::new(SegmentId(3), Position(5000));

    fn keys() -> Keys {
        Keys::new(KeyId::new("2026").unwrap(), &[5; 32])
    }

    fn segment() -> Segment {
        let place = Place { store: STORE, id: SegmentId(3), salt: 0x0123_4567_89ab_cdef, base: Timestamp(1_000_000) };
        let key = SegmentKey::fresh(&keys(), place, &SeededEntropy::new(1)).unwrap();
        let Place { id, salt, base, .. } = place;
        Segment { id, salt, base, key, capacity: 1 << 16, recycled: false }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A frame with this body, and its header.
    fn put(body: &[u8]) -> (FrameHeader, Vec<u8>) {
        let mut sealer = Sealer::begin(&keys(), Arc::new(SeededEntropy::new(2))).unwrap();
        let (segment, mut out) = (segment(), Vec::new());
        let length = u32::try_from(body.len()).unwrap();
        let header = FrameHeader { length, flags: Flags::NONE, durable: Position(4096), body_crc: 0 };
        let header = sealer.lengthened(&segment, header);
        sealer.put(&segment, (header, LSN), &segment.header_seed(), &mut out, |out| out.extend_from_slice(body));
        (FrameHeader::verify(&out, &segment, LSN).unwrap(), out)
    }

    #[test]
    fn the_header_of_an_encrypted_segment_has_these_bytes_and_reads_back() {
        let bytes = segment().encode(STORE);
        assert_eq!(
            hex(&bytes[..104]),
            "4d494c4c5345470a0100000001000000070707070707070707070707070707070300000000100000efcdab8967452301\
             40420f000000000032303236000000000000000000000000b1bed1b6cdbd33a83dfeb5aae597dc88\
             e9027465e072af6b462d81f032de51b0"
        );
        assert!(bytes[104..4092].iter().all(|byte| *byte == 0));
        let read = |keys: &Keys| Segment::decode(&bytes, 1 << 16, (STORE, keys), SegmentId(3)).unwrap();
        assert_eq!(read(&keys()), segment());
        let said = |keys: &Keys| read(keys).key.unwrap().refused().map(|refused| refused.error().code());
        assert_eq!(said(&keys()), None);
        assert_eq!(said(&Keys::none()), Some("key-missing"));
        assert_eq!(said(&Keys::new(KeyId::new("2026").unwrap(), &[6; 32])), Some("key-wrong"));
    }

    #[test]
    fn an_encrypted_frame_has_these_bytes_and_is_read_at_its_own_place_only() {
        let (header, bytes) = put(b"hello");
        assert_eq!(
            hex(&bytes),
            "2500002000100000c01c60e85d942a5c4da12069f2f2c0b995fbd808bf8350656892cad0cc0c9e46c1ff6c3662ffde67\
             83d8eb064a"
        );
        assert_eq!((header.length, header.flags.has(Flags::ENCRYPTED)), (5 + SEALED, true));
        let stored = Bytes::copy_from_slice(&bytes[FRAME_HEADER as usize..]);
        assert!(header.fits(&stored));
        let frame = Frame::new(&segment(), LSN, header, stored.clone());
        assert_eq!((&frame.body[..], frame.flags, frame.is_altered()), (&b"hello"[..], Flags::NONE, false));
        let elsewhere = Lsn::new(SegmentId(3), Position(SEGMENT_HEADER));
        assert!(Frame::new(&segment(), elsewhere, header, stored.clone()).is_altered());
        let claims = FrameHeader { durable: Position(4097), ..header };
        assert!(Frame::new(&segment(), LSN, claims, stored.clone()).is_altered());
        let mut recycled = segment();
        let place = Place { store: STORE, id: SegmentId(3), salt: 1, base: Timestamp(1_000_000) };
        recycled.key = SegmentKey::fresh(&keys(), place, &SeededEntropy::new(1)).unwrap();
        assert!(Frame::new(&recycled, LSN, header, stored).is_altered());
    }

    #[test]
    fn no_bytes_are_a_frame_but_those_that_were_made_with_the_key() {
        let (header, bytes) = put(b"hello");
        let stored = &bytes[FRAME_HEADER as usize..];
        for at in 0..stored.len() {
            let mut hurt = stored.to_vec();
            hurt[at] ^= 1;
            let frame = Frame::new(&segment(), LSN, header, hurt.into());
            assert!(frame.is_altered() && frame.body.is_empty(), "byte {at}");
            let frame = Frame::new(&segment(), LSN, header, stored[..at].to_vec().into());
            assert!(frame.is_altered() && frame.body.is_empty(), "the first {at} bytes");
        }
    }

    #[test]
    fn without_more_random_bytes_those_before_serve_once_more() {
        #[derive(Debug)]
        struct Once(std::sync::atomic::AtomicBool);
        impl Entropy for Once {
            fn fill(&self, bytes: &mut [u8]) -> io::Result<()> {
                bytes.fill(9);
                let first = !self.0.swap(true, std::sync::atomic::Ordering::Relaxed);
                first.then_some(()).ok_or_else(|| io::Error::other("no more"))
            }
        }
        let entropy = Arc::new(Once(false.into()));
        assert_eq!(Nonces::begin(entropy.clone()).unwrap().next(), [9; RANDOM]);
        assert!(Nonces::begin(entropy).is_err());
    }
}
