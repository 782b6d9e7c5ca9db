//! ESP outbound (RFC 4303 section 3.3, RFC 4301 section 5.1): policy, SA, headers and trailer; then the crypto jobs.
//!
//! Sans-I/O: [`Outbound::prepare`] turns packets into jobs, somebody has a driver do them, [`Outbound::finish`] turns
//! done jobs into packets. Both run on the core that owns the SAs: it alone gives sequence numbers. Packets that a
//! policy lets pass, or that are not IP, need no job.
//!
//! Invariant: a sequence number is used for one packet at most; every packet ends in the output or under a reason.

mod inline;

use crypto_pmd::job::JobBurst;
use crypto_pmd::{Job, Operation, SessionId, Status};
use pipeline::handoff::Peers;
use pipeline::{Burst, Ledger, Mbuf, Pool};

use crate::classify::{Classifier, DEFAULT_FLOWS, Decision, Found, FoundBurst, found_burst};
use crate::counters::{Counters, Passed};
use crate::drop_reason::{DropReason, OutReason};
use crate::encapsulate::{OutboundSa, Shape, fill_udp_checksum};
use crate::flow_key::FlowKey;
use crate::header::esp;
use crate::header::link::Link;
use crate::iv::{IvSource, NoRandomness};
use crate::sa::{SaParams, SaSlot};
use crate::sa_store::{Lane, SaStore};
use crate::spd::{Action, Direction, Spd, SpdView};

/// Name of the stage in reports.
pub(crate) const NAME: &str = "esp_out";

/// Marks a job whose outer UDP header needs a checksum once the ciphertext is there.
const UDP_CHECKSUM: u64 = 1 << 32;

/// ESP outbound on one core.
#[derive(Debug)]
pub struct Outbound {
    /// Number of this core, which owns `sas`.
    me: u8,
    link: Link,
    pool: Pool,
    spd: Spd,
    /// What the core reads: of `spd`, or of another that several cores share.
    view: SpdView,
    sas: SaStore<OutboundSa>,
    classifier: Classifier,
    found: FoundBurst,
    ivs: IvSource,
    counters: Counters,
}

