//! The emulated card: a NIC with a crypto engine, or a crypto card, with its driver.
//!
//! Card and driver are apart. The driver (`driver`) touches the card only through the registers, rings and windows of `bus`, so for a real card it
//! would need other register numbers and nothing else. The card (`card`) turns on a core of its own in real time, or step by step in
//! virtual time; what it can do and how fast it is says a [`Profile`], and what goes wrong with it, a list of [`Faults`].
//!
//! ```
//! use crypto_pmd::drivers::nic::{Card, CardConfig, Nic, NicConfig, Profile};
//! use crypto_pmd::{Key, AeadAlgorithm, Placement, Registry, Transform};
//!
//! let (card, _engine) = Card::start(Profile::named("inline-25g").unwrap(), CardConfig::default(), None)?;
//! let registry = Registry::new();
//! registry.attach(Nic::new(&card, NicConfig::default())?)?;
//! let key = Transform::aead(AeadAlgorithm::AesGcm, Key::new(&[1; 16]), Key::new(&[2; 4]), 16);
//! let session = registry.open(key.into(), Placement::Hardware)?;
//! assert_eq!(registry.own_session_ids(session).len(), 1, "the card has an id of its own for it");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A card whose profile lists an inline service is a port, too ([`Nic::ports`]): SAs are put on it ([`Nic::install`]), and it does the crypto, or all
//! of ESP, for frames that pass ([`crate::inline`]). What left it, and what arrives at it, is at its wire ([`Card::wire`]). After a reset or a removal the
//! card has forgotten its SAs and gets them again; a number that it may have used is not used again, and what was received is not received again:
//!
//! - Sending by inline protocol goes on behind as many numbers as the card was handed frames. Some numbers are left out.
//! - Receiving by inline protocol takes all numbers up to the highest that the card has reported for received. Frames that are still on their way with
//!   lower numbers are lost.
//! - A frame that the card had begun and not reported as sent may have gone out, and is not sent again.

mod bus;
mod card;
mod driver;
mod profile;

pub use card::{Card, CardConfig, Engine, Engines, Fault, FaultError, Faults, Runner, WireRx, WireTx};
pub use driver::{Health, Nic, NicConfig, NicCounters, NicRx, NicTx};
pub use profile::{KeyTiming, Latency, Profile, ProfileError, Services};
