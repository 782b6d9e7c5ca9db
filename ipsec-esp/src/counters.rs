//! What one direction of one core has counted.

use crypto_pmd::job::JobBurst;
use pipeline::stats::SparseTally;
use pipeline::{Burst, Ledger, Mbuf, Reason, Tally};

use crate::drop_reason::{AbsorbReason, DropReason, OutReason};
use crate::sa::SaSlot;

/// Pairs of SA and reason that are told apart.
const PAIRS: usize = 1024;

macro_rules! reason {
    ($($kind:ty),+) => {$(
        impl Reason for $kind {
            const ALL: &'static [Self] = <$kind>::ALL;
            #[inline(always)]
            fn index(self) -> usize {
                <$kind>::index(self)
            }
            fn name(self) -> &'static str {
                <$kind>::name(self)
            }
        }
    )+};
}
reason!(DropReason, AbsorbReason, OutReason);

/// A packet that needs no job, and its place among those that do.
#[derive(Debug)]
pub struct Passed {
    /// The packet.
    pub packet: Mbuf,
    /// Jobs that were made before it.
    pub after: u64,
}

/// The counters.
#[derive(Clone, Debug)]
pub struct Counters {
    /// Packets dropped.
    pub dropped: Tally<DropReason>,
    /// Packets that ended here without being lost.
    pub absorbed: Tally<AbsorbReason>,
    /// Packets handed on.
    pub sent: Tally<OutReason>,
    /// Drops by SA.
    pub dropped_by_sa: SparseTally<DropReason>,
    /// Bytes of IP packets that came in, without link header and padding.
    pub ip_bytes_in: u64,
    /// Bytes of IP packets handed on, without link header.
    pub ip_bytes_out: u64,
}

impl Default for Counters {
    fn default() -> Self {
        Self::new()
    }
}

impl Counters {
    /// Adds what another core counted.
    pub fn add(&mut self, other: &Self) {
        self.dropped.add_all(&other.dropped);
        self.absorbed.add_all(&other.absorbed);
        self.sent.add_all(&other.sent);
        self.dropped_by_sa.add_all(&other.dropped_by_sa);
        self.ip_bytes_in += other.ip_bytes_in;
        self.ip_bytes_out += other.ip_bytes_out;
    }

    pub(crate) fn new() -> Self {
        Self {
            dropped: Tally::default(),
            absorbed: Tally::default(),
            sent: Tally::default(),
            dropped_by_sa: SparseTally::with_capacity(PAIRS),
            ip_bytes_in: 0,
            ip_bytes_out: 0,
        }
    }

    /// Hands a packet on that needs no job, behind the jobs that were made before it. The caller saw to room.
    #[inline(never)]
    pub(crate) fn pass(
        &mut self,
        ip_bytes: u32,
        reason: OutReason,
        packet: Mbuf,
        jobs: &JobBurst,
        passed: &mut Burst<Passed>,
    ) {
        self.ip_bytes_out += u64::from(ip_bytes);
        self.sent.add(reason, 1);
        drop(passed.push(Passed { packet, after: jobs.len() as u64 }));
    }

    /// Lets a packet go.
    #[inline(never)]
    pub(crate) fn drop(&mut self, packet: Mbuf, reason: DropReason) {
        self.dropped.add(reason, 1);
        drop(packet);
    }

    /// Lets a packet of an SA go.
    #[inline(never)]
    pub(crate) fn drop_of(&mut self, sa: SaSlot, packet: Mbuf, reason: DropReason) {
        self.dropped_by_sa.add(sa.0, reason);
        self.drop(packet, reason);
    }

    /// Adds the counts to the books, the drops as those of `stage`.
    pub fn account(&self, stage: &'static str, ledger: &mut Ledger) {
        ledger.drops_of(stage, &self.dropped);
        Ledger::merge(&mut ledger.absorbed, &self.absorbed);
        Ledger::merge(&mut ledger.sent_by, &self.sent);
    }
}
