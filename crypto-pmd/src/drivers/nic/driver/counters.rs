//! What the driver did. Each queue pair counts for itself, on its core; whoever asks adds up.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// What a driver did, over all of its queue pairs.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct NicCounters {
            $($(#[$doc])* pub $name: u64,)+
        }

        /// Of one queue pair: written by its core only.
        #[derive(Debug, Default)]
        #[repr(align(64))]
        pub(super) struct OfQueue {
            $(pub(super) $name: Count,)+
        }

        impl NicCounters {
            pub(super) fn add(&mut self, queue: &OfQueue) {
                $(self.$name += queue.$name.get();)+
            }

            /// Each by name, those above zero.
            #[must_use]
            pub fn list(&self) -> Vec<(&'static str, u64)> {
                let all = [$((stringify!($name), self.$name),)+];
                all.into_iter().filter(|(_, count)| *count > 0).collect()
            }
        }
    };
}

counters! {
    /// Jobs that went to the card.
    submitted,
    /// Jobs that came back, however.
    finished,
    /// Doorbells rung.
    doorbells,
    /// Polls at which jobs were in flight, and how many in all: the mean depth is their ratio.
    polls,
    /// See `polls`.
    depth_sum,
    /// Jobs that the driver did itself because the card cannot.
    by_host,
    /// Jobs that the card refused or failed, and the driver did itself because they were untouched.
    refused,
    /// Tags that the card rejected and software found right.
    tags_mended,
    /// Packets copied for the card.
    copied,
    /// Doorbells rung again because nothing came back.
    nudges,
    /// Jobs that went to the card again after a reset.
    redriven,
    /// Jobs handed back for others to do.
    handed_back,
    /// Jobs whose packet may be half done.
    indeterminate,
    /// Completions that belonged to nothing any more.
    stale,
    /// Times that the card gave nothing back and was reset.
    watchdog_resets,
    /// Times that the card was found to be gone.
    removals,
    /// Times that it was found to be back.
    returns,
}

/// A counter with one writer.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    #[inline(always)]
    pub(super) fn add(&self, count: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(count), Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
