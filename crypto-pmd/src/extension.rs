//! The rare part of a job, from a pool of its own, so that it costs no heap use on the data path.
//!
//! Invariant: dropping an extension wipes what is in it and puts it back into its pool. Pieces of memory that a job works on
//! instead of a packet are the caller's: whoever wants them back takes them out before.

use std::fmt;
use std::sync::{Arc, Weak};

use crossbeam_queue::ArrayQueue;
use smallvec::SmallVec;
use zeroize::Zeroize as _;

use crate::step::Step;

pub use crate::step::MAX_IV;

/// Most steps of a request, and so most transforms of a session.
pub const MAX_STEPS: usize = 8;
/// Longest key for one request, in bytes.
pub const MAX_KEY: usize = 64;
/// Most pieces of memory of a request.
pub const MAX_PIECES: usize = 16;
/// Longest explicit associated data, in bytes.
pub const MAX_ASSOCIATED_DATA: usize = 256;

#[derive(Default)]
struct Body {
    home: Weak<ArrayQueue<Box<Body>>>,
    iv: Bytes<MAX_IV>,
    associated_data: Bytes<MAX_ASSOCIATED_DATA>,
    steps: SmallVec<[Step; MAX_STEPS]>,
    keys: [Bytes<MAX_KEY>; MAX_STEPS],
    /// Which steps are shown: the first, and how many.
    part: Option<(usize, usize)>,
    pieces: SmallVec<[Box<[u8]>; MAX_PIECES]>,
}

/// Bytes in a place that they never leave, so that there is one copy to wipe.
struct Bytes<const N: usize> {
    place: [u8; N],
    len: Option<usize>,
}

impl<const N: usize> Default for Bytes<N> {
    fn default() -> Self {
        Self { place: [0; N], len: None }
    }
}

impl<const N: usize> Bytes<N> {
    /// False and no change when there is no room.
    fn set(&mut self, bytes: &[u8]) -> bool {
        if bytes.len() > N {
            return false;
        }
        self.wipe();
        self.place.iter_mut().zip(bytes).for_each(|(to, byte)| *to = *byte);
        self.len = Some(bytes.len());
        true
    }

    fn bytes(&self) -> Option<&[u8]> {
        self.place.get(..self.len?)
    }

    fn wipe(&mut self) {
        if let Some(used) = self.len.take().and_then(|len| self.place.get_mut(..len)) {
            used.zeroize();
        }
    }
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

    /// Lets go of it: what dropping does, without code for the box that most jobs do not have.
    #[inline(always)]
    pub(crate) fn leave(mut self) {
        if self.is_some() {
            self.recycle();
        }
        std::mem::forget(self);
    }

    /// Gives the IV (the whole nonce, for an AEAD) with the job instead of in the packet; false and no change
    /// when it is longer than [`MAX_IV`].
    #[must_use]
    pub fn set_iv(&mut self, iv: &[u8]) -> bool {
        self.0.as_mut().is_some_and(|body| body.iv.set(iv))
    }

    /// Gives the associated data with the job instead of as a range of the packet; false and no change when it
    /// is longer than [`MAX_ASSOCIATED_DATA`].
    #[must_use]
    pub fn set_associated_data(&mut self, data: &[u8]) -> bool {
        self.0.as_mut().is_some_and(|body| body.associated_data.set(data))
    }

    /// Adds a step; false and no change when there are [`MAX_STEPS`]. Step after step stands for the session's transforms in
    /// the order of its chain, also for decryption, which walks both backwards.
    #[must_use]
    pub fn push_step(&mut self, step: Step) -> bool {
        let Some(body) = self.0.as_mut().filter(|body| body.steps.len() < MAX_STEPS) else { return false };
        body.steps.push(step);
        true
    }

    /// Gives a key for one step of this request, by the step's number among all; false and no change when there is no such
    /// step, or the key is longer than [`MAX_KEY`].
    #[must_use]
    pub fn set_step_key(&mut self, number: usize, key: &[u8]) -> bool {
        let Some(body) = self.0.as_mut().filter(|body| number < body.steps.len()) else { return false };
        body.keys.get_mut(number).is_some_and(|place| place.set(key))
    }

