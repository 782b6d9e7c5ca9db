//! The card and its driver in virtual time: what goes in comes out right, in order, and in the time that the profile says.

// A test program may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod nic_common;

use crypto_pmd::balance::Policy;
use crypto_pmd::drivers::nic::Faults;
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
        eprintln!("{more:?}: {counters:?} {:?}", rig.slots[0].card.counters());
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
