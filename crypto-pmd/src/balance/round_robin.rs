//! A burst to each driver in turn; one that is blocked loses its turn to the next.

use super::{Load, next_open};

pub(super) fn choose(turn: usize, loads: &[Load]) -> usize {
    next_open(turn, loads)
}
