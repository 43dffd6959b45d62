"""Lists in pages: a limit, and a cursor that means nothing to the caller."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from bridge.admin.problems import Problem

LIMIT = 50
MAX_LIMIT = 100
MAX_CURSOR = 256
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.IGNORECASE)

PAGE_PARAMETERS: tuple[Mapping[str, Any], ...] = (
    {
        "name": "limit",
        "in": "query",
        "schema": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": LIMIT},
    },
    {
        "name": "cursor",
        "in": "query",
        "description": "The `next` of the page before.",
        "schema": {"type": "string", "maxLength": MAX_CURSOR},
    },
)


def invalid(name: str, text: str) -> Problem:
    """A query parameter that cannot be."""
    return Problem(422, f"{name}: {text}", errors=[{"path": f"/{name}", "message": text}])


def page_of(query: Mapping[str, str]) -> tuple[int, str | None]:
    """The limit and the cursor that are asked for. Raises Problem (422)."""
    text = query.get("limit")
    if text is not None and not (re.fullmatch(r"[0-9]{1,4}", text) and 1 <= int(text) <= MAX_LIMIT):
        raise invalid("limit", f"found {text[:40]!r}, expected a whole number from 1 to {MAX_LIMIT}")
    cursor = query.get("cursor") or None
    return LIMIT if text is None else int(text), cursor


def write_cursor(*parts: str | int) -> str:
    """A cursor of these parts."""
    return urlsafe_b64encode(msgspec.json.encode(parts)).decode("ascii").rstrip("=")


def read_cursor(text: str, *kinds: type) -> tuple[Any, ...]:
    """The parts of a cursor, of these types. Raises Problem (422)."""
    try:
        data = urlsafe_b64decode(text[: MAX_CURSOR + 1] + "=" * (-len(text) % 4))
        found = msgspec.json.decode(data)
    except (ValueError, msgspec.MsgspecError):
        found = None
    if (
        not isinstance(found, list)
        or len(text) > MAX_CURSOR
        or [type(part) for part in found] != list(kinds)
        or any(isinstance(part, int) and not 0 <= part < 1 << 63 for part in found)
    ):
        raise invalid("cursor", "found one that is none, expected the `next` of the page before")
    return tuple(found)


def moment(name: str, value: Any) -> int | None:
    """A time as Unix ms, from RFC 3339; None where there is none. Raises Problem (422)."""
    if value is None:
        return None
    try:
        if not isinstance(value, str) or not _TIME.fullmatch(value):
            raise ValueError
        return int(datetime.fromisoformat(value.upper()).astimezone(UTC).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise invalid(name, "expected a time of RFC 3339 such as 2026-03-01T09:30:00Z") from None
