//! Tests of the words, and of what is derived for a card.

use super::*;
use crate::{
    AeadAlgorithm, CipherAlgorithm, IntegrityAlgorithm, Key, SessionParams, Transform, inline::InlineMode,
};
use pipeline::{Pool, PoolConfig};
use proptest::prelude::*;

const SERVICES: [Service; 2] = [Service::Crypto, Service::Protocol];
const OUTCOMES: [RxOutcome; 6] = [
    RxOutcome::Ok,
    RxOutcome::IntegrityFailed,
    RxOutcome::Replayed,
    RxOutcome::TooOld,
    RxOutcome::Malformed,
    RxOutcome::Failed,
];

fn packet() -> Mbuf {
    Pool::new(PoolConfig { buffers: 1, ..PoolConfig::default() }).unwrap().alloc().unwrap()
}

#[test]
fn fields_of_the_words_are_where_the_contract_says() {
    let offload = TxOffload { service: Service::Protocol, slot: 0x12_3456, esn_high: 0x89ab_cdef };
    assert_eq!(offload.to_word(), 0x89ab_cdef_1234_5602);
    let mut packet = packet();
    let report =
        RxReport { service: Service::Crypto, outcome: RxOutcome::Failed, slot: 0x12_3456, esn_high: 9 };
    report.write(&mut packet);
    assert_eq!((packet.rx_status(), packet.offload()), (0x1234_5651, 9 << 32));
    assert_eq!(TxOffload::read(&packet), None, "a report is no request");
}

#[test]
fn a_word_without_a_service_or_with_an_outcome_that_there_is_not_is_none() {
    assert_eq!([0, 3, 0x100, u64::MAX].map(TxOffload::from_word), [None; 4]);
    let mut packet = packet();
    for status in [0, 3, 0x100, 0x61, 0xf2, u32::MAX] {
        packet.set_rx_status(status);
        assert_eq!(RxReport::read(&packet), None, "{status:#x}");
        assert_eq!((RxReport::take(&mut packet), packet.rx_status()), (None, 0));
    }
}

#[test]
fn what_is_taken_is_gone() {
    let mut packet = packet();
    let offload = TxOffload { service: Service::Crypto, slot: MAX_SLOT, esn_high: u32::MAX };
    offload.write(&mut packet);
    assert_eq!(TxOffload::take(&mut packet), Some(offload));
    assert_eq!((TxOffload::take(&mut packet), packet.offload()), (None, 0));
    let report = RxReport { service: Service::Crypto, outcome: RxOutcome::Ok, slot: 1, esn_high: 1 };
    report.write(&mut packet);
    assert_eq!(RxReport::take(&mut packet), Some(report));
    assert_eq!((packet.rx_status(), packet.offload()), (0, 0));
}

proptest! {
    #[test]
    fn words_come_back_as_they_were_written(
        service in 0_usize..2, outcome in 0_usize..6, slot in 0..=MAX_SLOT, esn_high in any::<u32>(),
    ) {
        let (service, outcome) = (SERVICES[service], OUTCOMES[outcome]);
        let offload = TxOffload { service, slot, esn_high };
        prop_assert_ne!(offload.to_word(), 0);
        prop_assert_eq!(TxOffload::from_word(offload.to_word()), Some(offload));
        let (mut packet, report) = (packet(), RxReport { service, outcome, slot, esn_high });
        report.write(&mut packet);
        prop_assert_ne!(packet.rx_status(), 0);
        prop_assert_eq!(RxReport::read(&packet), Some(report));
    }
}

fn sa(transforms: &[Transform]) -> InlineSa {
    InlineSa {
        spi: 0x1001,
        destination: None,
        session: transforms.iter().cloned().collect::<SessionParams>(),
        esn: false,
        mode: InlineMode::Transport,
        udp: None,
        replay_window: 64,
        state: OutboundState { next_sequence: 1 }.into(),
    }
}

#[test]
fn lengths_are_those_that_esp_has_for_the_algorithms() {
    let key = |len| Key::new(&vec![1; len]);
    let hash = |algorithm, tag| Transform::integrity(algorithm, key(20), tag);
    let sha1 = || hash(IntegrityAlgorithm::HmacSha1, 12);
    let cipher = |algorithm, len| Transform::cipher(algorithm, key(len));
    let aead = |algorithm, salt| Transform::aead(algorithm, key(32), key(salt), 16);
    // IV, ICV, alignment: RFC 3602, 2404, 2451, 3686, 4106, 4309, 7634, 4543, 2410.
    for (transforms, expected) in [
        (vec![cipher(CipherAlgorithm::AesCbc, 16), sha1()], (16, 12, 16)),
        (vec![cipher(CipherAlgorithm::TripleDesCbc, 24), sha1()], (8, 12, 8)),
        (vec![cipher(CipherAlgorithm::AesCtr, 16).with_salt(key(4)), sha1()], (8, 12, 4)),
        (vec![aead(AeadAlgorithm::AesGcm, 4)], (8, 16, 4)),
        (vec![aead(AeadAlgorithm::AesCcm, 3)], (8, 16, 4)),
        (vec![aead(AeadAlgorithm::ChaCha20Poly1305, 4)], (8, 16, 4)),
        (vec![hash(IntegrityAlgorithm::AesGmac, 16).with_salt(key(4))], (8, 16, 4)),
        (vec![hash(IntegrityAlgorithm::HmacSha256, 16)], (0, 16, 4)),
        (vec![cipher(CipherAlgorithm::Null, 0), hash(IntegrityAlgorithm::HmacSha512, 32)], (0, 32, 4)),
    ] {
        let sa = sa(&transforms);
        assert_eq!((sa.iv_len(), sa.icv_len(), sa.alignment()), expected, "{transforms:?}");
        assert_eq!(sa.is_aead(), matches!(transforms[0], Transform::Aead { .. }));
    }
}

#[test]
fn keys_of_an_sa_do_not_show() {
    let sa = sa(&[Transform::integrity(IntegrityAlgorithm::HmacSha1, Key::new(b"show me not"), 12)]);
    let text = format!("{sa:?}");
    assert!(text.contains("[redacted]") && !text.contains("show me"), "{text}");
}

#[test]
fn the_direction_follows_the_state() {
    let out = sa(&[]);
    let back = InlineSa { state: InboundState::default().into(), ..out.clone() };
    assert_eq!((out.is_inbound(), back.is_inbound()), (false, true));
}
