//! Every hash of the software driver, keyed or not, behind one type. What depends on the key alone is computed when the session
//! is opened; a packet starts from a copy.

use cmac::Cmac;
use hmac::{Hmac, KeyInit as _, Mac};
use poly1305::Poly1305;
use ripemd::Ripemd160;
use sha1::Sha1;
use sha2::{Sha224, Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::algorithm::{DigestAlgorithm, IntegrityAlgorithm};
use crate::job::Operation;

use super::aes_key::AesKey;
use super::ccm;
use super::digest;
use super::gmac::Gmac;
#[cfg(feature = "legacy")]
use super::kpdk::Kpdk;
use super::place::{Heap, Place};
use super::xcbc::Xcbc;

/// A hash and its tag's length.
pub(super) struct Integrity<P: Place = Heap> {
    state: State<P>,
    tag_len: usize,
}

enum State<P: Place> {
    Null,
    HmacSha1(P::Of<Hmac<Sha1>>),
    HmacSha224(P::Of<Hmac<Sha224>>),
    HmacSha256(P::Of<Hmac<Sha256>>),
    HmacSha384(P::Of<Hmac<Sha384>>),
    HmacSha512(P::Of<Hmac<Sha512>>),
    HmacRipemd160(P::Of<Hmac<Ripemd160>>),
    Gmac(Gmac<P>),
    CbcMac(AesKey<P>),
    Poly1305(P::Of<Zeroizing<[u8; 32]>>),
    Cmac128(P::Of<Cmac<aes::Aes128>>),
    Cmac192(P::Of<Cmac<aes::Aes192>>),
    Cmac256(P::Of<Cmac<aes::Aes256>>),
    Xcbc(Xcbc<P>),
    Digest(DigestAlgorithm),
    #[cfg(feature = "legacy")]
    HmacMd5(P::Of<Hmac<md5::Md5>>),
    #[cfg(feature = "legacy")]
    KpdkMd5(P::Of<Kpdk<md5::Md5>>),
    #[cfg(feature = "legacy")]
    KpdkSha1(P::Of<Kpdk<Sha1>>),
}

/// What is hashed.
pub(super) struct Input<'a> {
    /// For those that take one.
    pub(super) nonce: &'a [u8],
    pub(super) data: &'a [u8],
    /// High half of an extended sequence number, or nothing.
    pub(super) high: &'a [u8],
}

impl<'a> Input<'a> {
    /// The high half where an AEAD has it, behind the SPI (RFC 4543 section 3.3).
    pub(super) fn as_associated_data(&self) -> [&'a [u8]; 3] {
        let (spi, rest) = self.data.split_at(if self.high.is_empty() { 0 } else { self.data.len().min(4) });
        [spi, self.high, rest]
    }
}

impl<P: Place> Integrity<P> {
    /// `None` for a key that the algorithm does not take, or an algorithm that was not built.
    pub(super) fn new(algorithm: IntegrityAlgorithm, key: &[u8], tag_len: usize) -> Option<Self> {
        let state = match algorithm {
            IntegrityAlgorithm::Null => State::Null,
            IntegrityAlgorithm::HmacSha1 => State::HmacSha1(mac::<P, _>(key)?),
            IntegrityAlgorithm::HmacSha224 => State::HmacSha224(mac::<P, _>(key)?),
            IntegrityAlgorithm::HmacSha256 => State::HmacSha256(mac::<P, _>(key)?),
            IntegrityAlgorithm::HmacSha384 => State::HmacSha384(mac::<P, _>(key)?),
            IntegrityAlgorithm::HmacSha512 => State::HmacSha512(mac::<P, _>(key)?),
            IntegrityAlgorithm::HmacRipemd160 => State::HmacRipemd160(mac::<P, _>(key)?),
            IntegrityAlgorithm::AesGmac => State::Gmac(Gmac::new(key)?),
            IntegrityAlgorithm::AesCbcMac => State::CbcMac(AesKey::new(key)?),
            IntegrityAlgorithm::Poly1305 => State::Poly1305(P::put(Zeroizing::new(key.try_into().ok()?))),
            IntegrityAlgorithm::AesCmac => cmac(key)?,
            IntegrityAlgorithm::AesXcbcMac => State::Xcbc(Xcbc::new(key)?),
            _ => legacy(algorithm, key)?,
        };
        let keyless = matches!(state, State::Null) && !key.is_empty();
        (!keyless).then_some(Self { state, tag_len })
    }

    /// A hash without a key; `None` when it was not built.
    pub(super) fn digest(algorithm: DigestAlgorithm, digest_len: usize) -> Option<Self> {
        let built = cfg!(feature = "legacy") || !algorithm.is_legacy();
        built.then_some(Self { state: State::Digest(algorithm), tag_len: digest_len })
    }

    #[inline]
    pub(super) fn tag_len(&self) -> usize {
        self.tag_len
    }

