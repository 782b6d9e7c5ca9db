//! For tests: bytes between two pages that nobody may touch, so that a kernel that reads or writes one byte too many ends the program.

use std::ptr::NonNull;

/// Pages with a forbidden one in front and one behind.
pub(super) struct Guarded {
    map: NonNull<u8>,
    page: usize,
    room: usize,
}

impl Guarded {
    /// Room for `len` bytes at least.
    pub(super) fn new(len: usize) -> Self {
        // SAFETY: asks for a number.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let room = len.max(1).next_multiple_of(page);
        // SAFETY: a new mapping, which touches no memory that is there.
        let map = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            libc::mmap(std::ptr::null_mut(), room + 2 * page, libc::PROT_NONE, flags, -1, 0)
        };
        assert_ne!(map, libc::MAP_FAILED);
        let map = NonNull::new(map.cast::<u8>()).unwrap();
        // SAFETY: the pages between the first and the last of the mapping just made.
        let done = unsafe {
            libc::mprotect(map.as_ptr().add(page).cast(), room, libc::PROT_READ | libc::PROT_WRITE)
        };
        assert_eq!(done, 0);
        Self { map, page, room }
    }

    /// The first `len` bytes: one byte before them is forbidden.
    pub(super) fn front(&mut self, len: usize) -> &mut [u8] {
        &mut self.all()[..len]
    }

    /// The last `len` bytes: one byte behind them is forbidden.
    pub(super) fn back(&mut self, len: usize) -> &mut [u8] {
        let room = self.room;
        &mut self.all()[room - len..]
    }

    fn all(&mut self) -> &mut [u8] {
        // SAFETY: `room` bytes that may be read and written, that the mapping zeroed, and that are borrowed from `self` alone.
        unsafe { std::slice::from_raw_parts_mut(self.map.as_ptr().add(self.page), self.room) }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the whole mapping, which nothing borrows any more.
        unsafe { libc::munmap(self.map.as_ptr().cast(), self.room + 2 * self.page) };
    }
}
