//! Carries single key operations out, one after the other.

// Not every test program uses all of it.
#![allow(dead_code, unreachable_pub)]

use crypto_pmd::drivers::Software;
use crypto_pmd::key_op::{KeyError, KeyOperation, KeyQueueConfig, KeyRequest, KeyRequestPool};
use crypto_pmd::{KeyCompletion, KeyDispatcher, Placement, Registry};

/// A software driver's dispatcher and a pool.
pub struct KeyBench {
    pub dispatcher: KeyDispatcher,
    pub pool: KeyRequestPool,
}

impl KeyBench {
    pub fn new() -> Self {
        let registry = Registry::new();
        registry.attach(Software::new()).unwrap();
        let dispatcher = registry.key_dispatcher(&KeyQueueConfig::default());
        Self { dispatcher, pool: KeyRequestPool::new(16, 8200) }
    }

    /// The outputs of an operation, each `out_bits` long.
    pub fn run(
        &mut self,
        operation: KeyOperation,
        inputs: &[&[u8]],
        out_bits: u32,
    ) -> Result<Vec<Vec<u8>>, KeyError> {
        let request = request(&self.pool, operation, inputs, out_bits);
        self.dispatcher.submit(request, Placement::Any).unwrap();
        let done = wait(&mut self.dispatcher).request;
        assert!(self.dispatcher.poll().is_none(), "it completes once");
        done.result().unwrap()?;
        Ok((0..operation.outputs().len()).map(|place| done.output(place).unwrap().to_vec()).collect())
    }

    /// The only output.
    pub fn run_one(
        &mut self,
        operation: KeyOperation,
        inputs: &[&[u8]],
        out_bits: u32,
    ) -> Result<Vec<u8>, KeyError> {
        self.run(operation, inputs, out_bits).map(|mut outputs| outputs.remove(0))
    }
}

/// A request with all of its outputs `out_bits` long.
pub fn request(
    pool: &KeyRequestPool,
    operation: KeyOperation,
    inputs: &[&[u8]],
    out_bits: u32,
) -> KeyRequest {
    let mut request = pool.alloc(operation).unwrap();
    inputs.iter().for_each(|input| request.add_input(input).unwrap());
    operation.outputs().iter().for_each(|_| request.add_output(out_bits).unwrap());
    request
}

/// Polls until something is done.
pub fn wait(dispatcher: &mut KeyDispatcher) -> KeyCompletion {
    loop {
        match dispatcher.poll() {
            Some(done) => return done,
            None => std::thread::yield_now(),
        }
    }
}
