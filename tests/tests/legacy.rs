//! Broken algorithms are built only where the feature `legacy` is on: what cargo would build, with it and without. And ESP runs
//! suites of them only where the configuration says `allow_legacy`.

// A test program may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use clap::Parser as _;
use ipsec_esp::header::link::Link;
use ipsec_esp::suite::Suite;
use tools::config::Config;
use tools::replay::{Options, Runner, Source};

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

fn config(suite: &Suite, allow: &str) -> String {
    let key = |len: usize| "5a".repeat(len);
    let encryption = match suite.encryption_key_len() {
        0 => String::new(),
        len => format!("encryption_key = \"{}\"\n", key(len)),
    };
    format!(
        "[[sa]]\nname = \"old\"\ndirection = \"outbound\"\nspi = 0x1001\nsuite = \"{suite}\"\n{encryption}\
         integrity_key = \"{}\"\nmode = \"tunnel\"\n\
         tunnel = {{ src = \"192.0.2.1\", dst = \"192.0.2.2\" }}\n{allow}\
         [[policy]]\ndirection = \"outbound\"\npriority = 1\naction = \"protect\"\nsa = \"old\"\n\
         selector = {{ src = \"0.0.0.0/0\", dst = \"0.0.0.0/0\", protocol = \"any\", src_port = \"any\", dst_port = \"any\" }}\n",
        key(suite.integrity_key_len())
    )
}

#[test]
fn esp_runs_a_legacy_suite_only_where_the_configuration_allows_it() {
    let capture = sealane_tests::captures().into_iter().next().unwrap();
    for suite in Suite::LEGACY {
        for refused in ["", "allow_legacy = false\n"] {
            let error = Config::from_text("old.toml", &config(suite, refused), Path::new(".")).unwrap_err();
            let said = error.to_string();
            assert!(said.starts_with(&format!("old.toml:5:9: suite \"{suite}\" is legacy: ")), "{said}");
            assert!(said.contains("RFC 8221") && said.ends_with("allow_legacy = true for this SA"), "{said}");
        }
        let text = config(suite, "allow_legacy = true\n");
        let config = Config::from_text("old.toml", &text, Path::new(".")).unwrap().mirrored().unwrap();
        let options = Options::parse_from(["esp-replay", capture.to_str().unwrap(), "--driver", "software"]);
        options.check().unwrap();
        let source = Source::of(&options).unwrap();
        let link = Link::try_from(source.capture.link_type()).unwrap();
        let outcome = Runner::new(&options, source, link, &config, vec![None]).unwrap().run().unwrap();
        assert_eq!(outcome.verified, Some(true), "{suite}: {:?}", outcome.complaint);
        assert!(outcome.ledger.sent_by["decrypted"] > 0, "{suite}: {:?}", outcome.ledger);
    }
}
