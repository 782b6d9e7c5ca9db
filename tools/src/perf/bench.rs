//! A row made ready: sessions open on the driver, packets in memory with their jobs, and what the clock is read around.
//!
//! Decryption spoils its input, so each packet has an image that is copied back before every round. Packets of one
//! session and size share an image.

use std::collections::HashMap;

use crypto_pmd::job::JobBurst;
use crypto_pmd::{Job, Operation, SessionId, Status};
use pipeline::{Clock, Mbuf};

use crate::failure::Failure;

use super::device::{Device, stuck};
use super::maker::{Maker, Order, no_buffer, pool_for};
use super::options::Options;
use super::plan::{self, Case};
use super::rounds::{Empty, Rack, Stuck, Unobserved};
use super::stopwatch::Stopwatch;

/// A row's driver, packets and clock.
#[derive(Debug)]
pub struct Bench {
    device: Device,
    rack: Rack,
    clock: Clock,
    direction: Operation,
    driver: &'static str,
    images: Vec<Vec<u8>>,
    /// Which image a packet has, by its job's cookie.
    image_of: Vec<usize>,
    spoils: bool,
    jobs: u64,
    bytes: u64,
}

impl Bench {
    /// The first row that the options ask for.
    ///
    /// # Errors
    /// Options that do not go, or a machine without the memory.
    pub fn first_of(options: &Options) -> Result<Self, Failure> {
        options.check()?;
        let nothing = || Failure::usage("nothing to run");
        let case = plan::cases(options)?.into_iter().next().ok_or_else(nothing)?;
        Self::new(&case, options, &Clock::new(), case.driver.device()?)
    }

    pub(super) fn new(
        case: &Case,
        options: &Options,
        clock: &Clock,
        device: Device,
    ) -> Result<Self, Failure> {
        let mut maker = Maker::new(&case.subject, case.size, options.sessions as usize)?;
        let sessions = maker.open(&device, case.operation.direction())?;
        let count = options.pool as usize / case.burst * case.burst;
        let orders = maker.orders(count);
        let mut bench = Self {
            device,
            rack: Rack::new(Vec::new(), case.burst),
            clock: clock.clone(),
            direction: case.operation.direction(),
            driver: case.driver.name(),
            images: Vec::new(),
            image_of: Vec::new(),
            spoils: case.subject.spoils(case.operation.direction()),
            jobs: orders.len() as u64,
            bytes: orders.iter().map(|order| order.size as u64).sum(),
        };
        bench.make_images(&mut maker, &orders)?;
        bench.make_rack(case, &sessions, &orders)?;
        Ok(bench)
    }

    /// An image for each session and size; for each packet the number of its own.
    fn make_images(&mut self, maker: &mut Maker<'_>, orders: &[Order]) -> Result<(), Failure> {
        let mut known: HashMap<(usize, usize), usize> = HashMap::new();
        for order in orders {
            let next = self.images.len();
            let number = *known.entry((order.session, order.size)).or_insert(next);
            if number == next {
                self.images.push(maker.image(order)?);
            }
            self.image_of.push(number);
        }
        Ok(())
    }

    fn image_of(&self, cookie: u64) -> &[u8] {
        image(&self.images, &self.image_of, cookie)
    }

    fn make_rack(&mut self, case: &Case, sessions: &[SessionId], orders: &[Order]) -> Result<(), Failure> {
        let layout = case.subject.layout();
        let pool = pool_for(&case.subject, case.size, orders.len())?;
        self.device.map_memory(&pool);
        let mut bursts = Vec::with_capacity(orders.len() / case.burst);
        let mut cookies = 0..;
        for orders in orders.chunks(case.burst) {
            let mut burst = JobBurst::new();
            for (order, cookie) in orders.iter().zip(cookies.by_ref()) {
                let packet = pool.alloc_copy(self.image_of(cookie)).filter(|packet| !packet.is_chained());
                let packet: Mbuf = packet.ok_or_else(no_buffer)?;
                let session = *sessions.get(order.session).ok_or_else(|| Failure::usage("no session"))?;
                burst.push_with(|| layout.job(packet, session, self.direction).with_cookie(cookie));
            }
            bursts.push(burst);
        }
        self.rack = Rack::new(bursts, case.burst);
        Ok(())
    }

    /// Jobs of one round.
    #[must_use]
    pub fn jobs(&self) -> u64 {
        self.jobs
    }

    /// Bytes of payload of one round.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether packets must be put back before every round.
    #[must_use]
    pub fn spoils(&self) -> bool {
        self.spoils
    }

