//! Every way for a card to fail, alone and in pairs, under load, with two cards and software that stands by, in virtual time: each job ends in one
//! way, nothing wrong is delivered, nothing is overtaken, nothing hangs, and the cards come back.
//!
//! `SEALANE_SEEDS=1000 cargo test --release -p crypto-pmd --test nic_faults` for more than the usual seeds.

// A test program may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod nic_common;

use crypto_pmd::balance::Policy;
use crypto_pmd::drivers::nic::{Fault, Faults, Health, Profile};
use crypto_pmd::job::JobBurst;
use crypto_pmd::{Job, Operation, Status};
use nic_common::{Kind, Load, Rig, Tally, gcm, small};

const KINDS: [Kind; 3] = [Kind::Gcm, Kind::CbcSha1, Kind::Gcm];

/// When a fault strikes during a run of some 500 microseconds, and how often.
fn plan(fault: Fault, seed: u64, shift: u64) -> Faults {
    let ns = 20_000 + (seed.wrapping_mul(7919) + shift * 31_337) % 150_000;
    let faults = Faults::none().with_seed(seed);
    match fault {
        // Now and then in the midst of a burst.
        Fault::EngineHang | Fault::Reset | Fault::RingStuck | Fault::Removal if seed % 2 == 1 => {
            faults.at_rate(fault, 0.003).lasting(150_000)
        }
        // Of the whole card: twice, so that it is met again after it has come back.
        Fault::EngineHang | Fault::Reset | Fault::RingStuck => faults.at(fault, ns, Some(700_000)),
        Fault::Removal => faults.at(fault, ns, Some(900_000)).lasting(150_000),
        Fault::LinkDown => faults.at(fault, ns, None).lasting(100_000),
        Fault::SaTableFull => faults.at_rate(fault, 0.3),
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
    load.patience = [30_000, 2_000_000][seed as usize / 4 % 2];
    load.run(&mut rig, 1000, 10_000, 200_000_000);
    let (tally, counters) = (load.tally.clone(), rig.counters());
    // Once nothing goes wrong any more, every card does its part again.
    rig.slots.iter_mut().for_each(|slot| slot.engine.set_faults(&Faults::none()));
    load.run(&mut rig, 200, 10_000, 200_000_000);
    for _ in 0..2_000 {
        rig.supervise(load.patience);
        rig.advance(1000);
        load.settle(rig.poll());
    }
    let before: Vec<_> = rig.slots.iter().map(|slot| slot.nic.counters().submitted).collect();
    let fresh: Vec<_> = (1..=3).map(|key| rig.open(nic_common::gcm(90 + key), Policy::RoundRobin)).collect();
    assert!(fresh.iter().all(|&id| rig.registry.drivers_of(id).len() >= 2), "{faults:?} seed {seed}");
    load.run(&mut rig, 300, 10_000, 200_000_000);
    for (slot, before) in rig.slots.iter().zip(before) {
        assert_eq!(slot.nic.health(), Health::Working, "{faults:?} seed {seed}: {:?}", slot.nic.counters());
        let idle = policy == Policy::Failover || faults.contains(&Fault::SaTableFull);
        assert!(
            idle || slot.nic.counters().submitted > before,
            "{faults:?} seed {seed}: a card stands idle: {:?}, {:?}",
            rig.counters(),
            load.sessions.iter().map(|&id| rig.registry.drivers_of(id)).collect::<Vec<_>>()
        );
    }
    (tally, counters)
}

fn seeds() -> u64 {
    std::env::var("SEALANE_SEEDS").map_or(3, |text| text.parse().unwrap())
}

/// Faults that a job may be lost by: the card breaks off while it writes over the packet.
const BREAKS_OFF: [Fault; 6] =
    [Fault::EngineHang, Fault::Reset, Fault::Removal, Fault::Never, Fault::Late, Fault::RingStuck];

/// What a run must come to; which of the faults struck.
fn check(profile: &Profile, faults: &[Fault], seed: u64) -> Vec<Fault> {
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
    let struck = |fault: &Fault| counters.iter().flatten().any(|(name, _)| *name == fault.name());
    faults.iter().copied().filter(struck).collect()
}

#[test]
fn every_fault_alone_and_in_pairs_costs_what_it_must_and_no_more() {
    let profiles = [small(""), small_apart()];
    let mut struck = [0; Fault::ALL.len()];
    let mut count = |faults: Vec<Fault>| faults.iter().for_each(|&fault| struck[fault as usize] += 1);
    for seed in 0..seeds() {
        for (place, &first) in Fault::ALL.iter().enumerate() {
            let profile = &profiles[(seed as usize + place) % 2];
            count(check(profile, &[first], seed));
            for &second in Fault::ALL.get(place + 1..).unwrap() {
                count(check(profile, &[first, second], seed));
            }
        }
    }
    let all = Fault::ALL.map(|fault| (fault.name(), struck[fault as usize]));
    assert!(all.iter().all(|(_, count)| *count > 0), "{all:?}");
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

#[test]
fn a_card_that_was_away_while_nobody_used_it_takes_sessions_and_does_their_jobs() {
    let mut rig = Rig::new(&small(""), &["removal@1us~10us".parse().unwrap()], false);
    (0..20).for_each(|_| rig.advance(1000));
    let removals = |rig: &Rig| rig.counters()[0].iter().find(|(name, _)| *name == "removal").map(|one| one.1);
    assert_eq!((removals(&rig), rig.slots[0].card.is_present()), (Some(1), true));
    let session = rig.open(gcm(1), Policy::default());
    let packet = rig.pool.alloc_copy(&Kind::Gcm.frame(1, 64)).unwrap();
    let mut jobs = JobBurst::new();
    jobs.push(Kind::Gcm.job(packet, session, Operation::Encrypt)).unwrap();
    let mut done = Vec::new();
    for _ in 0..1000 {
        rig.dispatcher.submit(&mut jobs);
        done.extend(rig.poll());
        rig.advance(1000);
    }
    assert_eq!(done.iter().map(Job::status).collect::<Vec<_>>(), [Status::Done]);
    let by_card = rig.counters()[0].iter().find(|(name, _)| *name == "completions").map(|one| one.1);
    assert_eq!(by_card, Some(1));
}

/// A card that does nothing any more, whatever is tried: it is given up, and what it had is told.
#[test]
fn a_card_that_hangs_again_and_again_is_given_up_and_others_do_the_work() {
    for profile in [small(""), small_apart()] {
        let faults = Faults::none().at(Fault::EngineHang, 0, Some(1_000));
        let mut rig = Rig::new(&profile, &[faults, Faults::none()], true);
        let mut load = Load::new(&rig, &KINDS, Policy::RoundRobin, 5);
        load.patience = 300_000;
        load.run(&mut rig, 2000, 10_000, 400_000_000);
        assert_eq!(rig.slots[0].nic.health(), Health::Failed, "{:?}", rig.counters());
        let tally = &load.tally;
        assert_eq!((tally.retry, tally.late, tally.rejected), (0, 0, 0), "{tally:?}");
        assert!(tally.indeterminate <= if profile.in_place { 6 * 64 } else { 0 }, "{tally:?}");
        assert!(tally.done + tally.indeterminate == tally.taken);
    }
}
