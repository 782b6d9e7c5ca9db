//! What card and driver have in common: the register page, the rings in shared memory, the formats of commands and completions, and the
//! windows through which a card reaches memory. Neither side knows anything else of the other.

pub(super) mod association;
pub(super) mod command;
pub(super) mod context;
pub(super) mod iommu;
pub(super) mod receipt;
pub(super) mod registers;
pub(super) mod ring;

/// One word that both sides read and write.
pub(super) type Cell = pipeline::sync::AtomicU64;

/// Most queue pairs of a card: what the register page has room for.
pub(super) const MAX_QUEUES: usize = 24;
/// Bits of a session's place on a card; as many again say how often the place was used.
pub(super) const SLOT_BITS: u32 = 16;
