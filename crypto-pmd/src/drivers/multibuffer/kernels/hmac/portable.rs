//! The engines of any processor: the compression functions of the crates `sha1` and `sha2`, one block of one message at a time.

use super::streams::{BLOCK, Digest, Engine, State};

#[derive(Clone, Copy)]
pub(super) struct Sha1;

#[derive(Clone, Copy)]
pub(super) struct Sha256;

impl Engine for Sha1 {
    const WORDS: usize = 5;

    fn compress(self, states: &mut [State], messages: &[&[[u8; BLOCK]]]) -> usize {
        let ([State(words)], [blocks]) = (states, messages) else { return 0 };
        let [a, b, c, d, e, ..] = *words;
        let mut state = [a, b, c, d, e];
        sha1::block_api::compress(&mut state, blocks);
        words[..5].copy_from_slice(&state);
        blocks.len()
    }

    fn digest(self, state: &State, pad: &[u8; 32]) -> Digest {
        digest(state, pad)
    }
}

impl Engine for Sha256 {
    const WORDS: usize = 8;

    fn compress(self, states: &mut [State], messages: &[&[[u8; BLOCK]]]) -> usize {
        let ([State(words)], [blocks]) = (states, messages) else { return 0 };
        sha2::block_api::compress256(words, blocks);
        blocks.len()
    }

    fn digest(self, state: &State, pad: &[u8; 32]) -> Digest {
        digest(state, pad)
    }
}

fn digest(state: &State, pad: &[u8; 32]) -> Digest {
    let mut digest = Digest(*pad);
    for (to, word) in digest.0.chunks_exact_mut(4).zip(state.0) {
        to.iter_mut().zip(word.to_be_bytes()).for_each(|(to, byte)| *to |= byte);
    }
    digest
}
