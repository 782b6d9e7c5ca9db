//! The loop that moves packets: from one rx port, through the stages, to one tx port.
//!
//! Invariant: a turn hands every packet on or keeps it; the loop stops only when its input has ended and nothing is held,
//! when nobody takes what it holds, or when told to.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{CoreCounters, Ended, Task, Turn};
use crate::burst::{Burst, MAX_BURST};
use crate::clock::{Clock, Tick};
use crate::latency::{Latency, Watcher};
use crate::port::{Receive, RxPort, TxPort};
use crate::stage::Stage;

/// Turns without any movement, after the input's end, before the loop gives up on what is held. Turns in which it waits for
/// other cores that are at work do not count.
const PATIENCE: u32 = 1 << 20;

/// One rx port, the stages, one tx port.
#[derive(Debug)]
pub struct PollingCore<R, S, T> {
    /// Where packets come from.
    pub rx: R,
    /// What is done to them.
    pub stage: S,
    /// Where they go.
    pub tx: T,
    clock: Clock,
    burst: usize,
    input: Burst,
    output: Burst,
    latency: Latency,
    /// All but `active`, which is what came of earlier runs.
    counters: CoreCounters,
    now: Tick,
    /// Packets bring their own tick, or come out with those of other turns.
    mixed: bool,
    ended: bool,
    quiet: u32,
}

impl<R: RxPort, S: Stage, T: TxPort> PollingCore<R, S, T> {
    /// A core that takes up to `burst` packets (1 to [`MAX_BURST`]) a turn.
    ///
    /// # Errors
    /// As [`Latency::new`].
    pub fn new(
        rx: R,
        stage: S,
        tx: T,
        clock: Clock,
        burst: usize,
    ) -> Result<Self, hdrhistogram::CreationError> {
        Ok(Self {
            latency: Latency::new(clock.clone())?,
            mixed: rx.stamps() || stage.merges(),
            rx,
            stage,
            tx,
            burst: burst.clamp(1, MAX_BURST),
            input: Burst::new(),
            output: Burst::new(),
            counters: CoreCounters::default(),
            now: clock.tick(),
            clock,
            ended: false,
            quiet: 0,
        })
    }

    /// Polls on this thread until the input ends or `stop` is set. Can be called again, for instance after rewinding the
    /// port.
    pub fn run(&mut self, stop: &AtomicBool) -> Ended {
        self.open();
        let ended = loop {
            if let Turn::Finished(ended) = self.turn() {
                break ended;
            }
            if stop.load(Ordering::Relaxed) {
                break Ended::Stopped;
            }
        };
        self.offline();
        ended
    }

    #[inline(always)]
    fn receive(&mut self) -> usize {
        match self.rx.receive(&mut self.input, self.burst) {
            Receive::Packets => {
                if self.counters.first_rx == 0 {
                    self.counters.first_rx = self.now;
                }
                if !self.rx.stamps() {
                    let now = self.now;
                    self.input.iter_mut().for_each(|packet| packet.set_rx_tick(now));
                }
            }
            Receive::Idle => {}
            Receive::End => self.ended = true,
        }
        self.input.len()
    }

    /// Hands the output over, all of which came in at the turn's start, and records the latency of what the port took.
    #[inline(always)]
    fn transmit(&mut self) -> usize {
        let sent = self.tx.transmit(&mut self.output);
        let now = self.clock.tick();
        if sent > 0 {
            self.latency.record(self.now, now, sent as u64);
        }
        self.handed_over(now);
        sent
    }

    /// As above for packets that came in with several ticks, a run of equal ones at a time.
    #[inline(never)]
    fn transmit_mixed(&mut self) -> usize {
        let mut ticks = [0; MAX_BURST];
        ticks.iter_mut().zip(&self.output).for_each(|(tick, packet)| *tick = packet.rx_tick());
        let sent = self.tx.transmit(&mut self.output);
        let now = self.clock.tick();
        for run in ticks.get(..sent).unwrap_or_default().chunk_by(|a, b| a == b) {
            if let Some(&start) = run.first() {
                self.latency.record(start, now, run.len() as u64);
            }
        }
        self.handed_over(now);
        sent
    }

    #[inline(always)]
    fn handed_over(&mut self, now: Tick) {
        self.counters.last_tx = now;
        self.now = now;
    }

    /// What the turn was, after the input's end: whether anything may still come out.
    #[cold]
    fn wind_down(&mut self, moved: usize) -> Option<Ended> {
        if self.input.is_empty() {
            self.stage.input_ended();
        }
        if self.held() == 0 && !self.stage.awaits() {
            return Some(Ended::Drained);
        }
        self.stage.flush();
        let awaits = self.stage.awaits() || (!self.output.is_empty() && self.tx.awaits());
        self.quiet = if moved > 0 || awaits { 0 } else { self.quiet + 1 };
        (self.quiet > PATIENCE).then_some(Ended::Stuck)
    }

