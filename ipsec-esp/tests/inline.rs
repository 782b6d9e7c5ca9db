//! Cards that do the crypto, or all of ESP, for packets that pass through them: what leaves and what arrives is what it is
//! without a card, and what is wrong is refused for its reason.

// A test program may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::card::{CryptoCard, Host, ProtocolCard, SLOT, find_esp};
use common::frames::{V4, V6, Wire, hop_by_hop, udp};
use common::rig::{Fate, Rig, TRANSPORT, between, new_pool, over_udp, protect, sa, sa_of, tunnel4, tunnel6};
use common::slow::{Pace, Slow};
use common::{bytes_of, chained, pattern};
use crypto_pmd::QueuePairConfig;
use crypto_pmd::inline::{Service, TxOffload};
use ipsec_esp::header::esp::Spi;
use ipsec_esp::header::link::Link;
use ipsec_esp::inline::InlineError;
use ipsec_esp::sa::{Mode, Offload, SaError, SaParams};
use ipsec_esp::suite::{Cipher, Suite};
use pipeline::stage::Stage;
use pipeline::{Burst, Mbuf};

const SERVICES: [Service; 2] = [Service::Crypto, Service::Protocol];

fn plain4(len: usize, tag: u8) -> Vec<u8> {
    Wire::Ethernet.frame(&V4::default().packet(&udp(1111, 2222, &pattern(len, tag))))
}

fn plain6(len: usize, tag: u8) -> Vec<u8> {
    Wire::Ethernet.frame(&V6::default().packet(&udp(1111, 2222, &pattern(len, tag))))
}

/// As ESP changes packets of all lengths; some IPv6 packets with an extension header that stays outside.
fn packets(v6: bool) -> Vec<Vec<u8>> {
    let lens = [0, 1, 2, 3, 13, 14, 15, 16, 200, 1400];
    let mut frames: Vec<_> =
        if v6 { lens.map(|len| plain6(len, 1)) } else { lens.map(|len| plain4(len, 1)) }.into();
    if v6 {
        let hops = V6::with(&[hop_by_hop()]).packet(&udp(1, 2, &pattern(33, 4)));
        frames.push(Wire::Ethernet.frame(&hops));
    }
    frames
}

/// Every mode with what goes into it, with short and extended numbers; these wrap on the way.
fn ways(suite: Suite) -> Vec<(SaParams, bool)> {
    let modes = [(tunnel4(), false), (tunnel4(), true), (tunnel6(), false), (tunnel6(), true)];
    let modes = modes.into_iter().chain([(TRANSPORT, false), (TRANSPORT, true)]);
    let both = modes.flat_map(|(mode, v6)| {
        let params = sa(suite, mode);
        let extended = SaParams { esn: true, sequence: (1 << 32) - 5, ..params.clone() };
        [(params, v6), (extended, v6)]
    });
    both.collect()
}

fn some_suites() -> impl Iterator<Item = Suite> {
    ["aes128-sha1", "aes256-sha512", "aes256gcm16", "null-sha256"]
        .map(|name| Suite::parse(name).unwrap())
        .into_iter()
}

/// A host with a card, and its peer without, talk to each other.
fn assert_understood(params: &SaParams, v6: bool, service: Service) {
    let about = format!("{params:?} v6 {v6} {service:?}");
    let (mut host, mut peer) = (Host::at(params, service), Rig::new(Link::Ethernet, params));
    let frames = packets(v6);
    let sealed = host.send(&frames);
    assert_eq!(sealed.len(), frames.len(), "{about}");
    let random_iv = params.suite.cipher() == Cipher::AesCbc;
    for (sealed, plain) in sealed.iter().zip(&frames) {
        let by_peer = peer.sealed(plain);
        assert!(random_iv || *sealed == by_peer, "{about}: {sealed:02x?} {by_peer:02x?}");
        assert_eq!(sealed.len(), by_peer.len(), "{about}");
        assert_eq!(peer.open(sealed), Fate::Out("decrypted", plain.clone()), "{about}");
        assert_eq!(host.receive(&by_peer), Fate::Out("decrypted", plain.clone()), "{about}");
    }
    host.rig.assert_exact();
}

#[test]
fn peers_without_a_card_and_hosts_with_inline_crypto_understand_each_other() {
    for suite in some_suites() {
        for (params, v6) in ways(suite) {
            assert_understood(&params, v6, Service::Crypto);
        }
        assert_understood(&over_udp(sa(suite, tunnel4())), false, Service::Crypto);
    }
}

#[test]
fn peers_without_a_card_and_hosts_with_inline_protocol_understand_each_other() {
    for suite in some_suites() {
        for (params, v6) in ways(suite) {
            assert_understood(&params, v6, Service::Protocol);
        }
        for (mode, v6) in [(tunnel4(), false), (tunnel6(), true), (TRANSPORT, true)] {
            assert_understood(&over_udp(sa(suite, mode)), v6, Service::Protocol);
        }
    }
}

