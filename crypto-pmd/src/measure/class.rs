//! Sizes and bursts that are told apart, and the load that a driver is judged under.
//!
//! They are few, so that a calibration is short: a real size or burst is judged by the class that is nearest in ratio.

use serde::{Deserialize, Serialize};

use crate::job::Operation;

/// Sizes of payload that are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "usize", into = "usize")]
pub enum SizeClass {
    /// 64 bytes, for all up to 128.
    B64,
    /// 256 bytes, for all up to 512.
    B256,
    /// 1024 bytes, for all up to 2896: packets of Ethernet's usual size are here.
    B1024,
    /// 8192 bytes, for all that are longer.
    B8192,
}

impl SizeClass {
    /// All of them, the small ones first.
    pub const ALL: [Self; 4] = [Self::B64, Self::B256, Self::B1024, Self::B8192];

    /// The class that judges a payload of `size` bytes.
    ///
    /// ```
    /// use crypto_pmd::measure::SizeClass;
    /// assert_eq!([64, 1400].map(SizeClass::of), [SizeClass::B64, SizeClass::B1024]);
    /// ```
    #[must_use]
    pub fn of(size: usize) -> Self {
        match size {
            0..=128 => Self::B64,
            129..=512 => Self::B256,
            513..=2896 => Self::B1024,
            _ => Self::B8192,
        }
    }

    /// Bytes that are measured.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::B64 => 64,
            Self::B256 => 256,
            Self::B1024 => 1024,
            Self::B8192 => 8192,
        }
    }
}

impl From<SizeClass> for usize {
    fn from(class: SizeClass) -> Self {
        class.bytes()
    }
}

impl TryFrom<usize> for SizeClass {
    type Error = String;
    fn try_from(bytes: usize) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|class| class.bytes() == bytes);
        found.ok_or_else(|| format!("{bytes} bytes are no size class"))
    }
}

/// Bursts that are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "usize", into = "usize")]
pub enum BurstClass {
    /// One job, for bursts up to 5. The next is handed in when it has come back, as where packets come one by one.
    One,
    /// 32 jobs, for all that are longer. The next ones are handed in while earlier ones are under way, as on a busy core.
    Many,
}

impl BurstClass {
    /// Both.
    pub const ALL: [Self; 2] = [Self::One, Self::Many];

    /// The class that judges a burst of so many jobs.
    #[must_use]
    pub fn of(burst: usize) -> Self {
        if burst <= 5 { Self::One } else { Self::Many }
    }

    /// Jobs that are handed in at once.
    #[must_use]
    pub fn jobs(self) -> usize {
        match self {
            Self::One => 1,
            Self::Many => 32,
        }
    }
}

impl From<BurstClass> for usize {
    fn from(class: BurstClass) -> Self {
        class.jobs()
    }
}

impl TryFrom<usize> for BurstClass {
    type Error = String;
    fn try_from(jobs: usize) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|class| class.jobs() == jobs);
        found.ok_or_else(|| format!("{jobs} jobs are no burst class"))
    }
}

/// One figure's place among those of a driver and bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) operation: Operation,
    pub(super) size: SizeClass,
    pub(super) burst: BurstClass,
}

impl Cell {
    /// Every cell of the given sizes.
    pub(super) fn all(sizes: impl IntoIterator<Item = SizeClass>) -> Vec<Self> {
        let mut cells = Vec::new();
        for size in sizes {
            for burst in BurstClass::ALL {
                let ways = [Operation::Encrypt, Operation::Decrypt];
                cells.extend(ways.map(|operation| Self { operation, size, burst }));
            }
        }
        cells
    }
}

/// Packets by size class in the simple IMIX: seven of 40 bytes, four of 576, one of 1500.
const IMIX: [(SizeClass, f64); 2] = [(SizeClass::B64, 7.0), (SizeClass::B1024, 5.0)];

/// What a driver is judged by: both directions alike, unless one is named.
///
/// ```
/// use crypto_pmd::{Operation, measure::Load};
/// let busy = Load::of(1400, 32);
/// assert_ne!(busy, Load::MIXED);
/// assert_ne!(busy.one_way(Operation::Decrypt), busy);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    size: Option<SizeClass>,
    burst: BurstClass,
    operation: Option<Operation>,
}

impl Load {
    /// For who does not know sizes yet: the simple IMIX (seven packets of 40 bytes, four of 576, one of 1500) in full bursts,
    /// since a driver's speed matters most where a core is short of it.
    pub const MIXED: Self = Self { size: None, burst: BurstClass::Many, operation: None };

    /// Payloads of `size` bytes in bursts of `burst`.
    #[must_use]
    pub fn of(size: usize, burst: usize) -> Self {
        Self { size: Some(SizeClass::of(size)), burst: BurstClass::of(burst), operation: None }
    }

    /// Only one direction.
    #[must_use]
    pub fn one_way(self, operation: Operation) -> Self {
        Self { operation: Some(operation), ..self }
    }

    /// The cells that count, with their weights.
    pub(super) fn weights(self) -> impl Iterator<Item = (Cell, f64)> {
        let sizes: Vec<_> = self.size.map_or_else(|| IMIX.to_vec(), |size| vec![(size, 1.0)]);
        let wanted = move |cell: &Cell| {
            cell.burst == self.burst && self.operation.is_none_or(|operation| operation == cell.operation)
        };
        sizes
            .into_iter()
            .flat_map(move |(size, weight)| Cell::all([size]).into_iter().map(move |cell| (cell, weight)))
            .filter(move |(cell, _)| wanted(cell))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_measured_size_and_burst_is_in_its_own_class_and_classes_meet_at_their_edges() {
        SizeClass::ALL.iter().for_each(|&class| assert_eq!(SizeClass::of(class.bytes()), class));
        BurstClass::ALL.iter().for_each(|&class| assert_eq!(BurstClass::of(class.jobs()), class));
        let edges = [0, 128, 129, 512, 513, 2896, 2897, usize::MAX].map(|size| SizeClass::of(size).bytes());
        assert_eq!(edges, [64, 64, 256, 256, 1024, 1024, 8192, 8192]);
        assert_eq!([0, 1, 5, 6, 64].map(|burst| BurstClass::of(burst).jobs()), [1, 1, 1, 32, 32]);
    }

    #[test]
    fn edges_lie_in_the_middle_of_the_ratio() {
        for pair in SizeClass::ALL.windows(2) {
            let middle = ((pair[0].bytes() * pair[1].bytes()) as f64).sqrt() as usize;
            assert_eq!([middle, middle + 1].map(SizeClass::of), pair, "{middle}");
        }
        let middle = 32_f64.sqrt() as usize;
        assert_eq!([middle, middle + 1].map(BurstClass::of), BurstClass::ALL);
    }

    #[test]
    fn a_load_counts_both_ways_unless_one_is_named() {
        let count = |load: Load| load.weights().count();
        let busy = Load::of(1400, 32);
        assert_eq!((count(busy), count(busy.one_way(Operation::Decrypt))), (2, 1));
        assert!(busy.weights().all(|(cell, _)| cell.size.bytes() == 1024 && cell.burst == BurstClass::Many));
    }

    #[test]
    fn the_mix_counts_packets_as_imix_has_them() {
        let mut by_class = std::collections::BTreeMap::new();
        for (packets, size) in [(7.0, 40), (4.0, 576), (1.0, 1500)] {
            *by_class.entry(SizeClass::of(size)).or_insert(0.0) += packets;
        }
        let one_way = Load::MIXED.one_way(Operation::Encrypt).weights();
        assert!(one_way.map(|(cell, weight)| (cell.size, weight)).eq(by_class));
    }
}
