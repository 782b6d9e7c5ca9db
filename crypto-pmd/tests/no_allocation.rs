//! The data path neither takes memory nor gives any back, whatever becomes of a job; and sessions that come and go
//! do not make it grow.

// A test program may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use common::{Bench, Suite};
use crypto_pmd::balance::Policy;
use crypto_pmd::drivers::{Multibuffer, Null, Scheduler, Software};
use crypto_pmd::job::JobBurst;
use crypto_pmd::*;
use pipeline::Mbuf;

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    /// Calls of this thread to the allocator, either way.
    static CALLS: Cell<usize> = const { Cell::new(0) };
    /// Bytes that this thread holds; may be negative for what another thread took.
    static BYTES: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    CALLS.set(CALLS.get() + 1);
    BYTES.set(BYTES.get() + bytes);
}

// SAFETY: every call is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: passed on from the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: passed on from the caller.
        unsafe { System.dealloc(block, layout) };
    }
}

/// Calls to the allocator that `work` makes.
fn calls(work: impl FnOnce()) -> usize {
    let before = CALLS.get();
    work();
    CALLS.get() - before
}

const BURST: usize = 32;
const BURSTS: usize = 1000;
const WARM_UP: usize = 3;

/// Bytes in one segment, or the same in three.
fn packet(bench: &Bench, bytes: &[u8], chain: bool) -> Mbuf {
    if !chain {
        return bench.packet(bytes);
    }
    let (front, back) = bytes.split_at(bytes.len() / 3);
    let mut packet = bench.packet(front);
    packet.chain(bench.packet(&[])).unwrap();
    packet.chain(bench.packet(back)).unwrap();
    packet
}

/// The bursts of a core: made once, used for good.
#[derive(Default)]
struct Bursts {
    jobs: JobBurst,
    done: JobBurst,
}

/// Makes a burst of jobs, runs it, checks every status, drops the jobs.
fn run_burst(bench: &mut Bench, bursts: &mut Bursts, expected: Status, mut job: impl FnMut(&Bench) -> Job) {
    let Bursts { jobs, done } = bursts;
    for _ in 0..BURST {
        jobs.push(job(bench)).unwrap();
    }
    while done.len() < BURST {
        bench.dispatcher.submit(jobs);
        bench.dispatcher.flush();
        bench.dispatcher.poll(done);
    }
    assert!(done.iter().all(|job| job.status() == expected));
    done.clear();
}

/// Warms up, then counts the allocator's calls over many bursts.
fn calls_of_bursts(bench: &mut Bench, expected: Status, mut job: impl FnMut(&Bench) -> Job) -> usize {
    let mut bursts = Bursts::default();
    (0..WARM_UP).for_each(|_| run_burst(bench, &mut bursts, expected, &mut job));
    calls(|| (0..BURSTS).for_each(|_| run_burst(bench, &mut bursts, expected, &mut job)))
}

fn both_drivers() -> (Bench, [DriverId; 2]) {
    let registry = Registry::new();
    let first = common::attach(&registry);
    let drivers = [first, registry.attach(Null::new()).unwrap()];
    (Bench::over(registry), drivers)
}

#[test]
fn the_count_sees_a_box() {
    assert_eq!(calls(|| drop(std::hint::black_box(Box::new(1)))), 2);
}

#[test]
fn a_thousand_bursts_take_no_memory_in_one_segment_or_chained() {
    for suite in [Suite::cbc(16, common::HMACS[0]), Suite::cbc(32, common::HMACS[3]), Suite::gcm(16)] {
        let mut alone = Bench::new();
        let session = alone.open(suite.params.clone());
        let (mut both, drivers) = both_drivers();
        let sessions = drivers
            .map(|driver| both.registry.open(suite.params.clone(), Placement::Driver(driver)).unwrap());
        let plain = suite.plain(&[6; 64], 1);
        for chain in [false, true] {
            let made = calls_of_bursts(&mut alone, Status::Done, |bench| {
                suite.job(packet(bench, &plain, chain), session, Operation::Encrypt, Some(9))
            });
            assert_eq!(made, 0, "one driver, chained {chain}");
            let mut turn = 0;
            let made = calls_of_bursts(&mut both, Status::Done, |bench| {
                turn += 1;
                suite.job(packet(bench, &plain, chain), sessions[turn % 2], Operation::Encrypt, None)
            });
            assert_eq!(made, 0, "two drivers, chained {chain}");
        }
    }
}

