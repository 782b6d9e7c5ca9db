//! The queue pair: sorts a burst's jobs by what kernels can do, and does each kind side by side.
//!
//! A burst goes through in passes: CBC encryption over all packets that want it, then the keyed hashes of all packets of both directions, then
//! tags are written or compared, and what is genuine is decrypted. ChaCha20-Poly1305 packets are done together as well. AES-GCM packets are done one by one, since the processor overlaps
//! them by itself. Whatever is out of the ordinary (chained packets, results that go elsewhere, steps, explicit IVs, ranges that do not
//! fit) is the software driver's business, job by job.

mod chacha;

use pipeline::MAX_BURST;
use pipeline::memory::prefetch_bytes;
use smallvec::SmallVec;
use subtle::ConstantTimeEq as _;

use crate::device::{QueuePair, QueuePairConfig};
use crate::drivers::sessions::View;
use crate::drivers::software::{Bench, run_job};
use crate::job::{Job, JobBurst, Operation, Shape, Status};

use super::Level;
use super::kernels::cbc::{self, BLOCK, CbcLane};
use super::kernels::gcm;
use super::kernels::hmac::{self, Hash, MacLane, TAG};
use super::session::{Fast, Gcm, Integrity, Session};
use crate::drivers::multibuffer::kernels::aes_key::AesKey;

/// Lanes of a burst.
type Lanes<L> = SmallVec<[L; MAX_BURST]>;

/// The packets of a burst that go through the passes, by their number in it.
type Plans<'a> = SmallVec<[Plan<'a>; MAX_BURST]>;

/// One of them.
struct Plan<'a> {
    number: usize,
    cipher: Option<&'a AesKey>,
    integrity: Option<&'a Integrity>,
    encrypts: bool,
    /// Its tag is right, or there is none to check.
    genuine: bool,
}

/// Done jobs wait in the order of submission.
#[derive(Debug)]
pub(super) struct Queue {
    sessions: View<Session>,
    level: Level,
    done: JobBurst,
    depth: usize,
    far: bool,
    bench: Bench,
}

impl Queue {
    pub(super) fn new(sessions: View<Session>, level: Level, config: &QueuePairConfig) -> Self {
        let depth = config.depth.clamp(1, MAX_BURST);
        Self { sessions, level, done: JobBurst::new(), depth, far: config.far, bench: Bench::new() }
    }
}

impl QueuePair for Queue {
    fn submit(&mut self, jobs: &mut JobBurst) -> usize {
        self.sessions.refresh();
        let room = self.depth - self.done.len();
        let count = room.min(jobs.len());
        if let Some(batch) = jobs.as_mut_slice().get_mut(..count) {
            if self.far {
                batch.iter().for_each(|job| prefetch_bytes(job.source().data()));
            }
            work(self.level, &self.sessions, batch, &mut self.bench);
        }
        self.done.take_some_from(jobs, room)
    }

    fn poll(&mut self, done: &mut JobBurst) -> usize {
        self.sessions.refresh();
        done.take_from(&mut self.done)
    }

    fn offline(&mut self) {
        self.sessions.offline();
    }
}

