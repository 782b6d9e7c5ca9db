//! One dispatcher over several drivers: nothing is lost, doubled or overtaken.

use std::collections::VecDeque;

use pipeline::{Burst, Pool, PoolConfig};
use proptest::prelude::*;

use super::*;
use crate::capability::Capabilities;
use crate::device::{Driver, OpenError, QueuePair, QueuePairConfig};
use crate::job::Operation;
use crate::{Placement, Registry, SessionParams};

/// A driver with a short queue that takes few jobs at a time.
#[derive(Clone, Debug)]
struct Narrow {
    name: String,
    depth: usize,
    per_submit: usize,
    capabilities: Capabilities,
}

#[derive(Debug)]
struct NarrowQueue {
    jobs: VecDeque<Job>,
    shape: Narrow,
}

impl Driver for Narrow {
    fn name(&self) -> &str {
        &self.name
    }
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
    fn open_session(&self, _id: SessionId, _params: &SessionParams) -> Result<(), OpenError> {
        Ok(())
    }
    fn close_session(&self, _id: SessionId) {}
    fn queue_pair(&self, _config: &QueuePairConfig) -> Box<dyn QueuePair> {
        Box::new(NarrowQueue { jobs: VecDeque::new(), shape: self.clone() })
    }
}

impl QueuePair for NarrowQueue {
    fn submit(&mut self, jobs: &mut JobBurst) -> usize {
        let room = (self.shape.depth - self.jobs.len()).min(self.shape.per_submit);
        let before = self.jobs.len();
        self.jobs.extend(jobs.drain_front(room));
        self.jobs.len() - before
    }
    fn poll(&mut self, done: &mut JobBurst) -> usize {
        let count = done.room().min(self.jobs.len());
        for mut job in self.jobs.drain(..count) {
            job.set_status(Status::Done);
            done.push(job).unwrap();
        }
        count
    }
}

/// Drivers of the given depths and jobs a submit, with two sessions each, and one session that is closed.
struct Rig {
    dispatcher: Dispatcher,
    sessions: Vec<SessionId>,
    closed: SessionId,
    pool: Pool,
    made: u64,
}

impl Rig {
    fn new(shapes: &[(usize, usize)]) -> Self {
        let registry = Registry::new();
        let mut sessions = Vec::new();
        for (number, &(depth, per_submit)) in shapes.iter().enumerate() {
            let (name, capabilities) = (format!("narrow{number}"), Capabilities::default());
            let id = registry.attach(Narrow { name, depth, per_submit, capabilities }).unwrap();
            let open = || registry.open(SessionParams::default(), Placement::Driver(id)).unwrap();
            sessions.extend([open(), open()]);
        }
        let closed = registry.open(SessionParams::default(), Placement::Any).unwrap();
        assert!(registry.close(closed));
        let dispatcher = registry.dispatcher(&QueuePairConfig::default()).unwrap();
        let pool = Pool::new(PoolConfig { buffers: 1024, stride: 512 }).unwrap();
        Self { dispatcher, sessions, closed, pool, made: 0 }
    }

    /// A job with the next cookie; a place beyond the open sessions is that of the closed one.
    fn job(&mut self, place: usize) -> Job {
        let session = self.sessions.get(place).copied().unwrap_or(self.closed);
        self.made += 1;
        Job::new(self.pool.alloc().unwrap(), session, Operation::Encrypt).with_cookie(self.made)
    }

    fn burst(&mut self, places: impl IntoIterator<Item = usize>) -> JobBurst {
        let mut burst = JobBurst::new();
        places.into_iter().for_each(|place| burst.push(self.job(place)).unwrap());
        burst
    }

    fn poll(&mut self, room: usize) -> Vec<Job> {
        // Filled up with jobs of nobody's, so that just `room` are left.
        let mut done = Burst::new();
        (room..pipeline::MAX_BURST).for_each(|_| done.push(self.job(0)).unwrap());
        let filler = done.len();
        let count = self.dispatcher.poll(&mut done);
        let came: Vec<Job> = done.drain().skip(filler).collect();
        assert_eq!(came.len(), count);
        came
    }
}

fn cookies(jobs: &JobBurst) -> Vec<u64> {
    jobs.iter().map(Job::cookie).collect()
}

#[derive(Clone, Debug)]
enum Step {
    Submit(Vec<usize>),
    Poll(usize),
    Flush,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let submit = proptest::collection::vec(0_usize..8, 0..64).prop_map(Step::Submit);
    let step = prop_oneof![4 => submit, 4 => (0_usize..=64).prop_map(Step::Poll), 1 => Just(Step::Flush)];
    proptest::collection::vec(step, 1..40)
}

/// What was taken and has not come back, by cookie and session, in order.
type Out = Vec<(u64, SessionId)>;

/// Takes jobs that came back off the books: each was out, and the oldest of its session.
fn settle(out: &mut Out, came: Vec<Job>, closed: SessionId) {
    for job in came {
        let oldest = out.iter().position(|&(_, session)| session == job.session()).unwrap();
        assert_eq!(out.remove(oldest).0, job.cookie());
        let expected = if job.session() == closed { Status::UnknownSession } else { Status::Done };
        assert_eq!(job.status(), expected);
    }
}

