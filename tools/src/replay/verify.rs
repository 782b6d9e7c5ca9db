//! The tx port of a pass that is looked at: writes what comes out, and on a round trip compares it with what went in.
//!
//! A packet that comes back must equal the captured one byte for byte (less link padding), come back once, and not
//! before an earlier packet of its flow.

use std::collections::HashMap;
use std::sync::Arc;

use ipsec_esp::flow_key::FlowKey;
use ipsec_esp::header::link::Link;
use pipeline::capture::{Capture, CaptureError, CaptureWriter};
use pipeline::port::{CaptureTx, NullTx, TxPort};
use pipeline::{Burst, Ledger, Mbuf};

/// What a capture's packet must look like when it comes back.
#[derive(Clone, Copy, Debug)]
struct Expected {
    /// Bytes without link padding.
    len: usize,
    flow: usize,
}

/// Compares packets that come back with a capture.
#[derive(Clone, Debug)]
pub struct Comparison {
    capture: Arc<Capture>,
    expected: Vec<Expected>,
    back: Vec<bool>,
    last_of_flow: Vec<Option<u32>>,
    scratch: Vec<u8>,
    differing: u64,
    repeated: u64,
    reordered: u64,
}

impl Comparison {
    /// Works out flows and lengths of the capture's packets.
    #[must_use]
    pub fn new(capture: Arc<Capture>, link: Link) -> Self {
        let mut flows: HashMap<Option<FlowKey>, usize> = HashMap::new();
        let mut expected = Vec::with_capacity(capture.len());
        for packet in capture.iter() {
            let (len, key) = shape(packet.data, link);
            let next = flows.len();
            expected.push(Expected { len, flow: *flows.entry(key).or_insert(next) });
        }
        Self {
            back: vec![false; expected.len()],
            last_of_flow: vec![None; flows.len()],
            expected,
            capture,
            scratch: Vec::new(),
            differing: 0,
            repeated: 0,
            reordered: 0,
        }
    }

    fn look(&mut self, packet: &Mbuf) {
        let number = packet.number() as usize;
        let (Some(expected), Some(captured)) =
            (self.expected.get(number).copied(), self.capture.packet(number))
        else {
            self.differing += 1;
            return;
        };
        self.scratch.clear();
        packet.segments().for_each(|segment| self.scratch.extend_from_slice(segment));
        if captured.data.get(..expected.len) != Some(self.scratch.as_slice()) {
            self.differing += 1;
        }
        if self.back.get_mut(number).is_none_or(|back| std::mem::replace(back, true)) {
            self.repeated += 1;
        }
        if let Some(last) = self.last_of_flow.get_mut(expected.flow) {
            if last.is_some_and(|last| last >= packet.number()) {
                self.reordered += 1;
            }
            *last = Some(packet.number());
        }
    }

    /// Adds what another core's comparison found: a flow must have come back by one core alone.
    pub fn add(&mut self, other: &Self) {
        for (back, more) in self.back.iter_mut().zip(&other.back) {
            self.repeated += u64::from(*back && *more);
            *back |= more;
        }
        for (last, more) in self.last_of_flow.iter_mut().zip(&other.last_of_flow) {
            self.reordered += u64::from(last.is_some() && more.is_some());
            *last = last.or(*more);
        }
        self.differing += other.differing;
        self.repeated += other.repeated;
        self.reordered += other.reordered;
    }

    /// What is wrong with what came back, in words; `None` when nothing is. `due` packets should have come back.
    #[must_use]
    pub fn complaint(&self, due: u64) -> Option<String> {
        let back = self.back.iter().filter(|&&back| back).count() as u64;
        let missing = due.saturating_sub(back);
        let counts = [
            (missing, "missing"),
            (self.differing, "different"),
            (self.repeated, "repeated"),
            (self.reordered, "out of order"),
        ];
        let words =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
        let words: Vec<_> = words.collect();
        (!words.is_empty()).then(|| words.join(", "))
    }
}

