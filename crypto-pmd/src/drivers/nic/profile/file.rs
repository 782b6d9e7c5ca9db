//! The file as it is written, and what follows from it.

use serde::Deserialize;
use smallvec::SmallVec;
use toml::Spanned;

use crate::algorithm::Algorithm;
use crate::capability::{AlgorithmFlags, Capabilities, KeyLengths, SessionIdFormat, Supported};
use crate::drivers::nic::bus::{MAX_QUEUES, SLOT_BITS};
use crate::drivers::software;
use crate::key_op::{KeyOperation, KeySupport};

use super::{KeyTiming, Latency, Profile, ProfileError, Services};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    #[serde(default)]
    summary: String,
    services: Option<Spanned<Vec<String>>>,
    engines: Option<Spanned<u64>>,
    #[serde(default)]
    bandwidth_mbps: u64,
    #[serde(default)]
    operation_ns: u64,
    #[serde(default)]
    latency_ns: u64,
    #[serde(default)]
    jitter_ns: u64,
    #[serde(default)]
    tail_one_in: u64,
    #[serde(default)]
    tail_ns: u64,
    queues: Option<Spanned<u64>>,
    ring_depth: Option<Spanned<u64>>,
    burst: Option<Spanned<u64>>,
    sa_slots: Option<Spanned<u64>>,
    segments: Option<Spanned<u64>>,
    alignment: Option<Spanned<u64>>,
    max_packet: Option<Spanned<u64>>,
    #[serde(default = "yes")]
    in_place: bool,
    reset_us: Option<u64>,
    #[serde(default)]
    keeps_sessions: bool,
    #[serde(default)]
    doubtful_tags: bool,
    #[serde(default)]
    algorithm: Vec<Line>,
    #[serde(default)]
    key_operation: Vec<KeyLine>,
}

/// One algorithm; lengths in bits, all that the engine has where nothing is said.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    name: Spanned<String>,
    keys: Option<Spanned<Vec<usize>>>,
    tags: Option<Spanned<Vec<usize>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyLine {
    name: Spanned<String>,
    max_bits: u32,
    #[serde(default)]
    operation_us: u64,
}

const fn yes() -> bool {
    true
}

/// The text, for messages.
struct Source<'a> {
    file: &'a str,
    text: &'a str,
}

impl Source<'_> {
    fn error(&self, offset: usize, what: &str) -> ProfileError {
        ProfileError::at(self.file, self.text, Some(offset), what)
    }

    /// A number within bounds, or what it is where the file says nothing.
    fn number(
        &self,
        name: &str,
        given: Option<&Spanned<u64>>,
        usual: usize,
        (least, most): (usize, usize),
    ) -> Result<usize, ProfileError> {
        let Some(given) = given else { return Ok(usual) };
        let value = usize::try_from(*given.as_ref()).unwrap_or(usize::MAX);
        if (least..=most).contains(&value) {
            return Ok(value);
        }
        let what = format!("{name} = {value} is out of range; use {least} to {most}");
        Err(self.error(given.span().start, &what))
    }

    fn power(
        &self,
        name: &str,
        given: Option<&Spanned<u64>>,
        usual: usize,
        bounds: (usize, usize),
    ) -> Result<usize, ProfileError> {
        let value = self.number(name, given, usual, bounds)?;
        match given {
            Some(given) if !value.is_power_of_two() => {
                let what = format!("{name} = {value} is no power of two; use {}", value.next_power_of_two());
                Err(self.error(given.span().start, &what))
            }
            _ => Ok(value),
        }
    }
}

pub(super) fn parse(file: &str, text: &str) -> Result<Profile, ProfileError> {
    let source = Source { file, text };
    let at_fault = |error: toml::de::Error| {
        ProfileError::at(file, text, error.span().map(|span| span.start), error.message())
    };
    let raw: File = toml::from_str(text).map_err(at_fault)?;
    let services = services(&source, raw.services.as_ref())?;
    let segments = source.number("segments", raw.segments.as_ref(), 1, (1, 16))?;
    let ring_depth = source.power("ring_depth", raw.ring_depth.as_ref(), 256, (2, 4096))?;
    let sa_slots = source.number("sa_slots", raw.sa_slots.as_ref(), 1024, (1, 1 << SLOT_BITS))?;
    let burst = source.number("burst", raw.burst.as_ref(), 64, (1, 64))?;
    let key_operations =
        raw.key_operation.iter().map(|line| key_operation(&source, line)).collect::<Result<Vec<_>, _>>()?;
    let capabilities = Capabilities {
        hardware: true,
        in_order: true,
        scatter_gather: segments > 1,
        queue_depth: Some(ring_depth),
        latency_ns: None,
        max_sessions: Some(sa_slots),
        session_ids: SessionIdFormat::Bits(32),
        key_operations: key_operations
            .iter()
            .map(|one: &KeyTiming| KeySupport { operation: one.operation, max_bits: one.max_bits })
            .collect(),
        ..algorithms(&source, &raw.algorithm, segments > 1)?
    };
    Ok(Profile {
        services,
        engines: source.number("engines", raw.engines.as_ref(), 1, (1, 64))?,
        bandwidth_mbps: raw.bandwidth_mbps,
        operation_ns: raw.operation_ns,
        latency: Latency {
            ns: raw.latency_ns,
            jitter_ns: raw.jitter_ns,
            tail_one_in: raw.tail_one_in,
            tail_ns: raw.tail_ns,
        },
        queues: source.number("queues", raw.queues.as_ref(), MAX_QUEUES, (1, MAX_QUEUES))?,
        ring_depth,
        burst,
        sa_slots,
        segments,
        alignment: source.power("alignment", raw.alignment.as_ref(), 1, (1, 64))?,
        max_packet: source.number("max_packet", raw.max_packet.as_ref(), 2048, (64, 65_000))?,
        in_place: raw.in_place,
        reset_us: raw.reset_us.unwrap_or(1000),
        keeps_sessions: raw.keeps_sessions,
        doubtful_tags: raw.doubtful_tags,
        name: raw.name,
        summary: raw.summary,
        capabilities,
        key_operations,
    })
}

