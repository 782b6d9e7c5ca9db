//! Queues under watch.

use std::sync::Arc;

use super::EntryPoint;
use super::station::Station;
use crate::device::{QueuePair, SessionStates};
use crate::job::JobBurst;
use crate::key_op::{KeyQueue, KeyRequest, Unblock};

#[derive(Debug)]
pub(super) struct WatchedQueue {
    queue: Box<dyn QueuePair>,
    station: Arc<Station>,
}

impl WatchedQueue {
    pub(super) fn new(queue: Box<dyn QueuePair>, station: Arc<Station>) -> Self {
        Self { queue, station }
    }
}

impl QueuePair for WatchedQueue {
    fn submit(&mut self, jobs: &mut JobBurst) -> usize {
        let _inside = self.station.enter(EntryPoint::Submit);
        self.queue.submit(jobs)
    }
    fn poll(&mut self, done: &mut JobBurst) -> usize {
        let _inside = self.station.enter(EntryPoint::Poll);
        self.queue.poll(done)
    }
    fn flush(&mut self) {
        let _inside = self.station.enter(EntryPoint::Flush);
        self.queue.flush();
    }
    fn set_unblock(&mut self, unblock: Unblock) {
        self.queue.set_unblock(unblock);
    }
    fn set_states(&mut self, states: SessionStates) {
        self.queue.set_states(states);
    }
    fn is_blocked(&self) -> bool {
        let _inside = self.station.enter(EntryPoint::IsBlocked);
        self.queue.is_blocked()
    }
    fn leave(&mut self) {
        let _inside = self.station.enter(EntryPoint::Leave);
        self.queue.leave();
    }
    fn offline(&mut self) {
        let _inside = self.station.enter(EntryPoint::Offline);
        self.queue.offline();
    }
}

#[derive(Debug)]
pub(super) struct WatchedKeyQueue {
    queue: Box<dyn KeyQueue>,
    station: Arc<Station>,
}

impl WatchedKeyQueue {
    pub(super) fn new(queue: Box<dyn KeyQueue>, station: Arc<Station>) -> Self {
        Self { queue, station }
    }
}

impl KeyQueue for WatchedKeyQueue {
    fn submit(&mut self, request: KeyRequest) -> Result<(), KeyRequest> {
        let _inside = self.station.enter(EntryPoint::KeySubmit);
        self.queue.submit(request)
    }
    fn poll(&mut self) -> Option<KeyRequest> {
        let _inside = self.station.enter(EntryPoint::KeyPoll);
        self.queue.poll()
    }
}
