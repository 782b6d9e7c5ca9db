//! Logical cores: pinning, and the loop that a polling core runs.
//!
//! Invariant: the loop hands every packet on or keeps it, and stops only when its input has ended and nothing is held,
//! or when told to.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::burst::{Burst, MAX_BURST};
use crate::clock::{Clock, Tick};
use crate::latency::Latency;
use crate::port::{Receive, RxPort, TxPort};
use crate::stage::Stage;

/// Number of a processor as the operating system counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LcoreId(pub usize);

impl LcoreId {
    /// The processors that this process may run on.
    #[must_use]
    pub fn available() -> Vec<Self> {
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        cores.into_iter().map(|core| Self(core.id)).collect()
    }

    /// Pins the calling thread to this processor; false when the system does not allow it.
    #[must_use]
    pub fn pin_current_thread(self) -> bool {
        core_affinity::set_for_current(core_affinity::CoreId { id: self.0 })
    }
}

/// Processor time that the calling thread has used, in nanoseconds.
#[must_use]
pub fn thread_cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes one timespec to the given place.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) } != 0;
    if failed { 0 } else { time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64 }
}

/// What the turns of a polling core were, and when it worked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoreCounters {
    /// Turns that moved packets.
    pub busy: u64,
    /// Turns that found nothing to do.
    pub idle: u64,
    /// Turns in which packets waited for room downstream.
    pub stalled: u64,
    /// Tick of the first burst received in the last run; 0 before it.
    pub first_rx: Tick,
    /// Tick after the last burst handed to the tx port.
    pub last_tx: Tick,
    /// Ticks from the first receive to the last hand-over, summed over the runs; what is done between runs is not in.
    pub active: Tick,
}

/// Why [`PollingCore::run`] came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The input ended and everything inside was handed on.
    Drained,
    /// The stop flag was set.
    Stopped,
    /// The input ended, but packets stayed inside that no longer moved.
    Stuck,
}

/// Turns without any movement, after the input's end, before the loop gives up on what is held.
const PATIENCE: u32 = 1 << 20;

/// A run-to-completion core: one rx port, the stages, one tx port.
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
    counters: CoreCounters,
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
            rx,
            stage,
            tx,
            latency: Latency::new(clock.clone())?,
            clock,
            burst: burst.clamp(1, MAX_BURST),
            input: Burst::new(),
            output: Burst::new(),
            counters: CoreCounters::default(),
        })
    }

    /// Polls until the input ends or `stop` is set. Can be called again, for instance after rewinding the port.
    pub fn run(&mut self, stop: &AtomicBool) -> Ended {
        self.counters.first_rx = 0;
        let ended = self.poll_until(stop);
        let CoreCounters { first_rx, last_tx, .. } = self.counters;
        if first_rx != 0 {
            self.counters.active += last_tx.saturating_sub(first_rx);
        }
        ended
    }

    fn poll_until(&mut self, stop: &AtomicBool) -> Ended {
        let mut ended = false;
        let mut quiet = 0;
        let mut now = self.clock.tick();
        loop {
            // When nothing waits inside, all that comes out in this turn came in with it.
            let alone = self.held() == 0;
            let received = if self.input.is_empty() && !ended { self.receive(now, &mut ended) } else { 0 };
            self.stage.process(&mut self.input, &mut self.output);
            let sent = match self.output.is_empty() {
                true => 0,
                false if alone => self.transmit(now),
                false => self.transmit_mixed(),
            };
            now = if sent > 0 { self.counters.last_tx } else { self.clock.tick() };
            self.count_turn(received + sent);
            if stop.load(Ordering::Relaxed) {
                return Ended::Stopped;
            }
            if ended {
                if self.held() == 0 {
                    return Ended::Drained;
                }
                self.stage.flush();
                quiet = if received + sent > 0 { 0 } else { quiet + 1 };
                if quiet > PATIENCE {
                    return Ended::Stuck;
                }
            }
        }
    }

    #[inline]
    fn receive(&mut self, now: Tick, ended: &mut bool) -> usize {
        match self.rx.receive(&mut self.input, self.burst) {
            Receive::Packets => {
                if self.counters.first_rx == 0 {
                    self.counters.first_rx = now;
                }
                self.input.iter_mut().for_each(|packet| packet.set_rx_tick(now));
            }
            Receive::Idle => {}
            Receive::End => *ended = true,
        }
        self.input.len()
    }

    /// Hands the output over, all of which came in at `start`, and records the latency of what the port took.
    #[inline]
    fn transmit(&mut self, start: Tick) -> usize {
        let sent = self.tx.transmit(&mut self.output);
        self.counters.last_tx = self.clock.tick();
        if sent > 0 {
            self.latency.record(start, self.counters.last_tx, sent as u64);
        }
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
        self.counters.last_tx = now;
        sent
    }

    #[inline]
    fn count_turn(&mut self, moved: usize) {
        if moved > 0 {
            self.counters.busy += 1;
        } else if self.input.is_empty() && self.output.is_empty() {
            self.counters.idle += 1;
        } else {
            self.counters.stalled += 1;
        }
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

    /// Turn counters so far.
    #[must_use]
    pub fn counters(&self) -> CoreCounters {
        self.counters
    }

    /// The clock that the core reads.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
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
