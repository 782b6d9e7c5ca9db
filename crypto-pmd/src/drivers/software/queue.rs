//! The software driver's queue pair: works when jobs are submitted, hands them back when polled.

use std::fmt;

use pipeline::MAX_BURST;
use pipeline::memory::prefetch_bytes;

use crate::algorithm::Algorithm;
use crate::device::{QueuePair, QueuePairConfig};
use crate::drivers::sessions::View;
use crate::extension::Extension;
use crate::job::{Job, JobBurst, Operation, Shape, Status};

use super::chain::Chain;
use super::compression::Codec;
use super::delivery::{deliver, deliver_any};
use super::random::Random;
use super::{steps, straight};

/// Longest packet in bytes that is not worked on in place: the longest of IP with a kibibyte for what stands in front and
/// behind. One in place is a segment, which is shorter.
pub(in crate::drivers) const LONGEST: usize = (64 << 10) + 1024;
/// Longest result of compression; data that cannot be compressed grow a little.
const LONGEST_RESULT: usize = LONGEST + 1024;

/// Done jobs wait in the order of submission. A burst of them is the most that waits, since nothing is ever under way. Sessions are those of any
/// driver that keeps a chain in each.
#[derive(Debug)]
pub(in crate::drivers) struct Queue<S = Chain> {
    sessions: View<S>,
    done: JobBurst,
    depth: usize,
    far: bool,
    bench: Bench,
}

/// What jobs are worked on with that are not done in place.
pub(in crate::drivers) struct Bench {
    scratch: Vec<u8>,
    result: Vec<u8>,
    codec: Codec,
    random: Random,
}

impl<S> Queue<S> {
    pub(in crate::drivers) fn new(sessions: View<S>, config: &QueuePairConfig) -> Self {
        Self {
            sessions,
            done: JobBurst::new(),
            depth: config.depth.clamp(1, MAX_BURST),
            far: config.far,
            bench: Bench::new(),
        }
    }
}

impl Bench {
    pub(in crate::drivers) fn new() -> Self {
        Self {
            scratch: vec![0; LONGEST],
            result: vec![0; LONGEST_RESULT],
            codec: Codec::new(),
            random: Random::new(),
        }
    }
}

impl<S: AsRef<Chain>> Queue<S> {
    /// Asks for the keys of the job after the next, unless they are those of the job before it.
    #[inline(always)]
    fn fetch_keys(&self, jobs: &[Job]) {
        if let [_, next, second, ..] = jobs
            && second.session() != next.session()
            && let Some(session) = self.sessions.find(second.session())
        {
            session.as_ref().prefetch();
        }
    }
}

impl fmt::Debug for Bench {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What lies on it may be secret.
        f.write_str("Bench")
    }
}

impl<S: AsRef<Chain> + fmt::Debug + Send + Sync> QueuePair for Queue<S> {
    fn submit(&mut self, jobs: &mut JobBurst) -> usize {
        self.sessions.refresh();
        let room = self.depth - self.done.len();
        self.sessions.fetch(jobs.iter().map(Job::session));
        for index in 0..room.min(jobs.len()) {
            self.fetch_keys(jobs.as_slice().get(index..).unwrap_or_default());
            if self.far {
                fetch_ahead(jobs.as_slice().get(index + 1..).unwrap_or_default());
            }
            let Some(job) = jobs.as_mut_slice().get_mut(index) else { break };
            let status = match self.sessions.find(job.session()) {
                Some(session) => run(session.as_ref(), job, &mut self.bench),
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

/// In place for a packet of one segment, where nothing is out of the ordinary.
pub(in crate::drivers) fn run(chain: &Chain, job: &mut Job, bench: &mut Bench) -> Status {
    let (source, destination, shape) = job.parts_mut();
    let ordinary = shape.extension.is_none_or(|rare| rare.all_steps().is_empty() && rare.pieces().is_empty());
    if ordinary
        && destination.is_none()
        && !source.is_chained()
        && let Some(status) = straight::run(chain, &shape, source.data_mut())
    {
        return status;
    }
    run_on_copy(chain, job, bench)
}

/// Over a copy, from where the result goes on when the job is done. Apart, so that it does not crowd what is done in place.
#[inline(never)]
fn run_on_copy(chain: &Chain, job: &mut Job, bench: &mut Bench) -> Status {
    let Some(scratch) = bench.scratch.get_mut(..job.input_len()) else { return Status::TooLong };
    let (source, _, shape) = job.parts_mut();
    match shape.extension.filter(|extension| !extension.pieces().is_empty()) {
        Some(extension) => extension.gather(scratch),
        None if source.copy_out(0, scratch) => {}
        None => return Status::BadRange,
    }
    if let Chain::Compression(algorithm) = chain {
        let what = compression_of(&shape, (*algorithm).into());
        let result = what.and_then(|what| replace(what, scratch, &mut bench.codec, &mut bench.result));
        return match result {
            Ok(len) => deliver_any(job, bench.result.get(..len).unwrap_or_default()),
            Err(status) => status,
        };
    }
    match transform(chain, &shape, scratch, &mut bench.random) {
        Status::Done => deliver(job, scratch),
        failed => failed,
    }
}

fn transform(chain: &Chain, shape: &Shape<'_>, packet: &mut [u8], random: &mut Random) -> Status {
    match with_steps(shape) {
        Some(extension) => steps::run(chain, shape, extension, packet, random),
        None => straight::run(chain, shape, packet).unwrap_or(Status::BadSteps),
    }
}

/// The extension, where it has steps, even if none of them is shown.
fn with_steps<'a>(shape: &Shape<'a>) -> Option<&'a Extension> {
    shape.extension.filter(|extension| !extension.all_steps().is_empty())
}

/// Which way, and which bytes.
type Replaced = (Operation, (usize, usize));

/// What is to be compressed or decompressed: as a step says, or the cipher range.
fn compression_of(shape: &Shape<'_>, algorithm: Algorithm) -> Result<Replaced, Status> {
    let Some(extension) = with_steps(shape) else { return Ok((shape.operation, shape.cipher)) };
    match extension.steps() {
        [step] if step.algorithm != algorithm => Err(Status::WrongAlgorithm),
        [_] if extension.step_key(0).is_some() => Err(Status::BadKey),
        [step] => Ok((step.operation, (step.offset as usize, step.len as usize))),
        _ => Err(Status::BadSteps),
    }
}

/// Copies a packet into `result`, with the codec's product in place of a range; its length.
fn replace(
    (operation, (offset, len)): Replaced,
    packet: &[u8],
    codec: &mut Codec,
    result: &mut [u8],
) -> Result<usize, Status> {
    let (front, rest) = packet.split_at_checked(offset).ok_or(Status::BadRange)?;
    let (from, back) = rest.split_at_checked(len).ok_or(Status::BadRange)?;
    let room = result.len().checked_sub(packet.len() - len).ok_or(Status::TooLong)?;
    let (head, tail) = result.split_at_mut(front.len());
    head.copy_from_slice(front);
    let made = codec.run(operation, from, tail.get_mut(..room).unwrap_or_default())?;
    tail.get_mut(made..made + back.len()).ok_or(Status::TooLong)?.copy_from_slice(back);
    Ok(front.len() + made + back.len())
}
