//! No report delivers what it should not: forged ones, those of what a card found wrong, and packets that no policy lets in by the
//! SA that the card names.

// A test program may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::card::{Host, SLOT, report};
use common::frames::{V4, Wire, udp};
use common::pattern;
use common::rig::{Fate, Rig, between, new_pool, protect, sa_of, tunnel4};
use crypto_pmd::inline::{RxOutcome, RxReport, Service};
use ipsec_esp::header::esp::Spi;
use ipsec_esp::header::link::Link;
use ipsec_esp::inline::InlineError;
use ipsec_esp::sa::{SaParams, SaSlot};
use proptest::prelude::*;

const SERVICES: [Service; 2] = [Service::Crypto, Service::Protocol];
const BAD_REPORT: Fate = Fate::Dropped("bad_report");

fn plain4(len: usize, tag: u8) -> Vec<u8> {
    Wire::Ethernet.frame(&V4::default().packet(&udp(1111, 2222, &pattern(len, tag))))
}

#[test]
fn whatever_a_card_finds_wrong_is_dropped_under_the_reason_that_fits() {
    for service in SERVICES {
        let params = sa_of("aes128gcm16", tunnel4());
        let mut host = Host::at(&params, service);
        let slot = host.receives_at.unwrap().1;
        let sealed = Rig::new(Link::Ethernet, &params).sealed(&plain4(3, 9));
        for (outcome, reason) in [
            (RxOutcome::IntegrityFailed, "integrity_failed"),
            (RxOutcome::Replayed, "replayed"),
            (RxOutcome::TooOld, "replay_too_old"),
            (RxOutcome::Malformed, "malformed_header"),
            (RxOutcome::Failed, "crypto_indeterminate"),
        ] {
            // What is inside is looked at no more: it may be anything.
            for bytes in [&sealed[..], &plain4(20, 1), &[0xee; 3], &[]] {
                let mut packet = host.rig.packet(bytes);
                report(service, outcome, slot, 0).write(&mut packet);
                assert_eq!(host.rig.open_mbuf(packet), Fate::Dropped(reason), "{service:?} {outcome:?}");
            }
        }
        assert_eq!(host.receive(&sealed), Fate::Out("decrypted", plain4(3, 9)), "its number was not used up");
        host.rig.assert_exact();
    }
}

/// A host with an SA in the card and one that is not, for other addresses and with another SPI.
fn two_sas(service: Service) -> (Host, [SaParams; 2]) {
    let first = sa_of("null-sha256", tunnel4());
    let second = SaParams { spi: Spi(0x1002), ..sa_of("null-sha256", tunnel4()) };
    let mut rig = Rig::bare(Link::Ethernet, new_pool(64));
    for (params, to) in [(&first, "10.0.2.0/24"), (&second, "10.0.3.0/24")] {
        let slot = rig.add_out(params);
        rig.policy_out(between("any", to), protect(&[slot]));
        let slot = rig.add_in(params);
        rig.policy_in(between("any", to), protect(&[slot]));
    }
    let mut host = Host::with(rig, &first);
    host.receive_at(Some(service));
    (host, [first, second])
}

fn to(last: [u8; 4]) -> Vec<u8> {
    Wire::Ethernet.frame(&V4 { dst: last, ..V4::default() }.packet(&udp(1, 2, &[7; 30])))
}

#[test]
fn a_forged_report_of_inline_crypto_never_delivers() {
    let (mut host, [first, second]) = two_sas(Service::Crypto);
    let slot = host.receives_at.unwrap().1;
    // Of a NULL suite ciphertext is plaintext, so only the report stands between it and the inside.
    let [mine, others] =
        [&first, &second].map(|params| Rig::new(Link::Ethernet, params).sealed(&to([10, 0, 2, 9])));
    let ok = |slot| report(Service::Crypto, RxOutcome::Ok, slot, 0);
    let inner = to([10, 0, 2, 9]);
    let no_ip = [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 6][..], &[0; 28]].concat();
    for (about, frame, report) in [
        ("another slot", &mine, ok(slot + 1)),
        ("a slot far out", &mine, ok((1 << 24) - 1)),
        ("slot 0", &mine, ok(0)),
        ("another service", &mine, RxReport { service: Service::Protocol, ..ok(slot) }),
        ("a packet of another SA", &others, ok(slot)),
        ("no ESP packet", &inner, ok(slot)),
        ("no IP packet", &no_ip, ok(slot)),
    ] {
        let mut packet = host.rig.packet(frame);
        report.write(&mut packet);
        assert_eq!(host.rig.open_mbuf(packet), BAD_REPORT, "{about}");
    }
    for status in [slot << 8, slot << 8 | 3, slot << 8 | 6 << 4 | 1, 1 << 31] {
        let mut packet = host.rig.packet(&mine);
        packet.set_rx_status(status);
        assert_eq!(host.rig.open_mbuf(packet), BAD_REPORT, "{status:#x}");
    }
    let mut packet = host.rig.packet(&mine);
    ok(slot).write(&mut packet);
    assert_eq!(host.rig.open_mbuf(packet), Fate::Out("decrypted", inner), "a true one does");
    host.rig.assert_exact();
}

