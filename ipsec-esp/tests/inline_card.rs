//! ESP over the emulated card, in virtual time: the halves of this crate on the host, the card's own firmware for inline crypto and inline protocol, and on
//! the other side of the wire a peer that does all of it in software. Two readings of RFC 4303 that share no code must understand each other.

// A test program may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::card::{SLOT, find_esp};
use common::frames::{V4, V6, Wire, hop_by_hop, udp};
use common::rig::{Fate, Rig, TRANSPORT, books, over_udp, sa, sa_of, tunnel4, tunnel6};
use common::{bytes_of, pattern};
use crypto_pmd::drivers::nic::{
    Card, CardConfig, Engine, Engines, Fault, Faults, Health, Nic, NicConfig, NicRx, NicTx, Profile, WireRx,
    WireTx,
};
use crypto_pmd::inline::{SaState, Service};
use ipsec_esp::header::link::Link;
use ipsec_esp::sa::{Offload, SaParams};
use ipsec_esp::suite::{Cipher, Suite};
use pipeline::clock::Hand;
use pipeline::port::{RxPort, TxPort};
use pipeline::{Burst, Clock, Ledger, Mbuf};

const SERVICES: [Service; 2] = [Service::Crypto, Service::Protocol];

/// A host whose port is the card, with one SA in each direction, which may be in the card or not.
struct Host {
    rig: Rig,
    params: SaParams,
    hand: Hand,
    engine: Engine,
    card: Card,
    nic: Nic,
    rx: NicRx,
    tx: NicTx,
    far_rx: WireRx,
    far_tx: WireTx,
    /// The card's slots.
    sends_at: Option<(Service, u32)>,
    receives_at: Option<(Service, u32)>,
}

impl Host {
    fn new(params: &SaParams) -> Self {
        let (clock, hand) = Clock::manual();
        let config = CardConfig { engines: Engines::Software, faults: Faults::none(), clock: clock.clone() };
        let mut profile = Profile::named("inline-25g").unwrap();
        profile.reset_us = 100;
        let (card, engine) = Card::new(profile, config).unwrap();
        let config = NicConfig {
            watchdog: Duration::from_micros(200),
            patience: Duration::from_micros(50),
            copies: 64,
            ..NicConfig::default()
        };
        let nic = Nic::new(&card, config).unwrap();
        let rig = Rig::with_pool(Link::Ethernet, params, common::rig::new_pool(1024));
        let (far_rx, far_tx) = card.wire(common::rig::new_pool(256)).unwrap();
        let (rx, tx) = nic.ports(rig.pool.clone(), 128).unwrap();
        let params = params.clone();
        Self {
            rig,
            params,
            hand,
            engine,
            card,
            nic,
            rx,
            tx,
            far_rx,
            far_tx,
            sends_at: None,
            receives_at: None,
        }
    }

    fn at(params: &SaParams, service: Service) -> Self {
        let mut host = Self::new(params);
        host.send_at(Some(service));
        host.receive_at(Some(service));
        host
    }

    fn turn(&mut self) {
        self.hand.advance(1_000);
        self.engine.step();
    }

    /// Moves the SA that sends.
    fn send_at(&mut self, service: Option<Service>) {
        let exported = self.sends_at.take().and_then(|(service, slot)| {
            let SaState::Outbound(state) = self.nic.recall(slot).unwrap() else { panic!("it sends") };
            assert!(self.nic.forget(slot));
            (service == Service::Protocol).then_some(state)
        });
        let state = self.rig.out.half_mut().set_inline(SLOT, None, exported).unwrap();
        self.sends_at = service.map(|service| {
            let sa = self.params.inline_sa(state.into());
            (service, self.nic.install(service, &sa).unwrap())
        });
        assert_eq!(self.rig.out.half_mut().set_inline(SLOT, self.sends_at, None), Ok(state));
    }

    /// Moves the SA that receives; what the card has reported comes first. What came meanwhile.
    fn receive_at(&mut self, service: Option<Service>) -> Vec<Vec<u8>> {
        let recalled = self.receives_at.map(|(_, slot)| self.nic.recall(slot).unwrap());
        let came = self.take_in();
        let exported = self.receives_at.take().and_then(|(service, slot)| {
            assert!(self.nic.forget(slot));
            match recalled {
                Some(SaState::Inbound(state)) if service == Service::Protocol => Some(state),
                _ => None,
            }
        });
        let state = self.rig.inn.half_mut().set_inline(SLOT, None, exported.as_ref()).unwrap();
        self.receives_at = service.map(|service| {
            let sa = self.params.inline_sa(state.clone().into());
            (service, self.nic.install(service, &sa).unwrap())
        });
        assert_eq!(self.rig.inn.half_mut().set_inline(SLOT, self.receives_at, None), Ok(state));
        came
    }