impl Outbound {
    /// Without policies and SAs; `pool` gives segments to packets whose trailer does not fit.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn new(link: Link, pool: Pool) -> Result<Self, NoRandomness> {
        Self::on_core(0, link, pool)
    }

    /// As [`Outbound::new`], on one of several cores; its number is at most [`SaSlot::MAX_OWNER`].
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn on_core(me: u8, link: Link, pool: Pool) -> Result<Self, NoRandomness> {
        let mut ivs = IvSource::random()?;
        let mut spd = Spd::new(Direction::Outbound);
        let [a, b, c, d, e, f, g, h, ..] = ivs.take();
        let seed = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        Ok(Self {
            me,
            link,
            pool,
            view: spd.view(),
            spd,
            sas: SaStore::new(),
            classifier: Classifier::new(seed, DEFAULT_FLOWS),
            found: found_burst(),
            ivs,
            counters: Counters::new(),
        })
    }

    /// Sizes the flow cache for so many flows, forgetting what it knew.
    pub fn set_flow_cache(&mut self, flows: usize) {
        let [a, b, c, d, e, f, g, h, ..] = self.ivs.take();
        self.classifier = Classifier::new(u64::from_le_bytes([a, b, c, d, e, f, g, h]), flows);
    }

    /// Adds an SA (already checked) whose crypto session is `session`.
    pub fn add_sa(&mut self, params: &SaParams, session: SessionId) -> SaSlot {
        SaSlot::of(self.me, self.sas.push(OutboundSa::new(params, session)) as u32)
    }

    /// The policies.
    #[must_use]
    pub fn spd(&self) -> &Spd {
        &self.spd
    }

    /// This core's own policies, to be changed.
    pub fn spd_mut(&mut self) -> &mut Spd {
        &mut self.spd
    }

    /// Reads the policies of a database that several cores share, instead of this core's own.
    pub fn share_policies(&mut self, view: SpdView) {
        self.view = view;
    }

    /// Takes changes of its SAs from control code.
    pub(crate) fn join(&mut self, lane: Lane<OutboundSa>) {
        self.sas.join(lane);
    }

    /// A burst boundary. SAs first: whoever puts one into a place has taken the policies of its predecessor out before.
    #[inline]
    pub fn refresh(&mut self) {
        self.sas.refresh();
        self.view.refresh();
    }

    /// The core goes to sleep or stops: it looks at nothing shared until the next burst.
    pub fn offline(&mut self) {
        self.view.offline();
    }

    /// The counters.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Next sequence number of an SA; `None` when it has sent its last, or there is no such SA.
    #[must_use]
    pub fn next_sequence(&self, slot: SaSlot) -> Option<u64> {
        self.sa(slot)?.sequence.peek()
    }

    /// Packets and bytes that an SA has been given.
    #[must_use]
    pub fn sa_totals(&self, slot: SaSlot) -> Option<(u64, u64)> {
        self.sa(slot).map(|sa| (sa.packets(), sa.bytes))
    }

    fn sa(&self, slot: SaSlot) -> Option<&OutboundSa> {
        self.sas.get(slot.index()).filter(|_| slot.owner() == self.me)
    }

    /// Takes packets from `input`: those to protect become `jobs`, those that pass go to `passed`, the rest is
    /// dropped and counted. Packets whose SA belongs to another core are handed to it. Stops where anything has no room.
    pub fn prepare(
        &mut self,
        input: &mut Burst,
        jobs: &mut JobBurst,
        passed: &mut Burst<Passed>,
        peers: &mut Peers,
    ) {
        let count = input.len().min(jobs.room()).min(passed.room()).min(peers.room());
        self.refresh();
        let before = jobs.len();
        let Self { me, link, pool, view, sas, classifier, found, ivs, counters, .. } = self;
        for (packet, found) in input.iter_mut().zip(found.iter_mut()).take(count) {
            classifier.parse(found, *link, packet);
        }
        let mut last = None;
        for found in found.iter_mut().take(count) {
            let slot = classifier.decide(found, view, newest_sa).protected();
            if let Some(number) = slot
                && slot != last
            {
                sas.prefetch(SaSlot(number).index());
                last = slot;
            }
        }
        counters.ip_bytes_in += found.iter().take(count).map(|found| u64::from(found.total_len)).sum::<u64>();
        for (packet, found) in input.drain_front(count).zip(found.iter()) {
            match found.verdict.decision() {
                Decision::Protect(slot) => match SaSlot(slot).index_at(*me).map(|index| sas.get_mut(index)) {
                    Some(Some(sa)) => {
                        protect(packet, found, (sa, slot), (*link, pool, ivs), (jobs, passed), counters)
                    }
                    Some(None) => counters.drop(packet, DropReason::NoSa),
                    None => hand_on(packet, found, SaSlot(slot), peers, counters),
                },
                Decision::Bypass => counters.pass(found.total_len, OutReason::Bypassed, packet, jobs, passed),
                Decision::NotIp => counters.pass(0, OutReason::BypassedNonIp, packet, jobs, passed),
                Decision::Drop(reason) => counters.drop(packet, reason),
            }
        }
        sas.count_jobs(jobs.len() - before, 0);
    }

    /// Turns the first `limit` done jobs into packets, or as many as `output` has room for; returns how many jobs that
    /// were.
    pub fn finish(&mut self, done: &mut JobBurst, output: &mut Burst, limit: usize) -> usize {
        let count = done.len().min(output.room()).min(limit);
        let jobs = done.as_slice().get(..count).unwrap_or_default();
        if jobs.iter().all(|job| job.status() == Status::Done && job.cookie() & UDP_CHECKSUM == 0) {
            self.counters.sent.add(OutReason::Protected, count as u64);
            output.extend(done.drain_front(count).map(Job::into_packet));
        } else {
            done.drain_front(count).for_each(|job| self.finish_one(job, output));
        }
        self.sas.count_jobs(0, count);
        count
    }

    #[inline(never)]
    fn finish_one(&mut self, job: Job, output: &mut Burst) {
        let (status, cookie) = (job.status(), job.cookie());
        let mut packet = job.into_packet();
        if status != Status::Done {
            // Counted when it was built.
            self.counters.ip_bytes_out -= (packet.packet_len() - packet.l2_len()) as u64;
            return self.counters.drop_of(SaSlot(cookie as u32), packet, reason_of(status));
        }
        if cookie & UDP_CHECKSUM != 0 {
            fill_udp_checksum(&mut packet);
        }
        self.counters.sent.add(OutReason::Protected, 1);
        // Room was seen to by the caller.
        drop(output.push(packet));
    }

    /// Adds what was dropped and how packets left.
    pub fn account(&self, ledger: &mut Ledger) {
        self.counters.account(NAME, ledger);
    }

    /// Says which policy and which SA a packet with this key would get.
    #[must_use]
    pub fn explain(&self, key: &FlowKey) -> Option<(crate::spd::PolicyId, &crate::spd::Policy)> {
        self.spd.lookup(key)
    }
}