#[test]
fn a_forged_report_of_inline_protocol_never_delivers() {
    let (mut host, [first, _]) = two_sas(Service::Protocol);
    let slot = host.receives_at.unwrap().1;
    let ok = |slot| report(Service::Protocol, RxOutcome::Ok, slot, 0);
    let (mine, others) = (to([10, 0, 2, 9]), to([10, 0, 3, 9]));
    let sealed = Rig::new(Link::Ethernet, &first).sealed(&mine);
    for (about, frame, report, reason) in [
        ("another slot", &mine, ok(slot + 1), "bad_report"),
        ("slot 0", &mine, ok(0), "bad_report"),
        ("another service", &mine, RxReport { service: Service::Crypto, ..ok(slot) }, "bad_report"),
        ("a packet that another SA carries", &others, ok(slot), "wrong_sa"),
        ("a packet that no policy knows", &to([10, 0, 9, 9]), ok(slot), "selector_mismatch"),
        ("a packet that is still ESP", &sealed, ok(slot), "selector_mismatch"),
        ("no IP packet", &[0xee; 20].to_vec(), ok(slot), "malformed_header"),
        ("an IP packet cut short", &mine[..30].to_vec(), ok(slot), "malformed_header"),
    ] {
        let mut packet = host.rig.packet(frame);
        report.write(&mut packet);
        assert_eq!(host.rig.open_mbuf(packet), Fate::Dropped(reason), "{about}");
    }
    let mut packet = host.rig.packet(&mine);
    ok(slot).write(&mut packet);
    assert_eq!(host.rig.open_mbuf(packet), Fate::Out("decrypted", mine), "a true one does");
    host.rig.assert_exact();
}

#[test]
fn the_policy_is_asked_by_which_sa_a_decrypted_packet_came() {
    let (mut host, [first, _]) = two_sas(Service::Crypto);
    let mut peer = Rig::new(Link::Ethernet, &first);
    for (dst, fate) in [
        ([10, 0, 3, 9], Fate::Dropped("wrong_sa")),
        ([10, 0, 4, 9], Fate::Dropped("selector_mismatch")),
        ([10, 0, 2, 9], Fate::Out("decrypted", to([10, 0, 2, 9]))),
    ] {
        assert_eq!(host.receive(&peer.sealed(&to(dst))), fate);
    }
    host.rig.assert_exact();
}

#[test]
fn bindings_that_cannot_be_are_refused_with_what_would_be_right() {
    let (mut host, _) = two_sas(Service::Crypto);
    let slot = host.receives_at.unwrap().1;
    let inn = host.rig.inn.half_mut();
    let card = |service, slot| Some((service, slot));
    let taken = inn.set_inline(SaSlot(1), card(Service::Protocol, slot), None).unwrap_err();
    assert_eq!(taken, InlineError::SlotTaken(slot, SLOT));
    assert!(taken.to_string().contains("let that one go first"), "{taken}");
    let far = inn.set_inline(SaSlot(1), card(Service::Crypto, 1 << 24), None);
    assert_eq!(far, Err(InlineError::BadSlot(1 << 24)));
    for missing in [SaSlot(2), SaSlot::of(1, 0)] {
        assert_eq!(inn.set_inline(missing, None, None), Err(InlineError::NoSuchSa(missing)));
        assert_eq!(
            host.rig.out.half_mut().set_inline(missing, None, None),
            Err(InlineError::NoSuchSa(missing))
        );
    }
    let inn = host.rig.inn.half_mut();
    inn.set_inline(SLOT, card(Service::Protocol, slot), None).unwrap();
    assert_eq!(inn.set_inline(SLOT, None, None), Err(InlineError::StateMissing));
    let state = inn.inline_state(SLOT).unwrap();
    assert_eq!(inn.set_inline(SLOT, card(Service::Crypto, 9), Some(&state)), Ok(state));
    inn.set_inline(SaSlot(1), card(Service::Protocol, slot), None).unwrap();
    assert_eq!(inn.set_inline_of_other(9, Some(SaSlot::of(1, 0))), Err(InlineError::SlotTaken(9, SLOT)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Packets of an SA that is bound to nothing, and packets that none carries, with any words, while another SA is bound.
    #[test]
    fn no_word_lets_a_packet_in_that_no_bound_sa_carries(
        words in proptest::collection::vec((any::<u32>(), any::<u64>(), 0_usize..4, any::<bool>()), 1..40),
    ) {
        let (mut host, [_, second]) = two_sas(Service::Protocol);
        let slot = host.receives_at.unwrap().1;
        let frames = [
            Rig::new(Link::Ethernet, &second).sealed(&to([10, 0, 3, 9])),
            to([10, 0, 3, 9]),
            to([10, 0, 9, 9]),
            pattern(60, 1),
        ];
        let packets: Vec<_> = words.iter().map(|&(status, offload, frame, near)| {
            let mut packet = host.rig.packet(&frames[frame]);
            let status = if near { status & 0x73 | slot << 8 } else { status };
            packet.set_rx_status(status.max(1));
            packet.set_offload(offload);
            packet
        }).collect();
        prop_assert_eq!(host.rig.open_all(packets, 32).len(), 0);
        host.rig.assert_exact();
        prop_assert_eq!(host.rig.inn.half().counters().dropped.total(), words.len() as u64);
    }
}