#[test]
fn the_request_names_service_slot_and_high_half() {
    let params = SaParams { esn: true, sequence: (7 << 32) + 5, ..sa_of("aes128gcm16", tunnel4()) };
    let mut host = Host::at(&params, Service::Crypto);
    let sealed = host.rig.seal_all(vec![host.rig.packet(&plain4(9, 0))], 1);
    let request = TxOffload { service: Service::Crypto, slot: host.sends_at.unwrap().1, esn_high: 7 };
    assert_eq!(TxOffload::read(&sealed[0]), Some(request));
    let (esp, end) = find_esp(&bytes_of(&sealed[0])).unwrap();
    assert_eq!(&bytes_of(&sealed[0])[esp + 16..esp + 16 + 37], &plain4(9, 0)[14..], "not encrypted yet");
    assert_eq!(end, sealed[0].packet_len());
    host.send_at(Some(Service::Protocol));
    let padded = [&plain4(9, 0)[..], &[0; 9]].concat();
    let passed = host.rig.seal_all(vec![host.rig.packet(&padded)], 1);
    assert_eq!(
        TxOffload::read(&passed[0]),
        Some(TxOffload { service: Service::Protocol, slot: 5, esn_high: 0 })
    );
    assert_eq!(bytes_of(&passed[0]), plain4(9, 0), "as it came, without the link's padding");
    host.send_at(None);
    let sealed = host.rig.seal_all(vec![host.rig.packet(&plain4(9, 0))], 1);
    assert_eq!(sealed[0].offload(), 0, "nobody is asked");
}

#[test]
fn packets_in_several_segments_take_the_card_too() {
    for service in SERVICES {
        for suite in some_suites() {
            let params = sa(suite, tunnel4());
            let (mut host, mut peer) = (Host::at(&params, service), Rig::new(Link::Ethernet, &params));
            let frame = plain4(3000, 3);
            let packet = chained(&host.rig.pool, &frame, &[900, 2100]);
            let sealed = host.rig.seal_all(vec![packet], 1).pop().unwrap();
            let sealed = host.transmit(sealed);
            assert_eq!(peer.open(&sealed), Fate::Out("decrypted", frame), "{suite} {service:?}");
            host.rig.assert_exact();
        }
    }
}

#[test]
fn no_flipped_bit_of_esp_passes_a_card() {
    for service in SERVICES {
        for name in ["aes128-sha1", "aes128gcm16", "null-sha256"] {
            for esn in [false, true] {
                let params = SaParams { esn, ..sa_of(name, tunnel4()) };
                let mut host = Host::at(&params, service);
                // No bit of 3 less leaves 0, which would be too old before the ICV is looked at.
                let third = SaParams { sequence: 3, ..params };
                let sealed = Rig::new(Link::Ethernet, &third).sealed(&plain4(3, 9));
                for bit in 34 * 8..sealed.len() * 8 {
                    let mut flipped = sealed.clone();
                    flipped[bit / 8] ^= 1 << (bit % 8);
                    let expected = if bit < 38 * 8 { "unknown_spi" } else { "integrity_failed" };
                    assert_eq!(
                        host.receive(&flipped),
                        Fate::Dropped(expected),
                        "{service:?} {name} {esn} bit {bit}"
                    );
                }
                assert_eq!(
                    host.receive(&sealed),
                    Fate::Out("decrypted", plain4(3, 9)),
                    "{service:?} {name} {esn}"
                );
                host.rig.assert_exact();
            }
        }
    }
}

#[test]
fn a_replay_through_a_card_is_refused_each_time_and_counted_for_its_sa() {
    for service in SERVICES {
        for esn in [false, true] {
            let params = SaParams { esn, ..sa_of("aes128gcm16", tunnel4()) };
            let (mut host, mut peer) = (Host::at(&params, service), Rig::new(Link::Ethernet, &params));
            let sealed: Vec<_> = (0..100).map(|tag| peer.sealed(&plain4(5, tag))).collect();
            // Late ones come before early ones, within the window.
            for chunk in sealed.chunks(10) {
                for frame in chunk.iter().rev() {
                    assert!(matches!(host.receive(frame), Fate::Out("decrypted", _)), "{service:?} {esn}");
                }
            }
            for (index, frame) in sealed.iter().enumerate() {
                let expected = match (index, esn) {
                    (36.., _) => "replayed",
                    (_, false) => "replay_too_old",
                    // With extended numbers it is read as one of the next 2^32, where its ICV is wrong.
                    (_, true) => "integrity_failed",
                };
                let fate = host.receive(frame);
                let is_expected =
                    fate == Fate::Dropped(expected) || esn && fate == Fate::Dropped("replay_too_old");
                assert!(is_expected, "{service:?} {esn} {index}: {fate:?}");
            }
            host.rig.assert_exact();
            let by_sa = &host.rig.inn.half().counters().dropped_by_sa;
            let of_sa: u64 = by_sa.iter().filter(|(key, ..)| *key == SLOT.0).map(|(_, _, count)| count).sum();
            assert_eq!(of_sa, 100);
        }
    }
}

