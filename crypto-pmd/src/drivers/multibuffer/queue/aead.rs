//! Packets under AES-GCM, one by one.

use crate::drivers::multibuffer::Level;
use crate::drivers::multibuffer::kernels::gcm;
use crate::drivers::multibuffer::kernels::nonce::Nonce;
use crate::drivers::multibuffer::kernels::tag::Tag;
use crate::drivers::multibuffer::session::{Gcm, NonceRule};
use crate::job::{Job, Operation, Shape, Status};

use super::desk;

/// Does a job; `None` for one that is out of the ordinary.
#[inline]
pub(super) fn run(level: Level, gcm: &Gcm, job: &mut Job, sheet: &mut [u8]) -> Option<Status> {
    if desk::is_in_place(job)? {
        let (text, shape) = desk::text(true, job, sheet);
        return run_over(level, gcm, text, &shape);
    }
    run_on_sheet(level, gcm, job, sheet)
}

#[cold]
fn run_on_sheet(level: Level, gcm: &Gcm, job: &mut Job, sheet: &mut [u8]) -> Option<Status> {
    if !desk::lay_out(job, sheet) {
        return None;
    }
    let (text, shape) = desk::text(false, job, sheet);
    let status = run_over(level, gcm, text, &shape)?;
    Some(if status == Status::Done { desk::hand_over(job, sheet) } else { status })
}

#[inline(always)]
fn run_over(level: Level, gcm: &Gcm, data: &mut [u8], shape: &Shape<'_>) -> Option<Status> {
    let Gcm { key, nonce, tag_len } = gcm;
    let Parts { nonce, aad, text, tag } = parts(data, shape, nonce, *tag_len)?;
    let long: [u8; 12];
    let aad = match shape.esn_high {
        None => aad,
        Some(high) => {
            long = extended(aad, high)?;
            &long
        }
    };
    if shape.operation == Operation::Encrypt {
        let whole = gcm::seal(level, key, nonce, aad, text);
        Tag::new(false, tag).take(&whole);
        return Some(Status::Done);
    }
    let genuine = gcm::open(level, key, nonce, aad, text, tag);
    Some(if genuine { Status::Done } else { Status::IntegrityFailed })
}

/// What a packet under an AEAD of ESP is made of.
pub(super) struct Parts<'t> {
    pub(super) nonce: Nonce,
    pub(super) aad: &'t [u8],
    pub(super) text: &'t mut [u8],
    pub(super) tag: &'t mut [u8],
}

/// The parts of a packet that has them in ESP's order: associated data, then the cipher range, then the tag. `None` for one that is out of the
/// ordinary.
#[inline(always)]
pub(super) fn parts<'t>(
    data: &'t mut [u8],
    shape: &Shape<'_>,
    rule: &NonceRule,
    tag_len: usize,
) -> Option<Parts<'t>> {
    let (aad_offset, aad_len) = shape.integrity;
    let (cipher_offset, cipher_len) = shape.cipher;
    let (aad_end, cipher_end) = (aad_offset.checked_add(aad_len)?, cipher_offset.checked_add(cipher_len)?);
    if aad_end > cipher_offset || cipher_end > shape.tag_offset {
        return None;
    }
    let nonce = rule.whole(data.get(shape.iv_offset..)?)?;
    let (front, rest) = data.split_at_mut_checked(cipher_offset)?;
    let (text, behind) = rest.split_at_mut_checked(cipher_len)?;
    let tag = behind.get_mut(shape.tag_offset - cipher_end..)?.get_mut(..tag_len)?;
    Some(Parts { nonce, aad: front.get(aad_offset..aad_end)?, text, tag })
}

/// Associated data with the high half of an extended sequence number between the others (RFC 4106 section 5, RFC 7634 section 2.1).
#[inline]
pub(super) fn extended(aad: &[u8], high: u32) -> Option<[u8; 12]> {
    let &[a, b, c, d, e, f, g, h] = aad else { return None };
    let [i, j, k, l] = high.to_be_bytes();
    Some([a, b, c, d, i, j, k, l, e, f, g, h])
}
