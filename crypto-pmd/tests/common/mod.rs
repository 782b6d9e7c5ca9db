//! What the integration tests share: one software driver behind a registry and a dispatcher, packets in one
//! segment or many, and the suites of ESP. It computes nothing that a test judges.

// Each test program uses a part of this; and a function that cannot set a test up may panic.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crypto_pmd::drivers::Software;
use crypto_pmd::job::JobBurst;
use crypto_pmd::*;
use pipeline::{Mbuf, Pool, PoolConfig};

/// One driver, one dispatcher, one pool.
pub(crate) struct Bench {
    pub(crate) registry: Registry,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) pool: Pool,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let registry = Registry::new();
        registry.attach(Software::new()).unwrap();
        Self::over(registry)
    }

    pub(crate) fn over(registry: Registry) -> Self {
        let dispatcher = registry.dispatcher(&QueuePairConfig::default()).unwrap();
        let pool = Pool::new(PoolConfig { buffers: 512, ..PoolConfig::default() }).unwrap();
        Self { registry, dispatcher, pool }
    }

    pub(crate) fn open(&self, params: impl Into<SessionParams>) -> SessionId {
        self.registry.open(params.into(), Placement::Any).unwrap()
    }

    pub(crate) fn packet(&self, bytes: &[u8]) -> Mbuf {
        self.pool.alloc_copy(bytes).unwrap()
    }

    /// Submits one job and polls it back.
    pub(crate) fn run(&mut self, job: Job) -> Job {
        let mut burst = JobBurst::new();
        burst.push(job).unwrap();
        assert_eq!(self.dispatcher.submit(&mut burst), 1);
        let mut done = JobBurst::new();
        assert_eq!(self.dispatcher.poll(&mut done), 1);
        done.pop().unwrap()
    }

    /// Runs a job; its status and the bytes of the packet with the result.
    pub(crate) fn finish(&mut self, job: Job) -> (Status, Vec<u8>) {
        let done = self.run(job);
        (done.status(), bytes_of(&done.into_packet()))
    }
}

/// The whole packet's bytes.
pub(crate) fn bytes_of(packet: &Mbuf) -> Vec<u8> {
    packet.segments().flatten().copied().collect()
}

/// `bytes` in segments that end at the given places (any order, those past the end count as the end; segments
/// may be empty).
pub(crate) fn chained(pool: &Pool, bytes: &[u8], cuts: &[usize]) -> Mbuf {
    let mut ends: Vec<usize> = cuts.iter().map(|&cut| cut.min(bytes.len())).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    let mut start = 0;
    let mut segments = ends.into_iter().map(|end| {
        let part = &bytes[start..end];
        start = end;
        let mut segment = pool.alloc().unwrap();
        segment.append(part.len()).unwrap().copy_from_slice(part);
        segment
    });
    let mut packet = segments.next().unwrap();
    segments.for_each(|segment| packet.chain(segment).unwrap());
    packet
}

pub(crate) const HMACS: [IntegrityAlgorithm; 4] = [
    IntegrityAlgorithm::HmacSha1,
    IntegrityAlgorithm::HmacSha256,
    IntegrityAlgorithm::HmacSha384,
    IntegrityAlgorithm::HmacSha512,
];

/// Length of the tag that ESP uses (RFC 2404, RFC 4868), in bytes.
pub(crate) fn esp_tag_len(algorithm: IntegrityAlgorithm) -> usize {
    match algorithm {
        IntegrityAlgorithm::HmacSha1 => 12,
        other => other.digest_len() / 2,
    }
}

/// A suite of ESP, with what it puts around the ciphertext; lengths in bytes.
#[derive(Clone, Debug)]
pub(crate) struct Suite {
    pub(crate) params: SessionParams,
    pub(crate) aead: bool,
    pub(crate) iv_len: usize,
    pub(crate) tag_len: usize,
}

/// SPI and sequence number.
pub(crate) const HEADER: usize = 8;

impl Suite {
    /// Every AES-CBC key length with every HMAC, then AES-GCM with every key length.
    pub(crate) fn all() -> Vec<Self> {
        let mut suites = Vec::new();
        for key_len in [16, 24, 32] {
            suites.extend(HMACS.map(|hmac| Self::cbc(key_len, hmac)));
            suites.push(Self::gcm(key_len));
        }
        suites
    }

    pub(crate) fn cbc(key_len: usize, hmac: IntegrityAlgorithm) -> Self {
        let (key, tag_len) = (key(key_len, 3), esp_tag_len(hmac));
        let integrity_key = self::key(hmac.digest_len(), 5);
        let params = SessionParams::from_iter([
            Transform::cipher(CipherAlgorithm::AesCbc, key),
            Transform::integrity(hmac, integrity_key, tag_len),
        ]);
        Self { params, aead: false, iv_len: 16, tag_len }
    }

    pub(crate) fn gcm(key_len: usize) -> Self {
        let params = Transform::aead(AeadAlgorithm::AesGcm, key(key_len, 7), key(4, 11), 16).into();
        Self { params, aead: true, iv_len: 8, tag_len: 16 }
    }

    /// A packet with header, IV, `payload` and room for the tag, the bytes of the rest made from `seed`.
    pub(crate) fn plain(&self, payload: &[u8], seed: u8) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..HEADER + self.iv_len).map(|n| seed.wrapping_add(n as u8)).collect();
        bytes.extend_from_slice(payload);
        bytes.extend(std::iter::repeat_n(0xee, self.tag_len));
        bytes
    }

    /// The job over a packet of that layout.
    pub(crate) fn job(
        &self,
        packet: Mbuf,
        session: SessionId,
        operation: Operation,
        esn: Option<u32>,
    ) -> Job {
        let len = packet.packet_len();
        let (cipher_at, tag_at) = (HEADER + self.iv_len, len - self.tag_len);
        let covered = if self.aead { HEADER } else { tag_at };
        let job = Job::new(packet, session, operation)
            .with_cipher(cipher_at as u16, (tag_at - cipher_at) as u32)
            .with_integrity(0, covered as u32)
            .with_iv(HEADER as u16)
            .with_tag(tag_at as u32);
        match esn {
            Some(high) => job.with_esn_high(high),
            None => job,
        }
    }
}

fn key(len: usize, step: u8) -> Key {
    let bytes: Vec<u8> = (0..len).map(|n| (n as u8).wrapping_mul(step).wrapping_add(step)).collect();
    Key::new(&bytes)
}
