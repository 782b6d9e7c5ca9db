//! A job: one packet and what is to be done to it, in one cache line.
//!
//! A job owns its packet from submit to poll. Ranges and places are offsets from the packet's first byte, over
//! all its segments. What most jobs do not need sits in a pooled [`Extension`].

use pipeline::{LargeBurst, Mbuf};

use crate::extension::Extension;
use crate::session::SessionId;

/// Jobs that travel together.
pub type JobBurst = LargeBurst<Job>;

/// Which way a job walks its session's chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Encrypt, and make the tag.
    Encrypt,
    /// Check the tag, and decrypt.
    Decrypt,
}

/// What became of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// Not done yet.
    #[default]
    Pending,
    /// Done; the packet holds the result.
    Done,
    /// The tag does not match; nothing was decrypted.
    IntegrityFailed,
    /// A range or place lies outside the packet, is no multiple of the block, an IV has another length than the algorithm
    /// takes, or an AEAD's associated data share bytes with its cipher range; the packet is untouched.
    BadRange,
    /// A step's IV or tag shares bytes with what the step encrypts, or they with each other; the packet is untouched.
    Overlap,
    /// A step names another algorithm than the session's transform at its place; the packet is untouched.
    WrongAlgorithm,
    /// There is not one step for each transform of the session, or none where its chain is more than a cipher and a keyed
    /// hash; the packet is untouched.
    BadSteps,
    /// A step's own key is none that its algorithm takes; the packet is untouched.
    BadKey,
    /// What is to be decompressed is no compressed data, or ends too early or too late; the packet is untouched.
    BadData,
    /// The packet is longer than the driver registered, or a decompressed one would be; the packet is untouched.
    TooLong,
    /// The result is larger than its buffer, and the pool has no other; the packet is untouched, and the job may be submitted
    /// again when there is room.
    NoBuffer,
    /// No such session, or not any more; the packet is untouched.
    UnknownSession,
    /// Could not be done now; the packet is untouched and the job may be submitted again.
    Retry,
    /// The session has a new handle (in the job); the packet is untouched and may be submitted again.
    Moved,
    /// The driver failed half-way; the packet's bytes are unspecified.
    Indeterminate,
    /// It came back when its place in the order had been given up: whatever was done, it can be handed on no more.
    Late,
}

/// What a job asks for, without its packets: offsets and lengths in bytes of the packet.
#[derive(Clone, Copy, Debug)]
pub struct Shape<'a> {
    /// Which way.
    pub operation: Operation,
    /// Offset and length of the cipher range.
    pub cipher: (usize, usize),
    /// Offset and length of the integrity range.
    pub integrity: (usize, usize),
    /// Place of the IV, unless it is explicit.
    pub iv_offset: usize,
    /// Place of the tag.
    pub tag_offset: usize,
    /// High half of the extended sequence number.
    pub esn_high: Option<u32>,
    /// What is rare.
    pub extension: Option<&'a Extension>,
}

const ESN: u8 = 1;
const DECRYPT: u8 = 2;
/// May be held back to fill a batch.
const BATCH: u8 = 4;
/// Has a place in its dispatcher's order.
const ORDERED: u8 = 8;
/// Which of two drivers it is at.
const LEG: u8 = 3 << 4;
/// A dispatcher's marks.
const MARKS: u8 = ORDERED | LEG;

/// One packet's worth of work; see the module.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Job {
    source: Mbuf,
    destination: Option<Mbuf>,
    session: SessionId,
    extension: Extension,
    cookie: u64,
    cipher_len: u32,
    integrity_len: u32,
    tag_offset: u32,
    esn_high: u32,
    cipher_offset: u16,
    integrity_offset: u16,
    iv_offset: u16,
    status: Status,
    flags: u8,
}

const _: () = assert!(size_of::<Job>() == 64 && align_of::<Job>() == 64);

impl Job {
    /// A job over `source`, in place, with empty ranges.
    #[inline(always)]
    #[must_use]
    pub fn new(source: Mbuf, session: SessionId, operation: Operation) -> Self {
        Self {
            source,
            destination: None,
            session,
            extension: Extension::none(),
            cookie: 0,
            cipher_len: 0,
            integrity_len: 0,
            tag_offset: 0,
            esn_high: 0,
            cipher_offset: 0,
            integrity_offset: 0,
            iv_offset: 0,
            status: Status::Pending,
            flags: if operation == Operation::Decrypt { DECRYPT } else { 0 },
        }
    }