fn to(last: [u8; 4]) -> Vec<u8> {
    Wire::Ethernet.frame(&V4 { dst: last, ..V4::default() }.packet(&udp(1, 2, &[7; 30])))
}

#[test]
fn a_packet_that_the_card_missed_is_opened_here_unless_the_window_is_there() {
    for (service, missed) in
        [(Service::Crypto, None), (Service::Protocol, Some(Fate::Dropped("missed_by_card")))]
    {
        let params = sa_of("aes128-sha1", tunnel4());
        let (mut host, mut peer) = (Host::at(&params, service), Rig::new(Link::Ethernet, &params));
        for tag in 0..6 {
            let (plain, opened) = (plain4(20, tag), Fate::Out("decrypted", plain4(20, tag)));
            let sealed = peer.sealed(&plain);
            if tag % 2 == 0 {
                assert_eq!(host.receive(&sealed), opened, "{service:?}");
                assert_eq!(host.receive(&sealed), Fate::Dropped("replayed"), "{service:?}");
            } else {
                let expected = missed.clone().unwrap_or(opened);
                assert_eq!(host.rig.open(&sealed), expected, "{service:?}");
            }
        }
        host.rig.assert_exact();
    }
}

#[test]
fn a_number_that_came_past_the_card_is_a_replay_by_the_card_too() {
    let params = sa_of("aes128gcm16", tunnel4());
    let (mut host, mut peer) = (Host::at(&params, Service::Crypto), Rig::new(Link::Ethernet, &params));
    let sealed = peer.sealed(&plain4(20, 1));
    assert!(matches!(host.rig.open(&sealed), Fate::Out(..)));
    assert_eq!(host.receive(&sealed), Fate::Dropped("replayed"));
}

#[test]
fn a_dummy_packet_through_the_card_is_absorbed() {
    let params = sa_of("aes128gcm16", tunnel4());
    let mut host = Host::at(&params, Service::Crypto);
    let esp = common::seal::HandSealer::new(&params).esp(1, &common::seal::padded(&[0; 20], 4, 59));
    assert_eq!(host.receive(&Wire::Ethernet.frame(&common::seal::in_tunnel(&esp))), Fate::Absorbed("dummy"));
    host.rig.assert_exact();
}

/// Through a stage one by one, numbered, with the words that the card would read or write.
fn order_of(stage: &mut impl Stage, packets: Vec<Mbuf>) -> Vec<u32> {
    let (mut input, mut output, mut order) = (Burst::new(), Burst::new(), Vec::new());
    let mut packets = packets.into_iter();
    for _ in 0..10_000 {
        while input.len() < 7 {
            let Some(packet) = packets.next() else { break };
            input.push(packet).unwrap();
        }
        stage.process(&mut input, &mut output);
        order.extend(output.drain().map(|packet| packet.number()));
    }
    assert_eq!((input.len(), stage.held()), (0, 0));
    order
}

#[test]
fn what_goes_by_a_card_stays_behind_the_jobs_before_it() {
    let pace = Pace { depth: 16, delay: 9, per_poll: 3, failure: None };
    for service in SERVICES {
        let first = sa_of("aes128gcm16", tunnel4());
        let second = SaParams { spi: Spi(0x1002), ..first.clone() };
        let mut rig = Rig::over(Slow::new(pace), &QueuePairConfig::default(), Link::Ethernet, new_pool(512));
        for (params, to) in [(&first, "10.0.2.0/24"), (&second, "10.0.3.0/24")] {
            let slot = rig.add_out(params);
            rig.policy_out(between("any", to), protect(&[slot]));
            let slot = rig.add_in(params);
            rig.policy_in(between("any", to), protect(&[slot]));
        }
        let mut host = Host::with(rig, &first);
        host.send_at(Some(service));
        host.receive_at(Some(service));
        let mut peers = [&first, &second].map(|params| Rig::new(Link::Ethernet, params));
        let which = |number: u32| usize::from(number % 5 < 2);
        let frame = |number: u32| to([10, 0, 2 + which(number) as u8, 1]);
        let out = (0..200).map(|number| {
            let mut packet = host.rig.packet(&frame(number));
            packet.set_number(number);
            packet
        });
        let out: Vec<_> = out.collect();
        assert_eq!(order_of(&mut host.rig.out, out), (0..200).collect::<Vec<_>>(), "{service:?}");
        let mut back = Vec::new();
        for number in 0..200 {
            let sealed = peers[which(number)].sealed(&frame(number));
            let mut packet =
                if which(number) == 0 { host.arrive(&sealed).unwrap() } else { host.rig.packet(&sealed) };
            packet.set_number(number);
            back.push(packet);
        }
        assert_eq!(order_of(&mut host.rig.inn, back), (0..200).collect::<Vec<_>>(), "{service:?}");
        assert_eq!(host.rig.out.half().counters().sent.total(), 200);
        assert_eq!(host.rig.inn.half().counters().sent.total(), 200);
    }
}