#[test]
fn jobs_that_fail_take_no_memory() {
    let suite = Suite::gcm(32);
    let (mut bench, drivers) = both_drivers();
    let session = bench.registry.open(suite.params.clone(), Placement::Driver(drivers[0])).unwrap();
    let closed = bench.open(suite.params.clone());
    assert!(bench.registry.close(closed));
    let bytes = suite.plain(&[6; 64], 1);
    for chain in [false, true] {
        let job = |bench: &Bench, session, operation| {
            suite.job(packet(bench, &bytes, chain), session, operation, None)
        };
        let forged = |bench: &Bench| job(bench, session, Operation::Decrypt);
        assert_eq!(calls_of_bursts(&mut bench, Status::IntegrityFailed, forged), 0);
        let beyond = |bench: &Bench| job(bench, session, Operation::Encrypt).with_tag(u32::MAX);
        assert_eq!(calls_of_bursts(&mut bench, Status::BadRange, beyond), 0);
        let unknown = |bench: &Bench| job(bench, closed, Operation::Encrypt);
        assert_eq!(calls_of_bursts(&mut bench, Status::UnknownSession, unknown), 0);
    }
}

#[test]
fn destinations_extensions_and_long_associated_data_take_no_memory() {
    let suite = Suite::gcm(16);
    let mut bench = Bench::new();
    let session = bench.open(suite.params.clone());
    let extensions = ExtensionPool::new(BURST);
    let plain = suite.plain(&[6; 640], 1);
    for chain in [false, true] {
        let made = calls_of_bursts(&mut bench, Status::Done, |bench| {
            let job = suite.job(packet(bench, &plain, chain), session, Operation::Encrypt, None);
            job.with_destination(bench.packet(b"old"))
        });
        assert_eq!(made, 0, "out of place, chained {chain}");
        let made = calls_of_bursts(&mut bench, Status::Done, |bench| {
            let mut extension = extensions.alloc().unwrap();
            assert!(
                extension.set_iv(&[1; 12])
                    && extension.set_associated_data(&[2; extension::MAX_ASSOCIATED_DATA])
            );
            let job = suite.job(packet(bench, &plain, chain), session, Operation::Encrypt, None);
            job.with_extension(extension)
        });
        assert_eq!(made, 0, "explicit, chained {chain}");
        let made = calls_of_bursts(&mut bench, Status::Done, |bench| {
            let job = suite.job(packet(bench, &plain, chain), session, Operation::Encrypt, None);
            job.with_integrity(0, 300).with_cipher(300, 200)
        });
        assert_eq!(made, 0, "long associated data, chained {chain}");
    }
}

#[test]
fn steps_with_their_own_keys_and_generated_ivs_take_no_memory_whatever_the_algorithm() {
    let mut bench = Bench::new();
    let extensions = ExtensionPool::new(BURST);
    for suite in Suite::alone().into_iter().filter(|suite| suite.iv_len != 0 || suite.tag_len != 8) {
        let session = bench.open(suite.params.clone());
        let plain = suite.plain(&[6; 64], 1);
        let step = suite.step(plain.len()).with_iv(common::HEADER as u32, Iv::Generated);
        let own = suite.params.transforms[0].key().map(|own| own.bytes().to_vec());
        let own = own.filter(|own| (1..=extension::MAX_KEY).contains(&own.len()));
        let job = |bench: &Bench| {
            let mut extension = extensions.alloc().unwrap();
            assert!(extension.push_step(step));
            assert!(own.as_ref().is_none_or(|own| extension.set_step_key(0, own)));
            Job::new(bench.packet(&plain), session, Operation::Encrypt).with_extension(extension)
        };
        let mut bursts = Bursts::default();
        let (bench, job) = (&mut bench, &job);
        (0..WARM_UP).for_each(|_| run_burst(bench, &mut bursts, Status::Done, job));
        let made = calls(|| (0..10).for_each(|_| run_burst(bench, &mut bursts, Status::Done, job)));
        assert_eq!(made, 0, "{}", step.algorithm);
        assert!(bench.registry.close(session));
    }
}

