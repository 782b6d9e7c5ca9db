//! The software driver's queue pair: works when jobs are submitted, hands them back when polled.

use std::collections::VecDeque;

use pipeline::Mbuf;

use crate::device::QueuePair;
use crate::drivers::sessions::View;
use crate::job::{Job, JobBurst, Status};

use super::chain::Chain;

/// Longest chained packet: the longest of IP with a kibibyte for what stands in front and behind.
const SCRATCH: usize = (64 << 10) + 1024;

#[derive(Debug)]
pub(super) struct Queue {
    sessions: View<Chain>,
    done: VecDeque<Job>,
    depth: usize,
    scratch: Vec<u8>,
}

impl Queue {
    pub(super) fn new(sessions: View<Chain>, depth: usize) -> Self {
        Self { sessions, done: VecDeque::with_capacity(depth), depth, scratch: vec![0; SCRATCH] }
    }
}

impl QueuePair for Queue {
    fn submit(&mut self, jobs: &mut JobBurst) -> usize {
        self.sessions.refresh();
        let room = self.depth - self.done.len();
        let mut taken = 0;
        for mut job in jobs.drain_front(room) {
            let status = match self.sessions.find(job.session()) {
                Some(chain) => run(chain, &mut job, &mut self.scratch),
                None => Status::UnknownSession,
            };
            job.set_status(status);
            self.done.push_back(job);
            taken += 1;
        }
        taken
    }

    fn poll(&mut self, done: &mut JobBurst) -> usize {
        // A core that has nothing to submit must let the keys of closed sessions go all the same.
        self.sessions.refresh();
        let count = done.room().min(self.done.len());
        self.done.drain(..count).for_each(|job| drop(done.push(job)));
        count
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