    /// Plain frames out; what is on the wire.
    fn send(&mut self, frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let packets = frames.iter().map(|frame| self.rig.packet(frame)).collect();
        let mut sealed: Burst = Burst::new();
        let mut wire = Vec::new();
        for packet in self.rig.seal_all(packets, 32) {
            sealed.push(packet).unwrap();
            self.tx.transmit(&mut sealed);
            assert!(sealed.is_empty());
        }
        for _ in 0..200 {
            self.turn();
            self.tx.transmit(&mut sealed);
            wire.extend(self.left());
        }
        wire
    }

    /// What has left the card.
    fn left(&mut self) -> Vec<Vec<u8>> {
        let (mut burst, mut all) = (Burst::new(), Vec::new());
        while self.far_rx.receive(&mut burst, 32) == pipeline::port::Receive::Packets {
            all.extend(burst.drain().map(|frame| bytes_of(&frame)));
        }
        all
    }

    /// Frames reach the card.
    fn arrive(&mut self, frames: &[Vec<u8>]) {
        let mut burst = Burst::new();
        for frame in frames {
            burst.push(self.rig.packet(frame)).unwrap();
            self.far_tx.transmit(&mut burst);
            assert!(burst.is_empty());
        }
        (0..40).for_each(|_| self.turn());
    }

    fn delivered(&mut self) -> Vec<Mbuf> {
        let (mut burst, mut all) = (Burst::new(), Vec::new());
        while self.rx.receive(&mut burst, 32) == pipeline::port::Receive::Packets {
            all.extend(burst.drain());
        }
        all
    }

    /// What the card has delivered, through the inbound half.
    fn take_in(&mut self) -> Vec<Vec<u8>> {
        let packets = self.delivered();
        self.rig.open_all(packets, 32).iter().map(bytes_of).collect()
    }

    /// A frame from the wire in; its one fate.
    fn receive(&mut self, frame: &[u8]) -> Fate {
        self.arrive(&[frame.to_vec()]);
        let packet = self.delivered().pop().expect("no dummy");
        self.rig.open_mbuf(packet)
    }

    /// Stages and ports have exact books.
    fn assert_exact(&mut self) {
        for stage in [books(&self.rig.out, [0; 2]), books(&self.rig.inn, [0; 2])] {
            assert_eq!(stage.held, 0);
        }
        let (mut tx, mut rx) = (Ledger::default(), Ledger::default());
        self.tx.account(&mut tx);
        self.rx.account(&mut rx);
        let card: std::collections::BTreeMap<_, _> = self.card.counters().into_iter().collect();
        let of = |name: &str| card.get(name).copied().unwrap_or(0);
        assert_eq!((tx.held, tx.sent, rx.received), (0, of("tx_sent"), of("rx_delivered")), "{card:?}");
    }
}

fn plain(v6: bool, len: usize, tag: u8) -> Vec<u8> {
    let datagram = udp(1111, 2222, &pattern(len, tag));
    Wire::Ethernet.frame(&if v6 { V6::default().packet(&datagram) } else { V4::default().packet(&datagram) })
}

/// All lengths of padding, some large, marks of congestion; some IPv6 packets with an extension header that stays outside.
fn packets(v6: bool) -> Vec<Vec<u8>> {
    let mut frames: Vec<_> =
        [0, 1, 2, 3, 4, 5, 13, 14, 15, 16, 200, 1400].map(|len| plain(v6, len, 1)).into();
    let datagram = udp(1, 2, &pattern(33, 4));
    for tos in [0xb8, 1, 2, 3] {
        let ip = if v6 {
            V6 { traffic_class: tos, ..V6::default() }.packet(&datagram)
        } else {
            V4 { tos, fragment: 0x4000, ..V4::default() }.packet(&datagram)
        };
        frames.push(Wire::Ethernet.frame(&ip));
    }
    if v6 {
        frames.push(Wire::Ethernet.frame(&V6::with(&[hop_by_hop()]).packet(&datagram)));
    }
    frames
}

