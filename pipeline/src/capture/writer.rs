//! Writing captures: pcap or pcapng by the ending of the name, little-endian on every machine.
//!
//! Invariant: a packet is written whole or not at all, and one that is refused leaves the file as it was, open for the
//! next. The head is on the disk when the writer is made, so that a run without packets leaves a valid file.
//! What it does not do: write more than one interface, comments, or to a temporary name.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use pcap_file::pcap::{PcapHeader, PcapWriter, RawPcapPacket};
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::{PcapNgBlock, PcapNgWriter};
use pcap_file::{DataLink, Endianness, PcapError, TsResolution};

use super::record::Lengths;
use super::resolution::NANOS_PER_SECOND;
use super::spool::{RecordMark, Spool};
use super::{CaptureError, Fault, Format, LinkType, MAX_PACKET, TimestampResolution};

/// The snap length that files declare: nothing longer is written.
const SNAP_LEN: u32 = MAX_PACKET as u32;

/// A capture file that is being written. Dropping it keeps what was written; [`finish`](Self::finish) also tells whether
/// that worked.
pub struct CaptureWriter {
    file: String,
    output: Output,
    mark: RecordMark,
    resolution: TimestampResolution,
    written: usize,
}

enum Output {
    Pcap(PcapWriter<Spool<File>>),
    PcapNg(PcapNgWriter<Spool<File>>),
}

impl CaptureWriter {
    /// Creates the file, replacing one of that name. The format goes by the ending, in either case: `.pcap` and `.cap`
    /// give pcap, `.pcapng` and `.ntar` give pcapng.
    ///
    /// # Errors
    /// [`CaptureError::UnknownEnding`] before anything is touched; [`CaptureError::Unwritable`].
    pub fn create(
        path: &Path,
        link_type: LinkType,
        resolution: TimestampResolution,
    ) -> Result<Self, CaptureError> {
        let file = path.display().to_string();
        let Some(format) = format_of(path) else {
            return Err(CaptureError::UnknownEnding { file });
        };
        let opened = File::create(path).and_then(|target| {
            let (spool, mark) = Spool::new(target);
            Ok((Output::open(spool, format, link_type, resolution).map_err(into_io)?, mark))
        });
        match opened {
            Ok((output, mark)) => Ok(Self { file, output, mark, resolution, written: 0 }),
            Err(source) => Err(CaptureError::Unwritable { file, source }),
        }
    }

    /// The format that the name asked for.
    pub fn format(&self) -> Format {
        match self.output {
            Output::Pcap(_) => Format::Pcap,
            Output::PcapNg(_) => Format::PcapNg,
        }
    }

    /// Number of packets written.
    pub fn len(&self) -> usize {
        self.written
    }

    /// Whether no packet was written yet.
    pub fn is_empty(&self) -> bool {
        self.written == 0
    }

    /// Writes one packet: nanoseconds since 1970 (what is under the file's resolution is dropped), the length that it
    /// once had, and the bytes that are left of it. Packets are gathered; the disk sees them later.
    ///
    /// # Errors
    /// [`CaptureError::Packet`] when the packet cannot be in such a file: it is longer than [`MAX_PACKET`] or than
    /// `original_len`, or its time is beyond 2106 in a pcap file. The next one can be written all the same.
    /// [`CaptureError::Unwritable`] when the disk fails; the file then ends after a whole packet and takes no more.
    pub fn write(&mut self, timestamp_ns: u64, original_len: u32, data: &[u8]) -> Result<(), CaptureError> {
        self.mark.begin();
        let outcome = match &mut self.output {
            Output::Pcap(writer) => write_record(writer, self.resolution, timestamp_ns, original_len, data),
            Output::PcapNg(writer) => write_block(writer, self.resolution, timestamp_ns, original_len, data),
        };
        match outcome {
            Ok(()) => {
                self.written += 1;
                Ok(())
            }
            Err(Refusal::Packet(fault)) => Err(CaptureError::packet(&self.file, self.written, fault)),
            Err(Refusal::Disk(source)) => Err(CaptureError::Unwritable { file: self.file.clone(), source }),
        }
    }

