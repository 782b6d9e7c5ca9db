//! What the tests of the scheduler share: jobs that know what they were, their results by a driver of its own, and a scheduler over
//! children of every temper.

// Each test program uses a part of this; and a function that cannot set a test up may panic.
#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

use crypto_pmd::balance::Policy;
use crypto_pmd::drivers::Scheduler;
use crypto_pmd::drivers::scheduler::Children;
use crypto_pmd::job::JobBurst;
use crypto_pmd::*;
use pipeline::{Pool, PoolConfig};

use crate::card::{Card, Levers};
use crate::common::{self, Bench};

pub(crate) const LEN: usize = 64;

/// AES-CBC with an IV in front, then HMAC over both.
pub(crate) fn chain(key: u8) -> SessionParams {
    [
        Transform::cipher(CipherAlgorithm::AesCbc, Key::new(&[key; 16])),
        Transform::integrity(IntegrityAlgorithm::HmacSha1, Key::new(&[key; 20]), 12),
    ]
    .into_iter()
    .collect()
}

/// `len` bytes between IV and tag.
pub(crate) fn plain(cookie: u64, len: usize) -> Vec<u8> {
    let mut packet = vec![0; 16 + len + 12];
    packet.iter_mut().take(16 + len).enumerate().for_each(|(at, byte)| *byte = (cookie as u8) ^ at as u8);
    packet
}

/// With the cookie, and with an order that can be told from it.
pub(crate) fn job_over(packet: pipeline::Mbuf, session: SessionId, cookie: u64) -> Job {
    let len = packet.packet_len() as u32 - 28;
    let mut job = Job::new(packet, session, Operation::Encrypt)
        .with_iv(0)
        .with_cipher(16, len)
        .with_integrity(0, 16 + len)
        .with_tag(16 + len)
        .with_cookie(cookie);
    job.set_order(order_of(cookie));
    job
}

pub(crate) fn order_of(cookie: u64) -> u32 {
    0xf000_0000 | cookie as u32
}

pub(crate) fn job(bench: &Bench, session: SessionId, cookie: u64) -> Job {
    job_over(bench.packet(&plain(cookie, LEN)), session, cookie)
}

/// What packets are after encryption, by a driver of their own.
pub(crate) struct Oracle(Bench, SessionId);

impl Oracle {
    pub(crate) fn new(key: u8) -> Self {
        let bench = Bench::with_software();
        let session = bench.open(chain(key));
        Self(bench, session)
    }
    pub(crate) fn sealed(&mut self, cookie: u64, len: usize) -> Vec<u8> {
        let job = job_over(self.0.packet(&plain(cookie, len)), self.1, cookie);
        self.0.finish(job).1
    }
    /// Every one of these, in order, as it was given and sealed.
    pub(crate) fn assert_sealed(
        &mut self,
        came: Vec<Job>,
        session: SessionId,
        cookies: std::ops::Range<u64>,
    ) {
        assert!(came.iter().map(Job::cookie).eq(cookies), "{:?}", cookies_of(&came));
        for job in came {
            let cookie = job.cookie();
            assert_eq!((job.session(), job.order()), (session, order_of(cookie)), "job {cookie}");
            assert_eq!(job.status(), Status::Done, "job {cookie}");
            assert_eq!(common::bytes_of(job.source()), self.sealed(cookie, LEN), "job {cookie}");
        }
    }
}

pub(crate) fn cookies_of(jobs: &[Job]) -> Vec<u64> {
    jobs.iter().map(Job::cookie).collect()
}

/// Submits jobs with these numbers in one burst; what stays, in order, must be what it was.
pub(crate) fn submit(bench: &mut Bench, session: SessionId, cookies: std::ops::Range<u64>) -> u64 {
    let mut jobs = JobBurst::new();
    cookies.clone().for_each(|cookie| jobs.push(job(bench, session, cookie)).unwrap());
    let taken = bench.dispatcher.submit(&mut jobs) as u64;
    assert!(jobs.iter().map(Job::cookie).eq(cookies.start + taken..cookies.end));
    for job in jobs.iter() {
        assert_eq!((job.session(), job.order()), (session, order_of(job.cookie())));
    }
    taken
}

/// What comes in so many polls.
pub(crate) fn poll(bench: &mut Bench, times: usize) -> Vec<Job> {
    let (mut came, mut done) = (Vec::new(), JobBurst::new());
    for _ in 0..times {
        bench.dispatcher.poll(&mut done);
        came.extend(done.drain());
    }
    came
}

/// Polls until nothing is under way.
pub(crate) fn drain(bench: &mut Bench) -> Vec<Job> {
    let mut came = Vec::new();
    for _ in 0..10_000 {
        came.extend(poll(bench, 1));
        if bench.dispatcher.in_flight() == 0 {
            return came;
        }
    }
    panic!("{} jobs never came back", bench.dispatcher.in_flight());
}

/// A scheduler over cards `card0`, `card1`, … of which `change` makes what they are.
pub(crate) fn over_cards<const N: usize>(
    policy: Policy,
    change: impl Fn(usize, &mut Capabilities),
) -> (Scheduler, [Levers; N]) {
    let mut builder = Scheduler::builder().policy(policy);
    let levers = std::array::from_fn(|number| {
        let (card, levers) = Card::new(&format!("card{number}"));
        let card = card.with(|capabilities| change(number, capabilities));
        builder = std::mem::take(&mut builder).child(Box::new(card));
        levers
    });
    (builder.build().unwrap(), levers)
}

/// A scheduler alone in a registry.
pub(crate) fn alone(scheduler: Scheduler) -> (Bench, Children) {
    let children = scheduler.children();
    let registry = Registry::new();
    registry.attach(scheduler).unwrap();
    (with_large_pool(registry), children)
}

pub(crate) fn with_large_pool(registry: Registry) -> Bench {
    let mut bench = Bench::over(registry);
    bench.pool = Pool::new(PoolConfig { buffers: 8192, stride: 2048 }).unwrap();
    bench
}

/// Numbers below a bound, the same in each run.
pub(crate) fn draws() -> impl FnMut(u64) -> u64 {
    let mut random = 0x1234_5678_u64;
    move |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    }
}
