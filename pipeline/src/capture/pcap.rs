//! Reading the classic format: one header, then records of 16 bytes and the packet.
//!
//! Header and records are taken apart by `pcap-file`; its raw records are used because its checked ones refuse every
//! packet that the snap length has cut, which is what snap lengths are for. The checks are made here, with packet numbers.
//! What it does not do: correct times by the header's zone field, which all writers leave 0.

use pcap_file::pcap::{PcapParser, RawPcapPacket};
use pcap_file::{Endianness, PcapError, TsResolution};

use super::record::{Contents, Lengths};
use super::resolution::NANOS_PER_SECOND;
use super::{CaptureError, Fault, LinkType, TimestampResolution};

/// Length of a record's head: seconds, fraction, captured length, original length, four bytes each.
const RECORD_HEAD: usize = 16;

/// Where the captured length stands in the record's head.
const CAPTURED_AT: usize = 8;

/// Reads all of a file whose magic number is one of pcap's.
pub(super) fn read(file: &str, bytes: &[u8]) -> Result<Contents, CaptureError> {
    let (mut rest, parser) = PcapParser::new(bytes).map_err(|error| bad_header(file, bytes, &error))?;
    let header = parser.header();
    if (header.version_major, header.version_minor) != (2, 4) {
        let (major, minor) = (header.version_major, header.version_minor);
        return Err(CaptureError::Version { file: file.to_owned(), format: "pcap", major, minor });
    }
    let resolution = match header.ts_resolution {
        TsResolution::MicroSecond => TimestampResolution::Micro,
        TsResolution::NanoSecond => TimestampResolution::Nano,
    };
    let mut contents = Contents::new(link_type(header.datalink.into()), resolution);
    while !rest.is_empty() {
        let at_packet = |fault| CaptureError::packet(file, contents.records.len(), fault);
        let (after, raw) =
            parser.next_raw_packet(rest).map_err(|_| at_packet(incomplete(rest, header.endianness)))?;
        let lengths = Lengths::check(raw.incl_len, raw.orig_len).map_err(at_packet)?;
        let time = timestamp(&raw, resolution).map_err(at_packet)?;
        contents.push(time, bytes.len() - after.len() - lengths.captured() as usize, lengths);
        rest = after;
    }
    Ok(contents)
}

/// The upper half of the header's link type field may hold the length of a frame check sequence.
fn link_type(field: u32) -> LinkType {
    LinkType::from_number((field & 0xffff) as u16)
}

fn bad_header(file: &str, bytes: &[u8], error: &PcapError) -> CaptureError {
    let why = match error {
        PcapError::IncompleteBuffer => format!("its header is cut short after {} bytes", bytes.len()),
        other => other.to_string(),
    };
    CaptureError::NotACapture { file: file.to_owned(), why }
}

/// Why the bytes that are left hold no whole record.
fn incomplete(rest: &[u8], endianness: Endianness) -> Fault {
    let left = rest.len() as u64;
    let captured =
        rest.get(..RECORD_HEAD).and_then(|head| head.get(CAPTURED_AT..)).and_then(<[u8]>::first_chunk);
    let Some(&captured) = captured else {
        return Fault::CutShort { needed: RECORD_HEAD as u64, left };
    };
    let captured = match endianness {
        Endianness::Big => u32::from_be_bytes(captured),
        Endianness::Little => u32::from_le_bytes(captured),
    };
    match Lengths::check(captured, captured) {
        Ok(_) => Fault::CutShort { needed: RECORD_HEAD as u64 + u64::from(captured), left },
        Err(fault) => fault,
    }
}

fn timestamp(raw: &RawPcapPacket<'_>, resolution: TimestampResolution) -> Result<u64, Fault> {
    let too_large = Fault::FractionOverSecond { fraction: raw.ts_frac };
    let fraction = raw.ts_frac.checked_mul(resolution.nanos_per_tick()).ok_or(too_large)?;
    if fraction >= NANOS_PER_SECOND {
        return Err(too_large);
    }
    Ok(u64::from(raw.ts_sec) * u64::from(NANOS_PER_SECOND) + u64::from(fraction))
}
