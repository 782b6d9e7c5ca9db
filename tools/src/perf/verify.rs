//! Looks whether a driver computes what it should: against another implementation, against the original, against
//! packets with a bit flipped, and against published vectors.
//!
//! The reference is the software driver. Where that is the driver under test, it shares the code, so there the vectors
//! and the flipped bits count. Nothing is timed here.

use crypto_pmd::{Job, Operation, SessionId, Status};
use pipeline::Pool;

use crate::failure::Failure;

use super::device::{Built, Device, stuck};
use super::layout::{Covered, Layout};
use super::maker::{Maker, Order, pool_for};
use super::options::{Options, Size};
use super::plan::Case;
use super::rounds::Stuck;
use super::subject::Subject;
use super::vectors::{self, Vector};

/// Every packet equals the one that the software driver makes.
const AS_SOFTWARE: &str = "as software";
/// The software driver opens every packet and finds the original.
const OPENS: &str = "opened";
/// Every sealed packet is opened to the original.
const ORIGINAL: &str = "original";
/// Every packet with a bit flipped is refused and left as it is.
const TAMPERING: &str = "tampering";
/// Every algorithm gives its published vector.
const PUBLISHED: &str = "vector";

/// Payload bytes over all packets from which on chance does not leave them as they were.
const SURELY_CHANGED: usize = 16;

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Operations of the driver under test.
    pub(super) operations: u64,
    /// What was looked at and found right.
    pub(super) checks: Vec<&'static str>,
    /// What is wrong.
    pub(super) failure: Option<String>,
}

impl Verdict {
    /// Of several cores: what all looked at, and the first thing that is wrong. `None` without any.
    pub(super) fn of_all(verdicts: impl IntoIterator<Item = Self>) -> Option<Self> {
        verdicts.into_iter().reduce(|all, one| Self {
            operations: all.operations + one.operations,
            checks: all.checks.into_iter().filter(|check| one.checks.contains(check)).collect(),
            failure: all.failure.or(one.failure),
        })
    }
}

/// Verifies a row: every packet of the pool once, and what else there is to look at.
///
/// # Errors
/// What cannot be set up; a wrong result is a verdict.
pub(super) fn verify(case: &Case, options: &Options) -> Result<Verdict, Failure> {
    let device = case.driver.device()?;
    let itself = matches!(case.driver, Built::Software);
    let count = options.pool as usize / case.burst * case.burst;
    let scope = Scope { size: case.size, burst: case.burst, sessions: options.sessions as usize, count };
    verdict(&case.subject, case.operation.direction(), &scope, device, itself)
}

/// How much is verified.
#[derive(Clone, Copy, Debug)]
struct Scope {
    size: Size,
    burst: usize,
    sessions: usize,
    count: usize,
}

fn verdict(
    subject: &Subject,
    direction: Operation,
    scope: &Scope,
    device: Device,
    itself: bool,
) -> Result<Verdict, Failure> {
    let mut verifier = Verifier::new(subject, scope, device, itself)?;
    let looked = match direction {
        Operation::Encrypt => verifier.seals(),
        Operation::Decrypt => verifier.opens().and_then(|()| verifier.catches_tampering()),
    };
    let looked = looked.and_then(|()| verifier.gives_published(direction));
    verifier.verdict.failure = looked.err();
    Ok(verifier.verdict)
}

/// A side: a driver with the sessions on it.
#[derive(Debug)]
struct Side {
    device: Device,
    sessions: Vec<SessionId>,
}

struct Verifier<'a> {
    layout: Layout,
    subject: &'a Subject,
    scope: &'a Scope,
    orders: Vec<Order>,
    tested: Side,
    reference: Side,
    /// Whether both sides are one driver.
    itself: bool,
    pool: Pool,
    random: fastrand::Rng,
    verdict: Verdict,
}

impl<'a> Verifier<'a> {
    fn new(subject: &'a Subject, scope: &'a Scope, device: Device, itself: bool) -> Result<Self, Failure> {
        let mut maker = Maker::new(subject, scope.size, scope.sessions)?;
        let reference = Built::Software.device()?;
        let (mut tested, mut referred) = (Vec::new(), Vec::new());
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..scope.sessions {
            let params = subject.params(&mut random);
            referred.push(reference.open(params.clone()).map_err(Failure::usage)?);
            tested.push(device.open(params).map_err(Failure::machine)?);
        }
        // A vector is no longer than the longest packet of this pool.
        let pool = pool_for(subject, scope.size, scope.count)?;
        device.map_memory(&pool);
        Ok(Self {
            layout: subject.layout(),
            subject,
            scope,
            orders: maker.orders(scope.count),
            tested: Side { device, sessions: tested },
            reference: Side { device: reference, sessions: referred },
            itself,
            pool,
            random,
            verdict: Verdict::default(),
        })
    }

