//! A stage: one step of the path, called once a burst; and the wrapper that measures what it costs.
//!
//! Contract of [`Stage::process`]: take items from the front of `input`, put results into `output` while it has
//! room, leave in `input` what could not be taken. A stage that is offered nothing still moves what it holds.
//! Nothing is ever lost for lack of room: that is how back-pressure travels upstream.

use crate::burst::Burst;
use crate::clock::{Clock, Tick};
use crate::mbuf::Mbuf;
use crate::stats::Ledger;

/// One step of the path, from items `I` to items `O`.
pub trait Stage<I = Mbuf, O = Mbuf>: Send {
    /// Name in reports.
    fn name(&self) -> &'static str;

    /// Moves items on; see the module's contract.
    fn process(&mut self, input: &mut Burst<I>, output: &mut Burst<O>);

    /// Packets inside that have come in and not gone out.
    fn held(&self) -> usize {
        0
    }

    /// Asks to finish what is held without waiting for more.
    fn flush(&mut self) {}

    /// True when packets may come out that this core did not receive in the same turn: from another core, or after a while.
    fn merges(&self) -> bool {
        false
    }

    /// A run begins; for every core before the first one starts.
    fn open(&mut self) {}

    /// This core will offer nothing more in this run. May be said more than once.
    fn input_ended(&mut self) {}

    /// This core's run is over.
    fn close(&mut self) {}

    /// True while packets may still come from other cores, or are with them.
    fn awaits(&self) -> bool {
        false
    }

    /// The core goes to sleep or stops: no claim is held on anything shared until the next call.
    fn offline(&mut self) {}

    /// Adds this stage's made, dropped, absorbed, held and sent-by counts.
    fn account(&self, _ledger: &mut Ledger) {}

    /// Adds a line for each measured step.
    fn costs(&self, _costs: &mut Vec<StageCost>) {}

    /// Adds how long packets stayed in each measured stage, from a sample of the bursts.
    fn residences(&self, _residences: &mut Vec<Residence>) {}
}

/// How long packets stayed in a stage, in nanoseconds, from a sample of the bursts.
#[derive(Clone, Debug)]
pub struct Residence {
    /// Name of the stage.
    pub name: &'static str,
    /// Packets of the sampled bursts.
    pub histogram: hdrhistogram::Histogram<u64>,
}

impl<I, O, S: Stage<I, O> + ?Sized> Stage<I, O> for Box<S> {
    fn name(&self) -> &'static str {
        (**self).name()
    }
    fn process(&mut self, input: &mut Burst<I>, output: &mut Burst<O>) {
        (**self).process(input, output);
    }
    fn held(&self) -> usize {
        (**self).held()
    }
    fn flush(&mut self) {
        (**self).flush();
    }
    fn merges(&self) -> bool {
        (**self).merges()
    }
    fn open(&mut self) {
        (**self).open();
    }
    fn input_ended(&mut self) {
        (**self).input_ended();
    }
    fn close(&mut self) {
        (**self).close();
    }
    fn awaits(&self) -> bool {
        (**self).awaits()
    }
    fn offline(&mut self) {
        (**self).offline();
    }
    fn account(&self, ledger: &mut Ledger) {
        (**self).account(ledger);
    }
    fn costs(&self, costs: &mut Vec<StageCost>) {
        (**self).costs(costs);
    }
    fn residences(&self, residences: &mut Vec<Residence>) {
        (**self).residences(residences);
    }
}

/// Packets pass unchanged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Forward;

impl Stage for Forward {
    fn name(&self) -> &'static str {
        "forward"
    }
    #[inline]
    fn process(&mut self, input: &mut Burst, output: &mut Burst) {
        output.take_from(input);
    }
}

/// Two stages one after the other, with a burst between them. The first is not asked for more until the second
/// has taken everything.
#[derive(Debug)]
pub struct Chain<A, B, M = Mbuf> {
    first: A,
    second: B,
    between: Burst<M>,
}

impl<A, B, M> Chain<A, B, M> {
    /// `first`, then `second`.
    pub fn new(first: A, second: B) -> Self {
        Self { first, second, between: Burst::new() }
    }

    /// The two stages.
    pub fn parts(&self) -> (&A, &B) {
        (&self.first, &self.second)
    }

    /// The two stages, to be changed between bursts.
    pub fn parts_mut(&mut self) -> (&mut A, &mut B) {
        (&mut self.first, &mut self.second)
    }
}

