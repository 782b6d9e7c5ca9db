//! Memory for packet buffers: huge pages where the machine has them, otherwise transparent huge pages,
//! otherwise plain pages, and a word that says which it was.
//!
//! Invariant: a [`Region`] is zeroed when mapped, stays at one address until dropped, and every byte of it is
//! initialised. It does not hand out parts of itself safely; [`crate::pool`] carves it up.

use std::fmt;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use memmap2::{Advice, MmapMut, MmapOptions};

/// Bytes in one huge page on x86-64 and on aarch64 with 4 KiB pages.
pub const HUGE_PAGE: usize = 2 << 20;
const HUGE_PAGE_BITS: u8 = 21;

/// What kind of pages a region got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Pages from the pool that `vm.nr_hugepages` reserves.
    HugePages,
    /// Huge pages that the kernel made of ordinary ones when it was asked to (`madvise`).
    TransparentHugePages,
    /// Ordinary pages.
    Pages,
}

impl fmt::Display for Backing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HugePages => "huge pages",
            Self::TransparentHugePages => "transparent huge pages",
            Self::Pages => "plain pages",
        })
    }
}

/// One anonymous mapping, rounded up to whole huge pages.
///
/// ```
/// let region = pipeline::memory::Region::map(10_000)?;
/// assert_eq!(region.len(), pipeline::memory::HUGE_PAGE);
/// println!("{} bytes in {}", region.len(), region.backing());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Region {
    map: MmapMut,
    start: NonNull<u8>,
    len: usize,
    backing: Backing,
}

// SAFETY: the region owns its mapping; `start` points into it and is only an address until a holder of the
// region's own safe interface (or the pool, under its own rules) uses it.
unsafe impl Send for Region {}
// SAFETY: as above; `&Region` gives no access to the bytes.
unsafe impl Sync for Region {}

impl Region {
    /// Maps at least `bytes` bytes (rounded up to [`HUGE_PAGE`]), trying the best backing first.
    ///
    /// # Errors
    /// The operating system's error when not even plain pages can be mapped.
    pub fn map(bytes: usize) -> io::Result<Self> {
        let too_large =
            || io::Error::new(io::ErrorKind::OutOfMemory, "packet memory larger than the address space");
        let len = bytes.max(1).checked_next_multiple_of(HUGE_PAGE).ok_or_else(too_large)?;
        if let Ok(map) = MmapOptions::new().len(len).huge(Some(HUGE_PAGE_BITS)).populate().map_anon() {
            return Self::over(map, len, Backing::HugePages);
        }
        let padded = len.checked_add(HUGE_PAGE).ok_or_else(too_large)?;
        let mut map = MmapOptions::new().len(padded).map_anon()?;
        // Refused by a kernel without transparent huge pages; what came of it is looked at below.
        drop(map.advise(Advice::HugePage));
        let first = map.as_ptr().align_offset(HUGE_PAGE);
        if let Some(byte) = map.get_mut(first) {
            *byte = 0;
        }
        let is_huge = is_in_huge_page(map.as_ptr() as usize + first);
        Self::over(map, len, if is_huge { Backing::TransparentHugePages } else { Backing::Pages })
    }

    fn over(mut map: MmapMut, len: usize, backing: Backing) -> io::Result<Self> {
        let base = map.as_mut_ptr();
        let skip = base.align_offset(HUGE_PAGE);
        if skip.checked_add(len).is_none_or(|end| end > map.len()) {
            return Err(io::Error::other("the mapping is not aligned as it was asked for"));
        }
        // SAFETY: `skip + len` lies within the mapping, checked above.
        let start = unsafe { base.add(skip) };
        let start = NonNull::new(start).ok_or_else(|| io::Error::other("mapping at address zero"))?;
        Ok(Self { map, start, len, backing })
    }

    /// Usable bytes, from a huge-page boundary on.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True for a region without usable bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pages this region lies in.
    #[must_use]
    pub fn backing(&self) -> Backing {
        self.backing
    }

