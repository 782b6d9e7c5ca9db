//! A packet that has no company: no lanes are made for it, and its hash follows its encryption.

use crate::drivers::multibuffer::Level;
use crate::drivers::multibuffer::kernels::aes_key::AesKey;
use crate::drivers::multibuffer::kernels::cbc;
use crate::drivers::multibuffer::kernels::hmac::{self, Both, HmacKey, MacLane};
use crate::drivers::multibuffer::session::{Cipher, KeyedHash, Separate};
use crate::job::{Job, Shape};

use super::desk::{self, Desk};
use super::passes::{Plan, cipher_parts, finish, mac_parts};

/// What is done here: AES-CBC, an HMAC, or both.
struct Unit<'s> {
    cipher: Option<(&'s Cipher, &'s AesKey)>,
    /// With the length of the tag.
    hash: Option<(&'s HmacKey, usize)>,
}

impl<'s> Unit<'s> {
    /// `None` where lanes cost nothing that could be saved.
    #[inline]
    fn of(unit: &'s Separate) -> Option<Self> {
        let cipher = match &unit.cipher {
            None => None,
            Some(cipher @ Cipher::Cbc(key)) => Some((cipher, key)),
            Some(Cipher::Ctr(..)) => return None,
        };
        let hash = match unit.integrity.as_ref().map(|unit| (&unit.hash, unit.tag_len)) {
            None => None,
            Some((KeyedHash::Hmac(_, key), tag_len)) => Some((key, tag_len)),
            Some(_) => return None,
        };
        Some(Self { cipher, hash })
    }
}

/// Does the only plan of a batch; false, and nothing is done, for one that the passes do as well.
#[inline]
pub(super) fn run(level: Level, plan: &Plan<'_>, batch: &mut [Job], desk: &mut Desk) -> bool {
    let Some(unit) = Unit::of(plan.unit) else { return false };
    let number = plan.place.number;
    let Some((job, sheet)) = batch.get_mut(number).zip(desk.sheets().nth(number)) else { return false };
    let (text, shape) = desk::text(plan.place.in_packet, job, sheet);
    let genuine = match plan.encrypts {
        true => encrypt(level, &unit, text, &shape),
        false => decrypt(level, &unit, text, &shape),
    };
    finish(plan.place, genuine, batch, desk);
    true
}

#[inline]
fn encrypt(level: Level, unit: &Unit<'_>, text: &mut [u8], shape: &Shape<'_>) -> bool {
    if let (Some((_, key)), Some((hash, tag_len))) = (unit.cipher, unit.hash)
        && let Some(whole) = encrypt_and_hash(key, hash, text, shape)
    {
        let (_, mut tag) = mac_parts(false, tag_len, text, shape);
        tag.take(&whole);
        return tag.is_right();
    }
    if let Some((cipher, key)) = unit.cipher
        && let Some((iv, data)) = cipher_parts(cipher, text, shape)
    {
        cbc::encrypt_one(key, &iv, data);
    }
    unit.hash.is_none_or(|(key, tag_len)| authenticate(level, false, (key, tag_len), text, shape))
}

/// Both at once, where what is encrypted is the end of what is authenticated, as in ESP; else `None`, and nothing is done.
#[inline]
fn encrypt_and_hash(key: &AesKey, hash: &HmacKey, text: &mut [u8], shape: &Shape<'_>) -> Option<[u8; 32]> {
    let ((cipher, cipher_len), (offset, len)) = (shape.cipher, shape.integrity);
    let clear = cipher.checked_sub(offset)?;
    if clear + cipher_len != len {
        return None;
    }
    let iv = *text.get(shape.iv_offset..)?.first_chunk()?;
    let extra = shape.esn_high.map(u32::to_be_bytes);
    let data = text.get_mut(offset..offset + len)?;
    hmac::encrypt_then_mac(Both { key, iv, hash, data, clear, extra })
}

#[inline]
fn decrypt(level: Level, unit: &Unit<'_>, text: &mut [u8], shape: &Shape<'_>) -> bool {
    if !unit.hash.is_none_or(|(key, tag_len)| authenticate(level, true, (key, tag_len), text, shape)) {
        return false;
    }
    if let Some((cipher, key)) = unit.cipher
        && let Some((iv, data)) = cipher_parts(cipher, text, shape)
    {
        cbc::decrypt(level, key, &iv, data);
    }
    true
}

/// Writes the tag, or compares it where it `checks`.
#[inline]
fn authenticate(
    level: Level,
    checks: bool,
    (key, tag_len): (&HmacKey, usize),
    text: &mut [u8],
    shape: &Shape<'_>,
) -> bool {
    let (data, tag) = mac_parts(checks, tag_len, text, shape);
    let mut lane = MacLane { key, data, extra: shape.esn_high.map(u32::to_be_bytes), tag };
    hmac::one(level, &mut lane);
    lane.tag.is_right()
}
