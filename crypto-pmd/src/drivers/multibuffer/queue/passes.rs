//! A batch in passes: encryption of all packets that want it, then the keyed hashes of all packets of both directions, those of one kind side
//! by side, then tags are written or compared, and what is genuine is decrypted.

use pipeline::MAX_BURST;
use smallvec::SmallVec;

use crate::drivers::multibuffer::Level;
use crate::drivers::multibuffer::kernels::cbc::{self, BLOCK, CbcLane};
use crate::drivers::multibuffer::kernels::cbc_mac::{self, CbcMacLane};
use crate::drivers::multibuffer::kernels::hmac::{self, Hash, MacLane};
use crate::drivers::multibuffer::kernels::tag::Tag;
use crate::drivers::multibuffer::kernels::{ctr, gcm};
use crate::drivers::multibuffer::session::{Cipher, Integrity, KeyedHash, Separate};
use crate::job::{Job, Operation, Shape, Status};

use super::desk::{self, Desk};

/// Lanes of a batch.
pub(super) type Lanes<L> = SmallVec<[L; MAX_BURST]>;

/// The packets of a batch that go through the passes.
pub(super) type Plans<'s> = Lanes<Plan<'s>>;

/// One of them: all that it names lies in its packet.
pub(super) struct Plan<'s> {
    pub(super) place: Place,
    pub(super) unit: &'s Separate,
    pub(super) encrypts: bool,
    /// Its tag is right, or there is none to check.
    genuine: bool,
}

/// Where a packet is worked on.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// Its number in the batch.
    pub(super) number: usize,
    /// In its packet, not on its sheet.
    pub(super) in_packet: bool,
}

impl Place {
    /// `None` for a job that is out of the ordinary; lays its packet out if that is necessary.
    #[inline]
    pub(super) fn of(number: usize, job: &Job, sheet: &mut [u8]) -> Option<Self> {
        let in_packet = desk::is_in_place(job)?;
        (in_packet || desk::lay_out(job, sheet)).then_some(Self { number, in_packet })
    }
}

impl<'s> Plan<'s> {
    /// `None` for a job that is out of the ordinary, or names what is not in its packet.
    #[inline]
    pub(super) fn new(number: usize, unit: &'s Separate, job: &Job, sheet: &mut [u8]) -> Option<Self> {
        if !fits(unit, job) {
            return None;
        }
        let place = Place::of(number, job, sheet)?;
        Some(Self { place, unit, encrypts: job.operation() == Operation::Encrypt, genuine: true })
    }
}

fn within((offset, len): (usize, usize), whole: usize) -> bool {
    offset.checked_add(len).is_some_and(|end| end <= whole)
}

/// Whether all that a job names lies in its packet.
#[inline]
fn fits(unit: &Separate, job: &Job) -> bool {
    let len = job.source().packet_len();
    let iv_fits = |iv_len| within((job.iv_offset(), iv_len), len);
    let cipher_fits = |cipher: &Cipher| {
        let range = job.cipher_range();
        within(range, len) && cipher.takes(range.1) && iv_fits(cipher.iv_len())
    };
    let tag_fits = |unit: &Integrity| {
        let range = job.integrity_range();
        let nonce_fits = |iv_len| iv_fits(iv_len) && (job.esn_high().is_none() || range.1 >= 4);
        let tag = (job.tag_offset(), unit.tag_len);
        // A tag that lies in what it is made of is out of the ordinary.
        let apart = tag.0 >= range.0 + range.1 || tag.0 + tag.1 <= range.0;
        within(range, len) && within(tag, len) && apart && unit.iv_len().is_none_or(nonce_fits)
    };
    unit.cipher.as_ref().is_none_or(cipher_fits) && unit.integrity.as_ref().is_none_or(tag_fits)
}

/// The IV or the first counter block, and the cipher range, of a packet that was looked at.
#[inline(always)]
pub(super) fn cipher_parts<'t>(
    cipher: &Cipher,
    text: &'t mut [u8],
    shape: &Shape<'_>,
) -> Option<([u8; BLOCK], &'t mut [u8])> {
    let part = text.get(shape.iv_offset..)?;
    let iv = match cipher {
        Cipher::Cbc(_) | Cipher::Ctr(_, None) => *part.first_chunk()?,
        Cipher::Ctr(_, Some(salt)) => {
            let part = u64::from_le_bytes(*part.first_chunk()?);
            let counter = u128::from(1_u32.swap_bytes()) << 96 | u128::from(part) << 32;
            (counter | u128::from(u32::from_le_bytes(*salt))).to_le_bytes()
        }
    };
    let (offset, len) = shape.cipher;
    Some((iv, text.get_mut(offset..offset + len)?))
}

