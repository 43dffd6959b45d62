"""Lists that may be long: a page of them, looked through in slices so that the loop is never held up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec
from aiohttp import web

from bridge.admin.problems import Problem

MAX_LIMIT = 10_000
"""Rows of a page: EMQX's own limit."""
SLICE_S = 0.004
"""How long the loop is kept at a time."""
_STEP = 64
"""Rows between two looks at the clock."""
REQ_PARAM_ERROR = 108
CLIENT_OFFLINE = 112
_CODES = {400: REQ_PARAM_ERROR, 401: 103, 404: CLIENT_OFFLINE, 503: 101}
"""NanoMQ's and EMQX 4's result codes of what can go wrong here."""

T = TypeVar("T")
_encode = msgspec.json.encode


class Page(NamedTuple):
    """Which part of a list is asked for."""

    number: int  # from 1
    limit: int


def read_page(query: Mapping[str, str], default: int) -> Page:
    """`_page` and `_limit` as in EMQX 4, or `page` and `limit` as in EMQX 5. Raises Problem (400)."""
    return Page(
        _number(query, ("_page", "page"), 1, 1 << 31), _number(query, ("_limit", "limit"), default, MAX_LIMIT)
    )


PAGE = frozenset({"_page", "_limit", "page", "limit"})
"""What `read_page` reads."""


def _number(query: Mapping[str, str], names: tuple[str, ...], default: int, most: int) -> int:
    for name in names:
        text = query.get(name)
        if text is not None:
            if not text.isascii() or not text.isdecimal() or len(text) > 10 or not 1 <= int(text) <= most:
                raise Problem(400, f"{name}: found {text[:40]!r}, expected a whole number from 1 to {most}")
            return int(text)
    return default


def check_names(query: Mapping[str, str], known: Collection[str]) -> None:
    """A parameter that nobody reads would show more than was asked for. Raises Problem (400)."""
    for name in query:
        if name not in known and name not in PAGE:
            there = ", ".join(sorted({*known, "_page", "_limit"}))
            raise Problem(400, f"found the parameter {name[:40]!r}, expected one of {there}")


def choice(query: Mapping[str, str], name: str, choices: Collection[str]) -> str | None:
    """A parameter with few possible values. Raises Problem (400)."""
    text = query.get(name)
    if text is not None and text not in choices:
        raise Problem(400, f"{name}: found {text[:40]!r}, expected one of {', '.join(sorted(choices))}")
    return text


class Rows(NamedTuple):
    """A page: its rows in JSON, and how many rows there are in all."""

    rows: list[bytes]
    total: int


async def collect(
    items: Iterable[T], page: Page, fits: Callable[[T], bool] | None, row: Callable[[T], Any]
) -> Rows:
    """Those of the items that fit and are on the page, each made a row. `items` may change meanwhile only
    where its iterator allows it."""
    first = (page.number - 1) * page.limit
    last = first + page.limit
    rows: list[bytes] = []
    count = 0
    until = time.perf_counter() + SLICE_S
    for looked, item in enumerate(items):
        if not looked % _STEP and time.perf_counter() > until:
            await asyncio.sleep(0)
            until = time.perf_counter() + SLICE_S
        if fits is not None and not fits(item):
            continue
        if first <= count < last:
            rows.append(_encode(row(item)))
        count += 1
    return Rows(rows, count)


def listed(found: Rows, page: Page | None, *, code: bool) -> web.Response:
    """`{"code": 0, "data": […], "meta": {…}}` as in EMQX 4; without `code` as in EMQX 5."""
    parts = [b'{"code":0,"data":[' if code else b'{"data":[', b",".join(found.rows), b"]"]
    if page is not None:
        meta = {"page": page.number, "limit": page.limit, "count": found.total}
        more = {} if code else {"hasnext": page.number * page.limit < found.total}
        parts.append(b',"meta":' + _encode({**meta, **more}))
    parts.append(b"}")
    return web.Response(body=b"".join(parts), content_type="application/json")


def v4_members(status: int, detail: str) -> dict[str, Any]:
    """What errors of `/api/v4` have beside RFC 9457: NanoMQ's code."""
    return {"code": _CODES.get(status, 102)}


def v5_members(status: int, detail: str) -> dict[str, Any]:
    """What errors of `/api/v5` have beside it: EMQX's code and message."""
    codes = {400: "BAD_REQUEST", 401: "BAD_API_KEY_OR_SECRET", 404: "NOT_FOUND", 503: "SERVICE_UNAVAILABLE"}
    return {"code": codes.get(status, "INTERNAL_ERROR"), "message": detail}


def parameter(name: str, text: str, schema: Mapping[str, Any] | None = None, place: str = "query") -> Any:
    """A Parameter Object of OpenAPI."""
    found: dict[str, Any] = {
        "name": name,
        "in": place,
        "description": text,
        "schema": schema or {"type": "string"},
    }
    if place == "path":
        found["required"] = True
    return found


def page_parameters(default: int, prefix: str) -> list[Any]:
    """The Parameter Objects of a page."""
    whole = {"type": "integer", "minimum": 1}
    return [
        parameter(f"{prefix}page", "From 1.", {**whole, "default": 1}),
        parameter(f"{prefix}limit", "Rows of a page.", {**whole, "maximum": MAX_LIMIT, "default": default}),
    ]
