//! The first look at a packet, shared by both directions: where its IP packet starts, its flow, and the policy's
//! verdict on the flow, from a cache per core in front of the policy database.
//!
//! Works in passes over a burst, so that the cache lines that the next pass needs are on their way while this pass
//! goes on.

use pipeline::memory::prefetch;
use pipeline::{MAX_BURST, Mbuf};

use crate::drop_reason::DropReason;
use crate::flow_cache::FlowCache;
use crate::flow_key::{self, Flow, FlowKey, Part, V4Key, V6Key};
use crate::header::link::{Link, Network, PLAIN_ETHERNET};
use crate::header::{HeaderError, IpVersion};
use crate::spd::{Action, SpdView};

/// What is to happen to a packet, as far as its first look can say: one word, as the flow cache keeps it. It is
/// written and read whole, by width and place, because a read that does not match the last write waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict(u32);

/// Words from here on are not numbers of protecting policies.
const FIRST_WORD: u32 = u32::MAX - 63;
const DROPS: u32 = FIRST_WORD + 8;

const _: () = assert!(DropReason::COUNT <= (u32::MAX - DROPS) as usize);

/// A verdict in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// A policy protects it; the number is the caller's own (a slot, or a policy).
    Protect(u32),
    /// A policy lets it pass.
    Bypass,
    /// Not IP.
    NotIp,
    /// It ends here.
    Drop(DropReason),
}

impl Verdict {
    const BYPASS: Self = Self(FIRST_WORD);
    const NOT_IP: Self = Self(FIRST_WORD + 1);
    /// The flow was read; no policy was asked yet.
    const OPEN: Self = Self(FIRST_WORD + 2);

    const fn protect(number: u32) -> Self {
        Self(if number < FIRST_WORD { number } else { FIRST_WORD - 1 })
    }

    const fn drop(reason: DropReason) -> Self {
        Self(DROPS + reason as u32)
    }

    /// The number of the protecting policy, if one protects.
    #[inline(always)]
    pub(crate) fn protected(self) -> Option<u32> {
        (self.0 < FIRST_WORD).then_some(self.0)
    }

