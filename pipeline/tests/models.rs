//! Models of what cores share, checked by loom over their interleavings with up to three preemptions: publication and reclaim, the hand-off of bursts,
//! and the reorder window between an owner and its workers.
//!
//! `RUSTFLAGS="--cfg model" cargo test -p pipeline --test models --release`; without the flag this file is empty.

#![cfg(model)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test fails by panicking"
)]

use std::sync::Arc as Plain;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use loom::sync::Arc;
use loom::thread;
use pipeline::publish::{Reader, Table};
use pipeline::reorder::Reorder;
use pipeline::{Burst, Ring};

/// An entry whose end can be seen: the flag is outside of what loom models.
struct Entry {
    value: u32,
    freed: Plain<AtomicBool>,
}

fn entry(value: u32) -> Entry {
    Entry { value, freed: Plain::new(AtomicBool::new(false)) }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.freed.store(true, Relaxed);
    }
}

fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(check);
}

/// What a reader holds is alive, whatever the other thread does meanwhile.
fn look(reader: &Reader<Entry>) {
    if let Some(entry) = reader.find(0) {
        let freed = Plain::clone(&entry.freed);
        assert!(!freed.load(Relaxed));
        thread::yield_now();
        assert!(!freed.load(Relaxed), "freed under a reader");
        assert!(entry.value == 1 || entry.value == 2);
    }
}

#[test]
fn a_reader_never_holds_what_was_freed() {
    model(|| {
        let table = Table::new();
        table.set(0, entry(1));
        let mut reader = table.reader();
        reader.refresh();
        let control = table.clone();
        let core = thread::spawn(move || {
            look(&reader);
            reader.refresh();
            look(&reader);
        });
        control.set(0, entry(2));
        control.collect();
        core.join().unwrap();
        assert_eq!(table.collect(), 0, "the reader is gone");
    });
}

#[test]
fn a_reader_that_comes_back_online_holds_nothing_that_was_freed_meanwhile() {
    model(|| {
        let table = Table::new();
        table.set(0, entry(1));
        // As after a sleep: a reader is offline until its first boundary.
        let mut reader = table.reader();
        let control = table.clone();
        let core = thread::spawn(move || {
            reader.refresh();
            look(&reader);
            reader.offline();
            assert!(reader.find(0).is_none());
        });
        control.set(0, entry(2));
        control.collect();
        core.join().unwrap();
    });
}

#[test]
fn a_grace_is_not_over_before_the_reader_has_passed_a_boundary() {
    model(|| {
        let table: Table<u32> = Table::new();
        let mut reader = table.reader();
        reader.refresh();
        let passed = Plain::new(AtomicBool::new(false));
        let witness = Plain::clone(&passed);
        let control = table.clone();
        let core = thread::spawn(move || {
            assert!(reader.find(0).is_none());
            witness.store(true, Relaxed);
            reader.refresh();
        });
        let grace = control.grace();
        if control.is_over(grace) {
            assert!(passed.load(Relaxed));
        }
        core.join().unwrap();
        assert!(table.is_over(grace));
    });
}

fn burst_of(items: &[u32]) -> Burst<u32> {
    let mut burst = Burst::new();
    items.iter().for_each(|&item| burst.push(item).unwrap());
    burst
}

/// Takes everything until the ring is finished.
fn take_all(ring: &Ring<u32>) -> Vec<u32> {
    let mut came = Vec::new();
    while !ring.is_finished() {
        match ring.pop() {
            Some(burst) => came.extend(burst.iter().copied()),
            None => thread::yield_now(),
        }
    }
    came
}

#[test]
fn bursts_go_over_a_ring_in_order_and_its_end_comes_after_them() {
    model(|| {
        let ring = Arc::new(Ring::with_capacity(1));
        ring.open();
        let to = Arc::clone(&ring);
        let sender = thread::spawn(move || {
            for items in [[1, 2], [3, 4]] {
                let mut burst = burst_of(&items);
                while let Err(back) = to.push(burst) {
                    burst = back;
                    thread::yield_now();
                }
            }
            to.close();
        });
        assert_eq!(take_all(&ring), [1, 2, 3, 4]);
        sender.join().unwrap();
    });
}

#[test]
fn the_end_of_a_ring_comes_after_the_last_of_two_senders() {
    model(|| {
        let ring = Arc::new(Ring::with_capacity(2));
        let senders = [10, 20].map(|base| {
            ring.open();
            let to = Arc::clone(&ring);
            thread::spawn(move || {
                to.push(burst_of(&[base])).unwrap();
                to.close();
            })
        });
        let mut came = take_all(&ring);
        came.sort_unstable();
        assert_eq!(came, [10, 20]);
        senders.into_iter().for_each(|sender| sender.join().unwrap());
    });
}

#[test]
fn an_owner_gets_the_results_of_two_workers_in_order() {
    type Lane = (Arc<Ring<u32>>, Arc<Ring<u32>>);
    model(|| {
        let ring = || Arc::new(Ring::with_capacity(1));
        let lanes: Vec<Lane> = (0..2).map(|_| (ring(), ring())).collect();
        let mut window = Reorder::with_capacity(2);
        for (to, _) in &lanes {
            to.push(burst_of(&[window.reserve()])).unwrap();
        }
        let work = |(to, back): &Lane| {
            let (to, back) = (Arc::clone(to), Arc::clone(back));
            thread::spawn(move || back.push(to.pop().unwrap()).unwrap())
        };
        let workers: Vec<_> = lanes.iter().map(work).collect();
        let mut left = Vec::new();
        while left.len() < 2 {
            for (_, back) in &lanes {
                let burst = back.pop().unwrap_or_default();
                burst.iter().for_each(|&place| window.put(place, place, 0).unwrap());
            }
            left.extend(std::iter::from_fn(|| window.take()));
            thread::yield_now();
        }
        assert_eq!(left, [0, 1]);
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
}
