//! What the emulated card makes of a capture by inline protocol: the frames of one are handed to the card, and what comes out on the other side is written to
//! another, so that a judge outside can look at it.
//!
//! ```text
//! inline_wire way=out in=plain.pcap out=esp.pcap spi=0x1001 cipher=aes-cbc key=HEX integrity=sha1-hmac:12 integrity_key=HEX
//!             tunnel=192.0.2.1,192.0.2.2 esn=true sequence=4294967290 udp=4500 profile=inline-25g
//! ```
//!
//! `way=out` has the card send, `way=in` has it receive; frames that it does not let in are not written. `cipher` is `aes-gcm` (its key has the salt
//! behind it), `aes-cbc` or `null`; without `tunnel` it is transport mode. The number of frames in and out is printed.

use std::collections::HashMap;
use std::error::Error;
use std::net::IpAddr;
use std::path::Path;

use crypto_pmd::drivers::nic::{Card, CardConfig, Nic, NicConfig, Profile};
use crypto_pmd::inline::{
    InboundState, InlineMode, InlineSa, OutboundState, RxOutcome, RxReport, SaState, Service, TxOffload,
    UdpPorts,
};
use crypto_pmd::{AeadAlgorithm, Algorithm, CipherAlgorithm, Key, SessionParams, Transform};
use pipeline::capture::{Capture, CaptureWriter};
use pipeline::port::{RxPort, TxPort};
use pipeline::{Burst, Clock, Pool, PoolConfig};

type Failure = Box<dyn Error>;

/// Bytes of an Ethernet header.
const ETHERNET: u8 = 14;

struct Options(HashMap<String, String>);

impl Options {
    fn of(&self, name: &str) -> Result<&str, Failure> {
        Ok(self.find(name).ok_or_else(|| format!("{name}=… is missing"))?)
    }

    fn find(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn key(&self, name: &str) -> Result<Vec<u8>, Failure> {
        Ok(hex::decode(self.of(name)?)?)
    }

    fn number(&self, name: &str, usual: u64) -> Result<u64, Failure> {
        match self.find(name) {
            None => Ok(usual),
            Some(text) => match text.strip_prefix("0x") {
                Some(digits) => Ok(u64::from_str_radix(digits, 16)?),
                None => Ok(text.parse()?),
            },
        }
    }

    fn session(&self) -> Result<SessionParams, Failure> {
        let mut transforms = Vec::new();
        match self.of("cipher")? {
            "aes-gcm" => {
                let key = self.key("key")?;
                let (key, salt) =
                    key.split_last_chunk::<4>().ok_or("a key with its salt is longer than 4 bytes")?;
                transforms.push(Transform::aead(AeadAlgorithm::AesGcm, Key::new(key), Key::new(salt), 16));
            }
            "aes-cbc" => {
                transforms.push(Transform::cipher(CipherAlgorithm::AesCbc, Key::new(&self.key("key")?)))
            }
            "null" => {}
            other => {
                return Err(format!("cipher {other} is not for this; use aes-gcm, aes-cbc or null").into());
            }
        }
        if let Some(integrity) = self.find("integrity") {
            let (name, tag) = integrity.split_once(':').ok_or("write the ICV's length as in sha1-hmac:12")?;
            let Some(Algorithm::Integrity(algorithm)) = Algorithm::parse(name) else {
                return Err(format!("{name} is no integrity algorithm").into());
            };
            transforms.push(Transform::integrity(
                algorithm,
                Key::new(&self.key("integrity_key")?),
                tag.parse()?,
            ));
        }
        Ok(transforms.into_iter().collect())
    }

    fn sa(&self, is_out: bool) -> Result<InlineSa, Failure> {
        let sequence = self.number("sequence", 1)?;
        let highest = sequence.saturating_sub(1);
        let state: SaState = if is_out {
            OutboundState { next_sequence: sequence }.into()
        } else {
            InboundState { highest, bitmap: vec![u64::MAX] }.into()
        };
        let mode = match self.find("tunnel").map(|ends| ends.split_once(',').ok_or("write tunnel=SRC,DST")) {
            None => InlineMode::Transport,
            Some(ends) => {
                let (src, dst) = ends?;
                InlineMode::Tunnel { src: src.parse::<IpAddr>()?, dst: dst.parse::<IpAddr>()? }
            }
        };
        let port = u16::try_from(self.number("udp", 0)?)?;
        Ok(InlineSa {
            spi: u32::try_from(self.number("spi", 0x1001)?)?,
            destination: None,
            session: self.session()?,
            esn: self.find("esn") == Some("true"),
            mode,
            udp: (port > 0).then_some(UdpPorts { src: port, dst: port }),
            replay_window: 64,
            state,
        })
    }
}

fn main() -> Result<(), Failure> {
    let pair = |text: String| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    let options = Options(std::env::args().skip(1).filter_map(pair).collect());
    let is_out = match options.of("way")? {
        "out" => true,
        "in" => false,
        other => return Err(format!("way={other} is none; use out or in").into()),
    };
    let input = Capture::read(Path::new(options.of("in")?))?;
    let mut output =
        CaptureWriter::create(Path::new(options.of("out")?), input.link_type(), input.resolution())?;

    let (clock, hand) = Clock::manual();
    let profile = Profile::find(options.find("profile").unwrap_or("inline-25g"))?;
    let (card, mut engine) = Card::new(profile, CardConfig { clock, ..CardConfig::default() })?;
    let nic = Nic::new(&card, NicConfig::default())?;
    let pool = Pool::new(PoolConfig { buffers: 1024, ..PoolConfig::default() })?;
    let (mut far_rx, mut far_tx) = card.wire(pool.clone())?;
    let (mut rx, mut tx) = nic.ports(pool.clone(), 64)?;
    let slot = nic.install(Service::Protocol, &options.sa(is_out)?)?;

    let (mut burst, mut read, mut written) = (Burst::new(), 0_u64, 0_u64);
    for packet in input.iter() {
        let mut frame = pool.alloc_copy(packet.data).ok_or("no buffer")?;
        if is_out {
            frame.set_l2_len(ETHERNET);
            TxOffload { service: Service::Protocol, slot, esn_high: 0 }.write(&mut frame);
        }
        if burst.push(frame).is_err() {
            return Err("the card does not take a frame".into());
        }
        let mut came = Burst::new();
        // One after the other, with time enough for each.
        for _ in 0..20 {
            if is_out {
                tx.transmit(&mut burst)
            } else {
                far_tx.transmit(&mut burst)
            };
            hand.advance(500);
            engine.step();
            if is_out {
                far_rx.receive(&mut came, 1)
            } else {
                rx.receive(&mut came, 1)
            };
        }
        for frame in came.drain() {
            let is_in = RxReport::read(&frame).is_some_and(|report| report.outcome == RxOutcome::Ok);
            if is_out || is_in {
                let bytes: Vec<u8> = frame.segments().flatten().copied().collect();
                output.write(packet.timestamp_ns, bytes.len() as u32, &bytes)?;
                written += 1;
            }
        }
        read += 1;
    }
    output.finish()?;
    println!("{read} frames in, {written} out");
    Ok(())
}