/// Jobs are given out, put back in order, refused, and left with the caller.
#[test]
fn a_scheduler_over_drivers_of_several_kinds_takes_no_memory_by_any_policy() {
    let suite = Suite::gcm(16);
    let plain = suite.plain(&[6; 64], 1);
    for policy in [Policy::RoundRobin, Policy::PacketSize(100), Policy::QueueDepth, Policy::Failover] {
        let builder = Scheduler::builder().policy(policy).child(Box::new(Multibuffer::new()));
        let scheduler = builder.child(Box::new(Software::new())).build().unwrap();
        let registry = Registry::new();
        registry.attach(scheduler).unwrap();
        let mut bench = Bench::over(registry);
        let session = bench.open(suite.params.clone());
        let mut turn = 0;
        let job = |bench: &Bench| {
            turn += 1;
            let packet = packet(bench, &plain, turn % 3 == 0);
            suite.job(packet, session, Operation::Encrypt, None)
        };
        assert_eq!(calls_of_bursts(&mut bench, Status::Done, job), 0, "{policy:?}");
        let closed = bench.open(suite.params.clone());
        assert!(bench.registry.close(closed));
        let job = |bench: &Bench| suite.job(bench.packet(&plain), closed, Operation::Encrypt, None);
        assert_eq!(calls_of_bursts(&mut bench, Status::UnknownSession, job), 0, "{policy:?}");
        // More than there is room for: a part stays, again and again.
        let mut bursts = Bursts::default();
        let mut crowd = |bench: &mut Bench| {
            for _ in 0..8 {
                while bursts.jobs.room() > 0 {
                    bursts
                        .jobs
                        .push(suite.job(bench.packet(&plain), session, Operation::Encrypt, None))
                        .unwrap();
                }
                bench.dispatcher.submit(&mut bursts.jobs);
            }
            while bench.dispatcher.in_flight() > 0 {
                bench.dispatcher.flush();
                bench.dispatcher.poll(&mut bursts.done);
                bursts.done.clear();
            }
        };
        crowd(&mut bench);
        assert_eq!(calls(|| (0..20).for_each(|_| crowd(&mut bench))), 0, "{policy:?}, crowded");
    }
}

#[test]
fn compression_and_lists_take_no_memory() {
    let mut bench = Bench::new();
    let extensions = ExtensionPool::new(BURST);
    let session = bench.open(Transform::compression(CompressionAlgorithm::Deflate));
    let text = [5; 1500];
    let there = |bench: &Bench| {
        Job::new(bench.packet(&text), session, Operation::Encrypt).with_cipher(0, text.len() as u32)
    };
    assert_eq!(calls_of_bursts(&mut bench, Status::Done, there), 0);
    let small = bench.run(there(&bench)).into_packet().data().to_vec();
    let back = |bench: &Bench| {
        let job = Job::new(bench.packet(&small), session, Operation::Decrypt);
        job.with_cipher(0, small.len() as u32).with_destination(bench.packet(&[]))
    };
    assert_eq!(calls_of_bursts(&mut bench, Status::Done, back), 0);

    let suite = Suite::gcm(16);
    let session = bench.open(suite.params.clone());
    let plain = suite.plain(&[6; 64], 1);
    // The pieces go round: out of one job and into the next.
    let (mut jobs, mut done) = (JobBurst::new(), JobBurst::new());
    let mut pieces = Some((Box::<[u8]>::from(&plain[..20]), Box::<[u8]>::from(&plain[20..])));
    let mut round = |bench: &mut Bench| {
        let mut extension = extensions.alloc().unwrap();
        let (front, back) = pieces.take().unwrap();
        extension.push_piece(front).unwrap();
        extension.push_piece(back).unwrap();
        let tag_at = plain.len() - suite.tag_len;
        let job = Job::new(bench.packet(&[]), session, Operation::Encrypt)
            .with_cipher(16, tag_at as u32 - 16)
            .with_iv(8)
            .with_tag(tag_at as u32);
        jobs.push(job.with_extension(extension)).unwrap();
        bench.dispatcher.submit(&mut jobs);
        bench.dispatcher.poll(&mut done);
        let mut job = done.pop().unwrap();
        assert_eq!(job.status(), Status::Done);
        let mut extension = job.take_extension().unwrap();
        let mut taken = extension.take_pieces();
        pieces = Some((taken.next().unwrap(), taken.next().unwrap()));
    };
    round(&mut bench);
    assert_eq!(calls(|| (0..100).for_each(|_| round(&mut bench))), 0);
}

