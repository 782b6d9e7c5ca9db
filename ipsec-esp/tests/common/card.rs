//! Stand-ins for cards, in front of a port: one that only knows ciphers and ICVs ([`CryptoCard`]), and one that does all of
//! ESP ([`ProtocolCard`]), whose firmware is another pair of halves with books, counters and windows of its own.

use crypto_pmd::drivers::Software;
use crypto_pmd::inline::{
    InboundState, InlineSa, OutboundState, RxOutcome, RxReport, SaState, Service, TxOffload,
};
use crypto_pmd::job::JobBurst;
use crypto_pmd::{Dispatcher, Job, Operation, Placement, QueuePairConfig, Registry, SessionId, Status};
use ipsec_esp::header::link::Link;
use ipsec_esp::sa::{SaParams, SaSlot};
use ipsec_esp::selector::Selector;
use pipeline::{Mbuf, Pool};

use super::bytes_of;
use super::frames::{ESP, UDP};
use super::rig::{Fate, Rig, new_pool, protect};

/// Where ESP begins in an Ethernet frame, from the frame's first byte, and where the IP packet ends; read by hand.
pub(crate) fn find_esp(frame: &[u8]) -> Option<(usize, usize)> {
    let word = |at: usize| frame.get(at..at + 2).map(|two| usize::from(two[0]) << 8 | usize::from(two[1]));
    let (mut protocol, mut at, end) = match word(12)? {
        0x0800 => (frame[23], 14 + usize::from(frame[14] & 15) * 4, 14 + word(16)?),
        0x86dd => (frame[20], 54, 54 + word(18)?),
        _ => return None,
    };
    while [0, 43, 60].contains(&protocol) {
        (protocol, at) = (*frame.get(at)?, at + 8 + usize::from(*frame.get(at + 1)?) * 8);
    }
    if protocol == UDP && [word(at)?, word(at + 2)?] == [4500, 4500] {
        (protocol, at) = (ESP, at + 8);
    }
    (protocol == ESP).then_some((at, end))
}

pub(crate) fn report(service: Service, outcome: RxOutcome, slot: u32, esn_high: u32) -> RxReport {
    RxReport { service, outcome, slot, esn_high }
}

struct CryptoSa {
    sa: InlineSa,
    session: SessionId,
    /// The highest number whose ICV was right.
    highest: u64,
}

/// A card that does ciphers and ICVs.
pub(crate) struct CryptoCard {
    registry: Registry,
    dispatcher: Dispatcher,
    slots: Vec<Option<CryptoSa>>,
}

impl CryptoCard {
    pub(crate) fn new() -> Self {
        let registry = Registry::new();
        registry.attach(Software::new()).unwrap();
        let dispatcher = registry.dispatcher(&QueuePairConfig::default()).unwrap();
        // Slot 0 stays empty, so that a slot that was left out is noticed.
        Self { registry, dispatcher, slots: vec![None] }
    }

    pub(crate) fn add(&mut self, sa: InlineSa) -> u32 {
        let session = self.registry.open(sa.session.clone(), Placement::Any).unwrap();
        let highest = match &sa.state {
            SaState::Outbound(_) => 0,
            SaState::Inbound(state) => state.highest,
        };
        self.slots.push(Some(CryptoSa { sa, session, highest }));
        self.slots.len() as u32 - 1
    }

    pub(crate) fn remove(&mut self, slot: u32) {
        self.slots[slot as usize] = None;
    }

    /// Out: what has a request for inline crypto is sealed, what has none passes.
    pub(crate) fn send(&mut self, mut packet: Mbuf) -> Mbuf {
        let Some(offload) = TxOffload::take(&mut packet) else { return packet };
        assert_eq!(offload.service, Service::Crypto);
        let sa = self.slots[offload.slot as usize].as_ref().expect("an SA is in the slot");
        assert!(!sa.sa.is_inbound());
        let high = sa.sa.esn.then_some(offload.esn_high);
        let (session, shape) = (sa.session, shape_of(&sa.sa, &packet));
        let (packet, status) = self.run(packet, session, Operation::Encrypt, shape, high);
        assert_eq!(status, Status::Done);
        packet
    }

