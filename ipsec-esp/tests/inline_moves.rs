//! SAs that move between host and cards under traffic, and between cores: no number is used twice, none is let in twice, and
//! no packet is lost that should pass.

// A test program may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::collections::BTreeSet;

use common::card::{Host, SLOT, find_esp, report};
use common::frames::{V4, Wire, udp};
use common::rig::{Fate, Rig, TRANSPORT, new_pool, protect, sa_of, tunnel4, tunnel6};
use common::slow::{Pace, Slow};
use common::{bytes_of, pattern};
use crypto_pmd::drivers::Software;
use crypto_pmd::inline::{InboundState, OutboundState, RxOutcome, Service};
use crypto_pmd::{Placement, QueuePairConfig, Registry};
use ipsec_esp::control::Control;
use ipsec_esp::header::link::Link;
use ipsec_esp::inbound::Inbound;
use ipsec_esp::inline::InlineError;
use ipsec_esp::sa::{SaParams, SaSlot};
use ipsec_esp::selector::Selector;
use ipsec_esp::spd::{Direction, Policy};
use ipsec_esp::stage::EspStage;
use pipeline::handoff::Peers;
use pipeline::stage::Stage;
use pipeline::{Burst, Clock, Ledger, Mbuf};

const CRYPTO: Option<Service> = Some(Service::Crypto);
const PROTOCOL: Option<Service> = Some(Service::Protocol);

/// Every move from one place to another.
const ROUTE: [Option<Service>; 8] = [None, CRYPTO, PROTOCOL, None, PROTOCOL, CRYPTO, None, PROTOCOL];

fn plain(tag: usize) -> Vec<u8> {
    Wire::Ethernet.frame(&V4::default().packet(&udp(1, 2, &pattern(20 + tag % 40, tag as u8))))
}

/// The low half of the number of an ESP frame.
fn number_of(frame: &[u8]) -> u32 {
    let (esp, _) = find_esp(frame).unwrap();
    u32::from_be_bytes(frame[esp + 4..esp + 8].try_into().unwrap())
}

fn every_sa() -> Vec<SaParams> {
    let mut all = Vec::new();
    for suite in ["aes128-sha1", "aes128gcm16", "null-sha256"] {
        for mode in [tunnel4(), tunnel6(), TRANSPORT] {
            all.push(sa_of(suite, mode));
            all.push(SaParams { esn: true, sequence: (1 << 32) - 100, ..sa_of(suite, mode) });
        }
    }
    all
}

#[test]
fn an_sa_that_sends_moves_under_traffic_with_rising_numbers() {
    for params in every_sa() {
        let (mut host, mut peer) = (Host::new(&params), Rig::new(Link::Ethernet, &params));
        let mut expected = params.sequence;
        for (turn, place) in ROUTE.into_iter().cycle().take(20).enumerate() {
            host.send_at(place);
            let frames: Vec<_> = (0..17).map(|n| plain(turn * 17 + n)).collect();
            let sealed = host.send(&frames);
            assert_eq!(sealed.len(), frames.len());
            for (sealed, plain) in sealed.iter().zip(frames) {
                assert_eq!(
                    number_of(sealed),
                    expected as u32,
                    "{params:?} {place:?}: none twice, none left out"
                );
                assert_eq!(peer.open(sealed), Fate::Out("decrypted", plain), "{params:?} {place:?}");
                expected += 1;
            }
        }
        assert_eq!(host.rig.out.half().sa_totals(SLOT).unwrap().0, 20 * 17);
        host.rig.assert_exact();
    }
}

#[test]
fn an_sa_that_receives_moves_under_traffic_and_lets_each_packet_in_once() {
    for params in every_sa() {
        let (mut host, mut peer) = (Host::new(&params), Rig::new(Link::Ethernet, &params));
        let mut sent: Vec<Vec<u8>> = Vec::new();
        let mut late: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for (turn, place) in ROUTE.into_iter().cycle().take(20).enumerate() {
            host.receive_at(place);
            // What was sent before the move and arrives after it.
            for (sealed, plain) in late.drain(..).rev() {
                assert_eq!(
                    host.receive(&sealed),
                    Fate::Out("decrypted", plain),
                    "{params:?} {place:?}, late"
                );
                sent.push(sealed);
            }
            for old in sent.iter().rev().take(45) {
                assert_eq!(host.receive(old), Fate::Dropped("replayed"), "{params:?} {place:?}");
            }
            for n in 0..17 {
                let plain = plain(turn * 17 + n);
                let sealed = peer.sealed(&plain);
                if n % 4 == 3 {
                    late.push((sealed, plain));
                } else {
                    assert_eq!(host.receive(&sealed), Fate::Out("decrypted", plain), "{params:?} {place:?}");
                    sent.push(sealed);
                }
            }
        }
        assert_eq!(host.rig.inn.half().sa_totals(SLOT).unwrap().0, sent.len() as u64);
        host.rig.assert_exact();
    }
}