/// What is authenticated, and the place of the tag; of a packet that was looked at.
#[inline(always)]
pub(super) fn mac_parts<'t>(
    checks: bool,
    tag_len: usize,
    text: &'t mut [u8],
    shape: &Shape<'_>,
) -> (&'t [u8], Tag<'t>) {
    // A tag without a place is never right.
    let (data, place) = apart(text, shape.integrity, (shape.tag_offset, tag_len)).unwrap_or_default();
    (data, Tag::new(checks, place))
}

/// Two ranges of a packet that share no byte: one to read, the other to write.
#[inline(always)]
fn apart(
    text: &mut [u8],
    (offset, len): (usize, usize),
    (at, count): (usize, usize),
) -> Option<(&[u8], &mut [u8])> {
    match at.checked_sub(offset + len) {
        Some(gap) => {
            let (front, back) = text.split_at_mut_checked(offset + len)?;
            Some((front.get(offset..)?, back.get_mut(gap..gap + count)?))
        }
        None => {
            let (front, back) = text.split_at_mut_checked(offset)?;
            Some((back.get(..len)?, front.get_mut(at..at + count)?))
        }
    }
}

/// Does all plans.
pub(super) fn run(level: Level, plans: &mut [Plan<'_>], batch: &mut [Job], desk: &mut Desk) {
    encrypt(level, plans, batch, desk);
    authenticate(level, plans, batch, desk);
    decrypt(level, plans, batch, desk);
    for Plan { place, genuine, .. } in plans.iter() {
        finish(*place, *genuine, batch, desk);
    }
}

/// At the end: what is not genuine is said to be so, and what was done on a sheet goes where it is wanted.
#[inline]
pub(super) fn finish(place: Place, genuine: bool, batch: &mut [Job], desk: &mut Desk) {
    if genuine && place.in_packet {
        return;
    }
    if let Some((job, sheet)) = batch.get_mut(place.number).zip(desk.sheets().nth(place.number)) {
        let status = if genuine { desk::hand_over(job, sheet) } else { Status::IntegrityFailed };
        job.set_status(status);
    }
}

/// Plans with the bytes to work on, and what is to be done.
#[inline(always)]
pub(super) fn texts<'t, P>(
    plans: impl Iterator<Item = P>,
    place: impl Fn(&P) -> Place,
    batch: &'t mut [Job],
    desk: &'t mut Desk,
) -> impl Iterator<Item = (P, &'t mut [u8], Shape<'t>)> {
    let mut jobs = batch.iter_mut().zip(desk.sheets());
    let mut next = 0;
    plans.filter_map(move |plan| {
        let Place { number, in_packet } = place(&plan);
        let (job, sheet) = jobs.nth(number - next)?;
        next = number + 1;
        let (text, shape) = desk::text(in_packet, job, sheet);
        Some((plan, text, shape))
    })
}

