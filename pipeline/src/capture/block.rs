//! pcapng blocks as thin views over bytes: the frame that all share, numbers in either byte order, options.
//!
//! Invariant: nothing here can panic or allocate; what does not fit is `None` or a [`Fault`]. What it does not do: know
//! what the blocks mean.
//!
//! The reader of `pcap-file` is not used for this format. It refuses what the format allows (option lists without an end
//! mark, `if_tzone`, text that is not UTF-8), keeps the padding of Simple Packet Blocks, and exchanges the halves of an
//! obsolete Packet Block's time in little-endian files.

use super::{Fault, MAX_PACKET};

/// Section Header Block; the number reads the same in both byte orders.
pub(super) const SECTION_HEADER: u32 = 0x0a0d_0d0a;
/// Interface Description Block.
pub(super) const INTERFACE_DESCRIPTION: u32 = 1;
/// Packet Block, obsolete but still found.
pub(super) const OBSOLETE_PACKET: u32 = 2;
/// Simple Packet Block.
pub(super) const SIMPLE_PACKET: u32 = 3;
/// Enhanced Packet Block.
pub(super) const ENHANCED_PACKET: u32 = 6;

/// Type, length and the second length at the end.
const FRAME: usize = 12;
/// Where the body begins.
const BODY_AT: usize = 8;
/// What a packet block has besides the packet and its options, at most.
const PACKET_OVERHEAD: usize = 32;

/// The byte order of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Big,
    Little,
}

/// Bytes that hold numbers in one byte order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) order: Order,
}

impl Fields<'_> {
    fn chunk<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.bytes.get(at..)?.first_chunk().copied()
    }

    /// The 16-bit number at `at`.
    pub(super) fn u16_at(&self, at: usize) -> Option<u16> {
        let chunk = self.chunk(at)?;
        Some(match self.order {
            Order::Big => u16::from_be_bytes(chunk),
            Order::Little => u16::from_le_bytes(chunk),
        })
    }

    /// The 32-bit number at `at`.
    pub(super) fn u32_at(&self, at: usize) -> Option<u32> {
        let chunk = self.chunk(at)?;
        Some(match self.order {
            Order::Big => u32::from_be_bytes(chunk),
            Order::Little => u32::from_le_bytes(chunk),
        })
    }

    /// The signed 64-bit number at `at`.
    pub(super) fn i64_at(&self, at: usize) -> Option<i64> {
        let chunk = self.chunk(at)?;
        Some(match self.order {
            Order::Big => i64::from_be_bytes(chunk),
            Order::Little => i64::from_le_bytes(chunk),
        })
    }

    /// A packet's count of ticks: the upper 32 bits first, in either byte order.
    pub(super) fn ticks_at(&self, at: usize) -> Option<u64> {
        Some(u64::from(self.u32_at(at)?) << 32 | u64::from(self.u32_at(at + 4)?))
    }
}

/// One block: its type, its body, and how far the next one is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block<'a> {
    pub(super) kind: u32,
    pub(super) body: Fields<'a>,
    /// Length of the whole block in bytes.
    pub(super) length: usize,
}

impl<'a> Block<'a> {
    /// Where a body begins, from the start of its block.
    pub(super) const BODY_AT: usize = BODY_AT;

    /// The block at the front of `bytes`. A section header brings its own byte order; the others have that of `section`.
    pub(super) fn first(bytes: &'a [u8], section: Order) -> Result<Self, Fault> {
        let order = if is_section_header(bytes) { order_of(bytes)? } else { section };
        let fields = Fields { bytes, order };
        let (Some(kind), Some(head)) = (fields.u32_at(0), fields.u32_at(4)) else {
            return Err(cut_short(FRAME, bytes));
        };
        let length = head as usize;
        if length < FRAME || !length.is_multiple_of(4) {
            return Err(Fault::BlockLength { length: head });
        }
        let Some((whole, _)) = bytes.split_at_checked(length) else {
            return Err(if is_packet(kind) {
                missing_packet(length, bytes)
            } else {
                cut_short(length, bytes)
            });
        };
        let tail = Fields { bytes: whole, order }.u32_at(length - 4).unwrap_or_default();
        if tail != head {
            return Err(Fault::BlockTail { head, tail });
        }
        let body = Fields { bytes: whole.get(BODY_AT..length - 4).unwrap_or_default(), order };
        Ok(Self { kind, body, length })
    }

    /// Whether the bytes begin like a packet block, however damaged it may be.
    pub(super) fn looks_like_packet(bytes: &[u8], section: Order) -> bool {
        Fields { bytes, order: section }.u32_at(0).is_some_and(is_packet)
    }
}

fn is_packet(kind: u32) -> bool {
    matches!(kind, OBSOLETE_PACKET | SIMPLE_PACKET | ENHANCED_PACKET)
}

fn is_section_header(bytes: &[u8]) -> bool {
    Fields { bytes, order: Order::Big }.u32_at(0) == Some(SECTION_HEADER)
}

/// The byte order that a section header declares.
fn order_of(section_header: &[u8]) -> Result<Order, Fault> {
    match (Fields { bytes: section_header, order: Order::Big }).u32_at(BODY_AT) {
        None => Err(cut_short(FRAME, section_header)),
        Some(0x1a2b_3c4d) => Ok(Order::Big),
        Some(0x4d3c_2b1a) => Ok(Order::Little),
        Some(mark) => Err(Fault::ByteOrder { mark }),
    }
}

fn cut_short(needed: usize, bytes: &[u8]) -> Fault {
    Fault::CutShort { needed: needed as u64, left: bytes.len() as u64 }
}

/// A packet block that goes beyond the end of the file: cut, or with a length that no packet has.
fn missing_packet(length: usize, bytes: &[u8]) -> Fault {
    let longest = MAX_PACKET + PACKET_OVERHEAD;
    if length > longest { Fault::TooLong { length: length as u64 } } else { cut_short(length, bytes) }
}

/// One option of a block.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlockOption<'a> {
    pub(super) code: u16,
    pub(super) value: Fields<'a>,
}

impl BlockOption<'_> {
    /// The fault of an option whose value has a length that its code does not allow.
    pub(super) fn length_fault(&self) -> Fault {
        let length = u16::try_from(self.value.bytes.len()).unwrap_or(u16::MAX);
        Fault::OptionLength { code: self.code, length }
    }
}

/// Walks a list of options up to its end mark, or to its end where there is no mark.
pub(super) struct Options<'a>(Fields<'a>);

impl<'a> Options<'a> {
    /// The options that fill `bytes`.
    pub(super) fn of(fields: Fields<'a>) -> Self {
        Self(fields)
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = Result<BlockOption<'a>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        let Fields { bytes, order } = self.0;
        let (code, length) = (self.0.u16_at(0)?, self.0.u16_at(2)?);
        // Whatever comes next, the walk goes forward or ends.
        self.0.bytes = &[];
        if code == 0 {
            return None;
        }
        let (_, rest) = bytes.split_at_checked(4)?;
        let Some((value, _)) = rest.split_at_checked(usize::from(length)) else {
            return Some(Err(Fault::OptionLength { code, length }));
        };
        self.0.bytes = rest.get(usize::from(length).next_multiple_of(4)..).unwrap_or_default();
        Some(Ok(BlockOption { code, value: Fields { bytes: value, order } }))
    }
}
