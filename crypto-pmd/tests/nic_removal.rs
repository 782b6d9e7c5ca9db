//! A card that is pulled out every ten virtual milliseconds and put back a millisecond later, while packets go on: none is lost where the card works
//! out of place, and where it works in place those are counted that it had begun.
//!
//! `SEALANE_JOBS=10000000 cargo test --release -p crypto-pmd --test nic_removal` for another number of packets than a million.

// A test program may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod nic_common;

use std::time::Duration;

use crypto_pmd::drivers::nic::{Card, CardConfig, Engines, Faults, Nic, NicConfig, Profile};
use crypto_pmd::job::JobBurst;
use crypto_pmd::*;
use nic_common::{Kind, Reference, small};
use pipeline::{Clock, Pool, PoolConfig};

/// Frames that are sent over and over.
const FRAMES: usize = 64;

struct Books {
    done: u64,
    indeterminate: u64,
    removals: u64,
}

/// So many packets over one card, two every microsecond.
fn replay(profile: &Profile, jobs: u64) -> Books {
    let (clock, hand) = Clock::manual();
    let faults: Faults = "removal@10001us/10ms~1ms".parse().unwrap();
    let config = CardConfig { engines: Engines::default(), faults, clock: clock.clone() };
    let (card, mut engine) = Card::new(profile.clone(), config).unwrap();
    let registry = Registry::with_clock(clock.clone());
    let pool = Pool::new(PoolConfig::default()).unwrap();
    registry.map_memory(&pool);
    let times = |watchdog, patience| NicConfig {
        watchdog: Duration::from_micros(watchdog),
        patience: Duration::from_micros(patience),
        ..NicConfig::default()
    };
    let nic = Nic::new(&card, times(200, 50_000)).unwrap();
    registry.attach(nic.clone()).unwrap();
    let kind = Kind::Gcm;
    let session = registry.open(kind.params(1), Placement::Any).unwrap();
    let mut dispatcher = registry.dispatcher(&QueuePairConfig::default()).unwrap();
    let mut reference = Reference::new(&[kind]);
    let frames: Vec<_> = (0..FRAMES as u64).map(|number| kind.frame(number, 16 + number as usize)).collect();
    let sealed: Vec<_> = frames.iter().map(|frame| reference.seal(0, kind, frame)).collect();
    let (mut next, mut expected) = (0, 0);
    let mut books = Books { done: 0, indeterminate: 0, removals: 0 };
    let (mut waiting, mut done) = (JobBurst::new(), JobBurst::new());
    while expected < jobs {
        while waiting.len() < 32 && next < jobs {
            let Some(packet) = pool.alloc_copy(&frames[next as usize % FRAMES]) else { break };
            waiting.push(kind.job(packet, session, Operation::Encrypt).with_cookie(next)).unwrap();
            next += 1;
        }
        dispatcher.submit(&mut waiting);
        hand.advance(16_000);
        engine.step();
        dispatcher.poll(&mut done);
        for job in done.drain() {
            assert_eq!(job.cookie(), expected, "in order, and each once");
            expected += 1;
            match job.status() {
                Status::Done => {
                    let right = &sealed[job.cookie() as usize % FRAMES];
                    assert!(job.into_packet().data() == right, "job {} is wrong", expected - 1);
                    books.done += 1;
                }
                Status::Indeterminate => books.indeterminate += 1,
                other => panic!("job {} ended as {other:?}", expected - 1),
            }
        }
        assert!(clock.tick() < 40_000 * jobs + 1_000_000_000, "it hangs: {:?}", nic.counters());
    }
    books.removals =
        card.counters().iter().find(|(name, _)| *name == "removal").map_or(0, |(_, count)| *count);
    assert_eq!((dispatcher.in_flight(), pool.available()), (0, pool.buffers()));
    assert_eq!(nic.counters().indeterminate, books.indeterminate);
    books
}

fn jobs() -> u64 {
    std::env::var("SEALANE_JOBS").map_or(1_000_000, |text| text.parse().unwrap())
}

#[test]
fn out_of_place_no_packet_is_lost_however_often_the_card_is_pulled_out() {
    let books = replay(&small("in_place = false"), jobs());
    assert!(books.removals >= jobs() / 25_000, "{}", books.removals);
    assert_eq!((books.done, books.indeterminate), (jobs(), 0));
}

#[test]
fn in_place_only_those_that_the_card_had_begun_are_lost_and_each_is_counted() {
    let books = replay(&small(""), jobs());
    assert!(books.removals >= jobs() / 25_000, "{}", books.removals);
    assert_eq!(books.done + books.indeterminate, jobs());
    // No more than the card has inside at once.
    assert!(books.indeterminate > 0 && books.indeterminate <= books.removals * 32, "{}", books.indeterminate);
}
