//! The port between two cores: a ring of bursts. A full ring takes nothing, so that the core in front waits.

use std::sync::Arc;

use crate::burst::Burst;
use crate::mbuf::Mbuf;
use crate::port::{Receive, RxPort, TxPort};
use crate::ring::Ring;
use crate::stats::Ledger;

/// Both ends of a new ring with room for `bursts` bursts.
///
/// ```
/// use pipeline::port::{Receive, RxPort, TxPort, ring};
/// use pipeline::{Burst, Pool, PoolConfig};
/// let pool = Pool::new(PoolConfig { buffers: 2, ..PoolConfig::default() })?;
/// let (mut tx, mut rx) = ring(4);
/// tx.open();
/// let mut burst = Burst::new();
/// pool.alloc_burst(&mut burst, 2);
/// assert_eq!(tx.transmit(&mut burst), 2);
/// tx.close();
/// assert_eq!(rx.receive(&mut burst, 32), Receive::Packets);
/// assert_eq!((burst.len(), rx.receive(&mut Burst::new(), 32)), (2, Receive::End));
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use]
pub fn ring(bursts: usize) -> (RingTx, RingRx) {
    let ring = Arc::new(Ring::with_capacity(bursts));
    (RingTx { ring: Arc::clone(&ring), open: false }, RingRx { ring, rest: Burst::new() })
}

/// The end into which packets go. What goes through a ring was received before it and is sent behind it, so neither end counts.
#[derive(Debug)]
pub struct RingTx {
    ring: Arc<Ring>,
    open: bool,
}

impl TxPort for RingTx {
    #[inline]
    fn transmit(&mut self, burst: &mut Burst<Mbuf>) -> usize {
        let count = burst.len();
        match self.ring.push(std::mem::take(burst)) {
            Ok(()) => count,
            Err(back) => {
                *burst = back;
                0
            }
        }
    }

    fn open(&mut self) {
        if !std::mem::replace(&mut self.open, true) {
            self.ring.open();
        }
    }

    fn close(&mut self) {
        if std::mem::take(&mut self.open) {
            self.ring.close();
        }
    }

    fn awaits(&self) -> bool {
        self.ring.is_consumed()
    }

    fn is_gone(&self) -> bool {
        !self.ring.is_consumed()
    }

    fn account(&self, _ledger: &mut Ledger) {}
}

/// The end out of which packets come.
#[derive(Debug)]
pub struct RingRx {
    ring: Arc<Ring>,
    /// What is left of a burst that was longer than what was asked for.
    rest: Burst,
}

impl RxPort for RingRx {
    #[inline]
    fn receive(&mut self, burst: &mut Burst<Mbuf>, limit: usize) -> Receive {
        if self.rest.is_empty() {
            match self.ring.pop() {
                Some(next) if next.len() <= limit && burst.is_empty() => {
                    *burst = next;
                    return Receive::Packets;
                }
                Some(next) => self.rest = next,
                None if self.ring.is_finished() => return Receive::End,
                None => return Receive::Idle,
            }
        }
        if burst.take_some_from(&mut self.rest, limit) > 0 { Receive::Packets } else { Receive::Idle }
    }

    /// Packets keep the tick with which they came into the first core.
    fn stamps(&self) -> bool {
        true
    }

    fn open(&mut self) {
        self.ring.set_consumed(true);
    }

    fn close(&mut self) {
        self.ring.set_consumed(false);
    }

    /// What is inside, which is right only while no core runs.
    fn account(&self, ledger: &mut Ledger) {
        ledger.held += (self.ring.count_items() + self.rest.len()) as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::lcore::{Ended, Idle, Lcore, PollingCore, Task, run};
    use crate::port::{Generator, GeneratorConfig, NullTx, Sizes};
    use crate::stage::Forward;
    use crate::{Clock, Pool, PoolConfig};

    /// Takes what comes only when it has been asked very often.
    struct Slow(RingRx, u32);
    impl RxPort for Slow {
        fn receive(&mut self, burst: &mut Burst<Mbuf>, limit: usize) -> Receive {
            self.1 += 1;
            if self.1 < 3_000_000 { Receive::Idle } else { self.0.receive(burst, limit) }
        }
        fn stamps(&self) -> bool {
            true
        }
        fn open(&mut self) {
            self.0.open();
        }
        fn close(&mut self) {
            self.0.close();
        }
        fn account(&self, ledger: &mut Ledger) {
            self.0.account(ledger);
        }
    }

    #[test]
    fn a_core_waits_for_a_slow_one_behind_it_however_long_and_not_for_one_that_is_gone() {
        let source = || {
            let pool = Pool::new(PoolConfig { buffers: 256, ..PoolConfig::default() }).unwrap();
            let config = GeneratorConfig { sizes: Sizes::Fixed(46), flows: 1, packets: 128 };
            Generator::new(&config, pool).unwrap()
        };
        let (tx, rx) = ring(1);
        let mut first = PollingCore::new(source(), Forward, tx, Clock::new(), 32).unwrap();
        let mut second = PollingCore::new(Slow(rx, 0), Forward, NullTx::default(), Clock::new(), 32).unwrap();
        let lcore = |task| Lcore { id: None, tasks: vec![task], idle: Idle::Spin };
        let mut lcores = [lcore(&mut first as &mut dyn Task), lcore(&mut second)];
        let runs = run(&mut lcores, &AtomicBool::new(false), || {});
        assert!(runs.iter().all(|run| run.ended == Ended::Drained), "{runs:?}");
        assert_eq!(second.ledger().sent, 128);

        let (tx, mut rx) = ring(1);
        rx.open();
        rx.close();
        let mut first = PollingCore::new(source(), Forward, tx, Clock::new(), 32).unwrap();
        assert_eq!(first.run(&AtomicBool::new(false)), Ended::Stuck);
        assert_eq!((first.ledger().received, first.ledger().held), (64, 32), "the ring has the other burst");
    }

    #[test]
    fn a_long_burst_comes_out_in_parts_and_in_order_and_is_accounted_for_meanwhile() {
        let pool = Pool::new(PoolConfig { buffers: 16, ..PoolConfig::default() }).unwrap();
        let (mut tx, mut rx) = ring(1);
        tx.open();
        let mut burst = Burst::new();
        pool.alloc_burst(&mut burst, 10);
        (0..).zip(burst.iter_mut()).for_each(|(number, packet)| packet.set_number(number));
        assert_eq!(tx.transmit(&mut burst), 10);
        pool.alloc_burst(&mut burst, 1);
        assert_eq!((tx.transmit(&mut burst), burst.len()), (0, 1), "the ring is full");
        tx.close();
        let mut numbers = Vec::new();
        for left in [6, 2, 0] {
            let mut part = Burst::new();
            assert_eq!(rx.receive(&mut part, 4), Receive::Packets);
            numbers.extend(part.iter().map(Mbuf::number));
            let mut ledger = Ledger::default();
            rx.account(&mut ledger);
            assert_eq!(ledger.held, left);
        }
        assert!(numbers.into_iter().eq(0..10));
        assert_eq!(rx.receive(&mut burst, 4), Receive::End);
    }
}
