//! What a card is told of an SA, and the state that it gives back, as bytes.
//!
//! An SA is a byte each for service, flags and kind of destination, SPI and window in 32 bits, addresses (a byte for their length, then the
//! address), ports in 16 bits, its state, and the session as in [`super::context`]. A state is a byte for the direction, a number in 64 bits, and
//! for one that receives a count of words in 16 bits with so many words behind it. All numbers are little-endian.

use std::net::IpAddr;

use zeroize::Zeroizing;

use crate::inline::{InboundState, InlineMode, InlineSa, OutboundState, SaState, Service, UdpPorts};

use super::context;

const ESN: u8 = 1;
const TUNNEL: u8 = 2;
const UDP: u8 = 4;

/// The bytes of an SA for a service; `None` for one with algorithms that cards do not take.
pub(crate) fn encode(service: Service, sa: &InlineSa) -> Option<Zeroizing<Vec<u8>>> {
    let session = context::encode(&sa.session)?;
    let state = encode_state(&sa.state)?;
    // Its full size at once: a vector that grows leaves keys behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(128 + state.len() + session.len()));
    let flags =
        [(sa.esn, ESN), (matches!(sa.mode, InlineMode::Tunnel { .. }), TUNNEL), (sa.udp.is_some(), UDP)];
    let flags = flags.iter().filter(|(is_set, _)| *is_set).fold(0, |flags, (_, flag)| flags | flag);
    bytes.extend([code_of(service), flags]);
    bytes.extend(sa.spi.to_le_bytes());
    bytes.extend(sa.replay_window.to_le_bytes());
    put_address(&mut bytes, sa.destination);
    if let InlineMode::Tunnel { src, dst } = sa.mode {
        put_address(&mut bytes, Some(src));
        put_address(&mut bytes, Some(dst));
    }
    if let Some(ports) = sa.udp {
        bytes.extend(ports.src.to_le_bytes());
        bytes.extend(ports.dst.to_le_bytes());
    }
    bytes.extend_from_slice(&state);
    bytes.extend_from_slice(&session);
    Some(bytes)
}

/// The SA that these bytes are; `None` for bytes that are none.
pub(crate) fn decode(bytes: &[u8]) -> Option<(Service, InlineSa)> {
    let mut rest = bytes;
    let [service, flags] = take(&mut rest)?;
    let (spi, replay_window) = (u32::from_le_bytes(take(&mut rest)?), u32::from_le_bytes(take(&mut rest)?));
    let destination = take_address(&mut rest)?;
    let mode = match flags & TUNNEL {
        0 => InlineMode::Transport,
        _ => InlineMode::Tunnel { src: take_address(&mut rest)??, dst: take_address(&mut rest)?? },
    };
    let udp = match flags & UDP {
        0 => None,
        _ => Some(UdpPorts {
            src: u16::from_le_bytes(take(&mut rest)?),
            dst: u16::from_le_bytes(take(&mut rest)?),
        }),
    };
    let state = take_state(&mut rest)?;
    let (esn, session) = (flags & ESN != 0, context::decode(rest)?);
    let sa = InlineSa { spi, destination, session, esn, mode, udp, replay_window, state };
    Some((service_of(service)?, sa))
}

/// The bytes of a state; `None` for one that is longer than any window.
pub(crate) fn encode_state(state: &SaState) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    match state {
        SaState::Outbound(state) => {
            bytes.push(0);
            bytes.extend(state.next_sequence.to_le_bytes());
        }
        SaState::Inbound(state) => {
            bytes.push(1);
            bytes.extend(state.highest.to_le_bytes());
            bytes.extend(u16::try_from(state.bitmap.len()).ok()?.to_le_bytes());
            state.bitmap.iter().for_each(|word| bytes.extend(word.to_le_bytes()));
        }
    }
    Some(bytes)
}

/// The state that these bytes are; `None` for bytes that are none.
pub(crate) fn decode_state(bytes: &[u8]) -> Option<SaState> {
    let mut rest = bytes;
    take_state(&mut rest).filter(|_| rest.is_empty())
}

