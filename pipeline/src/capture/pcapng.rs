//! Reading the block format: sections, the interfaces that each describes, and the packets of those.
//!
//! Invariant: a packet counts only if its interface is described before it in its own section, and all packets of the file
//! have one link type. Blocks that are not about packets are skipped by their length.
//! What it does not do: keep options, comments, names, statistics or secrets.

use super::block::{
    Block, ENHANCED_PACKET, Fields, INTERFACE_DESCRIPTION, OBSOLETE_PACKET, Options, Order, SECTION_HEADER,
    SIMPLE_PACKET,
};
use super::record::{Contents, Lengths};
use super::resolution::TickUnit;
use super::{CaptureError, Fault, LinkType, TimestampResolution};

/// Option codes of the Interface Description Block.
const IF_TSRESOL: u16 = 9;
const IF_TSOFFSET: u16 = 14;

/// Lengths of the fixed parts of bodies.
const SECTION_BODY: usize = 16;
const INTERFACE_BODY: usize = 8;
const SIMPLE_BODY: usize = 4;
const PACKET_BODY: usize = 20;

/// Reads all of a file that begins with a section header.
pub(super) fn read(file: &str, bytes: &[u8]) -> Result<Contents, CaptureError> {
    let mut reader =
        Reader { file, order: Order::Little, interfaces: Vec::new(), first: None, contents: None };
    let mut offset = 0;
    while let Some(rest) = bytes.get(offset..).filter(|rest| !rest.is_empty()) {
        let is_packet = Block::looks_like_packet(rest, reader.order);
        offset += reader.block(rest, offset).map_err(|stop| reader.name(stop, is_packet, offset))?;
    }
    reader.finish()
}

/// Why the reading stopped.
enum Stop {
    Fault(Fault),
    Version { major: u16, minor: u16 },
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// What an interface says about the packets that came from it.
#[derive(Debug, Clone, Copy)]
struct Interface {
    link_type: LinkType,
    /// Captured bytes at most; 0 is no limit.
    snap_len: u32,
    unit: TickUnit,
    offset_seconds: i64,
}

struct Reader<'a> {
    file: &'a str,
    /// The byte order of the section.
    order: Order,
    /// The interfaces of the section.
    interfaces: Vec<Interface>,
    /// The first interface of the file, for a file without packets.
    first: Option<Interface>,
    /// Begins with the first packet, which settles the link type.
    contents: Option<Contents>,
}