    /// Asks the kernel to keep the region in memory (`mlock`), so that no page fault meets the data path.
    /// False when the limit `RLIMIT_MEMLOCK` or the kernel does not allow it; the region works all the same.
    #[must_use]
    pub fn lock(&self) -> bool {
        // SAFETY: address and length are those of a live mapping that this region owns.
        unsafe { libc::mlock(self.map.as_ptr().cast(), self.map.len()) == 0 }
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// The region as words that threads share: what a device and its driver keep their rings in.
    #[must_use]
    pub fn into_words(self) -> Words {
        Words(self)
    }
}

/// A region of which every word is atomic, so that two sides may read and write it at any time.
///
/// ```
/// use std::sync::atomic::Ordering::Relaxed;
/// let words = pipeline::memory::Region::map(4096)?.into_words();
/// words[3].store(7, Relaxed);
/// assert_eq!((words[3].load(Relaxed), words[4].load(Relaxed)), (7, 0));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Words(Region);

impl Words {
    /// The pages that it lies in.
    #[must_use]
    pub fn backing(&self) -> Backing {
        self.0.backing()
    }
}

impl std::ops::Deref for Words {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: the region is mapped, zeroed, aligned to a huge page and as long as it says as long as `self` lives; it was moved
        // in here, so nobody else reaches its bytes; and all access is through `&AtomicU64`.
        unsafe {
            std::slice::from_raw_parts(self.0.start.as_ptr().cast(), self.0.len / size_of::<AtomicU64>())
        }
    }
}

/// Whether the kernel has put huge pages behind the mapping that has this address, as far as it was touched.
fn is_in_huge_page(address: usize) -> bool {
    let Ok(mappings) = std::fs::read_to_string("/proc/self/smaps") else { return false };
    let mut lines = mappings.lines().skip_while(|line| !is_head_of(line, address));
    let size = lines.find_map(|line| line.strip_prefix("AnonHugePages:"));
    size.is_some_and(|size| size.trim().trim_end_matches(" kB") != "0")
}

/// Whether a line of the list of mappings begins the one with this address.
fn is_head_of(line: &str, address: usize) -> bool {
    let Some((start, end)) = line.split_whitespace().next().and_then(|range| range.split_once('-')) else {
        return false;
    };
    let number = |text| usize::from_str_radix(text, 16);
    matches!((number(start), number(end)), (Ok(start), Ok(end)) if (start..end).contains(&address))
}

/// Asks the processor to bring the cache line of `value` closer; never faults, changes nothing.
#[inline(always)]
pub fn prefetch<T>(value: &T) {
    prefetch_line(std::ptr::from_ref(value).cast());
}

/// As [`prefetch`], for every line of `value`.
#[inline(always)]
pub fn prefetch_whole<T>(value: &T) {
    let start = std::ptr::from_ref(value).cast::<u8>();
    (0..size_of::<T>()).step_by(LINE).for_each(|at| prefetch_line(start.wrapping_add(at)));
}

/// As [`prefetch`], for every line of `bytes`.
#[inline(always)]
pub fn prefetch_bytes(bytes: &[u8]) {
    bytes.chunks(LINE).for_each(|line| prefetch_line(line.as_ptr()));
}

/// As [`prefetch_bytes`], for bytes that are known by address only; nothing is read.
#[inline(always)]
pub fn prefetch_span(start: *const u8, len: usize) {
    (0..len).step_by(LINE).for_each(|at| prefetch_line(start.wrapping_add(at)));
}

/// Bytes of a cache line.
const LINE: usize = 64;

#[inline(always)]
pub(crate) fn prefetch_line(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch has no effect that the program can see, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_rounded_up_and_aligned_to_huge_pages() {
        let region = Region::map(HUGE_PAGE + 1).unwrap();
        assert_eq!(region.len(), 2 * HUGE_PAGE);
        assert_eq!(region.start().as_ptr() as usize % HUGE_PAGE, 0);
    }

    #[test]
    fn a_region_says_what_the_kernel_says() {
        let region = Region::map(HUGE_PAGE).unwrap();
        let shown = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let head = shown.lines().position(|line| is_head_of(line, region.start().as_ptr() as usize)).unwrap();
        let about: Vec<_> =
            shown.lines().skip(head).take_while(|line| !line.starts_with("VmFlags")).collect();
        let kernel = |name: &str| about.iter().any(|line| line.starts_with(name) && !line.ends_with(" 0 kB"));
        match region.backing() {
            Backing::HugePages => assert!(kernel("Private_Hugetlb:"), "{about:?}"),
            Backing::TransparentHugePages => assert!(kernel("AnonHugePages:"), "{about:?}"),
            Backing::Pages => assert!(!kernel("AnonHugePages:") && !kernel("Private_Hugetlb:"), "{about:?}"),
        }
    }

    #[test]
    fn a_region_larger_than_the_address_space_is_an_error() {
        assert!(Region::map(usize::MAX - 5).is_err());
        assert!(Region::map(usize::MAX / 2).is_err());
    }
}
