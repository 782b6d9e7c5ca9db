//! The card and its driver in virtual time: what goes in comes out right, in order, and in the time that the profile says.

// A test program may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod nic_common;

use crypto_pmd::balance::Policy;
use crypto_pmd::drivers::nic::{Faults, Health};
use crypto_pmd::job::JobBurst;
use crypto_pmd::*;
use nic_common::{Kind, Load, Rig, small};

const KINDS: [Kind; 4] = [Kind::Gcm, Kind::CbcSha1, Kind::Gcm, Kind::CbcSha1];

#[test]
fn jobs_of_all_kinds_come_back_right_and_in_order() {
    for more in ["", "in_place = false", "alignment = 64", "segments = 1\nsa_slots = 8"] {
        let more = more.to_owned();
        let text = nic_common::SMALL;
        let keys: Vec<&str> = more.lines().filter_map(|line| line.split(' ').next()).collect();
        let rest: String = text
            .lines()
            .filter(|line| !keys.iter().any(|key| line.starts_with(key)))
            .map(|line| format!("{line}\n"))
            .collect();
        let profile = crypto_pmd::drivers::nic::Profile::parse("small", &format!("{more}\n{rest}")).unwrap();
        let mut rig = Rig::new(&profile, &[Faults::none()], false);
        let mut load = Load::new(&rig, &KINDS, Policy::RoundRobin, 1);
        load.run(&mut rig, 3000, 4000, 100_000_000);
        assert_eq!(load.tally.done, load.tally.taken, "{more}: {:?}", load.tally);
        let counters = rig.slots[0].nic.counters();
        assert_eq!(
            (counters.stale, counters.watchdog_resets, counters.refused),
            (0, 0, 0),
            "{more}: {counters:?}"
        );
    }
}

#[test]
fn two_cards_share_the_work() {
    let mut rig = Rig::new(&small(""), &[Faults::none(), Faults::none()], true);
    let mut load = Load::new(&rig, &KINDS, Policy::QueueDepth, 2);
    load.run(&mut rig, 3000, 3000, 100_000_000);
    assert_eq!(load.tally.done, load.tally.taken);
    for slot in &rig.slots {
        assert!(slot.nic.counters().submitted > 1000, "{:?}", rig.counters());
    }
}

#[test]
fn a_core_for_which_the_card_has_no_queue_pair_left_has_its_work_done_all_the_same() {
    let mut rig = Rig::new(&small(""), &[Faults::none()], false);
    // The rig's own and another take both.
    let _second = rig.registry.dispatcher(&QueuePairConfig::default()).unwrap();
    rig.dispatcher = rig.registry.dispatcher(&QueuePairConfig::default()).unwrap();
    let mut load = Load::new(&rig, &KINDS, Policy::RoundRobin, 3);
    load.run(&mut rig, 500, 4000, 100_000_000);
    assert_eq!(load.tally.done, load.tally.taken);
    assert!(rig.slots[0].nic.counters().submitted < 10, "{:?}", rig.counters());
}

#[test]
fn a_card_whose_engine_stops_for_good_is_gone_and_gives_everything_back() {
    let mut rig = Rig::new(&small("in_place = false"), &[Faults::none(), Faults::none()], true);
    let mut load = Load::new(&rig, &KINDS, Policy::RoundRobin, 4);
    load.run(&mut rig, 300, 4000, 100_000_000);
    load.offer(&mut rig, 24);
    let stopped = rig.slots.remove(0);
    drop(stopped.engine);
    load.run(&mut rig, 600, 4000, 100_000_000);
    assert_eq!(load.tally.done, load.tally.taken);
    assert_eq!((stopped.nic.health(), stopped.card.is_present()), (Health::Gone, false));
}

#[test]
fn jobs_of_a_queue_pair_that_is_dropped_come_home_when_the_card_has_seen_it_or_never() {
    for card_sees_it in [true, false] {
        let mut rig = Rig::new(&small(""), &[Faults::none()], false);
        let session = rig.open(Kind::Gcm.params(1), Policy::RoundRobin);
        let mut jobs = JobBurst::new();
        for number in 0..8 {
            let packet = rig.pool.alloc_copy(&Kind::Gcm.frame(number, 256)).unwrap();
            jobs.push(Kind::Gcm.job(packet, session, Operation::Encrypt)).unwrap();
        }
        assert_eq!(rig.dispatcher.submit(&mut jobs), 8);
        rig.advance(1);
        let Rig { registry, dispatcher, pool, mut slots, .. } = rig;
        drop(dispatcher);
        assert!(pool.available() < pool.buffers(), "the card has begun with them");
        if card_sees_it {
            slots[0].engine.step();
        }
        registry.collect();
        drop(registry);
        let slot = slots.remove(0);
        drop(slot.nic);
        assert_eq!(pool.available() == pool.buffers(), card_sees_it);
        drop((slot.card, slot.engine));
        assert_eq!(
            pool.available() == pool.buffers(),
            card_sees_it,
            "what it may have written over is nobody's"
        );
    }
}
