//! Session handles.

use std::fmt;

/// A stable handle to an open session: it stays valid when the session moves to another driver, and a handle
/// that outlived its session is told apart from its successor in the same place by the generation.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId {
    index: u32,
    generation: u32,
}

impl SessionId {
    pub(crate) fn new(index: u32, generation: u32) -> Self {
        Self { index, generation }
    }

    /// Place in a driver's table.
    #[inline(always)]
    #[must_use]
    pub fn index(self) -> usize {
        self.index as usize
    }

    /// How often the place was used before.
    #[inline(always)]
    #[must_use]
    pub fn generation(self) -> u32 {
        self.generation
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({}.{})", self.index, self.generation)
    }
}
