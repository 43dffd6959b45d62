"""Times and amounts as people write and read them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from bridge.commands.times import moment, size, span, took

NOW = datetime(2026, 3, 4, 15, 30, 0, tzinfo=timezone(timedelta(hours=1)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", "2026-03-04T15:30:00+01:00"),
        ("90s", "2026-03-04T15:28:30+01:00"),
        ("1.5h", "2026-03-04T14:00:00+01:00"),
        ("30min", "2026-03-04T15:00:00+01:00"),
        (" 7 d ", "2026-02-25T15:30:00+01:00"),
        ("2w", "2026-02-18T15:30:00+01:00"),
        ("14:05", "2026-03-04T14:05:00+01:00"),
        ("9:05", "2026-03-04T09:05:00+01:00"),
        ("14:05:07", "2026-03-04T14:05:07+01:00"),
        ("2026-03-01", "2026-03-01T00:00:00+01:00"),
        ("2026-03-01T14:30", "2026-03-01T14:30:00+01:00"),
        ("2026-03-01 14:30:05.250", "2026-03-01T14:30:05.250+01:00"),
        ("2026-03-01T14:30Z", "2026-03-01T14:30:00+00:00"),
        ("2026-03-01T14:30+09:00", "2026-03-01T14:30:00+09:00"),
    ],
)
def test_a_moment(text: str, expected: str) -> None:
    assert moment(text, NOW) == round(datetime.fromisoformat(expected).timestamp() * 1000)


@pytest.mark.parametrize("text", ["", "soon", "2h30", "-2h", "25:00", "2026-13-01", "9" * 30 + "d", "1 y"])
def test_no_moment(text: str) -> None:
    with pytest.raises(ValueError, match=r"found .* expected how long ago"):
        moment(text, NOW)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.25, "0.2 s"),
        (59, "59 s"),
        (150, "2 min"),
        (7300, "2 h 1 min"),
        (3 * 86400 + 7200, "3 d 2 h"),
    ],
)
def test_a_span(seconds: float, expected: str) -> None:
    assert span(seconds) == expected


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KB"),
        (20 << 20, "20 MB"),
        (3 << 30, "3.0 GB"),
        (5 << 40, "5120.0 GB"),
    ],
)
def test_a_size(count: int, expected: str) -> None:
    assert size(count) == expected


@pytest.mark.parametrize(("ms", "expected"), [(0.2, "<1 ms"), (12.4, "12 ms"), (15_000, "15.0 s")])
def test_a_duration(ms: float, expected: str) -> None:
    assert took(ms) == expected