/// Does every job of a batch.
fn work(level: Level, sessions: &View<Session>, batch: &mut [Job], bench: &mut Bench) {
    let mut plans = Plans::new();
    let mut chacha_plans: SmallVec<[chacha::Plan<'_>; MAX_BURST]> = SmallVec::new();
    for (number, job) in batch.iter_mut().enumerate() {
        let Some(session) = sessions.find(job.session()) else {
            job.set_status(Status::UnknownSession);
            continue;
        };
        let status = match &session.fast {
            Some(Fast::Gcm(gcm)) => run_gcm(level, gcm, job),
            Some(Fast::ChaCha(unit)) => chacha::Plan::new(number, unit, job).map(|plan| {
                chacha_plans.push(plan);
                Status::Done
            }),
            Some(Fast::Separate(unit)) if fits(unit.cipher.is_some(), unit.integrity.as_ref(), job) => {
                let encrypts = job.operation() == Operation::Encrypt;
                let (cipher, integrity) = (unit.cipher.as_ref(), unit.integrity.as_ref());
                plans.push(Plan { number, cipher, integrity, encrypts, genuine: true });
                Some(Status::Done)
            }
            _ => None,
        };
        let status = status.unwrap_or_else(|| run_job(&session.chain, job, bench));
        job.set_status(status);
    }
    if !chacha_plans.is_empty() {
        chacha::run(level, &chacha_plans, batch);
    }
    if plans.is_empty() {
        return;
    }
    encrypt(level, &plans, batch);
    authenticate(level, Hash::Sha1, &mut plans, batch);
    authenticate(level, Hash::Sha256, &mut plans, batch);
    decrypt(level, &plans, batch);
}

/// A job in place, of one segment, of which nothing is out of the ordinary.
fn is_plain(job: &Job) -> bool {
    job.is_in_place() && job.extension().is_none() && !job.source().is_chained()
}

fn within((offset, len): (usize, usize), whole: usize) -> bool {
    offset.checked_add(len).is_some_and(|end| end <= whole)
}

/// Whether a job is plain, and all that it names lies in its packet.
fn fits(cipher: bool, integrity: Option<&Integrity>, job: &Job) -> bool {
    let len = job.source().packet_len();
    let (cipher_range, tag) = (job.cipher_range(), integrity.map_or(0, |unit| unit.tag_len));
    is_plain(job)
        && (!cipher
            || (within(cipher_range, len)
                && cipher_range.1.is_multiple_of(BLOCK)
                && within((job.iv_offset(), BLOCK), len)))
        && (integrity.is_none()
            || (within(job.integrity_range(), len) && within((job.tag_offset(), tag), len)))
}

/// The jobs of a batch that plans are for, each with its plan.
fn planned<'p, 'a, 'j>(
    plans: &'p [Plan<'a>],
    batch: &'j mut [Job],
) -> impl Iterator<Item = (&'p Plan<'a>, &'j mut Job)> {
    let mut next = plans.iter().peekable();
    batch.iter_mut().enumerate().filter_map(move |(number, job)| {
        let plan = next.next_if(|plan| plan.number == number)?;
        Some((plan, job))
    })
}

/// The IV and the cipher range of a job that was looked at.
fn cipher_parts(job: &mut Job) -> Option<([u8; BLOCK], &mut [u8])> {
    let (packet, _, Shape { cipher: (offset, len), iv_offset, .. }) = job.parts_mut();
    let data = packet.data_mut();
    let iv = *data.get(iv_offset..)?.first_chunk()?;
    Some((iv, data.get_mut(offset..offset + len)?))
}