/// Length without link padding, and flow; packets that are not IP make up one flow.
fn shape(frame: &[u8], link: Link) -> (usize, Option<FlowKey>) {
    let network = link.parse(frame).filter(|network| network.version.is_some());
    let Some(l2_len) = network.map(|network| usize::from(network.l2_len)) else { return (frame.len(), None) };
    match frame.get(l2_len..).map(FlowKey::parse) {
        Some(Ok(flow)) => (l2_len + flow.total_len as usize, Some(flow.key)),
        _ => (frame.len(), None),
    }
}

/// Where packets of a pass go.
#[derive(Debug)]
pub struct Sink {
    comparison: Option<Comparison>,
    writer: Option<CaptureTx>,
    /// Where several cores send, packets to be written wait here for those of the others.
    kept: Option<Vec<Kept>>,
    null: NullTx,
}

/// A packet to be written: its number in the capture, its time, its bytes.
type Kept = (u32, u64, Vec<u8>);

impl Sink {
    /// Compares where there is something to compare with, writes where there is a file.
    #[must_use]
    pub fn new(comparison: Option<Comparison>, writer: Option<CaptureTx>) -> Self {
        Self { comparison, writer, kept: None, null: NullTx::default() }
    }

    /// Compares as above, and keeps packets to be written with those of other cores.
    #[must_use]
    pub fn keeping(comparison: Option<Comparison>) -> Self {
        Self { kept: Some(Vec::new()), ..Self::new(comparison, None) }
    }

    /// Neither: frees what it gets.
    #[must_use]
    pub fn null() -> Self {
        Self::new(None, None)
    }

    /// Writes what goes out from now on.
    pub fn write_to(&mut self, writer: CaptureTx) {
        self.writer = Some(writer);
    }

    /// What the comparison found.
    #[must_use]
    pub fn comparison(&self) -> Option<&Comparison> {
        self.comparison.as_ref()
    }

    /// Closes the file.
    ///
    /// # Errors
    /// What writing met.
    pub fn finish(self) -> Result<(), CaptureError> {
        self.writer.map_or(Ok(()), CaptureTx::finish)
    }

    /// Writes what the sinks of several cores kept: each core's packets in the order in which it sent them, since an SA's
    /// numbers rise in that order, and between cores as near to the order of the capture as that allows.
    ///
    /// # Errors
    /// What writing met.
    pub fn write_together(sinks: Vec<Self>, mut writer: CaptureWriter) -> Result<(), CaptureError> {
        let mut cores: Vec<_> = sinks.into_iter().filter_map(|sink| sink.kept.map(Vec::into_iter)).collect();
        let next_of = |core: &std::vec::IntoIter<Kept>| core.as_slice().first().map(|&(number, ..)| number);
        while let Some((_, time, bytes)) = cores
            .iter_mut()
            .min_by_key(|core| next_of(core).map_or(u64::MAX, u64::from))
            .and_then(Iterator::next)
        {
            writer.write(time, bytes.len() as u32, &bytes)?;
        }
        writer.finish()
    }
}

fn keep(packet: &Mbuf) -> Kept {
    let mut bytes = Vec::with_capacity(packet.packet_len());
    packet.segments().for_each(|segment| bytes.extend_from_slice(segment));
    (packet.number(), packet.timestamp_ns(), bytes)
}

impl TxPort for Sink {
    #[inline]
    fn transmit(&mut self, burst: &mut Burst<Mbuf>) -> usize {
        if let Some(comparison) = &mut self.comparison {
            burst.iter().for_each(|packet| comparison.look(packet));
        }
        if let Some(kept) = &mut self.kept {
            kept.extend(burst.iter().map(keep));
        }
        match &mut self.writer {
            Some(writer) => writer.transmit(burst),
            None => self.null.transmit(burst),
        }
    }

    fn account(&self, ledger: &mut Ledger) {
        match &self.writer {
            Some(writer) => writer.account(ledger),
            None => self.null.account(ledger),
        }
    }
}
