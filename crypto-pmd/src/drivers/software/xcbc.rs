//! AES-XCBC-MAC of the software driver (RFC 3566).

use aes::Block;
use smallvec::SmallVec;
use zeroize::Zeroizing;

use super::aes_key::{AesKey, BlockChain};
use super::integrity::Input;
use super::place::Place;

/// The three keys that are made of one: for the chain, and for a last block that is whole or padded.
pub(super) struct Xcbc<P: Place> {
    chain: AesKey<P>,
    last: P::Of<Zeroizing<[[u8; 16]; 2]>>,
}

impl<P: Place> Xcbc<P> {
    /// `None` for a key of another length than 16 bytes.
    pub(super) fn new(key: &[u8]) -> Option<Self> {
        let aes = AesKey::<P>::new(key).filter(|_| key.len() == 16)?;
        let derived = |byte| {
            let mut block = Block::from([byte; 16]);
            aes.encrypt(&mut block);
            Zeroizing::new(<[u8; 16]>::from(block))
        };
        let chain = AesKey::new(&*derived(1))?;
        Some(Self { chain, last: P::put(Zeroizing::new([*derived(2), *derived(3)])) })
    }

    /// The tag over data and high half; the last block, of 1 to 16 bytes or none where there is none, is held back.
    pub(super) fn tag(&self, input: &Input<'_>) -> [u8; 16] {
        let total = input.data.len() + input.high.len();
        let mut before_last = total.saturating_sub(1) / 16 * 16;
        let mut chain = BlockChain::new(&self.chain);
        let mut last = SmallVec::<[u8; 32]>::new();
        for piece in [input.data, input.high] {
            let (front, back) = piece.split_at(piece.len().min(before_last));
            chain.add(front);
            last.extend_from_slice(back);
            before_last -= front.len();
        }
        let [whole, padded] = &**self.last;
        let key = if last.len() == 16 { whole } else { padded };
        if last.len() < 16 {
            last.push(0x80);
        }
        last.resize(16, 0);
        last.iter_mut().zip(key).for_each(|(to, byte)| *to ^= byte);
        chain.add(&last);
        chain.finish().into()
    }
}
