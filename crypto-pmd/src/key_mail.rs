//! News of drivers for a dispatcher of key operations: control code writes, the dispatcher's core reads when it submits or polls.
//!
//! Lanes come made and go back whole, so the core neither allocates nor frees.

use std::sync::{Arc, Weak};

use crossbeam_queue::{ArrayQueue, SegQueue};

use crate::device::{Driver, DriverId};
use crate::key_dispatcher::Lane;
use crate::key_op::KeyQueueConfig;

/// Lanes that wait to be dropped, at most.
const GONE: usize = 64;

/// What has happened to a driver.
#[derive(Debug)]
pub(crate) enum KeyNews {
    /// It was attached.
    Came(Box<Lane>),
    /// It was detached.
    Goes(DriverId),
}

/// What one dispatcher and the registry share.
#[derive(Debug)]
pub(crate) struct KeyMail {
    pub(crate) news: SegQueue<KeyNews>,
    pub(crate) gone: ArrayQueue<Box<Lane>>,
    config: KeyQueueConfig,
}

/// The dispatchers that there are, as the registry knows them.
#[derive(Debug, Default)]
pub(crate) struct KeyMails(Vec<Weak<KeyMail>>);

impl KeyMails {
    /// The mail of one more dispatcher.
    pub(crate) fn add(&mut self, config: &KeyQueueConfig) -> Arc<KeyMail> {
        let mail = Arc::new(KeyMail { news: SegQueue::new(), gone: ArrayQueue::new(GONE), config: *config });
        self.0.retain(|mail| mail.strong_count() > 0);
        self.0.push(Arc::downgrade(&mail));
        mail
    }

    /// A driver was attached.
    pub(crate) fn came(&self, id: DriverId, driver: &dyn Driver) {
        self.collect();
        for mail in self.0.iter().filter_map(Weak::upgrade) {
            if let Some(lane) = Lane::new(id, driver, &mail.config) {
                mail.news.push(KeyNews::Came(Box::new(lane)));
            }
        }
    }

    /// A driver was detached.
    pub(crate) fn goes(&self, id: DriverId) {
        self.collect();
        self.0.iter().filter_map(Weak::upgrade).for_each(|mail| mail.news.push(KeyNews::Goes(id)));
    }

    /// Drops the lanes that came back.
    pub(crate) fn collect(&self) {
        for mail in self.0.iter().filter_map(Weak::upgrade) {
            while mail.gone.pop().is_some() {}
        }
    }
}
