//! An rx port that lets packets in on a schedule, whether or not the path keeps up: open-loop load.
//!
//! Each packet has a time at which it is due. It is let in at that time or, when the core comes late, as soon as it can be; its
//! latency counts from when it was due, so a path that falls behind shows it (no coordinated omission). The clock is read
//! once a call.
//!
//! Invariant: packets come out in the order of the inner port, none before it is due.

use crate::burst::Burst;
use crate::clock::{Clock, Tick};
use crate::mbuf::Mbuf;
use crate::port::{Receive, RxPort};
use crate::stats::Ledger;

/// Where time comes from.
pub trait TimeSource: Send {
    /// Now.
    fn now(&self) -> Tick;
    /// Ticks in so many nanoseconds.
    fn ticks_of(&self, nanoseconds: u64) -> Tick;
}

impl TimeSource for Clock {
    #[inline]
    fn now(&self) -> Tick {
        self.tick()
    }
    fn ticks_of(&self, nanoseconds: u64) -> Tick {
        self.ticks(nanoseconds)
    }
}

/// When packets are due, from the start of the run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// Evenly, so many in a second.
    Rate {
        /// Packets in a second, above 0.
        packets_per_second: f64,
        /// Packets of one pass over the source, over all cores: packet `n` of pass `p` is due as number `p * packets + n`.
        packets: u64,
    },
    /// As they were captured.
    Recorded {
        /// Time of the first packet, in nanoseconds of its capture.
        first_ns: u64,
        /// Nanoseconds from the start of a pass to the start of the next.
        pass_ns: u64,
    },
}

impl Pace {
    /// As recorded in packets with these times, in order. The next pass begins one mean gap after the last packet of this one.
    #[must_use]
    pub fn recorded(times_ns: impl IntoIterator<Item = u64>) -> Self {
        let mut times = times_ns.into_iter();
        let first_ns = times.next().unwrap_or(0);
        let (mut last_ns, mut gaps) = (first_ns, 0);
        for time in times {
            last_ns = last_ns.max(time);
            gaps += 1;
        }
        let span = last_ns - first_ns;
        Self::Recorded { first_ns, pass_ns: span + span.checked_div(gaps).unwrap_or(0) }
    }

    /// Nanoseconds that `passes` passes take.
    #[must_use]
    pub fn nanoseconds(&self, passes: u64) -> f64 {
        match *self {
            Self::Rate { packets_per_second, packets } => {
                passes as f64 * packets as f64 * 1e9 / packets_per_second
            }
            Self::Recorded { pass_ns, .. } => passes as f64 * pass_ns as f64,
        }
    }

    /// Nanoseconds from the start until the packet is due.
    fn due_ns(&self, pass: u64, packet: &Mbuf) -> u64 {
        match *self {
            Self::Rate { packets_per_second, packets } => {
                let index = pass * packets + u64::from(packet.number());
                (index as f64 * 1e9 / packets_per_second) as u64
            }
            Self::Recorded { first_ns, pass_ns } => {
                pass.saturating_mul(pass_ns).saturating_add(packet.timestamp_ns().saturating_sub(first_ns))
            }
        }
    }
}

/// The port.
#[derive(Debug)]
pub struct Paced<R, C = Clock> {
    inner: R,
    clock: C,
    pace: Pace,
    waiting: Burst,
    start: Tick,
    pass: u64,
    last_number: Option<u32>,
    last_due: Tick,
    ended: bool,
}

impl<R: RxPort, C: TimeSource> Paced<R, C> {
    /// Lets the packets of `inner` in at `pace`, from now on.
    pub fn new(inner: R, pace: Pace, clock: C) -> Self {
        let start = clock.now();
        let waiting = Burst::new();
        Self { inner, clock, pace, waiting, start, pass: 0, last_number: None, last_due: start, ended: false }
    }

    /// The port behind it.
    pub fn inner(&self) -> &R {
        &self.inner
    }

    /// The port behind it, to be rewound; then [`Paced::start`] again.
    pub fn inner_mut(&mut self) -> &mut R {
        &mut self.inner
    }

    /// Begins the schedule at `start`: the same tick for every core that has a share of the packets.
    pub fn start(&mut self, start: Tick) {
        (self.start, self.last_due) = (start, start);
        (self.pass, self.last_number, self.ended) = (0, None, false);
    }

    fn refill(&mut self, limit: usize) {
        self.ended |= self.inner.receive(&mut self.waiting, limit) == Receive::End;
        for packet in self.waiting.iter_mut() {
            let number = packet.number();
            self.pass += u64::from(self.last_number.is_some_and(|last| number <= last));
            self.last_number = Some(number);
            let due = self.start + self.clock.ticks_of(self.pace.due_ns(self.pass, packet));
            // Where recorded time goes back, a packet is due with the one before it.
            self.last_due = self.last_due.max(due);
            packet.set_rx_tick(self.last_due);
        }
    }
}

