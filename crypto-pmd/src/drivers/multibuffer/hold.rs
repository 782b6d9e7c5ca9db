//! How long jobs may wait for company.

use std::time::Duration;

use pipeline::MAX_BURST;

use super::Level;

/// When jobs are held over bursts, so that more of them are done side by side: the trade of latency against throughput.
///
/// Jobs wait only while others keep coming: they are done as soon as there are [`Hold::jobs`] of them, when a poll finds that none came since the
/// one before it, when [`Hold::deadline`] is over, and on a flush. Bursts of [`Hold::jobs`] and more never wait, nor do those in which nothing would
/// gain. Where jobs turn out to come one at a time, they soon do not wait at all.
///
/// ```
/// use crypto_pmd::drivers::multibuffer::{Hold, Multibuffer};
/// let prompt = Multibuffer::new().with_hold(Hold::NEVER);
/// assert_eq!(prompt.hold().jobs, 0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// So many jobs are enough; with 0 and 1 none ever waits. No more than a burst (64) can wait.
    pub jobs: usize,
    /// The longest wait of a job, looked at in each submit and poll.
    pub deadline: Duration,
}

impl Hold {
    /// Every job is done when it is submitted.
    pub const NEVER: Self = Self { jobs: 0, deadline: Duration::ZERO };

    /// What the driver does unless it is told otherwise: twice as many jobs as the level does side by side, for ten microseconds at most.
    #[must_use]
    pub const fn of(level: Level) -> Self {
        let jobs = match level {
            Level::Portable => 0,
            Level::Sse => 16,
            Level::Avx2 => 32,
            Level::Avx512 => MAX_BURST,
        };
        Self { jobs, deadline: Duration::from_micros(10) }
    }
}
