//! A job with steps, one for each transform of its session: over a copy of the packet, so that nothing is lost when one fails.

use std::ops::Range;

use smallvec::SmallVec;

use crate::algorithm::Algorithm;
use crate::extension::Extension;
use crate::job::{Operation, Shape, Status};
use crate::key::wipe_stack;
use crate::step::{Iv, IvBytes, Step};

use super::aead::Aead;
use super::chain::{Chain, Part};
use super::cipher::Cipher;
use super::integrity::{Input, Integrity};
use super::nonce::NonceRule;
use super::place::Stack;
use super::random::Random;
use super::straight::{split, with_high_half};
use super::unit::{AeadUnit, CipherUnit, IntegrityUnit};

/// What a step is run with.
struct Context<'a> {
    step: &'a Step,
    /// A key for this request only.
    key: Option<&'a [u8]>,
    /// Associated data given with the request.
    associated: Option<&'a [u8]>,
    esn_high: Option<u32>,
}

/// Does a job's steps: in their order, or for decryption from the last to the first. What is in `packet` counts only when the
/// status is done.
pub(super) fn run(
    chain: &Chain,
    job: &Shape<'_>,
    extension: &Extension,
    packet: &mut [u8],
    random: &mut Random,
) -> Status {
    let steps = extension.steps();
    if steps.len() != chain.len() {
        return Status::BadSteps;
    }
    let one = |number: usize, packet: &mut [u8]| {
        let (Some(step), Some(part)) = (steps.get(number), chain.part(number)) else {
            return Err(Status::BadSteps);
        };
        let context = Context {
            step,
            key: extension.step_key(number),
            associated: extension.associated_data(),
            esn_high: job.esn_high,
        };
        run_one(&part, &context, packet, random)
    };
    let all = match job.operation {
        Operation::Encrypt => in_turn(0..steps.len(), packet, one),
        Operation::Decrypt => in_turn((0..steps.len()).rev(), packet, one),
    };
    all.err().unwrap_or(Status::Done)
}

fn in_turn(
    mut numbers: impl Iterator<Item = usize>,
    packet: &mut [u8],
    mut one: impl FnMut(usize, &mut [u8]) -> Result<(), Status>,
) -> Result<(), Status> {
    numbers.try_for_each(|number| one(number, packet))
}

fn run_one(
    part: &Part<'_>,
    context: &Context<'_>,
    packet: &mut [u8],
    random: &mut Random,
) -> Result<(), Status> {
    if context.step.algorithm != part.algorithm() {
        return Err(Status::WrongAlgorithm);
    }
    // Calls, never part of this frame: what they leave lies where it is wiped.
    let done = match part {
        Part::Cipher(unit) => run_cipher(unit, context, packet, random),
        Part::Integrity(unit) => run_integrity(unit, context, packet, random),
        Part::Aead(unit) => run_aead(unit, context, packet, random),
    };
    if context.key.is_some() {
        wipe_stack();
    }
    done
}

#[inline(never)]
fn run_cipher(
    unit: &CipherUnit,
    context: &Context<'_>,
    packet: &mut [u8],
    random: &mut Random,
) -> Result<(), Status> {
    let step = context.step;
    let range = place(step.offset, step.len as usize, packet)?;
    let algorithm = unit.algorithm;
    if !range.len().is_multiple_of(algorithm.block_len()) || range.len() < algorithm.least_len() {
        return Err(Status::BadRange);
    }
    let iv_place = iv_place(step, &unit.nonce, packet)?;
    apart(&iv_place, &range)?;
    let iv = take_iv(step, algorithm.into(), &unit.nonce, iv_place, packet, random)?;
    let data = packet.get_mut(range).ok_or(Status::BadRange)?;
    let fits = match context.key {
        None => unit.cipher.run(step.operation, iv.bytes(), data),
        Some(key) => {
            let cipher = Cipher::<Stack>::new(algorithm, key).ok_or(Status::BadKey)?;
            cipher.run(step.operation, iv.bytes(), data)
        }
    };
    if fits { Ok(()) } else { Err(Status::BadRange) }
}

#[inline(never)]
fn run_integrity(
    unit: &IntegrityUnit,
    context: &Context<'_>,
    packet: &mut [u8],
    random: &mut Random,
) -> Result<(), Status> {
    let (step, tag_len) = (context.step, unit.integrity.tag_len());
    let range = place(step.offset, step.len as usize, packet)?;
    let tag_place = place(step.tag_offset, tag_len, packet)?;
    let iv_place = iv_place(step, &unit.nonce, packet)?;
    apart(&iv_place, &tag_place)?;
    // A digest that is made may go into what it covers, as AH wants it; one that is checked is what it covers itself.
    if step.operation == Operation::Decrypt {
        apart(&range, &tag_place)?;
    }
    if context.esn_high.is_some() && !unit.nonce.is_none() && range.len() < 4 {
        return Err(Status::BadRange);
    }
    let nonce = take_iv(step, unit.algorithm, &unit.nonce, iv_place, packet, random)?;
    let high = context.esn_high.map(u32::to_be_bytes);
    let mut tag: SmallVec<[u8; 64]> = SmallVec::from_slice(packet.get(tag_place.clone()).unwrap_or_default());
    let input = Input {
        nonce: nonce.bytes(),
        data: packet.get(range).unwrap_or_default(),
        high: high.as_ref().map_or(&[][..], |high| high),
    };
    let matches = match (context.key, unit.algorithm) {
        (None, _) => unit.integrity.run(step.operation, &input, &mut tag),
        (Some(key), Algorithm::Integrity(algorithm)) => {
            let integrity = Integrity::<Stack>::new(algorithm, key, tag_len).ok_or(Status::BadKey)?;
            integrity.run(step.operation, &input, &mut tag)
        }
        (Some(_), _) => return Err(Status::BadKey),
    };
    settle(step, matches, tag_place, &tag, packet)
}