/// The newest SA of a policy's list sends.
fn newest_sa(_policy: u32, action: &Action) -> Option<u32> {
    match action {
        Action::Protect(sas) => sas.last().map(|slot| slot.0),
        Action::Bypass | Action::Discard => None,
    }
}

/// Hands a packet to the core that owns its SA, which counts it.
#[inline(never)]
fn hand_on(packet: Mbuf, found: &Found, slot: SaSlot, peers: &mut Peers, counters: &mut Counters) {
    match peers.hand(slot.owner(), packet) {
        Ok(()) => counters.ip_bytes_in -= u64::from(found.total_len),
        Err(packet) => counters.drop(packet, DropReason::NoSa),
    }
}

#[inline(always)]
fn protect(
    mut packet: Mbuf,
    found: &Found,
    (sa, slot): (&mut OutboundSa, u32),
    (link, pool, ivs): (Link, &Pool, &mut IvSource),
    (jobs, passed): (&mut JobBurst, &mut Burst<Passed>),
    counters: &mut Counters,
) {
    // Whatever is uncommon is the general way's business.
    match sa.encapsulate_plain(&mut packet, found, link, ivs) {
        Some(shape) => {
            counters.ip_bytes_out += u64::from(shape.ip_len);
            // Room was seen to by the caller.
            jobs.push_with(|| job_of(packet, sa, slot, &shape));
        }
        None => protect_any(packet, found, (sa, slot), (link, pool, ivs), (jobs, passed), counters),
    }
}

/// Apart, so that the straight line keeps its registers.
#[inline(never)]
fn protect_any(
    mut packet: Mbuf,
    found: &Found,
    (sa, slot): (&mut OutboundSa, u32),
    (link, pool, ivs): (Link, &Pool, &mut IvSource),
    (jobs, passed): (&mut JobBurst, &mut Burst<Passed>),
    counters: &mut Counters,
) {
    if let Some(bound) = sa.bound() {
        let sa = (sa, slot, bound);
        return inline::protect(packet, found, sa, (link, pool, ivs), (jobs, passed), counters);
    }
    match sa.encapsulate(&mut packet, found, link, pool, ivs) {
        Ok(shape) => {
            counters.ip_bytes_out += u64::from(shape.ip_len);
            // As above.
            drop(jobs.push(job_of(packet, sa, slot, &shape)));
        }
        Err(reason) => counters.drop_of(SaSlot(slot), packet, reason),
    }
}

#[inline(always)]
fn job_of(packet: Mbuf, sa: &OutboundSa, slot: u32, shape: &Shape) -> Job {
    let front = shape.esp_offset + esp::LEN as u16;
    let cipher_offset = front + u16::from(sa.iv_len);
    let job = Job::new(packet, sa.session, Operation::Encrypt)
        .with_cipher(cipher_offset, shape.cipher_len)
        .with_integrity(shape.esp_offset, sa.authenticated(shape.cipher_len))
        .with_iv(front)
        .with_tag(u32::from(cipher_offset) + shape.cipher_len)
        .with_cookie(u64::from(slot) | (u64::from(sa.udp_checksum) * UDP_CHECKSUM));
    if sa.esn { job.with_esn_high((shape.sequence >> 32) as u32) } else { job }
}

/// Why a job that was not done loses its packet.
pub(crate) fn reason_of(status: Status) -> DropReason {
    match status {
        Status::IntegrityFailed => DropReason::IntegrityFailed,
        Status::Indeterminate => DropReason::CryptoIndeterminate,
        Status::Late => DropReason::CryptoLate,
        _ => DropReason::CryptoFailed,
    }
}