#[test]
fn sessions_that_come_and_go_leave_no_memory_behind() {
    let mut bench = Bench::new();
    let suite = Suite::gcm(16);
    let plain = suite.plain(&[6; 64], 1);
    let round = |bench: &mut Bench| {
        let session = bench.open(suite.params.clone());
        let job = suite.job(bench.packet(&plain), session, Operation::Encrypt, None);
        assert_eq!(bench.run(job).status(), Status::Done);
        assert!(bench.registry.close(session));
    };
    // Queues of changes grow and shrink by blocks of a few dozen; a leak grows with the sessions.
    (0..100).for_each(|_| round(&mut bench));
    let before = BYTES.get();
    (0..5000).for_each(|_| round(&mut bench));
    let grown = BYTES.get() - before;
    assert!(grown < 8192, "{grown} bytes more after 5000 sessions");
}

#[test]
fn a_hundred_thousand_sessions_give_all_memory_back_and_their_places_to_new_ones() {
    const COUNT: usize = 100_000;
    let mut bench = Bench::new();
    let suite = Suite::gcm(16);
    let open_all =
        |bench: &Bench| -> Vec<_> { (0..COUNT).map(|_| bench.open(suite.params.clone())).collect() };
    let close_all = |bench: &mut Bench, sessions: &[SessionId]| {
        assert!(sessions.iter().all(|&session| bench.registry.close(session)));
        bench.dispatcher.poll(&mut JobBurst::new());
        assert_eq!((bench.registry.collect(), bench.registry.open_sessions()), (0, 0));
    };
    // What the tables have grown to stays.
    let mut old = open_all(&bench);
    close_all(&mut bench, &old);
    let before = BYTES.get();
    let mut new = open_all(&bench);
    let each = (BYTES.get() - before) / COUNT as isize;
    // Of which kernels of GCM take 1.5 KiB, for powers of the hash key; the scheduler has it on two drivers.
    let most =
        if std::env::var("SEALANE_LEVEL").is_ok_and(|level| level == "scheduler") { 4500 } else { 3000 };
    assert!(each < most, "{each} bytes a session");
    let plain = suite.plain(&[6; 64], 1);
    for (session, expected) in [(old[77], Status::UnknownSession), (new[77], Status::Done)] {
        let job = suite.job(bench.packet(&plain), session, Operation::Encrypt, None);
        assert_eq!(bench.run(job).status(), expected);
    }
    assert!(!old.iter().any(|&session| bench.registry.close(session)), "an old handle closes nothing");
    assert_eq!(bench.registry.open_sessions(), COUNT);
    close_all(&mut bench, &new);
    old.sort_unstable_by_key(|session| session.index());
    new.sort_unstable_by_key(|session| session.index());
    let follows = |(old, new): (&SessionId, &SessionId)| {
        (old.index(), old.generation() + 1) == (new.index(), new.generation())
    };
    assert!(old.iter().zip(&new).all(follows), "the same places, and every handle a new one");
    drop(new);
    let grown = BYTES.get() - before;
    assert!(grown.abs() < 64 << 10, "{grown} bytes more");
}
