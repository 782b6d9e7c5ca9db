//! How the multi-buffer driver is to work: what its options say.

use crypto_pmd::drivers::Multibuffer;
use crypto_pmd::drivers::multibuffer::{Hold, Level};

use crate::failure::Failure;

/// The level of its kernels, and how long jobs wait for company.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernels {
    pub(crate) level: Level,
    hold: Hold,
}

impl Default for Kernels {
    /// The best level of this processor, and as the driver has it.
    fn default() -> Self {
        let level = Level::best();
        Self { level, hold: Hold::of(level) }
    }
}

impl Kernels {
    /// As `--level` and `--hold` say, and as the driver has it where they say nothing; `has_kernels` where the driver is named.
    ///
    /// # Errors
    /// A level that there is not, that the processor lacks, or what is none of the drivers' that are named.
    pub(crate) fn of(level: Option<&str>, hold: Option<u8>, has_kernels: bool) -> Result<Self, Failure> {
        if let Some(jobs) = hold.filter(|_| !has_kernels) {
            return Err(Failure::usage(format_args!(
                "--hold {jobs}: only --driver multibuffer holds jobs; name that, or leave --hold out"
            )));
        }
        let level = level_of(level, has_kernels)?;
        let usual = Hold::of(level);
        let hold = hold.map_or(usual, |jobs| Hold { jobs: jobs.into(), ..usual });
        Ok(Self { level, hold })
    }

    /// The driver.
    pub(crate) fn driver(self) -> Result<Multibuffer, Failure> {
        self.driver_with_unit(0)
    }

    /// The driver with another unit number.
    pub(crate) fn driver_with_unit(self, unit: u16) -> Result<Multibuffer, Failure> {
        let driver = Multibuffer::with_level(unit, self.level).map_err(Failure::machine)?;
        Ok(driver.with_hold(self.hold))
    }
}

fn level_of(name: Option<&str>, has_kernels: bool) -> Result<Level, Failure> {
    let Some(name) = name else { return Ok(Level::best()) };
    let level: Level = name.parse().map_err(|_| {
        Failure::usage(format_args!("--level {name} is unknown; use avx512, avx2, sse or portable"))
    })?;
    if level != Level::Portable && !has_kernels {
        return Err(Failure::usage(format_args!(
            "--level {name} needs kernels, which only --driver multibuffer has; name that, or leave --level out"
        )));
    }
    level
        .checked()
        .map_err(|error| Failure::machine(format_args!("--level {name}: {error}; use that or a lower one")))
}
