//! How bytes are sealed: algorithms, sessions, jobs, poll-mode drivers, and the dispatcher over them.
//!
//! The second of Sealane's floors. A [`SessionParams`] says what is to be done (a small chain of transforms);
//! the [`Registry`] opens it on a driver and gives a stable [`SessionId`]. On the data path each core has a
//! [`Dispatcher`]: bursts of [`Job`]s go in by `submit` and come out, done, by `poll`. A job owns its packet
//! while a driver has it, so no caller can touch bytes that an engine works on.
//!
//! Whoever would rather not poll finds callbacks, pools of workers, futures, and calls that take and give bytes in [`completion`].
//!
//! ```
//! use crypto_pmd::drivers::Software;
//! use crypto_pmd::*;
//! use pipeline::{Burst, Pool, PoolConfig};
//!
//! let registry = Registry::new();
//! registry.attach(Software::new())?;
//! let key = Key::new(&[0x0b; 20]);
//! let params = SessionParams::from(Transform::integrity(IntegrityAlgorithm::HmacSha1, key, 12));
//! let session = registry.open(params, Placement::Any)?;
//! let mut dispatcher = registry.dispatcher(&QueuePairConfig::default())?;
//!
//! let pool = Pool::new(PoolConfig { buffers: 64, ..PoolConfig::default() })?;
//! let mut packet = pool.alloc_copy(b"Hi There").unwrap();
//! packet.append(12).unwrap();
//! let mut jobs = Burst::new();
//! let job = Job::new(packet, session, Operation::Encrypt).with_integrity(0, 8).with_tag(8);
//! jobs.push(job).unwrap();
//! dispatcher.submit(&mut jobs);
//! let mut done = Burst::new();
//! dispatcher.poll(&mut done);
//! let job = done.pop().unwrap();
//! assert_eq!(job.status(), Status::Done);
//! // RFC 2202 section 3, test case 1, cut to 96 bits.
//! assert_eq!(hex::encode(&job.into_packet().data()[8..]), "b617318655057264e28bc0b6");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod algorithm;
pub mod balance;
pub mod capability;
pub mod completion;
pub mod crew;
pub mod device;
pub mod dispatcher;
pub mod drivers;
pub mod extension;
pub mod inline;
pub mod job;
pub mod key;
pub mod key_dispatcher;
mod key_mail;
pub mod key_op;
pub mod measure;
pub mod registry;
pub mod session;
pub mod step;
pub mod transform;
pub mod watched;

pub use algorithm::{
    AeadAlgorithm, Algorithm, CipherAlgorithm, CompressionAlgorithm, DigestAlgorithm, IntegrityAlgorithm,
};
pub use capability::Capabilities;
pub use completion::Simple;
pub use device::{Driver, DriverId, OpenError, QueuePair, QueuePairConfig, SessionStates};
pub use dispatcher::{Dispatcher, DispatcherCounters};
pub use extension::{Extension, ExtensionPool};
pub use job::{Job, Operation, Status};
pub use key::Key;
pub use key_dispatcher::{KeyCompletion, KeyDispatcher};
pub use registry::{Moves, Opened, Placement, Ranking, Registry, SessionOptions};
pub use session::SessionId;
pub use step::{Iv, Step};
pub use transform::{SessionParams, Transform};

/// The guide's examples, so that they are compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Guide;