impl<R: RxPort, C: TimeSource> RxPort for Paced<R, C> {
    fn receive(&mut self, burst: &mut Burst<Mbuf>, limit: usize) -> Receive {
        if self.waiting.is_empty() && !self.ended {
            self.refill(limit);
        }
        if self.waiting.is_empty() {
            return if self.ended { Receive::End } else { Receive::Idle };
        }
        let now = self.clock.now();
        let due = self.waiting.iter().take(limit).take_while(|packet| packet.rx_tick() <= now).count();
        if burst.take_some_from(&mut self.waiting, due) > 0 { Receive::Packets } else { Receive::Idle }
    }

    /// They bring the tick at which they were due.
    fn stamps(&self) -> bool {
        true
    }

    fn account(&self, ledger: &mut Ledger) {
        self.inner.account(ledger);
        ledger.held += self.waiting.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::{Pool, PoolConfig};

    /// One tick is one nanosecond, and time stands still until it is moved.
    #[derive(Clone, Default)]
    struct ByHand(Arc<AtomicU64>);
    impl TimeSource for ByHand {
        fn now(&self) -> Tick {
            self.0.load(Ordering::Relaxed)
        }
        fn ticks_of(&self, nanoseconds: u64) -> Tick {
            nanoseconds
        }
    }

    /// Packets of the given numbers and times.
    struct Listed {
        pool: Pool,
        packets: Vec<(u32, u64)>,
    }
    impl RxPort for Listed {
        fn receive(&mut self, burst: &mut Burst<Mbuf>, limit: usize) -> Receive {
            if self.packets.is_empty() {
                return Receive::End;
            }
            for (number, time) in self.packets.drain(..limit.min(self.packets.len())) {
                let mut packet = self.pool.alloc().unwrap();
                packet.set_number(number);
                packet.set_timestamp_ns(time);
                burst.push(packet).unwrap();
            }
            Receive::Packets
        }
        fn account(&self, _ledger: &mut Ledger) {}
    }

    fn paced(packets: &[(u32, u64)], pace: Pace) -> (Paced<Listed, ByHand>, ByHand) {
        let pool = Pool::new(PoolConfig { buffers: 256, stride: 512 }).unwrap();
        let clock = ByHand::default();
        (Paced::new(Listed { pool, packets: packets.to_vec() }, pace, clock.clone()), clock)
    }

    /// Number and due time of what is let in at `now`.
    fn let_in(port: &mut Paced<Listed, ByHand>, clock: &ByHand, now: u64) -> Vec<(u32, u64)> {
        clock.0.store(now, Ordering::Relaxed);
        let mut all = Vec::new();
        let mut burst = Burst::new();
        while port.receive(&mut burst, 32) == Receive::Packets {
            all.extend(burst.drain().map(|packet| (packet.number(), packet.rx_tick())));
        }
        all
    }

    #[test]
    fn at_a_rate_packets_are_due_evenly_over_all_passes_and_cores() {
        // A share of a capture of four packets, twice.
        let packets = [(0, 0), (3, 0), (0, 0), (3, 0)];
        let (mut port, clock) = paced(&packets, Pace::Rate { packets_per_second: 1e7, packets: 4 });
        assert_eq!(let_in(&mut port, &clock, 0), [(0, 0)]);
        assert_eq!(let_in(&mut port, &clock, 299), []);
        assert_eq!(let_in(&mut port, &clock, 300), [(3, 300)]);
        // Late: what was due meanwhile comes with the time at which it was due.
        assert_eq!(let_in(&mut port, &clock, 5000), [(0, 400), (3, 700)]);
        assert_eq!(port.receive(&mut Burst::new(), 1), Receive::End);
    }

    #[test]
    fn as_recorded_packets_keep_their_gaps_and_passes_follow_each_other() {
        let pass = [(0, 1000), (1, 1100), (2, 1050), (3, 1300)];
        let pace = Pace::recorded(pass.iter().map(|&(_, time)| time));
        assert_eq!(pace, Pace::Recorded { first_ns: 1000, pass_ns: 400 });
        let (mut port, clock) = paced(&[pass, pass].concat(), pace);
        let expected = [(0, 0), (1, 100), (2, 100), (3, 300), (0, 400), (1, 500), (2, 500), (3, 700)];
        assert_eq!(let_in(&mut port, &clock, 10_000), expected);
    }

    #[test]
    fn what_waits_for_its_time_is_held() {
        let (mut port, _clock) = paced(&[(0, 0), (1, 9), (2, 9)], Pace::recorded([0, 9, 9]));
        let mut burst = Burst::new();
        assert_eq!((port.receive(&mut burst, 32), burst.len()), (Receive::Packets, 1));
        assert_eq!(port.receive(&mut burst, 32), Receive::Idle);
        let mut ledger = Ledger::default();
        port.account(&mut ledger);
        assert_eq!(ledger.held, 2);
    }

    #[test]
    fn an_empty_or_instantaneous_recording_is_due_at_once() {
        assert_eq!(Pace::recorded([]), Pace::Recorded { first_ns: 0, pass_ns: 0 });
        assert_eq!(Pace::recorded([7, 7]), Pace::Recorded { first_ns: 7, pass_ns: 0 });
    }
}
