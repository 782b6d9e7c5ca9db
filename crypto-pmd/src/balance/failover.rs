//! The first driver that is not blocked: the others stand by.

use super::{Load, next_open};

pub(super) fn choose(loads: &[Load]) -> usize {
    next_open(0, loads)
}
