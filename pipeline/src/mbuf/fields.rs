//! Fields that travel with a packet, in its header's line. Nothing here looks at its bytes.

use super::Mbuf;

impl Mbuf {
    /// Which packet of its source this is, from 0.
    #[inline]
    #[must_use]
    pub fn number(&self) -> u32 {
        self.header().number
    }

    /// Sets [`Mbuf::number`].
    #[inline]
    pub fn set_number(&mut self, number: u32) {
        self.header_mut().number = number;
    }

    /// Clock tick of the burst with which the packet was received.
    #[inline(always)]
    #[must_use]
    pub fn rx_tick(&self) -> u64 {
        self.header().rx_tick
    }

    /// Sets [`Mbuf::rx_tick`].
    #[inline(always)]
    pub fn set_rx_tick(&mut self, tick: u64) {
        self.header_mut().rx_tick = tick;
    }

    /// Time at which the packet was captured, in nanoseconds since the epoch of its source.
    #[inline]
    #[must_use]
    pub fn timestamp_ns(&self) -> u64 {
        self.header().timestamp_ns
    }

    /// Sets [`Mbuf::timestamp_ns`].
    #[inline]
    pub fn set_timestamp_ns(&mut self, timestamp_ns: u64) {
        self.header_mut().timestamp_ns = timestamp_ns;
    }

    /// Bytes of link header in front of the network header.
    #[inline(always)]
    #[must_use]
    pub fn l2_len(&self) -> usize {
        usize::from(self.header().l2_len)
    }

    /// Sets [`Mbuf::l2_len`].
    #[inline(always)]
    pub fn set_l2_len(&mut self, len: u8) {
        self.header_mut().l2_len = len;
    }

    /// Place of the packet in an order that somebody keeps; see [`crate::reorder`].
    #[inline(always)]
    #[must_use]
    pub fn order(&self) -> u32 {
        self.header().order
    }

    /// Sets [`Mbuf::order`].
    #[inline(always)]
    pub fn set_order(&mut self, order: u32) {
        self.header_mut().order = order;
    }

    /// What an inline engine is asked to do on transmit; opaque here, 0 for nothing.
    #[inline]
    #[must_use]
    pub fn offload(&self) -> u64 {
        self.header().offload
    }

    /// Sets [`Mbuf::offload`].
    #[inline]
    pub fn set_offload(&mut self, word: u64) {
        self.header_mut().offload = word;
    }

    /// What an inline engine did on receive; opaque here, 0 for nothing.
    #[inline]
    #[must_use]
    pub fn rx_status(&self) -> u32 {
        self.header().rx_status
    }

    /// Sets [`Mbuf::rx_status`].
    #[inline]
    pub fn set_rx_status(&mut self, status: u32) {
        self.header_mut().rx_status = status;
    }
}
