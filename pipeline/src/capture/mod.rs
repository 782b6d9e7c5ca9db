//! Capture files (pcap and pcapng): read whole into memory, then immutable; written record by record.
//!
//! Purpose: give a port packets to replay and a place to record them. [`Capture`] keeps the file's own bytes in one
//! allocation and a small record per packet that points into it, so that loading copies no packet and a capture can be
//! shared between cores behind an `Arc`.
//!
//! Invariant: every record lies inside the bytes, its captured length is at most its original length and at most
//! [`MAX_PACKET`]. A file that breaks this is refused as a whole, with the packet's number; memory use is bounded by the
//! file's size, whatever its bytes say.
//!
//! What it does not do: it maps no file, follows no file that grows, unpacks nothing, looks into no packet, and strips
//! neither link headers nor frame check sequences. Comments, names and statistics of a pcapng file are skipped.
//!
//! The formats are those of draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng.

mod block;
mod error;
mod link_type;
mod pcap;
mod pcapng;
mod record;
mod resolution;
mod source;
mod spool;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt;
use std::path::Path;

pub use error::{CaptureError, Fault};
pub use link_type::LinkType;
pub use record::Packet;
use record::{Contents, PacketRecord};
pub use resolution::TimestampResolution;
pub use writer::CaptureWriter;

/// The longest packet that is read or written, in captured bytes: the largest snap length in use by capture programs.
///
/// A record that claims more is damage, not a packet.
pub const MAX_PACKET: usize = 262_144;

/// The two file formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The classic format: one header, then packets of one link type.
    Pcap,
    /// The block format: sections, interfaces, packets.
    PcapNg,
}

/// A capture file in memory: immutable, to be shared behind an `Arc`.
///
/// ```
/// use pipeline::capture::{Capture, Format, LinkType};
///
/// // A pcap header (little-endian, microseconds, Ethernet) and no packet.
/// let header = [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0];
/// let capture = Capture::from_bytes("empty.pcap", header)?;
/// assert_eq!((capture.format(), capture.link_type(), capture.len()), (Format::Pcap, LinkType::Ethernet, 0));
/// # Ok::<(), pipeline::capture::CaptureError>(())
/// ```
#[derive(Clone)]
pub struct Capture {
    bytes: Vec<u8>,
    format: Format,
    contents: Contents,
}

impl Capture {
    /// Reads a whole file, or a pipe of up to 4 GiB to its end.
    ///
    /// # Errors
    /// [`CaptureError`] with the path in it: the file cannot be read, is a device or a directory, is not a capture, or is
    /// damaged.
    pub fn read(path: &Path) -> Result<Self, CaptureError> {
        let bytes = source::read(path)?;
        Self::from_bytes(&path.display().to_string(), bytes)
    }

    /// Reads a capture that is already in memory; `name` stands for the file in errors.
    ///
    /// # Errors
    /// [`CaptureError`] when the bytes are not a capture, or a damaged one.
    pub fn from_bytes(name: &str, bytes: impl Into<Vec<u8>>) -> Result<Self, CaptureError> {
        let bytes = bytes.into();
        let format = recognise(name, &bytes)?;
        let contents = match format {
            Format::Pcap => pcap::read(name, &bytes)?,
            Format::PcapNg => pcapng::read(name, &bytes)?,
        };
        Ok(Self { bytes, format, contents })
    }

    /// The format of the file.
    pub fn format(&self) -> Format {
        self.format
    }

    /// What each packet begins with.
    pub fn link_type(&self) -> LinkType {
        self.contents.link_type
    }

    /// The resolution that keeps every timestamp of the file: microseconds if that is the unit of all the interfaces
    /// that packets came from, nanoseconds otherwise.
    pub fn resolution(&self) -> TimestampResolution {
        self.contents.resolution
    }

    /// Whether every packet came with a time. Simple Packet Blocks have none; their timestamp reads as 0.
    pub fn is_timed(&self) -> bool {
        self.contents.timed
    }

    /// Number of packets.
    pub fn len(&self) -> usize {
        self.contents.records.len()
    }

    /// Whether there is no packet.
    pub fn is_empty(&self) -> bool {
        self.contents.records.is_empty()
    }

    /// Packet `index`, counted from 0 (packet number less one).
    pub fn packet(&self, index: usize) -> Option<Packet<'_>> {
        self.contents.records.get(index).map(|record| record.packet(&self.bytes))
    }

    /// The packets in the order of the file.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Packet<'_>> + DoubleEndedIterator + Clone {
        self.contents.records.iter().map(|record| record.packet(&self.bytes))
    }

    /// The packets in the order of the file, from packet `index` (counted from 0) on.
    pub fn iter_from(&self, index: usize) -> impl ExactSizeIterator<Item = Packet<'_>> + Clone {
        let records = self.contents.records.get(index..).unwrap_or_default();
        records.iter().map(|record: &PacketRecord| record.packet(&self.bytes))
    }

    /// Captured bytes of all packets together, without the file's own headers.
    pub fn bytes_total(&self) -> u64 {
        self.contents.bytes_total
    }

    /// Captured length of the longest packet in bytes, 0 without packets: what a buffer must hold.
    pub fn longest(&self) -> usize {
        self.contents.longest
    }
}

impl fmt::Debug for Capture {
    /// Without the packets: they are many, and may be private.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = out.debug_struct("Capture");
        shown
            .field("format", &self.format)
            .field("link_type", &self.link_type())
            .field("packets", &self.len());
        shown.finish_non_exhaustive()
    }
}

/// Tells the format by the first four bytes; whatever is no capture gets the error that helps most.
fn recognise(name: &str, bytes: &[u8]) -> Result<Format, CaptureError> {
    let file = || name.to_owned();
    if bytes.is_empty() {
        return Err(CaptureError::NotACapture { file: file(), why: "the file is empty".to_owned() });
    }
    match *bytes {
        [0x0a, 0x0d, 0x0d, 0x0a, ..] => Ok(Format::PcapNg),
        [0xa1, 0xb2, 0xc3, 0xd4, ..] | [0xd4, 0xc3, 0xb2, 0xa1, ..] => Ok(Format::Pcap),
        [0xa1, 0xb2, 0x3c, 0x4d, ..] | [0x4d, 0x3c, 0xb2, 0xa1, ..] => Ok(Format::Pcap),
        [0x1f, 0x8b, ..] => Err(CaptureError::Compressed { file: file(), tool: "gunzip" }),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Err(CaptureError::Compressed { file: file(), tool: "unzstd" }),
        [0x04, 0x22, 0x4d, 0x18, ..] => Err(CaptureError::Compressed { file: file(), tool: "unlz4" }),
        [0xfd, b'7', b'z', b'X', ..] => Err(CaptureError::Compressed { file: file(), tool: "unxz" }),
        [b'B', b'Z', b'h', ..] => Err(CaptureError::Compressed { file: file(), tool: "bunzip2" }),
        [b'P', b'K', 3, 4, ..] => Err(CaptureError::Compressed { file: file(), tool: "unzip" }),
        [0xa1, 0xb2, 0xcd, 0x34, ..] | [0x34, 0xcd, 0xb2, 0xa1, ..] => {
            let why =
                "an old variant of pcap with longer packet headers, which `editcap` can convert".to_owned();
            Err(CaptureError::NotACapture { file: file(), why })
        }
        _ => {
            let start: Vec<String> = bytes.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
            Err(CaptureError::NotACapture {
                file: file(),
                why: format!("it begins with {}", start.join(" ")),
            })
        }
    }
}