fn services(source: &Source<'_>, given: Option<&Spanned<Vec<String>>>) -> Result<Services, ProfileError> {
    let Some(given) = given else { return Ok(Services { lookaside: true, ..Services::default() }) };
    let mut services = Services::default();
    for name in given.as_ref() {
        match name.as_str() {
            "lookaside" => services.lookaside = true,
            "inline-crypto" => services.inline_crypto = true,
            "inline-protocol" => services.inline_protocol = true,
            other => {
                let what =
                    format!("service \"{other}\" is unknown; use lookaside, inline-crypto, inline-protocol");
                return Err(source.error(given.span().start, &what));
            }
        }
    }
    Ok(services)
}

fn key_operation(source: &Source<'_>, line: &KeyLine) -> Result<KeyTiming, ProfileError> {
    let name = line.name.as_ref();
    let known = KeyOperation::ALL.into_iter().find(|operation| operation.name() == name);
    let unknown = || {
        let names = KeyOperation::ALL.map(KeyOperation::name).join(", ");
        source.error(
            line.name.span().start,
            &format!("key operation \"{name}\" is unknown; use one of {names}"),
        )
    };
    let operation = known.ok_or_else(unknown)?;
    Ok(KeyTiming { operation, max_bits: line.max_bits, operation_us: line.operation_us })
}

/// The engine's own table, cut to what the file lists.
fn algorithms(
    source: &Source<'_>,
    lines: &[Line],
    scatter_gather: bool,
) -> Result<Capabilities, ProfileError> {
    let all = software::capabilities();
    let mut card = Capabilities::default();
    for line in lines {
        let name = line.name.as_ref();
        let unknown = || {
            source.error(
                line.name.span().start,
                &format!("algorithm \"{name}\" is unknown; use names such as aes-gcm, aes-cbc, sha1-hmac"),
            )
        };
        let cut = Cut { source, line, scatter_gather };
        match Algorithm::parse(name).ok_or_else(unknown)? {
            Algorithm::Cipher(one) => cut.add(&all.ciphers, one, &mut card.ciphers)?,
            Algorithm::Integrity(one) => cut.add(&all.integrity, one, &mut card.integrity)?,
            Algorithm::Digest(one) => cut.add(&all.digests, one, &mut card.digests)?,
            Algorithm::Aead(one) => cut.add(&all.aeads, one, &mut card.aeads)?,
            Algorithm::Compression(_) => {
                let what = format!("the card's engines do not compress; leave {name} out");
                return Err(source.error(line.name.span().start, &what));
            }
        }
    }
    Ok(card)
}

struct Cut<'a> {
    source: &'a Source<'a>,
    line: &'a Line,
    scatter_gather: bool,
}

impl Cut<'_> {
    /// Adds one algorithm of `all`; a broken one that this program was built without is left out.
    fn add<A: Copy + PartialEq>(
        &self,
        all: &[Supported<A>],
        algorithm: A,
        to: &mut Vec<Supported<A>>,
    ) -> Result<(), ProfileError> {
        let Some(whole) = all.iter().find(|one| one.algorithm == algorithm) else { return Ok(()) };
        if to.iter().any(|one| one.algorithm == algorithm) {
            let what = format!("{} is listed twice; leave one out", self.line.name.as_ref());
            return Err(self.source.error(self.line.name.span().start, &what));
        }
        let mut cut = Supported {
            flags: AlgorithmFlags::new(whole.flags.legacy, self.scatter_gather),
            ..whole.clone()
        };
        if let Some(bits) = &self.line.keys {
            let keys = self.lengths("key", bits, |len| whole.keys.allow(len))?;
            cut.keys = KeyLengths::OneOf(keys);
        }
        if let Some(bits) = &self.line.tags {
            cut.tags = self.lengths("tag", bits, |len| whole.tags.contains(&len))?;
        }
        to.push(cut);
        Ok(())
    }

    fn lengths(
        &self,
        what: &str,
        bits: &Spanned<Vec<usize>>,
        allow: impl Fn(usize) -> bool,
    ) -> Result<SmallVec<[usize; 4]>, ProfileError> {
        let bad = bits.as_ref().iter().find(|&&bits| bits % 8 != 0 || !allow(bits / 8));
        if let Some(bad) = bad {
            let name = self.line.name.as_ref();
            let what = format!("{name} has no {what} of {bad} bits; leave it out");
            return Err(self.source.error(bits.span().start, &what));
        }
        Ok(bits.as_ref().iter().map(|bits| bits / 8).collect())
    }
}
