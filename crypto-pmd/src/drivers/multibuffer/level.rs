//! Which instructions the kernels may use: found once, at run time, or forced.

use std::fmt;

/// Levels of instruction sets, each of which has all that those before it have.
///
/// ```
/// use crypto_pmd::drivers::multibuffer::Level;
/// assert_eq!("portable".parse(), Ok(Level::Portable));
/// assert!(Level::best() >= Level::Portable);
/// assert!("mmx".parse::<Level>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// No kernels: RustCrypto, one packet at a time, on any processor.
    Portable,
    /// AES-NI, PCLMULQDQ, SSSE3, SSE4.1 and the SHA extensions: 128 bits at a time.
    Sse,
    /// AVX2 with VAES and VPCLMULQDQ: 256 bits at a time.
    Avx2,
    /// AVX-512 (F, BW, DQ, VL, VBMI and IFMA) with VAES and VPCLMULQDQ: 512 bits at a time.
    Avx512,
}

/// A level that there is not, or not on this processor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LevelError {
    /// No level has this name.
    #[error("no level is called {0:?}; there are avx512, avx2, sse and portable")]
    Unknown(String),
    /// The processor lacks instructions.
    #[error("this processor has no level {wanted}; its best is {best}")]
    Missing {
        /// What was asked for.
        wanted: Level,
        /// What there is.
        best: Level,
    },
}

impl Level {
    /// All of them, from the least.
    pub const ALL: [Self; 4] = [Self::Portable, Self::Sse, Self::Avx2, Self::Avx512];

    /// The name in options and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Sse => "sse",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    /// The best that this processor has.
    #[must_use]
    pub fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            let sse = has!("aes") && has!("pclmulqdq") && has!("ssse3") && has!("sse4.1") && has!("sha");
            let avx2 = sse && has!("avx2") && has!("bmi2") && has!("vaes") && has!("vpclmulqdq");
            let avx512 = avx2
                && has!("avx512f")
                && has!("avx512bw")
                && has!("avx512dq")
                && has!("avx512vl")
                && has!("avx512vbmi")
                && has!("avx512ifma");
            match (sse, avx2, avx512) {
                (_, _, true) => Self::Avx512,
                (_, true, _) => Self::Avx2,
                (true, ..) => Self::Sse,
                _ => Self::Portable,
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        Self::Portable
    }

    /// Itself, where the processor has it.
    ///
    /// # Errors
    /// [`LevelError::Missing`].
    pub fn checked(self) -> Result<Self, LevelError> {
        let best = Self::best();
        if self <= best { Ok(self) } else { Err(LevelError::Missing { wanted: self, best }) }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Level {
    type Err = LevelError;
    fn from_str(name: &str) -> Result<Self, LevelError> {
        let level = Self::ALL.into_iter().find(|level| level.name() == name);
        level.ok_or_else(|| LevelError::Unknown(name.to_owned()))
    }
}
