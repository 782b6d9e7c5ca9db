//! One piece of work on every core at the same time. One core is the calling thread, which is pinned already; several are threads of
//! their own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use pipeline::lcore::LcoreId;

use crate::failure::Failure;

/// Where cores wait for each other before the clock starts.
#[derive(Debug)]
pub(super) struct StartLine(AtomicUsize);

/// A core's place there. Dropped without waiting, it lets the others go.
#[derive(Debug)]
pub(super) struct Place<'a>(&'a StartLine);

impl Place<'_> {
    /// Until every core has come, or given up.
    pub(super) fn wait(self) {
        let line = self.0;
        drop(self);
        while line.0.load(Ordering::Acquire) > 0 {
            thread::yield_now();
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What `work` says on each core, in their order; it gets the core's number in the list.
///
/// # Errors
/// The first core's that failed, or a processor on which no thread may run.
pub(super) fn on_each<T: Send>(
    cores: &[Option<LcoreId>],
    work: impl Fn(usize, Place<'_>) -> Result<T, Failure> + Sync,
) -> Result<Vec<T>, Failure> {
    let line = StartLine(AtomicUsize::new(cores.len()));
    if cores.len() <= 1 {
        return Ok(vec![work(0, Place(&line))?]);
    }
    let pinned = |number: usize, core: Option<LcoreId>, place: Place<'_>| match core {
        Some(core) if !core.pin_current_thread() => {
            Err(Failure::machine(format_args!("no thread may be pinned to processor {}", core.0)))
        }
        _ => work(number, place),
    };
    thread::scope(|scope| {
        let (line, pinned) = (&line, &pinned);
        let start = |(number, core): (usize, &Option<LcoreId>)| {
            let core = *core;
            scope.spawn(move || pinned(number, core, Place(line)))
        };
        let threads: Vec<_> = cores.iter().enumerate().map(start).collect();
        let ends = threads.into_iter().map(|thread| {
            thread.join().unwrap_or_else(|_| Err(Failure::bad_result("a core's thread panicked")))
        });
        ends.collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_core_does_the_work_once_and_all_start_together() {
        let (come, results) = (AtomicUsize::new(0), [None; 3]);
        let work = |number: usize, place: Place<'_>| {
            come.fetch_add(1, Ordering::AcqRel);
            place.wait();
            Ok((number, come.load(Ordering::Acquire)))
        };
        assert_eq!(on_each(&results, work).unwrap(), [(0, 3), (1, 3), (2, 3)]);
    }

    #[test]
    fn a_core_that_fails_does_not_keep_the_others_waiting() {
        let work = |number: usize, place: Place<'_>| {
            if number == 1 {
                return Err(Failure::machine("no room"));
            }
            place.wait();
            Ok(())
        };
        assert_eq!(on_each(&[None; 3], work).unwrap_err().to_string(), "no room");
    }

    #[test]
    fn one_core_is_this_thread() {
        let here = thread::current().id();
        let work = |_: usize, place: Place<'_>| {
            place.wait();
            Ok(thread::current().id())
        };
        assert_eq!(on_each(&[None], work).unwrap(), [here]);
    }
}