    /// The driver encrypts, or makes tags.
    fn seals(&mut self) -> Result<(), String> {
        let plain = self.plain();
        let sealed = self.test(Operation::Encrypt, &plain)?;
        self.looks_sealed(&plain, &sealed)?;
        if !self.itself {
            let expected = self.refer(Operation::Encrypt, &plain)?;
            for (number, (sealed, expected)) in sealed.iter().zip(&expected).enumerate() {
                same(number, sealed, expected, "the software driver's")?;
            }
            self.verdict.checks.push(AS_SOFTWARE);
        }
        let opened = self.refer(Operation::Decrypt, &sealed)?;
        self.is_original(&opened, &plain)?;
        self.verdict.checks.push(OPENS);
        Ok(())
    }

    /// The driver decrypts, or checks tags.
    fn opens(&mut self) -> Result<(), String> {
        let plain = self.plain();
        let sealed = self.refer(Operation::Encrypt, &plain)?;
        let opened = self.test(Operation::Decrypt, &sealed)?;
        self.is_original(&opened, &plain)?;
        self.verdict.checks.push(ORIGINAL);
        Ok(())
    }

    /// One bit of each packet is flipped, from the first of the header to the last of the tag.
    fn catches_tampering(&mut self) -> Result<(), String> {
        if self.layout.covered == Covered::Nothing {
            return Ok(());
        }
        let plain = self.plain();
        let mut sealed = self.refer(Operation::Encrypt, &plain)?;
        let last = sealed.len().saturating_sub(1);
        for (number, packet) in sealed.iter_mut().enumerate() {
            let bits = packet.len() * 8;
            let bit = if number == last { bits - 1 } else { self.random.usize(..bits) };
            flip(packet, if number == 0 && last > 0 { 0 } else { bit });
        }
        let jobs = self.jobs(&self.tested.sessions, Operation::Decrypt, &sealed)?;
        let done = self.process_tested(jobs)?;
        for (number, (job, packet)) in done.into_iter().zip(&sealed).enumerate() {
            if job.status() != Status::IntegrityFailed {
                return Err(format!("packet {number} has a bit flipped and came back as {:?}", job.status()));
            }
            same(number, job.into_packet().data(), packet, "the refused one's, which must stay")?;
        }
        self.verdict.checks.push(TAMPERING);
        Ok(())
    }

    fn gives_published(&mut self, direction: Operation) -> Result<(), String> {
        let params = self.subject.params(&mut self.random);
        let vectors = vectors::of(&params);
        let wanted = vectors.len();
        let mut given = 0;
        for vector in vectors {
            given += usize::from(self.gives(&vector, direction)?);
        }
        if given > 0 && given == wanted && wanted == params.transforms.len() {
            self.verdict.checks.push(PUBLISHED);
        }
        Ok(())
    }

    /// False where the driver does not do this algorithm alone.
    fn gives(&mut self, vector: &Vector, direction: Operation) -> Result<bool, String> {
        let Ok(session) = self.tested.device.open(vector.params.clone()) else { return Ok(false) };
        let (from, to) = match direction {
            Operation::Encrypt => (&vector.plain, &vector.sealed),
            Operation::Decrypt => (&vector.sealed, &vector.plain),
        };
        let packet = self.pool.alloc_copy(from).ok_or_else(no_room)?;
        let done = self.process_tested(vec![vector.layout.job(packet, session, direction)])?;
        let wrong = |what: String| format!("vector {}: {what}", vector.source);
        for job in done {
            if job.status() != Status::Done {
                return Err(wrong(format!("came back as {:?}", job.status())));
            }
            let packet = job.into_packet();
            let (made, expected) = match direction {
                Operation::Encrypt => (packet.data(), to.as_slice()),
                Operation::Decrypt => {
                    (vector.layout.without_tag(packet.data()), vector.layout.without_tag(to))
                }
            };
            same(0, made, expected, "the published").map_err(wrong)?;
        }
        Ok(true)
    }

    /// Fresh packets for all orders.
    fn plain(&mut self) -> Vec<Vec<u8>> {
        let (layout, random) = (self.layout, &mut self.random);
        self.orders.iter().map(|order| layout.plain(order.size, random)).collect()
    }

