"""A duration reads the same with and without python-dateutil, which makes pyhocon return another type."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.unit.config.conftest import Read


class relativedelta:
    """What dateutil has of it: fixed parts normalised, months and years apart."""

    def __init__(self, *, months: int = 0, years: int = 0, **fixed: Any) -> None:
        whole = timedelta(**fixed)
        self.months, self.years, self.days = months, years, whole.days
        self.hours, rest = divmod(whole.seconds, 3600)
        self.minutes, self.seconds = divmod(rest, 60)
        self.microseconds = whole.microseconds


@pytest.fixture(params=[timedelta, relativedelta])
def period(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type:
    """The type of pyhocon's durations."""
    kind: type = request.param
    monkeypatch.setattr("pyhocon.period_parser.period_impl", kind)
    return kind


@pytest.mark.parametrize(
    ("text", "seconds"), [("2h", 7200), ("1d", 86400), ("1w", 604800), ("90 s", 90), ("3m", 180)]
)
def test_durations(read: Read, period: type, text: str, seconds: int) -> None:
    report = read(f"mqtt.session_expiry_interval = {text}")
    assert report.messages == []
    assert report.settings is not None
    assert report.settings.mqtt.session_expiry_interval == seconds
