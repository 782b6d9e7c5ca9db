//! Shared helpers of the tests across floors.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "helpers of tests may fail loudly, that is how a test fails"
)]

use std::path::PathBuf;

/// The folder of recorded captures.
#[must_use]
pub fn pcaps() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../pcaps")
}

/// Every recorded capture, in the order of their names.
#[must_use]
pub fn captures() -> Vec<PathBuf> {
    let is_capture =
        |path: &PathBuf| path.extension().is_some_and(|ending| ending == "pcap" || ending == "pcapng");
    let entries = std::fs::read_dir(pcaps()).unwrap().map(|entry| entry.unwrap().path());
    let mut captures: Vec<_> = entries.filter(is_capture).collect();
    captures.sort();
    assert!(captures.len() >= 8, "the recorded captures are missing: {captures:?}");
    captures
}
