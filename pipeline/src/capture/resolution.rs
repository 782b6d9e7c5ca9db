//! Units of time: those in which files count, and their conversion to nanoseconds since 1970.
//!
//! Invariant: conversion is exact, or rounds down to the nanosecond when the file counts finer; a time that does not fit
//! is `None`, never wrapped. What it does not do: know time zones (`if_tzone` is skipped, as the format advises).

/// Nanoseconds in a second.
pub(super) const NANOS_PER_SECOND: u32 = 1_000_000_000;

/// The two resolutions in which captures are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampResolution {
    /// Microseconds.
    Micro,
    /// Nanoseconds.
    Nano,
}

impl TimestampResolution {
    /// Nanoseconds in one unit.
    pub fn nanos_per_tick(self) -> u32 {
        match self {
            Self::Micro => 1_000,
            Self::Nano => 1,
        }
    }

    /// The value of pcapng's `if_tsresol` for it: the unit is ten to the minus that many seconds.
    pub(super) fn option_value(self) -> u8 {
        match self {
            Self::Micro => 6,
            Self::Nano => 9,
        }
    }
}

/// The unit of an interface's timestamps, coded as in `if_tsresol`: with the high bit clear the rest is a negative power
/// of ten, with the high bit set a negative power of two, both of a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TickUnit(u8);

impl TickUnit {
    /// The unit of an interface that does not name one.
    pub(super) const MICROSECOND: Self = Self(6);

    /// From the byte of the option; every value has a meaning.
    pub(super) fn from_option(value: u8) -> Self {
        Self(value)
    }

    /// The coarser of our two resolutions that keeps every timestamp in this unit (as far as 64 bits can).
    pub(super) fn resolution(self) -> TimestampResolution {
        if self == Self::MICROSECOND { TimestampResolution::Micro } else { TimestampResolution::Nano }
    }

    /// Nanoseconds since 1970 of a count of ticks and an `if_tsoffset` in seconds.
    pub(super) fn to_nanos(self, ticks: u64, offset_seconds: i64) -> Option<u64> {
        let offset = i128::from(offset_seconds).checked_mul(i128::from(NANOS_PER_SECOND))?;
        let nanos = i128::try_from(self.ticks_to_nanos(ticks)).ok()?;
        u64::try_from(nanos.checked_add(offset)?).ok()
    }

    fn ticks_to_nanos(self, ticks: u64) -> u128 {
        // Under 2^94, so that neither the product overflows nor a shift by up to 127 is out of range.
        let scaled = u128::from(ticks) * u128::from(NANOS_PER_SECOND);
        let exponent = u32::from(self.0 & 0x7f);
        if self.0 & 0x80 != 0 {
            return scaled >> exponent;
        }
        // A power of ten beyond 128 bits is a unit so fine that all of the count is under a nanosecond.
        10_u128.checked_pow(exponent).map_or(0, |divisor| scaled / divisor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_ten_become_nanoseconds() {
        let nanos = |unit: u8, ticks: u64| TickUnit::from_option(unit).to_nanos(ticks, 0);
        assert_eq!(nanos(0, 7), Some(7_000_000_000));
        assert_eq!(nanos(3, 7), Some(7_000_000));
        assert_eq!(nanos(6, 7), Some(7_000));
        assert_eq!(nanos(9, 7), Some(7));
        assert_eq!(nanos(12, 7_999), Some(7));
        assert_eq!(nanos(127, u64::MAX), Some(0));
    }

    #[test]
    fn powers_of_two_become_nanoseconds() {
        let nanos = |unit: u8, ticks: u64| TickUnit::from_option(unit).to_nanos(ticks, 0);
        assert_eq!(nanos(0x80, 3), Some(3_000_000_000));
        assert_eq!(nanos(0x81, 3), Some(1_500_000_000));
        assert_eq!(nanos(0x80 | 32, 1 << 31), Some(500_000_000));
        assert_eq!(nanos(0xff, u64::MAX), Some(0));
    }

    #[test]
    fn an_offset_moves_the_time_both_ways_and_out_of_range_is_none() {
        let unit = TickUnit::from_option(9);
        assert_eq!(unit.to_nanos(5, 2), Some(2_000_000_005));
        assert_eq!(unit.to_nanos(3_000_000_005, -3), Some(5));
        assert_eq!(unit.to_nanos(5, -1), None);
        assert_eq!(unit.to_nanos(u64::MAX, 1), None);
        assert_eq!(unit.to_nanos(0, i64::MAX), None);
        assert_eq!(TickUnit::from_option(0).to_nanos(u64::MAX, i64::MIN), None);
    }

    #[test]
    fn only_microseconds_are_kept_by_microseconds() {
        assert_eq!(TickUnit::from_option(6).resolution(), TimestampResolution::Micro);
        for unit in [0, 3, 9, 12, 0x86, 0x94] {
            assert_eq!(TickUnit::from_option(unit).resolution(), TimestampResolution::Nano, "{unit}");
        }
    }
}
