//! Every way for a card to fail, alone and in pairs, under load, with two cards and software that stands by, in virtual time: each job ends in one
//! way, nothing wrong is delivered, nothing is overtaken, nothing hangs, and the cards come back.
//!
//! `SEALANE_SEEDS=1000 cargo test --release -p crypto-pmd --test nic_faults` for more than the usual seeds.

// A test program may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod nic_common;

use crypto_pmd::balance::Policy;
use crypto_pmd::drivers::nic::{Fault, Faults, Health, Profile};
use nic_common::{Kind, Load, Rig, Tally, small};

const KINDS: [Kind; 3] = [Kind::Gcm, Kind::CbcSha1, Kind::Gcm];

/// When a fault strikes during a run of some 400 microseconds, and how often.
fn plan(fault: Fault, seed: u64, shift: u64) -> Faults {
    let ns = 20_000 + (seed.wrapping_mul(7919) + shift * 31_337) % 150_000;
    let faults = Faults::none().with_seed(seed);
    match fault {
        // Of the whole card: twice, so that it is met again after it has come back.
        Fault::EngineHang | Fault::Reset | Fault::RingStuck => faults.at(fault, ns, Some(700_000)),
        Fault::Removal => faults.at(fault, ns, Some(900_000)).lasting(150_000),
        Fault::LinkDown | Fault::SaTableFull => faults.at(fault, ns, None).lasting(100_000),
        Fault::Late => faults.at_rate(fault, 0.01).lasting(350_000),
        Fault::Never | Fault::DoorbellLost => faults.at_rate(fault, 0.01),
        _ => faults.at_rate(fault, 0.05),
    }
}

/// A run with these faults on the first card, and the first of them on the second one, too.
fn run(profile: &Profile, faults: &[Fault], seed: u64) -> (Tally, Vec<Vec<(&'static str, u64)>>) {
    let text: Vec<String> =
        (0..).zip(faults).map(|(shift, &fault)| plan(fault, seed, shift).to_string()).collect();
    let first: Faults = text.join(",").parse().unwrap();
    let second = plan(faults[0], seed + 1, 5);
    let mut rig = Rig::new(profile, &[first.with_seed(seed), second], true);
    let policy = [Policy::RoundRobin, Policy::QueueDepth, Policy::Failover, Policy::PacketSize(200)]
        [seed as usize % 4];
    let mut load = Load::new(&rig, &KINDS, policy, seed);
    load.run(&mut rig, 400, 4000, 200_000_000);
    // The cards are back and do something.
    for slot in &mut rig.slots {
        assert!(
            !matches!(slot.nic.health(), Health::Failed),
            "{faults:?} seed {seed}: {:?}",
            slot.nic.counters()
        );
    }
    (load.tally, rig.counters())
}

fn seeds() -> u64 {
    std::env::var("SEALANE_SEEDS").map_or(2, |text| text.parse().unwrap())
}

/// Faults that a job may be lost by: the card breaks off while it writes over the packet.
const BREAKS_OFF: [Fault; 6] =
    [Fault::EngineHang, Fault::Reset, Fault::Removal, Fault::Never, Fault::Late, Fault::RingStuck];

fn check(profile: &Profile, faults: &[Fault], seed: u64) {
    let (tally, counters) = run(profile, faults, seed);
    let may = |which: &[Fault]| faults.iter().any(|fault| which.contains(fault));
    let what = || format!("{faults:?} seed {seed}: {tally:?} {counters:?}");
    assert_eq!(tally.late, 0, "{}", what());
    assert_eq!(tally.retry, 0, "somebody else could: {}", what());
    if !may(&BREAKS_OFF) || !profile.in_place {
        assert_eq!(tally.indeterminate, 0, "{}", what());
    }
    if !may(&[Fault::IcvError]) {
        assert_eq!(tally.rejected, 0, "{}", what());
    }
    assert!(tally.done * 10 > tally.taken * 6, "{}", what());
}

#[test]
fn every_fault_alone_and_in_pairs_costs_what_it_must_and_no_more() {
    let profiles = [small(""), small_apart()];
    for seed in 0..seeds() {
        for (place, &first) in Fault::ALL.iter().enumerate() {
            let profile = &profiles[(seed as usize + place) % 2];
            check(profile, &[first], seed);
            for &second in Fault::ALL.get(place + 1..).unwrap() {
                check(profile, &[first, second], seed);
            }
        }
    }
}

fn small_apart() -> Profile {
    small("in_place = false")
}

#[test]
fn a_run_with_one_seed_is_the_same_to_the_last_job() {
    for seed in 0..4 {
        let faults = [Fault::EngineHang, Fault::OutOfOrder];
        let (one, other) = (run(&small(""), &faults, seed), run(&small(""), &faults, seed));
        assert_eq!(one, other);
        assert_ne!(one.0.trace, run(&small(""), &faults, seed + 10).0.trace);
    }
}
