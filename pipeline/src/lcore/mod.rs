//! Logical cores: pinning, the loop that a polling core runs, and several cores that run together.
//!
//! A [`Task`] is what a core polls, turn by turn: a [`PollingCore`], or a worker that only does crypto. An
//! [`Lcore`] is a processor with its tasks and its way of waiting when there is nothing to do; [`run`] starts them
//! all and comes back when each has finished.

mod group;
mod idle;
mod polling;

pub use group::{CoreRun, Lcore, run};
pub use idle::Idle;
pub use polling::PollingCore;

use crate::clock::Tick;

/// Number of a processor as the operating system counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LcoreId(pub usize);

impl LcoreId {
    /// The processors that this process may run on.
    #[must_use]
    pub fn available() -> Vec<Self> {
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        cores.into_iter().map(|core| Self(core.id)).collect()
    }

    /// Pins the calling thread to this processor; false when the system does not allow it.
    #[must_use]
    pub fn pin_current_thread(self) -> bool {
        core_affinity::set_for_current(core_affinity::CoreId { id: self.0 })
    }
}

/// Processor time that the calling thread has used, in nanoseconds.
#[must_use]
pub fn thread_cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes one timespec to the given place.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) } != 0;
    if failed { 0 } else { time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64 }
}

/// What the turns of a core were, and when it worked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoreCounters {
    /// Turns that moved packets.
    pub busy: u64,
    /// Turns that found nothing to do.
    pub idle: u64,
    /// Turns in which packets waited for room downstream, or for other cores.
    pub stalled: u64,
    /// Tick of the first burst received in the last run; 0 before it.
    pub first_rx: Tick,
    /// Tick after the last burst handed to the tx port; 0 before it.
    pub last_tx: Tick,
    /// Ticks from the first receive to the last hand-over, summed over the runs; what is done between runs is not in.
    pub active: Tick,
}

impl CoreCounters {
    /// Counts one turn.
    #[inline(always)]
    pub fn count(&mut self, turn: Turn) {
        match turn {
            Turn::Busy => self.busy += 1,
            Turn::Idle | Turn::Finished(_) => self.idle += 1,
            Turn::Stalled => self.stalled += 1,
        }
    }
}

/// Why a task came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The input ended and everything inside was handed on.
    Drained,
    /// The stop flag was set.
    Stopped,
    /// The input ended, but packets stayed inside that no longer moved.
    Stuck,
}

/// What a turn of a task was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Packets moved.
    Busy,
    /// There was nothing to do.
    Idle,
    /// Packets are inside and none moved.
    Stalled,
    /// There is nothing to do, now and later.
    Finished(Ended),
}

/// What a core polls.
pub trait Task: Send {
    /// A run begins; for every task of every core before the first one starts.
    fn open(&mut self);

    /// Does what there is to do, without waiting. After [`Turn::Finished`] it is not called again in this run.
    fn turn(&mut self) -> Turn;

    /// The core goes to sleep or stops: no claim is held on anything shared until the next turn.
    fn offline(&mut self) {}
}
