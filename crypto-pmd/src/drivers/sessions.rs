//! The session table that software drivers share: set up by the control side, read by each queue pair.

use pipeline::publish::{Reader, Table};

use crate::session::SessionId;

/// Control side.
#[derive(Debug)]
pub(crate) struct Sessions<S> {
    table: Table<(u32, S)>,
}

impl<S: Send + Sync> Sessions<S> {
    pub(crate) fn new() -> Self {
        Self { table: Table::new() }
    }

    pub(crate) fn open(&self, id: SessionId, state: S) {
        self.table.set(id.index(), (id.generation(), state));
    }

    pub(crate) fn close(&self, id: SessionId) {
        self.table.remove(id.index());
    }

    /// Wipes and frees what was closed, as far as no queue pair can be using it; how many still wait.
    pub(crate) fn collect(&self) -> usize {
        self.table.collect()
    }

    pub(crate) fn view(&self) -> View<S> {
        View(self.table.reader())
    }
}

/// A queue pair's side.
#[derive(Debug)]
pub(crate) struct View<S>(Reader<(u32, S)>);

impl<S> View<S> {
    /// A burst boundary.
    #[inline(always)]
    pub(crate) fn refresh(&mut self) {
        self.0.refresh();
    }

    /// Nothing is looked at until the next burst boundary.
    pub(crate) fn offline(&mut self) {
        self.0.offline();
    }

    /// Asks for the entries of these sessions at once, unless they are all the same.
    #[inline]
    pub(crate) fn fetch(&self, sessions: impl Iterator<Item = SessionId> + Clone) {
        let mut others = sessions.clone();
        let Some(first) = others.next() else { return };
        if others.any(|other| other != first) {
            sessions.clone().for_each(|id| self.0.prefetch_slot(id.index()));
            sessions.for_each(|id| self.0.prefetch_entry(id.index()));
        }
    }

    #[inline(always)]
    pub(crate) fn find(&self, id: SessionId) -> Option<&S> {
        let (generation, state) = self.0.find(id.index())?;
        (*generation == id.generation()).then_some(state)
    }
}