#[test]
fn jobs_under_way_come_out_before_what_the_card_gets_after_the_move() {
    let pace = Pace { depth: 64, delay: 40, per_poll: 2, failure: None };
    for service in [CRYPTO, PROTOCOL] {
        let params = sa_of("aes128gcm16", tunnel4());
        let slow = Slow::new(pace);
        let mut rig = Rig::over(slow, &QueuePairConfig::default(), Link::Ethernet, new_pool(256));
        rig.protect(&params);
        let (mut host, mut peer) = (Host::with(rig, &params), Rig::new(Link::Ethernet, &params));
        let (mut input, mut output, mut wire) = (Burst::new(), Burst::new(), Vec::new());
        for (turn, place) in [None, service, None, service, None].into_iter().enumerate() {
            host.send_at(place);
            for tag in 0..10 {
                input.push(host.rig.packet(&plain(turn * 10 + tag))).unwrap();
            }
            host.rig.out.process(&mut input, &mut output);
            assert!(host.rig.out.held() > 0, "jobs are under way");
            wire.extend(output.drain());
            if place.is_some() {
                // The state that a card exports has all that it was handed, and it takes no more afterwards.
                while host.rig.out.held() > 0 {
                    host.rig.out.process(&mut input, &mut output);
                    wire.extend(output.drain());
                }
                let frames: Vec<_> = wire.drain(..).map(|packet| host.transmit(packet)).collect();
                for (n, sealed) in frames.iter().enumerate() {
                    assert_eq!(number_of(sealed) as usize, turn * 10 - 10 + n + 1, "{service:?}");
                    assert!(matches!(peer.open(sealed), Fate::Out("decrypted", _)), "{service:?}");
                }
                assert_eq!(frames.len(), 20);
            }
        }
    }
}

#[test]
fn a_window_goes_to_a_card_only_when_no_packet_is_being_decrypted() {
    let pace = Pace { depth: 64, delay: 10, per_poll: 2, failure: None };
    let params = sa_of("aes128gcm16", tunnel4());
    let mut rig = Rig::over(Slow::new(pace), &QueuePairConfig::default(), Link::Ethernet, new_pool(64));
    rig.protect(&params);
    let (mut host, mut peer) = (Host::with(rig, &params), Rig::new(Link::Ethernet, &params));
    let (mut input, mut output) = (Burst::new(), Burst::new());
    let frames: Vec<_> = (0..5).map(|tag| peer.sealed(&plain(tag))).collect();
    for sealed in &frames {
        input.push(host.rig.packet(sealed)).unwrap();
    }
    host.rig.inn.process(&mut input, &mut output);
    let to_protocol = Some((Service::Protocol, 5));
    let refused = host.rig.inn.half_mut().set_inline(SLOT, to_protocol, None);
    assert_eq!(refused, Err(InlineError::InFlight(5)));
    // For inline crypto the window stays here, so there is nothing to wait for.
    host.rig.inn.half_mut().set_inline(SLOT, Some((Service::Crypto, 5)), None).unwrap();
    let mut opened = 0;
    while host.rig.inn.held() > 0 {
        host.rig.inn.process(&mut input, &mut output);
        opened += output.drain().count();
    }
    assert_eq!(opened, 5);
    let state = host.rig.inn.half_mut().set_inline(SLOT, to_protocol, None).unwrap();
    assert_eq!(state.highest, 5);
    assert!((1..=5).all(|number| state.was_seen(number)));
}

#[test]
fn a_card_that_dies_or_lies_makes_no_number_come_twice() {
    for exported in [None, Some(OutboundState { next_sequence: 1 }), Some(OutboundState { next_sequence: 9 })]
    {
        let params = sa_of("aes128gcm16", tunnel4());
        let mut host = Host::new(&params);
        host.send_at(PROTOCOL);
        let mut waiting = host.rig.seal_all((0..8).map(|tag| host.rig.packet(&plain(tag))).collect(), 32);
        let mut numbers = BTreeSet::new();
        let last = waiting.split_off(5);
        for packet in waiting {
            assert!(numbers.insert(number_of(&host.transmit(packet))));
        }
        let state = host.rig.out.half_mut().set_inline(SLOT, None, exported).unwrap();
        assert_eq!(state.next_sequence, 9, "behind all that the card was handed: {exported:?}");
        for tag in 0..3 {
            assert!(numbers.insert(number_of(&host.rig.sealed(&plain(tag)))), "{exported:?}");
        }
        // What still waited in the card leaves it all the same.
        for packet in last {
            assert!(numbers.insert(number_of(&host.transmit(packet))), "{exported:?}");
        }
        assert_eq!(numbers, (1..=11).collect());
    }
}

