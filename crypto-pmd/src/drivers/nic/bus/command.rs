//! A command, eight words in the ring; and a completion, one word.
//!
//! A command names its packet by addresses and lengths, what is to be done by a session on the card, and itself by a number and an epoch, which come
//! back with the completion: what comes back late belongs to nobody and harms nobody.

/// Words of a command.
pub(crate) const WORDS: usize = 8;

/// What a command wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing, and no completion: the place of a command that was finished before a reset.
    Nothing = 0,
    /// Encrypt or decrypt bytes.
    Crypt = 1,
    /// Send a frame.
    Transmit = 2,
    /// Memory for a frame that comes in.
    Receive = 3,
}

/// Memory: one piece, or a list of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Of the bytes, or of the list.
    pub(crate) address: u64,
    /// In all.
    pub(crate) len: u32,
    /// 1 for bytes; more for a list of so many pieces, each an address and a length in two words.
    pub(crate) pieces: u8,
}

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) kind: Kind,
    pub(crate) decrypt: bool,
    pub(crate) has_esn: bool,
    pub(crate) epoch: u8,
    pub(crate) sequence: u32,
    /// Place of the session, and how often the place was used.
    pub(crate) session: u32,
    pub(crate) esn_high: u32,
    pub(crate) source: Extent,
    /// No pieces: the result goes over the source.
    pub(crate) destination: Extent,
    /// Offset and length.
    pub(crate) cipher: (u16, u32),
    /// Offset and length.
    pub(crate) integrity: (u16, u32),
    pub(crate) iv: u16,
    pub(crate) tag: u32,
    /// Bytes of link header, of a frame that is sent; of a buffer, 0 where frames have none and 14 where they have Ethernet's.
    pub(crate) link_len: u8,
    /// 0 nothing, 1 inline crypto, 2 inline protocol, of a frame that is sent.
    pub(crate) service: u8,
}

impl Command {
    /// The place of none.
    pub(crate) const NOTHING: Self = {
        let extent = Extent { address: 0, len: 0, pieces: 0 };
        Self {
            kind: Kind::Nothing,
            decrypt: false,
            has_esn: false,
            epoch: 0,
            sequence: 0,
            session: 0,
            esn_high: 0,
            source: extent,
            destination: extent,
            cipher: (0, 0),
            integrity: (0, 0),
            iv: 0,
            tag: 0,
            link_len: 0,
            service: 0,
        }
    };
}

const DECRYPT: u64 = 1 << 4;
const ESN: u64 = 1 << 5;

impl Command {
    #[inline(always)]
    pub(crate) fn to_words(self) -> [u64; WORDS] {
        let flags = if self.decrypt { DECRYPT } else { 0 } | if self.has_esn { ESN } else { 0 };
        [
            self.kind as u64
                | flags
                | u64::from(self.epoch) << 8
                | u64::from(self.source.pieces) << 16
                | u64::from(self.destination.pieces) << 24
                | u64::from(self.sequence) << 32,
            u64::from(self.session) | u64::from(self.esn_high) << 32,
            self.source.address,
            self.destination.address,
            u64::from(self.source.len) | u64::from(self.destination.len) << 32,
            u64::from(self.cipher.0)
                | u64::from(self.integrity.0) << 16
                | u64::from(self.iv) << 32
                | u64::from(self.link_len) << 48
                | u64::from(self.service) << 56,
            u64::from(self.cipher.1) | u64::from(self.integrity.1) << 32,
            u64::from(self.tag),
        ]
    }

