//! A dispatcher that stands inside a driver: several drivers as one queue pair.
//!
//! What a queue pair promises, it keeps: it takes jobs from the front of a burst only, gives them all back in the order in which it took
//! them, also those that no driver does, and says when it is blocked. Every job has a place in its order. What an outer dispatcher
//! has marked on a job must be put aside before the job comes here, and put back behind.

use crate::key_op::Unblock;

use super::{Dispatcher, Lane, News, Slot};

#[derive(Debug, Default)]
pub(super) struct Nested {
    /// The driver of which this is a queue pair goes.
    closing: bool,
    /// By which the outer dispatcher is told that there is room again.
    outer: Option<Unblock>,
}

impl Dispatcher {
    /// The dispatcher, for inside a driver; before anything was submitted. It was not made as a settled one: no burst goes straight
    /// through, without places in the order.
    pub(crate) fn inside_a_driver(self) -> Self {
        Self { nested: Some(Nested::default()), ..self }
    }

    /// Signals of the drivers, also of those that come, go on to the outer dispatcher.
    pub(crate) fn set_unblock(&mut self, outer: Unblock) {
        self.lanes().for_each(|lane| lane.pass_signals_on_to(&outer));
        if let Some(nested) = &mut self.nested {
            nested.outer = Some(outer);
        }
    }

    /// Whether every driver that stays takes nothing until it signals.
    pub(crate) fn is_blocked(&self) -> bool {
        let mut stay = self.lanes.iter().flatten().filter(|lane| !lane.is_leaving()).peekable();
        stay.peek().is_some() && stay.all(|lane| lane.awaits_signal())
    }

    /// Nothing more is submitted. What no driver has comes back as [`Status::Retry`](crate::Status::Retry), and so does what a driver gives
    /// back untouched.
    pub(crate) fn leave(&mut self) {
        if let Some(nested) = &mut self.nested {
            nested.closing = true;
        }
        self.lanes().for_each(Lane::leave);
        (0..self.used as Slot).for_each(|slot| self.take_over(slot));
    }

    pub(super) fn is_closing(&self) -> bool {
        self.nested.as_ref().is_some_and(|nested| nested.closing)
    }

    /// A driver comes, whose signals the outer dispatcher will want; or one goes, which may never signal: the others are to be asked.
    #[cold]
    pub(super) fn tell_outer(&self, news: &News) {
        let Some(outer) = self.nested.as_ref().and_then(|nested| nested.outer.as_ref()) else { return };
        if let News::Came(_, lane) = news {
            lane.pass_signals_on_to(outer);
        }
        outer.signal();
    }
}
