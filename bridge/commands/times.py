"""Times and amounts as people write and read them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|min|h|d|w)")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
EXPECTED = (
    "expected how long ago (90s, 30m, 2h, 7d) or a time (2026-03-01, 2026-03-01T14:30, …T14:30Z, 14:30)"
)


def moment(text: str, now: datetime) -> int:
    """Unix ms of `30m` (that long before `now`), of a date, of a date with a time, or of a time of today.

    What names no zone is in `now`'s. Raises ValueError.
    """
    text = text.strip()
    if text == "now":
        return _ms(now)
    match = _AGO.fullmatch(text)
    try:
        if match is not None:
            return _ms(now - timedelta(seconds=float(match[1]) * _SECONDS[match[2]]))
        if re.fullmatch(r"\d{1,2}:\d{2}(:\d{2})?", text):
            text = f"{now.date().isoformat()}T{text.zfill(5)}"
        found = datetime.fromisoformat(text)
        if found.tzinfo is None:
            found = found.replace(tzinfo=now.tzinfo)
        return _ms(found)
    except (ValueError, OverflowError):
        raise ValueError(f"found {text!r}, {EXPECTED}") from None


def later(text: str, now: datetime) -> int:
    """Unix ms of `90d`, that long after `now`, or of a time as `moment` has it. Raises ValueError."""
    match = _AGO.fullmatch(text.strip())
    if match is None:
        try:
            return moment(text, now)
        except ValueError:
            raise ValueError(f"found {text!r}, expected how long (12h, 90d) or a time (2027-01-01)") from None
    try:
        return _ms(now + timedelta(seconds=float(match[1]) * _SECONDS[match[2]]))
    except (OverflowError, ValueError):
        raise ValueError(f"found {text!r}, which is too far away") from None


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def clock(ms: int) -> str:
    """Local date and time of Unix ms."""
    return datetime.fromtimestamp(ms / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def clock_ms(ms: int) -> str:
    """The same with milliseconds."""
    return f"{clock(ms)}.{ms % 1000:03d}"


def span(seconds: float) -> str:
    """`3 d 4 h`, `2 h 5 min`, `90 s`, `0.3 s`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"


def size(count: int) -> str:
    """`512 B`, `1.5 KB`, `20 MB`; 1 KB is 1024 bytes, as in the configuration."""
    amount = float(count)
    for unit in ("B", "KB", "MB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 10 else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GB"


def took(ms: float) -> str:
    """A duration of an attempt."""
    if ms < 1:
        return "<1 ms"
    return f"{ms:.0f} ms" if ms < 10_000 else f"{ms / 1000:.1f} s"
