//! A packet that has no company: no lanes are made for it, and its hash follows its encryption.

use crate::drivers::multibuffer::Level;
use crate::drivers::multibuffer::kernels::aes_key::AesKey;
use crate::drivers::multibuffer::kernels::cbc;
use crate::drivers::multibuffer::kernels::hmac::{self, Both, MacLane, TAG};
use crate::drivers::multibuffer::session::{Integrity, Separate};
use crate::job::{Job, Shape, Status};

use super::desk::{self, Desk};
use super::passes::{Plan, cipher_parts, settle};

/// Does the only plan of a batch.
pub(super) fn run(level: Level, plan: &Plan<'_>, batch: &mut [Job], desk: &mut Desk) {
    let sheet = desk.sheets().nth(plan.number);
    let Some((job, sheet)) = batch.get_mut(plan.number).zip(sheet) else { return };
    let (text, shape) = desk::text(plan.in_place, job, sheet);
    let genuine = match plan.encrypts {
        true => encrypt(level, plan.unit, text, &shape),
        false => decrypt(level, plan.unit, text, &shape),
    };
    if !genuine {
        job.set_status(Status::IntegrityFailed);
    } else if !plan.in_place {
        let status = desk::hand_over(job, sheet);
        job.set_status(status);
    }
}

#[inline]
fn encrypt(level: Level, unit: &Separate, text: &mut [u8], shape: &Shape<'_>) -> bool {
    if let (Some(key), Some(integrity)) = (&unit.cipher, &unit.integrity)
        && let Some(tag) = encrypt_and_hash(key, integrity, text, shape)
    {
        return settle(true, integrity.tag_len, text, shape, &tag);
    }
    if let Some(key) = &unit.cipher
        && let Some((iv, data)) = cipher_parts(text, shape)
    {
        cbc::encrypt_one(key, &iv, data);
    }
    unit.integrity.as_ref().is_none_or(|unit| authenticate(level, true, unit, text, shape))
}

/// Both at once, where what is encrypted is the end of what is authenticated, as in ESP; else `None`, and nothing is done.
#[inline]
fn encrypt_and_hash(
    key: &AesKey,
    integrity: &Integrity,
    text: &mut [u8],
    shape: &Shape<'_>,
) -> Option<[u8; 32]> {
    let ((cipher, cipher_len), (offset, len)) = (shape.cipher, shape.integrity);
    let clear = cipher.checked_sub(offset)?;
    if clear + cipher_len != len {
        return None;
    }
    let iv = *text.get(shape.iv_offset..)?.first_chunk()?;
    let extra = shape.esn_high.map(u32::to_be_bytes);
    let data = text.get_mut(offset..offset + len)?;
    Some(hmac::encrypt_then_mac(Both { key, iv, hash: &integrity.key, data, clear, extra }))
}

#[inline]
fn decrypt(level: Level, unit: &Separate, text: &mut [u8], shape: &Shape<'_>) -> bool {
    if !unit.integrity.as_ref().is_none_or(|unit| authenticate(level, false, unit, text, shape)) {
        return false;
    }
    if let Some(key) = &unit.cipher
        && let Some((iv, data)) = cipher_parts(text, shape)
    {
        cbc::decrypt(level, key, &iv, data);
    }
    true
}

/// Writes or compares the tag.
#[inline]
fn authenticate(level: Level, encrypts: bool, unit: &Integrity, text: &mut [u8], shape: &Shape<'_>) -> bool {
    let (offset, len) = shape.integrity;
    let data = text.get(offset..offset + len).unwrap_or_default();
    let extra = shape.esn_high.map(u32::to_be_bytes);
    let mut lane = MacLane { key: &unit.key, data, extra, tag: [0; TAG] };
    hmac::one(level, &mut lane);
    let tag = lane.tag;
    settle(encrypts, unit.tag_len, text, shape, &tag)
}