    /// In: ESP of an SA that the card knows is opened in place, with a report; all else passes.
    pub(crate) fn receive(&mut self, packet: Mbuf) -> Mbuf {
        let frame = bytes_of(&packet);
        let Some((esp, _)) = find_esp(&frame) else { return packet };
        let long = |at: usize| u32::from_be_bytes(frame[at..at + 4].try_into().unwrap());
        let (spi, low) = (long(esp), long(esp + 4));
        let is_its = |sa: &CryptoSa| sa.sa.is_inbound() && sa.sa.spi == spi;
        let place = self.slots.iter().position(|slot| slot.as_ref().is_some_and(is_its));
        let Some(slot) = place else { return packet };
        let sa = self.slots[slot].as_ref().unwrap();
        let number = if sa.sa.esn { nearest(sa.highest, low) } else { u64::from(low) };
        let high = sa.sa.esn.then_some((number >> 32) as u32);
        let (session, shape) = (sa.session, shape_of(&sa.sa, &packet));
        let (mut packet, status) = self.run(packet, session, Operation::Decrypt, shape, high);
        let outcome = match status {
            Status::Done => RxOutcome::Ok,
            Status::IntegrityFailed => RxOutcome::IntegrityFailed,
            _ => RxOutcome::Malformed,
        };
        let sa = self.slots[slot].as_mut().unwrap();
        if outcome == RxOutcome::Ok {
            sa.highest = sa.highest.max(number);
        }
        report(Service::Crypto, outcome, slot as u32, high.unwrap_or(0)).write(&mut packet);
        packet
    }

    fn run(
        &mut self,
        packet: Mbuf,
        session: SessionId,
        operation: Operation,
        (esp, cipher, tag, covered): (usize, usize, usize, usize),
        high: Option<u32>,
    ) -> (Mbuf, Status) {
        let mut job = Job::new(packet, session, operation)
            .with_cipher(cipher as u16, tag.saturating_sub(cipher) as u32)
            .with_integrity(esp as u16, covered as u32)
            .with_iv(esp as u16 + 8)
            .with_tag(tag as u32);
        if let Some(high) = high {
            job = job.with_esn_high(high);
        }
        let (mut jobs, mut done) = (JobBurst::new(), JobBurst::new());
        jobs.push(job).unwrap();
        self.dispatcher.submit(&mut jobs);
        self.dispatcher.poll(&mut done);
        let job = done.pop().expect("the software driver works at once");
        let status = job.status();
        (job.into_packet(), status)
    }
}

/// ESP header, ciphertext, ICV, and how many bytes from the ESP header on are authenticated besides what an AEAD encrypts.
fn shape_of(sa: &InlineSa, packet: &Mbuf) -> (usize, usize, usize, usize) {
    let (esp, end) = find_esp(&bytes_of(packet)).expect("an ESP packet");
    let (cipher, tag) = (esp + 8 + sa.iv_len(), end.saturating_sub(sa.icv_len()));
    (esp, cipher, tag, if sa.is_aead() { 8 } else { tag.saturating_sub(esp) })
}

/// The number with this low half that is nearest to `highest`.
fn nearest(highest: u64, low: u32) -> u64 {
    let near = |high: u64| (high << 32 | u64::from(low)).abs_diff(highest);
    let high = highest >> 32;
    let choices = [high.checked_sub(1), Some(high), high.checked_add(1)];
    choices.into_iter().flatten().min_by_key(|&high| near(high)).unwrap() << 32 | u64::from(low)
}

