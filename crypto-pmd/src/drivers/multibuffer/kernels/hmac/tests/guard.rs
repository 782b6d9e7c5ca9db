//! A page between two that must not be touched.

/// One page that may be used, with forbidden ones in front and behind.
pub(super) struct Page {
    /// Where the first of the three begins.
    start: *mut libc::c_void,
}

const PAGE: usize = 4096;

impl Page {
    pub(super) fn new() -> Self {
        // SAFETY: a new mapping of its own, at no place of the caller's choice.
        let start = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            libc::mmap(std::ptr::null_mut(), 3 * PAGE, libc::PROT_NONE, flags, -1, 0)
        };
        assert_ne!(start, libc::MAP_FAILED);
        // SAFETY: the second page of the mapping, to which nothing refers yet.
        let done = unsafe { libc::mprotect(start.byte_add(PAGE), PAGE, libc::PROT_READ | libc::PROT_WRITE) };
        assert_eq!(done, 0);
        Self { start }
    }

    /// Puts bytes at the end of the page.
    pub(super) fn fill(self, bytes: &[u8]) -> Self {
        self.put(PAGE - bytes.len(), bytes)
    }

    /// Puts bytes at the start of the page.
    pub(super) fn fill_front(self, bytes: &[u8]) -> Self {
        self.put(0, bytes)
    }

    fn put(self, at: usize, bytes: &[u8]) -> Self {
        assert!(at + bytes.len() <= PAGE);
        // SAFETY: inside the page, which is owned, so that nobody has a reference into it.
        unsafe { self.start.byte_add(PAGE + at).cast::<u8>().copy_from(bytes.as_ptr(), bytes.len()) };
        self
    }

    /// The last bytes of the page.
    pub(super) fn last(&self, len: usize) -> &[u8] {
        &self.bytes()[PAGE - len..]
    }

    /// The first bytes of the page.
    pub(super) fn first(&self, len: usize) -> &[u8] {
        &self.bytes()[..len]
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: the page is mapped, readable, zeros at first, and not written while it is borrowed.
        unsafe { std::slice::from_raw_parts(self.start.byte_add(PAGE).cast(), PAGE) }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: the mapping of three pages that was made for this, and nothing refers to it any more.
        unsafe { libc::munmap(self.start, 3 * PAGE) };
    }
}
