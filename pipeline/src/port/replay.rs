//! The capture ports: replay a capture from memory, and write packets to a capture file.
//!
//! Replaying copies each packet into a fresh buffer, as a port that receives would. A packet that the capture
//! cut short cannot be replayed; it is dropped and counted here.

use std::sync::Arc;

use crate::burst::Burst;
use crate::capture::{Capture, CaptureError, CaptureWriter};
use crate::mbuf::{MAX_SEGMENTS, Mbuf};
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
    /// Every packet is whole and fits one buffer, and all are replayed.
    plain: bool,
    /// Numbers of the packets that are replayed, where it is not all of them.
    picked: Option<Vec<u32>>,
    next: usize,
    passes_left: u64,
    received: u64,
    dropped: Tally<ReplayDrop>,
}

impl Replay {
    /// A port that replays `capture` `passes` times into buffers of `pool`.
    #[must_use]
    pub fn new(capture: Arc<Capture>, pool: Pool, passes: u64) -> Self {
        let plain =
            capture.longest() <= pool.buffer_len() && !capture.iter().any(|packet| packet.is_truncated());
        Self {
            capture,
            pool,
            plain,
            picked: None,
            next: 0,
            passes_left: passes,
            received: 0,
            dropped: Tally::default(),
        }
    }

    /// As [`Replay::new`], for only the packets of these numbers, in this order: one core's share of a capture.
    #[must_use]
    pub fn of_packets(capture: Arc<Capture>, pool: Pool, passes: u64, mut numbers: Vec<u32>) -> Self {
        numbers.retain(|&number| (number as usize) < capture.len());
        Self { plain: false, picked: Some(numbers), ..Self::new(capture, pool, passes) }
    }

    /// Packets of one pass.
    #[inline(always)]
    fn len(&self) -> usize {
        self.picked.as_ref().map_or(self.capture.len(), Vec::len)
    }

    /// Number in the capture of the packet at `place` of a pass.
    #[inline(always)]
    fn number_at(&self, place: usize) -> usize {
        match &self.picked {
            None => place,
            Some(picked) => picked.get(place).map_or(usize::MAX, |&number| number as usize),
        }
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

    /// Copies packets from the capture until `limit` are there, the capture ends, or buffers run out.
    #[inline(always)]
    fn copy_packets(&mut self, burst: &mut Burst<Mbuf>, limit: usize) {
        if !self.plain {
            return self.copy_any(burst, limit);
        }
        let before = burst.len();
        self.pool.alloc_burst(burst, limit.min(self.capture.len() - self.next));
        let packets = burst.as_mut_slice().iter_mut().skip(before);
        for (number, (mbuf, packet)) in
            (self.next as u32..).zip(packets.zip(self.capture.iter_from(self.next)))
        {
            // A plain capture's packets fit a buffer each.
            let _fits = mbuf.fill(packet.data);
            mbuf.set_number(number);
            mbuf.set_timestamp_ns(packet.timestamp_ns);
        }
        self.count(burst.len() - before);
    }

    /// As above where some packets are cut short, or longer than a buffer.
    fn copy_any(&mut self, burst: &mut Burst<Mbuf>, limit: usize) {
        let mut place = self.next;
        let end = (self.next + limit).min(self.len());
        while place < end {
            let number = self.number_at(place);
            let Some(packet) = self.capture.packet(number) else { break };
            if packet.is_truncated() {
                self.dropped.add(ReplayDrop::CaptureTruncated, 1);
            } else if let Some(mut mbuf) = self.pool.alloc_copy(packet.data) {
                mbuf.set_number(number as u32);
                mbuf.set_timestamp_ns(packet.timestamp_ns);
                // Room was seen to by the caller.
                drop(burst.push(mbuf));
            } else if self.can_ever_hold(packet.data.len()) {
                break;
            } else {
                self.dropped.add(ReplayDrop::TooLong, 1);
            }
            place += 1;
        }
        self.count(place - self.next);
    }

    #[inline(always)]
    fn count(&mut self, done: usize) {
        self.received += done as u64;
        self.next += done;
    }

    /// Whether waiting for buffers helps: not when the packet exceeds the longest chain, or the whole pool.
    #[cold]
    fn can_ever_hold(&self, len: usize) -> bool {
        len <= self.pool.buffer_len() * usize::from(MAX_SEGMENTS).min(self.pool.buffers())
    }

    /// Begins the next pass when this one is over; false when there is none.
    #[inline(always)]
    fn has_more(&mut self) -> bool {
        if self.next < self.len() && self.passes_left > 0 {
            return true;
        }
        self.passes_left = self.passes_left.saturating_sub(1);
        if self.passes_left == 0 || self.len() == 0 {
            return false;
        }
        self.next = 0;
        true
    }
}

impl RxPort for Replay {
    /// Of a run of packets that are all dropped here, a call goes through `limit` at most, and says `Idle`: a caller
    /// that asks for one packet moves the capture on by one.
    #[inline]
    fn receive(&mut self, burst: &mut Burst<Mbuf>, limit: usize) -> Receive {
        let limit = limit.min(burst.room());
        let before = burst.len();
        while burst.len() - before < limit {
            if !self.has_more() {
                return if burst.len() > before { Receive::Packets } else { Receive::End };
            }
            let turn = burst.len();
            self.copy_packets(burst, limit - (turn - before));
            // No buffers, or all that the turn went through were dropped.
            if burst.len() == turn {
                break;
            }
        }
        if burst.len() > before { Receive::Packets } else { Receive::Idle }
    }