#[test]
fn a_card_that_has_used_more_numbers_than_it_was_handed_packets_is_believed() {
    let mut host = Host::new(&sa_of("aes128gcm16", tunnel4()));
    host.send_at(PROTOCOL);
    let exported = OutboundState { next_sequence: 1000 };
    assert_eq!(host.rig.out.half_mut().set_inline(SLOT, None, Some(exported)), Ok(exported));
    assert_eq!(number_of(&host.rig.sealed(&plain(1))), 1000);
    assert_eq!(host.rig.out.half().sa_totals(SLOT).unwrap().0, 1, "numbers that are left out are no packets");
    host.rig.out.half_mut().set_inline(SLOT, None, Some(OutboundState { next_sequence: 0 })).unwrap();
    assert_eq!(host.rig.seal(&plain(1)), Fate::Dropped("sequence_exhausted"));
}

#[test]
fn a_state_that_forgets_lets_no_old_packet_in() {
    let params = sa_of("aes128gcm16", tunnel4());
    let (mut host, mut peer) = (Host::new(&params), Rig::new(Link::Ethernet, &params));
    let sealed: Vec<_> = (0..20).map(|tag| peer.sealed(&plain(tag))).collect();
    for frame in &sealed[..10] {
        assert!(matches!(host.receive(frame), Fate::Out(..)));
    }
    host.receive_at(PROTOCOL);
    let forgetful = InboundState { highest: 12, bitmap: vec![0b1] };
    let state = host.rig.inn.half_mut().set_inline(SLOT, None, Some(&forgetful)).unwrap();
    assert_eq!(state.highest, 12);
    host.receives_at = None;
    for (index, frame) in sealed.iter().enumerate() {
        let expected = match index {
            0..=9 | 11 => Fate::Dropped("replayed"),
            _ => Fate::Out("decrypted", plain(index)),
        };
        assert_eq!(host.receive(frame), expected, "{index}");
    }
}

type Inn = EspStage<Inbound>;

/// Two cores; the SA, in the first place of the second core, is bound to slot 3 of a card.
struct TwoCores {
    cores: Vec<Inn>,
    moved: [u64; 2],
    slot: SaSlot,
}

impl TwoCores {
    fn new(params: &SaParams, service: Service) -> Self {
        let registry = Registry::new();
        registry.attach(Software::new()).unwrap();
        let session = registry.open(params.session_params(), Placement::Any).unwrap();
        let core = |(me, peers): (u8, Peers)| {
            let dispatcher = registry.dispatcher(&QueuePairConfig::default()).unwrap();
            EspStage::among(Inbound::on_core(me, Link::Ethernet).unwrap(), dispatcher, peers, Clock::new())
        };
        let mut cores: Vec<_> = (0..).zip(Peers::mesh(2)).map(core).collect();
        let slot = cores[1].half_mut().add_sa(params, session).unwrap();
        cores[1].half_mut().set_inline(slot, Some((service, 3)), None).unwrap();
        cores[0].half_mut().add_sa_of_other(params, slot);
        cores[0].half_mut().set_inline_of_other(3, Some(slot)).unwrap();
        for core in &mut cores {
            let (selector, action) = (Selector::ANY, protect(&[slot]));
            let policy = Policy { direction: Direction::Inbound, priority: 1, selector, action };
            core.half_mut().spd_mut().add(policy).unwrap();
        }
        Self { cores, moved: [0; 2], slot }
    }

    /// A packet comes to the first core; what comes out of which core.
    fn receive(&mut self, packet: Mbuf) -> Vec<(usize, Vec<u8>)> {
        let (mut input, mut out) = (Burst::new(), Vec::new());
        input.push(packet).unwrap();
        self.moved[0] += 1;
        for _ in 0..4 {
            for (index, core) in self.cores.iter_mut().enumerate() {
                let (mut nothing, mut output) = (Burst::new(), Burst::new());
                core.process(if index == 0 { &mut input } else { &mut nothing }, &mut output);
                out.extend(output.drain().map(|packet| {
                    assert_eq!((packet.rx_status(), packet.offload()), (0, 0), "no word is left");
                    (index, bytes_of(&packet))
                }));
            }
        }
        self.moved[1] += out.len() as u64;
        out
    }

    fn ledger(&self) -> Ledger {
        let mut ledger = Ledger { received: self.moved[0], sent: self.moved[1], ..Ledger::default() };
        self.cores.iter().for_each(|core| core.account(&mut ledger));
        assert!(ledger.is_exact() && ledger.held == 0, "{ledger:?}");
        ledger
    }
}

