//! GMAC of the software driver: GCM in which all data are associated (NIST SP 800-38D, RFC 4543).

use aes::Block;
use ghash::GHash;
use ghash::universal_hash::UniversalHash as _;

use super::aes_key::AesKey;
use super::integrity::Input;
use super::place::Place;

/// A key schedule with its hash key.
pub(super) struct Gmac<P: Place> {
    aes: AesKey<P>,
    hash: P::Of<GHash>,
}

impl<P: Place> Gmac<P> {
    /// `None` for a key of another length than 16, 24 or 32 bytes.
    pub(super) fn new(key: &[u8]) -> Option<Self> {
        let aes = AesKey::new(key)?;
        let mut hash_key = Block::default();
        aes.encrypt(&mut hash_key);
        let hash = P::put(GHash::new(&hash_key));
        zeroize::Zeroize::zeroize(hash_key.as_mut_slice());
        Some(Self { aes, hash })
    }

    /// The tag; `None` unless the nonce has 12 bytes.
    pub(super) fn tag(&self, input: &Input<'_>) -> Option<[u8; 16]> {
        let mut mask = Block::default();
        let (front, counter) = mask.split_first_chunk_mut::<12>()?;
        *front = input.nonce.try_into().ok()?;
        counter.copy_from_slice(&1_u32.to_be_bytes());
        self.aes.encrypt(&mut mask);
        let tag: [u8; 16] = self.hash_of(input).into();
        Some((u128::from_ne_bytes(tag) ^ u128::from_ne_bytes(mask.into())).to_ne_bytes())
    }

    /// Only the end of the data may be padded, so the high half's block is put together first.
    fn hash_of(&self, input: &Input<'_>) -> Block {
        let [spi, high, rest] = input.as_associated_data();
        let bits = (spi.len() + high.len() + rest.len()) as u64 * 8;
        let mut hash = (*self.hash).clone();
        let mut rest = rest;
        if !high.is_empty() {
            let (head, behind) = rest.split_at(rest.len().min(8));
            let mut front = [0; 16];
            let bytes = spi.iter().chain(high).chain(head);
            front.iter_mut().zip(bytes).for_each(|(to, byte)| *to = *byte);
            hash.update(&[front.into()]);
            rest = behind;
        }
        hash.update_padded(rest);
        let mut lengths = Block::default();
        lengths.iter_mut().zip(bits.to_be_bytes()).for_each(|(to, byte)| *to = byte);
        hash.update(&[lengths]);
        hash.finalize()
    }
}
