//! A cache from flow key to verdict, so that most packets need no policy lookup. One per core, never shared.
//!
//! Two-way: a flow can be in two places, beside each other (IPv4: one cache line; IPv6: two). Invariant: a verdict is
//! given only for an equal key and the epoch in which it was put in, so raising the epoch empties the cache at once.
//! Nothing is allocated after construction. What a verdict means is the caller's business; so is the hash, which must
//! come from the same seed each time.

/// Largest cache, in flows.
pub const LARGEST: usize = 1 << 24;

const WAYS: usize = 2;

/// One remembered flow: 32 bytes for IPv4, 64 for IPv6.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(32))]
struct Entry<K> {
    key: K,
    /// 0 for an entry that was never filled: no epoch is 0.
    epoch: u64,
    verdict: u32,
    /// Asked for since its neighbour was last put in.
    is_recent: bool,
}

/// The places that a flow can be in, aligned to a cache line; to be prefetched before they are asked.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
pub struct Set<K> {
    ways: [Entry<K>; WAYS],
}

const _: () = {
    use crate::flow_key::{V4Key, V6Key};
    assert!(size_of::<Entry<V4Key>>() == 32 && size_of::<Set<V4Key>>() == 64);
    assert!(size_of::<Entry<V6Key>>() == 64 && size_of::<Set<V6Key>>() == 128);
};

/// A cache from keys to verdicts.
///
/// ```
/// use ipsec_esp::flow_cache::FlowCache;
/// use ipsec_esp::flow_key::{Upper, V4Key};
///
/// let mut cache = FlowCache::with_capacity(1024);
/// let key = V4Key::new([10, 0, 1, 1].into(), [10, 0, 2, 1].into(), Upper::with_ports(17, 1, 2));
/// let hash = key.hash(0x5eed);
/// cache.insert(key, hash, 1, 42);
/// assert_eq!(cache.lookup(&key, hash, 1), Some(42));
/// assert_eq!(cache.lookup(&key, hash, 2), None);
/// ```
#[derive(Clone, Debug)]
pub struct FlowCache<K> {
    /// A power of two of sets, at least one.
    sets: Box<[Set<K>]>,
    /// Their number, less one.
    mask: usize,
}

impl<K: Copy + Default + Eq> FlowCache<K> {
    /// A cache for so many flows, rounded up to a power of two and down to [`LARGEST`].
    #[must_use]
    pub fn with_capacity(flows: usize) -> Self {
        let sets = flows.clamp(WAYS, LARGEST).next_power_of_two() / WAYS;
        Self { sets: vec![Set::default(); sets].into_boxed_slice(), mask: sets - 1 }
    }

    /// How many flows fit.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.sets.len() * WAYS
    }

    /// Where flows of this hash are, for a prefetch ahead of [`FlowCache::lookup`].
    #[inline]
    #[must_use]
    pub fn set_of(&self, hash: u64) -> &Set<K> {
        &self.sets[self.index(hash)]
    }

    /// The verdict put in for this key in this epoch; none in epoch 0.
    #[inline(always)]
    #[must_use]
    pub fn lookup(&mut self, key: &K, hash: u64, epoch: u64) -> Option<u32> {
        if epoch == 0 {
            return None;
        }
        let index = self.index(hash);
        let [first, second] = &mut self.sets[index].ways;
        let is_it = |entry: &Entry<K>| entry.key == *key && entry.epoch == epoch;
        let entry = if is_it(first) {
            first
        } else if is_it(second) {
            second
        } else {
            return None;
        };
        // Written only when it changes: a flow that goes on must not dirty its line with every packet.
        if !entry.is_recent {
            entry.is_recent = true;
        }
        Some(entry.verdict)
    }

    /// Remembers a verdict. Where both places are taken, the flow that was not asked for since goes. Epoch 0 is none:
    /// nothing is remembered for it.
    pub fn insert(&mut self, key: K, hash: u64, epoch: u64, verdict: u32) {
        if epoch == 0 {
            return;
        }
        let index = self.index(hash);
        let set = &mut self.sets[index];
        let way = set.place_for(&key, epoch);
        for entry in &mut set.ways {
            entry.is_recent = false;
        }
        if let Some(entry) = set.ways.get_mut(way) {
            *entry = Entry { key, epoch, verdict, is_recent: false };
        }
    }

    #[inline(always)]
    fn index(&self, hash: u64) -> usize {
        hash as usize & self.mask
    }
}

impl<K: Copy + Eq> Set<K> {
    /// The key's own place, else a stale one, else one that was not asked for of late, else the first.
    fn place_for(&self, key: &K, epoch: u64) -> usize {
        let is_own = |entry: &Entry<K>| entry.key == *key && entry.epoch != 0;
        self.position(is_own)
            .or_else(|| self.position(|entry| entry.epoch != epoch))
            .or_else(|| self.position(|entry| !entry.is_recent))
            .unwrap_or(0)
    }

