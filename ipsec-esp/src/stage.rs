//! ESP as one stage of a polling core: prepare, crypto, finish, with the dispatcher that lies between.
//!
//! Contract of a stage (see `pipeline::stage`): what cannot be taken stays in the input; nothing is lost for lack of
//! room. One burst in sixteen is measured step by step.

use crypto_pmd::Dispatcher;
use crypto_pmd::job::JobBurst;
use pipeline::stage::{Sampler, Stage, StageCost};
use pipeline::{Burst, Clock, Ledger, MAX_BURST};

use crate::counters::Passed;
use crate::inbound::Inbound;
use crate::outbound::Outbound;

/// One direction of ESP, as the stage needs it.
pub trait Half: Send {
    /// Names of the stage and its three steps.
    const NAMES: [&'static str; 4];
    /// Packets to jobs, and to packets that need none.
    fn prepare(&mut self, input: &mut Burst, jobs: &mut JobBurst, passed: &mut Burst<Passed>);
    /// The first `limit` done jobs to packets; how many jobs were taken.
    fn finish(&mut self, done: &mut JobBurst, output: &mut Burst, limit: usize) -> usize;
    /// The books.
    fn account(&self, ledger: &mut Ledger);
}

/// Both halves have these three as functions of their own.
macro_rules! half {
    ($half:ty, $names:expr) => {
        impl Half for $half {
            const NAMES: [&'static str; 4] = $names;
            #[inline]
            fn prepare(&mut self, input: &mut Burst, jobs: &mut JobBurst, passed: &mut Burst<Passed>) {
                self.prepare(input, jobs, passed);
            }
            #[inline]
            fn finish(&mut self, done: &mut JobBurst, output: &mut Burst, limit: usize) -> usize {
                self.finish(done, output, limit)
            }
            fn account(&self, ledger: &mut Ledger) {
                self.account(ledger);
            }
        }
    };
}
half!(Outbound, ["esp_out", "esp_out_prepare", "esp_out_crypto", "esp_out_finish"]);
half!(Inbound, ["esp_in", "esp_in_prepare", "esp_in_crypto", "esp_in_finish"]);

/// The stage.
#[derive(Debug)]
pub struct EspStage<H> {
    half: H,
    dispatcher: Dispatcher,
    jobs: JobBurst,
    done: JobBurst,
    passed: Burst<Passed>,
    /// Jobs made, and jobs finished, since the start.
    issued: u64,
    finished: u64,
    sampler: Sampler<3>,
}

impl<H: Half> EspStage<H> {
    /// ESP in the direction of `half`, with the drivers of `dispatcher`.
    pub fn new(half: H, dispatcher: Dispatcher, clock: Clock) -> Self {
        let [_, prepare, crypto, finish] = H::NAMES;
        Self {
            half,
            dispatcher,
            jobs: JobBurst::new(),
            done: JobBurst::new(),
            passed: Burst::new(),
            issued: 0,
            finished: 0,
            sampler: Sampler::new(clock, [prepare, crypto, finish]),
        }
    }

    /// The direction's state.
    pub fn half(&self) -> &H {
        &self.half
    }

    /// The direction's state, to be changed between bursts.
    pub fn half_mut(&mut self) -> &mut H {
        &mut self.half
    }

    #[inline]
    fn prepare(&mut self, input: &mut Burst) {
        let waiting = self.passed.len();
        self.half.prepare(input, &mut self.jobs, &mut self.passed);
        let issued = self.issued;
        self.passed.iter_mut().skip(waiting).for_each(|passed| passed.after += issued);
        self.issued += self.jobs.len() as u64;
    }

    /// Hands on what is ready. A packet that needs no job leaves after the jobs that were made before it, so packets
    /// leave in the order in which they came, as far as the driver keeps it.
    #[inline]
    fn finish(&mut self, output: &mut Burst) {
        loop {
            self.release(output);
            let next = self.passed.as_slice().first();
            let limit = next.map_or(MAX_BURST, |passed| (passed.after - self.finished) as usize);
            let taken = self.half.finish(&mut self.done, output, limit);
            self.finished += taken as u64;
            if taken == 0 || self.passed.is_empty() {
                return;
            }
        }
    }

    #[inline]
    fn release(&mut self, output: &mut Burst) {
        let finished = self.finished;
        let ready =
            self.passed.iter().take(output.room()).take_while(|passed| passed.after <= finished).count();
        output.extend(self.passed.drain_front(ready).map(|passed| passed.packet));
    }
}

impl<H: Half> Stage for EspStage<H> {
    fn name(&self) -> &'static str {
        let [name, ..] = H::NAMES;
        name
    }

    fn process(&mut self, input: &mut Burst, output: &mut Burst) {
        let sampled = self.sampler.begin();
        let packets = input.len();
        // Jobs of an earlier turn first, or later ones would overtake them.
        if self.jobs.is_empty() {
            self.prepare(input);
        }
        self.sampler.lap(sampled, 0, packets);
        if !self.jobs.is_empty() {
            self.dispatcher.submit(&mut self.jobs);
        }
        self.dispatcher.poll(&mut self.done);
        self.sampler.lap(sampled, 1, packets);
        self.finish(output);
        self.sampler.lap(sampled, 2, packets);
    }

    fn held(&self) -> usize {
        self.jobs.len() + self.dispatcher.in_flight() + self.done.len() + self.passed.len()
    }

    fn flush(&mut self) {
        self.dispatcher.flush();
    }

    fn account(&self, ledger: &mut Ledger) {
        self.half.account(ledger);
        ledger.held += self.held() as u64;
    }

    fn costs(&self, costs: &mut Vec<StageCost>) {
        costs.extend_from_slice(self.sampler.costs());
    }
}
