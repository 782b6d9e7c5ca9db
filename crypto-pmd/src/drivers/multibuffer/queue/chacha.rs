//! The pass for ChaCha20-Poly1305: all packets of a batch that are sealed side by side, then all that are opened.

use smallvec::SmallVec;

use crate::drivers::multibuffer::Level;
use crate::drivers::multibuffer::kernels::chacha::{Lane, open_many, seal_many};
use crate::drivers::multibuffer::session::ChaCha;
use crate::job::{Job, Operation, Shape};

use super::aead::{Parts, extended, parts};
use super::desk::{self, Desk};
use super::passes::{Lanes, Place, finish, texts};

/// Bytes of a tag.
const TAG: usize = 16;

/// A packet that goes through the pass.
pub(super) struct Plan<'s> {
    place: Place,
    unit: &'s ChaCha,
    /// Its associated data with an extended sequence number.
    extended: Option<[u8; 12]>,
    encrypts: bool,
    genuine: bool,
}

impl<'s> Plan<'s> {
    /// `None` for a packet that is out of the ordinary.
    #[inline]
    pub(super) fn new(number: usize, unit: &'s ChaCha, job: &mut Job, sheet: &mut [u8]) -> Option<Self> {
        let place = Place::of(number, job, sheet)?;
        let (text, shape) = desk::text(place.in_packet, job, sheet);
        let (encrypts, high) = (shape.operation == Operation::Encrypt, shape.esn_high);
        let Parts { aad, .. } = parts(text, &shape, &unit.nonce, TAG)?;
        let extended = match high {
            Some(high) => Some(extended(aad, high)?),
            None => None,
        };
        Some(Self { place, unit, extended, encrypts, genuine: true })
    }

    /// The packet as the kernels take it, and the place of its tag.
    #[inline]
    fn lane<'l>(&'l self, text: &'l mut [u8], shape: &Shape<'_>) -> Option<(Lane<'l>, &'l mut [u8])> {
        let Parts { nonce, aad, text, tag } = parts(text, shape, &self.unit.nonce, TAG)?;
        let aad = self.extended.as_ref().map_or(aad, |aad| aad);
        Some((Lane::new(&self.unit.key, nonce, aad, text), tag))
    }
}

/// Does every packet that was planned.
pub(super) fn run(level: Level, plans: &mut [Plan<'_>], batch: &mut [Job], desk: &mut Desk) {
    if plans.iter().any(|plan| plan.encrypts) {
        seal(level, plans, batch, desk);
    }
    if plans.iter().any(|plan| !plan.encrypts) {
        open(level, plans, batch, desk);
    }
    for Plan { place, genuine, .. } in plans.iter() {
        finish(*place, *genuine, batch, desk);
    }
}

fn seal(level: Level, plans: &[Plan<'_>], batch: &mut [Job], desk: &mut Desk) {
    let (mut lanes, mut tags): (Lanes<Lane<'_>>, Lanes<&mut [u8]>) = (SmallVec::new(), SmallVec::new());
    let wanted = plans.iter().filter(|plan| plan.encrypts);
    for (plan, text, shape) in texts(wanted, |plan| plan.place, batch, desk) {
        if let Some((lane, tag)) = plan.lane(text, &shape) {
            lanes.push(lane);
            tags.push(tag);
        }
    }
    seal_many(level, &mut lanes);
    tags.iter_mut().zip(&lanes).for_each(|(to, lane)| to.copy_from_slice(&lane.tag));
}

fn open(level: Level, plans: &mut [Plan<'_>], batch: &mut [Job], desk: &mut Desk) {
    let mut lanes: Lanes<Lane<'_>> = SmallVec::new();
    let wanted = plans.iter().filter(|plan| !plan.encrypts);
    for (plan, text, shape) in texts(wanted, |plan| plan.place, batch, desk) {
        if let Some((mut lane, tag)) = plan.lane(text, &shape) {
            lane.tag = tag.first_chunk().copied().unwrap_or_default();
            lanes.push(lane);
        }
    }
    open_many(level, &mut lanes);
    let mut genuine: Lanes<bool> = SmallVec::new();
    genuine.extend(lanes.iter().map(|lane| lane.genuine));
    drop(lanes);
    let wanted = plans.iter_mut().filter(|plan| !plan.encrypts);
    wanted.zip(genuine).for_each(|(plan, genuine)| plan.genuine = genuine);
}
