//! Whether jobs wait for others at whose side they would be cheaper.
//!
//! They wait while jobs come: until there are enough, until a poll finds that none came since the one before, or until their time is over. Where
//! nobody came the last time, the next ones do not wait, and after each such disappointment twice as many go by without waiting.
//! A burst in which nothing gains from company lets the next few go by as well, so that such traffic is seldom looked at.

use pipeline::Clock;
use pipeline::clock::Tick;

use crate::drivers::multibuffer::Hold;

/// Bursts that go by without waiting after a row of disappointments, at most.
const MOST_PASSED: u32 = 1024;

/// Bursts that go by without a look behind one in which nothing gains.
const FEW: u32 = 7;

/// What is known about those who wait.
#[derive(Debug)]
pub(super) struct Company {
    enough: usize,
    limit: Tick,
    clock: Clock,
    since: Tick,
    /// Jobs came since the last poll.
    came: bool,
    /// Someone joined those who wait.
    joined: bool,
    /// Bursts that will not wait, and as many as the last disappointment made it.
    passes: u32,
    penalty: u32,
}

impl Company {
    pub(super) fn new(hold: Hold) -> Self {
        let clock = Clock::new();
        let limit = clock.ticks(u64::try_from(hold.deadline.as_nanos()).unwrap_or(u64::MAX));
        Self { enough: hold.jobs, limit, clock, since: 0, came: false, joined: false, passes: 0, penalty: 0 }
    }

    /// Whether so many jobs that come when none wait are to wait; `gain` says whether any of them would be cheaper with others.
    #[inline(always)]
    pub(super) fn is_wanted(&mut self, count: usize, gain: impl FnOnce() -> bool) -> bool {
        count < self.enough && self.is_expected(gain)
    }

    #[inline(never)]
    fn is_expected(&mut self, gain: impl FnOnce() -> bool) -> bool {
        if self.passes > 0 {
            self.passes -= 1;
            return false;
        }
        if !gain() {
            // Nor, most likely, will the next few.
            self.passes = FEW;
            return false;
        }
        self.since = self.clock.tick();
        self.joined = false;
        true
    }

    /// Jobs came; whether those who wait now are enough, or have waited too long.
    pub(super) fn is_enough(&mut self, waiting: usize) -> bool {
        self.joined |= self.came;
        self.came = true;
        waiting >= self.enough || self.clock.tick().saturating_sub(self.since) >= self.limit
    }

    /// A poll: whether nobody came since the last one, or those who wait have waited too long.
    pub(super) fn is_late(&mut self) -> bool {
        !std::mem::take(&mut self.came) || self.clock.tick().saturating_sub(self.since) >= self.limit
    }

    /// Those who waited are done.
    pub(super) fn parts(&mut self) {
        self.came = false;
        if self.joined {
            self.penalty = 0;
        } else {
            self.penalty = (2 * self.penalty).clamp(1, MOST_PASSED);
            self.passes = self.penalty;
        }
    }
}