/// A card that does all of ESP, for one SA of each direction.
pub(crate) struct ProtocolCard {
    pool: Pool,
    slot: u32,
    /// For each SA firmware of its own, which knows nothing of SAs before it.
    sends: Option<Rig>,
    receives: Option<Rig>,
}

impl ProtocolCard {
    /// Its SAs will be in `slot`.
    pub(crate) fn new(pool: &Pool, slot: u32) -> Self {
        Self { pool: pool.clone(), slot, sends: None, receives: None }
    }

    /// Takes an SA on, to go on from `state`; its slot.
    pub(crate) fn add(&mut self, params: &SaParams, state: &SaState) -> u32 {
        let mut firmware = Rig::bare(Link::Ethernet, self.pool.clone());
        match state {
            SaState::Outbound(state) => {
                let params = SaParams { sequence: state.next_sequence, ..params.clone() };
                let place = firmware.add_out(&params);
                firmware.policy_out(Selector::ANY, protect(&[place]));
                assert!(self.sends.replace(firmware).is_none());
            }
            SaState::Inbound(state) => {
                let params = SaParams { sequence: 1, ..params.clone() };
                let place = firmware.add_in(&params);
                firmware.policy_in(Selector::ANY, protect(&[place]));
                firmware.inn.half_mut().set_inline(place, None, Some(state)).unwrap();
                assert!(self.receives.replace(firmware).is_none());
            }
        }
        self.slot
    }

    /// Gives its sending SA's state, and is done with it.
    pub(crate) fn export_out(&mut self) -> OutboundState {
        self.sends.take().expect("an SA that sends").out.half().inline_state(SLOT).unwrap()
    }

    /// Gives its receiving SA's state, and is done with it.
    pub(crate) fn export_in(&mut self) -> InboundState {
        self.receives.take().expect("an SA that receives").inn.half().inline_state(SLOT).unwrap()
    }

    /// Out: what has a request is wrapped, what has none passes.
    pub(crate) fn send(&mut self, mut packet: Mbuf) -> Mbuf {
        let Some(offload) = TxOffload::take(&mut packet) else { return packet };
        assert_eq!(offload, TxOffload { service: Service::Protocol, slot: self.slot, esn_high: 0 });
        let firmware = self.sends.as_mut().expect("an SA that sends");
        firmware.seal_all(vec![packet], 1).pop().expect("firmware wraps it")
    }

    /// In: ESP is unwrapped, with a report; what is wrong comes as it was, with one; all else passes. `None` for a dummy.
    pub(crate) fn receive(&mut self, pool: &Pool, packet: Mbuf) -> Option<Mbuf> {
        let frame = bytes_of(&packet);
        let Some(firmware) = self.receives.as_mut().filter(|_| find_esp(&frame).is_some()) else {
            return Some(packet);
        };
        let (bytes, outcome) = match firmware.open_mbuf(packet) {
            Fate::Out("decrypted", inner) => (inner, RxOutcome::Ok),
            // Not an SA of this card: it says nothing.
            Fate::Dropped("unknown_spi") => return pool.alloc_copy(&frame),
            Fate::Dropped("integrity_failed") => (frame, RxOutcome::IntegrityFailed),
            Fate::Dropped("replayed") => (frame, RxOutcome::Replayed),
            Fate::Dropped("replay_too_old") => (frame, RxOutcome::TooOld),
            Fate::Dropped(_) => (frame, RxOutcome::Malformed),
            Fate::Absorbed(_) => return None,
            other => panic!("{other:?}"),
        };
        let mut packet = pool.alloc_copy(&bytes).unwrap();
        report(Service::Protocol, outcome, self.slot, 0).write(&mut packet);
        Some(packet)
    }
}

/// A host with both kinds of cards in front of its port, and one SA in each direction, which may be anywhere.
pub(crate) struct Host {
    pub(crate) rig: Rig,
    pub(crate) params: SaParams,
    pub(crate) crypto: CryptoCard,
    pub(crate) protocol: ProtocolCard,
    /// Where the SA is that sends, and the one that receives, with the card's slot.
    pub(crate) sends_at: Option<(Service, u32)>,
    pub(crate) receives_at: Option<(Service, u32)>,
}