    #[inline(always)]
    pub(crate) fn decision(self) -> Decision {
        match self {
            Self(number) if number < FIRST_WORD => Decision::Protect(number),
            Self::BYPASS => Decision::Bypass,
            Self::NOT_IP => Decision::NotIp,
            Self(word) => {
                let reason = DropReason::ALL.get((word.wrapping_sub(DROPS)) as usize);
                Decision::Drop(reason.copied().unwrap_or(DropReason::NoPolicy))
            }
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
    pub(crate) const NOTHING: Self = Self {
        key: FlowKey::V4(V4Key::UNSPECIFIED),
        hash: 0,
        total_len: 0,
        part: Part::Whole,
        verdict: Verdict::NOT_IP,
        came_by: 0,
    };
}

/// Flows that each core's cache remembers at first.
pub(crate) const DEFAULT_FLOWS: usize = 16 << 10;

/// What was found of the packets of a burst.
pub(crate) type FoundBurst = Box<[Found; MAX_BURST]>;

/// Room for what is found of a burst.
pub(crate) fn found_burst() -> FoundBurst {
    Box::new([Found::NOTHING; MAX_BURST])
}

/// The classifier of one core and direction.
#[derive(Debug)]
pub(crate) struct Classifier {
    seed: u64,
    v4: FlowCache<V4Key>,
    v6: FlowCache<V6Key>,
}

impl Classifier {
    pub(crate) fn new(seed: u64, flows: usize) -> Self {
        Self { seed, v4: FlowCache::with_capacity(flows), v6: FlowCache::with_capacity(flows) }
    }

    /// First pass: parses a packet and asks for its line of the flow cache. Sets the packet's link length.
    #[inline(always)]
    pub(crate) fn parse(&self, found: &mut Found, link: Link, packet: &mut Mbuf) {
        if link == Link::Ethernet
            && let Some(flow) = flow_key::plain_ethernet_v4(packet.data(), packet.packet_len())
        {
            packet.set_l2_len(PLAIN_ETHERNET as u8);
            found.set_v4(&flow, self);
        } else {
            self.parse_any(found, link, packet);
        }
    }

    #[inline(never)]
    fn parse_any(&self, found: &mut Found, link: Link, packet: &mut Mbuf) {
        found.total_len = 0;
        found.verdict = Verdict::drop(DropReason::MalformedHeader);
        let Ok(network) = network_of(link, packet) else { return };
        let Some(Network { l2_len, version: Some(version) }) = network else {
            packet.set_l2_len(network.map_or(0, |network| network.l2_len));
            found.verdict = Verdict::NOT_IP;
            return;
        };
        packet.set_l2_len(l2_len);
        let l2_len = usize::from(l2_len);
        let available = packet.packet_len() - l2_len;
        if let Some(ip) = packet.data().get(l2_len..) {
            self.parse_ip(found, version, ip, available);
        }
    }

    /// Reads the flow of an IP packet of which `ip` is the part at hand, and `available` the length in all, and asks
    /// for its line of the flow cache; false when its headers contradict each other.
    #[inline(always)]
    pub(crate) fn parse_ip(
        &self,
        found: &mut Found,
        version: IpVersion,
        ip: &[u8],
        available: usize,
    ) -> bool {
        match version {
            IpVersion::V4 => {
                let Ok(flow) = flow_key::parse_v4(ip, available) else { return false };
                found.set_v4(&flow, self);
            }
            IpVersion::V6 => {
                let Ok(flow) = flow_key::parse_v6(ip, available) else { return false };
                found.hash = flow.key.hash(self.seed);
                prefetch(self.v6.set_of(found.hash));
                (found.key, found.total_len, found.part) = (FlowKey::V6(flow.key), flow.total_len, flow.part);
                found.verdict = Verdict::OPEN;
            }
        }
        true
    }

    /// Second pass: the verdict on a packet. `number` turns a protecting policy into the caller's number.
    #[inline(always)]
    pub(crate) fn decide(
        &mut self,
        found: &mut Found,
        spd: &SpdView,
        number: impl Fn(u32, &Action) -> Option<u32>,
    ) -> Verdict {
        if found.verdict == Verdict::OPEN {
            let epoch = spd.epoch();
            let known = match &found.key {
                FlowKey::V4(key) => self.v4.lookup(key, found.hash, epoch),
                FlowKey::V6(key) => self.v6.lookup(key, found.hash, epoch),
            };
            found.verdict = match known {
                Some(word) => Verdict(word),
                None => self.ask(found, spd, number),
            };
        }
        found.verdict
    }

    /// Asks the policy database, and remembers what it says.
    #[inline(never)]
    fn ask(&mut self, found: &Found, spd: &SpdView, number: impl Fn(u32, &Action) -> Option<u32>) -> Verdict {
        let verdict = match spd.lookup(&found.key) {
            None => Verdict::drop(DropReason::NoPolicy),
            Some((slot, policy)) => match &policy.action {
                Action::Bypass => Verdict::BYPASS,
                Action::Discard => Verdict::drop(DropReason::PolicyDiscard),
                action => number(slot, action).map_or(Verdict::drop(DropReason::NoSa), Verdict::protect),
            },
        };
        match found.key {
            FlowKey::V4(key) => self.v4.insert(key, found.hash, spd.epoch(), verdict.0),
            FlowKey::V6(key) => self.v6.insert(key, found.hash, spd.epoch(), verdict.0),
        }
        verdict
    }
}

impl Found {
    #[inline(always)]
    fn set_v4(&mut self, flow: &Flow<V4Key>, classifier: &Classifier) {
        self.hash = flow.key.hash(classifier.seed);
        prefetch(classifier.v4.set_of(self.hash));
        (self.key, self.total_len, self.part) = (FlowKey::V4(flow.key), flow.total_len, flow.part);
        self.verdict = Verdict::OPEN;
    }
}

/// What a packet's link header says, or `None` where the packet ends within it. An error where it goes on in a later
/// segment, or behind more tags than are followed: nobody looked, so it may well be IP, and must not pass as something
/// that no policy speaks of.
#[inline(always)]
pub(crate) fn network_of(link: Link, packet: &Mbuf) -> Result<Option<Network>, HeaderError> {
    let data = packet.data();
    match link.parse(data) {
        Some(network) if link.hides_payload(data, network) => Err(HeaderError::TooManyExtensions),
        Some(network) if network.version.is_some() || !data.is_empty() => Ok(Some(network)),
        _ if packet.is_chained() => Err(HeaderError::Truncated),
        network => Ok(network),
    }
}
