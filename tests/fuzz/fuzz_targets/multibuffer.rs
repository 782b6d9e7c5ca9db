//! Bursts over the multi-buffer driver at every level of this processor, which must come out as from the software driver. The input is what
//! decides what a burst is like; `crypto-pmd/tests/bursts` reads it, and compares.

#![no_main]

#[path = "../../../crypto-pmd/tests/bursts/mod.rs"]
mod bursts;
#[path = "../../../crypto-pmd/tests/common/mod.rs"]
mod common;

use std::cell::RefCell;

use bursts::{Comparison, Tape};
use libfuzzer_sys::fuzz_target;

thread_local! {
    // Sessions stay open from input to input; queue pairs do not.
    static DRIVERS: RefCell<Comparison> = RefCell::new(Comparison::new());
}

fuzz_target!(|input: &[u8]| DRIVERS.with_borrow_mut(|drivers| drivers.check(&mut Tape(input))));
