//! The windows through which a card reaches memory, and its copies in and out: the one room of the card with `unsafe`.
//!
//! A bus address is the number of a window and an offset in it. The driver maps memory before it names it; the card translates every address that
//! it is told, and what lies outside of the windows is a memory fault, not an access. A window keeps its memory mapped for as long as the card lives.
//!
//! Invariant (why the copies are sound): an address that a card gets is that of a packet that the driver owns, or of the queue pair's memory; the
//! owner does not look at a packet's bytes until its completion was read, or the reset that gave it up is over, or the card is gone; and a card
//! touches no packet after any of these. Rings and registers carry that order from one thread to the other.

use std::sync::{Arc, OnceLock};

use pipeline::Pool;
use pipeline::memory::Words;

use super::Cell;

/// Windows of a card.
const WINDOWS: usize = 64;
/// Bits of an offset in a window.
const OFFSET_BITS: u32 = 40;

/// What a window shows.
enum Memory {
    /// Kept so that it stays mapped.
    Packets(#[allow(dead_code, reason = "kept so that it stays mapped")] Pool),
    Rings(Arc<Words>),
}

struct Window {
    start: usize,
    pointer: *mut u8,
    len: usize,
    memory: Memory,
}

// SAFETY: the pointer is that of the pool's or the words' mapping, which the window keeps alive; what is done with it is under the module's invariant.
unsafe impl Send for Window {}
// SAFETY: as above.
unsafe impl Sync for Window {}

/// All windows of a card; shared by both sides.
pub(crate) struct Iommu {
    windows: [OnceLock<Window>; WINDOWS],
}

/// Memory that was found in a window: its first address for a processor and for the card.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mapped {
    start: usize,
    len: usize,
    base: u64,
}

impl Mapped {
    /// The bus address of `bytes`, if they lie here.
    #[inline(always)]
    pub(crate) fn address_of(&self, bytes: &[u8]) -> Option<u64> {
        let offset = (bytes.as_ptr() as usize).wrapping_sub(self.start);
        (offset < self.len && bytes.len() <= self.len - offset).then(|| self.base + offset as u64)
    }
}

/// An access that no window allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemoryFault;

impl Iommu {
    pub(crate) fn new() -> Self {
        Self { windows: std::array::from_fn(|_| OnceLock::new()) }
    }

    /// Opens a window on a pool's memory; false when there is none left. Once is enough.
    pub(crate) fn map_pool(&self, pool: &Pool) -> bool {
        let (pointer, len) = pool.memory();
        self.open(pointer.cast_mut(), len, || Memory::Packets(pool.clone())).is_some()
    }

    /// Opens a window on a queue pair's memory, or finds the one that is open; its bus address.
    pub(crate) fn map_words(&self, words: &Arc<Words>) -> Option<u64> {
        let pointer = words.as_ptr().cast_mut().cast();
        self.open(pointer, size_of_val(&words[..]), || Memory::Rings(Arc::clone(words)))
    }

    fn open(&self, pointer: *mut u8, len: usize, memory: impl Fn() -> Memory) -> Option<u64> {
        let start = pointer as usize;
        for (number, place) in (1_u64..).zip(&self.windows) {
            let window = place.get_or_init(|| Window { start, pointer, len, memory: memory() });
            if (window.start, window.len) == (start, len) {
                return Some(number << OFFSET_BITS);
            }
        }
        None
    }

    /// The window in which `bytes` lie.
    pub(crate) fn find(&self, bytes: &[u8]) -> Option<Mapped> {
        let open = (1_u64..).zip(&self.windows).map_while(|(number, place)| Some((number, place.get()?)));
        let mut mapped = open.map(|(number, window)| Mapped {
            start: window.start,
            len: window.len,
            base: number << OFFSET_BITS,
        });
        mapped.find(|mapped| mapped.address_of(bytes).is_some())
    }

    /// Where a card finds `len` bytes.
    fn translate(&self, address: u64, len: usize) -> Result<(&Window, usize), MemoryFault> {
        let number = (address >> OFFSET_BITS).wrapping_sub(1);
        let offset = (address & ((1 << OFFSET_BITS) - 1)) as usize;
        let place = usize::try_from(number).ok().and_then(|number| self.windows.get(number));
        let window = place.and_then(OnceLock::get).ok_or(MemoryFault)?;
        match offset.checked_add(len) {
            Some(end) if end <= window.len => Ok((window, offset)),
            _ => Err(MemoryFault),
        }
    }

    /// A queue pair's memory, for the card.
    pub(crate) fn words(&self, address: u64) -> Result<Arc<Words>, MemoryFault> {
        match &self.translate(address, 0)?.0.memory {
            Memory::Rings(words) => Ok(Arc::clone(words)),
            Memory::Packets(_) => Err(MemoryFault),
        }
    }

