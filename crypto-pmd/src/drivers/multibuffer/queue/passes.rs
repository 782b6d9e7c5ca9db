//! A batch in passes: CBC encryption over all packets that want it, then the keyed hashes of all packets of both directions, then tags are
//! written or compared, and what is genuine is decrypted.

use pipeline::MAX_BURST;
use smallvec::SmallVec;

use crate::drivers::multibuffer::Level;
use crate::drivers::multibuffer::kernels::cbc::{self, BLOCK, CbcLane};
use crate::drivers::multibuffer::kernels::hmac::{self, Hash, MacLane, TAG};
use crate::drivers::multibuffer::session::{Integrity, Separate};
use crate::job::{Job, Operation, Shape, Status};

use super::desk::{self, Desk};
use super::tag::is_equal;

/// Lanes of a batch.
type Lanes<L> = SmallVec<[L; MAX_BURST]>;

/// The packets of a batch that go through the passes, by their number in it.
pub(super) type Plans<'s> = SmallVec<[Plan<'s>; MAX_BURST]>;

/// One of them: all that it names lies in its packet.
pub(super) struct Plan<'s> {
    pub(super) number: usize,
    pub(super) unit: &'s Separate,
    pub(super) encrypts: bool,
    /// It is worked on in its packet, not on its sheet.
    pub(super) in_place: bool,
    /// Its tag is right, or there is none to check.
    genuine: bool,
}

impl<'s> Plan<'s> {
    /// `None` for a job that is out of the ordinary, or names what is not in its packet.
    #[inline]
    pub(super) fn new(number: usize, unit: &'s Separate, job: &mut Job, sheet: &mut [u8]) -> Option<Self> {
        let in_place = desk::is_in_place(job)?;
        if !fits(unit, job) || (!in_place && !desk::lay_out(job, sheet)) {
            return None;
        }
        let encrypts = job.operation() == Operation::Encrypt;
        Some(Self { number, unit, encrypts, in_place, genuine: true })
    }
}

fn within((offset, len): (usize, usize), whole: usize) -> bool {
    offset.checked_add(len).is_some_and(|end| end <= whole)
}

/// Whether all that a job names lies in its packet.
#[inline]
fn fits(unit: &Separate, job: &Job) -> bool {
    let len = job.source().packet_len();
    let cipher_range = job.cipher_range();
    let cipher_fits = unit.cipher.is_none()
        || (within(cipher_range, len)
            && cipher_range.1.is_multiple_of(BLOCK)
            && within((job.iv_offset(), BLOCK), len));
    let tag_fits = |integrity: &Integrity| {
        within(job.integrity_range(), len) && within((job.tag_offset(), integrity.tag_len), len)
    };
    cipher_fits && unit.integrity.as_ref().is_none_or(tag_fits)
}

/// The IV and the cipher range of a packet that was looked at.
#[inline(always)]
pub(super) fn cipher_parts<'t>(text: &'t mut [u8], shape: &Shape<'_>) -> Option<([u8; BLOCK], &'t mut [u8])> {
    let iv = *text.get(shape.iv_offset..)?.first_chunk()?;
    let (offset, len) = shape.cipher;
    Some((iv, text.get_mut(offset..offset + len)?))
}

/// Writes a packet's tag, or compares it; false when it is another.
#[inline(always)]
pub(super) fn settle(encrypts: bool, tag_len: usize, text: &mut [u8], shape: &Shape<'_>, tag: &[u8]) -> bool {
    let place = text.get_mut(shape.tag_offset..shape.tag_offset + tag_len);
    // Both are there: that was seen to when the plan was made.
    let Some((place, tag)) = place.zip(tag.get(..tag_len)) else { return false };
    if encrypts {
        place.copy_from_slice(tag);
    }
    encrypts || is_equal(place, tag)
}