    /// `None` for a kind that there is not.
    #[inline(always)]
    pub(crate) fn from_words(words: &[u64; WORDS]) -> Option<Self> {
        let [head, session, source, destination, lens, places, ranges, tag] = *words;
        let kind = match head & 0xf {
            0 => Kind::Nothing,
            1 => Kind::Crypt,
            2 => Kind::Transmit,
            3 => Kind::Receive,
            _ => return None,
        };
        Some(Self {
            kind,
            decrypt: head & DECRYPT != 0,
            has_esn: head & ESN != 0,
            epoch: (head >> 8) as u8,
            sequence: (head >> 32) as u32,
            session: session as u32,
            esn_high: (session >> 32) as u32,
            source: Extent { address: source, len: lens as u32, pieces: (head >> 16) as u8 },
            destination: Extent {
                address: destination,
                len: (lens >> 32) as u32,
                pieces: (head >> 24) as u8,
            },
            cipher: (places as u16, ranges as u32),
            integrity: ((places >> 16) as u16, (ranges >> 32) as u32),
            iv: (places >> 32) as u16,
            link_len: (places >> 48) as u8,
            service: (places >> 56) as u8,
            tag: tag as u32,
        })
    }
}

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Outcome {
    /// Done.
    Done = 1,
    /// The tag does not match; nothing was written.
    IntegrityFailed = 2,
    /// What the command names does not fit its packet or its session; nothing was written.
    BadRange = 3,
    /// No such session; nothing was written.
    NoSession = 4,
    /// The command could not be read; nothing was written.
    BadCommand = 5,
    /// An address that no window allows; nothing was written.
    MemoryFault = 6,
    /// The link is down: the frame is lost.
    LinkDown = 7,
}

impl Outcome {
    const ALL: [Self; 7] = [
        Self::Done,
        Self::IntegrityFailed,
        Self::BadRange,
        Self::NoSession,
        Self::BadCommand,
        Self::MemoryFault,
        Self::LinkDown,
    ];
}

/// A completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Completion {
    pub(crate) outcome: Outcome,
    pub(crate) epoch: u8,
    pub(crate) sequence: u32,
}

impl Completion {
    /// With the lowest bit free, for the phase.
    #[inline(always)]
    pub(crate) fn to_word(self) -> u64 {
        (self.outcome as u64) << 1 | u64::from(self.epoch) << 8 | u64::from(self.sequence) << 32
    }

    /// `None` for an outcome that there is not.
    #[inline(always)]
    pub(crate) fn from_word(word: u64) -> Option<Self> {
        let code = (word >> 1 & 0x7f) as u8;
        let outcome = *Outcome::ALL.get(usize::from(code.wrapping_sub(1)))?;
        Some(Self { outcome, epoch: (word >> 8) as u8, sequence: (word >> 32) as u32 })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_command_is_read_as_it_was_written(
            bits: (bool, bool, u8, u32), words: (u32, u32, u64, u64), lens: (u32, u32, u8, u8),
            ranges: (u16, u32, u16, u32), places: (u16, u32, u8, u8), kind in 0_usize..4,
        ) {
            let kind = [Kind::Nothing, Kind::Crypt, Kind::Transmit, Kind::Receive][kind];
            let command = Command {
                kind,
                decrypt: bits.0, has_esn: bits.1, epoch: bits.2, sequence: bits.3,
                session: words.0, esn_high: words.1,
                source: Extent { address: words.2, len: lens.0, pieces: lens.2 },
                destination: Extent { address: words.3, len: lens.1, pieces: lens.3 },
                cipher: (ranges.0, ranges.1), integrity: (ranges.2, ranges.3),
                iv: places.0, tag: places.1, link_len: places.2, service: places.3,
            };
            prop_assert_eq!(Command::from_words(&command.to_words()), Some(command));
        }

        #[test]
        fn a_completion_is_read_as_it_was_written_whatever_the_phase(outcome in 0_usize..7, epoch: u8, sequence: u32, phase: bool) {
            let completion = Completion { outcome: Outcome::ALL[outcome], epoch, sequence };
            prop_assert_eq!(Completion::from_word(completion.to_word() | u64::from(phase)), Some(completion));
        }
    }

    #[test]
    fn words_that_are_no_command_or_completion_are_none() {
        assert_eq!(Command::from_words(&[7, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(Completion::from_word(0), None);
        assert_eq!(Completion::from_word(8 << 1), None);
    }
}
