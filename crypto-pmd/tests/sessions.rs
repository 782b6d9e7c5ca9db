//! A handle is good from open to close, and never for the session that has its place afterwards.

// A test program may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::{Bench, HMACS, Suite};
use crypto_pmd::drivers::{Null, Software};
use crypto_pmd::job::JobBurst;
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

/// Keeps nothing itself: what it knows of a session lies in the framework's state, and its queue pair writes that behind the packet.
#[derive(Debug)]
struct Stateless(Capabilities);

#[derive(Debug)]
struct StatelessQueue(Option<SessionStates>, JobBurst);

impl Driver for Stateless {
    fn name(&self) -> &str {
        "stateless0"
    }
    fn capabilities(&self) -> &Capabilities {
        &self.0
    }
    fn open_session(&self, _id: SessionId, _params: &SessionParams) -> Result<(), OpenError> {
        panic!("it asked for state")
    }
    fn session_state_len(&self) -> usize {
        8
    }
    fn open_with_state(
        &self,
        _id: SessionId,
        params: &SessionParams,
        state: &mut [u8],
    ) -> Result<(), OpenError> {
        assert_eq!(state, [0; 8], "all zero when the driver first sees it");
        state.copy_from_slice(&params.transforms[0].key().unwrap().bytes()[..8]);
        Ok(())
    }
    fn close_session(&self, _id: SessionId) {}
    fn queue_pair(&self, _config: &QueuePairConfig) -> Box<dyn QueuePair> {
        Box::new(StatelessQueue(None, JobBurst::new()))
    }
}

impl QueuePair for StatelessQueue {
    fn set_states(&mut self, states: SessionStates) {
        self.0 = Some(states);
    }
    fn submit(&mut self, jobs: &mut JobBurst) -> usize {
        let states = self.0.as_mut().unwrap();
        states.refresh();
        for job in jobs.iter_mut() {
            let state = states.find(job.session()).map(<[u8]>::to_vec);
            job.set_status(if state.is_some() { Status::Done } else { Status::UnknownSession });
            let (source, _, _) = job.parts_mut();
            source.data_mut()[..8].copy_from_slice(&state.unwrap_or(vec![0; 8]));
        }
        self.1.take_from(jobs)
    }
    fn poll(&mut self, done: &mut JobBurst) -> usize {
        self.0.as_mut().unwrap().refresh();
        done.take_from(&mut self.1)
    }
}

#[test]
fn the_framework_keeps_a_zeroed_state_for_each_session_which_the_driver_finds_by_the_handle() {
    let registry = Registry::new();
    registry.attach(Stateless(Capabilities { anything: true, ..Capabilities::default() })).unwrap();
    let mut bench = Bench::over(registry);
    let with_key = |key: u8| {
        let transform = Transform::integrity(IntegrityAlgorithm::HmacSha1, Key::new(&[key; 20]), 12);
        SessionParams::from(transform)
    };
    let sessions: Vec<_> = (1..=100).map(|key| (key, bench.open(with_key(key)))).collect();
    for &(key, session) in sessions.iter().rev() {
        let job = Job::new(bench.packet(&[9; 16]), session, Operation::Encrypt);
        let (status, bytes) = bench.finish(job);
        assert_eq!((status, &bytes[..8]), (Status::Done, &[key; 8][..]));
    }
    let (_, gone) = sessions[7];
    assert!(bench.registry.close(gone));
    let again = bench.open(with_key(200));
    assert_eq!(gone.index(), again.index());
    let job = Job::new(bench.packet(&[9; 16]), gone, Operation::Encrypt);
    assert_eq!(bench.finish(job).0, Status::UnknownSession);
    bench.registry.collect();
    bench.dispatcher.poll(&mut JobBurst::new());
    assert_eq!(bench.registry.collect(), 0);
}
