//! What a core does in a turn that found nothing to do.

use std::time::Duration;

/// Turns without work that are only paused before a core begins to sleep.
const PATIENT: u32 = 256;

/// Turns after which the first, shortest sleep has doubled once.
const STEP: u32 = 64;

/// The shortest sleep asked for.
const SHORTEST: Duration = Duration::from_micros(1);

/// How a core waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Idle {
    /// Polls again at once: the shortest reaction, a whole processor.
    Spin,
    /// Tells the processor that it waits in a loop, which saves power and leaves more to a sibling thread.
    #[default]
    Pause,
    /// Pauses at first, then sleeps, longer and longer, up to this bound: for processors that others need too.
    Sleep(Duration),
}

impl Idle {
    /// Sleeping up to a tenth of a millisecond.
    pub const SLEEP: Self = Self::Sleep(Duration::from_micros(100));

    /// Waits after the `turns`th turn in a row without work; `before_sleep` is called before the core is given away.
    #[inline]
    pub fn wait(self, turns: u32, before_sleep: impl FnOnce()) {
        match self {
            Self::Spin => {}
            Self::Pause => std::hint::spin_loop(),
            Self::Sleep(_) if turns < PATIENT => std::hint::spin_loop(),
            Self::Sleep(bound) => {
                before_sleep();
                std::thread::sleep(Self::nap(turns - PATIENT, bound));
            }
        }
    }

    fn nap(turns: u32, bound: Duration) -> Duration {
        SHORTEST.saturating_mul(1 << (turns / STEP).min(20)).min(bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn naps_grow_up_to_the_bound_and_never_past_it() {
        let bound = Duration::from_micros(50);
        let naps: Vec<_> = (0..10_000).map(|turns| Idle::nap(turns, bound)).collect();
        assert!(naps.is_sorted());
        assert_eq!((naps[0], naps[9_999]), (SHORTEST, bound));
        assert_eq!(Idle::nap(u32::MAX, bound), bound);
    }

    #[test]
    fn only_a_sleeping_core_is_given_away_and_not_at_once() {
        let given_away = |idle: Idle, turns| {
            let mut away = false;
            idle.wait(turns, || away = true);
            away
        };
        assert!(!given_away(Idle::Spin, u32::MAX) && !given_away(Idle::Pause, u32::MAX));
        assert!(!given_away(Idle::Sleep(SHORTEST), 0));
        assert!(given_away(Idle::Sleep(SHORTEST), PATIENT));
    }
}
