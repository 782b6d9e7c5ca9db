//! ESP inbound (RFC 4303 section 3.4, RFC 4301 section 5.2): find the SA, look at replay, have it decrypted, check and
//! set replay, take the packet out, and check that a policy lets it in by that SA.
//!
//! Sans-I/O, as [`crate::outbound`]. Replay is advice before the crypto and decided after it, both on the core that
//! owns the SA, so a duplicate in the same burst or from another worker never passes twice.
//!
//! Invariant: nothing of a packet leaves before its integrity, its number and its policy were found right.

mod inline;

use crypto_pmd::job::JobBurst;
use crypto_pmd::{Job, Operation, SessionId, Status};
use pipeline::handoff::Peers;
use pipeline::memory::prefetch;
use pipeline::{Burst, Ledger, MAX_BURST, Mbuf};

use crate::classify::{Classifier, DEFAULT_FLOWS, Decision, Found, FoundBurst, found_burst, network_of};
use crate::counters::{Counters, Passed};
use crate::decapsulate::{Arrived, Decrypted, EspPacket, InboundSa, Inside, Numbers, arrived};
use crate::drop_reason::{AbsorbReason, DropReason, OutReason};
use crate::header::esp;
use crate::header::link::Link;
use crate::inline::CardSlots;
use crate::iv::{IvSource, NoRandomness};
use crate::outbound::reason_of;
use crate::replay::{BadWindow, ReplayError};
use crate::sa::{SaParams, SaSlot};
use crate::sa_store::{Lane, SaStore};
use crate::sad::{Sad, SadView};
use crate::sequence;
use crate::spd::{Action, Direction, Spd, SpdView};
use inline::Reported;

/// Name of the stage in reports.
pub(crate) const NAME: &str = "esp_in";

/// In a verdict's number: the rest is a policy to be asked, not the one SA that it lists.
const ASK_POLICY: u32 = 1 << 31;

/// Two SAs cannot be told apart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddSaError {
    /// Same SPI and destination.
    #[error("another inbound SA has the same SPI and destination; change one of the two")]
    Ambiguous(SaSlot),
    /// The window's size.
    #[error(transparent)]
    Window(#[from] BadWindow),
}

/// ESP inbound on one core.
#[derive(Debug)]
pub struct Inbound {
    /// Number of this core, which owns `sas`.
    me: u8,
    link: Link,
    spd: Spd,
    /// What the core reads: of `spd`, or of another that several cores share.
    view: SpdView,
    sas: SaStore<InboundSa>,
    sad: Sad,
    /// What the core reads: of `sad`, or of another that several cores share.
    spis: SadView,
    classifier: Classifier,
    found: FoundBurst,
    counters: Counters,
    looks: Box<[Look; MAX_BURST]>,
    /// SAs by the slots of cards.
    cards: CardSlots,
}

/// What the first pass found of a packet.
#[derive(Clone, Copy, Debug)]
enum Look {
    NotIp,
    Arrived(Arrived),
    /// An ESP packet with its SA's slot.
    Mine(EspPacket, u32),
    /// A packet whose SA belongs to this other core.
    Others(u8),
    /// A packet of which a card reports something.
    Reported(Reported),
}

