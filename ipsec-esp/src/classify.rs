//! The first look at a packet, shared by both directions: where its IP packet starts, its flow, and the policy's
//! verdict on the flow, from a cache per core in front of the policy database.
//!
//! Works in passes over a burst, so that the cache lines that the next pass needs are on their way while this pass
//! goes on.

use pipeline::memory::prefetch;
use pipeline::{MAX_BURST, Mbuf};

use crate::drop_reason::DropReason;
use crate::flow_cache::FlowCache;
use crate::flow_key::{self, FlowKey, Part, V4Key, V6Key};
use crate::header::link::{Link, Network};
use crate::header::{HeaderError, IpVersion};
use crate::spd::{Action, Spd};

/// What is to happen to a packet, as far as its first look can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A policy protects it; the number is the caller's own (a slot, or a policy).
    Protect(u32),
    /// A policy lets it pass.
    Bypass,
    /// Not IP.
    NotIp,
    /// It ends here.
    Drop(DropReason),
}

const BYPASS: u32 = u32::MAX;
const DISCARD: u32 = u32::MAX - 1;
const NO_POLICY: u32 = u32::MAX - 2;
const NO_SA: u32 = u32::MAX - 3;

impl Verdict {
    /// As a word for the flow cache; numbers of protecting policies stay below the four highest.
    fn to_word(self) -> u32 {
        match self {
            Self::Protect(number) => number.min(NO_SA - 1),
            Self::Bypass | Self::NotIp => BYPASS,
            Self::Drop(DropReason::PolicyDiscard) => DISCARD,
            Self::Drop(DropReason::NoSa) => NO_SA,
            Self::Drop(_) => NO_POLICY,
        }
    }

    #[inline(always)]
    fn from_word(word: u32) -> Self {
        match word {
            BYPASS => Self::Bypass,
            DISCARD => Self::Drop(DropReason::PolicyDiscard),
            NO_POLICY => Self::Drop(DropReason::NoPolicy),
            NO_SA => Self::Drop(DropReason::NoSa),
            number => Self::Protect(number),
        }
    }
}

/// What was found of one packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) key: FlowKey,
    hash: u64,
    /// Bytes of the IP packet.
    pub(crate) total_len: u32,
    pub(crate) part: Part,
    pub(crate) verdict: Verdict,
    /// Slot of the SA by which an inner packet came.
    pub(crate) came_by: u32,
}

impl Found {
    const NOTHING: Self = Self {
        key: FlowKey::V4(V4Key::UNSPECIFIED),
        hash: 0,
        total_len: 0,
        part: Part::Whole,
        verdict: Verdict::NotIp,
        came_by: 0,
    };
}

/// Flows that each core's cache remembers at first.
pub(crate) const DEFAULT_FLOWS: usize = 16 << 10;

/// The classifier of one core and direction.
#[derive(Debug)]
pub(crate) struct Classifier {
    seed: u64,
    v4: FlowCache<V4Key>,
    v6: FlowCache<V6Key>,
    found: Box<[Found; MAX_BURST]>,
}

impl Classifier {
    pub(crate) fn new(seed: u64, flows: usize) -> Self {
        Self {
            seed,
            v4: FlowCache::with_capacity(flows),
            v6: FlowCache::with_capacity(flows),
            found: Box::new([Found::NOTHING; MAX_BURST]),
        }
    }

    /// What was found of packet `index` of the burst.
    #[inline(always)]
    pub(crate) fn found(&self, index: usize) -> &Found {
        self.found.get(index).unwrap_or(&Found::NOTHING)
    }

    /// First pass: parses packet `index` and asks for its line of the flow cache. Sets the packet's link length.
    #[inline(always)]
    pub(crate) fn parse(&mut self, index: usize, link: Link, packet: &mut Mbuf) {
        let found = self.parse_one(link, packet);
        if let Some(place) = self.found.get_mut(index) {
            *place = found;
        }
    }

    #[inline(always)]
    fn parse_one(&self, link: Link, packet: &mut Mbuf) -> Found {
        let malformed = Found { verdict: Verdict::Drop(DropReason::MalformedHeader), ..Found::NOTHING };
        let Ok(network) = network_of(link, packet) else { return malformed };
        let Some(network) = network else { return Found::NOTHING };
        packet.set_l2_len(network.l2_len);
        let Some(version) = network.version else { return Found::NOTHING };
        let l2_len = usize::from(network.l2_len);
        let available = packet.packet_len() - l2_len;
        let Some(ip) = packet.data().get(l2_len..) else { return malformed };
        self.flow(version, ip, available).unwrap_or(malformed)
    }