    /// Writes or checks `tag`; true when written or matching.
    #[inline(always)]
    pub(super) fn run(&self, operation: Operation, input: &Input<'_>, tag: &mut [u8]) -> bool {
        match &self.state {
            State::HmacSha1(mac) => finish(&**mac, operation, input, tag),
            State::HmacSha224(mac) => finish(&**mac, operation, input, tag),
            State::HmacSha256(mac) => finish(&**mac, operation, input, tag),
            State::HmacSha384(mac) => finish(&**mac, operation, input, tag),
            State::HmacSha512(mac) => finish(&**mac, operation, input, tag),
            State::HmacRipemd160(mac) => finish(&**mac, operation, input, tag),
            State::Cmac128(mac) => finish(&**mac, operation, input, tag),
            State::Cmac192(mac) => finish(&**mac, operation, input, tag),
            State::Cmac256(mac) => finish(&**mac, operation, input, tag),
            #[cfg(feature = "legacy")]
            State::HmacMd5(mac) => finish(&**mac, operation, input, tag),
            other => self.run_other(other, operation, input, tag),
        }
    }

    fn run_other(&self, state: &State<P>, operation: Operation, input: &Input<'_>, tag: &mut [u8]) -> bool {
        let block = match state {
            State::Gmac(gmac) => gmac.tag(input),
            State::CbcMac(aes) => ccm::tag(aes, input.nonce, &input.as_associated_data(), &[], tag.len()),
            State::Poly1305(key) => Some(poly1305(key, input)),
            State::Xcbc(xcbc) => Some(xcbc.tag(input)),
            State::Digest(algorithm) => return digest::run(*algorithm, operation, input, tag),
            #[cfg(feature = "legacy")]
            State::KpdkMd5(state) => return state.run(operation, input, tag),
            #[cfg(feature = "legacy")]
            State::KpdkSha1(state) => return state.run(operation, input, tag),
            // The NULL algorithm; every other has been seen to.
            _ => Some([0; 16]),
        };
        block.is_some_and(|block| settle(&block, operation, tag))
    }
}

fn mac<P: Place, M: hmac::KeyInit + 'static>(key: &[u8]) -> Option<P::Of<M>> {
    M::new_from_slice(key).ok().map(P::put)
}

fn cmac<P: Place>(key: &[u8]) -> Option<State<P>> {
    match key.len() {
        16 => mac::<P, _>(key).map(State::Cmac128),
        24 => mac::<P, _>(key).map(State::Cmac192),
        32 => mac::<P, _>(key).map(State::Cmac256),
        _ => None,
    }
}

#[cfg(feature = "legacy")]
fn legacy<P: Place>(algorithm: IntegrityAlgorithm, key: &[u8]) -> Option<State<P>> {
    match algorithm {
        IntegrityAlgorithm::HmacMd5 => mac::<P, _>(key).map(State::HmacMd5),
        IntegrityAlgorithm::KpdkMd5 => Kpdk::new(key, u64::to_le_bytes).map(P::put).map(State::KpdkMd5),
        IntegrityAlgorithm::KpdkSha1 => Kpdk::new(key, u64::to_be_bytes).map(P::put).map(State::KpdkSha1),
        _ => None,
    }
}

#[cfg(not(feature = "legacy"))]
fn legacy<P: Place>(_algorithm: IntegrityAlgorithm, _key: &[u8]) -> Option<State<P>> {
    None
}

/// One copy for sessions and for keys of one request: what it calls is then called from one place, and inlined.
#[inline(never)]
fn finish<M: Mac + Clone>(mac: &M, operation: Operation, input: &Input<'_>, tag: &mut [u8]) -> bool {
    let whole = mac.clone().chain_update(input.data).chain_update(input.high).finalize().into_bytes();
    settle(&whole, operation, tag)
}

/// Writes the front of a hash to `tag`, or compares it; false also for a tag longer than the hash.
#[inline(always)]
pub(super) fn settle(whole: &[u8], operation: Operation, tag: &mut [u8]) -> bool {
    let Some(expected) = whole.get(..tag.len()) else { return false };
    match operation {
        Operation::Encrypt => tag.copy_from_slice(expected),
        Operation::Decrypt => return tag.ct_eq(expected).into(),
    }
    true
}

/// Data that begin with the high half follow in one piece, so the few bytes in front of a block's end are moved.
fn poly1305(key: &[u8; 32], input: &Input<'_>) -> [u8; 16] {
    use poly1305::universal_hash::UniversalHash as _;
    let mut state = Poly1305::new(key.into());
    let whole = input.data.len() - input.data.len() % 16;
    let (blocks, rest) = input.data.split_at(whole);
    state.update_padded(blocks);
    let mut tail = smallvec::SmallVec::<[u8; 32]>::from_slice(rest);
    tail.extend_from_slice(input.high);
    state.compute_unpadded(&tail).into()
}

impl<P: Place> std::fmt::Debug for Integrity<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Integrity(tag {}, [redacted])", self.tag_len)
    }
}
