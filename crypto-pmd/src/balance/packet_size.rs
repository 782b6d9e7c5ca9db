//! Short packets to some drivers, long ones to the others, since what is fast for the one may be slow for the other. Within each half in
//! turn; when a half takes nothing, the other one does.

use super::{Load, next_open};

pub(super) fn choose(is_short: bool, turn: usize, loads: &[Load]) -> usize {
    let middle = loads.len().div_ceil(2);
    let (short, long) = loads.split_at_checked(middle).unwrap_or((loads, &[]));
    let (half, first) = if is_short || long.is_empty() { (short, 0) } else { (long, middle) };
    match half.iter().all(|load| load.blocked) {
        false => first + next_open(turn, half),
        true => next_open(first, loads),
    }
}