    fn account(&self, ledger: &mut Ledger) {
        ledger.received += self.received;
        ledger.drops_of("replay", &self.dropped);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PoolConfig;

    /// A pcap of packets of the given captured and original lengths.
    fn capture(lengths: &[(u32, u32)]) -> Arc<Capture> {
        let mut file = [&b"\xd4\xc3\xb2\xa1\x02\0\x04\0"[..], &[0; 8], &[0, 0, 4, 0, 1, 0, 0, 0]].concat();
        for (&(captured, original), seconds) in lengths.iter().zip(1_u32..) {
            for field in [seconds, 0, captured, original] {
                file.extend(field.to_le_bytes());
            }
            file.resize(file.len() + captured as usize, 0x5a);
        }
        Arc::new(Capture::from_bytes("test.pcap", file).unwrap())
    }

    fn replay(lengths: &[(u32, u32)], passes: u64) -> Replay {
        let pool = Pool::new(PoolConfig { buffers: 40, ..PoolConfig::default() }).unwrap();
        Replay::new(capture(lengths), pool, passes)
    }

    /// What each call says, with the numbers of the packets it brings, up to and with the end.
    fn calls(port: &mut Replay, limit: usize) -> Vec<(Receive, Vec<u32>)> {
        let mut said = Vec::new();
        while said.last().is_none_or(|(last, _)| *last != Receive::End) {
            let mut burst = Burst::new();
            let outcome = port.receive(&mut burst, limit);
            said.push((outcome, burst.iter().map(Mbuf::number).collect()));
        }
        said
    }

    fn counts(port: &Replay) -> (u64, u64, u64) {
        let mut ledger = Ledger::default();
        port.account(&mut ledger);
        let dropped = |reason| port.dropped.count(reason);
        (ledger.received, dropped(ReplayDrop::CaptureTruncated), dropped(ReplayDrop::TooLong))
    }

    const WHOLE: (u32, u32) = (60, 60);
    const CUT: (u32, u32) = (60, 1500);
    /// Longer than a chain of all of the pool's 40 buffers.
    const LONG: (u32, u32) = (100_000, 100_000);

    #[test]
    fn asked_for_one_packet_each_call_moves_the_capture_on_by_one() {
        let mut port = replay(&[WHOLE, CUT, WHOLE], 1);
        let expected = [
            (Receive::Packets, vec![0]),
            (Receive::Idle, vec![]),
            (Receive::Packets, vec![2]),
            (Receive::End, vec![]),
        ];
        assert_eq!(calls(&mut port, 1), expected);
        assert_eq!(counts(&port), (3, 1, 0));
    }

    #[test]
    fn a_capture_of_nothing_but_drops_ends_after_as_many_calls_as_it_has_packets() {
        let mut port = replay(&[CUT, LONG], 2);
        let mut said: Vec<_> = calls(&mut port, 1).into_iter().map(|(outcome, _)| outcome).collect();
        assert_eq!(said.pop(), Some(Receive::End));
        assert_eq!(said, [Receive::Idle; 4]);
        assert_eq!(counts(&port), (4, 2, 2));
    }

    #[test]
    fn every_pass_is_replayed_whether_or_not_packets_are_dropped() {
        for (lengths, dropped) in
            [(&[WHOLE, WHOLE, WHOLE], 0), (&[WHOLE, CUT, WHOLE], 1), (&[CUT, WHOLE, WHOLE], 1)]
        {
            for limit in [1, 2, 3, 4, 64] {
                let mut port = replay(lengths, 5);
                let packets: Vec<_> =
                    calls(&mut port, limit).into_iter().flat_map(|(_, numbers)| numbers).collect();
                assert_eq!(packets.len(), 5 * (3 - dropped), "limit {limit}");
                let expected = (0..3).filter(|&number| lengths[number as usize] == WHOLE).cycle();
                assert!(packets.into_iter().eq(expected.take(5 * (3 - dropped))), "limit {limit}");
                assert_eq!(counts(&port), (15, 5 * dropped as u64, 0), "limit {limit}");
            }
        }
    }

    #[test]
    fn the_end_comes_with_the_call_after_the_last_packets_and_stays() {
        let mut port = replay(&[WHOLE, WHOLE], 1);
        assert_eq!(calls(&mut port, 64), [(Receive::Packets, vec![0, 1]), (Receive::End, vec![])]);
        assert_eq!(calls(&mut port, 64), [(Receive::End, vec![])]);
        port.rewind(1);
        assert_eq!(calls(&mut port, 1).len(), 3);
    }

    #[test]
    fn without_buffers_nothing_is_passed_over() {
        let mut port = replay(&[WHOLE, CUT, WHOLE], 1);
        let held: Vec<_> = std::iter::from_fn(|| port.pool.alloc()).collect();
        let mut burst = Burst::new();
        assert_eq!((port.receive(&mut burst, 32), port.position()), (Receive::Idle, 0));
        drop(held);
        assert_eq!((port.receive(&mut burst, 32), burst.len()), (Receive::Packets, 2));
    }
}