    /// Names the bytes to encrypt or decrypt.
    #[inline(always)]
    #[must_use]
    pub fn with_cipher(mut self, offset: u16, len: u32) -> Self {
        (self.cipher_offset, self.cipher_len) = (offset, len);
        self
    }

    /// Names the bytes under the keyed hash, or the associated data of an AEAD.
    #[inline(always)]
    #[must_use]
    pub fn with_integrity(mut self, offset: u16, len: u32) -> Self {
        (self.integrity_offset, self.integrity_len) = (offset, len);
        self
    }

    /// Says where in the packet the IV is.
    #[inline(always)]
    #[must_use]
    pub fn with_iv(mut self, offset: u16) -> Self {
        self.iv_offset = offset;
        self
    }

    /// Says where in the packet the tag goes, or is.
    #[inline(always)]
    #[must_use]
    pub fn with_tag(mut self, offset: u32) -> Self {
        self.tag_offset = offset;
        self
    }

    /// Gives the high half of an extended sequence number: it follows the integrity range under a keyed hash
    /// (RFC 4303 section 2.2.1), and stands between the halves of the associated data of an AEAD (RFC 4106
    /// section 5).
    #[inline(always)]
    #[must_use]
    pub fn with_esn_high(mut self, high: u32) -> Self {
        self.esn_high = high;
        self.flags |= ESN;
        self
    }

    /// A word that comes back untouched.
    #[inline(always)]
    #[must_use]
    pub fn with_cookie(mut self, cookie: u64) -> Self {
        self.cookie = cookie;
        self
    }

    /// Puts the result into `destination` (which is made as long as the source) instead of the source.
    #[must_use]
    pub fn with_destination(mut self, destination: Mbuf) -> Self {
        self.destination = Some(destination);
        self
    }

    /// Adds what is rare.
    #[must_use]
    pub fn with_extension(mut self, extension: Extension) -> Self {
        self.extension = extension;
        self
    }

    /// Lets the framework hold the job back for a while, to give its driver more at once.
    #[inline(always)]
    #[must_use]
    pub fn with_batch(mut self) -> Self {
        self.flags |= BATCH;
        self
    }

    #[inline(always)]
    pub(crate) fn may_be_batched(&self) -> bool {
        self.flags & BATCH != 0
    }

    /// Whether its packets lie in several segments, or its input is a list of memory.
    pub(crate) fn is_in_pieces(&self) -> bool {
        self.source.is_chained()
            || self.destination.as_ref().is_some_and(Mbuf::is_chained)
            || self.extension().is_some_and(|extension| !extension.pieces().is_empty())
    }

    #[inline(always)]
    pub(crate) fn is_ordered(&self) -> bool {
        self.flags & ORDERED != 0
    }

    #[inline(always)]
    pub(crate) fn set_ordered(&mut self, ordered: bool) {
        self.flags = self.flags & !ORDERED | if ordered { ORDERED } else { 0 };
    }

    /// On its way over two drivers: at the first, or at the second; 0 for all other jobs.
    #[inline(always)]
    pub(crate) fn leg(&self) -> u8 {
        self.flags >> 4 & 3
    }

    #[inline(always)]
    pub(crate) fn set_leg(&mut self, leg: u8) {
        self.flags = self.flags & !LEG | leg << 4;
    }

    /// What a dispatcher has marked on the job: its place in an order, its way over two drivers. They are taken off.
    #[inline(always)]
    pub(crate) fn take_marks(&mut self) -> u8 {
        let marks = self.flags & MARKS;
        self.flags &= !MARKS;
        marks
    }

    /// Puts back what [`Job::take_marks`] gave.
    #[inline(always)]
    pub(crate) fn put_marks(&mut self, marks: u8) {
        self.flags = self.flags & !MARKS | marks;
    }

    /// Which way.
    #[inline(always)]
    #[must_use]
    pub fn operation(&self) -> Operation {
        if self.flags & DECRYPT == 0 { Operation::Encrypt } else { Operation::Decrypt }
    }

    /// What became of it.
    #[inline(always)]
    #[must_use]
    pub fn status(&self) -> Status {
        self.status
    }

    /// Sets the status; a driver's business.
    #[inline(always)]
    pub fn set_status(&mut self, status: Status) {
        self.status = status;
    }

    /// The caller's word.
    #[inline(always)]
    #[must_use]
    pub fn cookie(&self) -> u64 {
        self.cookie
    }