#[inline(never)]
fn run_aead(
    unit: &AeadUnit,
    context: &Context<'_>,
    packet: &mut [u8],
    random: &mut Random,
) -> Result<(), Status> {
    let step = context.step;
    let range = place(step.offset, step.len as usize, packet)?;
    let tag_place = place(step.tag_offset, unit.tag_len, packet)?;
    let aad_len = if context.associated.is_some() { 0 } else { step.associated.1 as usize };
    let aad_place = place(step.associated.0, aad_len, packet)?;
    let iv_place = iv_place(step, &unit.nonce, packet)?;
    for (one, other) in [
        (&iv_place, &range),
        (&iv_place, &tag_place),
        (&tag_place, &range),
        (&tag_place, &aad_place),
        (&aad_place, &range),
    ] {
        apart(one, other)?;
    }
    let nonce = take_iv(step, unit.algorithm.into(), &unit.nonce, iv_place, packet, random)?;
    let mut tag: SmallVec<[u8; 16]> = SmallVec::from_slice(packet.get(tag_place.clone()).unwrap_or_default());
    let ranges = split(packet, (aad_place.start, aad_len), (range.start, range.len()));
    let (in_packet, data) = ranges.ok_or(Status::BadRange)?;
    let extended = match (context.associated, context.esn_high) {
        (None, Some(high)) => Some(with_high_half(in_packet, high).ok_or(Status::BadRange)?),
        _ => None,
    };
    let aad = context.associated.or(extended.as_deref()).unwrap_or(in_packet);
    let status = match context.key {
        None => unit.aead.run(step.operation, nonce.bytes(), aad, data, &mut tag),
        Some(key) => {
            let aead = Aead::<Stack>::new(unit.algorithm, key, unit.tag_len).ok_or(Status::BadKey)?;
            aead.run(step.operation, nonce.bytes(), aad, data, &mut tag)
        }
    };
    match status {
        Status::Done => settle(step, true, tag_place, &tag, packet),
        other => Err(other),
    }
}

/// Writes a tag that was made; says that one did not match.
fn settle(
    step: &Step,
    matches: bool,
    tag_place: Range<usize>,
    tag: &[u8],
    packet: &mut [u8],
) -> Result<(), Status> {
    match (step.operation, matches) {
        (Operation::Encrypt, true) => packet.get_mut(tag_place).ok_or(Status::BadRange)?.copy_from_slice(tag),
        (Operation::Decrypt, true) => {}
        (Operation::Encrypt, false) => return Err(Status::BadRange),
        (Operation::Decrypt, false) => return Err(Status::IntegrityFailed),
    }
    Ok(())
}

fn place(offset: u32, len: usize, packet: &[u8]) -> Result<Range<usize>, Status> {
    let start = offset as usize;
    let end = start.checked_add(len).filter(|&end| end <= packet.len()).ok_or(Status::BadRange)?;
    Ok(start..end)
}

/// Empty ranges share no byte with any.
fn apart(one: &Range<usize>, other: &Range<usize>) -> Result<(), Status> {
    let shared = one.start.max(other.start)..one.end.min(other.end);
    if shared.is_empty() { Ok(()) } else { Err(Status::Overlap) }
}

/// The bytes of the packet that the IV is read from or written to; none where it is given and stays outside.
fn iv_place(step: &Step, rule: &NonceRule, packet: &[u8]) -> Result<Range<usize>, Status> {
    let encrypts = step.operation == Operation::Encrypt;
    let len = match step.iv {
        _ if rule.is_none() => 0,
        Iv::Present | Iv::Generated => rule.in_packet(),
        Iv::Explicit { bytes, write: true } if encrypts => bytes.bytes().len(),
        Iv::Explicit { .. } => return Ok(0..0),
    };
    if len == 0 { Ok(0..0) } else { place(step.iv_offset, len, packet) }
}

/// The whole IV, after it was written where it is to be.
fn take_iv(
    step: &Step,
    algorithm: Algorithm,
    rule: &NonceRule,
    place: Range<usize>,
    packet: &mut [u8],
    random: &mut Random,
) -> Result<IvBytes, Status> {
    if rule.is_none() {
        return Ok(IvBytes::default());
    }
    match step.iv {
        Iv::Explicit { bytes, .. } => {
            if !rule.allows_part(bytes.bytes().len()) {
                return Err(Status::BadRange);
            }
            if let Some(to) = packet.get_mut(place).filter(|to| !to.is_empty()) {
                to.copy_from_slice(bytes.bytes());
            }
            rule.whole(bytes.bytes())
        }
        Iv::Generated if step.operation == Operation::Encrypt => {
            let to = packet.get_mut(place).ok_or(Status::BadRange)?;
            random.iv(algorithm, to)?;
            rule.whole(to)
        }
        Iv::Present | Iv::Generated => packet.get(place).and_then(|part| rule.whole(part)),
    }
    .ok_or(Status::BadRange)
}
