//! A handle is good from open to close, and never for the session that has its place afterwards.

// A test program may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::{Bench, HMACS, Suite};
use crypto_pmd::drivers::{Null, Software};
use crypto_pmd::*;

/// What becomes of an encryption under `session`; a packet that was refused must be as it was.
fn try_session(bench: &mut Bench, session: SessionId) -> Status {
    let suite = Suite::cbc(16, HMACS[0]);
    let plain = suite.plain(&[1; 32], 1);
    let job = suite.job(bench.packet(&plain), session, Operation::Encrypt, None).with_cookie(77);
    let done = bench.run(job);
    assert_eq!((done.cookie(), done.session()), (77, session));
    let status = done.status();
    assert_eq!(common::bytes_of(&done.into_packet()) == plain, status != Status::Done);
    status
}

fn params() -> SessionParams {
    Suite::cbc(16, HMACS[0]).params
}

#[test]
fn a_closed_session_is_unknown_and_can_be_closed_once() {
    let mut bench = Bench::new();
    let session = bench.open(params());
    assert_eq!(try_session(&mut bench, session), Status::Done);
    assert!(bench.registry.close(session));
    assert!(!bench.registry.close(session));
    assert_eq!(try_session(&mut bench, session), Status::UnknownSession);
}

#[test]
fn an_old_handle_is_told_apart_from_the_session_that_has_its_place() {
    let mut bench = Bench::new();
    let old = bench.open(params());
    assert!(bench.registry.close(old));
    let new = bench.open(params());
    assert_eq!((old.index(), old != new), (new.index(), true));
    assert_eq!(try_session(&mut bench, old), Status::UnknownSession);
    assert_eq!(try_session(&mut bench, new), Status::Done);
    assert!(!bench.registry.close(old), "an old handle closes nothing");
    assert_eq!(try_session(&mut bench, new), Status::Done);
}

#[test]
fn a_handle_of_another_registry_is_unknown() {
    let (mut bench, other) = (Bench::new(), Bench::new());
    bench.open(params());
    other.open(params());
    let foreign = other.open(params());
    assert_eq!(try_session(&mut bench, foreign), Status::UnknownSession);
}

#[test]
fn an_old_handle_is_unknown_when_its_place_went_to_a_session_of_the_null_driver() {
    let registry = Registry::new();
    let software = registry.attach(Software::new()).unwrap();
    let null = registry.attach(Null::new()).unwrap();
    let mut bench = Bench::over(registry);
    let old = bench.registry.open(params(), Placement::Driver(software)).unwrap();
    assert!(bench.registry.close(old));
    let new = bench.registry.open(params(), Placement::Driver(null)).unwrap();
    assert_eq!(old.index(), new.index());
    // Anything else would send plaintext as if it were sealed.
    assert_eq!(try_session(&mut bench, old), Status::UnknownSession);
}

/// What becomes of a job whose session lies on a driver that came after the dispatcher.
fn status_on_a_late_driver(early: &[fn(&Registry) -> DriverId]) -> Status {
    let registry = Registry::new();
    for attach in early {
        attach(&registry);
    }
    let mut bench = Bench::over(registry);
    let late = bench.registry.attach(Software::with_unit(9)).unwrap();
    let session = bench.registry.open(params(), Placement::Driver(late)).unwrap();
    try_session(&mut bench, session)
}

#[test]
fn a_dispatcher_has_a_queue_pair_on_a_driver_that_came_after_it() {
    let software = |registry: &Registry| registry.attach(Software::new()).unwrap();
    let null = |registry: &Registry| registry.attach(Null::new()).unwrap();
    assert_eq!(status_on_a_late_driver(&[software]), Status::Done);
    assert_eq!(status_on_a_late_driver(&[software, null]), Status::Done);
}
