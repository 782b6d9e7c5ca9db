//! The multi-buffer driver against the software driver: bursts of mixed suites, sessions, lengths and directions, at every level
//! that the processor has. `bursts` says what bursts there are, and compares.
//!
//! `SEALANE_JOBS=10000000 cargo test --release -p crypto-pmd --test multibuffer` for more than the usual jobs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod bursts;
mod common;

use bursts::{Comparison, Order, Random, Tape};
use crypto_pmd::drivers::multibuffer::{Level, LevelError, Multibuffer};
use crypto_pmd::*;

#[test]
fn bursts_of_all_kinds_come_out_as_from_the_software_driver() {
    let jobs: usize = std::env::var("SEALANE_JOBS").map_or(12_000, |text| text.parse().unwrap());
    let (mut random, mut drivers) = (Random(0x5ea1_a9e5), Comparison::new());
    while drivers.tally.jobs < jobs {
        drivers.check(&mut random);
    }
    let tally = &drivers.tally;
    assert!(tally.refused > tally.jobs / 30 && tally.done > tally.jobs / 2, "{tally:?}");
}

/// What the fuzzer found worth keeping (`tests/fuzz-run`).
#[test]
fn inputs_of_the_fuzzer_come_out_as_from_the_software_driver() {
    let mut drivers = Comparison::new();
    let lines = include_str!("data/bursts.txt").lines();
    let mut seen = 0;
    for line in lines.filter(|line| !line.starts_with('#')) {
        drivers.check(&mut Tape(&hex::decode(line).unwrap()));
        seen += 1;
    }
    assert!(seen >= 50 && drivers.tally.refused > 0, "{seen} inputs, {:?}", drivers.tally);
}

/// A short packet cut at each of its bytes.
#[test]
fn a_packet_may_be_cut_at_every_byte() {
    let drivers = Comparison::new();
    let mut random = Random(99);
    for (suite, shape) in drivers.suites.iter().enumerate() {
        let plain = shape.plain(&random.bytes(48), 3);
        let orders = |from: &[u8], operation| -> Vec<Order> {
            let cut = |cut| Order { cuts: vec![cut], ..Order::new(suite, from.to_vec(), operation) };
            (0..from.len().min(64)).map(cut).collect()
        };
        let there = orders(&plain, Operation::Encrypt);
        let sealed = drivers.run_whole(&drivers.software, &there);
        let back = orders(&sealed[0].1, Operation::Decrypt);
        let opened = drivers.run_whole(&drivers.software, &back);
        for (level, side) in &drivers.multibuffer {
            assert_eq!(drivers.run_whole(side, &there), sealed, "{level}");
            assert_eq!(drivers.run_whole(side, &back), opened, "{level}");
        }
    }
}

#[test]
fn a_level_that_the_processor_lacks_is_refused_by_name() {
    assert_eq!(Multibuffer::new().level(), Level::best());
    for level in Level::ALL {
        let made = Multibuffer::with_level(3, level);
        if level <= Level::best() {
            assert_eq!(made.unwrap().name(), "multibuffer3");
        } else {
            let error = made.unwrap_err();
            assert_eq!(error, LevelError::Missing { wanted: level, best: Level::best() });
            assert!(error.to_string().contains(level.name()), "{error}");
        }
    }
}
