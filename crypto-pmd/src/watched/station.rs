//! Where a thread writes down that it is inside a driver, and a watch reads it.
//!
//! A station has one writer at a time. Entries are numbered, so that a reader that finds the same number twice knows that the thread was in
//! that entry all the while in between.

#![allow(
    clippy::disallowed_types,
    reason = "the list of queues belongs to control code; entries take no lock"
)]

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::{EntryPoint, thread};

/// Bits for the entry point, beneath the number of the entry; zero is outside.
const ENTRY_BITS: u32 = 8;

/// Control functions that can be watched at once; what exceeds them is not watched.
const CONTROL: usize = 16;

/// An entry of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Visit {
    pub(super) number: u64,
    pub(super) entry: EntryPoint,
    pub(super) thread: u32,
}

/// Of one queue, or of one control function under way. A line of its own: nobody else's stores slow it down.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Station {
    thread: AtomicU32,
    word: AtomicU64,
    taken: AtomicBool,
}

impl Station {
    /// From the one thread that may write here.
    #[inline]
    pub(super) fn enter(&self, entry: EntryPoint) -> Inside<'_> {
        let number = (self.word.load(Ordering::Relaxed) >> ENTRY_BITS) + 1;
        self.thread.store(thread::number().unwrap_or(0), Ordering::Relaxed);
        self.word.store(number << ENTRY_BITS | (entry as u64 + 1), Ordering::Release);
        Inside { station: self, gives_back: false }
    }

    /// Of a station that was taken for this.
    pub(super) fn enter_shared(&self, entry: EntryPoint) -> Inside<'_> {
        let mut inside = self.enter(entry);
        inside.gives_back = true;
        inside
    }

    /// Who is inside, if anybody.
    pub(super) fn visit(&self) -> Option<Visit> {
        let word = self.word.load(Ordering::Acquire);
        let place = (word & ((1 << ENTRY_BITS) - 1)).checked_sub(1)?;
        let entry = *EntryPoint::ALL.get(place as usize)?;
        let visit = Visit { number: word >> ENTRY_BITS, entry, thread: self.thread.load(Ordering::Acquire) };
        // Else the thread may be that of a later entry.
        self.is_still(&visit).then_some(visit)
    }

    /// Whether that entry is not over.
    pub(super) fn is_still(&self, visit: &Visit) -> bool {
        fence(Ordering::SeqCst);
        self.word.load(Ordering::Acquire) == visit.number << ENTRY_BITS | (visit.entry as u64 + 1)
    }

    fn leave(&self) {
        let number = self.word.load(Ordering::Relaxed) >> ENTRY_BITS;
        self.word.store(number << ENTRY_BITS, Ordering::Release);
    }
}

/// While it lives, its thread is inside; also over a panic.
#[derive(Debug)]
pub(super) struct Inside<'a> {
    station: &'a Station,
    gives_back: bool,
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.station.leave();
        if self.gives_back {
            self.station.taken.store(false, Ordering::Release);
        }
    }
}

/// All stations of a driver.
#[derive(Debug, Default)]
pub(super) struct Board {
    control: [Station; CONTROL],
    queues: Mutex<Vec<Weak<Station>>>,
}

impl Board {
    /// A station for one control function, if one is free.
    pub(super) fn control(&self) -> Option<&Station> {
        self.control.iter().find(|station| !station.taken.swap(true, Ordering::AcqRel))
    }

    /// A station for a new queue.
    pub(super) fn of_a_queue(&self) -> Arc<Station> {
        let station = Arc::new(Station::default());
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.retain(|queue| queue.strong_count() > 0);
        queues.push(Arc::downgrade(&station));
        station
    }

    /// Does something with each station, by its place.
    pub(super) fn each(&self, mut body: impl FnMut(&Station)) {
        self.control.iter().for_each(&mut body);
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner).clone();
        queues.iter().filter_map(Weak::upgrade).for_each(|queue| body(&queue));
    }
}
