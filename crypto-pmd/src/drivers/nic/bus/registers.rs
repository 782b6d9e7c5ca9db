//! The register page, 4 KiB of 64-bit registers, by number. Doorbells and what is only told are plain registers; what makes the card act at
//! once ([`Registers::write`] of a control register) goes through [`Act`], as a device model hears of a write that traps.
//!
//! A card that has been pulled out answers every read with all ones, and hears no write.

use pipeline::sync::{AtomicBool, Ordering};

use super::{Cell, MAX_QUEUES};

/// What a read gives when there is no card.
pub(crate) const ABSENT: u64 = u64::MAX;

/// Number of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Register(u16);

/// Identification: the upper half is [`IDENTITY`], the lower one the version of this page.
pub(crate) const ID: Register = Register(0);
/// Services: 1 lookaside, 2 inline crypto, 4 inline protocol.
pub(crate) const SERVICES: Register = Register(1);
/// Queue pairs, longest ring, most segments, most commands at once: 16 bits each, lowest first.
pub(crate) const SHAPE: Register = Register(2);
/// Places for sessions.
pub(crate) const SA_SLOTS: Register = Register(3);
/// [`READY`] or [`RESETTING`].
pub(crate) const STATE: Register = Register(4);
/// Counts as long as the engines turn.
pub(crate) const HEARTBEAT: Register = Register(5);
/// Accesses that no window allowed.
pub(crate) const MEMORY_FAULTS: Register = Register(6);
/// 1 while the link is up.
pub(crate) const LINK: Register = Register(7);
/// What would interrupt, a bit for each queue; and which of them may: none, for a driver that polls.
pub(crate) const INTERRUPT_CAUSE: Register = Register(8);
/// See [`INTERRUPT_CAUSE`].
pub(crate) const INTERRUPT_MASK: Register = Register(9);
/// The number of the last reset that is over; until then the card may touch memory.
pub(crate) const RESETS: Register = Register(10);
/// Result of the last control command, see [`super::context::Answer`].
pub(crate) const ADMIN_STATUS: Register = Register(11);
/// Operand of a control command: a session's place.
pub(crate) const ADMIN_SLOT: Register = Register(12);
/// Where the operand of a control command lies.
pub(crate) const ADMIN_ADDRESS: Register = Register(13);

/// From here on, a write makes the card act before it returns.
const CONTROL: u16 = 32;
/// A reset by this number begins. Everything under way is given up.
pub(crate) const RESET: Register = Register(CONTROL);
/// A control command, see [`super::context::Order`].
pub(crate) const ADMIN_COMMAND: Register = Register(CONTROL + 1);

/// The first queue pair's registers; each has [`QUEUE_STRIDE`].
const QUEUES: u16 = 64;
const QUEUE_STRIDE: u16 = 16;
const PAGE: usize = 512;
const _: () = assert!(QUEUES as usize + MAX_QUEUES * QUEUE_STRIDE as usize <= PAGE);

/// Upper half of [`ID`].
pub(crate) const IDENTITY: u64 = 0x5ea1_a4e0;
/// Value of [`STATE`].
pub(crate) const READY: u64 = 1;
/// Value of [`STATE`].
pub(crate) const RESETTING: u64 = 2;

/// Registers of a queue pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OfQueue {
    /// Address of its memory, see [`super::ring::Layout`].
    Base = 0,
    /// Commands that it holds.
    Depth = 1,
    /// Bit 0: it is used. The rest is a count, so that the card sees each change.
    Enable = 2,
    /// Number of the first command after it was enabled.
    Start = 3,
    /// Doorbell: commands written so far in the lower half; how often it was rung in the upper one.
    Tail = 4,
    /// Completions read so far.
    Read = 5,
    /// The card's word for the value of [`OfQueue::Enable`] that it goes by: with another one than before, nothing from before is under way.
    Seen = 6,
    /// What it is for, see [`Role`].
    Role = 7,
}

/// What a queue pair is for: which kind of commands it takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Role {
    /// Bytes in, bytes out.
    #[default]
    Crypt = 0,
    /// Frames that leave.
    Transmit = 1,
    /// Memory for frames that arrive.
    Receive = 2,
}

impl Role {
    pub(crate) const fn of(value: u64) -> Self {
        match value {
            1 => Self::Transmit,
            2 => Self::Receive,
            _ => Self::Crypt,
        }
    }
}

impl OfQueue {
    /// The register of queue pair `queue`, which is below [`MAX_QUEUES`].
    pub(crate) const fn of(self, queue: usize) -> Register {
        Register(QUEUES + (queue as u16) * QUEUE_STRIDE + self as u16)
    }
}

/// What a write to a control register makes happen.
pub(crate) trait Act: Send + Sync {
    /// A value was written.
    fn written(&self, register: Register, value: u64);
}

/// The page.
pub(crate) struct Registers {
    cells: Box<[Cell]>,
    present: AtomicBool,
}

impl Registers {
    pub(crate) fn new() -> Self {
        Self { cells: (0..PAGE).map(|_| Cell::new(0)).collect(), present: AtomicBool::new(true) }
    }

    /// What the driver reads.
    #[inline]
    pub(crate) fn read(&self, register: Register) -> u64 {
        match self.present.load(Ordering::Acquire) {
            true => self.peek(register),
            false => ABSENT,
        }
    }

    /// What the driver writes.
    #[inline]
    pub(crate) fn write(&self, register: Register, value: u64, card: &dyn Act) {
        if !self.present.load(Ordering::Acquire) {
            return;
        }
        self.poke(register, value);
        if register.0 >= CONTROL && register.0 < QUEUES {
            card.written(register, value);
        }
    }

    /// What the card itself reads.
    #[inline]
    pub(crate) fn peek(&self, register: Register) -> u64 {
        self.cells.get(usize::from(register.0)).map_or(ABSENT, |cell| cell.load(Ordering::Acquire))
    }

    /// What the card itself writes.
    #[inline]
    pub(crate) fn poke(&self, register: Register, value: u64) {
        if let Some(cell) = self.cells.get(usize::from(register.0)) {
            cell.store(value, Ordering::Release);
        }
    }

    /// All as when power comes on.
    pub(crate) fn clear(&self) {
        self.cells.iter().for_each(|cell| cell.store(0, Ordering::Release));
    }

    /// The card is plugged in, or pulled out.
    pub(crate) fn set_present(&self, present: bool) {
        self.present.store(present, Ordering::Release);
    }

    pub(crate) fn is_present(&self) -> bool {
        self.present.load(Ordering::Acquire)
    }
}

impl std::fmt::Debug for Registers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registers").field("present", &self.is_present()).finish_non_exhaustive()
    }
}
