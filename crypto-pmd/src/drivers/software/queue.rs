//! The software driver's queue pair: works when jobs are submitted, hands them back when polled.

use pipeline::memory::prefetch_bytes;
use pipeline::{MAX_BURST, Mbuf};

use crate::device::{QueuePair, QueuePairConfig};
use crate::drivers::sessions::View;
use crate::job::{Job, JobBurst, Status};

use super::chain::Chain;

/// Longest chained packet: the longest of IP with a kibibyte for what stands in front and behind.
const SCRATCH: usize = (64 << 10) + 1024;

/// Done jobs wait in the order of submission. A burst of them is the most that waits, since nothing is ever under way.
#[derive(Debug)]
pub(super) struct Queue {
    sessions: View<Chain>,
    done: JobBurst,
    depth: usize,
    far: bool,
    scratch: Vec<u8>,
}

impl Queue {
    pub(super) fn new(sessions: View<Chain>, config: &QueuePairConfig) -> Self {
        Self {
            sessions,
            done: JobBurst::new(),
            depth: config.depth.clamp(1, MAX_BURST),
            far: config.far,
            scratch: vec![0; SCRATCH],
        }
    }
}

impl QueuePair for Queue {
    fn submit(&mut self, jobs: &mut JobBurst) -> usize {
        self.sessions.refresh();
        let room = self.depth - self.done.len();
        for index in 0..room.min(jobs.len()) {
            if self.far {
                fetch_ahead(jobs.as_slice().get(index + 1..).unwrap_or_default());
            }
            let Some(job) = jobs.as_mut_slice().get_mut(index) else { break };
            let status = match self.sessions.find(job.session()) {
                Some(chain) => run(chain, job, &mut self.scratch),
                None => Status::UnknownSession,
            };
            job.set_status(status);
        }
        self.done.take_some_from(jobs, room)
    }

    fn poll(&mut self, done: &mut JobBurst) -> usize {
        // A core that has nothing to submit must let the keys of closed sessions go all the same.
        self.sessions.refresh();
        done.take_from(&mut self.done)
    }

    fn offline(&mut self) {
        self.sessions.offline();
    }
}

/// Asks for the next packet's bytes, and for the header of the one behind it.
#[inline]
fn fetch_ahead(next: &[Job]) {
    if let Some(next) = next.first() {
        prefetch_bytes(next.source().data());
    }
    if let Some(second) = next.get(1) {
        second.source().prefetch_header();
    }
}

/// In place for a packet of one segment; through the scratch buffer otherwise.
fn run(chain: &Chain, job: &mut Job, scratch: &mut [u8]) -> Status {
    let (source, destination, shape) = job.parts_mut();
    if destination.is_none() && !source.is_chained() {
        return chain.run(&shape, source.data_mut());
    }
    let Some(scratch) = scratch.get_mut(..source.packet_len()) else { return Status::BadRange };
    if !source.copy_out(0, scratch) {
        return Status::BadRange;
    }
    let status = chain.run(&shape, scratch);
    if status != Status::Done || write_result(source, destination, scratch) {
        status
    } else {
        Status::BadRange
    }
}

/// Puts the result where the job wants it; false when the destination is too short.
fn write_result(source: &mut Mbuf, destination: Option<&mut Mbuf>, result: &[u8]) -> bool {
    let Some(destination) = destination else { return source.copy_in(0, result) };
    let missing = result.len().saturating_sub(destination.packet_len());
    if destination.append(missing).is_none() {
        return false;
    }
    destination.truncate(result.len());
    destination.copy_in(0, result)
}
