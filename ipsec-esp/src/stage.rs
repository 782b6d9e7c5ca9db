//! ESP as one stage of a polling core: prepare, crypto, finish. The crypto between is a dispatcher, or the owner of a
//! crew that spreads it over several cores; packets whose SA belongs to another core go there, and those of ours come from there.
//!
//! Contract of a stage (see `pipeline::stage`): what cannot be taken stays in the input; nothing is lost for lack of
//! room. One burst in sixteen is measured step by step.

use crypto_pmd::Dispatcher;
use crypto_pmd::crew::Crypto;
use crypto_pmd::job::JobBurst;
use pipeline::handoff::Peers;
use pipeline::latency::Latency;
use pipeline::stage::{Residence, Sampler, Stage, StageCost};
use pipeline::{Burst, Clock, Ledger, MAX_BURST, Tick};

use crate::counters::Passed;
use crate::inbound::{self, Inbound};
use crate::outbound::{self, Outbound};

/// One direction of ESP, as the stage needs it.
pub trait Half: Send {
    /// Names of the stage and its three steps.
    const NAMES: [&'static str; 4];
    /// Packets to jobs, and to packets that need none.
    fn prepare(
        &mut self,
        input: &mut Burst,
        jobs: &mut JobBurst,
        passed: &mut Burst<Passed>,
        peers: &mut Peers,
    );
    /// The first `limit` done jobs to packets; how many jobs were taken.
    fn finish(&mut self, done: &mut JobBurst, output: &mut Burst, limit: usize) -> usize;
    /// A burst boundary without packets.
    fn refresh(&mut self);
    /// The core goes to sleep or stops.
    fn offline(&mut self);
    /// The books.
    fn account(&self, ledger: &mut Ledger);
}

/// Both halves have these three as functions of their own.
macro_rules! half {
    ($half:ty, $names:expr) => {
        impl Half for $half {
            const NAMES: [&'static str; 4] = $names;
            #[inline]
            fn prepare(
                &mut self,
                input: &mut Burst,
                jobs: &mut JobBurst,
                passed: &mut Burst<Passed>,
                peers: &mut Peers,
            ) {
                self.prepare(input, jobs, passed, peers);
            }
            #[inline]
            fn finish(&mut self, done: &mut JobBurst, output: &mut Burst, limit: usize) -> usize {
                self.finish(done, output, limit)
            }
            #[inline]
            fn refresh(&mut self) {
                self.refresh();
            }
            fn offline(&mut self) {
                self.offline();
            }
            fn account(&self, ledger: &mut Ledger) {
                self.account(ledger);
            }
        }
    };
}
half!(Outbound, [outbound::NAME, "esp_out_prepare", "esp_out_crypto", "esp_out_finish"]);
half!(Inbound, [inbound::NAME, "esp_in_prepare", "esp_in_crypto", "esp_in_finish"]);

/// The stage.
#[derive(Debug)]
pub struct EspStage<H, C = Dispatcher> {
    half: H,
    crypto: C,
    peers: Peers,
    /// For packets that another core handed over: they go nowhere else.
    nobody: Peers,
    arrived: Burst,
    jobs: JobBurst,
    done: JobBurst,
    passed: Burst<Passed>,
    /// Jobs made, and jobs that came back, since the start.
    issued: u64,
    returned: u64,
    sampler: Sampler<3>,
    residence: Residency,
}

/// How long the packets of sampled bursts stay: from when a burst is offered until its last job is back.
#[derive(Debug)]
struct Residency {
    clock: Clock,
    latency: Option<Latency>,
    /// The sampled burst that is inside: jobs made up to its end, when it came, its jobs. One at a time, or a
    /// long queue would have to be kept.
    inside: Option<(u64, Tick, u64)>,
    /// The next burst with jobs is to be followed.
    due: bool,
}

impl<H: Half, C: Crypto> EspStage<H, C> {
    /// ESP in the direction of `half`, with the crypto of `crypto`.
    pub fn new(half: H, crypto: C, clock: Clock) -> Self {
        Self::among(half, crypto, Peers::alone(), clock)
    }

    /// As [`EspStage::new`], on one of several cores that hand packets to each other.
    pub fn among(half: H, crypto: C, peers: Peers, clock: Clock) -> Self {
        let [_, prepare, crypt, finish] = H::NAMES;
        Self {
            half,
            crypto,
            nobody: peers.without_others(),
            peers,
            arrived: Burst::new(),
            jobs: JobBurst::new(),
            done: JobBurst::new(),
            passed: Burst::new(),
            issued: 0,
            returned: 0,
            // The bounds are constants that the histogram takes.
            residence: Residency {
                latency: Latency::new(clock.clone()).ok(),
                clock: clock.clone(),
                inside: None,
                due: false,
            },
            sampler: Sampler::new(clock, [prepare, crypt, finish]),
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

    /// What does the crypto.
    pub fn crypto(&self) -> &C {
        &self.crypto
    }

    #[inline]
    fn prepare(&mut self, input: &mut Burst) {
        let waiting = self.passed.len();
        if !self.peers.is_alone() {
            self.prepare_arrived();
        }
        self.half.prepare(input, &mut self.jobs, &mut self.passed, &mut self.peers);
        let issued = self.issued;
        self.passed.iter_mut().skip(waiting).for_each(|passed| passed.after += issued);
        self.issued += self.jobs.len() as u64;
        self.peers.push();
    }

    /// First what others handed over, so that nobody waits for this core while it waits for others.
    fn prepare_arrived(&mut self) {
        self.peers.arrived(&mut self.arrived);
        self.half.prepare(&mut self.arrived, &mut self.jobs, &mut self.passed, &mut self.nobody);
    }

    /// Jobs that nobody waits for any more: they came back, or were given up.
    #[inline(always)]
    fn finished(&self) -> u64 {
        self.returned + self.crypto.missing()
    }

    /// Hands on what is ready. A packet that needs no job leaves after the jobs that were made before it, so packets
    /// leave in the order in which they came, as far as the driver keeps it.
    #[inline]
    fn finish(&mut self, output: &mut Burst) {
        loop {
            self.release(output);
            let next = self.passed.as_slice().first();
            let limit =
                next.map_or(MAX_BURST, |passed| passed.after.saturating_sub(self.finished()) as usize);
            let taken = self.half.finish(&mut self.done, output, limit);
            self.returned += taken as u64;
            if taken == 0 || self.passed.is_empty() {
                return;
            }
        }
    }

    #[inline]
    fn release(&mut self, output: &mut Burst) {
        if self.passed.is_empty() {
            return;
        }
        let finished = self.finished();
        let ready =
            self.passed.iter().take(output.room()).take_while(|passed| passed.after <= finished).count();
        output.extend(self.passed.drain_front(ready).map(|passed| passed.packet));
    }
}

impl Residency {
    /// Follows the jobs from number `first` up to `end`, offered at `began`, or just now.
    #[cold]
    fn enter(&mut self, began: Option<Tick>, first: u64, end: u64) {
        let began = began.unwrap_or_else(|| self.clock.tick());
        (self.inside, self.due) = (Some((end, began, end - first)), false);
    }

    #[cold]
    fn leave(&mut self, began: Tick, jobs: u64) {
        let now = self.clock.tick();
        if let Some(latency) = &mut self.latency {
            latency.record(began, now, jobs);
        }
        self.inside = None;
    }
}

impl<H: Half, C: Crypto> Stage for EspStage<H, C> {
    fn name(&self) -> &'static str {
        let [name, ..] = H::NAMES;
        name
    }

    fn process(&mut self, input: &mut Burst, output: &mut Burst) {
        let packets = input.len();
        let sampled = (packets > 0 || !self.peers.is_alone()) && self.sampler.begin();
        let (began, issued) = (self.sampler.started(), self.issued);
        // Jobs of an earlier turn first, or later ones would overtake them.
        if self.jobs.is_empty() {
            self.prepare(input);
        } else {
            self.half.refresh();
        }
        self.sampler.lap(sampled, 0, packets);
        self.residence.due |= sampled;
        if self.residence.due && self.issued > issued && self.residence.inside.is_none() {
            self.residence.enter(sampled.then_some(began), issued, self.issued);
        }
        if !self.jobs.is_empty() {
            self.crypto.submit(&mut self.jobs);
        }
        self.crypto.poll(&mut self.done);
        self.sampler.lap(sampled, 1, packets);
        self.finish(output);
        self.sampler.lap(sampled, 2, packets);
        if let Some((end, began, jobs)) = self.residence.inside
            && end <= self.finished()
        {
            self.residence.leave(began, jobs);
        }
    }

    #[inline]
    fn held(&self) -> usize {
        let inside = self.jobs.len() + self.crypto.in_flight() + self.done.len() + self.passed.len();
        inside + self.arrived.len() + self.peers.waiting()
    }

    fn flush(&mut self) {
        self.crypto.flush();
    }

    fn merges(&self) -> bool {
        !self.peers.is_alone()
    }

    fn open(&mut self) {
        self.peers.open();
        self.crypto.open();
    }

    fn input_ended(&mut self) {
        self.peers.push();
        if self.peers.waiting() == 0 {
            self.peers.close();
        }
    }

    fn close(&mut self) {
        self.peers.close();
        self.crypto.close();
    }

    fn awaits(&self) -> bool {
        self.peers.may_bring() || self.crypto.is_elsewhere()
    }

    fn offline(&mut self) {
        self.half.offline();
        self.crypto.offline();
    }

    fn account(&self, ledger: &mut Ledger) {
        self.half.account(ledger);
        ledger.held += (self.held() + self.peers.in_inbox()) as u64;
    }

    fn residences(&self, residences: &mut Vec<Residence>) {
        if let Some(latency) = &self.residence.latency {
            residences.push(Residence { name: self.name(), histogram: latency.histogram().clone() });
        }
    }

    fn costs(&self, costs: &mut Vec<StageCost>) {
        costs.extend_from_slice(self.sampler.costs());
    }
}
