"""Buckets as Prometheus has them, and the longest of about the last minute."""

from __future__ import annotations

from bridge.telemetry.histogram import Histogram, Longest


def test_a_value_is_in_the_first_bucket_whose_bound_is_not_below_it() -> None:
    times = Histogram((0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 1.0, 7.0):
        times.observe(value)
    assert times.buckets() == [("0.1", 2), ("1.0", 4), ("+Inf", 5)]
    assert times.count == 5
    assert times.sum == 8.65


def test_the_longest_is_forgotten_after_a_minute() -> None:
    longest = Longest()
    longest.roll(0.0)
    longest.note(0.2)
    longest.note(0.1)
    longest.roll(29.0)
    assert longest.value == 0.2
    longest.roll(30.0)
    assert longest.value == 0.2
    longest.note(0.05)
    longest.roll(60.0)
    assert longest.value == 0.05
    longest.roll(90.0)
    assert longest.value == 0.0
