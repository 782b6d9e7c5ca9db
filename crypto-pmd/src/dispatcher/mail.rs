//! How control code tells a running dispatcher of drivers that come and go: a queue each way, looked into when the published routes have
//! changed. The dispatcher neither allocates nor frees: lanes come made, and go back when they are empty.

use std::sync::Arc;

use pipeline::sync::ArrayQueue;

use super::lane::Lane;

/// Most drivers at once, and so most lanes of a dispatcher.
pub(crate) const MAX_DRIVERS: usize = 64;

/// Place of a driver among those that are attached.
pub(crate) type Slot = u8;

/// What has happened.
#[derive(Debug)]
pub(crate) enum News {
    /// A driver came, into a free place.
    Came(Slot, Box<Lane>),
    /// The driver in this place goes.
    Goes(Slot),
}

/// Both queues; clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Mail {
    to: Arc<ArrayQueue<News>>,
    back: Arc<ArrayQueue<(Slot, Box<Lane>)>>,
}

impl Mail {
    pub(crate) fn new() -> Self {
        Self {
            to: Arc::new(ArrayQueue::new(2 * MAX_DRIVERS)),
            back: Arc::new(ArrayQueue::new(2 * MAX_DRIVERS)),
        }
    }

    /// For control code; the dispatcher looks when the routes have changed, so a change is to follow.
    ///
    /// # Errors
    /// The dispatcher has not looked for long: the news come back, to be sent later.
    pub(crate) fn send(&self, news: News) -> Result<(), News> {
        self.to.push(news)
    }

    /// For control code: a lane that is empty, whose driver may go.
    pub(crate) fn returned(&self) -> Option<(Slot, Box<Lane>)> {
        self.back.pop()
    }

    /// For the dispatcher.
    pub(super) fn receive(&self) -> Option<News> {
        self.to.pop()
    }

    /// For the dispatcher.
    pub(super) fn give_back(&self, slot: Slot, lane: Box<Lane>) -> Result<(), Box<Lane>> {
        self.back.push((slot, lane)).map_err(|(_, lane)| lane)
    }

    /// Whether the dispatcher is gone.
    pub(crate) fn is_abandoned(&self) -> bool {
        Arc::strong_count(&self.to) == 1
    }
}