    /// Puts every packet back that a round spoils, and marks all jobs as not done.
    pub fn arm(&mut self) {
        for job in self.rack.bursts_mut().iter_mut().flat_map(|burst| burst.iter_mut()) {
            job.set_status(Status::Pending);
            if !self.spoils {
                continue;
            }
            let image = image(&self.images, &self.image_of, job.cookie());
            let (packet, ..) = job.parts_mut();
            if let Some(bytes) = packet.data_mut().get_mut(..image.len()) {
                bytes.copy_from_slice(image);
            }
        }
    }

    /// Does every job so many times, one round after the other; ticks of the clock. This is what is timed.
    ///
    /// # Errors
    /// The driver lost jobs.
    #[inline(never)]
    pub fn rounds(&mut self, count: u64) -> Result<u64, Failure> {
        let start = self.clock.tick();
        for _ in 0..count {
            self.rack
                .round(&mut self.device.dispatcher, &mut Unobserved)
                .map_err(|Stuck| stuck(self.driver))?;
        }
        Ok(self.clock.tick().saturating_sub(start))
    }

    /// Does every job so many times, and has each one's time taken.
    ///
    /// # Errors
    /// The driver lost jobs.
    #[inline(never)]
    pub(super) fn watched_rounds(&mut self, count: u64, watch: &mut Stopwatch) -> Result<(), Failure> {
        for _ in 0..count {
            self.rack.round(&mut self.device.dispatcher, watch).map_err(|Stuck| stuck(self.driver))?;
        }
        Ok(())
    }

    /// The same without submit and poll.
    ///
    /// # Errors
    /// None that is known of.
    #[inline(never)]
    pub fn empty_rounds(&mut self, count: u64) -> Result<u64, Failure> {
        let start = self.clock.tick();
        for _ in 0..count {
            self.rack.round(&mut Empty, &mut Unobserved).map_err(|Stuck| stuck(self.driver))?;
        }
        Ok(self.clock.tick().saturating_sub(start))
    }

    /// Looks whether every job was done.
    ///
    /// # Errors
    /// The first that was not.
    pub fn check(&mut self) -> Result<(), Failure> {
        let jobs = self.rack.bursts_mut().iter().flat_map(|burst| burst.iter());
        match jobs.map(Job::status).find(|&status| status != Status::Done) {
            None => Ok(()),
            Some(status) => {
                let driver = self.driver;
                Err(Failure::bad_result(format_args!(
                    "driver {driver}: a job came back as {status:?}, not done"
                )))
            }
        }
    }
}

fn image<'a>(images: &'a [Vec<u8>], image_of: &[usize], cookie: u64) -> &'a [u8] {
    let number = image_of.get(cookie as usize);
    number.and_then(|&number| images.get(number)).map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    fn bench(arguments: &[&str]) -> Bench {
        let mut all = vec!["crypto-perf"];
        all.extend(arguments);
        for (option, value) in [("--pool", "24"), ("--burst", "8"), ("--size", "64")] {
            if !arguments.contains(&option) {
                all.extend([option, value]);
            }
        }
        Bench::first_of(&Options::parse_from(all)).unwrap()
    }

    #[test]
    fn rounds_can_be_repeated_both_ways_with_every_driver() {
        for driver in ["null", "software"] {
            for operation in ["encrypt", "decrypt"] {
                for sessions in ["1", "24"] {
                    let arguments = ["--driver", driver, "--operation", operation, "--sessions", sessions];
                    let mut bench = bench(&arguments);
                    for _ in 0..3 {
                        bench.arm();
                        bench.rounds(1).unwrap();
                        bench.check().unwrap();
                    }
                    assert_eq!((bench.jobs(), bench.bytes()), (24, 24 * 64));
                }
            }
        }
    }

    #[test]
    fn what_was_decrypted_cannot_be_decrypted_again_until_it_is_put_back() {
        let mut bench = bench(&["--operation", "decrypt"]);
        assert!(bench.spoils());
        bench.rounds(1).unwrap();
        bench.check().unwrap();
        bench.rounds(1).unwrap();
        assert!(bench.check().unwrap_err().to_string().contains("IntegrityFailed"));
        bench.arm();
        bench.rounds(1).unwrap();
        bench.check().unwrap();
    }

    #[test]
    fn jobs_that_did_not_go_through_are_not_done() {
        let mut bench = bench(&[]);
        bench.rounds(1).unwrap();
        bench.arm();
        bench.empty_rounds(3).unwrap();
        let error = bench.check().unwrap_err();
        assert!(error.to_string().contains("Pending"), "{error}");
        assert_eq!(error.code, crate::failure::BAD_RESULT);
    }

    #[test]
    fn only_whole_bursts_of_the_pool_are_used() {
        assert_eq!(bench(&["--pool", "31", "--burst", "8"]).jobs(), 24);
        assert_eq!(
            bench(&["--size", "imix", "--algorithm", "sha1-hmac"]).bytes(),
            2 * (7 * 40 + 4 * 576 + 1500)
        );
    }
}
