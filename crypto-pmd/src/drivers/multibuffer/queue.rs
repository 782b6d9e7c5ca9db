//! The queue pair: sorts a burst's jobs by what kernels can do, and does each kind side by side.
//!
//! A burst goes through in passes: encryption of all packets that want it, CBC side by side, then the keyed hashes of all packets of both
//! directions, one kind after the other, then tags are written or compared, and what is genuine is decrypted. AES-GCM packets are done one by one, since the processor overlaps
//! them by itself. Whatever is out of the ordinary (chained packets, results that go elsewhere, steps, explicit IVs, ranges that do not
//! fit) is the software driver's business, job by job.

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
use super::kernels::cbc_mac::{self, CbcMacLane};
use super::kernels::hmac::{self, Hash, MacLane, TAG};
use super::kernels::{ctr, gcm};
use super::session::{Cipher, Fast, Gcm, Integrity, KeyedHash, Session};

/// Lanes of a burst.
type Lanes<L> = SmallVec<[L; MAX_BURST]>;

/// The packets of a burst that go through the passes, by their number in it.
type Plans<'a> = SmallVec<[Plan<'a>; MAX_BURST]>;

/// One of them.
struct Plan<'a> {
    number: usize,
    cipher: Option<&'a Cipher>,
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
    for (number, job) in batch.iter_mut().enumerate() {
        let Some(session) = sessions.find(job.session()) else {
            job.set_status(Status::UnknownSession);
            continue;
        };
        let status = match &session.fast {
            Some(Fast::Gcm(gcm)) => run_gcm(level, gcm, job),
            Some(Fast::Separate(unit)) if fits(unit.cipher.as_ref(), unit.integrity.as_ref(), job) => {
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
    if plans.is_empty() {
        return;
    }
    encrypt(level, &plans, batch);
    authenticate(level, &mut plans, batch);
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
fn fits(cipher: Option<&Cipher>, integrity: Option<&Integrity>, job: &Job) -> bool {
    let len = job.source().packet_len();
    let iv_fits = |iv_len| within((job.iv_offset(), iv_len), len);
    is_plain(job)
        && cipher.is_none_or(|cipher| {
            let range = job.cipher_range();
            within(range, len) && cipher.takes(range.1) && iv_fits(cipher.iv_len())
        })
        && integrity.is_none_or(|unit| {
            let range = job.integrity_range();
            let nonce_fits = |iv_len| iv_fits(iv_len) && (job.esn_high().is_none() || range.1 >= 4);
            within(range, len)
                && within((job.tag_offset(), unit.tag_len), len)
                && unit.iv_len().is_none_or(nonce_fits)
        })
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

/// The IV or the first counter block, and the cipher range of a job that was looked at.
fn cipher_parts<'j>(cipher: &Cipher, job: &'j mut Job) -> Option<([u8; BLOCK], &'j mut [u8])> {
    let (packet, _, Shape { cipher: (offset, len), iv_offset, .. }) = job.parts_mut();
    let data = packet.data_mut();
    let part = data.get(iv_offset..)?;
    let iv = match cipher {
        Cipher::Cbc(_) | Cipher::Ctr(_, None) => *part.first_chunk()?,
        Cipher::Ctr(_, Some(salt)) => {
            let part = u64::from_le_bytes(*part.first_chunk()?);
            let counter = u128::from(1_u32.swap_bytes()) << 96 | u128::from(part) << 32;
            (counter | u128::from(u32::from_le_bytes(*salt))).to_le_bytes()
        }
    };
    Some((iv, data.get_mut(offset..offset + len)?))
}

/// First pass: everything that is to be encrypted.
fn encrypt(level: Level, plans: &[Plan<'_>], batch: &mut [Job]) {
    let mut lanes: Lanes<CbcLane<'_>> = SmallVec::new();
    for (plan, job) in planned(plans, batch) {
        if plan.encrypts
            && let Some(cipher) = plan.cipher
            && let Some((iv, data)) = cipher_parts(cipher, job)
            && !data.is_empty()
        {
            match cipher {
                Cipher::Cbc(key) => lanes.push(CbcLane { key, iv, data }),
                Cipher::Ctr(key, _) => ctr::apply(level, key, &iv, data),
            }
        }
    }
    if !lanes.is_empty() {
        cbc::encrypt(level, &mut lanes);
    }
}

/// Second pass: tags, made or checked, those of one kind side by side.
fn authenticate(level: Level, plans: &mut [Plan<'_>], batch: &mut [Job]) {
    let mut kinds = 0;
    let hashes = plans.iter().filter_map(|plan| plan.integrity);
    hashes.for_each(|unit| kinds |= 1 << Kind::of(&unit.hash) as u8);
    for kind in Kind::ALL.into_iter().filter(|kind| kinds & 1 << *kind as u8 != 0) {
        match kind {
            Kind::HmacSha1 => hmac_tags(level, Hash::Sha1, kind, plans, batch),
            Kind::HmacSha256 => hmac_tags(level, Hash::Sha256, kind, plans, batch),
            Kind::HmacSha384 => hmac_tags(level, Hash::Sha384, kind, plans, batch),
            Kind::HmacSha512 => hmac_tags(level, Hash::Sha512, kind, plans, batch),
            Kind::CbcMac => cbc_mac_tags(level, plans, batch),
            Kind::Gmac => gmac_tags(level, plans, batch),
        }
    }
}

/// Keyed hashes that go side by side.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    HmacSha1,
    HmacSha256,
    HmacSha384,
    HmacSha512,
    CbcMac,
    Gmac,
}

impl Kind {
    const ALL: [Self; 6] =
        [Self::HmacSha1, Self::HmacSha256, Self::HmacSha384, Self::HmacSha512, Self::CbcMac, Self::Gmac];

    #[inline]
    fn of(hash: &KeyedHash) -> Self {
        match hash {
            KeyedHash::Hmac(Hash::Sha1, _) => Self::HmacSha1,
            KeyedHash::Hmac(Hash::Sha256, _) => Self::HmacSha256,
            KeyedHash::Hmac(Hash::Sha384, _) => Self::HmacSha384,
            KeyedHash::Hmac(Hash::Sha512, _) => Self::HmacSha512,
            KeyedHash::CbcMac(_) => Self::CbcMac,
            KeyedHash::Gmac(_) => Self::Gmac,
        }
    }
}

/// The key and the job of every plan with such a hash.
fn of_kind<'p, 'j>(
    kind: Kind,
    plans: &'p [Plan<'_>],
    batch: &'j [Job],
) -> impl Iterator<Item = (&'p KeyedHash, &'j Job)> {
    plans.iter().filter_map(move |plan| {
        let unit = plan.integrity.filter(|unit| Kind::of(&unit.hash) == kind)?;
        Some((&unit.hash, batch.get(plan.number)?))
    })
}

/// What a job authenticates, and the extra bytes behind it.
fn mac_parts(job: &Job) -> (&[u8], Option<[u8; 4]>) {
    let (offset, len) = job.integrity_range();
    // That it lies inside was seen to when the plan was made.
    let data = job.source().data().get(offset..offset + len).unwrap_or_default();
    (data, job.esn_high().map(u32::to_be_bytes))
}

fn hmac_tags(level: Level, hash: Hash, kind: Kind, plans: &mut [Plan<'_>], batch: &mut [Job]) {
    let mut lanes: Lanes<MacLane<'_>> = SmallVec::new();
    for (hash, job) in of_kind(kind, plans, batch) {
        let (KeyedHash::Hmac(_, key), (data, extra)) = (hash, mac_parts(job)) else { continue };
        lanes.push(MacLane { key, data, extra, tag: [0; TAG] });
    }
    hmac::run(level, hash, &mut lanes);
    let tags: Lanes<[u8; TAG]> = lanes.iter().map(|lane| lane.tag).collect();
    drop(lanes);
    settle(kind, plans, batch, &tags);
}

fn cbc_mac_tags(level: Level, plans: &mut [Plan<'_>], batch: &mut [Job]) {
    let mut lanes: Lanes<CbcMacLane<'_>> = SmallVec::new();
    for (hash, job) in of_kind(Kind::CbcMac, plans, batch) {
        let (KeyedHash::CbcMac(key), (data, extra)) = (hash, mac_parts(job)) else { continue };
        lanes.push(CbcMacLane { key, data, extra, tag: [0; BLOCK] });
    }
    cbc_mac::run(level, &mut lanes);
    let tags: Lanes<[u8; BLOCK]> = lanes.iter().map(|lane| lane.tag).collect();
    drop(lanes);
    settle(Kind::CbcMac, plans, batch, &tags);
}

/// One by one, since the processor overlaps them by itself.
fn gmac_tags(level: Level, plans: &mut [Plan<'_>], batch: &mut [Job]) {
    let tag = |(hash, job): (&KeyedHash, &Job)| {
        let (KeyedHash::Gmac(gmac), (data, high)) = (hash, mac_parts(job)) else { return [0; BLOCK] };
        // That the nonce lies inside was seen to when the plan was made.
        let part = job.source().data().get(job.iv_offset()..).unwrap_or_default();
        let nonce = gmac.nonce(part).unwrap_or_default();
        gcm::authenticate(level, &gmac.key, &nonce, data, high)
    };
    let tags: Lanes<[u8; BLOCK]> = of_kind(Kind::Gmac, plans, batch).map(tag).collect();
    settle(Kind::Gmac, plans, batch, &tags);
}

/// Writes the tags of one kind, or compares them.
fn settle<const LEN: usize>(kind: Kind, plans: &mut [Plan<'_>], batch: &mut [Job], tags: &[[u8; LEN]]) {
    let wants = |plan: &Plan<'_>| plan.integrity.is_some_and(|unit| Kind::of(&unit.hash) == kind);
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

/// Whether two tags of one length are the same, in time that does not depend on where they differ. They are compared as words, which is ten
/// times as fast as byte by byte.
fn is_equal(one: &[u8], other: &[u8]) -> bool {
    let ends = |tag: &[u8]| {
        let (first, last) = (tag.first_chunk()?, tag.last_chunk()?);
        (tag.len() <= 16).then_some((u64::from_ne_bytes(*first), u64::from_ne_bytes(*last)))
    };
    if let (Some((a, b)), Some((c, d))) = (ends(one), ends(other)) {
        // The two words overlap where there are fewer than sixteen bytes.
        return bool::from(((a ^ c) | (b ^ d)).ct_eq(&0));
    }
    let ((words, rest), (other_words, other_rest)) = (one.as_chunks(), other.as_chunks());
    let differ = words
        .iter()
        .zip(other_words)
        .fold(0, |differ, (one, other)| differ | (u64::from_ne_bytes(*one) ^ u64::from_ne_bytes(*other)));
    one.len() == other.len() && bool::from(differ.ct_eq(&0) & rest.ct_eq(other_rest))
}

/// Last pass: what is genuine is decrypted.
fn decrypt(level: Level, plans: &[Plan<'_>], batch: &mut [Job]) {
    for (plan, job) in planned(plans, batch) {
        if !plan.encrypts
            && plan.genuine
            && let Some(cipher) = plan.cipher
            && let Some((iv, data)) = cipher_parts(cipher, job)
        {
            match cipher {
                Cipher::Cbc(key) => cbc::decrypt(level, key, &iv, data),
                Cipher::Ctr(key, _) => ctr::apply(level, key, &iv, data),
            }
        }
    }
}

/// A packet under AES-GCM; `None` for one that is out of the ordinary.
#[inline]
fn run_gcm(level: Level, gcm: &Gcm, job: &mut Job) -> Option<Status> {
    let Gcm { key, salt, tag_len } = gcm;
    if !is_plain(job) {
        return None;
    }
    let (packet, _, shape) = job.parts_mut();
    let data = packet.data_mut();
    let (aad_offset, aad_len) = shape.integrity;
    let (cipher_offset, cipher_len) = shape.cipher;
    let (aad_end, cipher_end) = (aad_offset.checked_add(aad_len)?, cipher_offset.checked_add(cipher_len)?);
    // As ESP has it: associated data, then the cipher range, then the tag.
    if aad_end > cipher_offset || cipher_end > shape.tag_offset {
        return None;
    }
    let mut nonce = [0; 12];
    let (salt_part, iv_part) = nonce.split_at_mut(salt.len());
    salt_part.copy_from_slice(salt);
    iv_part.copy_from_slice(data.get(shape.iv_offset..)?.first_chunk::<8>()?);
    let (front, rest) = data.split_at_mut_checked(cipher_offset)?;
    let (text, behind) = rest.split_at_mut_checked(cipher_len)?;
    let tag = behind.get_mut(shape.tag_offset - cipher_end..)?.get_mut(..*tag_len)?;
    let aad = front.get(aad_offset..aad_end)?;
    let extended: [u8; 12];
    let aad = match (shape.esn_high, aad) {
        (None, aad) => aad,
        // RFC 4106 section 5: the high half stands between the others.
        (Some(high), &[a, b, c, d, e, f, g, h]) => {
            let [i, j, k, l] = high.to_be_bytes();
            extended = [a, b, c, d, i, j, k, l, e, f, g, h];
            &extended
        }
        _ => return None,
    };
    if shape.operation == Operation::Encrypt {
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
        for len in [4, 8, 10, 12, 16, 20, 24, 32, 48, 64] {
            let tag: Vec<u8> = (0..len).map(|n| n * 3 + 1).collect();
            assert!(is_equal(&tag, &tag.clone()));
            for bit in 0..usize::from(len) * 8 {
                let mut other = tag.clone();
                other[bit / 8] ^= 1 << (bit % 8);
                assert!(!is_equal(&tag, &other), "{len} bytes, bit {bit}");
            }
        }
    }
}
