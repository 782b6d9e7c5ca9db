//! What is sealed: security associations, policies, replay windows, ESP in and out.
//!
//! The third of Sealane's floors. It does no I/O: [`outbound::Outbound`] and [`inbound::Inbound`] take bursts of
//! packets, make crypto jobs of them, and take the done jobs back; somebody else polls ports and drivers.
//! [`stage::EspStage`] is both halves with a dispatcher between them, as one stage of a polling core.
//!
//! Sources: RFC 4301 (architecture), RFC 4303 (ESP), RFC 4304 (ESN), RFC 6479 (replay), RFC 3948 (UDP), RFC 6040
//! (ECN), and the RFC of each suite, cited where it matters.

mod classify;
pub mod control;
pub mod counters;
mod decapsulate;
pub mod drop_reason;
pub mod ecn;
mod encapsulate;
pub mod flow_cache;
pub mod flow_key;
pub mod header;
pub mod inbound;
pub mod inline;
pub mod iv;
pub mod outbound;
mod published_spd;
pub mod replay;
pub mod sa;
mod sa_store;
pub mod sad;
pub mod selector;
pub mod sequence;
pub mod spd;
pub mod stage;
pub mod suite;
