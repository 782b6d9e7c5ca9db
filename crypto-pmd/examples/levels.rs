//! Prints the levels of instruction sets for which this processor has kernels, a line each, the least first.
//!
//! `cargo run -p crypto-pmd --example levels`

#![allow(clippy::print_stdout, reason = "that is what it is for")]

use crypto_pmd::drivers::multibuffer::Level;

fn main() {
    let kernels = Level::ALL.into_iter().filter(|level| *level > Level::Portable);
    for level in kernels.filter(|level| level.checked().is_ok()) {
        println!("{level}");
    }
}
