//! Panics of callbacks: counted, and the first of them kept by name.

use std::any::Any;
use std::collections::VecDeque;

/// Panics that are kept until somebody asks for them.
const KEPT: usize = 16;

/// A callback panicked. Its job was dropped, and everything else went on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the callback of the job with cookie {cookie} panicked: {message}; its job was dropped")]
pub struct CallbackPanicked {
    /// The job's cookie, as the caller gave it.
    pub cookie: u64,
    /// What the panic said.
    pub message: String,
}

#[derive(Debug)]
pub(super) struct Panics {
    kept: VecDeque<CallbackPanicked>,
    count: u64,
}

impl Panics {
    pub(super) fn new() -> Self {
        Self { kept: VecDeque::with_capacity(KEPT), count: 0 }
    }

    #[cold]
    pub(super) fn note(&mut self, cookie: u64, fault: Box<dyn Any + Send>) {
        self.count += 1;
        if self.kept.len() < KEPT {
            self.kept.push_back(CallbackPanicked { cookie, message: message_of(fault.as_ref()) });
        }
    }

    pub(super) fn take(&mut self) -> Option<CallbackPanicked> {
        self.kept.pop_front()
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }
}

fn message_of(fault: &(dyn Any + Send)) -> String {
    let text = fault.downcast_ref::<&str>().copied();
    let text = text.or_else(|| fault.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("something that is no text").to_owned()
}
