//! AES with a key of any length, and what is made of it block by block: counter mode, and the chains of MACs.

use aes::cipher::consts::U16;
use aes::cipher::{
    Array, BlockCipherEncrypt, BlockSizeUser, InnerIvInit as _, KeyInit as _, StreamCipherCore as _,
};
use aes::{Aes128, Aes192, Aes256, Block};
use ctr::CtrCore;
use ctr::flavors::Ctr128BE;

use super::place::Place;

/// A key schedule.
pub(super) enum AesKey<P: Place> {
    Aes128(P::Of<Aes128>),
    Aes192(P::Of<Aes192>),
    Aes256(P::Of<Aes256>),
}

impl<P: Place> AesKey<P> {
    /// `None` for a key of another length than 16, 24 or 32 bytes.
    pub(super) fn new(key: &[u8]) -> Option<Self> {
        match key.len() {
            16 => Aes128::new_from_slice(key).ok().map(P::put).map(Self::Aes128),
            24 => Aes192::new_from_slice(key).ok().map(P::put).map(Self::Aes192),
            32 => Aes256::new_from_slice(key).ok().map(P::put).map(Self::Aes256),
            _ => None,
        }
    }

    /// Encrypts one block.
    pub(super) fn encrypt(&self, block: &mut Block) {
        match self {
            Self::Aes128(aes) => aes.encrypt_block(block),
            Self::Aes192(aes) => aes.encrypt_block(block),
            Self::Aes256(aes) => aes.encrypt_block(block),
        }
    }

    /// Counter mode from the block `iv` on, both ways; false (and no change) when that has not 16 bytes.
    pub(super) fn ctr(&self, iv: &[u8], data: &mut [u8]) -> bool {
        match self {
            Self::Aes128(aes) => ctr_with(&**aes, iv, data),
            Self::Aes192(aes) => ctr_with(&**aes, iv, data),
            Self::Aes256(aes) => ctr_with(&**aes, iv, data),
        }
    }
}

fn ctr_with<A>(aes: &A, iv: &[u8], data: &mut [u8]) -> bool
where
    A: BlockSizeUser<BlockSize = U16> + BlockCipherEncrypt,
{
    let Ok(iv) = <&Array<u8, U16>>::try_from(iv) else { return false };
    let core = CtrCore::<_, Ctr128BE>::inner_iv_init(aes, iv);
    core.try_apply_keystream_partial(data.into()).is_ok()
}

/// A chain of blocks, each the encryption of the one before with data added: what CBC-MAC and its kin are made of.
pub(super) struct BlockChain<'a, P: Place> {
    aes: &'a AesKey<P>,
    block: Block,
    filled: usize,
}

impl<'a, P: Place> BlockChain<'a, P> {
    pub(super) fn new(aes: &'a AesKey<P>) -> Self {
        Self { aes, block: Block::default(), filled: 0 }
    }

    /// Adds bytes; a block is encrypted as soon as it is full.
    pub(super) fn add(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            let (part, rest) = data.split_at(data.len().min(16 - self.filled));
            let free = self.block.iter_mut().skip(self.filled);
            free.zip(part).for_each(|(to, byte)| *to ^= byte);
            self.filled += part.len();
            if self.filled == 16 {
                self.pad();
            }
            data = rest;
        }
    }

    /// Fills a block that was begun with zeros.
    pub(super) fn pad(&mut self) {
        if self.filled > 0 {
            self.aes.encrypt(&mut self.block);
            self.filled = 0;
        }
    }

    /// The last block.
    pub(super) fn finish(mut self) -> Block {
        self.pad();
        self.block
    }
}