fn suites() -> Vec<Suite> {
    let names = ["aes128-sha1", "aes256-sha512", "aes256gcm16", "null-sha256"];
    names.map(|name| Suite::parse(name).unwrap()).into()
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

/// A host with the card, and its peer without, talk to each other. Where the IV does not differ, even their packets are the same to the last byte.
fn assert_understood(params: &SaParams, v6: bool, service: Service) {
    let about = format!("{params:?} v6 {v6} {service:?}");
    let (mut host, mut peer) = (Host::at(params, service), Rig::new(Link::Ethernet, params));
    let frames = packets(v6);
    let sealed = host.send(&frames);
    assert_eq!(sealed.len(), frames.len(), "{about}: {:?}", host.card.counters());
    let random_iv = params.suite.cipher() == Cipher::AesCbc;
    let mut by_peer = Vec::new();
    for (sealed, plain) in sealed.iter().zip(&frames) {
        let other = peer.sealed(plain);
        assert!(random_iv || *sealed == other, "{about}: {sealed:02x?} {other:02x?}");
        assert_eq!(sealed.len(), other.len(), "{about}");
        assert_eq!(peer.open(sealed), Fate::Out("decrypted", plain.clone()), "{about}");
        by_peer.push(other);
    }
    host.arrive(&by_peer);
    assert_eq!(host.take_in(), frames, "{about}");
    // All of them once more: none is let in.
    host.arrive(&by_peer);
    assert!(host.take_in().is_empty(), "{about}");
    host.assert_exact();
}

#[test]
fn a_card_that_builds_esp_and_a_peer_in_software_understand_each_other() {
    for suite in suites() {
        for (params, v6) in ways(suite) {
            assert_understood(&params, v6, Service::Protocol);
        }
        for (mode, v6) in [(tunnel4(), false), (tunnel6(), true), (TRANSPORT, true), (TRANSPORT, false)] {
            assert_understood(&over_udp(sa(suite, mode)), v6, Service::Protocol);
        }
    }
}

#[test]
fn a_card_that_does_the_crypto_and_a_peer_in_software_understand_each_other() {
    for suite in suites() {
        for (params, v6) in ways(suite) {
            assert_understood(&params, v6, Service::Crypto);
        }
        assert_understood(&over_udp(sa(suite, tunnel4())), false, Service::Crypto);
    }
}

#[test]
fn vlan_tags_stay_where_they_are() {
    for service in SERVICES {
        let params = sa_of("aes128gcm16", tunnel6());
        let (mut host, mut peer) = (Host::at(&params, service), Rig::new(Link::Ethernet, &params));
        let frame = plain(false, 50, 3);
        let tagged = [&frame[..12], &[0x88, 0xa8, 0, 1, 0x81, 0, 0, 2], &frame[12..]].concat();
        let sealed = host.send(std::slice::from_ref(&tagged)).pop().unwrap();
        assert_eq!((&sealed[..20], &sealed[20..22]), (&tagged[..20], &[0x86, 0xdd][..]), "{service:?}");
        assert_eq!(peer.open(&sealed), Fate::Out("decrypted", tagged.clone()));
        let by_peer = peer.sealed(&tagged);
        assert_eq!(host.receive(&by_peer), Fate::Out("decrypted", tagged), "{service:?}");
    }
}

#[test]
fn no_flipped_bit_passes_the_card() {
    for service in SERVICES {
        for name in ["aes128-sha1", "aes128gcm16", "null-sha256"] {
            for esn in [false, true] {
                let params = SaParams { esn, ..sa_of(name, tunnel4()) };
                let mut host = Host::at(&params, service);
                // No bit of 3 less leaves 0, which would be too old before the ICV is looked at.
                let third = SaParams { sequence: 3, ..params };
                let sealed = Rig::new(Link::Ethernet, &third).sealed(&plain(false, 3, 9));
                for bit in (34 * 8..sealed.len() * 8).step_by(if esn { 5 } else { 1 }) {
                    let mut flipped = sealed.clone();
                    flipped[bit / 8] ^= 1 << (bit % 8);
                    let expected = if bit < 38 * 8 { "unknown_spi" } else { "integrity_failed" };
                    let fate = host.receive(&flipped);
                    assert_eq!(fate, Fate::Dropped(expected), "{service:?} {name} {esn} bit {bit}");
                }
                let fate = host.receive(&sealed);
                assert_eq!(fate, Fate::Out("decrypted", plain(false, 3, 9)), "{service:?} {name} {esn}");
                host.assert_exact();
            }
        }
    }
}

#[test]
fn replays_are_refused_each_time_under_the_right_reason() {
    for service in SERVICES {
        for esn in [false, true] {
            let params = SaParams { esn, ..sa_of("aes128gcm16", tunnel4()) };
            let (mut host, mut peer) = (Host::at(&params, service), Rig::new(Link::Ethernet, &params));
            let sealed: Vec<_> = (0..100).map(|tag| peer.sealed(&plain(false, 5, tag))).collect();
            for chunk in sealed.chunks(10) {
                // Late ones come before early ones, within the window, and each twice in one batch.
                let twice: Vec<_> =
                    chunk.iter().rev().flat_map(|frame| [frame.clone(), frame.clone()]).collect();
                host.arrive(&twice);
                assert_eq!(host.take_in().len(), 10, "{service:?} {esn}");
            }
            for (index, frame) in sealed.iter().enumerate() {
                let fate = host.receive(frame);
                let expected = match (index, esn) {
                    (36.., _) => "replayed",
                    (_, false) => "replay_too_old",
                    // It is read as one of the next 2^32, where its ICV is wrong.
                    (_, true) => "integrity_failed",
                };
                assert_eq!(fate, Fate::Dropped(expected), "{service:?} {esn} {index}");
            }
            host.assert_exact();
        }
    }
}

const ROUTE: [Option<Service>; 5] =
    [Some(Service::Protocol), None, Some(Service::Crypto), Some(Service::Protocol), Some(Service::Crypto)];

fn moving_sas() -> Vec<SaParams> {
    let suites = ["aes128-sha1", "aes128gcm16"].map(|name| sa_of(name, tunnel4()));
    let extended = suites.clone().map(|params| SaParams { esn: true, sequence: (1 << 32) - 100, ..params });
    suites.into_iter().chain(extended).collect()
}

fn number_of(frame: &[u8]) -> u32 {
    let (esp, _) = find_esp(frame).unwrap();
    u32::from_be_bytes(frame[esp + 4..esp + 8].try_into().unwrap())
}

#[test]
fn an_sa_moves_between_host_and_card_under_traffic_and_no_number_is_lost_or_comes_twice() {
    for params in moving_sas() {
        let (mut host, mut peer) = (Host::new(&params), Rig::new(Link::Ethernet, &params));
        let mut expected = params.sequence;
        let mut sent: Vec<Vec<u8>> = Vec::new();
        for (turn, place) in ROUTE.into_iter().cycle().take(15).enumerate() {
            let about = format!("{params:?} {place:?} turn {turn}");
            host.send_at(place);
            // Something arrived just before the move, and lies unread.
            let late: Vec<_> = (0..3).map(|n| plain(false, 20, (turn * 16 + n) as u8)).collect();
            let sealed: Vec<_> = late.iter().map(|plain| peer.sealed(plain)).collect();
            host.arrive(&sealed);
            assert_eq!(host.receive_at(place), late, "{about}");
            sent.extend(sealed);
            let plains: Vec<_> = (0..13).map(|n| plain(false, 30 + n, (turn * 16 + n) as u8)).collect();
            for (frame, plain) in host.send(&plains).iter().zip(&plains) {
                assert_eq!(number_of(frame), expected as u32, "{about}: none twice, none left out");
                assert_eq!(peer.open(frame), Fate::Out("decrypted", plain.clone()), "{about}");
                expected += 1;
            }
            for old in sent.iter().rev().take(30) {
                assert_eq!(host.receive(old), Fate::Dropped("replayed"), "{about}");
            }
            let sealed: Vec<_> = plains.iter().map(|plain| peer.sealed(plain)).collect();
            host.arrive(&sealed);
            assert_eq!(host.take_in(), plains, "{about}");
            sent.extend(sealed);
        }
        host.assert_exact();
    }
}

#[test]
fn a_card_that_is_reset_or_pulled_out_under_traffic_uses_no_number_twice_and_lets_nothing_in_twice() {
    for fault in [Fault::Reset, Fault::EngineHang, Fault::Removal] {
        for esn in [false, true] {
            let params = SaParams { esn, ..sa_of("aes128gcm16", tunnel4()) };
            let (mut host, mut peer) =
                (Host::at(&params, Service::Protocol), Rig::new(Link::Ethernet, &params));
            let (mut numbers, mut came) = (BTreeSet::new(), BTreeSet::new());
            let mut sealed = Vec::new();
            let mut input: Burst = Burst::new();
            let faults = Faults::none().at(fault, 40_000, Some(900_000)).lasting(100_000);
            host.engine.set_faults(&faults);
            let mut take = |host: &mut Host| {
                for frame in host.left() {
                    assert!(numbers.insert(number_of(&frame)), "{fault} {esn}: a number comes twice");
                    assert!(matches!(peer.open(&frame), Fate::Out("decrypted", _)), "{fault} {esn}");
                }
            };
            let mut other = Rig::new(Link::Ethernet, &params);
            for n in 0..1500_u32 {
                let frame = plain(false, 40, n as u8);
                if input.room() > 0 {
                    input.push(host.rig.seal_all(vec![host.rig.packet(&frame)], 1).pop().unwrap()).unwrap();
                }
                host.tx.transmit(&mut input);
                // Each twice, the second time much later.
                let mut payload = plain(false, 40, 0);
                payload[50..54].copy_from_slice(&n.to_be_bytes());
                sealed.push(other.sealed(&payload));
                let mut far: Burst = Burst::new();
                for at in [Some(n as usize), (n as usize).checked_sub(30)].into_iter().flatten() {
                    far.push(host.rig.packet(&sealed[at])).unwrap();
                }
                host.far_tx.transmit(&mut far);
                host.turn();
                take(&mut host);
                for bytes in host.take_in() {
                    assert!(came.insert(bytes[50..54].to_vec()), "{fault} {esn}: {n} was let in twice");
                }
            }
            host.engine.set_faults(&Faults::none());
            for _ in 0..2000 {
                host.tx.transmit(&mut input);
                host.turn();
                take(&mut host);
                host.take_in();
            }
            assert_eq!(host.nic.health(), Health::Working);
            assert!(numbers.len() > 700 && came.len() > 700, "{fault}: {} {}", numbers.len(), came.len());
            // And the SA works on.
            let frames = host.send(&[plain(false, 9, 9)]);
            assert!(numbers.insert(number_of(&frames[0])));
            host.assert_exact();
        }
    }
}

#[test]
fn an_sa_of_a_card_that_is_gone_goes_on_in_software() {
    let params = sa_of("aes128gcm16", tunnel4());
    let (mut host, mut peer) = (Host::at(&params, Service::Protocol), Rig::new(Link::Ethernet, &params));
    let mut numbers: BTreeSet<_> = host.send(&packets(false)).iter().map(|frame| number_of(frame)).collect();
    let sealed: Vec<_> = (0..10).map(|tag| peer.sealed(&plain(false, 5, tag))).collect();
    host.arrive(&sealed);
    assert_eq!(host.take_in().len(), 10);
    let now = 1_000 * 10_000;
    host.engine.set_faults(&Faults::none().at(Fault::Removal, 0, None).lasting(now * 100));
    for _ in 0..600 {
        host.turn();
        host.delivered();
        host.tx.transmit(&mut Burst::new());
    }
    assert_eq!(host.nic.health(), Health::Gone);
    host.send_at(None);
    host.receive_at(None);
    for tag in 0..5 {
        assert!(numbers.insert(number_of(&host.rig.sealed(&plain(false, 5, tag)))), "no number comes twice");
    }
    for frame in &sealed {
        assert_eq!(host.rig.open(frame), Fate::Dropped("replayed"));
    }
    let fresh = peer.sealed(&plain(false, 5, 99));
    assert_eq!(host.rig.open(&fresh), Fate::Out("decrypted", plain(false, 5, 99)));
}

#[test]
fn a_profile_that_offers_only_lookaside_says_what_would_be_right() {
    let (card, _engine) =
        Card::new(Profile::named("lookaside-accelerator").unwrap(), CardConfig::default()).unwrap();
    let nic = Nic::new(&card, NicConfig::default()).unwrap();
    let params = SaParams { offload: Offload::InlineProtocol, ..sa_of("aes128gcm16", tunnel4()) };
    let service = params.offload.service().unwrap();
    let sa = params.inline_sa(crypto_pmd::inline::OutboundState { next_sequence: 1 }.into());
    let text = nic.install(service, &sa).unwrap_err().to_string();
    assert!(text.contains(params.offload.name()) && text.contains("offload = \"lookaside\""), "{text}");
}
