//! The model of the card against what its profile says, in virtual time: Little's law, bandwidth, latency, and how deep a queue it takes.

// A test program may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::HashMap;

use crypto_pmd::drivers::nic::{Card, CardConfig, Engine, Engines, Faults, Nic, NicConfig, Profile};
use crypto_pmd::job::JobBurst;
use crypto_pmd::*;
use pipeline::clock::Hand;
use pipeline::{Clock, Pool, PoolConfig};

/// One card that is always offered jobs, as many as it may have at once.
struct Closed {
    clock: Clock,
    hand: Hand,
    engine: Engine,
    nic: Nic,
    dispatcher: Dispatcher,
    pool: Pool,
    session: SessionId,
}

/// What a run came to, with the first part left out.
#[derive(Debug)]
struct Seen {
    /// Jobs in flight, averaged over time.
    depth: f64,
    /// Jobs a nanosecond.
    rate: f64,
    /// Nanoseconds that a job was away on the average.
    latency: f64,
}

impl Closed {
    fn new(profile: &Profile, depth: usize, paced: bool) -> Self {
        let (clock, hand) = Clock::manual();
        let config =
            CardConfig { engines: Engines::Null, faults: Faults::none().with_seed(3), clock: clock.clone() };
        let (card, engine) = Card::new(profile.clone(), config).unwrap();
        let registry = Registry::with_clock(clock.clone());
        let pool = Pool::new(PoolConfig { buffers: 4096, ..PoolConfig::default() }).unwrap();
        registry.map_memory(&pool);
        let nic = Nic::new(&card, NicConfig { paced, copies: 2048, ..NicConfig::default() }).unwrap();
        registry.attach(nic.clone()).unwrap();
        // Whatever the card has: nothing is computed.
        let entry = profile.capabilities.integrity.iter().find(|entry| entry.keys.allow(20)).unwrap();
        let params = Transform::integrity(entry.algorithm, Key::new(&[1; 20]), entry.tags[0]);
        let session = registry.open(params.into(), Placement::Any).unwrap();
        let config = QueuePairConfig { depth, ..QueuePairConfig::default() };
        Self { clock, hand, engine, nic, dispatcher: registry.dispatcher(&config).unwrap(), pool, session }
    }

    fn offer(&mut self, next: &mut u64, len: usize, sent: &mut HashMap<u64, u64>) {
        loop {
            let mut jobs = JobBurst::new();
            while jobs.room() > 0
                && let Some(mut packet) = self.pool.alloc()
            {
                packet.append(len).unwrap();
                let job =
                    Job::new(packet, self.session, Operation::Encrypt).with_integrity(0, len as u32 - 32);
                jobs.push(job.with_tag(len as u32 - 32).with_cookie(*next + jobs.len() as u64)).unwrap();
            }
            let taken = self.dispatcher.submit(&mut jobs) as u64;
            sent.extend((*next..*next + taken).map(|cookie| (cookie, self.clock.tick())));
            *next += taken;
            if !jobs.is_empty() || taken == 0 {
                return;
            }
        }
    }

    fn run(mut self, len: usize, jobs: u64) -> Seen {
        let (mut next, mut sent, mut back) = (0, HashMap::new(), 0);
        let (mut area, mut waits, mut counted, mut from, mut last) = (0.0, 0.0, 0_u64, 0, 0);
        let warm = jobs / 5;
        while back < jobs {
            self.offer(&mut next, len, &mut sent);
            self.engine.step();
            let now = self.clock.tick();
            if let Some(at) = self.engine.next_event() {
                let at = at.max(now);
                if back >= warm {
                    area += self.dispatcher.in_flight() as f64 * (at - now) as f64;
                }
                self.hand.advance_to(at);
            }
            self.engine.step();
            let mut done = JobBurst::new();
            while self.dispatcher.poll(&mut done) > 0 {
                for job in done.drain() {
                    assert_eq!(job.status(), Status::Done);
                    let since = sent.remove(&job.cookie()).unwrap();
                    back += 1;
                    if back > warm {
                        waits += (self.clock.tick() - since) as f64;
                        counted += 1;
                    }
                    if back == warm {
                        from = self.clock.tick();
                    }
                }
            }
            last = self.clock.tick();
        }
        let counters = self.nic.counters();
        assert_eq!((counters.stale, counters.nudges, counters.watchdog_resets), (0, 0, 0), "{counters:?}");
        let span = (last - from) as f64;
        Seen { depth: area / span, rate: counted as f64 / span, latency: waits / counted as f64 }
    }
}

fn close(one: f64, other: f64, part: f64) -> bool {
    (one / other - 1.0).abs() <= part
}

#[test]
fn depth_is_throughput_times_latency_and_bandwidth_is_the_profile_s() {
    for name in Profile::names() {
        let profile = Profile::named(name).unwrap();
        for depth in [profile.ring_depth, profile.ring_depth / 2] {
            let seen = Closed::new(&profile, depth, false).run(1408, 20_000);
            let what = format!("{name} at {depth}: {seen:?}");
            assert!(close(seen.depth, seen.rate * seen.latency, 0.01), "{what}");
            assert!(close(seen.depth, depth as f64, 0.05), "{what}");
            let mbps = seen.rate * 1408.0 * 8.0 * 1000.0;
            assert!(close(mbps, profile.bandwidth_mbps as f64, 0.01), "{what}: {mbps} Mbit/s");
        }
    }
}

#[test]
fn short_packets_are_bound_by_what_each_costs_an_engine() {
    for name in Profile::names() {
        let profile = Profile::named(name).unwrap();
        let seen = Closed::new(&profile, profile.ring_depth, false).run(64, 20_000);
        let busy = profile.busy_ns(64);
        assert!(close(seen.rate, profile.engines as f64 / busy, 0.01), "{name}: {seen:?}");
    }
}

#[test]
fn a_job_alone_takes_the_latency_that_the_profile_says() {
    for name in Profile::names() {
        let profile = Profile::named(name).unwrap();
        let seen = Closed::new(&profile, 1, false).run(1408, 20_000);
        let latency = profile.latency;
        let tail =
            if latency.tail_one_in > 0 { latency.tail_ns as f64 / latency.tail_one_in as f64 } else { 0.0 };
        let expected = profile.busy_ns(1408) + latency.ns as f64 + latency.jitter_ns as f64 / 2.0 + tail;
        assert!(close(seen.latency, expected, 0.01), "{name}: {seen:?}, {expected}");
        assert!(close(seen.rate, 1.0 / seen.latency, 0.01), "{name}: {seen:?}");
    }
}

#[test]
fn a_dispatcher_that_paces_itself_keeps_the_card_busy_with_a_short_queue() {
    for name in ["lookaside-accelerator", "inline-25g", "inline-100g", "inline-200g"] {
        let profile = Profile::named(name).unwrap();
        let whole = Closed::new(&profile, 1024, false).run(1408, 40_000);
        let paced = Closed::new(&profile, 1024, true).run(1408, 40_000);
        let what = format!("{name}: {whole:?}, paced {paced:?}");
        // Jobs leave in order: one that takes five times as long holds up more than a short queue has.
        let least = if profile.latency.tail_one_in > 0 { 0.85 } else { 0.95 };
        assert!(paced.rate > least * whole.rate, "{what}");
        assert!(paced.depth < 0.25 * whole.depth, "{what}");
    }
}
