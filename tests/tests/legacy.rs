//! Broken algorithms are built only where the feature `legacy` is on: what cargo would build, with it and without.

// A test program may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeSet;
use std::process::Command;

/// Crates that hold what is broken; Skipjack is a file of our own behind the same feature.
const BROKEN: [&str; 5] = ["blowfish", "cast5", "des", "md-5", "rc4"];

/// The crates that go into a package, without those of its tests.
fn built(package: &str, features: &[&str]) -> BTreeSet<String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "tree",
        "--offline",
        "--locked",
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--package",
        package,
    ]);
    let output = cargo.args(features).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

fn broken(crates: &BTreeSet<String>) -> Vec<&str> {
    BROKEN.into_iter().filter(|&name| crates.contains(name)).collect()
}

#[test]
fn broken_algorithms_are_built_only_with_the_feature() {
    let without = built("crypto-pmd", &[]);
    assert!(without.contains("aes") && broken(&without).is_empty(), "{:?}", broken(&without));
    assert_eq!(broken(&built("crypto-pmd", &["--features", "legacy"])), BROKEN);
    let tools = built("tools", &[]);
    assert!(tools.contains("crypto-pmd") && broken(&tools).is_empty(), "{:?}", broken(&tools));
}
