//! The wire at the card's port: what left the card waits here for the far end, and what the far end sends waits for the card.
//!
//! Both directions hold so many frames; a full one makes whoever puts frames in wait, so that nothing is lost on the wire itself.

use std::io;
use std::sync::{Arc, OnceLock};

use crossbeam_queue::ArrayQueue;
use pipeline::port::{Receive, RxPort, TxPort};
use pipeline::{Burst, Ledger, Mbuf, Pool};

use super::Card;

/// Frames that a direction holds.
const ROOM: usize = 512;

#[derive(Debug)]
pub(super) struct Wire {
    leaving: ArrayQueue<Mbuf>,
    arriving: ArrayQueue<Mbuf>,
    /// Of what leaves; without it there is no far end, and what leaves is gone.
    pool: OnceLock<Pool>,
}

impl Wire {
    pub(super) fn new() -> Self {
        Self { leaving: ArrayQueue::new(ROOM), arriving: ArrayQueue::new(ROOM), pool: OnceLock::new() }
    }

    /// A frame leaves; false when it has to wait.
    pub(super) fn send(&self, frame: &[u8]) -> bool {
        let Some(pool) = self.pool.get() else { return true };
        if self.leaving.is_full() {
            return false;
        }
        // Only the card puts frames in, so the room that there was is still there.
        pool.alloc_copy(frame).is_some_and(|frame| self.leaving.push(frame).is_ok())
    }

    /// The next frame that has arrived.
    pub(super) fn take(&self) -> Option<Mbuf> {
        self.arriving.pop()
    }
}

impl Card {
    /// The far end of the card's port: what left the card, in buffers of `pool`, and the way to it. As long as nobody asks for it, what leaves is gone.
    ///
    /// # Errors
    /// Somebody has it already.
    pub fn wire(&self, pool: Pool) -> io::Result<(WireRx, WireTx)> {
        let wire = Arc::clone(&self.device.wire);
        let taken = |_| io::Error::new(io::ErrorKind::AlreadyExists, "the card's wire has a far end already");
        wire.pool.set(pool).map_err(taken)?;
        Ok((WireRx { wire: Arc::clone(&wire), received: 0 }, WireTx { wire, sent: 0 }))
    }
}

/// What left the card. A frame is counted when it is taken.
#[derive(Debug)]
pub struct WireRx {
    wire: Arc<Wire>,
    received: u64,
}

impl RxPort for WireRx {
    fn receive(&mut self, burst: &mut Burst<Mbuf>, limit: usize) -> Receive {
        let mut count = 0;
        while count < limit.min(burst.room() + count)
            && let Some(frame) = self.wire.leaving.pop()
        {
            burst.push_with(|| frame);
            count += 1;
        }
        self.received += count as u64;
        if count > 0 { Receive::Packets } else { Receive::Idle }
    }

    fn account(&self, ledger: &mut Ledger) {
        ledger.received += self.received;
    }
}

/// The way to the card. A packet is taken as it is, and goes back to its pool when the card has it.
#[derive(Debug)]
pub struct WireTx {
    wire: Arc<Wire>,
    sent: u64,
}

impl TxPort for WireTx {
    fn transmit(&mut self, burst: &mut Burst<Mbuf>) -> usize {
        let room = ROOM - self.wire.arriving.len();
        let count = room.min(burst.len());
        for frame in burst.drain_front(count) {
            // Only this end puts frames in.
            let _taken = self.wire.arriving.push(frame);
        }
        self.sent += count as u64;
        count
    }

    fn account(&self, ledger: &mut Ledger) {
        ledger.sent += self.sent;
    }
}