/// Submits, and books what was taken; what stays keeps its order and status.
fn offer(rig: &mut Rig, jobs: &mut JobBurst, out: &mut Out) {
    let before: Out = jobs.iter().map(|job| (job.cookie(), job.session())).collect();
    let taken = rig.dispatcher.submit(jobs);
    let left = cookies(jobs);
    assert!(jobs.iter().all(|job| job.status() == Status::Pending));
    let (stayed, gone): (Out, Out) = before.into_iter().partition(|(cookie, _)| left.contains(cookie));
    assert!(stayed.iter().map(|&(cookie, _)| cookie).eq(left));
    assert_eq!(taken, gone.len());
    let overtakes = |one: &(u64, SessionId)| gone.iter().any(|other| other.1 == one.1 && other.0 > one.0);
    assert!(!stayed.iter().any(overtakes), "a job was taken before an earlier one of its session");
    out.extend(gone);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn nothing_is_lost_doubled_or_overtaken_within_a_session(
        shapes in proptest::collection::vec((1_usize..40, 1_usize..20), 1..4), steps in steps(),
    ) {
        // A driver that is alone judges its sessions itself, and this one takes any.
        let alone = shapes.len() == 1;
        let mut rig = Rig::new(&shapes);
        let (mut waiting, mut out) = (JobBurst::new(), Out::new());
        let closed = if alone { SessionId::new(u32::MAX, 0) } else { rig.closed };
        for step in steps {
            match step {
                Step::Submit(places) => {
                    for place in places.into_iter().take(waiting.room()) {
                        waiting.push(rig.job(place)).unwrap();
                    }
                    offer(&mut rig, &mut waiting, &mut out);
                }
                Step::Poll(room) => {
                    let came = rig.poll(room);
                    settle(&mut out, came, closed);
                }
                Step::Flush => rig.dispatcher.flush(),
            }
            prop_assert_eq!(rig.dispatcher.in_flight(), out.len());
        }
        while !waiting.is_empty() || !out.is_empty() {
            let before = waiting.len() + out.len();
            offer(&mut rig, &mut waiting, &mut out);
            let came = rig.poll(64);
            settle(&mut out, came, closed);
            prop_assert!(waiting.len() + out.len() < before, "every round brings something back");
        }
        prop_assert_eq!(rig.dispatcher.in_flight(), 0);
    }
}

#[test]
fn a_driver_that_blocks_does_not_hold_up_the_other() {
    let mut rig = Rig::new(&[(1, 1), (64, 64)]);
    let mut jobs = rig.burst([0, 2, 0, 2, 1, 3]);
    assert_eq!(rig.dispatcher.submit(&mut jobs), 4);
    assert_eq!(cookies(&jobs), [3, 5]);
    assert_eq!(rig.dispatcher.in_flight(), 4);
}

#[test]
fn a_driver_that_took_a_part_is_not_offered_later_jobs_in_the_same_call() {
    // It would take two more; they would overtake those of the same session that it left.
    let mut rig = Rig::new(&[(64, 2), (64, 64)]);
    let mut jobs = rig.burst([0, 0, 0, 2, 0, 0]);
    assert_eq!(rig.dispatcher.submit(&mut jobs), 3);
    assert_eq!(cookies(&jobs), [3, 5, 6]);
}

#[test]
fn a_job_of_an_unknown_session_completes_with_that_status() {
    let mut rig = Rig::new(&[(64, 64), (64, 64)]);
    let mut jobs = rig.burst([0, 9, 2]);
    assert_eq!((rig.dispatcher.submit(&mut jobs), rig.dispatcher.in_flight()), (3, 3));
    let mut came: Vec<_> = rig.poll(64).iter().map(|job| (job.cookie(), job.status())).collect();
    came.sort_by_key(|&(cookie, _)| cookie);
    assert_eq!(came, [(1, Status::Done), (2, Status::UnknownSession), (3, Status::Done)]);
}

#[test]
fn more_jobs_of_unknown_sessions_than_a_burst_holds_wait_for_a_poll() {
    let mut rig = Rig::new(&[(64, 64), (64, 64)]);
    let mut jobs = rig.burst([9; 64]);
    assert_eq!(rig.dispatcher.submit(&mut jobs), 64);
    let mut more = rig.burst([9; 40]);
    assert_eq!((rig.dispatcher.submit(&mut more), more.len(), rig.dispatcher.in_flight()), (0, 40, 64));
    assert!(more.iter().all(|job| job.status() == Status::Pending));
    assert!(rig.poll(64).iter().map(Job::cookie).eq(1..=64));
    assert_eq!((rig.dispatcher.submit(&mut more), more.len()), (40, 0));
    assert!(rig.poll(64).iter().map(Job::cookie).eq(65..=104));
    assert_eq!(rig.dispatcher.in_flight(), 0);
}

#[test]
fn drivers_take_turns_when_there_is_room_for_one_job() {
    let mut rig = Rig::new(&[(30, 30), (30, 30)]);
    let mut jobs = rig.burst((0..60).map(|n| n / 30 * 2));
    assert_eq!(rig.dispatcher.submit(&mut jobs), 60);
    let (first, mut counts) = (rig.sessions[0], [0, 0]);
    for _ in 0..20 {
        // A poll without room uses up nobody's turn.
        assert!(rig.poll(0).is_empty());
        let job = rig.poll(1).pop().unwrap();
        counts[usize::from(job.session() != first)] += 1;
    }
    assert_eq!(counts, [10, 10]);
}
