//! What a card did, and what went wrong with it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::fault::Fault;

/// What a card did; written by its engine, read by whoever asks.
#[derive(Debug, Default)]
pub(in crate::drivers::nic) struct Counters {
    pub(super) doorbells: AtomicU64,
    pub(super) commands: AtomicU64,
    pub(super) completions: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) resets: AtomicU64,
    faults: [AtomicU64; Fault::ALL.len()],
}

impl Counters {
    pub(super) fn struck(&self, fault: Fault) {
        if let Some(count) = self.faults.get(fault as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn list(&self) -> Vec<(&'static str, u64)> {
        let plain = [
            ("doorbells", &self.doorbells),
            ("commands", &self.commands),
            ("completions", &self.completions),
            ("bytes", &self.bytes),
            ("resets", &self.resets),
        ];
        let faults = Fault::ALL.iter().zip(&self.faults).map(|(fault, count)| (fault.name(), count));
        let all = plain.into_iter().chain(faults.filter(|(_, count)| count.load(Ordering::Relaxed) > 0));
        all.map(|(name, count)| (name, count.load(Ordering::Relaxed))).collect()
    }
}
