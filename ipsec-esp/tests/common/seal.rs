//! ESP packets sealed and opened by a crypto session directly: headers, IV, padding and trailer are the test's.

use crypto_pmd::drivers::Software;
use crypto_pmd::job::JobBurst;
use crypto_pmd::{Dispatcher, Job, Operation, Placement, QueuePairConfig, Registry, SessionId, Status};
use ipsec_esp::sa::SaParams;
use pipeline::Pool;

use super::frames::{EAST4, ESP, V4, WEST4};
use super::{bytes_of, rig};

/// SPI and sequence number.
pub(crate) const HEADER: usize = 8;

/// One SA's crypto without ESP around it.
pub(crate) struct HandSealer {
    dispatcher: Dispatcher,
    session: SessionId,
    pool: Pool,
    params: SaParams,
    pub(crate) iv_len: usize,
    pub(crate) icv_len: usize,
}

impl HandSealer {
    pub(crate) fn new(params: &SaParams) -> Self {
        let registry = Registry::new();
        registry.attach(Software::new()).unwrap();
        let session = registry.open(params.session_params(), Placement::Any).unwrap();
        Self {
            dispatcher: registry.dispatcher(&QueuePairConfig::default()).unwrap(),
            session,
            pool: rig::new_pool(64),
            params: params.clone(),
            iv_len: params.suite.iv_len(),
            icv_len: params.suite.icv_len(),
        }
    }

    /// Seals a plaintext that already has its padding and trailer: ESP header to ICV.
    pub(crate) fn esp(&mut self, sequence: u64, plaintext: &[u8]) -> Vec<u8> {
        let mut bytes = self.params.spi.0.to_be_bytes().to_vec();
        bytes.extend((sequence as u32).to_be_bytes());
        bytes.extend((0..self.iv_len).map(|n| (sequence as u8).wrapping_mul(17).wrapping_add(n as u8)));
        bytes.extend(plaintext);
        bytes.extend(std::iter::repeat_n(0, self.icv_len));
        self.run(&bytes, sequence, Operation::Encrypt).expect("the job was done")
    }

    /// The plaintext, with padding and trailer, of an ESP packet from its header to its ICV.
    pub(crate) fn plaintext(&mut self, esp: &[u8], sequence: u64) -> Option<Vec<u8>> {
        let bytes = self.run(esp, sequence, Operation::Decrypt)?;
        Some(bytes[HEADER + self.iv_len..bytes.len() - self.icv_len].to_vec())
    }

    fn run(&mut self, bytes: &[u8], sequence: u64, operation: Operation) -> Option<Vec<u8>> {
        let (cipher, tag) = (HEADER + self.iv_len, bytes.len() - self.icv_len);
        let covered = if self.params.suite.is_aead() { HEADER } else { tag };
        let mut job = Job::new(self.pool.alloc_copy(bytes)?, self.session, operation)
            .with_cipher(cipher as u16, (tag - cipher) as u32)
            .with_integrity(0, covered as u32)
            .with_iv(HEADER as u16)
            .with_tag(tag as u32);
        if self.params.esn {
            job = job.with_esn_high((sequence >> 32) as u32);
        }
        let (mut jobs, mut done) = (JobBurst::new(), JobBurst::new());
        jobs.push(job).unwrap();
        self.dispatcher.submit(&mut jobs);
        self.dispatcher.poll(&mut done);
        let job = done.pop().expect("the software driver works at once");
        (job.status() == Status::Done).then(|| bytes_of(&job.into_packet()))
    }
}

/// `payload` with the least right padding that fits `align`, and the trailer.
pub(crate) fn padded(payload: &[u8], align: usize, next_header: u8) -> Vec<u8> {
    let pad_len = (align - (payload.len() + 2) % align) % align;
    with_trailer(payload, &(1..=pad_len as u8).collect::<Vec<u8>>(), pad_len as u8, next_header)
}

/// `payload`, any padding, any trailer.
pub(crate) fn with_trailer(payload: &[u8], padding: &[u8], pad_len: u8, next_header: u8) -> Vec<u8> {
    [payload, padding, &[pad_len, next_header]].concat()
}

/// An ESP packet in the IPv4 packet of a tunnel.
pub(crate) fn in_tunnel(esp: &[u8]) -> Vec<u8> {
    V4::between(EAST4, WEST4, ESP).packet(esp)
}
