//! How packets move: memory, packet buffers, bursts, rings, polling cores, ports, time and counters.
//!
//! The lowest of Sealane's floors. It knows nothing of cryptography, addresses or security associations: it
//! owns packets, moves them in bursts, and counts them. A packet's way through here:
//!
//! 1. an rx port ([`port`]) copies it into an [`Mbuf`] of a [`Pool`];
//! 2. a [`lcore::PollingCore`] hands the [`Burst`] to its [`stage::Stage`]s;
//! 3. a tx port takes it, and dropping the buffer gives it back to its pool.
//!
//! ```
//! use std::sync::atomic::AtomicBool;
//! use pipeline::port::{Generator, GeneratorConfig, NullTx, Sizes};
//! use pipeline::{Clock, Pool, PoolConfig, lcore::PollingCore, stage::Forward};
//!
//! let pool = Pool::new(PoolConfig { buffers: 128, ..PoolConfig::default() })?;
//! let config = GeneratorConfig { sizes: Sizes::Imix, flows: 4, packets: 1000 };
//! let rx = Generator::new(&config, pool)?;
//! let mut core = PollingCore::new(rx, Forward, NullTx::default(), Clock::new(), 32)?;
//! core.run(&AtomicBool::new(false));
//! assert_eq!(core.ledger().sent, 1000);
//! assert!(core.ledger().is_exact());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod burst;
pub mod capture;
pub mod clock;
pub mod handoff;
pub mod latency;
pub mod lcore;
pub mod mbuf;
pub mod memory;
pub mod pool;
pub mod port;
pub mod publish;
pub mod reorder;
pub mod ring;
pub mod stage;
pub mod stats;
#[doc(hidden)]
pub mod sync;

pub use burst::{Burst, LargeBurst, MAX_BURST};
pub use clock::{Clock, Tick};
pub use mbuf::Mbuf;
pub use pool::{Pool, PoolConfig};
pub use ring::Ring;
pub use stats::{Ledger, Reason, Tally};
