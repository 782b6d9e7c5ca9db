//! Policies that change one by one while cores look them up.
//!
//! `SEALANE_CHANGES=1000000 cargo test -p ipsec-esp --test changing_policies --release` for more than the usual changes.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicBool, Ordering};

use ipsec_esp::flow_key::{FlowKey, Upper, V4Key};
use ipsec_esp::sa::SaSlot;
use ipsec_esp::selector::Selector;
use ipsec_esp::spd::{Action, Direction, Policy, PolicyId, Spd};
use proptest::prelude::*;

fn policy(priority: u32, net: u8, action: Action) -> Policy {
    let src = if net == 0 { "any".to_owned() } else { format!("10.0.{net}.0/24") };
    let selector = Selector::parse(&src, "any", "any", "any", "any").unwrap();
    Policy { direction: Direction::Outbound, priority, selector, action }
}

fn protect(slot: u32) -> Action {
    Action::Protect([SaSlot(slot)].into_iter().collect())
}

fn from(net: u8) -> FlowKey {
    FlowKey::V4(V4Key::new([10, 0, net, 1].into(), [192, 0, 2, 1].into(), Upper::with_ports(17, 1, 2)))
}

#[derive(Clone, Debug)]
enum Change {
    Add(u32, u8, u32),
    Remove(prop::sample::Index),
    Replace(prop::sample::Index, u32),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => (0_u32..4, 0_u8..5, 0_u32..9).prop_map(|(priority, net, slot)| Change::Add(priority, net, slot)),
        2 => any::<prop::sample::Index>().prop_map(Change::Remove),
        1 => (any::<prop::sample::Index>(), 0_u32..9).prop_map(|(which, slot)| Change::Replace(which, slot)),
    ]
}

proptest! {
    #[test]
    fn a_view_finds_what_the_database_finds(changes in proptest::collection::vec(change(), 1..150), early in 0_usize..150) {
        let mut spd = Spd::new(Direction::Outbound);
        let mut ids: Vec<PolicyId> = Vec::new();
        let mut view = None;
        for (number, change) in changes.into_iter().enumerate() {
            if number == early {
                // A view that comes later finds what was there before.
                view = Some(spd.view());
            }
            match change {
                Change::Add(priority, net, slot) => ids.push(spd.add(policy(priority, net, protect(slot))).unwrap()),
                Change::Remove(which) if !ids.is_empty() => {
                    let id = ids.swap_remove(which.index(ids.len()));
                    spd.remove(id).unwrap();
                }
                Change::Replace(which, slot) if !ids.is_empty() => {
                    spd.replace_action(*which.get(&ids), protect(slot)).unwrap();
                }
                _ => {}
            }
            if let Some(view) = &mut view {
                view.refresh();
                prop_assert_eq!(view.epoch(), spd.epoch());
                for net in 0..5 {
                    let expected = spd.lookup(&from(net)).map(|(_, policy)| policy);
                    let found = view.lookup(&from(net));
                    prop_assert_eq!(found.map(|(_, policy)| policy), expected);
                    prop_assert!(found.is_none_or(|(slot, policy)| view.policy(slot) == Some(policy)));
                }
            }
        }
        if let Some(view) = &mut view {
            spd.collect();
            view.refresh();
            prop_assert_eq!(spd.collect(), 0);
        }
    }
}

#[test]
fn what_never_changes_is_always_found_and_memory_stays_flat_under_many_changes() {
    let changes: u32 = std::env::var("SEALANE_CHANGES").map_or(50_000, |text| text.parse().unwrap());
    let mut spd = Spd::new(Direction::Outbound);
    // Tried first, in the middle, and last.
    for (priority, net, slot) in [(0, 1, 1), (50, 2, 2), (100, 0, 3)] {
        spd.add(policy(priority, net, protect(slot))).unwrap();
    }
    let mut views = [spd.view(), spd.view()];
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for view in &mut views {
            scope.spawn(|| {
                let mut turns = 0_u64;
                while !done.load(Ordering::Relaxed) {
                    view.refresh();
                    for (net, slots) in [(1, &[1][..]), (2, &[2]), (3, &[3, 7, 8])] {
                        let (_, found) = view.lookup(&from(net)).unwrap();
                        let listed = slots.iter().any(|slot| found.action.lists(SaSlot(*slot)));
                        assert!(listed, "flow {net} found {found:?}");
                    }
                    turns += 1;
                    if turns.is_multiple_of(97) {
                        view.offline();
                        std::thread::yield_now();
                    }
                }
            });
        }
        let mut live = std::collections::VecDeque::new();
        for change in 0..changes {
            // Around those that stay, for a flow of their own and for one that nobody has.
            let net = if change % 2 == 0 { 3 } else { 9 };
            live.push_back(spd.add(policy(change * 37 % 101, net, protect(7))).unwrap());
            if change % 5 == 0 {
                spd.replace_action(live[live.len() / 2], protect(8)).unwrap();
            }
            if live.len() > 20 {
                spd.remove(live.pop_front().unwrap()).unwrap();
            }
            while spd.collect() > 500 {
                std::thread::yield_now();
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    drop(views);
    assert_eq!((spd.collect(), spd.len()), (0, 23));
}
