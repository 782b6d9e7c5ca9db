//! Every recorded capture out and back in, through the same library that `esp-replay` is.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test fails by panicking")]

use std::path::Path;

use clap::Parser as _;
use ipsec_esp::header::link::Link;
use pipeline::capture::Capture;
use sealane_tests::captures;
use tools::config::Config;
use tools::replay::{BUNDLED_CONFIG, Options, Outcome, Runner, Source};

fn outcome(arguments: &[&str]) -> Outcome {
    let options = Options::parse_from(["esp-replay"].iter().chain(arguments));
    options.check().unwrap();
    let source = Source::of(&options).unwrap();
    let link = Link::try_from(source.capture.link_type()).unwrap();
    let text = std::fs::read_to_string(sealane_tests::pcaps().join("default.toml")).unwrap();
    let config = Config::from_text(BUNDLED_CONFIG, &text, Path::new(".")).unwrap().mirrored().unwrap();
    Runner::new(&options, source, link, &config, vec![None; options.cores.len().max(1)])
        .unwrap()
        .run()
        .unwrap()
}

#[test]
fn every_capture_comes_back_bit_for_bit_at_every_burst() {
    for capture in captures() {
        for burst in ["1", "7", "32", "64"] {
            let name = capture.to_str().unwrap();
            let outcome = outcome(&[name, "--driver", "software", "--burst", burst]);
            assert_eq!(outcome.verified, Some(true), "{name}, burst {burst}: {:?}", outcome.complaint);
            let packets = Capture::read(&capture).unwrap().len() as u64;
            let ledger = &outcome.ledger;
            assert_eq!((ledger.received, ledger.sent), (packets, packets), "{name}, burst {burst}");
            assert!(ledger.is_exact() && ledger.dropped.is_empty(), "{name}: {ledger:?}");
            assert!(ledger.sent_by["decrypted"] > packets / 2, "{name} is hardly protected: {ledger:?}");
        }
    }
}

#[test]
fn every_capture_comes_back_bit_for_bit_over_several_cores_in_both_layouts() {
    for capture in captures() {
        for layout in ["run-to-completion", "pipelined"] {
            for cores in ["0", "0,1", "0,1,2", "0,1,2,3"] {
                for burst in ["1", "7", "32", "64"] {
                    let name = capture.to_str().unwrap();
                    let arguments = [
                        name, "--driver", "software", "--burst", burst, "--layout", layout, "--cores", cores,
                    ];
                    let outcome = outcome(&arguments);
                    let about = format!("{name}, {layout}, cores {cores}, burst {burst}");
                    assert_eq!(outcome.verified, Some(true), "{about}: {:?}", outcome.complaint);
                    let ledger = &outcome.ledger;
                    let packets = Capture::read(&capture).unwrap().len() as u64;
                    assert_eq!((ledger.received, ledger.sent, ledger.held), (packets, packets, 0), "{about}");
                    assert!(outcome.is_good() && ledger.dropped.is_empty(), "{about}: {ledger:?}");
                }
            }
        }
    }
}

#[test]
fn what_is_written_is_the_capture_in_the_same_order() {
    let folder = tempfile::tempdir().unwrap();
    for capture in captures() {
        let out = folder.path().join(capture.file_name().unwrap());
        let arguments = [capture.to_str().unwrap(), "--out", out.to_str().unwrap()];
        assert_eq!(outcome(&arguments).verified, Some(true));
        let (before, after) = (Capture::read(&capture).unwrap(), Capture::read(&out).unwrap());
        assert_eq!((before.link_type(), before.resolution()), (after.link_type(), after.resolution()));
        assert!(before.iter().eq(after.iter()), "{}", out.display());
    }
}

#[test]
fn timed_passes_go_on_with_sequence_numbers_and_lose_nothing() {
    let capture = sealane_tests::pcaps().join("dns.pcap");
    let outcome = outcome(&[capture.to_str().unwrap(), "--repeat", "50"]);
    assert_eq!(outcome.verified, Some(true), "{:?}", outcome.complaint);
    let packets = Capture::read(&capture).unwrap().len() as u64;
    assert_eq!(outcome.ledger.received, 50 * packets);
    assert!(outcome.ledger.is_exact() && outcome.is_good());
    assert_eq!(outcome.latency.len(), 50 * packets);
}

#[test]
fn the_null_driver_moves_everything_and_verifies_nothing() {
    let outcome = outcome(&["--driver", "null", "--generate", "imix,flows=7,packets=600", "--repeat", "3"]);
    assert_eq!(outcome.verified, None);
    assert_eq!((outcome.ledger.received, outcome.ledger.sent), (1800, 1800));
}

#[test]
fn a_jumbo_packet_goes_through_every_stage_in_several_segments() {
    let outcome = outcome(&["--generate", "9000,packets=300", "--burst", "64"]);
    assert_eq!(outcome.verified, Some(true), "{:?}", outcome.complaint);
    assert_eq!(outcome.ledger.sent, 300);
    assert_eq!(outcome.ip_bytes, (300 * 9000, 300 * 9000));
}

#[test]
fn an_sa_that_asks_for_a_card_is_refused_as_long_as_there_is_none() {
    let text = std::fs::read_to_string(sealane_tests::pcaps().join("default.toml")).unwrap();
    for offload in ["inline-crypto", "inline-protocol"] {
        let text = text.replacen("[[sa]]\n", &format!("[[sa]]\noffload = \"{offload}\"\n"), 1);
        let options = Options::parse_from(["esp-replay", "--driver", "software", "--generate", "64"]);
        let source = Source::of(&options).unwrap();
        let link = Link::try_from(source.capture.link_type()).unwrap();
        let config = Config::from_text("t.toml", &text, Path::new(".")).unwrap().mirrored().unwrap();
        let line = config.sas[0].line;
        let runner = Runner::new(&options, source, link, &config, vec![None]).unwrap();
        let failure = runner.path().unwrap_err();
        assert_eq!(failure.code, 2);
        let expected = format!("t.toml:{line}:1: offload = \"{offload}\" needs a card");
        assert!(failure.to_string().starts_with(&expected), "{failure}");
    }
}
