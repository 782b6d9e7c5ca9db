//! What can be wrong with a capture file, in words that name the file, the place and the way out.
//!
//! Invariant: every message reads `FILE: [place: ]what is wrong; what to do`, places being packet numbers from 1 (as
//! Wireshark counts) or a byte offset where no packet is concerned. What it does not do: print bytes of packets.

use std::io;

use super::{LinkType, MAX_PACKET};

/// The way out for a file whose bytes contradict each other.
const DAMAGED: &str = "the file is damaged: copy or record it again";

/// Why a capture was not read or not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// The operating system did not hand out the bytes.
    #[error("{file}: cannot be read: {source}; check the name and its permissions")]
    Unreadable {
        /// The file's name as given.
        file: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The operating system did not take the bytes; what was written before is readable.
    #[error("{file}: cannot be written: {source}; make room or choose another place")]
    Unwritable {
        /// The file's name as given.
        file: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// A directory, a device or a socket.
    #[error("{file}: is not a file but {kind}; give a pcap or pcapng file")]
    NotAFile {
        /// The file's name as given.
        file: String,
        /// What it is, with its article.
        kind: &'static str,
    },
    /// A pipe that goes on beyond what is read from one.
    #[error("{file}: the pipe gives more than {limit} bytes; save it to a file and give that")]
    PipeTooLong {
        /// The file's name as given.
        file: String,
        /// The most that is read from a pipe, in bytes.
        limit: u64,
    },
    /// Neither pcap nor pcapng, or not enough of it to tell.
    #[error("{file}: not a capture file ({why}); give a pcap or pcapng file")]
    NotACapture {
        /// The file's name as given.
        file: String,
        /// What was found instead.
        why: String,
    },
    /// A compressed file, most likely with a capture inside.
    #[error("{file}: is compressed; unpack it first with `{tool}`")]
    Compressed {
        /// The file's name as given.
        file: String,
        /// The program that unpacks it.
        tool: &'static str,
    },
    /// A version of the format that this reader does not know.
    #[error("{file}: {format} version {major}.{minor} is not supported; convert it with `editcap`")]
    Version {
        /// The file's name as given.
        file: String,
        /// `pcap` or `pcapng`.
        format: &'static str,
        /// Major version in the header.
        major: u16,
        /// Minor version in the header.
        minor: u16,
    },
    /// A pcapng file without packets or interfaces: its link type is unknown.
    #[error("{file}: describes no interface, so that its link type is unknown; give a capture with packets")]
    NoInterface {
        /// The file's name as given.
        file: String,
    },
    /// Something is wrong with one packet.
    #[error("{file}: packet {packet}: {fault}")]
    Packet {
        /// The file's name as given.
        file: String,
        /// The packet's number, from 1.
        packet: u64,
        /// What is wrong and what to do.
        fault: Fault,
    },
    /// Something is wrong with a part of a pcapng file that is no packet.
    #[error("{file}: block at byte {offset}: {fault}")]
    Block {
        /// The file's name as given.
        file: String,
        /// Where the block begins in the file.
        offset: u64,
        /// What is wrong and what to do.
        fault: Fault,
    },
    /// A file name that does not say in which format to write.
    #[error("{file}: the name does not say which format to write; end it in .pcap or .pcapng")]
    UnknownEnding {
        /// The file's name as given.
        file: String,
    },
}

impl CaptureError {
    /// The fault of the packet after `before` others.
    pub(super) fn packet(file: &str, before: usize, fault: Fault) -> Self {
        let packet = u64::try_from(before).map_or(u64::MAX, |before| before.saturating_add(1));
        Self::Packet { file: file.to_owned(), packet, fault }
    }

    /// The fault of the block that begins at `offset`.
    pub(super) fn block(file: &str, offset: usize, fault: Fault) -> Self {
        let offset = u64::try_from(offset).unwrap_or(u64::MAX);
        Self::Block { file: file.to_owned(), offset, fault }
    }
}

/// What is wrong at one place of a capture. Lengths are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The file ends before the record does.
    #[error(
        "the file ends inside it ({needed} bytes needed, {left} left); copy the file again, or keep what comes before \
         with `editcap`"
    )]
    CutShort {
        /// Length of the whole record, or of as much as is known of it.
        needed: u64,
        /// What is left of the file.
        left: u64,
    },
    /// A packet of more than [`MAX_PACKET`] bytes.
    #[error("it claims {length} bytes, more than the {} of any capture; {DAMAGED}", MAX_PACKET)]
    TooLong {
        /// The claimed length.
        length: u64,
    },
    /// More bytes captured than the packet ever had.
    #[error("it has {captured} captured bytes of an original {original}; {DAMAGED}")]
    CapturedOverOriginal {
        /// Captured length.
        captured: u64,
        /// Original length.
        original: u64,
    },
    /// A part of a second that is a second or more.
    #[error("the fraction of its timestamp is {fraction}, which is not under a second; {DAMAGED}")]
    FractionOverSecond {
        /// The fraction in the file's unit.
        fraction: u32,
    },
    /// A time that 64 bits of nanoseconds since 1970 (or 32 bits of seconds in a pcap file) cannot hold.
    #[error("its timestamp lies outside of what can be kept; {}", "shift the times with `editcap -t`")]
    TimeOutOfRange,
    /// A packet of an interface that was not described before it.
    #[error("it comes from interface {interface}, but only {known} are described before it; {DAMAGED}")]
    UnknownInterface {
        /// The packet's interface, from 0.
        interface: u32,
        /// How many interfaces are described.
        known: usize,
    },
    /// Packets of different link types in one file.
    #[error(
        "interface {interface} has link type {found}, the packets before it {expected}; split the capture by interface \
         (`tshark -Y frame.interface_id=={interface} -r FILE -w NEW`)"
    )]
    MixedLinkTypes {
        /// The packet's interface, from 0.
        interface: u32,
        /// The link type of that interface.
        found: LinkType,
        /// The link type of the packets before.
        expected: LinkType,
    },
    /// A pcapng block length that is under 12 or no multiple of 4.
    #[error("its block length is {length}, which cannot be; {DAMAGED}")]
    BlockLength {
        /// The length in the block's head.
        length: u32,
    },
    /// The length at the end of a pcapng block is not that at its head.
    #[error("its block length is {head} at the head and {tail} at the tail; {DAMAGED}")]
    BlockTail {
        /// The length in the block's head.
        head: u32,
        /// The length in the block's tail.
        tail: u32,
    },
    /// A pcapng block too short for what it holds.
    #[error("its block has room for {room} bytes where {needed} are needed; {DAMAGED}")]
    BlockRoom {
        /// What its fields ask for.
        needed: u64,
        /// What the block holds.
        room: u64,
    },
    /// A section header whose byte-order mark is neither way round.
    #[error("its byte-order mark is {mark:#010x}; {DAMAGED}")]
    ByteOrder {
        /// The mark, read as big-endian.
        mark: u32,
    },
    /// An option of a length that its kind does not have.
    #[error("its option {code} has {length} bytes, which cannot be; {DAMAGED}")]
    OptionLength {
        /// The option's code.
        code: u16,
        /// The option's length.
        length: u16,
    },
}