    /// Sets the cookie; the business of who stands between a caller and a driver, and gives the caller's back.
    #[inline(always)]
    pub fn set_cookie(&mut self, cookie: u64) {
        self.cookie = cookie;
    }

    /// The session.
    #[inline(always)]
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// Sets the session's new handle, when it moved.
    pub fn set_session(&mut self, session: SessionId) {
        self.session = session;
    }

    /// Offset and length of the cipher range.
    #[inline(always)]
    #[must_use]
    pub fn cipher_range(&self) -> (usize, usize) {
        (usize::from(self.cipher_offset), self.cipher_len as usize)
    }

    /// Offset and length of the integrity range.
    #[inline(always)]
    #[must_use]
    pub fn integrity_range(&self) -> (usize, usize) {
        (usize::from(self.integrity_offset), self.integrity_len as usize)
    }

    /// Place of the IV.
    #[inline(always)]
    #[must_use]
    pub fn iv_offset(&self) -> usize {
        usize::from(self.iv_offset)
    }

    /// Place of the tag.
    #[inline(always)]
    #[must_use]
    pub fn tag_offset(&self) -> usize {
        self.tag_offset as usize
    }

    /// High half of the extended sequence number, where there is one.
    #[inline(always)]
    #[must_use]
    pub fn esn_high(&self) -> Option<u32> {
        (self.flags & ESN != 0).then_some(self.esn_high)
    }

    /// What is rare, if anything.
    #[inline(always)]
    #[must_use]
    pub fn extension(&self) -> Option<&Extension> {
        self.extension.is_some().then_some(&self.extension)
    }

    /// What is rare, if anything, to be changed.
    #[must_use]
    pub fn extension_mut(&mut self) -> Option<&mut Extension> {
        self.extension.is_some().then_some(&mut self.extension)
    }

    /// Takes out what is rare, and with it the pieces of memory that a completed job worked on.
    #[must_use]
    pub fn take_extension(&mut self) -> Option<Extension> {
        let extension = std::mem::take(&mut self.extension);
        extension.is_some().then_some(extension)
    }

    /// Bytes of the input in all: the packet's, or those of the pieces of memory. Compression in place makes them the
    /// result's.
    #[must_use]
    pub fn input_len(&self) -> usize {
        match self.extension.pieces_len() {
            0 => self.source.packet_len(),
            len => len,
        }
    }

    /// Bytes of the result in all, once the job is done: as long as the input, but for compression.
    #[must_use]
    pub fn result_len(&self) -> usize {
        self.destination.as_ref().map_or_else(|| self.input_len(), Mbuf::packet_len)
    }

    /// Place in the order that the submitter keeps; it lies in the packet, which the job owns.
    #[inline(always)]
    #[must_use]
    pub fn order(&self) -> u32 {
        self.source.order()
    }

    /// Sets [`Job::order`].
    #[inline(always)]
    pub fn set_order(&mut self, order: u32) {
        self.source.set_order(order);
    }

    /// The packet that the job reads.
    #[inline(always)]
    #[must_use]
    pub fn source(&self) -> &Mbuf {
        &self.source
    }

    /// The packets and what is to be done, apart; a driver's business.
    #[inline(always)]
    pub fn parts_mut(&mut self) -> (&mut Mbuf, Option<&mut Mbuf>, Shape<'_>) {
        let shape = Shape {
            operation: self.operation(),
            cipher: self.cipher_range(),
            integrity: self.integrity_range(),
            iv_offset: self.iv_offset(),
            tag_offset: self.tag_offset(),
            esn_high: self.esn_high(),
            extension: self.extension.is_some().then_some(&self.extension),
        };
        (&mut self.source, self.destination.as_mut(), shape)
    }

    /// Gives the result a packet of its own; a driver's business.
    pub fn set_destination(&mut self, destination: Mbuf) {
        self.destination = Some(destination);
    }

    /// True when the result goes to the source.
    #[inline(always)]
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        self.destination.is_none()
    }

    /// The packet with the result: the destination, or the source.
    #[inline(always)]
    #[must_use]
    pub fn into_packet(self) -> Mbuf {
        let Self { source, destination, extension, .. } = self;
        extension.leave();
        match destination {
            None => source,
            Some(destination) => destination,
        }
    }

    /// Both packets.
    #[must_use]
    pub fn into_packets(self) -> (Mbuf, Option<Mbuf>) {
        (self.source, self.destination)
    }
}

#[cfg(test)]
mod tests;
