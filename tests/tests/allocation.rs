//! No heap allocation per packet once the path is warm: a counting allocator around whole passes.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test fails by panicking")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use clap::Parser as _;
use ipsec_esp::header::link::Link;
use tools::config::Config;
use tools::replay::{Options, Runner, Sink, Source};

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// Counts allocations, reallocations and frees of each thread.
struct Counting;

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: passed on from the caller.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: passed on from the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: passed on from the caller.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Heap calls in warm passes over a capture.
fn heap_calls(arguments: &[&str]) -> u64 {
    let options = Options::parse_from(["esp-replay"].iter().chain(arguments));
    let source = Source::of(&options).unwrap();
    let link = Link::try_from(source.capture.link_type()).unwrap();
    let text = std::fs::read_to_string(sealane_tests::pcaps().join("default.toml")).unwrap();
    let config = Config::from_text("default.toml", &text, Path::new(".")).unwrap().mirrored().unwrap();
    let runner = Runner::new(&options, source, link, &config, vec![None]).unwrap();
    let mut core = runner.core_of(runner.path().unwrap(), Sink::null(), 2).unwrap();
    let go_on = AtomicBool::new(false);
    core.run(&go_on);
    let before = COUNT.get();
    core.rx.rewind(20, 0);
    core.run(&go_on);
    let calls = COUNT.get() - before;
    assert!(core.ledger().is_exact());
    assert!(core.ledger().sent > 0);
    calls
}

#[test]
fn warm_passes_make_no_heap_call() {
    for driver in ["null", "software"] {
        for packets in ["64", "1400", "9000", "imix,flows=50"] {
            for burst in ["1", "32", "64"] {
                let calls = heap_calls(&["--driver", driver, "--generate", packets, "--burst", burst]);
                assert_eq!(calls, 0, "{driver}, {packets}, burst {burst}");
            }
        }
    }
}

#[test]
fn warm_passes_over_recorded_packets_make_no_heap_call() {
    for capture in sealane_tests::captures() {
        assert_eq!(heap_calls(&[capture.to_str().unwrap()]), 0, "{}", capture.display());
    }
}

#[test]
fn the_counter_counts() {
    let before = COUNT.get();
    drop(std::hint::black_box(vec![1_u8; 100]));
    assert_eq!(COUNT.get() - before, 2);
}
