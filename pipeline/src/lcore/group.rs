//! Several cores that run together, each on a thread of its own.
//!
//! Invariant: [`run`] comes back only when every task of every core has finished; a core that panics stops the others.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{CoreCounters, Ended, Idle, LcoreId, Task, Turn, thread_cpu_ns};

/// A core, its tasks, and how it waits.
pub struct Lcore<'a> {
    /// The processor to pin to; `None` leaves the thread to the scheduler.
    pub id: Option<LcoreId>,
    /// What it polls, in this order.
    pub tasks: Vec<&'a mut dyn Task>,
    /// What it does when none of them has anything to do.
    pub idle: Idle,
}

impl std::fmt::Debug for Lcore<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lcore")
            .field("id", &self.id)
            .field("tasks", &self.tasks.len())
            .field("idle", &self.idle)
            .finish()
    }
}

/// What a core did in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoreRun {
    /// How it ended: the worst of its tasks.
    pub ended: Ended,
    /// Whether it was pinned.
    pub pinned: bool,
    /// Processor time of its thread, in nanoseconds.
    pub cpu_ns: u64,
    /// Its turns; a turn is that of its busiest task.
    pub turns: CoreCounters,
}

/// Runs every core until its tasks have finished or `stop` is set, calling `watch` now and then on this thread.
/// What each core did, in order.
pub fn run(lcores: &mut [Lcore<'_>], stop: &AtomicBool, mut watch: impl FnMut()) -> Vec<CoreRun> {
    for lcore in lcores.iter_mut() {
        lcore.tasks.iter_mut().for_each(|task| task.open());
    }
    let running = AtomicUsize::new(lcores.len());
    std::thread::scope(|scope| {
        let here = std::thread::current();
        let threads: Vec<_> = lcores
            .iter_mut()
            .map(|lcore| {
                let leave = Leave { running: &running, stop, watcher: here.clone() };
                scope.spawn(move || {
                    let _leave = leave;
                    lcore.poll(stop)
                })
            })
            .collect();
        while running.load(Ordering::Acquire) > 0 {
            std::thread::park_timeout(WATCH);
            watch();
        }
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|fault| std::panic::resume_unwind(fault)))
            .collect()
    })
}

/// Time between two calls of `watch`.
const WATCH: std::time::Duration = std::time::Duration::from_millis(50);

/// Says that a core's thread is over, however it ended.
struct Leave<'a> {
    running: &'a AtomicUsize,
    stop: &'a AtomicBool,
    watcher: std::thread::Thread,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.stop.store(true, Ordering::Relaxed);
        }
        self.running.fetch_sub(1, Ordering::Release);
        self.watcher.unpark();
    }
}

impl Lcore<'_> {
    /// Polls the tasks in turn on this thread, until they have finished or `stop` is set. Whoever calls it has opened them.
    pub fn poll(&mut self, stop: &AtomicBool) -> CoreRun {
        let pinned = self.id.is_some_and(LcoreId::pin_current_thread);
        let started = thread_cpu_ns();
        let mut turns = CoreCounters::default();
        let mut ends: Vec<Option<Ended>> = vec![None; self.tasks.len()];
        let mut quiet = 0_u32;
        let stopped = loop {
            let turn = self.turn(&mut ends);
            turns.count(turn);
            match turn {
                Turn::Finished(_) => break false,
                Turn::Busy => quiet = 0,
                Turn::Idle | Turn::Stalled => {
                    quiet = quiet.saturating_add(1);
                    let tasks = &mut self.tasks;
                    self.idle.wait(quiet, || tasks.iter_mut().for_each(|task| task.offline()));
                }
            }
            if stop.load(Ordering::Relaxed) {
                break true;
            }
        };
        self.tasks.iter_mut().for_each(|task| task.offline());
        let stuck = ends.contains(&Some(Ended::Stuck));
        let ended = if stuck {
            Ended::Stuck
        } else if stopped {
            Ended::Stopped
        } else {
            Ended::Drained
        };
        CoreRun { ended, pinned, cpu_ns: thread_cpu_ns().saturating_sub(started), turns }
    }

    /// A turn of each task that has not finished; the busiest of them.
    #[inline]
    fn turn(&mut self, ends: &mut [Option<Ended>]) -> Turn {
        let mut all = Turn::Finished(Ended::Drained);
        for (task, end) in self.tasks.iter_mut().zip(ends) {
            if end.is_some() {
                continue;
            }
            all = match (all, task.turn()) {
                (all, Turn::Finished(how)) => {
                    *end = Some(how);
                    // The core may poll others for long.
                    task.offline();
                    all
                }
                (Turn::Busy, _) | (_, Turn::Busy) => Turn::Busy,
                (Turn::Stalled, _) | (_, Turn::Stalled) => Turn::Stalled,
                (_, Turn::Idle) => Turn::Idle,
            };
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Works for so many turns, every second of them.
    struct Counted(u32);
    impl Task for Counted {
        fn open(&mut self) {
            self.0 = 10;
        }
        fn turn(&mut self) -> Turn {
            self.0 = self.0.saturating_sub(1);
            match self.0 {
                0 => Turn::Finished(Ended::Drained),
                left if left % 2 == 0 => Turn::Busy,
                _ => Turn::Idle,
            }
        }
    }

    /// Never has anything to do.
    struct Bored;
    impl Task for Bored {
        fn open(&mut self) {}
        fn turn(&mut self) -> Turn {
            Turn::Idle
        }
    }

    struct Faulty;
    impl Task for Faulty {
        fn open(&mut self) {}
        fn turn(&mut self) -> Turn {
            panic!("as a test")
        }
    }

    fn lcore(task: &mut dyn Task) -> Lcore<'_> {
        Lcore { id: None, tasks: vec![task], idle: Idle::SLEEP }
    }

    #[test]
    fn a_run_ends_when_every_task_has_finished() {
        let (mut a, mut b, mut c) = (Counted(0), Counted(0), Counted(0));
        let one = Lcore { id: None, tasks: vec![&mut a, &mut b], idle: Idle::Spin };
        let runs = run(&mut [one, lcore(&mut c)], &AtomicBool::new(false), || {});
        let turns = |run: &CoreRun| (run.turns.busy, run.turns.idle);
        assert_eq!(runs.iter().map(turns).collect::<Vec<_>>(), [(4, 6), (4, 6)]);
        assert!(runs.iter().all(|run| run.ended == Ended::Drained && !run.pinned));
    }

    #[test]
    fn the_stop_flag_ends_a_run_that_has_no_end() {
        let stop = AtomicBool::new(false);
        let (mut one, mut two) = (Bored, Bored);
        let mut cores = [lcore(&mut one), lcore(&mut two)];
        let runs = run(&mut cores, &stop, || stop.store(true, Ordering::Relaxed));
        assert!(runs.iter().all(|run| run.ended == Ended::Stopped));
    }

    #[test]
    fn a_core_that_panics_stops_the_others() {
        let outcome = std::panic::catch_unwind(|| {
            run(&mut [lcore(&mut Faulty), lcore(&mut Bored)], &AtomicBool::new(false), || {})
        });
        assert!(outcome.is_err());
    }
}
