"""Reads latency logs with the HdrHistogram package for Python, and says what a quantile of them must be.

Invariant: the quantiles are worked out here from the decoded counts, by their definition; nothing of the product is
used. Reads logs with one interval only.
"""

import math
from dataclasses import dataclass

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

RESOLUTION = 1e-3  # three significant digits: a value and its bucket's end differ by no more
LONGEST = 60_000_000_000


@dataclass(frozen=True)
class DecodedLog:
    """One histogram: how many values there are, the ends, and (end of bucket, count) rising."""

    count: int
    shortest: int
    longest: int
    buckets: list

    def up_to(self, value):
        """How many values lie in buckets that end at `value` or before, within the resolution."""
        return sum(count for end, count in self.buckets if end <= value * (1 + RESOLUTION))

    def below(self, value):
        """How many values lie in buckets that end clearly before `value`."""
        return sum(count for end, count in self.buckets if end < value * (1 - RESOLUTION))

    def is_quantile(self, quantile, value):
        """Whether `value` is the smallest that `quantile` of all values do not exceed."""
        rank = math.ceil(quantile * self.count)
        return self.below(value) < rank <= self.up_to(value)


def read_log(path):
    """The only interval of an interval log."""
    reader = HistogramLogReader(str(path), HdrHistogram(1, LONGEST, 3))
    histogram = reader.get_next_interval_histogram()
    assert histogram is not None, f"{path}: no interval"
    assert reader.get_next_interval_histogram() is None, f"{path}: more than one interval"
    buckets = [
        (step.value_iterated_to, step.count_at_value_iterated_to) for step in histogram.get_recorded_iterator()
    ]
    ends = histogram.get_min_value(), histogram.get_max_value()
    return DecodedLog(histogram.get_total_count(), *ends, buckets)
