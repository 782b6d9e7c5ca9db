//! The null port: receives nothing, and frees whatever is sent to it.

use crate::burst::Burst;
use crate::mbuf::Mbuf;
use crate::pool::Pool;
use crate::port::{Receive, RxPort, TxPort};
use crate::stats::Ledger;

/// A source that has ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct NullRx;

impl RxPort for NullRx {
    fn receive(&mut self, _burst: &mut Burst<Mbuf>, _limit: usize) -> Receive {
        Receive::End
    }
    fn account(&self, _ledger: &mut Ledger) {}
}

/// A sink that takes everything and gives the buffers back to their pools.
#[derive(Clone, Copy, Debug, Default)]
pub struct NullTx {
    packets: u64,
}

impl TxPort for NullTx {
    #[inline]
    fn transmit(&mut self, burst: &mut Burst<Mbuf>) -> usize {
        let count = burst.len();
        self.packets += count as u64;
        Pool::free_burst(burst);
        count
    }
    fn account(&self, ledger: &mut Ledger) {
        ledger.sent += self.packets;
    }
}