    fn finish(&mut self, how: Ended) -> Turn {
        self.rx.close();
        self.stage.close();
        self.tx.close();
        Turn::Finished(how)
    }

    /// Packets inside: received and not handed on.
    #[must_use]
    pub fn held(&self) -> usize {
        self.input.len() + self.stage.held() + self.output.len()
    }

    /// The books of this core.
    #[must_use]
    pub fn ledger(&self) -> crate::stats::Ledger {
        let mut ledger = crate::stats::Ledger::default();
        self.rx.account(&mut ledger);
        ledger.held += (self.input.len() + self.output.len()) as u64;
        self.stage.account(&mut ledger);
        self.tx.account(&mut ledger);
        ledger
    }

    /// Latencies so far.
    #[must_use]
    pub fn latency(&self) -> &Latency {
        &self.latency
    }

    /// A watcher of the latencies for another thread; see [`Latency::watch`].
    ///
    /// # Errors
    /// As [`Latency::new`].
    pub fn watch(&mut self) -> Result<Watcher, hdrhistogram::CreationError> {
        self.latency.watch()
    }

    /// Turn counters so far.
    #[must_use]
    pub fn counters(&self) -> CoreCounters {
        let CoreCounters { first_rx, last_tx, active, .. } = self.counters;
        let last_run = if first_rx == 0 { 0 } else { last_tx.saturating_sub(first_rx) };
        CoreCounters { active: active + last_run, ..self.counters }
    }

    /// The clock that the core reads.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }
}

impl<R: RxPort, S: Stage, T: TxPort> Task for PollingCore<R, S, T> {
    fn open(&mut self) {
        self.counters = CoreCounters { first_rx: 0, last_tx: 0, ..self.counters() };
        self.ended = false;
        self.quiet = 0;
        self.rx.open();
        self.stage.open();
        self.tx.open();
        self.now = self.clock.tick();
    }

    #[inline]
    fn turn(&mut self) -> Turn {
        // When nothing waits inside, all that comes out in this turn came in with it.
        let alone = !self.mixed && self.held() == 0;
        let received = if self.input.is_empty() && !self.ended { self.receive() } else { 0 };
        self.stage.process(&mut self.input, &mut self.output);
        let sent = match self.output.is_empty() {
            true => 0,
            false if alone => self.transmit(),
            false => self.transmit_mixed(),
        };
        if sent == 0 {
            self.now = self.clock.tick();
        }
        if sent == 0 && !self.output.is_empty() && self.tx.is_gone() {
            return self.finish(Ended::Stuck);
        }
        if self.ended
            && let Some(how) = self.wind_down(received + sent)
        {
            return self.finish(how);
        }
        let turn = if received + sent > 0 {
            Turn::Busy
        } else if self.held() == 0 {
            Turn::Idle
        } else {
            Turn::Stalled
        };
        self.counters.count(turn);
        turn
    }

    fn offline(&mut self) {
        self.stage.offline();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::{Generator, GeneratorConfig, Sizes};
    use crate::stage::Forward;
    use crate::{Ledger, Mbuf, Pool, PoolConfig};

    /// Takes one packet a call and refuses every second call.
    #[derive(Default)]
    struct Sluggish {
        calls: u64,
        sent: u64,
    }
    impl TxPort for Sluggish {
        fn transmit(&mut self, burst: &mut Burst<Mbuf>) -> usize {
            self.calls += 1;
            if self.calls.is_multiple_of(2) {
                return 0;
            }
            let taken = burst.drain_front(1).count();
            self.sent += taken as u64;
            taken
        }
        fn account(&self, ledger: &mut Ledger) {
            ledger.sent += self.sent;
        }
    }

    fn generator(packets: u64) -> Generator {
        let pool = Pool::new(PoolConfig { buffers: 512, ..PoolConfig::default() }).unwrap();
        let config = GeneratorConfig { sizes: Sizes::Fixed(46), flows: 3, packets };
        Generator::new(&config, pool).unwrap()
    }

    #[test]
    fn a_sluggish_port_stalls_the_core_and_loses_nothing() {
        let mut core =
            PollingCore::new(generator(100), Forward, Sluggish::default(), Clock::new(), 32).unwrap();
        assert_eq!(core.run(&AtomicBool::new(false)), Ended::Drained);
        assert_eq!(core.tx.sent, 100);
        assert!(core.counters().stalled > 0);
        assert_eq!(core.latency().histogram().len(), 100);
        assert!(core.ledger().is_exact());
    }

    #[test]
    fn a_stopped_core_accounts_for_what_it_holds() {
        let mut core =
            PollingCore::new(generator(100), Forward, Sluggish::default(), Clock::new(), 32).unwrap();
        assert_eq!(core.run(&AtomicBool::new(true)), Ended::Stopped);
        let ledger = core.ledger();
        assert_eq!((ledger.received, ledger.sent, ledger.held), (32, 1, 31));
        assert!(ledger.is_exact());
    }
}