    /// As [`Classifier::parse`] for an inner packet that came by the SA in slot `came_by`; false when its headers
    /// contradict each other.
    #[inline(always)]
    pub(crate) fn parse_inner(
        &mut self,
        index: usize,
        version: IpVersion,
        ip: &[u8],
        available: usize,
        came_by: u32,
    ) -> bool {
        let Some(found) = self.flow(version, ip, available) else { return false };
        if let Some(place) = self.found.get_mut(index) {
            *place = Found { came_by, ..found };
        }
        true
    }

    /// Reads the flow of an IP packet of which `ip` is the part at hand, and `available` the length in all.
    #[inline(always)]
    fn flow(&self, version: IpVersion, ip: &[u8], available: usize) -> Option<Found> {
        match version {
            IpVersion::V4 => {
                let flow = flow_key::parse_v4(ip, available).ok()?;
                let hash = flow.key.hash(self.seed);
                prefetch(self.v4.set_of(hash));
                Some(found(FlowKey::V4(flow.key), hash, flow.total_len, flow.part))
            }
            IpVersion::V6 => {
                let flow = flow_key::parse_v6(ip, available).ok()?;
                let hash = flow.key.hash(self.seed);
                prefetch(self.v6.set_of(hash));
                Some(found(FlowKey::V6(flow.key), hash, flow.total_len, flow.part))
            }
        }
    }

    /// Second pass: the verdict on packet `index`. `number` turns a protecting policy into the caller's number.
    #[inline(always)]
    pub(crate) fn decide(
        &mut self,
        index: usize,
        spd: &Spd,
        number: impl Fn(u32, &Action) -> Option<u32>,
    ) -> Verdict {
        let Some(&found) = self.found.get(index) else { return Verdict::NotIp };
        // Until it is decided, `Bypass` stands for a packet whose flow was read.
        if found.verdict != Verdict::Bypass {
            return found.verdict;
        }
        let verdict = self.verdict_of(&found, spd, number);
        if let Some(place) = self.found.get_mut(index) {
            place.verdict = verdict;
        }
        verdict
    }

    /// The policy's verdict on a flow, from the cache where it is known.
    #[inline(always)]
    fn verdict_of(
        &mut self,
        found: &Found,
        spd: &Spd,
        number: impl Fn(u32, &Action) -> Option<u32>,
    ) -> Verdict {
        let epoch = spd.epoch();
        let known = match &found.key {
            FlowKey::V4(key) => self.v4.lookup(key, found.hash, epoch),
            FlowKey::V6(key) => self.v6.lookup(key, found.hash, epoch),
        };
        match known {
            Some(word) => Verdict::from_word(word),
            None => self.ask(found, spd, number),
        }
    }

    #[inline(never)]
    fn ask(&mut self, found: &Found, spd: &Spd, number: impl Fn(u32, &Action) -> Option<u32>) -> Verdict {
        let verdict = match spd.lookup(&found.key) {
            None => Verdict::Drop(DropReason::NoPolicy),
            Some((id, policy)) => match &policy.action {
                Action::Bypass => Verdict::Bypass,
                Action::Discard => Verdict::Drop(DropReason::PolicyDiscard),
                action => number(id.0, action).map_or(Verdict::Drop(DropReason::NoSa), Verdict::Protect),
            },
        };
        match found.key {
            FlowKey::V4(key) => self.v4.insert(key, found.hash, spd.epoch(), verdict.to_word()),
            FlowKey::V6(key) => self.v6.insert(key, found.hash, spd.epoch(), verdict.to_word()),
        }
        verdict
    }
}

/// What a packet's link header says, or `None` where the packet ends within it. An error where it goes on in a later
/// segment: nobody looked, so it may well be IP, and must not pass as something that no policy speaks of.
#[inline(always)]
pub(crate) fn network_of(link: Link, packet: &Mbuf) -> Result<Option<Network>, HeaderError> {
    let data = packet.data();
    match link.parse(data) {
        Some(network) if network.version.is_some() || !data.is_empty() => Ok(Some(network)),
        _ if packet.is_chained() => Err(HeaderError::Truncated),
        network => Ok(network),
    }
}

#[inline(always)]
fn found(key: FlowKey, hash: u64, total_len: u32, part: Part) -> Found {
    Found { key, hash, total_len, part, verdict: Verdict::Bypass, came_by: 0 }
}
