//! What a card did, and what went wrong with it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::fault::Fault;

/// What a card did; written by its engine, read by whoever asks.
#[derive(Debug, Default)]
pub(in crate::drivers::nic) struct Counters {
    pub(super) doorbells: AtomicU64,
    pub(super) commands: AtomicU64,
    pub(super) completions: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) resets: AtomicU64,
    faults: [AtomicU64; Fault::ALL.len()],
    frames: [AtomicU64; Frames::ALL.len()],
}

/// What became of frames. `Tx` is the sum of the four behind it and of what is inside, `Rx` that of the six behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frames {
    /// Read from the host.
    Tx,
    /// Gone out by the wire.
    Sent,
    /// Their request could not be fulfilled.
    TxRefused,
    /// Inside when the card was reset or pulled out.
    TxLost,
    /// The link was down.
    TxLinkDown,
    /// Taken from the wire.
    Rx,
    /// Put into buffers of the host.
    Delivered,
    /// There was no buffer.
    NoRxBuffer,
    /// The link was down, or the card was being reset, or was out of its slot.
    RxLinkDown,
    /// Inside when the card was reset or pulled out, or their buffer could not be reached.
    RxLost,
    /// Longer than the buffer.
    RxTooLong,
    /// ESP with nothing inside.
    RxDummies,
}

impl Frames {
    const ALL: [(Self, &'static str); 12] = [
        (Self::Tx, "tx_frames"),
        (Self::Sent, "tx_sent"),
        (Self::TxRefused, "tx_refused"),
        (Self::TxLost, "tx_lost"),
        (Self::TxLinkDown, "tx_link_down"),
        (Self::Rx, "rx_frames"),
        (Self::Delivered, "rx_delivered"),
        (Self::NoRxBuffer, "no_rx_buffer"),
        (Self::RxLinkDown, "rx_link_down"),
        (Self::RxLost, "rx_lost"),
        (Self::RxTooLong, "rx_too_long"),
        (Self::RxDummies, "rx_dummies"),
    ];
}

impl Counters {
    pub(super) fn struck(&self, fault: Fault) {
        if let Some(count) = self.faults.get(fault as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn frame(&self, what: Frames) {
        self.frames(what, 1);
    }

    pub(super) fn frames(&self, what: Frames, count: usize) {
        if let Some(counter) = self.frames.get(what as usize) {
            counter.fetch_add(count as u64, Ordering::Relaxed);
        }
    }

    pub(super) fn list(&self) -> Vec<(&'static str, u64)> {
        let plain = [
            ("doorbells", &self.doorbells),
            ("commands", &self.commands),
            ("completions", &self.completions),
            ("bytes", &self.bytes),
            ("resets", &self.resets),
        ];
        let faults = Fault::ALL.iter().zip(&self.faults).map(|(fault, count)| (fault.name(), count));
        let frames = Frames::ALL.iter().zip(&self.frames).map(|((_, name), count)| (*name, count));
        let rare = frames.chain(faults).filter(|(_, count)| count.load(Ordering::Relaxed) > 0);
        let all = plain.into_iter().chain(rare);
        all.map(|(name, count)| (name, count.load(Ordering::Relaxed))).collect()
    }
}
