//! The thread on which a card's engine turns in real time.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use super::engine::Engine;

/// Turns without work before the processor is offered to others.
const SPINS: u32 = 256;

/// Keeps an engine turning until it is dropped.
#[derive(Debug)]
pub struct Runner {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Engine>>,
}

impl Runner {
    /// Takes a thread for an engine, pinned to a processor where one is named.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(engine: Engine, core: Option<usize>) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let turn = move || {
            if let Some(id) = core {
                // Where it is not allowed it runs anywhere.
                let _pinned = core_affinity::set_for_current(core_affinity::CoreId { id });
            }
            run(engine, &until)
        };
        let thread = thread::Builder::new().name("card".to_owned()).spawn(turn)?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Stops it and gives the engine back.
    #[must_use]
    pub fn stop(mut self) -> Option<Engine> {
        self.end()
    }

    fn end(&mut self) -> Option<Engine> {
        self.stop.store(true, Ordering::Release);
        self.thread.take()?.join().ok()
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        drop(self.end());
    }
}

fn run(mut engine: Engine, stop: &AtomicBool) -> Engine {
    let mut idle = 0;
    while !stop.load(Ordering::Acquire) {
        if engine.step() {
            idle = 0;
            continue;
        }
        idle += 1;
        if idle < SPINS { std::hint::spin_loop() } else { thread::yield_now() }
    }
    engine
}
