//! What key operations do to memory: the core that submits and polls neither takes any nor gives any back, and no block of the heap
//! is given back with an operand in it, on whichever thread.

// A test program may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod key_common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use crypto_pmd::Placement;
use crypto_pmd::key_op::KeyOperation;
use key_common::KeyBench;

/// Distinct bytes, so that no part of it occurs by chance; odd, and the top bit is clear.
const MARKER: [u8; 32] = *b"kEy-mArKeR\xd4nEvEr*bY\xc3cHaNcE!\xe7\x8a\x01\x91\xf3";
/// Bytes that are looked for at a time: a limb.
const NEEDLE: usize = 8;

struct Watch;

#[global_allocator]
static WATCH: Watch = Watch;

/// Blocks of any thread that were given back with a part of the marker in them.
static HITS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Calls of this thread to the allocator.
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator; looking at a block changes nothing.
unsafe impl GlobalAlloc for Watch {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        // Zeroed, so that every byte may be looked at.
        // SAFETY: passed on from the caller.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        CALLS.set(CALLS.get() + 1);
        // SAFETY: the block is allocated, was zeroed when it was, and its owner gives it up.
        let bytes = unsafe { std::slice::from_raw_parts(block, layout.size()) };
        HITS.fetch_add(usize::from(holds_needle(bytes)), Ordering::SeqCst);
        // SAFETY: passed on from the caller.
        unsafe { System.dealloc(block, layout) };
    }
}

/// Looks for limbs of the marker, as bytes and as a little-endian machine keeps numbers.
fn holds_needle(bytes: &[u8]) -> bool {
    bytes
        .windows(NEEDLE)
        .any(|window| MARKER.chunks(NEEDLE).any(|limb| window == limb || window.iter().rev().eq(limb)))
}

/// One test at a time: what is counted belongs to the program.
#[test]
fn no_memory_is_taken_on_the_core_and_no_operand_stays_behind() {
    drop(MARKER.to_vec());
    assert_eq!(HITS.swap(0, Ordering::SeqCst), 1, "the watch sees a careless block");
    let modulus = [vec![0xff; 31], vec![0xf1]].concat();
    let prime = [&[0x7f; 15][..], &[0xff]].concat();

    let mut bench = KeyBench::new();
    // A key that is used everywhere: as exponent, base, modulus, prime, private values.
    let cases: [(KeyOperation, Vec<&[u8]>); 5] = [
        (KeyOperation::ModExp, vec![&MARKER, &MARKER, &modulus]),
        (KeyOperation::ModExp, vec![&[5], &MARKER, &MARKER]),
        (KeyOperation::ModExpCrt, vec![&MARKER, &prime, &[9], &MARKER, &MARKER, &MARKER]),
        (KeyOperation::DsaSign, vec![&MARKER, &MARKER, &MARKER, &MARKER, &MARKER]),
        (KeyOperation::DhComputeKey, vec![&MARKER, &[5], &modulus]),
    ];
    let mut calls = Vec::with_capacity(100);
    for (operation, inputs) in cases.iter().cycle().take(100) {
        let before = CALLS.get();
        let mut request = bench.pool.alloc(*operation).unwrap();
        inputs.iter().for_each(|input| request.add_input(input).unwrap());
        operation.outputs().iter().for_each(|_| request.add_output(512).unwrap());
        bench.dispatcher.submit(request, Placement::Any).unwrap();
        while bench.dispatcher.poll().is_none() {
            std::thread::yield_now();
        }
        calls.push(CALLS.get() - before);
    }
    assert!(calls.iter().all(|&calls| calls == 0), "{calls:?}");
    drop(bench);
    assert_eq!(HITS.load(Ordering::SeqCst), 0);
}