    /// Where a card finds `len` bytes of packets.
    #[inline]
    fn packet(&self, address: u64, len: usize) -> Result<*mut u8, MemoryFault> {
        let (window, offset) = self.translate(address, len)?;
        // Packets are not to be written over rings.
        match window.memory {
            Memory::Packets(_) => Ok(window.pointer.wrapping_add(offset)),
            Memory::Rings(_) => Err(MemoryFault),
        }
    }

    /// Whether a card may reach these bytes of packets.
    #[inline]
    pub(crate) fn check(&self, address: u64, len: usize) -> Result<(), MemoryFault> {
        self.packet(address, len).map(drop)
    }

    /// Asks for packet bytes that will be read soon.
    #[inline]
    pub(crate) fn fetch(&self, address: u64, len: usize) {
        if let Ok(start) = self.packet(address, len) {
            pipeline::memory::prefetch_span(start, len);
        }
    }

    /// The card reads packet bytes.
    #[inline]
    pub(crate) fn read(&self, address: u64, to: &mut [u8]) -> Result<(), MemoryFault> {
        let start = self.packet(address, to.len())?;
        // SAFETY: the bytes lie in a live mapping, as `translate` has found; nobody else writes them meanwhile (the module's invariant).
        unsafe { std::ptr::copy_nonoverlapping(start, to.as_mut_ptr(), to.len()) };
        Ok(())
    }

    /// The card writes packet bytes.
    #[inline]
    pub(crate) fn write(&self, address: u64, from: &[u8]) -> Result<(), MemoryFault> {
        let start = self.packet(address, from.len())?;
        // SAFETY: as above, and nobody else reads or writes them.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), start, from.len()) };
        Ok(())
    }
}

/// Words as both sides share them.
pub(crate) fn cells(words: &Words) -> &[Cell] {
    #[cfg(not(model))]
    return words;
    // What is modelled runs on loom's own cells; see `ring`.
    #[cfg(model)]
    {
        let _ = words;
        &[]
    }
}

impl std::fmt::Debug for Iommu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let open = self.windows.iter().filter(|place| place.get().is_some()).count();
        f.debug_struct("Iommu").field("windows", &open).finish()
    }
}

#[cfg(test)]
mod tests {
    use pipeline::PoolConfig;
    use pipeline::memory::Region;

    use super::*;

    #[test]
    fn a_card_reaches_what_was_mapped_and_nothing_else() {
        let iommu = Iommu::new();
        let pool = Pool::new(PoolConfig { buffers: 4, stride: 2368 }).unwrap();
        let mut packet = pool.alloc_copy(b"0123456789").unwrap();
        assert_eq!(iommu.find(packet.data()), None);
        assert!(iommu.map_pool(&pool) && iommu.map_pool(&pool));
        let mapped = iommu.find(packet.data()).unwrap();
        let address = mapped.address_of(packet.data()).unwrap();
        let mut seen = [0; 10];
        iommu.read(address, &mut seen).unwrap();
        assert_eq!(&seen, b"0123456789");
        iommu.write(address + 2, b"xy").unwrap();
        assert_eq!(packet.data_mut(), b"01xy456789");
        let len = pool.memory().1;
        let end = (1 << OFFSET_BITS) + len as u64;
        assert_eq!(iommu.check(end - 4, 4), Ok(()));
        for (address, len) in [
            (end - 4, 5),
            (end, 1),
            (0, 1),
            (2 << OFFSET_BITS, 1),
            (u64::MAX, 1),
            (1 << OFFSET_BITS, usize::MAX),
        ] {
            assert_eq!(iommu.check(address, len), Err(MemoryFault), "{address:#x}");
        }
        assert_eq!(mapped.address_of(&[0; 4]), None, "elsewhere");
    }

    #[test]
    fn rings_are_reached_as_words_and_never_as_packets() {
        let iommu = Iommu::new();
        let words = Arc::new(Region::map(4096).unwrap().into_words());
        let address = iommu.map_words(&words).unwrap();
        assert_eq!(iommu.map_words(&words), Some(address));
        assert!(Arc::ptr_eq(&iommu.words(address).unwrap(), &words));
        assert_eq!(iommu.write(address, b"oops"), Err(MemoryFault));
        assert!(iommu.words(2 << OFFSET_BITS).is_err());
    }

    #[test]
    fn there_are_so_many_windows_and_no_more() {
        let iommu = Iommu::new();
        let pools: Vec<_> =
            (0..=WINDOWS).map(|_| Pool::new(PoolConfig { buffers: 1, stride: 512 }).unwrap()).collect();
        let opened = pools.iter().filter(|pool| iommu.map_pool(pool)).count();
        assert_eq!(opened, WINDOWS);
        let packet = pools.last().unwrap().alloc_copy(b"x").unwrap();
        assert_eq!(iommu.find(packet.data()), None);
    }
}
