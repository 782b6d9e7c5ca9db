//! The comparison must be able to fail: drivers that make one mistake each.

use super::*;
use crate::perf::catalogue::Catalogue;
use crypto_pmd::device::{Driver, OpenError, QueuePair, QueuePairConfig};
use crypto_pmd::drivers::{Null, Software};
use crypto_pmd::job::JobBurst;
use crypto_pmd::{Capabilities, SessionParams};
use ipsec_esp::suite::Suite;

/// What a driver gets wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mistake {
    Nothing,
    /// Flips a bit of each packet that is done: the first of the header, of the payload, or the last of the packet.
    Flips(Place),
    /// Takes a bad tag for a good one.
    TrustsTags,
    /// Refuses a bad tag but leaves the packet changed.
    SpoilsRefused,
    /// Says that one job of a burst was not done.
    GivesUpOne,
    /// Computes right and says so, but exchanges the packets of two jobs.
    Exchanges,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Front,
    Payload,
    End,
}

/// The software driver with a mistake.
#[derive(Debug)]
struct Faulty {
    software: Software,
    mistake: Mistake,
}

#[derive(Debug)]
struct FaultyQueue {
    queue: Box<dyn QueuePair>,
    mistake: Mistake,
}

impl Driver for Faulty {
    fn name(&self) -> &str {
        "faulty0"
    }
    fn capabilities(&self) -> &Capabilities {
        self.software.capabilities()
    }
    fn open_session(&self, id: SessionId, params: &SessionParams) -> Result<(), OpenError> {
        self.software.open_session(id, params)
    }
    fn close_session(&self, id: SessionId) {
        self.software.close_session(id);
    }
    fn queue_pair(&self, config: &QueuePairConfig) -> Box<dyn QueuePair> {
        Box::new(FaultyQueue { queue: self.software.queue_pair(config), mistake: self.mistake })
    }
}

impl QueuePair for FaultyQueue {
    fn submit(&mut self, jobs: &mut JobBurst) -> usize {
        self.queue.submit(jobs)
    }
    fn poll(&mut self, done: &mut JobBurst) -> usize {
        let count = self.queue.poll(done);
        match self.mistake {
            Mistake::Nothing => {}
            Mistake::Flips(place) => {
                for job in done.iter_mut().filter(|job| job.status() == Status::Done) {
                    flip_at(job, place);
                }
            }
            Mistake::TrustsTags => done.iter_mut().for_each(|job| job.set_status(Status::Done)),
            Mistake::SpoilsRefused => {
                for job in done.iter_mut().filter(|job| job.status() == Status::IntegrityFailed) {
                    flip_at(job, Place::Payload);
                }
            }
            Mistake::GivesUpOne => {
                if let Some(job) = done.as_mut_slice().last_mut() {
                    job.set_status(Status::Retry);
                }
            }
            Mistake::Exchanges => {
                if let [one, two, ..] = done.as_mut_slice() {
                    std::mem::swap(one.parts_mut().0, two.parts_mut().0);
                }
            }
        }
        count
    }
}

fn flip_at(job: &mut Job, place: Place) {
    let payload = job.cipher_range().0;
    let packet = job.parts_mut().0.data_mut();
    let byte = match place {
        Place::Front => packet.first_mut(),
        Place::Payload => packet.get_mut(payload),
        Place::End => packet.last_mut(),
    };
    *byte.unwrap() ^= 1;
}

const SCOPE: Scope = Scope { size: Size::Fixed(64), burst: 8, sessions: 3, count: 24 };

fn verdict_on(subject: &Subject, direction: Operation, mistake: Mistake) -> Verdict {
    let device = Device::over(Faulty { software: Software::new(), mistake }).unwrap();
    verdict(subject, direction, &SCOPE, device, false).unwrap()
}

fn subjects() -> Vec<Subject> {
    let suites = Suite::ALL.iter().map(|suite| Subject::of_suite(*suite));
    let catalogue = Catalogue::of([&Built::Software.capabilities()]);
    suites.chain(catalogue.all().iter().cloned()).collect()
}

