//! A job without steps: its ranges and places, over a packet that lies in one piece. Nothing is changed unless the job is done.

use smallvec::SmallVec;

use crate::job::{Operation, Shape, Status};
use crate::step::IvBytes;

use super::chain::Chain;
use super::integrity::Input;
use super::nonce::NonceRule;
use super::unit::{AeadUnit, CipherUnit, IntegrityUnit};

/// Does a job over the packet's bytes; `None` when its chain is not one of those that need no steps.
#[inline(always)]
pub(super) fn run(chain: &Chain, job: &Shape<'_>, packet: &mut [u8]) -> Option<Status> {
    match chain {
        Chain::Separate { cipher, integrity } => {
            Some(run_separate(cipher.as_ref(), integrity.as_ref(), job, packet))
        }
        Chain::Aead(unit) => Some(run_aead(unit, job, packet).unwrap_or(Status::BadRange)),
        Chain::Many(_) | Chain::Compression(_) => None,
    }
}

fn run_separate(
    cipher: Option<&CipherUnit>,
    integrity: Option<&IntegrityUnit>,
    job: &Shape<'_>,
    packet: &mut [u8],
) -> Status {
    // Every range is checked before a byte is changed, so a job that fails leaves its packet untouched.
    if !ranges_fit(cipher, integrity, job, packet.len()) {
        return Status::BadRange;
    }
    let cipher_step = |packet: &mut [u8]| cipher.is_none_or(|unit| run_cipher(unit, job, packet).is_some());
    let integrity_step =
        |packet: &mut [u8]| integrity.map_or(Some(true), |unit| run_integrity(unit, job, packet));
    match job.operation {
        Operation::Encrypt => match cipher_step(packet) && integrity_step(packet) == Some(true) {
            true => Status::Done,
            false => Status::BadRange,
        },
        Operation::Decrypt => match integrity_step(packet) {
            Some(true) if cipher_step(packet) => Status::Done,
            Some(false) => Status::IntegrityFailed,
            _ => Status::BadRange,
        },
    }
}

#[inline]
fn ranges_fit(
    cipher: Option<&CipherUnit>,
    integrity: Option<&IntegrityUnit>,
    job: &Shape<'_>,
    len: usize,
) -> bool {
    let within = |(offset, count): (usize, usize)| offset.checked_add(count).is_some_and(|end| end <= len);
    let iv_fits = |rule: &NonceRule| match job.extension.and_then(|extension| extension.iv()) {
        _ if rule.is_none() => true,
        Some(explicit) => rule.allows(explicit.len()),
        None => within((job.iv_offset, rule.in_packet())),
    };
    let cipher_fits = cipher.is_none_or(|unit| {
        let whole = job.cipher.1 & unit.beyond_blocks == 0 && job.cipher.1 >= unit.least_len;
        within(job.cipher) && whole && iv_fits(&unit.nonce)
    });
    cipher_fits
        && integrity.is_none_or(|unit| {
            let spi_fits = unit.nonce.is_none() || job.esn_high.is_none() || job.integrity.1 >= 4;
            let tag = (job.tag_offset, unit.integrity.tag_len());
            within(job.integrity) && within(tag) && spi_fits && iv_fits(&unit.nonce)
        })
}

fn run_cipher(unit: &CipherUnit, job: &Shape<'_>, packet: &mut [u8]) -> Option<()> {
    let iv = nonce_of(job, &unit.nonce, packet)?;
    let (offset, len) = job.cipher;
    let data = packet.get_mut(offset..offset.checked_add(len)?)?;
    unit.cipher.run(job.operation, iv.bytes(), data).then_some(())
}