    /// Writes out what is still gathered.
    ///
    /// # Errors
    /// [`CaptureError::Unwritable`] when that fails, or an earlier write did.
    pub fn finish(self) -> Result<(), CaptureError> {
        let mut spool = match self.output {
            Output::Pcap(writer) => writer.into_writer(),
            Output::PcapNg(writer) => writer.into_inner(),
        };
        spool.write_out().map_err(|source| CaptureError::Unwritable { file: self.file, source })
    }
}

impl fmt::Debug for CaptureWriter {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = out.debug_struct("CaptureWriter");
        shown.field("file", &self.file).field("format", &self.format()).field("written", &self.written);
        shown.finish_non_exhaustive()
    }
}

impl Output {
    /// Writes the head of the file.
    fn open(
        spool: Spool<File>,
        format: Format,
        link_type: LinkType,
        resolution: TimestampResolution,
    ) -> Result<Self, PcapError> {
        let datalink = DataLink::from(u32::from(link_type.number()));
        match format {
            Format::Pcap => {
                let ts_resolution = match resolution {
                    TimestampResolution::Micro => TsResolution::MicroSecond,
                    TimestampResolution::Nano => TsResolution::NanoSecond,
                };
                let endianness = Endianness::Little;
                let header = PcapHeader {
                    snaplen: SNAP_LEN,
                    datalink,
                    ts_resolution,
                    endianness,
                    ..PcapHeader::default()
                };
                PcapWriter::with_header(spool, header).map(Self::Pcap)
            }
            Format::PcapNg => {
                let mut writer = PcapNgWriter::with_endianness(spool, Endianness::Little)?;
                let options = vec![InterfaceDescriptionOption::IfTsResol(resolution.option_value())];
                let interface = InterfaceDescriptionBlock { linktype: datalink, snaplen: SNAP_LEN, options };
                writer.write_pcapng_block(interface)?;
                Ok(Self::PcapNg(writer))
            }
        }
    }
}

/// Why a packet was not written.
enum Refusal {
    Packet(Fault),
    Disk(io::Error),
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Packet(fault)
    }
}

impl From<PcapError> for Refusal {
    fn from(error: PcapError) -> Self {
        Self::Disk(into_io(error))
    }
}

fn into_io(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        other => io::Error::other(other.to_string()),
    }
}

fn write_record(
    writer: &mut PcapWriter<Spool<File>>,
    resolution: TimestampResolution,
    timestamp_ns: u64,
    original_len: u32,
    data: &[u8],
) -> Result<(), Refusal> {
    let lengths = check(original_len, data)?;
    let second = u64::from(NANOS_PER_SECOND);
    let ts_sec = u32::try_from(timestamp_ns / second).map_err(|_| Fault::TimeOutOfRange)?;
    let ts_frac = (timestamp_ns % second) as u32 / resolution.nanos_per_tick();
    let (incl_len, orig_len) = (lengths.captured(), original_len);
    writer.write_raw_packet(&RawPcapPacket {
        ts_sec,
        ts_frac,
        incl_len,
        orig_len,
        data: Cow::Borrowed(data),
    })?;
    Ok(())
}

fn write_block(
    writer: &mut PcapNgWriter<Spool<File>>,
    resolution: TimestampResolution,
    timestamp_ns: u64,
    original_len: u32,
    data: &[u8],
) -> Result<(), Refusal> {
    check(original_len, data)?;
    // `pcap-file` writes nanoseconds whatever unit the interface declares, so what it takes for them are our ticks.
    let timestamp = Duration::from_nanos(timestamp_ns / u64::from(resolution.nanos_per_tick()));
    let data = Cow::Borrowed(data);
    let block = EnhancedPacketBlock { interface_id: 0, timestamp, original_len, data, options: Vec::new() };
    writer.write_block(&block.into_block())?;
    Ok(())
}

fn check(original_len: u32, data: &[u8]) -> Result<Lengths, Fault> {
    let captured = u32::try_from(data.len()).map_err(|_| Fault::TooLong { length: data.len() as u64 })?;
    Lengths::check(captured, original_len)
}

fn format_of(path: &Path) -> Option<Format> {
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "pcap" | "cap" => Some(Format::Pcap),
        "pcapng" | "ntar" => Some(Format::PcapNg),
        _ => None,
    }
}