/// First pass: everything that is to be encrypted.
fn encrypt(level: Level, plans: &[Plan<'_>], batch: &mut [Job]) {
    let mut lanes: Lanes<CbcLane<'_>> = SmallVec::new();
    for (plan, job) in planned(plans, batch) {
        if plan.encrypts
            && let Some(key) = plan.cipher
            && let Some((iv, data)) = cipher_parts(job)
            && !data.is_empty()
        {
            lanes.push(CbcLane { key, iv, data });
        }
    }
    cbc::encrypt(level, &mut lanes);
}

/// Second pass: the tags of one hash, made or checked.
fn authenticate(level: Level, hash: Hash, plans: &mut [Plan<'_>], batch: &mut [Job]) {
    let mut lanes: Lanes<MacLane<'_>> = SmallVec::new();
    let wants = |plan: &Plan<'_>| plan.integrity.is_some_and(|unit| unit.hash == hash);
    for plan in plans.iter() {
        if let Some(unit) = plan.integrity.filter(|unit| unit.hash == hash)
            && let Some(job) = batch.get(plan.number)
        {
            let (offset, len) = job.integrity_range();
            // That it lies inside was seen to when the plan was made.
            let data = job.source().data().get(offset..offset + len).unwrap_or_default();
            let extra = job.esn_high().map(u32::to_be_bytes);
            lanes.push(MacLane { key: &unit.key, data, extra, tag: [0; TAG] });
        }
    }
    if lanes.is_empty() {
        return;
    }
    hmac::run(level, hash, &mut lanes);
    let tags: Lanes<[u8; TAG]> = lanes.iter().map(|lane| lane.tag).collect();
    drop(lanes);
    for (plan, tag) in plans.iter_mut().filter(|plan| wants(plan)).zip(tags) {
        let Some((unit, job)) = plan.integrity.zip(batch.get_mut(plan.number)) else { continue };
        let (packet, _, Shape { tag_offset, .. }) = job.parts_mut();
        let end = tag_offset + unit.tag_len;
        let (Some(to), Some(tag)) = (packet.data_mut().get_mut(tag_offset..end), tag.get(..unit.tag_len))
        else {
            continue;
        };
        if plan.encrypts {
            to.copy_from_slice(tag);
        } else if !is_equal(to, tag) {
            plan.genuine = false;
            job.set_status(Status::IntegrityFailed);
        }
    }
}

/// Whether two tags of one length are the same, in time that does not depend on where they differ. Those of up to two words are compared
/// as words, which is ten times as fast as byte by byte.
fn is_equal(one: &[u8], other: &[u8]) -> bool {
    let ends = |tag: &[u8]| {
        let (first, last) = (tag.first_chunk()?, tag.last_chunk()?);
        (tag.len() <= 16).then_some((u64::from_ne_bytes(*first), u64::from_ne_bytes(*last)))
    };
    match (ends(one), ends(other)) {
        // The two words overlap where there are fewer than sixteen bytes.
        (Some((a, b)), Some((c, d))) => bool::from(((a ^ c) | (b ^ d)).ct_eq(&0)),
        _ => bool::from(one.ct_eq(other)),
    }
}

/// Last pass: what is genuine is decrypted.
fn decrypt(level: Level, plans: &[Plan<'_>], batch: &mut [Job]) {
    for (plan, job) in planned(plans, batch) {
        if !plan.encrypts
            && plan.genuine
            && let Some(key) = plan.cipher
            && let Some((iv, data)) = cipher_parts(job)
        {
            cbc::decrypt(level, key, &iv, data);
        }
    }
}

/// What a packet under an AEAD of ESP is made of.
struct AeadParts<'a> {
    nonce: [u8; 12],
    aad: &'a [u8],
    text: &'a mut [u8],
    tag: &'a mut [u8],
}

/// The parts of a plain job whose packet has them in ESP's order: associated data, then the cipher range, then the tag. `None` for one that is out
/// of the ordinary.
#[inline]
fn aead_parts(job: &mut Job, salt: [u8; 4], tag_len: usize) -> Option<AeadParts<'_>> {
    if !is_plain(job) {
        return None;
    }
    let (packet, _, shape) = job.parts_mut();
    let data = packet.data_mut();
    let (aad_offset, aad_len) = shape.integrity;
    let (cipher_offset, cipher_len) = shape.cipher;
    let (aad_end, cipher_end) = (aad_offset.checked_add(aad_len)?, cipher_offset.checked_add(cipher_len)?);
    if aad_end > cipher_offset || cipher_end > shape.tag_offset {
        return None;
    }
    let mut nonce = [0; 12];
    let (salt_part, iv_part) = nonce.split_at_mut(salt.len());
    salt_part.copy_from_slice(&salt);
    iv_part.copy_from_slice(data.get(shape.iv_offset..)?.first_chunk::<8>()?);
    let (front, rest) = data.split_at_mut_checked(cipher_offset)?;
    let (text, behind) = rest.split_at_mut_checked(cipher_len)?;
    let tag = behind.get_mut(shape.tag_offset - cipher_end..)?.get_mut(..tag_len)?;
    Some(AeadParts { nonce, aad: front.get(aad_offset..aad_end)?, text, tag })
}

/// Associated data with the high half of an extended sequence number between the others (RFC 4106 section 5, RFC 7634 section 2.1).
#[inline]
fn extended(aad: &[u8], high: u32) -> Option<[u8; 12]> {
    let &[a, b, c, d, e, f, g, h] = aad else { return None };
    let [i, j, k, l] = high.to_be_bytes();
    Some([a, b, c, d, i, j, k, l, e, f, g, h])
}

/// A packet under AES-GCM; `None` for one that is out of the ordinary.
#[inline]
fn run_gcm(level: Level, gcm: &Gcm, job: &mut Job) -> Option<Status> {
    let Gcm { key, salt, tag_len } = gcm;
    let (operation, high) = (job.operation(), job.esn_high());
    let AeadParts { nonce, aad, text, tag } = aead_parts(job, *salt, *tag_len)?;
    let long: [u8; 12];
    let aad = match high {
        None => aad,
        Some(high) => {
            long = extended(aad, high)?;
            &long
        }
    };
    if operation == Operation::Encrypt {
        let whole = gcm::seal(level, key, &nonce, aad, text);
        tag.copy_from_slice(whole.get(..*tag_len)?);
        return Some(Status::Done);
    }
    let genuine = gcm::open(level, key, &nonce, aad, text, tag);
    Some(if genuine { Status::Done } else { Status::IntegrityFailed })
}

#[cfg(test)]
mod tests {
    use super::is_equal;

    #[test]
    fn tags_are_equal_in_every_bit_or_not_at_all() {
        for len in [8, 10, 12, 16, 20, 32] {
            let tag: Vec<u8> = (0..len).map(|n| n * 7 + 1).collect();
            assert!(is_equal(&tag, &tag.clone()));
            for bit in 0..usize::from(len) * 8 {
                let mut other = tag.clone();
                other[bit / 8] ^= 1 << (bit % 8);
                assert!(!is_equal(&tag, &other), "{len} bytes, bit {bit}");
            }
        }
    }
}