/// First pass: everything that is to be encrypted. Counter mode goes packet by packet, since its blocks do not wait for each other.
#[inline(never)]
fn encrypt(level: Level, plans: &[Plan<'_>], batch: &mut [Job], desk: &mut Desk) {
    let mut lanes: Lanes<CbcLane<'_>> = SmallVec::new();
    let wanted = plans.iter().filter(|plan| plan.encrypts && plan.unit.cipher.is_some());
    for (plan, text, shape) in texts(wanted, |plan| plan.place, batch, desk) {
        if let Some(cipher) = &plan.unit.cipher
            && let Some((iv, data)) = cipher_parts(cipher, text, &shape)
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

    #[inline]
    fn is_of(self, plan: &Plan<'_>) -> bool {
        plan.unit.integrity.as_ref().is_some_and(|unit| Self::of(&unit.hash) == self)
    }
}

/// Second pass: tags, made or checked, those of one kind side by side.
#[inline(never)]
fn authenticate(level: Level, plans: &mut [Plan<'_>], batch: &mut [Job], desk: &mut Desk) {
    let mut kinds = 0;
    let hashes = plans.iter().filter_map(|plan| plan.unit.integrity.as_ref());
    hashes.for_each(|unit| kinds |= 1 << Kind::of(&unit.hash) as u8);
    for kind in Kind::ALL.into_iter().filter(|kind| kinds & 1 << *kind as u8 != 0) {
        match kind {
            Kind::HmacSha1 => hmac_tags(level, Hash::Sha1, kind, plans, batch, desk),
            Kind::HmacSha256 => hmac_tags(level, Hash::Sha256, kind, plans, batch, desk),
            Kind::HmacSha384 => hmac_tags(level, Hash::Sha384, kind, plans, batch, desk),
            Kind::HmacSha512 => hmac_tags(level, Hash::Sha512, kind, plans, batch, desk),
            Kind::CbcMac => cbc_mac_tags(level, plans, batch, desk),
            Kind::Gmac => gmac_tags(level, plans, batch, desk),
        }
    }
}

/// Every plan of a kind, with its hash, its packet, and what is to be done.
#[inline(always)]
fn of_kind<'t, 's, 'p: 't>(
    kind: Kind,
    plans: &'p [Plan<'s>],
    batch: &'t mut [Job],
    desk: &'t mut Desk,
) -> impl Iterator<Item = (&'p Plan<'s>, &'s Integrity, &'t mut [u8], Shape<'t>)> {
    let wanted = plans.iter().filter(move |plan| kind.is_of(plan));
    texts(wanted, |plan| plan.place, batch, desk)
        .filter_map(|(plan, text, shape)| Some((plan, plan.unit.integrity.as_ref()?, text, shape)))
}

fn hmac_tags(
    level: Level,
    hash: Hash,
    kind: Kind,
    plans: &mut [Plan<'_>],
    batch: &mut [Job],
    desk: &mut Desk,
) {
    let mut lanes: Lanes<MacLane<'_>> = SmallVec::new();
    for (plan, unit, text, shape) in of_kind(kind, plans, batch, desk) {
        let KeyedHash::Hmac(_, key) = &unit.hash else { continue };
        let (data, tag) = mac_parts(!plan.encrypts, unit.tag_len, text, &shape);
        lanes.push(MacLane { key, data, extra: shape.esn_high.map(u32::to_be_bytes), tag });
    }
    hmac::run(level, hash, &mut lanes);
    let right = Right::of(lanes.iter().map(|lane| &lane.tag));
    drop(lanes);
    right.tell(kind, plans);
}

fn cbc_mac_tags(level: Level, plans: &mut [Plan<'_>], batch: &mut [Job], desk: &mut Desk) {
    let mut lanes: Lanes<CbcMacLane<'_>> = SmallVec::new();
    for (plan, unit, text, shape) in of_kind(Kind::CbcMac, plans, batch, desk) {
        let KeyedHash::CbcMac(key) = &unit.hash else { continue };
        let (data, tag) = mac_parts(!plan.encrypts, unit.tag_len, text, &shape);
        lanes.push(CbcMacLane { key, data, extra: shape.esn_high.map(u32::to_be_bytes), tag });
    }
    cbc_mac::run(level, &mut lanes);
    let right = Right::of(lanes.iter().map(|lane| &lane.tag));
    drop(lanes);
    right.tell(Kind::CbcMac, plans);
}

/// One by one, since the processor overlaps them by itself.
fn gmac_tags(level: Level, plans: &mut [Plan<'_>], batch: &mut [Job], desk: &mut Desk) {
    let mut tags: Lanes<Tag<'_>> = SmallVec::new();
    for (plan, unit, text, shape) in of_kind(Kind::Gmac, plans, batch, desk) {
        let KeyedHash::Gmac(gmac) = &unit.hash else { continue };
        // That the nonce lies inside was seen to when the plan was made.
        let nonce = text.get(shape.iv_offset..).and_then(|part| gmac.nonce.whole(part)).unwrap_or_default();
        let (data, mut tag) = mac_parts(!plan.encrypts, unit.tag_len, text, &shape);
        tag.take(&gcm::authenticate(level, &gmac.key, nonce, data, shape.esn_high.map(u32::to_be_bytes)));
        tags.push(tag);
    }
    let right = Right::of(tags.iter());
    drop(tags);
    right.tell(Kind::Gmac, plans);
}

/// Which tags of a kind are right: a bit for each, of which there are no more than jobs in a batch.
struct Right(u64);

const _: () = assert!(MAX_BURST <= u64::BITS as usize);

impl Right {
    #[inline]
    fn of<'t, 'a: 't>(tags: impl Iterator<Item = &'t Tag<'a>>) -> Self {
        Self(tags.zip(0..).fold(0, |right, (tag, place)| right | u64::from(tag.is_right()) << place))
    }

    /// Notes it in the plans.
    #[inline]
    fn tell(self, kind: Kind, plans: &mut [Plan<'_>]) {
        for (plan, place) in plans.iter_mut().filter(|plan| kind.is_of(plan)).zip(0..) {
            plan.genuine = self.0 >> place & 1 == 1;
        }
    }
}

/// Third pass: what is genuine is decrypted.
#[inline(never)]
fn decrypt(level: Level, plans: &[Plan<'_>], batch: &mut [Job], desk: &mut Desk) {
    let wanted = plans.iter().filter(|plan| !plan.encrypts && plan.genuine);
    for (plan, text, shape) in texts(wanted, |plan| plan.place, batch, desk) {
        if let Some(cipher) = &plan.unit.cipher
            && let Some((iv, data)) = cipher_parts(cipher, text, &shape)
        {
            match cipher {
                Cipher::Cbc(key) => cbc::decrypt(level, key, &iv, data),
                Cipher::Ctr(key, _) => ctr::apply(level, key, &iv, data),
            }
        }
    }
}