impl Inbound {
    /// Without policies and SAs.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn new(link: Link) -> Result<Self, NoRandomness> {
        Self::on_core(0, link)
    }

    /// As [`Inbound::new`], on one of several cores; its number is at most [`SaSlot::MAX_OWNER`].
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn on_core(me: u8, link: Link) -> Result<Self, NoRandomness> {
        let (mut spd, sad) = (Spd::new(Direction::Inbound), Sad::new());
        let [a, b, c, d, e, f, g, h, ..] = IvSource::random()?.take();
        Ok(Self {
            me,
            link,
            view: spd.view(),
            spd,
            sas: SaStore::new(),
            spis: sad.view(),
            sad,
            classifier: Classifier::new(u64::from_le_bytes([a, b, c, d, e, f, g, h]), DEFAULT_FLOWS),
            found: found_burst(),
            counters: Counters::new(),
            looks: Box::new([Look::NotIp; MAX_BURST]),
            cards: CardSlots::default(),
        })
    }

    /// Adds an SA (already checked) whose crypto session is `session`.
    ///
    /// # Errors
    /// [`AddSaError`], with nothing changed.
    pub fn add_sa(&mut self, params: &SaParams, session: SessionId) -> Result<SaSlot, AddSaError> {
        let sa = InboundSa::new(params, session)?;
        let same = |slot: &SaSlot| {
            let other = self.sa(*slot).and_then(|other| other.destination);
            other == sa.destination || other.is_none() || sa.destination.is_none()
        };
        if let Some(other) = self.sad.find(params.spi).into_iter().find(same) {
            return Err(AddSaError::Ambiguous(other));
        }
        self.listen(params);
        let slot = SaSlot::of(self.me, self.sas.push(sa) as u32);
        self.sad.insert(params.spi, slot);
        Ok(slot)
    }

    /// Makes an SA of another core known, so that its packets are handed to that core. All SAs of one SPI must belong
    /// to one core, because only the owner can tell them apart.
    pub fn add_sa_of_other(&mut self, params: &SaParams, slot: SaSlot) {
        if slot.owner() == self.me {
            return;
        }
        self.listen(params);
        self.sad.insert(params.spi, slot);
    }

    /// UDP to the port of an SA's encapsulation is looked into.
    fn listen(&mut self, params: &SaParams) {
        if let Some(encap) = params.udp_encap {
            self.sad.listen(encap.dst_port);
        }
    }

    fn sa(&self, slot: SaSlot) -> Option<&InboundSa> {
        self.sas.get(slot.index()).filter(|_| slot.owner() == self.me)
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

    /// Finds SAs by a table that several cores share, and takes changes of its own SAs from control code.
    pub(crate) fn join(&mut self, spis: SadView, lane: Lane<InboundSa>) {
        self.spis = spis;
        self.sas.join(lane);
    }

    /// A burst boundary. SAs first: whoever puts one into a place has taken the policies of its predecessor out before.
    #[inline]
    pub fn refresh(&mut self) {
        self.sas.refresh();
        self.spis.refresh();
        self.view.refresh();
    }

    /// The core goes to sleep or stops: it looks at nothing shared until the next burst.
    pub fn offline(&mut self) {
        self.spis.offline();
        self.view.offline();
    }

    /// The counters.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Packets and bytes that came by an SA.
    #[must_use]
    pub fn sa_totals(&self, slot: SaSlot) -> Option<(u64, u64)> {
        self.sa(slot).map(|sa| (sa.packets, sa.bytes))
    }

    /// Highest number that an SA has received.
    #[must_use]
    pub fn highest_sequence(&self, slot: SaSlot) -> Option<u64> {
        self.sa(slot).map(|sa| sa.replay.highest())
    }

    /// Starts every SA's replay window anew, to replay the same packets again.
    pub fn reset_windows(&mut self) {
        self.sas.iter_mut().for_each(InboundSa::reset_window);
    }

    /// Takes packets from `input`: ESP becomes `jobs`, what passes in the clear goes to `passed`, the rest is dropped
    /// or absorbed, and counted. ESP whose SA belongs to another core is handed to it. Stops where anything has no room.
    pub fn prepare(
        &mut self,
        input: &mut Burst,
        jobs: &mut JobBurst,
        passed: &mut Burst<Passed>,
        peers: &mut Peers,
    ) {
        self.refresh();
        let before = jobs.len();
        let count = input.len().min(jobs.room()).min(passed.room()).min(peers.room());
        // What cards report lies in a line that is read anyway; it is asked about once a burst.
        let mut reports = 0;
        for (packet, look) in input.iter_mut().take(count).zip(self.looks.iter_mut()) {
            reports |= packet.rx_status();
            *look = look_at(self.link, packet, self.spis.ports());
            if let Look::Arrived(Arrived::Esp(esp)) = look
                && let Some(place) = self.spis.table().and_then(|table| table.first(esp.header.spi))
            {
                prefetch(place);
            }
        }
        for index in 0..count {
            self.find_sa(index);
        }
        if reports != 0 {
            self.follow_reports(input, count);
        }
        for (index, packet) in input.drain_front(count).enumerate() {
            match self.looks.get(index).copied().unwrap_or(Look::NotIp) {
                Look::Mine(esp, slot) => self.decrypt(packet, &esp, slot, jobs),
                Look::Others(owner) => {
                    if let Err(packet) = peers.hand(owner, packet) {
                        let reported = packet.rx_status() != 0;
                        let reason = if reported { DropReason::BadReport } else { DropReason::UnknownSpi };
                        self.counters.drop(packet, reason);
                    }
                }
                Look::Reported(reported) => self.follow(packet, reported, jobs, passed),
                Look::NotIp => self.counters.pass(0, OutReason::BypassedNonIp, packet, jobs, passed),
                Look::Arrived(arrived) => self.other(packet, arrived, jobs, passed),
            }
        }
        self.sas.count_jobs(jobs.len() - before, 0);
    }

    /// Second pass: the SA by SPI, and by destination where the SA names one.
    #[inline(always)]
    fn find_sa(&mut self, index: usize) {
        let Some(look) = self.looks.get_mut(index) else { return };
        let Look::Arrived(Arrived::Esp(esp)) = *look else { return };
        let Some(table) = self.spis.table() else { return };
        for slot in table.find(esp.header.spi) {
            if slot.owner() != self.me {
                *look = Look::Others(slot.owner());
                return;
            }
            let Some(sa) = self.sas.get(slot.index()) else { continue };
            // The table may already speak of an SA that is still to come into this place.
            let named = sa.spi == esp.header.spi && sa.udp == esp.udp;
            if named && sa.destination.is_none_or(|destination| destination == esp.dst) {
                prefetch(sa);
                *look = Look::Mine(esp, slot.0);
                return;
            }
        }
    }

    #[inline(always)]
    fn decrypt(&mut self, mut packet: Mbuf, esp: &EspPacket, slot: u32, jobs: &mut JobBurst) {
        self.counters.ip_bytes_in += u64::from(esp.total_len);
        let Some(sa) = self.sas.get(SaSlot(slot).index()) else {
            return self.counters.drop(packet, DropReason::UnknownSpi);
        };
        let sequence = match number_of(sa, esp.header.sequence) {
            Ok(sequence) => sequence,
            Err(reason) => return self.counters.drop_of(SaSlot(slot), packet, reason),
        };
        let (offset, cipher_len) = match esp.cipher_range(sa) {
            Ok(range) => range,
            Err(reason) => return self.counters.drop_of(SaSlot(slot), packet, reason),
        };
        let l2_len = packet.l2_len();
        packet.truncate(l2_len + esp.total_len as usize);
        let esp_offset = esp.esp_offset + l2_len as u16;
        let cipher_offset = offset + l2_len as u16;
        let authenticated = if sa.aead { 0 } else { u32::from(sa.iv_len) + cipher_len };
        let (session, esn) = (sa.session, sa.numbers == Numbers::Extended);
        // Room was seen to by the caller.
        jobs.push_with(|| {
            let job = Job::new(packet, session, Operation::Decrypt)
                .with_cipher(cipher_offset, cipher_len)
                .with_integrity(esp_offset, esp::LEN as u32 + authenticated)
                .with_iv(esp_offset + esp::LEN as u16)
                .with_tag(u32::from(cipher_offset) + cipher_len)
                .with_cookie(esp.cookie(slot, l2_len));
            if esn { job.with_esn_high(sequence::high_half(sequence)) } else { job }
        });
    }

    #[inline(never)]
    fn other(&mut self, packet: Mbuf, arrived: Arrived, jobs: &JobBurst, passed: &mut Burst<Passed>) {
        self.counters.ip_bytes_in += u64::from(arrived.total_len());
        match arrived {
            Arrived::Plain => self.plain(packet, jobs, passed),
            Arrived::Keepalive(_) => {
                self.counters.absorbed.add(AbsorbReason::NatKeepalive, 1);
                drop(packet);
            }
            Arrived::Ike(total_len) => self.counters.pass(total_len, OutReason::Ike, packet, jobs, passed),
            Arrived::Esp(_) => self.counters.drop(packet, DropReason::UnknownSpi),
            Arrived::EspFragment(_) => self.counters.drop(packet, DropReason::OuterFragment),
            Arrived::Truncated(_) => self.counters.drop(packet, DropReason::Truncated),
            Arrived::Malformed => self.counters.drop(packet, DropReason::MalformedHeader),
        }
    }

    /// A packet in the clear: in only where a policy says bypass.
    fn plain(&mut self, mut packet: Mbuf, jobs: &JobBurst, passed: &mut Burst<Passed>) {
        let mut found = Found::NOTHING;
        self.classifier.parse(&mut found, self.link, &mut packet);
        let verdict = self.classifier.decide(&mut found, &self.view, number_of_action).decision();
        let total_len = found.total_len;
        self.counters.ip_bytes_in += u64::from(total_len);
        match verdict {
            Decision::Bypass => self.counters.pass(total_len, OutReason::Bypassed, packet, jobs, passed),
            Decision::NotIp => self.counters.pass(0, OutReason::BypassedNonIp, packet, jobs, passed),
            Decision::Protect(_) => self.counters.drop(packet, DropReason::Unprotected),
            Decision::Drop(reason) => self.counters.drop(packet, reason),
        }
    }

    /// Turns the first `limit` done jobs into packets, or as many as `output` has room for; returns how many jobs that
    /// were.
    pub fn finish(&mut self, done: &mut JobBurst, output: &mut Burst, limit: usize) -> usize {
        let count = done.len().min(output.room()).min(limit);
        if count == 0 {
            return 0;
        }
        // Packets may be in flight although nothing comes in, and a core may have been offline meanwhile.
        self.view.refresh();
        let mut opened = Burst::new();
        for job in done.drain_front(count) {
            self.open(job, &mut opened);
        }
        self.sas.count_jobs(0, count);
        for (index, packet) in opened.drain().enumerate() {
            self.admit(index, packet, output);
        }
        count
    }

    /// First pass: replay, trailer, the packet inside; its flow is parsed and its cache line asked for.
    #[inline(always)]
    fn open(&mut self, job: Job, opened: &mut Burst) {
        let (status, cookie, high) = (job.status(), job.cookie(), job.esn_high());
        let (session, (cipher_offset, cipher_len)) = (job.session(), job.cipher_range());
        let slot = SaSlot(cookie as u32);
        let mut packet = job.into_packet();
        if status != Status::Done {
            return self.counters.drop_of(slot, packet, reason_of(status));
        }
        let shape = Decrypted {
            esp_offset: usize::from((cookie >> 32) as u16),
            patch_offset: usize::from((cookie >> 48) as u16),
            cipher_offset,
            cipher_len,
        };
        let sa = self.sas.get_mut(slot.index()).filter(|sa| sa.session == session);
        let Some(sa) = sa else { return self.counters.drop(packet, DropReason::SaGone) };
        match accept(sa, &shape, high, self.link, &mut packet) {
            Ok(Inside::Packet(version)) => {
                let index = opened.len();
                let l2_len = packet.l2_len();
                let available = packet.packet_len() - l2_len;
                let ip = packet.data().get(l2_len..).unwrap_or_default();
                let Some(found) = self.found.get_mut(index) else { return };
                found.came_by = slot.0;
                if !self.classifier.parse_ip(found, version, ip, available) {
                    return self.counters.drop_of(slot, packet, DropReason::MalformedHeader);
                }
                drop(opened.push(packet));
            }
            Ok(Inside::Dummy) => {
                self.counters.absorbed.add(AbsorbReason::Dummy, 1);
                drop(packet);
            }
            Err(reason) => self.counters.drop_of(slot, packet, reason),
        }
    }

    /// Second pass: the policy on the inner packet must list the SA by which it came.
    #[inline(always)]
    fn admit(&mut self, index: usize, mut packet: Mbuf, output: &mut Burst) {
        let objection = self.objection(index);
        let Some(found) = self.found.get(index) else { return };
        let (slot, total_len) = (SaSlot(found.came_by), found.total_len);
        if let Some(reason) = objection {
            return self.counters.drop_of(slot, packet, reason);
        }
        packet.truncate(packet.l2_len() + total_len as usize);
        self.counters.ip_bytes_out += u64::from(total_len);
        self.counters.sent.add(OutReason::Decrypted, 1);
        // Room was seen to by the caller.
        drop(output.push(packet));
    }

    /// What the policies have against packet `index` of those found.
    #[inline(always)]
    fn objection(&mut self, index: usize) -> Option<DropReason> {
        let Some(found) = self.found.get_mut(index) else { return Some(DropReason::SelectorMismatch) };
        let verdict = self.classifier.decide(found, &self.view, number_of_action).decision();
        let slot = SaSlot(found.came_by);
        match verdict {
            Decision::Protect(number) if self.lists(number, slot) => None,
            Decision::Protect(_) => Some(DropReason::WrongSa),
            Decision::Drop(DropReason::PolicyDiscard) => Some(DropReason::PolicyDiscard),
            Decision::Bypass | Decision::NotIp | Decision::Drop(_) => Some(DropReason::SelectorMismatch),
        }
    }

    #[inline(always)]
    fn lists(&self, number: u32, slot: SaSlot) -> bool {
        if number & ASK_POLICY == 0 {
            return number == slot.0;
        }
        let policy = self.view.policy(number & !ASK_POLICY);
        policy.is_some_and(|policy| policy.action.lists(slot))
    }

    /// Adds what was dropped and absorbed, and how packets left.
    pub fn account(&self, ledger: &mut Ledger) {
        self.counters.account(NAME, ledger);
    }
}