/// Whether a wrong packet is refused.
fn checks_tags(subject: &Subject) -> bool {
    subject.layout().covered != Covered::Nothing
}

/// Whether the algorithm changes packets at all.
fn computes(subject: &Subject) -> bool {
    checks_tags(subject) || subject.layout().enciphers
}

const BOTH: [Operation; 2] = [Operation::Encrypt, Operation::Decrypt];

#[test]
fn a_driver_without_a_mistake_passes_with_every_suite_and_algorithm() {
    for subject in subjects() {
        for direction in BOTH {
            let verdict = verdict_on(&subject, direction, Mistake::Nothing);
            assert_eq!(verdict.failure, None, "{} {direction:?}", subject.name);
            assert!(verdict.operations >= 24);
            assert_eq!(verdict.checks.contains(&AS_SOFTWARE), direction == Operation::Encrypt);
            let catches = direction == Operation::Decrypt && checks_tags(&subject);
            assert_eq!(verdict.checks.contains(&TAMPERING), catches, "{}", subject.name);
        }
    }
}

#[test]
fn one_bit_flipped_anywhere_fails_every_suite_and_algorithm() {
    for subject in subjects() {
        for direction in BOTH {
            for place in [Place::Front, Place::Payload, Place::End] {
                if place == Place::End && direction == Operation::Decrypt && subject.layout().tag_len > 0 {
                    // What became of the tag of a packet that was opened is nobody's business.
                    continue;
                }
                let verdict = verdict_on(&subject, direction, Mistake::Flips(place));
                assert!(verdict.failure.is_some(), "{} {direction:?} {place:?}", subject.name);
            }
        }
    }
}

#[test]
fn a_driver_that_trusts_tags_or_spoils_what_it_refuses_fails() {
    for subject in subjects().iter().filter(|subject| checks_tags(subject)) {
        let verdict = verdict_on(subject, Operation::Decrypt, Mistake::TrustsTags);
        assert!(
            verdict.failure.unwrap().contains("has a bit flipped and came back as Done"),
            "{}",
            subject.name
        );
        assert_eq!(verdict.checks, [ORIGINAL]);
        let verdict = verdict_on(subject, Operation::Decrypt, Mistake::SpoilsRefused);
        assert!(verdict.failure.unwrap().contains("must stay"), "{}", subject.name);
    }
}

#[test]
fn a_job_that_was_not_done_and_packets_in_wrong_jobs_fail() {
    for subject in subjects() {
        for direction in BOTH {
            let failure = verdict_on(&subject, direction, Mistake::GivesUpOne).failure.unwrap();
            assert!(failure.contains("came back as Retry"), "{failure}");
            assert!(
                verdict_on(&subject, direction, Mistake::Exchanges).failure.is_some(),
                "{}",
                subject.name
            );
        }
    }
}

#[test]
fn a_driver_that_computes_nothing_fails_also_where_it_is_its_own_reference() {
    for subject in subjects().into_iter().filter(computes) {
        for direction in BOTH {
            for itself in [false, true] {
                let device = Device::over(Null::new()).unwrap();
                let verdict = verdict(&subject, direction, &SCOPE, device, itself).unwrap();
                assert!(verdict.failure.is_some(), "{} {direction:?}", subject.name);
            }
        }
    }
}

#[test]
fn a_wrong_vector_fails() {
    let subject = Subject::of_suite(Suite::parse("aes128gcm16").unwrap());
    let device = Device::over(Software::new()).unwrap();
    let mut verifier = Verifier::new(&subject, &SCOPE, device, true).unwrap();
    let params = subject.params(&mut fastrand::Rng::with_seed(1));
    let good = vectors::of(&params).remove(0);
    for direction in BOTH {
        assert_eq!(verifier.gives(&good, direction), Ok(true));
        let mut bad = good.clone();
        let last = bad.sealed.len() * 8 - 1;
        flip(&mut bad.sealed, last);
        let wrong = verifier.gives(&bad, direction).unwrap_err();
        assert!(wrong.contains("vector GCM-spec-4"), "{wrong}");
    }
}
