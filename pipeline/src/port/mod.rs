//! Ports: where packets come in and go out. Called once a burst.
//!
//! A port counts what it lets in and out; loss, if any, happens here and is counted here.

mod generator;
mod link;
mod null;
mod paced;
mod replay;
mod ring;

pub use generator::{Generator, GeneratorConfig, Sizes, flow_endpoint};
pub use link::{Faults, LinkConfig, LinkError, LinkRx, LinkTx, VirtualTime, link};
pub use null::{NullRx, NullTx};
pub use paced::{Pace, Paced, TimeSource};
pub use replay::{CaptureTx, Replay, ReplayDrop};
pub use ring::{RingRx, RingTx, ring};

use crate::burst::Burst;
use crate::mbuf::Mbuf;
use crate::stats::Ledger;

/// What a poll of an rx port brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receive {
    /// Packets were added to the burst.
    Packets,
    /// Nothing now, perhaps later.
    Idle,
    /// Nothing now or ever (until the port is rewound).
    End,
}

/// A source of packets.
pub trait RxPort: Send {
    /// Adds up to `limit` packets to `burst`.
    fn receive(&mut self, burst: &mut Burst<Mbuf>, limit: usize) -> Receive;

    /// True when packets bring the tick from which their latency counts themselves.
    fn stamps(&self) -> bool {
        false
    }

    /// A run begins; for every core before the first one starts.
    fn open(&mut self) {}

    /// Nothing more is asked for in this run.
    fn close(&mut self) {}

    /// Adds what came in, and what was dropped at the edge.
    fn account(&self, ledger: &mut Ledger);
}

/// A sink of packets.
pub trait TxPort: Send {
    /// Takes packets from the front of `burst`, returns how many; the rest stays for the next call.
    fn transmit(&mut self, burst: &mut Burst<Mbuf>) -> usize;

    /// A run begins; for every core before the first one starts.
    fn open(&mut self) {}

    /// Nothing more is handed over in this run.
    fn close(&mut self) {}

    /// True while another core is going to make room.
    fn awaits(&self) -> bool {
        false
    }

    /// True when nobody is going to make room any more in this run.
    fn is_gone(&self) -> bool {
        false
    }

    /// Adds what went out.
    fn account(&self, ledger: &mut Ledger);
}

impl<P: RxPort + ?Sized> RxPort for Box<P> {
    fn receive(&mut self, burst: &mut Burst<Mbuf>, limit: usize) -> Receive {
        (**self).receive(burst, limit)
    }
    fn stamps(&self) -> bool {
        (**self).stamps()
    }
    fn open(&mut self) {
        (**self).open();
    }
    fn close(&mut self) {
        (**self).close();
    }
    fn account(&self, ledger: &mut Ledger) {
        (**self).account(ledger);
    }
}

impl<P: TxPort + ?Sized> TxPort for Box<P> {
    fn transmit(&mut self, burst: &mut Burst<Mbuf>) -> usize {
        (**self).transmit(burst)
    }
    fn open(&mut self) {
        (**self).open();
    }
    fn close(&mut self) {
        (**self).close();
    }
    fn awaits(&self) -> bool {
        (**self).awaits()
    }
    fn is_gone(&self) -> bool {
        (**self).is_gone()
    }
    fn account(&self, ledger: &mut Ledger) {
        (**self).account(ledger);
    }
}