#[inline(always)]
fn look_at(link: Link, packet: &mut Mbuf, udp_ports: &[u16]) -> Look {
    let Ok(network) = network_of(link, packet) else { return Look::Arrived(Arrived::Malformed) };
    let Some(network) = network else { return Look::NotIp };
    packet.set_l2_len(network.l2_len);
    let Some(version) = network.version else { return Look::NotIp };
    let l2_len = usize::from(network.l2_len);
    let available = packet.packet_len() - l2_len;
    let ip = packet.data().get(l2_len..).unwrap_or_default();
    Look::Arrived(arrived(version, ip, available, udp_ports))
}

/// The 64-bit number of a packet, when the window does not know it yet.
#[inline(always)]
fn number_of(sa: &InboundSa, low: u32) -> Result<u64, DropReason> {
    let sequence = match sa.numbers {
        Numbers::Short => u64::from(low),
        Numbers::Extended => sequence::infer_high(sa.replay.highest(), sa.replay.window(), low)
            .ok_or(DropReason::ReplayTooOld)?,
        Numbers::AtCard => return Err(DropReason::MissedByCard),
    };
    match sa.replay.look(sequence) {
        crate::replay::Verdict::Fresh => Ok(sequence),
        crate::replay::Verdict::Replayed => Err(DropReason::Replayed),
        crate::replay::Verdict::TooOld => Err(DropReason::ReplayTooOld),
    }
}

