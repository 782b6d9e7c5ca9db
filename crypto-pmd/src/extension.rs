//! The rare part of a job, from a pool of its own, so that it costs no heap use on the data path.
//!
//! Invariant: dropping an extension wipes what is in it and puts it back into its pool.

use std::fmt;
use std::sync::{Arc, Weak};

use crossbeam_queue::ArrayQueue;
use smallvec::SmallVec;
use zeroize::Zeroize as _;

/// Longest explicit IV or nonce, in bytes.
pub const MAX_IV: usize = 16;
/// Longest explicit associated data, in bytes.
pub const MAX_ASSOCIATED_DATA: usize = 256;

#[derive(Default)]
struct Body {
    home: Weak<ArrayQueue<Box<Body>>>,
    iv: Option<SmallVec<[u8; MAX_IV]>>,
    associated_data: Option<SmallVec<[u8; MAX_ASSOCIATED_DATA]>>,
}

/// What a job may carry besides its line.
///
/// ```
/// let pool = crypto_pmd::ExtensionPool::new(1);
/// let mut extension = pool.alloc().unwrap();
/// assert!(extension.set_iv(&[7; 12]));
/// assert!(!extension.set_iv(&[7; 17]), "longer than an IV can be");
/// assert_eq!(pool.available(), 0);
/// drop(extension);
/// assert_eq!(pool.available(), 1);
/// ```
#[derive(Default)]
pub struct Extension(Option<Box<Body>>);

impl Extension {
    /// No extension: what most jobs have.
    #[inline(always)]
    #[must_use]
    pub(crate) const fn none() -> Self {
        Self(None)
    }

    #[inline(always)]
    pub(crate) fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// Gives the IV (the whole nonce, for an AEAD) with the job instead of in the packet; false and no change
    /// when it is longer than [`MAX_IV`].
    #[must_use]
    pub fn set_iv(&mut self, iv: &[u8]) -> bool {
        match (&mut self.0, iv.len() <= MAX_IV) {
            (Some(body), true) => {
                wipe(&mut body.iv);
                body.iv = Some(SmallVec::from_slice(iv));
                true
            }
            _ => false,
        }
    }

    /// Gives the associated data with the job instead of as a range of the packet; false and no change when it
    /// is longer than [`MAX_ASSOCIATED_DATA`].
    #[must_use]
    pub fn set_associated_data(&mut self, data: &[u8]) -> bool {
        match (&mut self.0, data.len() <= MAX_ASSOCIATED_DATA) {
            (Some(body), true) => {
                wipe(&mut body.associated_data);
                body.associated_data = Some(SmallVec::from_slice(data));
                true
            }
            _ => false,
        }
    }

    /// The explicit IV, if given.
    #[must_use]
    pub fn iv(&self) -> Option<&[u8]> {
        self.0.as_ref()?.iv.as_deref()
    }

    /// The explicit associated data, if given.
    #[must_use]
    pub fn associated_data(&self) -> Option<&[u8]> {
        self.0.as_ref()?.associated_data.as_deref()
    }
}

impl Drop for Extension {
    #[inline(always)]
    fn drop(&mut self) {
        if self.0.is_some() {
            self.recycle();
        }
    }
}

impl Extension {
    #[cold]
    fn recycle(&mut self) {
        let Some(mut body) = self.0.take() else { return };
        wipe(&mut body.iv);
        wipe(&mut body.associated_data);
        if let Some(home) = body.home.upgrade() {
            // A pool has a place for each extension it made.
            drop(home.push(body));
        }
    }
}

/// Wipes the bytes where they lie, before they are let go; taking them out first would wipe a copy.
fn wipe<const N: usize>(bytes: &mut Option<SmallVec<[u8; N]>>) {
    if let Some(bytes) = bytes {
        bytes.as_mut_slice().zeroize();
    }
    *bytes = None;
}

impl fmt::Debug for Extension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lengths = (self.iv().map(<[u8]>::len), self.associated_data().map(<[u8]>::len));
        write!(f, "Extension(iv {:?}, associated data {:?})", lengths.0, lengths.1)
    }
}

/// A pool of extensions; clones share it.
#[derive(Clone)]
pub struct ExtensionPool {
    free: Arc<ArrayQueue<Box<Body>>>,
}

impl ExtensionPool {
    /// A pool of `count` extensions (at least one).
    #[must_use]
    pub fn new(count: usize) -> Self {
        let free = Arc::new(ArrayQueue::new(count.max(1)));
        for _ in 0..free.capacity() {
            let body = Body { home: Arc::downgrade(&free), ..Body::default() };
            drop(free.push(Box::new(body)));
        }
        Self { free }
    }

    /// An empty extension, or `None` when all are out.
    #[must_use]
    pub fn alloc(&self) -> Option<Extension> {
        self.free.pop().map(|body| Extension(Some(body)))
    }

    /// Extensions that are free.
    #[must_use]
    pub fn available(&self) -> usize {
        self.free.len()
    }
}

impl fmt::Debug for ExtensionPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExtensionPool").field("available", &self.available()).finish()
    }
}
