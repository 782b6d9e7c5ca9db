//! Which packets pass, are protected, or end, as policies say; and fragments, which ESP takes or leaves by mode
//! (RFC 4301 sections 5.1 and 5.2, RFC 4303 sections 3.3.4 and 3.4.1).

// A test program may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::frames::{self, A4, A6, B4, B6, EAST4, EAST6, ESP, UDP, V4, V6, WEST4, WEST6, Wire, udp};
use common::pattern;
use common::rig::{Fate, Rig, TRANSPORT, between, new_pool, protect, sa_of, tunnel4};
use common::seal::{HandSealer, in_tunnel, padded};
use ipsec_esp::header::esp::Spi;
use ipsec_esp::header::link::Link;
use ipsec_esp::sa::SaParams;
use ipsec_esp::selector::Selector;
use ipsec_esp::spd::Action;

const IPV4: u8 = 4;

/// Two SAs with a policy each, a policy that lists both, one that lets pass, one that discards; the rest matches none.
fn two_sas() -> (Rig, [HandSealer; 2]) {
    let sas = [0x1001, 0x1002].map(|spi| SaParams { spi: Spi(spi), ..sa_of("aes128gcm16", tunnel4()) });
    let mut rig = Rig::bare(Link::Raw, new_pool(64));
    let [one, two] = [rig.add_in(&sas[0]), rig.add_in(&sas[1])];
    rig.policy_in(between("10.1.0.0/16", "any"), protect(&[one]));
    rig.policy_in(between("10.2.0.0/16", "any"), protect(&[two]));
    rig.policy_in(between("10.3.0.0/16", "any"), protect(&[one, two]));
    rig.policy_in(between("10.4.0.0/16", "any"), Action::Bypass);
    rig.policy_in(between("10.5.0.0/16", "any"), Action::Discard);
    (rig, sas.map(|params| HandSealer::new(&params)))
}

fn from(net: u8) -> Vec<u8> {
    V4::between([10, net, 0, 1], B4, UDP).packet(&udp(1, 2, b"who sent this"))
}

#[test]
fn the_inner_packet_must_have_come_by_an_sa_of_its_policy() {
    let (mut rig, mut sealers) = two_sas();
    let (out, wrong_sa) = (|net| Fate::Out("decrypted", from(net)), Fate::Dropped("wrong_sa"));
    let no_match = Fate::Dropped("selector_mismatch");
    // Twice, as the second answer comes from the cache.
    for round in 0..2 {
        let cases = [
            (1, [out(1), wrong_sa.clone()]),
            (2, [wrong_sa.clone(), out(2)]),
            (3, [out(3), out(3)]),
            (4, [no_match.clone(), no_match.clone()]),
            (5, [Fate::Dropped("policy_discard"), Fate::Dropped("policy_discard")]),
            (6, [no_match.clone(), no_match.clone()]),
        ];
        for (net, fates) in cases {
            for (sealer, expected) in sealers.iter_mut().zip(fates) {
                let sequence = u64::from(net) + 10 * round;
                let esp = sealer.esp(sequence, &padded(&from(net), 4, IPV4));
                assert_eq!(rig.open(&in_tunnel(&esp)), expected, "from 10.{net}/16, round {round}");
            }
        }
    }
    rig.assert_exact();
}

#[test]
fn a_packet_in_the_clear_passes_only_where_a_policy_says_bypass() {
    let (mut rig, _) = two_sas();
    for _ in 0..2 {
        for net in [1, 2, 3] {
            assert_eq!(rig.open(&from(net)), Fate::Dropped("unprotected"));
        }
        assert_eq!(rig.open(&from(4)), Fate::Out("bypassed", from(4)));
        assert_eq!(rig.open(&from(5)), Fate::Dropped("policy_discard"));
        assert_eq!(rig.open(&from(6)), Fate::Dropped("no_policy"));
    }
    rig.assert_exact();
}

#[test]
fn outbound_packets_are_protected_passed_or_dropped_as_the_policy_says() {
    let mut rig = Rig::bare(Link::Raw, new_pool(64));
    let slot = rig.add_out(&sa_of("aes128gcm16", tunnel4()));
    rig.policy_out(between("10.1.0.0/16", "any"), protect(&[slot]));
    rig.policy_out(between("10.4.0.0/16", "any"), Action::Bypass);
    rig.policy_out(between("10.5.0.0/16", "any"), Action::Discard);
    for _ in 0..2 {
        assert!(matches!(rig.seal(&from(1)), Fate::Out("protected", _)));
        assert_eq!(rig.seal(&from(4)), Fate::Out("bypassed", from(4)));
        assert_eq!(rig.seal(&from(5)), Fate::Dropped("policy_discard"));
        assert_eq!(rig.seal(&from(6)), Fate::Dropped("no_policy"));
    }
    rig.assert_exact();
}

#[test]
fn frames_that_are_not_ip_pass_both_ways_unchanged() {
    let mut rig = Rig::new(Wire::Ethernet.link(), &sa_of("aes128gcm16", tunnel4()));
    let mut arp = Wire::Ethernet.header(false);
    arp[12..].copy_from_slice(&[0x08, 0x06]);
    arp.extend(pattern(28, 0));
    assert_eq!(rig.seal(&arp), Fate::Out("bypassed_non_ip", arp.clone()));
    assert_eq!(rig.open(&arp), Fate::Out("bypassed_non_ip", arp.clone()));
    rig.assert_exact();
}

