//! When the multi-buffer driver waits for more jobs, and when it does not. Here a deadline is either over at once or never, so no test depends on time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::time::Duration;

use common::{Bench, Suite};
use crypto_pmd::drivers::multibuffer::{Hold, Level, Multibuffer};
use crypto_pmd::job::JobBurst;
use crypto_pmd::*;

const NEVER_OVER: Duration = Duration::from_secs(3600);

/// A bench whose driver holds up to eight jobs, and a session of a suite with lanes. `None` where the processor has no kernels.
fn bench(deadline: Duration) -> Option<(Bench, SessionId, Suite)> {
    if Level::best() == Level::Portable {
        return None;
    }
    let registry = Registry::new();
    registry.attach(Multibuffer::new().with_hold(Hold { jobs: 8, deadline })).unwrap();
    let bench = Bench::over(registry);
    let suite = Suite::all().into_iter().find(|suite| !suite.aead && suite.block == 16).unwrap();
    let session = bench.open(suite.params.clone());
    Some((bench, session, suite))
}

fn submit(bench: &mut Bench, (session, suite): (SessionId, &Suite), cookies: std::ops::Range<u64>) {
    let mut burst = JobBurst::new();
    for cookie in cookies {
        let packet = bench.packet(&suite.plain(&[7; 48], 1));
        let job = suite.job(packet, session, Operation::Encrypt, None);
        burst.push(job.with_cookie(cookie)).unwrap();
    }
    bench.dispatcher.submit(&mut burst);
    assert!(burst.is_empty());
}

/// Cookies of what a poll gives.
fn poll(bench: &mut Bench) -> Vec<u64> {
    let mut done = JobBurst::new();
    bench.dispatcher.poll(&mut done);
    assert!(done.iter().all(|job| job.status() == Status::Done));
    done.iter().map(Job::cookie).collect()
}

#[test]
fn jobs_wait_until_there_are_enough_and_come_back_in_order() {
    let Some((mut bench, session, suite)) = bench(NEVER_OVER) else { return };
    submit(&mut bench, (session, &suite), 0..3);
    assert!(poll(&mut bench).is_empty());
    submit(&mut bench, (session, &suite), 3..6);
    assert!(poll(&mut bench).is_empty());
    assert_eq!(bench.dispatcher.in_flight(), 6);
    submit(&mut bench, (session, &suite), 6..9);
    assert!(poll(&mut bench).into_iter().eq(0..9));
}

#[test]
fn a_poll_that_finds_that_none_came_ends_the_wait() {
    let Some((mut bench, session, suite)) = bench(NEVER_OVER) else { return };
    submit(&mut bench, (session, &suite), 0..3);
    assert!(poll(&mut bench).is_empty());
    // A submit of nothing is none.
    submit(&mut bench, (session, &suite), 0..0);
    assert!(poll(&mut bench).into_iter().eq(0..3));
}

#[test]
fn a_flush_ends_the_wait() {
    let Some((mut bench, session, suite)) = bench(NEVER_OVER) else { return };
    submit(&mut bench, (session, &suite), 0..3);
    bench.dispatcher.flush();
    assert!(poll(&mut bench).into_iter().eq(0..3));
}

#[test]
fn the_deadline_ends_the_wait() {
    let Some((mut bench, session, suite)) = bench(Duration::ZERO) else { return };
    submit(&mut bench, (session, &suite), 0..3);
    assert!(poll(&mut bench).into_iter().eq(0..3));
}

#[test]
fn a_core_that_goes_to_sleep_leaves_nothing_waiting() {
    let Some((mut bench, session, suite)) = bench(NEVER_OVER) else { return };
    submit(&mut bench, (session, &suite), 0..3);
    bench.dispatcher.offline();
    assert!(poll(&mut bench).into_iter().eq(0..3));
}

#[test]
fn what_gains_nothing_does_not_wait() {
    let Some((mut bench, _, _)) = bench(NEVER_OVER) else { return };
    let suite = Suite::all().into_iter().find(|suite| suite.aead).unwrap();
    let session = bench.open(suite.params.clone());
    submit(&mut bench, (session, &suite), 0..3);
    assert!(poll(&mut bench).into_iter().eq(0..3));
}

/// Where jobs come one at a time, each after the one before is done, the wait of the first is a lesson.
#[test]
fn those_who_come_alone_soon_do_not_wait() {
    let Some((mut bench, session, suite)) = bench(NEVER_OVER) else { return };
    let mut polls = 0;
    for cookie in 0..1000 {
        submit(&mut bench, (session, &suite), cookie..cookie + 1);
        while poll(&mut bench).is_empty() {
            polls += 1;
        }
    }
    assert!((1..=12).contains(&polls), "{polls} waits in a thousand");
    // Company is noticed again.
    let mut together = 0;
    for _ in 0..3000 {
        submit(&mut bench, (session, &suite), 0..2);
        together = together.max(poll(&mut bench).len());
    }
    assert_eq!(together, 8);
}

#[test]
fn no_job_waits_when_none_may() {
    let Some((_, _, suite)) = bench(NEVER_OVER) else { return };
    let registry = Registry::new();
    registry.attach(Multibuffer::new().with_hold(Hold::NEVER)).unwrap();
    let mut bench = Bench::over(registry);
    let session = bench.open(suite.params.clone());
    submit(&mut bench, (session, &suite), 0..3);
    assert!(poll(&mut bench).into_iter().eq(0..3));
}