/// Its SA, in either direction.
pub(crate) const SLOT: SaSlot = SaSlot(0);

impl Host {
    pub(crate) fn new(params: &SaParams) -> Self {
        Self::with(Rig::new(Link::Ethernet, params), params)
    }

    pub(crate) fn with(rig: Rig, params: &SaParams) -> Self {
        Self {
            rig,
            params: params.clone(),
            crypto: CryptoCard::new(),
            protocol: ProtocolCard::new(&new_pool(256), 5),
            sends_at: None,
            receives_at: None,
        }
    }

    /// With the SA of both directions in a card from the start.
    pub(crate) fn at(params: &SaParams, service: Service) -> Self {
        let mut host = Self::new(params);
        host.send_at(Some(service));
        host.receive_at(Some(service));
        host
    }

    /// Moves the SA that sends.
    pub(crate) fn send_at(&mut self, service: Option<Service>) {
        let exported = self.sends_at.and_then(|(service, slot)| match service {
            Service::Crypto => {
                self.crypto.remove(slot);
                None
            }
            Service::Protocol => Some(self.protocol.export_out()),
        });
        let state = self.rig.out.half_mut().set_inline(SLOT, None, exported).unwrap();
        self.sends_at = service.map(|service| (service, self.add(service, &state.into())));
        let bound = self.rig.out.half_mut().set_inline(SLOT, self.sends_at, None);
        assert_eq!(bound, Ok(state));
    }

    /// Moves the SA that receives.
    pub(crate) fn receive_at(&mut self, service: Option<Service>) {
        let exported = self.receives_at.and_then(|(service, slot)| match service {
            Service::Crypto => {
                self.crypto.remove(slot);
                None
            }
            Service::Protocol => Some(self.protocol.export_in()),
        });
        let state = self.rig.inn.half_mut().set_inline(SLOT, None, exported.as_ref()).unwrap();
        self.receives_at = service.map(|service| (service, self.add(service, &state.clone().into())));
        let bound = self.rig.inn.half_mut().set_inline(SLOT, self.receives_at, None);
        assert_eq!(bound, Ok(state));
    }

    fn add(&mut self, service: Service, state: &SaState) -> u32 {
        match service {
            Service::Crypto => self.crypto.add(self.params.inline_sa(state.clone())),
            Service::Protocol => self.protocol.add(&self.params, state),
        }
    }

    /// What the port makes of a packet that leaves.
    pub(crate) fn transmit(&mut self, packet: Mbuf) -> Vec<u8> {
        let packet = match TxOffload::read(&packet) {
            None => packet,
            Some(offload) if offload.service == Service::Crypto => self.crypto.send(packet),
            Some(_) => self.protocol.send(packet),
        };
        bytes_of(&packet)
    }

    /// What the port makes of a frame that arrives.
    pub(crate) fn arrive(&mut self, frame: &[u8]) -> Option<Mbuf> {
        let packet = self.rig.packet(frame);
        match self.receives_at {
            None => Some(packet),
            Some((Service::Crypto, _)) => Some(self.crypto.receive(packet)),
            Some((Service::Protocol, _)) => self.protocol.receive(&self.rig.pool, packet),
        }
    }

    /// Plain frames out, as they are on the wire.
    pub(crate) fn send(&mut self, frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let packets = frames.iter().map(|frame| self.rig.packet(frame)).collect();
        let passed = self.rig.seal_all(packets, 32);
        passed.into_iter().map(|packet| self.transmit(packet)).collect()
    }

    /// A frame from the wire in.
    pub(crate) fn receive(&mut self, frame: &[u8]) -> Fate {
        let packet = self.arrive(frame).expect("no dummy");
        self.rig.open_mbuf(packet)
    }
}