    /// Shows only `count` steps from `first` on: those of the driver that has this part of a chain. False and no change when
    /// there are fewer.
    #[must_use]
    pub fn set_part(&mut self, first: usize, count: usize) -> bool {
        let fits =
            |body: &&mut Box<Body>| first.checked_add(count).is_some_and(|end| end <= body.steps.len());
        let Some(body) = self.0.as_mut().filter(fits) else { return false };
        body.part = Some((first, count));
        true
    }

    /// The steps, or those of the part that is shown.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        let (first, count) = self.part();
        self.all_steps().get(first..first + count).unwrap_or_default()
    }

    /// The steps, whichever part is shown.
    #[must_use]
    pub fn all_steps(&self) -> &[Step] {
        self.0.as_ref().map_or(&[], |body| &body.steps)
    }

    /// The key for one step, by its number among those that are shown.
    #[must_use]
    pub fn step_key(&self, number: usize) -> Option<&[u8]> {
        let (first, count) = self.part();
        let place = (number < count).then_some(first + number)?;
        self.0.as_ref()?.keys.get(place)?.bytes()
    }

    fn part(&self) -> (usize, usize) {
        let part = self.0.as_ref().and_then(|body| body.part);
        part.unwrap_or((0, self.all_steps().len()))
    }

    /// Adds a piece of memory. A job with pieces works on them, as if their bytes lay one behind the other, and not on its
    /// packet, which may be empty.
    ///
    /// # Errors
    /// Gives the piece back when there are [`MAX_PIECES`].
    pub fn push_piece(&mut self, piece: Box<[u8]>) -> Result<(), Box<[u8]>> {
        match self.0.as_mut().filter(|body| body.pieces.len() < MAX_PIECES) {
            Some(body) => body.pieces.push(piece),
            None => return Err(piece),
        }
        Ok(())
    }

    /// The pieces of memory, in order.
    #[must_use]
    pub fn pieces(&self) -> &[Box<[u8]>] {
        self.0.as_ref().map_or(&[], |body| &body.pieces)
    }

    /// Takes the pieces out, in order.
    pub fn take_pieces(&mut self) -> impl Iterator<Item = Box<[u8]>> {
        self.0.as_mut().into_iter().flat_map(|body| body.pieces.drain(..))
    }

    /// Bytes of all pieces.
    #[must_use]
    pub fn pieces_len(&self) -> usize {
        self.pieces().iter().map(|piece| piece.len()).sum()
    }

    /// Copies the pieces' bytes into `to`, as far as it reaches.
    pub(crate) fn gather(&self, mut to: &mut [u8]) {
        for piece in self.pieces() {
            let (front, rest) = to.split_at_mut(piece.len().min(to.len()));
            front.copy_from_slice(piece.get(..front.len()).unwrap_or_default());
            to = rest;
        }
    }

    /// Copies `from` into the pieces, as far as it reaches.
    pub(crate) fn scatter(&mut self, mut from: &[u8]) {
        for piece in self.0.as_mut().into_iter().flat_map(|body| body.pieces.iter_mut()) {
            let (front, rest) = from.split_at(piece.len().min(from.len()));
            piece.iter_mut().zip(front).for_each(|(to, byte)| *to = *byte);
            from = rest;
        }
    }

    /// The explicit IV, if given.
    #[must_use]
    pub fn iv(&self) -> Option<&[u8]> {
        self.0.as_ref()?.iv.bytes()
    }

    /// The explicit associated data, if given.
    #[must_use]
    pub fn associated_data(&self) -> Option<&[u8]> {
        self.0.as_ref()?.associated_data.bytes()
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
        body.iv.wipe();
        body.associated_data.wipe();
        body.keys.iter_mut().for_each(Bytes::wipe);
        body.steps.clear();
        body.part = None;
        body.pieces.clear();
        if let Some(home) = body.home.upgrade() {
            // A pool has a place for each extension it made.
            drop(home.push(body));
        }
    }
}

impl fmt::Debug for Extension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lengths = (self.iv().map(<[u8]>::len), self.associated_data().map(<[u8]>::len));
        let counts = (self.all_steps().len(), self.pieces().len());
        write!(
            f,
            "Extension(iv {:?}, associated data {:?}, {} steps, {} pieces)",
            lengths.0, lengths.1, counts.0, counts.1
        )
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

#[cfg(test)]
mod tests;
