//! The driver with the least to do; among equals the first.

use super::Load;

pub(super) fn choose(loads: &[Load]) -> usize {
    let least = loads.iter().enumerate().min_by_key(|(_, load)| (load.blocked, load.jobs));
    least.map_or(0, |(place, _)| place)
}
