//! The capture ports: replay a capture from memory, and write packets to a capture file.
//!
//! Replaying copies each packet into a fresh buffer, as a port that receives would. A packet that the capture
//! cut short cannot be replayed; it is dropped and counted here.

use std::sync::Arc;

use crate::burst::Burst;
use crate::capture::{Capture, CaptureError, CaptureWriter};
use crate::mbuf::Mbuf;
use crate::pool::Pool;
use crate::port::{Receive, RxPort, TxPort};
use crate::stats::{Ledger, Reason, Tally};

/// Why the replay port dropped a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayDrop {
    /// The capture holds only the packet's beginning.
    CaptureTruncated,
    /// Longer than the pool's buffers can hold in one chain.
    TooLong,
}

impl Reason for ReplayDrop {
    const ALL: &'static [Self] = &[Self::CaptureTruncated, Self::TooLong];
    fn index(self) -> usize {
        self as usize
    }
    fn name(self) -> &'static str {
        match self {
            Self::CaptureTruncated => "capture_truncated",
            Self::TooLong => "capture_packet_too_long",
        }
    }
}

/// Replays a capture, once or over and over.
#[derive(Debug)]
pub struct Replay {
    capture: Arc<Capture>,
    pool: Pool,
    next: usize,
    passes_left: u64,
    received: u64,
    dropped: Tally<ReplayDrop>,
}

impl Replay {
    /// A port that replays `capture` `passes` times into buffers of `pool`.
    #[must_use]
    pub fn new(capture: Arc<Capture>, pool: Pool, passes: u64) -> Self {
        Self { capture, pool, next: 0, passes_left: passes, received: 0, dropped: Tally::default() }
    }

    /// Starts over, for `passes` more passes; the counters go on.
    pub fn rewind(&mut self, passes: u64) {
        self.next = 0;
        self.passes_left = passes;
    }

    /// The packet that comes next, from 0.
    #[must_use]
    pub fn position(&self) -> usize {
        self.next
    }

    /// One packet into the burst; false when no buffer is free.
    #[inline(always)]
    fn receive_one(&mut self, burst: &mut Burst<Mbuf>) -> bool {
        let Some(packet) = self.capture.packet(self.next) else { return false };
        let whole = packet.data.len() == packet.original_len as usize;
        if whole {
            let Some(mut mbuf) = self.pool.alloc_copy(packet.data) else {
                return self.no_buffer(packet.data.len());
            };
            mbuf.set_number(self.next as u32);
            mbuf.set_timestamp_ns(packet.timestamp_ns);
            // Room was seen to by the caller.
            drop(burst.push(mbuf));
        } else {
            self.dropped.add(ReplayDrop::CaptureTruncated, 1);
        }
        self.received += 1;
        self.next += 1;
        true
    }

    /// Waits for buffers, unless the packet would not fit even an empty pool's longest chain.
    #[cold]
    fn no_buffer(&mut self, len: usize) -> bool {
        let longest =
            self.pool.buffer_len() * usize::from(crate::mbuf::MAX_SEGMENTS).min(self.pool.buffers());
        if len <= longest && self.pool.available() < self.pool.buffers() {
            return false;
        }
        self.dropped.add(ReplayDrop::TooLong, 1);
        self.received += 1;
        self.next += 1;
        true
    }
}

impl RxPort for Replay {
    #[inline]
    fn receive(&mut self, burst: &mut Burst<Mbuf>, limit: usize) -> Receive {
        let limit = limit.min(burst.room());
        let before = burst.len();
        while burst.len() - before < limit {
            if self.next >= self.capture.len() {
                self.passes_left = self.passes_left.saturating_sub(1);
                if self.passes_left == 0 || self.capture.is_empty() {
                    break;
                }
                self.next = 0;
            }
            if !self.receive_one(burst) {
                break;
            }
        }
        match burst.len() > before {
            true => Receive::Packets,
            false if self.passes_left == 0 || self.capture.is_empty() => Receive::End,
            false => Receive::Idle,
        }
    }

    fn account(&self, ledger: &mut Ledger) {
        ledger.received += self.received;
        Ledger::merge(&mut ledger.dropped, &self.dropped);
    }
}

/// Writes every packet to a capture file, with the packet's own timestamp.
#[derive(Debug)]
pub struct CaptureTx {
    writer: Option<CaptureWriter>,
    error: Option<CaptureError>,
    scratch: Vec<u8>,
    packets: u64,
}

impl CaptureTx {
    /// A port that writes to `writer`.
    #[must_use]
    pub fn new(writer: CaptureWriter) -> Self {
        Self { writer: Some(writer), error: None, scratch: Vec::new(), packets: 0 }
    }

    /// Flushes and closes the file.
    ///
    /// # Errors
    /// The first error that writing met; packets after it were counted as sent but not written.
    pub fn finish(mut self) -> Result<(), CaptureError> {
        match (self.error.take(), self.writer.take()) {
            (Some(error), _) => Err(error),
            (None, Some(writer)) => writer.finish(),
            (None, None) => Ok(()),
        }
    }

    fn write(&mut self, packet: &Mbuf) -> Result<(), CaptureError> {
        let Some(writer) = self.writer.as_mut() else { return Ok(()) };
        let len = packet.packet_len() as u32;
        if !packet.is_chained() {
            return writer.write(packet.timestamp_ns(), len, packet.data());
        }
        self.scratch.clear();
        packet.segments().for_each(|segment| self.scratch.extend_from_slice(segment));
        writer.write(packet.timestamp_ns(), len, &self.scratch)
    }
}

impl TxPort for CaptureTx {
    fn transmit(&mut self, burst: &mut Burst<Mbuf>) -> usize {
        let count = burst.len();
        for packet in burst.drain() {
            if let Err(error) = self.write(&packet) {
                self.error.get_or_insert(error);
                self.writer = None;
            }
        }
        self.packets += count as u64;
        count
    }
    fn account(&self, ledger: &mut Ledger) {
        ledger.sent += self.packets;
    }
}