#[test]
fn a_card_that_gives_numbers_gets_no_packet_beyond_the_last() {
    for esn in [false, true] {
        let params = SaParams { esn, ..sa_of("aes128gcm16", tunnel4()) };
        let params = SaParams { sequence: params.last_sequence() - 2, ..params };
        let mut host = Host::new(&params);
        host.send_at(Some(Service::Protocol));
        assert_eq!(host.send(&[plain4(1, 0), plain4(1, 1), plain4(1, 2)]).len(), 3);
        assert_eq!(host.rig.seal(&plain4(1, 3)), Fate::Dropped("sequence_exhausted"));
        host.send_at(None);
        assert_eq!(host.rig.seal(&plain4(1, 3)), Fate::Dropped("sequence_exhausted"));
        host.rig.assert_exact();
    }
}

#[test]
fn a_fragment_is_not_given_to_a_card_in_transport_mode() {
    for service in SERVICES {
        let mut host = Host::at(&sa_of("aes128gcm16", TRANSPORT), service);
        let part = V4 { fragment: 0x2000, ..V4::default() }.packet(&udp(1, 2, &[1; 30]));
        assert_eq!(host.rig.seal(&Wire::Ethernet.frame(&part)), Fate::Dropped("fragment_in_transport"));
    }
}

#[test]
fn inline_crypto_is_not_for_udp_checksums_over_what_it_encrypts() {
    let wish = |mode, offload| SaParams { offload, ..over_udp(sa_of("aes128gcm16", mode)) };
    for mode in [tunnel6(), TRANSPORT] {
        let error = wish(mode, Offload::InlineCrypto).check(false).unwrap_err();
        assert_eq!(error, SaError::InlineChecksum);
        assert!(error.to_string().contains("use inline-protocol or lookaside"), "{error}");
        assert_eq!(wish(mode, Offload::InlineCrypto).check(true), Ok(()), "nobody checks it on the way in");
        assert_eq!(wish(mode, Offload::InlineProtocol).check(false), Ok(()));
        let mut rig = Rig::new(Link::Ethernet, &wish(mode, Offload::Lookaside));
        let bound = rig.out.half_mut().set_inline(SLOT, Some((Service::Crypto, 1)), None);
        assert_eq!(bound, Err(InlineError::Checksum));
    }
    assert_eq!(wish(tunnel4(), Offload::InlineCrypto).check(false), Ok(()));
}

#[test]
fn an_sa_is_told_to_a_card_with_all_that_it_needs() {
    for &suite in Suite::ALL {
        let params = SaParams { esn: true, replay_window: 128, ..over_udp(sa(suite, tunnel6())) };
        let state = Rig::new(Link::Ethernet, &params).inn.half().inline_state(SLOT).unwrap();
        let told = params.inline_sa(state.into());
        assert!(told.is_inbound() && told.esn && told.spi == params.spi.0);
        assert_eq!((told.iv_len(), told.icv_len()), (suite.iv_len(), suite.icv_len()), "{suite}");
        assert_eq!((told.alignment(), told.is_aead()), (suite.alignment(), suite.is_aead()), "{suite}");
        assert_eq!((told.destination, told.replay_window), (params.destination(), 128));
        assert_eq!(told.session, params.session_params());
        assert_eq!(told.udp.map(|ports| (ports.src, ports.dst)), Some((4500, 4500)));
        let Mode::Tunnel { src, dst } = params.mode else { panic!() };
        assert_eq!(told.mode, crypto_pmd::inline::InlineMode::Tunnel { src, dst });
    }
}

#[test]
fn cards_of_the_tests_leave_alone_what_is_not_theirs() {
    let pool = new_pool(16);
    let sealed = Rig::new(Link::Ethernet, &sa_of("aes128gcm16", tunnel4())).sealed(&plain4(9, 9));
    for frame in [plain4(4, 4), sealed] {
        let packet = CryptoCard::new().receive(pool.alloc_copy(&frame).unwrap());
        assert_eq!((bytes_of(&packet), packet.rx_status()), (frame.clone(), 0));
        let mut card = ProtocolCard::new(&pool, 1);
        let packet = card.receive(&pool, pool.alloc_copy(&frame).unwrap()).unwrap();
        assert_eq!((bytes_of(&packet), packet.rx_status()), (frame, 0));
    }
}
