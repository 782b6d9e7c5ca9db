//! The engines of any processor: the compression functions of the crates `sha1` and `sha2`, one block of one message at a time.

use super::streams::{BLOCK, Digest, Engine, State, WIDE_BLOCK, WideState};

#[derive(Clone, Copy)]
pub(super) struct Sha1;

#[derive(Clone, Copy)]
pub(super) struct Sha256;

/// SHA-512, or with a digest of 48 bytes SHA-384.
#[derive(Clone, Copy)]
pub(super) struct Sha512<const LEN: usize>;

impl Engine<BLOCK, 32> for Sha1 {
    const LEN: usize = 20;
    type State = State;

    fn compress(self, states: &mut [State], messages: &[&[[u8; BLOCK]]]) -> usize {
        let ([State(words)], [blocks]) = (states, messages) else { return 0 };
        let [a, b, c, d, e, ..] = *words;
        let mut state = [a, b, c, d, e];
        sha1::block_api::compress(&mut state, blocks);
        words[..5].copy_from_slice(&state);
        blocks.len()
    }

    fn digest(self, state: &State, pad: &[u8; 32]) -> Digest<32> {
        digest(state, pad)
    }
}

impl Engine<BLOCK, 32> for Sha256 {
    const LEN: usize = 32;
    type State = State;

    fn compress(self, states: &mut [State], messages: &[&[[u8; BLOCK]]]) -> usize {
        let ([State(words)], [blocks]) = (states, messages) else { return 0 };
        sha2::block_api::compress256(words, blocks);
        blocks.len()
    }

    fn digest(self, state: &State, pad: &[u8; 32]) -> Digest<32> {
        digest(state, pad)
    }
}

impl<const LEN: usize> Engine<WIDE_BLOCK, 64> for Sha512<LEN> {
    const LEN: usize = LEN;
    type State = WideState;

    fn compress(self, states: &mut [WideState], messages: &[&[[u8; WIDE_BLOCK]]]) -> usize {
        let ([WideState(words)], [blocks]) = (states, messages) else { return 0 };
        sha2::block_api::compress512(words, blocks);
        blocks.len()
    }

    fn digest(self, state: &WideState, pad: &[u8; 64]) -> Digest<64> {
        let mut digest = Digest(*pad);
        for (to, word) in digest.0[..LEN].chunks_exact_mut(8).zip(state.0) {
            to.copy_from_slice(&word.to_be_bytes());
        }
        digest
    }
}

fn digest(state: &State, pad: &[u8; 32]) -> Digest<32> {
    let mut digest = Digest(*pad);
    for (to, word) in digest.0.chunks_exact_mut(4).zip(state.0) {
        to.iter_mut().zip(word.to_be_bytes()).for_each(|(to, byte)| *to |= byte);
    }
    digest
}
