//! Whether the time of a refused packet tells where its tag is wrong. Who could see that would find a right tag byte by byte.
//!
//! `taskset -c 1 cargo bench -p crypto-pmd --bench timing`; with words behind `--`, the cases whose name has them;
//! `SEALANE_MEASUREMENTS=1000000` for longer runs. Only packets that are refused are compared: that a packet is genuine is no secret. Two controls
//! show that the bench sees a leak, and that it sees none where nothing differs. Fails when a case leaks, or a control is not as it must be.

#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark may fail loudly")]

mod welch;

use std::process::ExitCode;

use crypto_pmd::drivers::Software;
use crypto_pmd::drivers::multibuffer::{Level, Multibuffer};
use crypto_pmd::job::JobBurst;
use crypto_pmd::*;
use pipeline::{Pool, PoolConfig};
use welch::{Expected, Random, Report, Subject, is_equal_naively};

/// Packets of a measurement.
const BURST: usize = 8;
const HEADER: usize = 8;
const TEXT: usize = 64;
const LONGEST_TAG: usize = 16;

fn main() -> ExitCode {
    let mut report = Report::new();
    let hmac = Suite::hmac(IntegrityAlgorithm::HmacSha1, 12);
    let mut control = Packets::new(Software::new(), hmac.clone(), Wrong::FirstOrLast);
    control.naive = true;
    report.case(
        "control: a comparison that ends early, software, hmac-sha1",
        Expected::Difference,
        &mut control,
    );
    let mut control = Packets::new(Software::new(), hmac.clone(), Wrong::AlwaysFirst);
    report.case("control: no difference, software, hmac-sha1", Expected::NoDifference, &mut control);

    for suite in [hmac, Suite::hmac(IntegrityAlgorithm::HmacSha256, 16), Suite::gcm()] {
        for wrong in [Wrong::FirstOrLast, Wrong::OneOrAll] {
            let name = |driver: &str| format!("{}, {driver}, {}", suite.name, wrong.name());
            let mut packets = Packets::new(Software::new(), suite.clone(), wrong);
            report.case(&name("software"), Expected::NoDifference, &mut packets);
            for level in Level::ALL.into_iter().filter(|level| level.checked().is_ok()) {
                let driver = Multibuffer::with_level(0, level).unwrap();
                let mut packets = Packets::new(driver, suite.clone(), wrong);
                report.case(&name(level.name()), Expected::NoDifference, &mut packets);
            }
        }
    }
    report.end()
}

/// How the tags of two classes are wrong.
#[derive(Clone, Copy)]
enum Wrong {
    FirstOrLast,
    OneOrAll,
    AlwaysFirst,
}

impl Wrong {
    fn name(self) -> &'static str {
        match self {
            Self::FirstOrLast => "wrong in the first byte or in the last",
            Self::OneOrAll => "wrong in one byte or in all",
            Self::AlwaysFirst => "wrong in the first byte",
        }
    }

    /// For each class, which bytes are wrong: all their bits are set.
    fn masks(self, len: usize) -> [[u8; LONGEST_TAG]; 2] {
        let [first, second] = match self {
            Self::FirstOrLast => [0..1, len - 1..len],
            Self::OneOrAll => [0..1, 0..len],
            Self::AlwaysFirst => [0..1, 0..1],
        };
        [first, second].map(|wrong| std::array::from_fn(|n| if wrong.contains(&n) { 0xff } else { 0 }))
    }
}

#[derive(Clone)]
struct Suite {
    name: &'static str,
    params: SessionParams,
    iv_len: usize,
    tag_len: usize,
    aead: bool,
}

impl Suite {
    fn hmac(hash: IntegrityAlgorithm, tag_len: usize) -> Self {
        let params = SessionParams::from_iter([
            Transform::cipher(CipherAlgorithm::AesCbc, Key::new(&[3; 16])),
            Transform::integrity(hash, Key::new(&[5; 32]), tag_len),
        ]);
        let name = if hash == IntegrityAlgorithm::HmacSha1 { "hmac-sha1" } else { "hmac-sha256" };
        Self { name, params, iv_len: 16, tag_len, aead: false }
    }

    fn gcm() -> Self {
        let params = Transform::aead(AeadAlgorithm::AesGcm, Key::new(&[7; 16]), Key::new(&[9; 4]), 16).into();
        Self { name: "aes-gcm", params, iv_len: 8, tag_len: 16, aead: true }
    }
}

/// Packets that a driver refuses, again and again.
struct Packets {
    dispatcher: Dispatcher,
    jobs: JobBurst,
    right: Vec<[u8; LONGEST_TAG]>,
    tag_at: usize,
    tag_len: usize,
    masks: [[u8; LONGEST_TAG]; 2],
    /// Compares each tag once more, naively.
    naive: bool,
    _registry: Registry,
}

impl Packets {
    fn new(driver: impl Driver + 'static, suite: Suite, wrong: Wrong) -> Self {
        let registry = Registry::new();
        registry.attach(driver).unwrap();
        let session = registry.open(suite.params, Placement::Any).unwrap();
        let mut dispatcher = registry.dispatcher(&QueuePairConfig::default()).unwrap();
        let pool = Pool::new(PoolConfig { buffers: BURST, ..PoolConfig::default() }).unwrap();
        let (text_at, tag_len) = (HEADER + suite.iv_len, suite.tag_len);
        let tag_at = text_at + TEXT;
        let covered = if suite.aead { HEADER } else { tag_at };
        let job = |packet, operation| {
            Job::new(packet, session, operation)
                .with_integrity(0, covered as u32)
                .with_iv(HEADER as u16)
                .with_cipher(text_at as u16, TEXT as u32)
                .with_tag(tag_at as u32)
        };
        let mut jobs = JobBurst::new();
        let plain = |number| pool.alloc_copy(&vec![number as u8; tag_at + tag_len]).unwrap();
        jobs.extend((0..BURST).map(|number| job(plain(number), Operation::Encrypt)));
        dispatcher.submit(&mut jobs);
        dispatcher.poll(&mut jobs);
        let sealed: Vec<_> = jobs.drain().map(Job::into_packet).collect();
        let right = sealed.iter().map(|packet| {
            let mut tag = [0; LONGEST_TAG];
            tag[..tag_len].copy_from_slice(&packet.data()[tag_at..]);
            tag
        });
        let right = right.collect();
        jobs.extend(sealed.into_iter().map(|packet| job(packet, Operation::Decrypt)));
        Self {
            dispatcher,
            jobs,
            right,
            tag_at,
            tag_len,
            masks: wrong.masks(tag_len),
            naive: false,
            _registry: registry,
        }
    }
}

impl Subject for Packets {
    fn prepare(&mut self, class: usize, random: &mut Random) {
        // No branch may depend on the class, or the processor's memory of branches would tell the classes apart.
        let (mask, value) = (self.masks[class], 1 + (random.next() % 255) as u8);
        for (job, right) in self.jobs.iter_mut().zip(&self.right) {
            assert_ne!(job.status(), Status::Done);
            job.set_status(Status::Pending);
            let tag: [u8; LONGEST_TAG] = std::array::from_fn(|n| right[n] ^ mask[n] & value);
            job.parts_mut().0.data_mut()[self.tag_at..].copy_from_slice(&tag[..self.tag_len]);
        }
    }

    fn run(&mut self) {
        self.dispatcher.submit(&mut self.jobs);
        self.dispatcher.poll(&mut self.jobs);
        if self.naive {
            for (job, right) in self.jobs.iter().zip(&self.right) {
                is_equal_naively(&job.source().data()[self.tag_at..], &right[..self.tag_len]);
            }
        }
    }
}