impl Reader<'_> {
    /// Takes in the block at the front of `rest`, which lies at `offset` of the file; returns its length.
    fn block(&mut self, rest: &[u8], offset: usize) -> Result<usize, Stop> {
        let block = Block::first(rest, self.order)?;
        let body_at = offset + Block::BODY_AT;
        match block.kind {
            SECTION_HEADER => self.section(block.body)?,
            INTERFACE_DESCRIPTION => self.interface(block.body)?,
            ENHANCED_PACKET | OBSOLETE_PACKET => self.timed_packet(block, body_at)?,
            SIMPLE_PACKET => self.simple_packet(block.body, body_at)?,
            _ => (),
        }
        Ok(block.length)
    }

    /// A new section: its own byte order, and no interface yet.
    fn section(&mut self, body: Fields<'_>) -> Result<(), Stop> {
        let version = body.u16_at(4).zip(body.u16_at(6)).filter(|_| body.bytes.len() >= SECTION_BODY);
        let (major, minor) = version.ok_or(too_small(body, SECTION_BODY))?;
        if major != 1 {
            return Err(Stop::Version { major, minor });
        }
        self.order = body.order;
        self.interfaces.clear();
        Ok(())
    }

    fn interface(&mut self, body: Fields<'_>) -> Result<(), Stop> {
        let interface = Interface::read(body)?;
        self.first.get_or_insert(interface);
        self.interfaces.push(interface);
        Ok(())
    }

    /// An Enhanced Packet Block, or an obsolete Packet Block: they differ in the first four bytes only.
    fn timed_packet(&mut self, block: Block<'_>, body_at: usize) -> Result<(), Stop> {
        let body = block.body;
        let id = if block.kind == OBSOLETE_PACKET { body.u16_at(0).map(u32::from) } else { body.u32_at(0) };
        let (Some(id), Some(ticks), Some((captured, original))) =
            (id, body.ticks_at(4), body.u32_at(12).zip(body.u32_at(16)))
        else {
            return Err(too_small(body, PACKET_BODY).into());
        };
        let interface = self.interface_of(id)?;
        let lengths = Lengths::check(captured, original)?;
        has_room(body, PACKET_BODY, lengths)?;
        let time = interface.unit.to_nanos(ticks, interface.offset_seconds).ok_or(Fault::TimeOutOfRange)?;
        self.contents_for(id, interface)?.push(time, body_at + PACKET_BODY, lengths);
        Ok(())
    }

    /// A Simple Packet Block: of the first interface, without a time, cut by that interface's snap length.
    fn simple_packet(&mut self, body: Fields<'_>, body_at: usize) -> Result<(), Stop> {
        let original = body.u32_at(0).ok_or(too_small(body, SIMPLE_BODY))?;
        let interface = self.interface_of(0)?;
        let captured = if interface.snap_len == 0 { original } else { original.min(interface.snap_len) };
        let lengths = Lengths::check(captured, original)?;
        has_room(body, SIMPLE_BODY, lengths)?;
        let contents = self.contents_for(0, interface)?;
        contents.timed = false;
        contents.push(0, body_at + SIMPLE_BODY, lengths);
        Ok(())
    }

    fn interface_of(&self, id: u32) -> Result<Interface, Fault> {
        let known = self.interfaces.len();
        let interface = usize::try_from(id).ok().and_then(|index| self.interfaces.get(index));
        interface.copied().ok_or(Fault::UnknownInterface { interface: id, known })
    }

    /// The contents, if a packet of this interface may be among them; microseconds only while all are.
    fn contents_for(&mut self, id: u32, interface: Interface) -> Result<&mut Contents, Fault> {
        let contents = self.contents.get_or_insert_with(|| interface.no_packets());
        if contents.link_type != interface.link_type {
            let (found, expected) = (interface.link_type, contents.link_type);
            return Err(Fault::MixedLinkTypes { interface: id, found, expected });
        }
        if interface.unit.resolution() == TimestampResolution::Nano {
            contents.resolution = TimestampResolution::Nano;
        }
        Ok(contents)
    }

    /// Puts the file's name and the place to what went wrong.
    fn name(&self, stop: Stop, is_packet: bool, offset: usize) -> CaptureError {
        match stop {
            Stop::Fault(fault) if is_packet => {
                let before = self.contents.as_ref().map_or(0, |contents| contents.records.len());
                CaptureError::packet(self.file, before, fault)
            }
            Stop::Fault(fault) => CaptureError::block(self.file, offset, fault),
            Stop::Version { major, minor } => {
                CaptureError::Version { file: self.file.to_owned(), format: "pcapng", major, minor }
            }
        }
    }

    fn finish(self) -> Result<Contents, CaptureError> {
        let without_packets = || self.first.map(|interface| interface.no_packets());
        let contents = self.contents.or_else(without_packets);
        contents.ok_or_else(|| CaptureError::NoInterface { file: self.file.to_owned() })
    }
}

impl Interface {
    fn read(body: Fields<'_>) -> Result<Self, Fault> {
        let fixed = body.u16_at(0).zip(body.u32_at(4)).zip(body.bytes.get(INTERFACE_BODY..));
        let ((link_type, snap_len), options) = fixed.ok_or(too_small(body, INTERFACE_BODY))?;
        let mut interface = Self {
            link_type: LinkType::from_number(link_type),
            snap_len,
            unit: TickUnit::MICROSECOND,
            offset_seconds: 0,
        };
        for option in Options::of(Fields { bytes: options, order: body.order }) {
            let option = option?;
            match (option.code, option.value.bytes) {
                (IF_TSRESOL, &[unit]) => interface.unit = TickUnit::from_option(unit),
                (IF_TSOFFSET, &[_, _, _, _, _, _, _, _]) => {
                    interface.offset_seconds = option.value.i64_at(0).unwrap_or_default();
                }
                (IF_TSRESOL | IF_TSOFFSET, _) => return Err(option.length_fault()),
                _ => (),
            }
        }
        Ok(interface)
    }

    fn no_packets(&self) -> Contents {
        Contents::new(self.link_type, self.unit.resolution())
    }
}

fn too_small(body: Fields<'_>, needed: usize) -> Fault {
    Fault::BlockRoom { needed: needed as u64, room: body.bytes.len() as u64 }
}

/// Checks that the packet's bytes follow the `fixed` ones in the block. Bodies are multiples of four, so padding fits too.
fn has_room(body: Fields<'_>, fixed: usize, lengths: Lengths) -> Result<(), Fault> {
    let needed = fixed + lengths.captured() as usize;
    if body.bytes.len() < needed { Err(too_small(body, needed)) } else { Ok(()) }
}