pub(crate) const fn code_of(service: Service) -> u8 {
    match service {
        Service::Crypto => 1,
        Service::Protocol => 2,
    }
}

pub(crate) const fn service_of(code: u8) -> Option<Service> {
    match code {
        1 => Some(Service::Crypto),
        2 => Some(Service::Protocol),
        _ => None,
    }
}

fn put_address(bytes: &mut Vec<u8>, address: Option<IpAddr>) {
    match address {
        None => bytes.push(0),
        Some(IpAddr::V4(address)) => {
            bytes.push(4);
            bytes.extend(address.octets());
        }
        Some(IpAddr::V6(address)) => {
            bytes.push(16);
            bytes.extend(address.octets());
        }
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

/// The outer `None` is for bytes that are no address.
fn take_address(bytes: &mut &[u8]) -> Option<Option<IpAddr>> {
    let [len] = take(bytes)?;
    Some(match len {
        0 => None,
        4 => Some(IpAddr::from(take::<4>(bytes)?)),
        16 => Some(IpAddr::from(take::<16>(bytes)?)),
        _ => return None,
    })
}

fn take_state(bytes: &mut &[u8]) -> Option<SaState> {
    let [direction] = take(bytes)?;
    let number = u64::from_le_bytes(take(bytes)?);
    match direction {
        0 => Some(OutboundState { next_sequence: number }.into()),
        1 => {
            let words = u16::from_le_bytes(take(bytes)?);
            let bitmap = (0..words).map(|_| Some(u64::from_le_bytes(take(bytes)?))).collect::<Option<_>>()?;
            Some(InboundState { highest: number, bitmap }.into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithm::AeadAlgorithm;
    use crate::key::Key;
    use crate::transform::Transform;

    fn every_kind() -> Vec<(Service, InlineSa)> {
        let session = Transform::aead(AeadAlgorithm::AesGcm, Key::new(&[1; 16]), Key::new(&[2; 4]), 16);
        let base = InlineSa {
            spi: 0x1234_5678,
            destination: None,
            session: session.into(),
            esn: false,
            mode: InlineMode::Transport,
            udp: None,
            replay_window: 0,
            state: OutboundState { next_sequence: 1 << 40 }.into(),
        };
        let (v4, v6): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [7; 16].into());
        let window = InboundState { highest: u64::MAX, bitmap: vec![1, u64::MAX, 0] };
        vec![
            (Service::Crypto, base.clone()),
            (Service::Protocol, InlineSa { esn: true, destination: Some(v4), ..base.clone() }),
            (
                Service::Protocol,
                InlineSa {
                    mode: InlineMode::Tunnel { src: v4, dst: v6 },
                    udp: Some(UdpPorts { src: 4500, dst: 4501 }),
                    replay_window: 192,
                    state: window.into(),
                    ..base.clone()
                },
            ),
        ]
    }

    #[test]
    fn a_card_reads_the_sa_that_was_written() {
        for (service, sa) in every_kind() {
            let (read_service, read) = decode(&encode(service, &sa).unwrap()).unwrap();
            assert_eq!((read_service, format!("{read:?}")), (service, format!("{sa:?}")));
            assert_eq!(read.session, sa.session);
            assert_eq!(decode_state(&encode_state(&sa.state).unwrap()), Some(sa.state));
        }
    }

    #[test]
    fn bytes_that_are_cut_or_go_on_are_no_sa_and_no_state() {
        for (service, sa) in every_kind() {
            let bytes = encode(service, &sa).unwrap();
            assert!((0..bytes.len()).all(|len| decode(&bytes[..len]).is_none()));
            assert!(decode(&[&bytes[..], &[0]].concat()).is_none());
            let bytes = encode_state(&sa.state).unwrap();
            assert!((0..bytes.len()).all(|len| decode_state(&bytes[..len]).is_none()));
            assert!(decode_state(&[&bytes[..], &[0]].concat()).is_none());
        }
        let mut other = encode(Service::Crypto, &every_kind()[0].1).unwrap();
        other[0] = 3;
        assert!(decode(&other).is_none(), "a service that there is not");
    }
}