    fn position(&self, predicate: impl Fn(&Entry<K>) -> bool) -> Option<usize> {
        self.ways.iter().position(predicate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow_key::{Upper, V4Key, V6Key};
    use proptest::prelude::*;
    use std::collections::HashMap;

    const SEED: u64 = 0x0123_4567_89ab_cdef;

    #[test]
    fn capacity_is_rounded_up_and_bounded() {
        for (asked, got) in [(0, 2), (1, 2), (2, 2), (3, 4), (1000, 1024)] {
            assert_eq!(FlowCache::<V4Key>::with_capacity(asked).capacity(), got);
        }
    }

    #[test]
    fn a_cache_that_was_never_filled_has_nothing_not_even_the_zero_key_in_epoch_zero() {
        let mut cache = FlowCache::<V4Key>::with_capacity(2);
        assert_eq!(cache.lookup(&V4Key::default(), 0, 1), None);
        assert_eq!(cache.lookup(&V4Key::default(), 0, 0), None);
        cache.insert(V4Key::default(), 0, 0, 5);
        assert_eq!(cache.lookup(&V4Key::default(), 0, 0), None);
        assert_eq!(cache.lookup(&V4Key::default(), 0, 1), None);
    }

    #[test]
    fn two_flows_of_one_hash_live_together_and_the_third_takes_the_place_of_the_idle_one() {
        let mut cache = FlowCache::<u64>::with_capacity(2);
        cache.insert(1, 0, 1, 10);
        cache.insert(2, 0, 1, 20);
        assert_eq!((cache.lookup(&1, 0, 1), cache.lookup(&2, 0, 1)), (Some(10), Some(20)));
        cache.insert(3, 0, 1, 30);
        assert_eq!(cache.lookup(&3, 0, 1), Some(30));
        let survivor = if cache.lookup(&1, 0, 1).is_some() { 1 } else { 2 };
        assert!(cache.lookup(&survivor, 0, 1).is_some());

        cache.insert(4, 0, 1, 40);
        assert_eq!(cache.lookup(&4, 0, 1), Some(40));
        let mut cache = FlowCache::<u64>::with_capacity(2);
        cache.insert(1, 0, 1, 10);
        cache.insert(2, 0, 1, 20);
        assert_eq!(cache.lookup(&1, 0, 1), Some(10));
        cache.insert(3, 0, 1, 30);
        assert_eq!((cache.lookup(&1, 0, 1), cache.lookup(&2, 0, 1)), (Some(10), None));
    }

    #[test]
    fn stale_flows_go_first_and_a_new_verdict_replaces_the_old_one_of_its_flow() {
        let mut cache = FlowCache::<u64>::with_capacity(2);
        cache.insert(1, 0, 1, 10);
        cache.insert(2, 0, 2, 20);
        cache.insert(3, 0, 2, 30);
        assert_eq!((cache.lookup(&2, 0, 2), cache.lookup(&3, 0, 2)), (Some(20), Some(30)));
        cache.insert(2, 0, 2, 21);
        assert_eq!((cache.lookup(&2, 0, 2), cache.lookup(&3, 0, 2)), (Some(21), Some(30)));
    }

    #[test]
    fn a_set_is_found_by_the_same_hash_and_starts_on_a_cache_line() {
        let cache = FlowCache::<V6Key>::with_capacity(64);
        let key = V6Key::new(1.into(), 2.into(), Upper::opaque(50));
        let set: *const _ = cache.set_of(key.hash(SEED));
        assert_eq!(set as usize % 64, 0);
        assert!(std::ptr::eq(set, cache.set_of(key.hash(SEED))));
    }

    proptest! {
        /// The cache may forget, but what it says is what was last put in for that key and epoch.
        #[test]
        fn what_it_says_is_what_was_put_in_last(
            steps in proptest::collection::vec((0_u16..40, 1_u64..4, any::<Option<u32>>()), 1..300), capacity in 0_usize..64,
        ) {
            let mut cache = FlowCache::with_capacity(capacity);
            let mut model = HashMap::new();
            for (flow, epoch, put) in steps {
                let key = V4Key::new(u32::from(flow).into(), 9.into(), Upper::with_ports(6, flow, 80));
                let hash = key.hash(SEED);
                if let Some(verdict) = put {
                    cache.insert(key, hash, epoch, verdict);
                    model.insert((flow, epoch), verdict);
                    prop_assert_eq!(cache.lookup(&key, hash, epoch), Some(verdict), "just put in");
                } else if let Some(verdict) = cache.lookup(&key, hash, epoch) {
                    prop_assert_eq!(Some(&verdict), model.get(&(flow, epoch)));
                }
            }
        }
    }
}