impl<I, M: Send, O, A: Stage<I, M>, B: Stage<M, O>> Stage<I, O> for Chain<A, B, M> {
    fn name(&self) -> &'static str {
        self.first.name()
    }
    #[inline]
    fn process(&mut self, input: &mut Burst<I>, output: &mut Burst<O>) {
        if self.between.is_empty() {
            self.first.process(input, &mut self.between);
        }
        self.second.process(&mut self.between, output);
    }
    fn held(&self) -> usize {
        self.first.held() + self.between.len() + self.second.held()
    }
    fn flush(&mut self) {
        self.first.flush();
        self.second.flush();
    }
    fn merges(&self) -> bool {
        self.first.merges() || self.second.merges()
    }
    fn open(&mut self) {
        self.first.open();
        self.second.open();
    }
    fn input_ended(&mut self) {
        self.first.input_ended();
        if self.first.held() == 0 && !self.first.awaits() && self.between.is_empty() {
            self.second.input_ended();
        }
    }
    fn close(&mut self) {
        self.first.close();
        self.second.close();
    }
    fn awaits(&self) -> bool {
        self.first.awaits() || self.second.awaits()
    }
    fn offline(&mut self) {
        self.first.offline();
        self.second.offline();
    }
    fn account(&self, ledger: &mut Ledger) {
        self.first.account(ledger);
        ledger.held += self.between.len() as u64;
        self.second.account(ledger);
    }
    fn costs(&self, costs: &mut Vec<StageCost>) {
        self.first.costs(costs);
        self.second.costs(costs);
    }
    fn residences(&self, residences: &mut Vec<Residence>) {
        self.first.residences(residences);
        self.second.residences(residences);
    }
}

/// What a step has cost, from a sample of its bursts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageCost {
    /// Name of the step.
    pub name: &'static str,
    /// Ticks spent in the sampled bursts.
    pub ticks: u64,
    /// Packets in the sampled bursts.
    pub packets: u64,
}

/// A stopwatch for steps that measures one burst in [`Sampler::EVERY`], the first among them, because reading the clock at every step
/// of every burst would cost as much as a step.
#[derive(Clone, Debug)]
pub struct Sampler<const STEPS: usize> {
    clock: Clock,
    turn: u32,
    started: Tick,
    costs: [StageCost; STEPS],
}

impl<const STEPS: usize> Sampler<STEPS> {
    /// One burst in so many is measured.
    pub const EVERY: u32 = 16;

    /// A stopwatch for steps of these names.
    #[must_use]
    pub fn new(clock: Clock, names: [&'static str; STEPS]) -> Self {
        let costs = names.map(|name| StageCost { name, ticks: 0, packets: 0 });
        Self { clock, turn: Self::EVERY - 1, started: 0, costs }
    }

    /// Begins a burst; true when this one is measured.
    #[inline(always)]
    pub fn begin(&mut self) -> bool {
        self.turn = self.turn.wrapping_add(1);
        let sampled = self.turn.is_multiple_of(Self::EVERY);
        if sampled {
            self.started = self.clock.tick();
        }
        sampled
    }

    /// When the measured burst, or its last step, began.
    #[inline(always)]
    #[must_use]
    pub fn started(&self) -> Tick {
        self.started
    }

    /// Ends step `step` of a measured burst, which handled `packets` packets; the next step begins.
    #[inline(always)]
    pub fn lap(&mut self, sampled: bool, step: usize, packets: usize) {
        if sampled {
            let now = self.clock.tick();
            if let Some(cost) = self.costs.get_mut(step) {
                cost.ticks += now.wrapping_sub(self.started);
                cost.packets += packets as u64;
            }
            self.started = now;
        }
    }

    /// The steps and what they cost.
    #[must_use]
    pub fn costs(&self) -> &[StageCost] {
        &self.costs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes at most two packets a turn.
    struct Narrow;
    impl Stage<u32, u32> for Narrow {
        fn name(&self) -> &'static str {
            "narrow"
        }
        fn process(&mut self, input: &mut Burst<u32>, output: &mut Burst<u32>) {
            for item in input.drain_front(2.min(output.room())) {
                output.push(item).unwrap();
            }
        }
    }

    #[test]
    fn a_slow_second_stage_holds_the_first_back_and_nothing_is_lost() {
        let mut chain = Chain::new(Narrow, Chain::new(Narrow, Narrow));
        let mut input = Burst::new();
        (0..10).for_each(|n| input.push(n).unwrap());
        let mut output = Burst::new();
        let mut turns = 0;
        while output.len() < 10 {
            chain.process(&mut input, &mut output);
            assert_eq!(input.len() + chain.held() + output.len(), 10);
            turns += 1;
        }
        assert_eq!(turns, 5);
        assert!(output.iter().copied().eq(0..10));
    }

    #[test]
    fn a_sampler_measures_one_burst_in_sixteen() {
        let mut sampler = Sampler::new(Clock::new(), ["only"]);
        for _ in 0..32 {
            let sampled = sampler.begin();
            sampler.lap(sampled, 0, 8);
        }
        assert_eq!(sampler.costs()[0].packets, 16);
    }
}
