//! Several measurements of one thing: the least, the median, the largest, and how far apart they are.

/// In the unit of what was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) least: f64,
    pub(super) median: f64,
    pub(super) most: f64,
}

impl Spread {
    /// `None` without measurements.
    pub(super) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (upper, lower) = (values.len() / 2, values.len().saturating_sub(1) / 2);
        let median = (values.get(lower)? + values.get(upper)?) / 2.0;
        Some(Self { least: *values.first()?, median, most: *values.last()? })
    }

    /// From the least to the largest, in percent of the median.
    pub(super) fn percent(&self) -> f64 {
        if self.median > 0.0 { (self.most - self.least) / self.median * 100.0 } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one_or_between_the_two_in_the_middle() {
        let median = |values: &[f64]| Spread::of(values.to_vec()).map(|spread| spread.median);
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[9.0, 1.0, 2.0, 4.0]), Some(3.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn the_spread_is_from_the_least_to_the_largest() {
        let spread = Spread::of(vec![110.0, 95.0, 100.0]).unwrap();
        assert_eq!((spread.least, spread.most, spread.percent()), (95.0, 110.0, 15.0));
        assert_eq!(Spread::of(vec![7.0]).unwrap().percent(), 0.0);
        assert_eq!(Spread::of(vec![0.0, 0.0]).unwrap().percent(), 0.0);
    }
}
