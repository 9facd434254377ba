//! The cipher: XChaCha20-Poly1305 of the RustCrypto project, and nothing of our own. No other file names that library.

#[cfg(feature = "encrypt")]
use chacha20poly1305::{AeadInOut, KeyInit, XChaCha20Poly1305, XNonce};
#[cfg(feature = "encrypt")]
use std::sync::Arc;

/// Bytes of a nonce.
pub(crate) const NONCE: usize = 24;
/// Bytes of a tag.
pub(crate) const TAG: usize = 16;

/// A key, ready to be used. The library overwrites it with zeros when the last clone goes.
#[derive(Clone)]
pub(crate) struct Cipher {
    #[cfg(feature = "encrypt")]
    key: Arc<XChaCha20Poly1305>,
}

impl std::fmt::Debug for Cipher {
    /// Keys stay out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cipher")
    }
}

impl Cipher {
    #[cfg(feature = "encrypt")]
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self { key: Arc::new(XChaCha20Poly1305::new(key.into())) }
    }

    /// A build without the feature takes no key: see [`Keys::check`](super::Keys::check).
    #[cfg(not(feature = "encrypt"))]
    pub(super) fn new(_: &[u8; 32]) -> Self {
        Self {}
    }

    /// Encrypts `body` where it stands, and gives the tag over it and `beside`. Nothing, and zeros in the place of
    /// `body`, if that is longer than the cipher can take, which is 256 GiB.
    #[cfg(feature = "encrypt")]
    pub(crate) fn encrypt(&self, nonce: &[u8; NONCE], beside: &[u8], body: &mut [u8]) -> Option<[u8; TAG]> {
        match self.key.encrypt_inout_detached(&XNonce::from(*nonce), beside, (&mut *body).into()) {
            Ok(tag) => Some(tag.into()),
            Err(_) => {
                body.fill(0);
                None
            }
        }
    }

    #[cfg(not(feature = "encrypt"))]
    pub(crate) fn encrypt(&self, _: &[u8; NONCE], _: &[u8], body: &mut [u8]) -> Option<[u8; TAG]> {
        body.fill(0);
        None
    }

    /// Decrypts `body` where it stands; false if it, `beside` or the nonce is not what `tag` was made for, and then
    /// `body` is of no use.
    #[cfg(feature = "encrypt")]
    pub(crate) fn decrypt(&self, nonce: &[u8; NONCE], beside: &[u8], body: &mut [u8], tag: &[u8; TAG]) -> bool {
        self.key.decrypt_inout_detached(&XNonce::from(*nonce), beside, body.into(), tag.into()).is_ok()
    }

    #[cfg(not(feature = "encrypt"))]
    pub(crate) fn decrypt(&self, _: &[u8; NONCE], _: &[u8], _: &mut [u8], _: &[u8; TAG]) -> bool {
        false
    }
}

#[cfg(test)]
#[cfg(feature = "encrypt")]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_cipher_of_the_draft() {
        // draft-irtf-cfrg-xchacha-03, A.3.1.
        let key: [u8; 32] = std::array::from_fn(|at| 0x80 + u8::try_from(at).unwrap());
        let nonce: [u8; 24] = std::array::from_fn(|at| 0x40 + u8::try_from(at).unwrap());
        let beside = [0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7];
        let plain = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
            sunscreen would be it.";
        let cipher = Cipher::new(&key);
        let mut body = plain.to_vec();
        let tag = cipher.encrypt(&nonce, &beside, &mut body).unwrap();
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert!(hex(&body).starts_with("bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb"));
        assert_eq!(hex(&tag), "c0875924c1c7987947deafd8780acf49");
        assert!(cipher.decrypt(&nonce, &beside, &mut body, &tag));
        assert_eq!(body, plain);
        assert!(!cipher.decrypt(&nonce, b"", &mut body, &tag));
    }
}
