//! ESP as one stage of a polling core: prepare, crypto, finish, with the dispatcher that lies between.
//!
//! Contract of a stage (see `pipeline::stage`): what cannot be taken stays in the input; nothing is lost for lack of
//! room. One burst in sixteen is measured step by step.

use crypto_pmd::Dispatcher;
use crypto_pmd::job::JobBurst;
use pipeline::stage::{Sampler, Stage, StageCost};
use pipeline::{Burst, Clock, Ledger};

use crate::inbound::Inbound;
use crate::outbound::Outbound;

/// One direction of ESP, as the stage needs it.
pub trait Half: Send {
    /// Names of the stage and its three steps.
    const NAMES: [&'static str; 4];
    /// Packets to jobs.
    fn prepare(&mut self, input: &mut Burst, jobs: &mut JobBurst, output: &mut Burst);
    /// Done jobs to packets.
    fn finish(&mut self, done: &mut JobBurst, output: &mut Burst);
    /// The books.
    fn account(&self, ledger: &mut Ledger);
}

impl Half for Outbound {
    const NAMES: [&'static str; 4] = ["esp_out", "esp_out_prepare", "esp_out_crypto", "esp_out_finish"];
    #[inline]
    fn prepare(&mut self, input: &mut Burst, jobs: &mut JobBurst, output: &mut Burst) {
        self.prepare(input, jobs, output);
    }
    #[inline]
    fn finish(&mut self, done: &mut JobBurst, output: &mut Burst) {
        self.finish(done, output);
    }
    fn account(&self, ledger: &mut Ledger) {
        self.account(ledger);
    }
}

impl Half for Inbound {
    const NAMES: [&'static str; 4] = ["esp_in", "esp_in_prepare", "esp_in_crypto", "esp_in_finish"];
    #[inline]
    fn prepare(&mut self, input: &mut Burst, jobs: &mut JobBurst, output: &mut Burst) {
        self.prepare(input, jobs, output);
    }
    #[inline]
    fn finish(&mut self, done: &mut JobBurst, output: &mut Burst) {
        self.finish(done, output);
    }
    fn account(&self, ledger: &mut Ledger) {
        self.account(ledger);
    }
}

/// The stage.
#[derive(Debug)]
pub struct EspStage<H> {
    half: H,
    dispatcher: Dispatcher,
    jobs: JobBurst,
    done: JobBurst,
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
            self.half.prepare(input, &mut self.jobs, output);
        }
        self.sampler.lap(sampled, 0, packets);
        if !self.jobs.is_empty() {
            self.dispatcher.submit(&mut self.jobs);
        }
        self.dispatcher.poll(&mut self.done);
        self.sampler.lap(sampled, 1, packets);
        self.half.finish(&mut self.done, output);
        self.sampler.lap(sampled, 2, packets);
    }

    fn held(&self) -> usize {
        self.jobs.len() + self.dispatcher.in_flight() + self.done.len()
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
