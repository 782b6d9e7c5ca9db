//! The pass for ChaCha20-Poly1305: all packets of a burst that are sealed side by side, then all that are opened.

use smallvec::SmallVec;

use crate::job::{Job, Operation, Status};

use super::super::kernels::chacha::{Lane, open_many, seal_many};
use super::super::session::ChaCha;
use super::{AeadParts, Lanes, Level, aead_parts, extended};

/// Bytes of a tag.
const TAG: usize = 16;

/// A packet that goes through the pass, by its number in the burst.
pub(super) struct Plan<'a> {
    number: usize,
    unit: &'a ChaCha,
    /// Its associated data with an extended sequence number.
    extended: Option<[u8; 12]>,
    encrypts: bool,
}

impl<'a> Plan<'a> {
    /// `None` for a packet that is out of the ordinary.
    pub(super) fn new(number: usize, unit: &'a ChaCha, job: &mut Job) -> Option<Self> {
        let (encrypts, high) = (job.operation() == Operation::Encrypt, job.esn_high());
        let AeadParts { aad, .. } = aead_parts(job, unit.salt, TAG)?;
        let extended = match high {
            Some(high) => Some(extended(aad, high)?),
            None => None,
        };
        Some(Self { number, unit, extended, encrypts })
    }

    /// The packet as the kernels take it, and the place of its tag.
    fn lane<'l>(&'l self, job: &'l mut Job) -> Option<(Lane<'l>, &'l mut [u8])> {
        let AeadParts { nonce, aad, text, tag } = aead_parts(job, self.unit.salt, TAG)?;
        let aad = self.extended.as_ref().map_or(aad, |aad| aad);
        Some((Lane::new(&self.unit.key, &nonce, aad, text), tag))
    }
}

/// Does every packet that was planned.
pub(super) fn run(level: Level, plans: &[Plan<'_>], batch: &mut [Job]) {
    if plans.iter().any(|plan| plan.encrypts) {
        seal(level, plans, batch);
    }
    if plans.iter().any(|plan| !plan.encrypts) {
        open(level, plans, batch);
    }
}

fn seal(level: Level, plans: &[Plan<'_>], batch: &mut [Job]) {
    let (mut lanes, mut tags): (Lanes<Lane<'_>>, Lanes<&mut [u8]>) = (SmallVec::new(), SmallVec::new());
    for (plan, job) in planned(plans, batch, true) {
        if let Some((lane, tag)) = plan.lane(job) {
            lanes.push(lane);
            tags.push(tag);
        }
    }
    seal_many(level, &mut lanes);
    tags.into_iter().zip(&lanes).for_each(|(to, lane)| to.copy_from_slice(&lane.tag));
}

fn open(level: Level, plans: &[Plan<'_>], batch: &mut [Job]) {
    let mut lanes: Lanes<Lane<'_>> = SmallVec::new();
    for (plan, job) in planned(plans, batch, false) {
        if let Some((mut lane, tag)) = plan.lane(job) {
            lane.tag = tag.first_chunk().copied().unwrap_or_default();
            lanes.push(lane);
        }
    }
    open_many(level, &mut lanes);
    let genuine: Lanes<bool> = lanes.iter().map(|lane| lane.genuine).collect();
    drop(lanes);
    for ((_, job), genuine) in planned(plans, batch, false).zip(genuine) {
        if !genuine {
            job.set_status(Status::IntegrityFailed);
        }
    }
}

/// The jobs of one direction that plans are for, each with its plan.
fn planned<'p, 'a, 'j>(
    plans: &'p [Plan<'a>],
    batch: &'j mut [Job],
    encrypts: bool,
) -> impl Iterator<Item = (&'p Plan<'a>, &'j mut Job)> {
    let mut next = plans.iter().filter(move |plan| plan.encrypts == encrypts).peekable();
    batch.iter_mut().enumerate().filter_map(move |(number, job)| {
        let plan = next.next_if(|plan| plan.number == number)?;
        Some((plan, job))
    })
}