/// The owner's step after integrity: the number is checked and set at once, then the packet is taken out.
#[inline(always)]
fn accept(
    sa: &mut InboundSa,
    shape: &Decrypted,
    high: Option<u32>,
    link: Link,
    packet: &mut Mbuf,
) -> Result<Inside, DropReason> {
    let header = packet.data().get(shape.esp_offset..).and_then(esp::EspHeader::parse);
    let low = header.ok_or(DropReason::Truncated)?.sequence;
    let sequence = u64::from(high.unwrap_or(0)) << 32 | u64::from(low);
    sa.replay.check_and_set(sequence).map_err(|error| match error {
        ReplayError::Replayed => DropReason::Replayed,
        ReplayError::TooOld => DropReason::ReplayTooOld,
    })?;
    sa.packets += 1;
    sa.bytes += shape.cipher_len as u64;
    shape.open(sa, link, packet)
}

/// The one SA that a policy lists, or the policy itself where there are several.
fn number_of_action(policy: u32, action: &Action) -> Option<u32> {
    match action {
        Action::Protect(sas) if sas.len() == 1 => sas.first().map(|slot| slot.0 & !ASK_POLICY),
        Action::Protect(_) => Some(policy | ASK_POLICY),
        Action::Bypass | Action::Discard => None,
    }
}