/// Does all plans.
pub(super) fn run(level: Level, plans: &mut [Plan<'_>], batch: &mut [Job], desk: &mut Desk) {
    encrypt(level, plans, batch, desk);
    authenticate(level, Hash::Sha1, plans, batch, desk);
    authenticate(level, Hash::Sha256, plans, batch, desk);
    decrypt(level, plans, batch, desk);
    finish(plans, batch, desk);
}

/// Plans with what they are for.
#[inline(always)]
fn texts<'t, P>(
    plans: impl Iterator<Item = P>,
    number: impl Fn(&P) -> (usize, bool),
    batch: &'t mut [Job],
    desk: &'t mut Desk,
) -> impl Iterator<Item = (P, &'t mut [u8], Shape<'t>)> {
    let mut jobs = batch.iter_mut().zip(desk.sheets());
    let mut next = 0;
    plans.filter_map(move |plan| {
        let (number, in_place) = number(&plan);
        let (job, sheet) = jobs.nth(number - next)?;
        next = number + 1;
        let (text, shape) = desk::text(in_place, job, sheet);
        Some((plan, text, shape))
    })
}

/// First pass: everything that is to be encrypted.
#[inline(never)]
fn encrypt(level: Level, plans: &[Plan<'_>], batch: &mut [Job], desk: &mut Desk) {
    let mut lanes: Lanes<CbcLane<'_>> = SmallVec::new();
    let wanted = plans.iter().filter(|plan| plan.encrypts && plan.unit.cipher.is_some());
    for (plan, text, shape) in texts(wanted, |plan| (plan.number, plan.in_place), batch, desk) {
        if let Some(key) = &plan.unit.cipher
            && let Some((iv, data)) = cipher_parts(text, &shape)
            && !data.is_empty()
        {
            lanes.push(CbcLane { key, iv, data });
        }
    }
    cbc::encrypt(level, &mut lanes);
}

/// Second pass: the tags of one hash, made or checked.
#[inline(never)]
fn authenticate(level: Level, hash: Hash, plans: &mut [Plan<'_>], batch: &mut [Job], desk: &mut Desk) {
    let of = |plan: &Plan<'_>| plan.unit.integrity.as_ref().is_some_and(|unit| unit.hash == hash);
    let mut lanes: Lanes<MacLane<'_>> = SmallVec::new();
    let wanted = plans.iter().filter(|plan| of(plan));
    for (plan, text, shape) in texts(wanted, |plan| (plan.number, plan.in_place), batch, desk) {
        if let Some(unit) = &plan.unit.integrity {
            let (offset, len) = shape.integrity;
            // That it lies inside was seen to when the plan was made.
            let data = text.get(offset..offset + len).unwrap_or_default();
            lanes.push(MacLane {
                key: &unit.key,
                data,
                extra: shape.esn_high.map(u32::to_be_bytes),
                tag: [0; TAG],
            });
        }
    }
    if lanes.is_empty() {
        return;
    }
    hmac::run(level, hash, &mut lanes);
    let mut tags: Lanes<[u8; TAG]> = SmallVec::new();
    tags.extend(lanes.iter().map(|lane| lane.tag));
    drop(lanes);
    let wanted = plans.iter_mut().filter(|plan| of(plan));
    for ((plan, text, shape), tag) in
        texts(wanted, |plan| (plan.number, plan.in_place), batch, desk).zip(&tags)
    {
        let tag_len = plan.unit.integrity.as_ref().map_or(0, |unit| unit.tag_len);
        plan.genuine = settle(plan.encrypts, tag_len, text, &shape, tag);
    }
}

/// Third pass: what is genuine is decrypted.
#[inline(never)]
fn decrypt(level: Level, plans: &[Plan<'_>], batch: &mut [Job], desk: &mut Desk) {
    let wanted = plans.iter().filter(|plan| !plan.encrypts && plan.genuine);
    for (plan, text, shape) in texts(wanted, |plan| (plan.number, plan.in_place), batch, desk) {
        if let Some(key) = &plan.unit.cipher
            && let Some((iv, data)) = cipher_parts(text, &shape)
        {
            cbc::decrypt(level, key, &iv, data);
        }
    }
}

/// At the end: what is not genuine is said to be so, and what was done in a copy goes where it is wanted.
fn finish(plans: &[Plan<'_>], batch: &mut [Job], desk: &mut Desk) {
    for plan in plans.iter().filter(|plan| !plan.genuine || !plan.in_place) {
        let sheet = desk.sheets().nth(plan.number);
        if let Some((job, sheet)) = batch.get_mut(plan.number).zip(sheet) {
            let status = if plan.genuine { desk::hand_over(job, sheet) } else { Status::IntegrityFailed };
            job.set_status(status);
        }
    }
}
