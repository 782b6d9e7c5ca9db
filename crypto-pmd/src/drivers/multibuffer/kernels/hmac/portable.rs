//! The engines of any processor: the compression functions of the crates `sha1` and `sha2`, one block of one message at a time.

use super::streams::{BLOCK, Engine, State};

#[derive(Clone, Copy)]
pub(super) struct Sha1;

#[derive(Clone, Copy)]
pub(super) struct Sha256;

impl Engine for Sha1 {
    const STREAMS: usize = 1;
    const WORDS: usize = 5;

    fn compress(self, states: &mut [State], messages: &[&[[u8; BLOCK]]]) -> usize {
        let ([State(words)], [blocks]) = (states, messages) else { return 0 };
        let [a, b, c, d, e, ..] = *words;
        let mut state = [a, b, c, d, e];
        sha1::block_api::compress(&mut state, blocks);
        words[..5].copy_from_slice(&state);
        blocks.len()
    }
}

impl Engine for Sha256 {
    const STREAMS: usize = 1;
    const WORDS: usize = 8;

    fn compress(self, states: &mut [State], messages: &[&[[u8; BLOCK]]]) -> usize {
        let ([State(words)], [blocks]) = (states, messages) else { return 0 };
        sha2::block_api::compress256(words, blocks);
        blocks.len()
    }
}
