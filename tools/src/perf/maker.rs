//! What a row's packets hold, and the sessions that they are for.
//!
//! Invariants: keys, packets and their order are the same in every run. Packets to be decrypted are sealed by the
//! software driver, whatever is measured, so that every tag is valid.

use crypto_pmd::{Operation, SessionId, SessionParams, Status};
use pipeline::{Pool, PoolConfig};

use crate::failure::Failure;

use super::device::{Built, Device, stuck};
use super::options::Size;
use super::rounds::Stuck;
use super::subject::Subject;

/// Bytes of a buffer in front of its packet, as a pool lays them out.
const BUFFER_FRONT: usize = 256;
/// A cache line.
const LINE: usize = 64;
/// Most memory for packets, in bytes.
const MOST_MEMORY: usize = 4 << 30;
/// Where all that is random begins.
const SEED: u64 = 0x5ea1_a9e0;

/// What one packet is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// Number of its session.
    pub(super) session: usize,
    /// Bytes of its payload.
    pub(super) size: usize,
}

/// Makes sessions and packets for them.
#[derive(Debug)]
pub(super) struct Maker<'a> {
    subject: &'a Subject,
    random: fastrand::Rng,
    size: Size,
    sessions: usize,
    /// Seals what is to be decrypted, with the same keys.
    sealer: Device,
    sealing: Vec<SessionId>,
    /// Where they are sealed.
    pool: Pool,
}

impl<'a> Maker<'a> {
    pub(super) fn new(subject: &'a Subject, size: Size, sessions: usize) -> Result<Self, Failure> {
        Ok(Self {
            subject,
            random: fastrand::Rng::with_seed(SEED),
            size,
            sessions,
            sealer: Built::Software.device()?,
            sealing: Vec::new(),
            pool: pool_for(subject, size, 1)?,
        })
    }

    /// Opens the sessions on the driver under test and, where packets are to be sealed, on the sealer.
    pub(super) fn open(&mut self, device: &Device, direction: Operation) -> Result<Vec<SessionId>, Failure> {
        let mut opened = Vec::with_capacity(self.sessions);
        for _ in 0..self.sessions {
            let params: SessionParams = self.subject.params(&mut self.random);
            if direction == Operation::Decrypt {
                self.sealing.push(self.sealer.open(params.clone()).map_err(Failure::usage)?);
            }
            opened.push(device.open(params).map_err(Failure::machine)?);
        }
        Ok(opened)
    }

    /// Sizes in turn, and every session as often as any other, in random order.
    pub(super) fn orders(&mut self, count: usize) -> Vec<Order> {
        let mut sessions: Vec<_> = (0..self.sessions).cycle().take(count).collect();
        self.random.shuffle(&mut sessions);
        let sizes = self.size.round(self.subject.layout().block_len).into_iter().cycle();
        sessions.into_iter().zip(sizes).map(|(session, size)| Order { session, size }).collect()
    }

    /// Random bytes, sealed where they are to be decrypted.
    pub(super) fn image(&mut self, order: &Order) -> Result<Vec<u8>, Failure> {
        let layout = self.subject.layout();
        let plain = layout.plain(order.size, &mut self.random);
        let Some(&session) = self.sealing.get(order.session) else { return Ok(plain) };
        let packet = self.pool.alloc_copy(&plain).ok_or_else(no_buffer)?;
        let job = layout.job(packet, session, Operation::Encrypt);
        let done = self.sealer.process(vec![job], 1).map_err(|Stuck| stuck(Built::Software.name()))?;
        match done.into_iter().next() {
            Some(job) if job.status() == Status::Done => Ok(job.into_packet().data().to_vec()),
            _ => Err(Failure::bad_result("driver software could not seal what is to be decrypted")),
        }
    }
}

/// A pool that is empty before its time.
pub(super) fn no_buffer() -> Failure {
    Failure::machine("the pool has no buffer left")
}

/// A pool for so many packets, each in one segment.
pub(super) fn pool_for(subject: &Subject, size: Size, buffers: usize) -> Result<Pool, Failure> {
    let layout = subject.layout();
    let longest = size.round(layout.block_len).into_iter().max().unwrap_or_default();
    let stride = stride_for(layout.packet_len(longest));
    if buffers.saturating_mul(stride) > MOST_MEMORY {
        return Err(Failure::usage(format_args!(
            "--pool {buffers} with packets of {longest} bytes needs {} MiB; use a smaller pool",
            buffers.saturating_mul(stride) >> 20
        )));
    }
    Pool::new(PoolConfig { buffers, stride }).map_err(Failure::machine)
}

/// The usual stride, or the next odd number of cache lines that holds the packet.
fn stride_for(packet_len: usize) -> usize {
    let lines = (BUFFER_FRONT + packet_len).div_ceil(LINE) | 1;
    (lines * LINE).max(PoolConfig::default().stride)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipsec_esp::suite::Suite;

    fn subject(name: &str) -> Subject {
        Subject::of_suite(Suite::parse(name).unwrap())
    }

    #[test]
    fn sessions_are_spread_evenly_in_random_order_and_sizes_take_turns() {
        let subject = subject("aes128-sha1");
        let mut maker = Maker::new(&subject, Size::Imix, 3).unwrap();
        let orders = maker.orders(24);
        for session in 0..3 {
            assert_eq!(orders.iter().filter(|order| order.session == session).count(), 8);
        }
        assert!(!orders.iter().map(|order| order.session).eq((0..3).cycle().take(24)));
        assert!(orders.iter().map(|order| order.size).eq(Size::Imix.round(16).into_iter().cycle().take(24)));
        assert_eq!(Maker::new(&subject, Size::Imix, 3).unwrap().orders(24), orders, "the same in every run");
    }

    #[test]
    fn what_is_to_be_decrypted_is_sealed_under_the_keys_of_its_session() {
        let subject = subject("aes128gcm16");
        let mut maker = Maker::new(&subject, Size::Fixed(64), 2).unwrap();
        let mut device = Built::Software.device().unwrap();
        let sessions = maker.open(&device, Operation::Decrypt).unwrap();
        let pool = pool_for(&subject, Size::Fixed(64), 1).unwrap();
        for (under, status) in [(0, Status::Done), (1, Status::IntegrityFailed)] {
            let image = maker.image(&Order { session: 0, size: 64 }).unwrap();
            let packet = pool.alloc_copy(&image).unwrap();
            let job = subject.layout().job(packet, sessions[under], Operation::Decrypt);
            assert_eq!(device.process(vec![job], 1).unwrap()[0].status(), status);
        }
    }

    #[test]
    fn the_largest_packet_fits_into_one_segment() {
        let subject = subject("aes256-sha512");
        for size in [16, 1408, 2048, 8192, 63 << 10] {
            let pool = pool_for(&subject, Size::Fixed(size), 1).unwrap();
            let bytes = vec![0; subject.layout().packet_len(size as usize)];
            assert!(!pool.alloc_copy(&bytes).unwrap().is_chained(), "{size}");
        }
    }

    #[test]
    fn more_memory_than_there_can_be_is_refused() {
        let error = pool_for(&subject("aes128-sha1"), Size::Fixed(63 << 10), 1 << 20).unwrap_err();
        assert!(error.to_string().contains("use a smaller pool"), "{error}");
    }
}
