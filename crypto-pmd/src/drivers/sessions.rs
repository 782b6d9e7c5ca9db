//! The session table that software drivers share: set up by the control side, read by each queue pair from its
//! own replica.

use std::sync::Arc;

use pipeline::replica::{Replica, Table};

use crate::session::SessionId;

/// Control side.
#[derive(Debug)]
pub(crate) struct Sessions<S> {
    table: Table<(u32, Arc<S>)>,
}

impl<S> Sessions<S> {
    pub(crate) fn new() -> Self {
        Self { table: Table::new() }
    }

    pub(crate) fn open(&self, id: SessionId, state: S) {
        self.table.set(id.index(), (id.generation(), Arc::new(state)));
    }

    pub(crate) fn close(&self, id: SessionId) {
        self.table.remove(id.index());
    }

    pub(crate) fn view(&self) -> View<S> {
        View(self.table.replica())
    }
}

/// A queue pair's side.
#[derive(Debug)]
pub(crate) struct View<S>(Replica<(u32, Arc<S>)>);

impl<S> View<S> {
    /// Applies what the control side did since the last burst.
    #[inline(always)]
    pub(crate) fn refresh(&mut self) {
        self.0.refresh();
    }

    #[inline(always)]
    pub(crate) fn find(&self, id: SessionId) -> Option<&S> {
        let (generation, state) = self.0.find(id.index())?;
        (*generation == id.generation()).then_some(state)
    }
}
