//! Which driver is fastest for a bundle of algorithms, found by measuring: what placement can decide by.
//!
//! [`calibrate`] runs each driver for a short time, by itself, and gives [`Measurements`]: cycles an operation for each bundle,
//! direction, size class and burst class. [`load_or_calibrate`] keeps them in a file, so that a machine is measured once. A
//! [`Watcher`] compares new ones with where sessions are, and asks for a move only where it is worth one.
//!
//! All of it is for control code: nothing here is called on the data path, or by itself. A calibration takes its budget of
//! time on the thread that asks for it, with drivers, registries and packets of its own, so that no session is disturbed;
//! a core that polls is the wrong thread for it. The cycles are those of the time-stamp counter.
//!
//! ```
//! use crypto_pmd::drivers::{Null, Software};
//! use crypto_pmd::measure::{Budget, Bundle, Candidate, calibrate, load_or_calibrate};
//! use crypto_pmd::*;
//!
//! let drivers = [Candidate::new(Software::new), Candidate::new(Null::new)];
//! let params = SessionParams::from_iter([
//!     Transform::cipher(CipherAlgorithm::AesCbc, Key::new(&[1; 16])),
//!     Transform::integrity(IntegrityAlgorithm::HmacSha1, Key::new(&[2; 20]), 12),
//! ]);
//! let bundle = Bundle::of(&params);
//! assert_eq!(bundle.name(), "aes-128-cbc+sha1-hmac");
//!
//! let (budget, clock) = (Budget { milliseconds: 1, slices: 3 }, pipeline::Clock::new());
//! let measured = calibrate(&drivers, std::slice::from_ref(&bundle), budget, &clock);
//! // The null driver computes nothing, so it takes no part.
//! let attached = ["null0", "software0"];
//! assert_eq!(measured.best(bundle.name(), 1400, 32, &attached), Some("software0"));
//! assert_eq!(measured.best_overall(bundle.name(), &attached), Some("software0"));
//!
//! // The same, kept in a file: the second time nothing is measured.
//! let path = std::env::temp_dir().join(format!("crypto-pmd-{}.json", std::process::id()));
//! for expected in [1, 0] {
//!     let outcome = load_or_calibrate(&path, &drivers, std::slice::from_ref(&bundle), budget, &clock);
//!     assert_eq!(outcome.measured.len(), expected);
//! }
//! # std::fs::remove_file(&path)?;
//! # Ok::<(), std::io::Error>(())
//! ```

mod bench;
mod bundle;
mod cache;
mod calibrate;
mod candidate;
mod class;
mod fingerprint;
mod table;
mod watch;
mod work;

pub use bundle::Bundle;
pub use cache::{CacheError, Outcome, load_or_calibrate};
pub use calibrate::{Budget, Ticks, calibrate};
pub use candidate::Candidate;
pub use class::{BurstClass, Load, SizeClass};
pub use fingerprint::{DriverPrint, Fingerprint};
pub use table::{Measurements, Row, Skipped, Why};
pub use watch::{Change, USUAL_GAIN, Watcher, changed};
