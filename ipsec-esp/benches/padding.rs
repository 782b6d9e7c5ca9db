//! Whether the time of a packet that ends as `bad_padding` tells where its padding is wrong.
//!
//! `taskset -c 1 cargo bench -p ipsec-esp --bench padding`; words behind `--` and `SEALANE_MEASUREMENTS` as in crypto-pmd's bench `timing`. Padding is
//! looked at behind the integrity check, so only who has the key could make such packets: a difference could not be used. It is reported all the
//! same, and fails.

#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark may fail loudly")]

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../../crypto-pmd/benches/welch/mod.rs"]
mod welch;

use std::process::ExitCode;

use common::frames::{V4, udp};
use common::rig::{Rig, new_pool, sa_of, tunnel4};
use common::seal::{HandSealer, in_tunnel, with_trailer};
use crypto_pmd::QueuePairConfig;
use crypto_pmd::drivers::multibuffer::Multibuffer;
use ipsec_esp::header::link::Link;
use ipsec_esp::sa::SaParams;
use pipeline::Burst;
use pipeline::stage::Stage as _;
use welch::{Expected, Random, Report, Subject, is_equal_naively};

/// Packets of a measurement.
const BURST: usize = 8;
/// Packets of a class, of which each measurement takes some.
const FRAMES: usize = 64;
const IPV4: u8 = 4;
const LEN: usize = 255;

fn main() -> ExitCode {
    let mut report = Report::new();
    let mut control = Packets::new("null-sha256", [0, LEN - 1]);
    control.naive = true;
    report.case("control: a comparison that ends early", Expected::Difference, &mut control);
    let mut control = Packets::new("null-sha256", [0, 0]);
    report.case("control: no difference", Expected::NoDifference, &mut control);
    for suite in ["null-sha256", "aes128-sha1", "aes128gcm16"] {
        let mut packets = Packets::new(suite, [0, LEN - 1]);
        let name = format!("{suite}, padding wrong in the first byte or in the last");
        report.case(&name, Expected::NoDifference, &mut packets);
    }
    report.end()
}

/// Padding that is wrong in one byte.
fn wrong_at(place: usize) -> Vec<u8> {
    let mut padding: Vec<u8> = (1..=LEN as u8).collect();
    padding[place] ^= 0x80;
    padding
}

/// Packets with wrong padding and right tags, through the inbound half.
struct Packets {
    rig: Rig,
    frames: [Vec<Vec<u8>>; 2],
    paddings: [Vec<u8>; 2],
    class: usize,
    input: Burst,
    output: Burst,
    /// Compares each padding once more, naively.
    naive: bool,
}

impl Packets {
    /// The padding of each class is wrong at its place.
    fn new(suite: &str, places: [usize; 2]) -> Self {
        // Without a window the same packets pass again and again.
        let params = SaParams { replay_window: 0, ..sa_of(suite, tunnel4()) };
        let config = QueuePairConfig::default();
        let mut rig = Rig::over(Multibuffer::new(), &config, Link::Raw, new_pool(64));
        rig.protect(&params);
        let mut sealer = HandSealer::new(&params);
        // With padding and trailer a multiple of 16 bytes.
        let inner = V4::default().packet(&udp(1111, 2222, &[7; 35]));
        let paddings = places.map(wrong_at);
        let frames = paddings.each_ref().map(|padding| {
            let plaintext = with_trailer(&inner, padding, LEN as u8, IPV4);
            (1..=FRAMES as u64).map(|number| in_tunnel(&sealer.esp(number, &plaintext))).collect()
        });
        let (input, output) = (Burst::new(), Burst::new());
        Self { rig, frames, paddings, class: 0, input, output, naive: false }
    }
}

impl Subject for Packets {
    fn prepare(&mut self, class: usize, random: &mut Random) {
        assert!(self.output.is_empty() && self.input.is_empty(), "a packet with wrong padding passed");
        self.class = class;
        while self.input.len() < BURST {
            let frame = &self.frames[class][random.next() as usize % FRAMES];
            self.input.push(self.rig.packet(frame)).unwrap();
        }
    }

    fn run(&mut self) {
        while !self.input.is_empty() || self.rig.inn.held() > 0 {
            self.rig.inn.process(&mut self.input, &mut self.output);
        }
        if self.naive {
            let right: [u8; LEN] = std::array::from_fn(|n| n as u8 + 1);
            for _ in 0..BURST {
                is_equal_naively(&self.paddings[self.class], &right);
            }
        }
    }
}
