//! A number for every thread that touches pools, so that each has a stack of free buffers of its own.
//!
//! Invariant: no two live threads have the same slot. A thread gives its slot back when it ends; the next owner sees
//! everything that the last one did to its stacks.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// Threads that can have a slot at one time, and so a stack of free buffers in every pool.
pub(crate) const MAX_SLOTS: usize = 64;

const NO_SLOT: usize = usize::MAX;
const UNSET: usize = usize::MAX - 1;

static TAKEN: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static SLOT: Cell<usize> = const { Cell::new(UNSET) };
    static GUARD: SlotGuard = const { SlotGuard };
}

/// Gives the thread's slot back when the thread ends.
struct SlotGuard;

impl Drop for SlotGuard {
    fn drop(&mut self) {
        let slot = SLOT.replace(NO_SLOT);
        if slot < MAX_SLOTS {
            // Release: the next owner of the slot sees this thread's last changes to its stacks.
            TAKEN.fetch_and(!(1 << slot), Ordering::Release);
        }
    }
}

/// This thread's slot, below [`MAX_SLOTS`]; anything else means that it has none.
#[inline(always)]
pub(crate) fn current() -> usize {
    let slot = SLOT.get();
    if slot == UNSET { claim_slot() } else { slot }
}

#[cold]
fn claim_slot() -> usize {
    // Without a guard the slot would never come back, so a thread in its last breath gets none.
    if GUARD.try_with(|_| ()).is_err() {
        SLOT.set(NO_SLOT);
        return NO_SLOT;
    }
    let mut taken = TAKEN.load(Ordering::Relaxed);
    loop {
        let slot = taken.trailing_ones();
        if slot >= MAX_SLOTS as u32 {
            SLOT.set(NO_SLOT);
            return NO_SLOT;
        }
        match TAKEN.compare_exchange_weak(taken, taken | 1 << slot, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => {
                SLOT.set(slot as usize);
                return slot as usize;
            }
            Err(now) => taken = now,
        }
    }
}

/// Makes the calling thread one of those that came when all slots were taken; it must not have touched a pool before.
#[cfg(test)]
pub(crate) fn go_without() {
    assert_eq!(SLOT.replace(NO_SLOT), UNSET, "the thread has a slot");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_threads_have_different_slots_and_dead_ones_give_theirs_back() {
        let mine = current();
        let theirs = std::thread::spawn(current).join().unwrap();
        assert_ne!(mine, theirs);
        let slots: Vec<_> = (0..1000).map(|_| std::thread::spawn(current).join().unwrap()).collect();
        assert!(slots.iter().all(|&slot| slot < MAX_SLOTS));
    }
}
