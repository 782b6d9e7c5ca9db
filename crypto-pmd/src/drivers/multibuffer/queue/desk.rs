//! Where packets are worked on that cannot be worked on in place: those of several segments, and those whose result goes to another packet. Each
//! job of a batch has a sheet, on which its packet lies in one piece, so that all kernels can do it with the others.

use std::fmt;

use pipeline::MAX_BURST;

use crate::drivers::software::{LONGEST, deliver};
use crate::job::{Job, Shape, Status};

/// Bytes from one sheet to the next: an odd number of cache lines, so that sheets do not fight for the same few.
const STRIDE: usize = LONGEST + 192;

/// A sheet for each job of a batch. Memory that was never written on costs nothing.
pub(super) struct Desk(Vec<u8>);

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What lies on it may be secret.
        f.write_str("Desk")
    }
}

impl Desk {
    pub(super) fn new() -> Self {
        Self(vec![0; MAX_BURST * STRIDE])
    }

    /// The sheets, in the order of the jobs.
    pub(super) fn sheets(&mut self) -> std::slice::ChunksExactMut<'_, u8> {
        self.0.chunks_exact_mut(STRIDE)
    }
}

/// Whether a job is worked on in its packet. `None` for one that is out of the ordinary.
#[inline(always)]
pub(super) fn is_in_place(job: &Job) -> Option<bool> {
    if job.extension().is_some() {
        return None;
    }
    Some(job.is_in_place() && !job.source().is_chained())
}

/// Copies a job's packet on its sheet; false when it is too long.
#[cold]
pub(super) fn lay_out(job: &Job, sheet: &mut [u8]) -> bool {
    let packet = job.source();
    sheet.get_mut(..packet.packet_len()).is_some_and(|sheet| packet.copy_out(0, sheet))
}

/// Brings the result from the sheet to where the job wants it.
#[cold]
pub(super) fn hand_over(job: &mut Job, sheet: &[u8]) -> Status {
    let len = job.source().packet_len();
    sheet.get(..len).map_or(Status::BadRange, |result| deliver(job, result))
}

/// The bytes to work on, and what is to be done.
#[inline(always)]
pub(super) fn text<'t>(in_place: bool, job: &'t mut Job, sheet: &'t mut [u8]) -> (&'t mut [u8], Shape<'t>) {
    let (packet, _, shape) = job.parts_mut();
    if in_place {
        return (packet.data_mut(), shape);
    }
    let len = packet.packet_len();
    (sheet.get_mut(..len).unwrap_or_default(), shape)
}
