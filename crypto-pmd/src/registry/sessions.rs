//! The registry's book of sessions: handles, parameters, and where each session lies.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::dispatcher::{Departure, Slot};
use crate::session::SessionId;
use crate::transform::SessionParams;

use super::placement::SessionOptions;

/// Where a session lies.
#[derive(Clone, Debug)]
pub(super) enum Place {
    One(Slot),
    Many {
        slots: SmallVec<[Slot; 8]>,
        fallback: Option<Slot>,
    },
    /// So many transforms on the first, the rest on the second.
    Split([Slot; 2], usize),
    Nowhere,
    /// It has another handle.
    Moved(SessionId),
}

impl Place {
    /// The same place, for a session whose jobs had places in the order before: they go on having them.
    pub(super) fn in_order(self) -> Self {
        match self {
            Self::One(slot) => Self::Many { slots: SmallVec::from_slice(&[slot]), fallback: None },
            other => other,
        }
    }

    /// All drivers that have it.
    pub(super) fn slots(&self) -> SmallVec<[Slot; 8]> {
        match self {
            Self::One(slot) => SmallVec::from_slice(&[*slot]),
            Self::Many { slots, fallback } => slots.iter().chain(fallback).copied().collect(),
            Self::Split(slots, _) => SmallVec::from_slice(slots),
            Self::Nowhere | Self::Moved(_) => SmallVec::new(),
        }
    }
}

/// An open session.
#[derive(Clone, Debug)]
pub(super) struct Open {
    /// Wiped with the last that holds them.
    pub(super) params: Arc<SessionParams>,
    pub(super) options: SessionOptions,
    pub(super) place: Place,
    pub(super) from: Box<[Departure]>,
    /// Drivers that had it before and may still have jobs of it; it is closed there with the session.
    pub(super) left_behind: SmallVec<[Slot; 2]>,
}

#[derive(Debug)]
struct Record {
    generation: u32,
    open: Option<Open>,
}

/// The book.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    records: Vec<Record>,
    free: Vec<u32>,
    open: usize,
}

impl Sessions {
    /// A handle that no session has.
    pub(super) fn reserve(&mut self) -> Option<SessionId> {
        if let Some(index) = self.free.pop() {
            let generation = self.records.get(index as usize)?.generation;
            return Some(SessionId::new(index, generation));
        }
        let index = u32::try_from(self.records.len()).ok()?;
        self.records.push(Record { generation: 0, open: None });
        Some(SessionId::new(index, 0))
    }

    /// Gives a handle back; it never comes again.
    pub(super) fn release(&mut self, id: SessionId) {
        if let Some(record) = self.records.get_mut(id.index()) {
            record.generation = record.generation.wrapping_add(1);
            self.free.push(id.index() as u32);
        }
    }

    pub(super) fn put(&mut self, id: SessionId, open: Open) {
        if let Some(record) = self.records.get_mut(id.index()) {
            self.open += usize::from(record.open.replace(open).is_none());
        }
    }

    pub(super) fn take(&mut self, id: SessionId) -> Option<Open> {
        let record =
            self.records.get_mut(id.index()).filter(|record| record.generation == id.generation())?;
        let open = record.open.take();
        self.open -= usize::from(open.is_some());
        open
    }

    pub(super) fn get(&self, id: SessionId) -> Option<&Open> {
        let record = self.records.get(id.index()).filter(|record| record.generation == id.generation())?;
        record.open.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: SessionId) -> Option<&mut Open> {
        let record =
            self.records.get_mut(id.index()).filter(|record| record.generation == id.generation())?;
        record.open.as_mut()
    }

    /// How many are open.
    pub(super) fn len(&self) -> usize {
        self.open
    }

    /// The handles of open sessions of which this holds.
    pub(super) fn handles(&self, which: impl Fn(&Open) -> bool) -> Vec<SessionId> {
        let handle = |(index, record): (usize, &Record)| {
            record.open.as_ref().filter(|open| which(open))?;
            Some(SessionId::new(index as u32, record.generation))
        };
        self.records.iter().enumerate().filter_map(handle).collect()
    }
}
