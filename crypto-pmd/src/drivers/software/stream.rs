//! Stream ciphers of the software driver. Their state is made from the key for each operation.

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit as _, StreamCipher as _, StreamCipherSeek as _};

/// ChaCha20 both ways from an IV of block counter and nonce (RFC 8439 section 2.4); false (and no change) when that has
/// not 16 bytes, or the counter would wrap.
pub(super) fn chacha20(key: &[u8; 32], iv: &[u8], data: &mut [u8]) -> bool {
    let Some((counter, nonce)) = iv.split_first_chunk::<4>() else { return false };
    let Ok(nonce) = nonce.try_into() else { return false };
    let mut cipher = ChaCha20::new(key.into(), nonce);
    let start = u64::from(u32::from_le_bytes(*counter)) * 64;
    cipher.try_seek(start).is_ok() && cipher.try_apply_keystream(data).is_ok()
}

#[cfg(feature = "legacy")]
pub(super) use legacy::Arc4Key;

#[cfg(feature = "legacy")]
mod legacy {
    use rc4::cipher::{KeyInit as _, StreamCipher as _};
    use zeroize::Zeroizing;

    /// A key of ARC4, of 5 to 256 bytes.
    pub(in super::super) struct Arc4Key {
        bytes: Zeroizing<[u8; 256]>,
        len: usize,
    }

    impl Arc4Key {
        /// `None` for a key of another length.
        pub(in super::super) fn new(key: &[u8]) -> Option<Self> {
            let mut bytes = Zeroizing::new([0; 256]);
            bytes.get_mut(..key.len()).filter(|_| key.len() >= 5)?.copy_from_slice(key);
            Some(Self { bytes, len: key.len() })
        }

        /// Both ways from the begin of the key stream.
        pub(in super::super) fn run(&self, data: &mut [u8]) -> bool {
            let key = self.bytes.get(..self.len).unwrap_or_default();
            let cipher = rc4::Rc4::new_from_slice(key);
            cipher.is_ok_and(|mut cipher| cipher.try_apply_keystream(data).is_ok())
        }
    }
}