/// Whether the tag was written or matches; `None` when a range lies outside the packet.
fn run_integrity(unit: &IntegrityUnit, job: &Shape<'_>, packet: &mut [u8]) -> Option<bool> {
    let (offset, len) = job.integrity;
    let end = offset.checked_add(len)?;
    let tag_end = job.tag_offset.checked_add(unit.integrity.tag_len())?;
    let mut tag: SmallVec<[u8; 64]> = SmallVec::from_slice(packet.get(job.tag_offset..tag_end)?);
    let high = job.esn_high.map(u32::to_be_bytes);
    let nonce = nonce_of(job, &unit.nonce, packet)?;
    let input = Input {
        nonce: nonce.bytes(),
        data: packet.get(offset..end)?,
        high: high.as_ref().map_or(&[][..], |high| high),
    };
    let matches = unit.integrity.run(job.operation, &input, &mut tag);
    if job.operation == Operation::Encrypt {
        packet.get_mut(job.tag_offset..tag_end)?.copy_from_slice(&tag);
    }
    Some(matches)
}

fn run_aead(unit: &AeadUnit, job: &Shape<'_>, packet: &mut [u8]) -> Option<Status> {
    let nonce = nonce_of(job, &unit.nonce, packet)?;
    let tag_end = job.tag_offset.checked_add(unit.tag_len)?;
    let mut tag: SmallVec<[u8; 16]> = SmallVec::from_slice(packet.get(job.tag_offset..tag_end)?);
    let explicit = job.extension.and_then(|extension| extension.associated_data());
    let aad_range = if explicit.is_some() { (0, 0) } else { job.integrity };
    let (range, data) = split(packet, aad_range, job.cipher)?;
    let extended: SmallVec<[u8; 16]>;
    let aad = match (explicit, job.esn_high) {
        (Some(explicit), _) => explicit,
        (None, None) => range,
        (None, Some(high)) => {
            extended = with_high_half(range, high)?;
            &extended
        }
    };
    let status = unit.aead.run(job.operation, nonce.bytes(), aad, data, &mut tag);
    if job.operation == Operation::Encrypt && status == Status::Done {
        packet.get_mut(job.tag_offset..tag_end)?.copy_from_slice(&tag);
    }
    Some(status)
}

/// The explicit IV when there is one, else the salt and what the packet holds.
#[inline(always)]
fn nonce_of(job: &Shape<'_>, rule: &NonceRule, packet: &[u8]) -> Option<IvBytes> {
    if rule.is_none() {
        return Some(IvBytes::default());
    }
    if let Some(iv) = job.extension.and_then(|extension| extension.iv()) {
        return IvBytes::new(iv).filter(|_| rule.allows(iv.len()));
    }
    let end = job.iv_offset.checked_add(rule.in_packet())?;
    rule.whole(packet.get(job.iv_offset..end)?)
}

/// Associated data and cipher range of a packet; `None` when one lies outside, or they share bytes.
pub(super) fn split(
    packet: &mut [u8],
    aad: (usize, usize),
    cipher: (usize, usize),
) -> Option<(&[u8], &mut [u8])> {
    let whole = packet.len();
    let within = |(offset, len): (usize, usize)| {
        let end = offset.checked_add(len).filter(|&end| end <= whole)?;
        Some(offset..end)
    };
    // An empty range shares no byte with the other, wherever it lies.
    let aad = Some(within(aad)?).filter(|range| !range.is_empty()).unwrap_or(0..0);
    let cipher = Some(within(cipher)?).filter(|range| !range.is_empty()).unwrap_or(whole..whole);
    if aad.end <= cipher.start {
        let (front, back) = packet.split_at_mut_checked(cipher.start)?;
        return Some((front.get(aad)?, back.get_mut(..cipher.len())?));
    }
    let (front, back) = packet.split_at_mut_checked(aad.start)?;
    Some((back.get(..aad.len())?, front.get_mut(cipher)?))
}

/// Associated data with the high half of an extended sequence number behind its first four bytes (RFC 4106
/// section 5); as short as a header, so that it does not reach the heap.
pub(super) fn with_high_half(range: &[u8], high: u32) -> Option<SmallVec<[u8; 16]>> {
    let (spi, low) = range.split_at_checked(4)?;
    let mut data = SmallVec::from_slice(spi);
    data.extend_from_slice(&high.to_be_bytes());
    data.extend_from_slice(low);
    Some(data)
}