    /// Header and IV stay; a payload that is to be encrypted does not.
    fn looks_sealed(&self, plain: &[Vec<u8>], sealed: &[Vec<u8>]) -> Result<(), String> {
        let front = self.layout.front_len();
        let mut unchanged = 0;
        for (number, (sealed, plain)) in sealed.iter().zip(plain).enumerate() {
            let parts = |packet: &'_ [u8]| self.layout.without_tag(packet).len().min(front);
            same(
                number,
                sealed.get(..parts(sealed)).unwrap_or_default(),
                plain.get(..parts(plain)).unwrap_or_default(),
                "the header's and IV's, which must stay",
            )?;
            if self.layout.without_tag(sealed) == self.layout.without_tag(plain) {
                unchanged += self.layout.without_tag(plain).len() - front;
            }
        }
        if self.layout.enciphers && unchanged >= SURELY_CHANGED {
            return Err(format!("{unchanged} bytes of payload are not encrypted"));
        }
        Ok(())
    }

    fn is_original(&self, opened: &[Vec<u8>], plain: &[Vec<u8>]) -> Result<(), String> {
        for (number, (opened, plain)) in opened.iter().zip(plain).enumerate() {
            let (opened, plain) = (self.layout.without_tag(opened), self.layout.without_tag(plain));
            same(number, opened, plain, "the original's")?;
        }
        Ok(())
    }

    /// The packets after the driver under test had them.
    fn test(&mut self, direction: Operation, packets: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, String> {
        let jobs = self.jobs(&self.tested.sessions, direction, packets)?;
        let done = self.process_tested(jobs)?;
        finished(done, packets.len(), "")
    }

    /// The packets after the reference had them.
    fn refer(&mut self, direction: Operation, packets: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, String> {
        let jobs = self.jobs(&self.reference.sessions, direction, packets)?;
        let done = self.reference.device.process(jobs, self.scope.burst);
        finished(
            done.map_err(|Stuck| stuck(Built::Software.name()).to_string())?,
            packets.len(),
            "in the software driver, ",
        )
    }

    fn process_tested(&mut self, jobs: Vec<Job>) -> Result<Vec<Job>, String> {
        self.verdict.operations += jobs.len() as u64;
        let done = self.tested.device.process(jobs, self.scope.burst);
        done.map_err(|Stuck| "it takes and finishes no job any more".to_owned())
    }

    fn jobs(
        &self,
        sessions: &[SessionId],
        direction: Operation,
        packets: &[Vec<u8>],
    ) -> Result<Vec<Job>, String> {
        let job = |(number, (order, bytes)): (usize, (&Order, &Vec<u8>))| {
            let packet = self.pool.alloc_copy(bytes).ok_or_else(no_room)?;
            let session = *sessions.get(order.session).ok_or_else(no_room)?;
            Ok(self.layout.job(packet, session, direction).with_cookie(number as u64))
        };
        self.orders.iter().zip(packets).enumerate().map(job).collect()
    }
}

fn no_room() -> String {
    "no buffer is left to verify in".to_owned()
}

fn flip(packet: &mut [u8], bit: usize) {
    if let Some(byte) = packet.get_mut(bit / 8) {
        *byte ^= 0x80 >> (bit % 8);
    }
}

/// The packets of jobs that must all be there and done.
fn finished(done: Vec<Job>, expected: usize, whose: &str) -> Result<Vec<Vec<u8>>, String> {
    if done.len() != expected {
        return Err(format!("{whose}{} packets of {expected} came back", done.len()));
    }
    let packet = |(number, job): (usize, Job)| match job.status() {
        Status::Done if job.cookie() == number as u64 => Ok(job.into_packet().data().to_vec()),
        Status::Done => Err(format!("{whose}packet {number} came back as packet {}", job.cookie())),
        status => Err(format!("{whose}packet {number} came back as {status:?}")),
    };
    done.into_iter().enumerate().map(packet).collect()
}

/// Two packets must be equal.
fn same(number: usize, made: &[u8], expected: &[u8], whose: &str) -> Result<(), String> {
    if made.len() != expected.len() {
        return Err(format!("packet {number} has {} bytes; {whose} has {}", made.len(), expected.len()));
    }
    match made.iter().zip(expected).position(|(made, expected)| made != expected) {
        Some(at) => {
            Err(format!("byte {at} of packet {number}, of {} bytes, differs from {whose}", made.len()))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
