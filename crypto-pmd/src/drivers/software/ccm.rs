//! AES-CCM of the software driver (RFC 3610), and its MAC alone. Own code over the block cipher, because the lengths of nonce
//! and tag are the session's, and the MAC is wanted by itself.

use aes::Block;
use subtle::ConstantTimeEq as _;

use crate::job::{Operation, Status};

use super::aes_key::{AesKey, BlockChain};
use super::place::Place;

/// Works on `data` in place and writes or checks `tag`. Nothing is changed unless it is done: text that was decrypted to be
/// checked is encrypted again when it does not match.
pub(super) fn run<P: Place>(
    aes: &AesKey<P>,
    operation: Operation,
    nonce: &[u8],
    aad: &[u8],
    data: &mut [u8],
    tag: &mut [u8],
) -> Status {
    let Some(counter) = counter_block(nonce, 1) else { return Status::BadRange };
    if !length_fits(nonce, data.len()) {
        return Status::TooLong;
    }
    if operation == Operation::Decrypt {
        aes.ctr(&counter, data);
    }
    let Some(made) = self::tag(aes, nonce, &[aad], data, tag.len()) else { return Status::BadRange };
    let made = made.get(..tag.len()).unwrap_or_default();
    match operation {
        Operation::Encrypt => {
            tag.copy_from_slice(made);
            aes.ctr(&counter, data);
        }
        Operation::Decrypt if bool::from(made.ct_eq(tag)) => {}
        Operation::Decrypt => {
            aes.ctr(&counter, data);
            return Status::IntegrityFailed;
        }
    }
    Status::Done
}

/// The tag over associated data in pieces and text, encrypted, before it is cut; `None` for a nonce or tag that CCM does not have.
pub(super) fn tag<P: Place>(
    aes: &AesKey<P>,
    nonce: &[u8],
    aad: &[&[u8]],
    text: &[u8],
    tag_len: usize,
) -> Option<[u8; 16]> {
    let aad_len: usize = aad.iter().map(|piece| piece.len()).sum();
    let mut chain = BlockChain::new(aes);
    chain.add(&first_block(nonce, aad_len > 0, text.len(), tag_len)?);
    if aad_len > 0 {
        add_length(&mut chain, aad_len);
        aad.iter().for_each(|piece| chain.add(piece));
        chain.pad();
    }
    chain.add(text);
    let mut mask = Block::from(counter_block(nonce, 0)?);
    aes.encrypt(&mut mask);
    Some((u128::from_ne_bytes(chain.finish().into()) ^ u128::from_ne_bytes(mask.into())).to_ne_bytes())
}

/// Bytes in which a text's length is told: what the nonce leaves of a block but one; `None` for a nonce that has not 7 to 13.
fn length_bytes(nonce: &[u8]) -> Option<usize> {
    (7..=13).contains(&nonce.len()).then(|| 15 - nonce.len())
}

fn length_fits(nonce: &[u8], len: usize) -> bool {
    length_bytes(nonce).is_some_and(|bytes| (len as u64).checked_shr(8 * bytes as u32).unwrap_or(0) == 0)
}

/// Flags, nonce and text length (RFC 3610 section 2.2).
fn first_block(nonce: &[u8], has_aad: bool, len: usize, tag_len: usize) -> Option<[u8; 16]> {
    let bytes = length_bytes(nonce)?;
    let half_tag = u8::try_from(tag_len).ok().filter(|len| (4..=16).contains(len) && len % 2 == 0)? / 2;
    let mut block = ((len as u128) & ((1 << (8 * bytes)) - 1)).to_be_bytes();
    let (flags, rest) = block.split_first_mut()?;
    *flags = u8::from(has_aad) << 6 | (half_tag - 1) << 3 | (bytes as u8 - 1);
    rest.get_mut(..nonce.len())?.copy_from_slice(nonce);
    Some(block)
}

/// Flags, nonce and counter (RFC 3610 section 2.3).
fn counter_block(nonce: &[u8], counter: u8) -> Option<[u8; 16]> {
    let bytes = length_bytes(nonce)?;
    let mut block = u128::from(counter).to_be_bytes();
    let (flags, rest) = block.split_first_mut()?;
    *flags = bytes as u8 - 1;
    rest.get_mut(..nonce.len())?.copy_from_slice(nonce);
    Some(block)
}

/// The length of associated data in front of them.
fn add_length<P: Place>(chain: &mut BlockChain<'_, P>, len: usize) {
    match u16::try_from(len) {
        Ok(short) if short < 0xff00 => chain.add(&short.to_be_bytes()),
        _ => {
            chain.add(&[0xff, 0xfe]);
            // Packets are shorter than what 32 bits can tell.
            chain.add(&(len as u32).to_be_bytes());
        }
    }
}