#[test]
fn transport_checks_the_policy_with_the_protocol_that_was_inside() {
    let mut rig = Rig::bare(Link::Raw, new_pool(64));
    let params = sa_of("aes128gcm16", TRANSPORT);
    let out = rig.add_out(&params);
    rig.policy_out(Selector::ANY, protect(&[out]));
    let slot = rig.add_in(&params);
    let only = Selector::parse("any", "any", "udp", "any", "2222").unwrap();
    rig.policy_in(only, protect(&[slot]));
    for (port, expected) in [(2222, true), (2223, false)] {
        let packet = V4::default().packet(&udp(1, port, b"payload"));
        let sealed = rig.sealed(&packet);
        let fate = if expected { Fate::Out("decrypted", packet) } else { Fate::Dropped("selector_mismatch") };
        assert_eq!(rig.open(&sealed), fate);
    }
    rig.assert_exact();
}

#[test]
fn fragments_of_esp_are_not_opened() {
    let fragments = [
        V4 { fragment: 0x2000, ..V4::between(EAST4, WEST4, ESP) }.packet(&pattern(80, 0)),
        V4 { fragment: 0x0010, ..V4::between(EAST4, WEST4, ESP) }.packet(&pattern(80, 0)),
        V6 { extensions: vec![frames::fragment(0, true)], ..V6::between(EAST6, WEST6, ESP) }
            .packet(&pattern(80, 0)),
        V6 { extensions: vec![frames::fragment(80, false)], ..V6::between(EAST6, WEST6, ESP) }
            .packet(&pattern(80, 0)),
    ];
    let mut rig = Rig::new(Link::Raw, &sa_of("aes128gcm16", tunnel4()));
    for fragment in fragments {
        assert_eq!(rig.open(&fragment), Fate::Dropped("outer_fragment"));
    }
    rig.assert_exact();
}

#[test]
fn a_fragment_goes_into_a_tunnel_whole_and_never_into_transport() {
    let fragments = [
        V4 { fragment: 0x2000, ..V4::between(A4, B4, UDP) }.packet(&pattern(80, 0)),
        V4 { fragment: 0x0010, ..V4::between(A4, B4, UDP) }.packet(&pattern(80, 0)),
        V6 { extensions: vec![frames::fragment(0, true)], ..V6::between(A6, B6, UDP) }
            .packet(&pattern(80, 0)),
        V6 { extensions: vec![frames::fragment(80, false)], ..V6::between(A6, B6, UDP) }
            .packet(&pattern(80, 0)),
    ];
    let mut transport = Rig::new(Link::Raw, &sa_of("aes128gcm16", TRANSPORT));
    let mut tunnel = Rig::new(Link::Raw, &sa_of("aes128gcm16", tunnel4()));
    for fragment in fragments {
        assert_eq!(transport.seal(&fragment), Fate::Dropped("fragment_in_transport"));
        let sealed = tunnel.sealed(&fragment);
        assert_eq!(tunnel.open(&sealed), Fate::Out("decrypted", fragment));
    }
    transport.assert_exact();
    tunnel.assert_exact();
}

#[test]
fn a_packet_without_a_payload_protocol_goes_by_tunnel_and_never_by_transport() {
    const NO_NEXT_HEADER: u8 = 59;
    let empty = V6::between(A6, B6, NO_NEXT_HEADER).packet(&[]);
    let mut transport = Rig::new(Link::Raw, &sa_of("aes128gcm16", TRANSPORT));
    assert_eq!(transport.seal(&empty), Fate::Dropped("no_next_header"));
    let mut tunnel = Rig::new(Link::Raw, &sa_of("aes128gcm16", tunnel4()));
    let sealed = tunnel.sealed(&empty);
    assert_eq!(tunnel.open(&sealed), Fate::Out("decrypted", empty));
}

#[test]
fn what_hides_behind_too_many_tags_is_not_let_out_unasked() {
    let ip = V4::between(A4, B4, UDP).packet(&udp(1, 2, b"secret"));
    let mut frame = vec![2; 12];
    frame.extend([0x81, 0, 0, 1].repeat(3));
    frame.extend([0x08, 0x00]);
    frame.extend(ip);
    let mut rig = Rig::new(Link::Ethernet, &sa_of("aes128gcm16", tunnel4()));
    assert_eq!(rig.seal(&frame), Fate::Dropped("malformed_header"));
    assert_eq!(rig.open(&frame), Fate::Dropped("malformed_header"));
}

#[test]
fn an_atomic_fragment_is_a_whole_packet() {
    let packet =
        V6 { extensions: vec![frames::fragment(0, false)], ..V6::default() }.packet(&udp(1, 2, b"all of it"));
    let mut rig = Rig::new(Link::Raw, &sa_of("aes128gcm16", TRANSPORT));
    let sealed = rig.sealed(&packet);
    assert_eq!(rig.open(&sealed), Fate::Out("decrypted", packet));
}
