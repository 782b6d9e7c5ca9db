//! AES-CBC (NIST SP 800-38A section 6.2): encryption of many packets side by side, because each is serial in itself; decryption of one, whose
//! blocks do not depend on each other.
//!
//! Encryption takes the longest packets first. As many as the level has lanes run together until the shortest of them ends, then the next takes its
//! lane.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod chain;
#[cfg(target_arch = "x86_64")]
mod sse;
#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests;

use std::cmp::Reverse;

#[cfg(target_arch = "x86_64")]
pub(super) use chain::Chain;

use super::aes_key::{AesKey, RoundKeys};
use crate::drivers::multibuffer::Level;

/// Bytes of a block.
pub(in crate::drivers::multibuffer) const BLOCK: usize = 16;

/// One packet to encrypt, in place; its length is a multiple of the block.
pub(in crate::drivers::multibuffer) struct CbcLane<'a> {
    pub(in crate::drivers::multibuffer) key: &'a AesKey,
    pub(in crate::drivers::multibuffer) iv: [u8; BLOCK],
    pub(in crate::drivers::multibuffer) data: &'a mut [u8],
}

/// A packet in a lane: where its next block is, what that is chained to, how many blocks are left, and a number for whoever gave it.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "only kernels read it all"))]
pub(super) struct Slot<'a> {
    pub(super) at: *mut u8,
    pub(super) key: &'a RoundKeys,
    pub(super) chain: [u8; BLOCK],
    pub(super) left: usize,
    pub(super) number: usize,
}

/// Most lanes of any level.
#[cfg(target_arch = "x86_64")]
const LANES: usize = avx512::LANES;
/// Blocks that a lane without a packet has to work on.
#[cfg(target_arch = "x86_64")]
const IDLE: usize = 64;

/// Encrypts every lane's packet. The level is one that the processor has, and not the portable one.
pub(in crate::drivers::multibuffer) fn encrypt(level: Level, lanes: &mut [CbcLane<'_>]) {
    // Packets of one key size go together; the longest begin.
    lanes.sort_unstable_by_key(|lane| Reverse((lane.key.rounds(), lane.data.len())));
    for group in lanes.chunk_by_mut(|a, b| a.key.rounds() == b.key.rounds()) {
        let slots = group.iter_mut().map(|lane| Slot {
            at: lane.data.as_mut_ptr(),
            key: lane.key.enc(),
            chain: lane.iv,
            left: lane.data.len() / BLOCK,
            number: 0,
        });
        // SAFETY: every slot is a slice that this function borrows exclusively, with blocks as it has.
        unsafe { run::<true>(level, slots, |_| false) };
    }
}

/// Takes slots with keys of one size through their blocks, as many side by side as the level has lanes. With `STORE` the chain is written over
/// the blocks; without, they are only read. A slot whose blocks are done goes to `go_on`, which gives it others and says true, or takes
/// its chain and says false.
///
/// # Safety
/// So many blocks as a slot has left may be read from its place on, and with `STORE` are the caller's alone.
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn run<'a, const STORE: bool>(
    level: Level,
    mut next: impl Iterator<Item = Slot<'a>>,
    mut go_on: impl FnMut(&mut Slot<'a>) -> bool,
) {
    let width = match level {
        Level::Avx512 => avx512::LANES,
        Level::Avx2 => avx2::LANES,
        _ => sse::LANES,
    };
    let mut idle = [0_u8; IDLE * BLOCK];
    let Some(first) = next.next() else { return };
    let mut slots = [first; LANES];
    let mut busy = 1;
    loop {
        while busy < width
            && let Some(slot) = next.next()
        {
            slots[busy] = slot;
            busy += 1;
        }
        // What is left of lanes up to a width that there is works on bytes that nobody reads.
        let used = busy.next_power_of_two();
        let blocks = slots[..busy].iter().map(|slot| slot.left).min().unwrap_or(0);
        let blocks = if used > busy { blocks.min(IDLE) } else { blocks };
        slots[busy..used].fill(Slot { at: idle.as_mut_ptr(), ..first });
        // SAFETY: the level is one that the processor has; every lane has so many blocks left, as the caller promised,
        // or in `idle`, which only idle lanes write and nobody reads.
        unsafe {
            match level {
                Level::Avx512 => avx512::encrypt::<STORE>(&mut slots[..used], blocks),
                Level::Avx2 => avx2::encrypt::<STORE>(&mut slots[..used], blocks),
                _ => sse::encrypt::<STORE>(&mut slots[..used], blocks),
            }
        }
        let mut kept = 0;
        for index in 0..busy {
            let mut slot = slots[index];
            slot.left -= blocks;
            slot.at = slot.at.wrapping_add(blocks * BLOCK);
            if slot.left > 0 || go_on(&mut slot) {
                slots[kept] = slot;
                kept += 1;
            }
        }
        busy = kept;
        if busy == 0 {
            match next.next() {
                Some(slot) => (slots[0], busy) = (slot, 1),
                None => return,
            }
        }
    }
}

/// Encrypts one packet, which has no company. The level is one that the processor has, and not the portable one.
pub(in crate::drivers::multibuffer) fn encrypt_one(key: &AesKey, iv: &[u8; BLOCK], data: &mut [u8]) {
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (key, iv, data);
    #[cfg(target_arch = "x86_64")]
    // SAFETY: there is a key, so there is AES-NI; the blocks are `data`'s.
    unsafe {
        sse::encrypt_one(key, iv, data);
    }
}

/// There are no kernels for this processor, so there is no key that a lane could have.
///
/// # Safety
/// Always.
#[cfg(not(target_arch = "x86_64"))]
pub(super) unsafe fn run<'a, const STORE: bool>(
    _level: Level,
    _next: impl Iterator<Item = Slot<'a>>,
    _go_on: impl FnMut(&mut Slot<'a>) -> bool,
) {
}

/// Decrypts a packet in place; its length is a multiple of the block. The level is one that the processor has, and not the portable one.
pub(in crate::drivers::multibuffer) fn decrypt(
    level: Level,
    key: &AesKey,
    iv: &[u8; BLOCK],
    data: &mut [u8],
) {
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (level, key, iv, data);
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the level is one that the processor has.
    unsafe {
        match level {
            Level::Avx512 => avx512::decrypt(key, iv, data),
            Level::Avx2 => avx2::decrypt(key, iv, data),
            _ => sse::decrypt(key, iv, data),
        }
    }
}