#[test]
fn what_a_card_reports_of_another_cores_sa_is_handed_to_that_core() {
    let pool = new_pool(64);
    let params = sa_of("null-sha256", tunnel4());
    let mut peer = Rig::new(Link::Ethernet, &params);
    for service in [Service::Crypto, Service::Protocol] {
        let mut cores = TwoCores::new(&params, service);
        let ok = report(service, RxOutcome::Ok, 3, 0);
        let sealed = peer.sealed(&plain(1));
        let inside = if service == Service::Crypto { sealed } else { plain(1) };
        let with = |report: crypto_pmd::inline::RxReport| {
            let mut packet = pool.alloc_copy(&inside).unwrap();
            report.write(&mut packet);
            packet
        };
        assert_eq!(cores.receive(with(ok)), [(1, plain(1))], "{service:?}");
        assert!(cores.receive(with(report(service, RxOutcome::IntegrityFailed, 3, 0))).is_empty());
        assert!(cores.receive(with(report(service, RxOutcome::Ok, 4, 0))).is_empty());
        let by_sa = |core: usize| cores.cores[core].half().counters().dropped_by_sa.iter().count();
        assert_eq!((by_sa(0), by_sa(1)), (0, 1), "the owner counts it for the SA");
        let dropped = cores.ledger().dropped;
        assert_eq!((dropped["integrity_failed"], dropped["bad_report"]), (1, 1), "{dropped:?}");
        // The owner lets it go: what is reported still is handed on, and not let in.
        let state = cores.cores[1].half().inline_state(cores.slot).unwrap();
        cores.cores[1].half_mut().set_inline(cores.slot, None, Some(&state)).unwrap();
        assert!(cores.receive(with(ok)).is_empty());
        cores.cores[0].half_mut().set_inline_of_other(3, None).unwrap();
        assert!(cores.receive(with(ok)).is_empty());
        assert_eq!(cores.ledger().dropped["bad_report"], 3);
    }
}

#[test]
fn only_the_owner_binds() {
    let mut cores = TwoCores::new(&sa_of("null-sha256", tunnel4()), Service::Crypto);
    let slot = cores.slot;
    let refused = cores.cores[0].half_mut().set_inline(slot, Some((Service::Crypto, 3)), None);
    assert_eq!(refused, Err(InlineError::NoSuchSa(slot)));
}

#[test]
fn an_sa_that_replaces_a_bound_one_is_not_bound_and_its_window_is_not_made_up() {
    let params = sa_of("null-sha256", tunnel4());
    for service in [Service::Crypto, Service::Protocol] {
        let registry = Registry::new();
        registry.attach(Software::new()).unwrap();
        let mut control = Control::new(registry.clone(), 1);
        let slot = control.add_sa(Direction::Inbound, &params).unwrap();
        let (selector, action) = (Selector::ANY, protect(&[slot]));
        control.add_policy(Policy { direction: Direction::Inbound, priority: 1, selector, action }).unwrap();
        let half = control.make_inbound(0, Link::Ethernet).unwrap();
        let dispatcher = registry.dispatcher(&QueuePairConfig::default()).unwrap();
        let mut stage = EspStage::new(half, dispatcher, Clock::new());
        let pool = new_pool(64);
        let (mut input, mut output) = (Burst::new(), Burst::new());
        let mut receive = |stage: &mut Inn, packet: Mbuf| {
            input.push(packet).unwrap();
            stage.process(&mut input, &mut output);
            output.drain().count()
        };
        let mut peer = Rig::new(Link::Ethernet, &params);
        let mut sealed = || pool.alloc_copy(&peer.sealed(&plain(1))).unwrap();
        assert_eq!(receive(&mut stage, sealed()), 1);
        stage.half_mut().set_inline(slot, Some((service, 3)), None).unwrap();
        let wider = SaParams { replay_window: 128, ..params.clone() };
        control.replace_sa(Direction::Inbound, slot, &wider).unwrap();
        let mut reported =
            if service == Service::Crypto { sealed() } else { pool.alloc_copy(&plain(1)).unwrap() };
        report(service, RxOutcome::Ok, 3, 0).write(&mut reported);
        assert_eq!(receive(&mut stage, reported), 0, "{service:?}: the card knows nothing of the new SA");
        let opened = receive(&mut stage, sealed());
        assert_eq!(opened, usize::from(service == Service::Crypto));
        if service == Service::Protocol {
            assert_eq!(stage.half_mut().set_inline(slot, None, None), Err(InlineError::StateMissing));
            let state = InboundState { highest: 40, bitmap: vec![u64::MAX] };
            stage.half_mut().set_inline(slot, None, Some(&state)).unwrap();
            assert_eq!(receive(&mut stage, sealed()), 0, "its number was let in by the card");
            assert_eq!(stage.half().highest_sequence(slot), Some(40));
        }
    }
}
