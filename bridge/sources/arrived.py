"""A business event as it arrives: `{"id", "type", "timestamp", "data"}`, from JSON to a checked value.

`type` may also be called `event`, as Eryxon does. `id` and `timestamp` may be absent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, NamedTuple

from bridge.events.catalogue import MAX_NAME, valid_name
from bridge.events.js_json import JsJsonError, dumps, loads, pointer

MAX_EVENTS = 1000
"""Events of one request."""
MAX_FAULTS = 20
"""Faults that are told of one request."""
ID = re.compile(r"[\x21-\x7e]{1,255}")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")
_MEMBERS = frozenset({"id", "type", "event", "timestamp", "data"})
EXPECTED_ID = "expected a text of 1 to 255 ASCII characters without spaces"
EXPECTED_TIME = "expected a time of RFC 3339 such as 2026-03-01T09:30:00.000Z"


class Arrived(NamedTuple):
    """One event. `id` and `timestamp` are None where they were absent; `payload` is `data` as JavaScript
    writes it; `variables` are those of the topic that it came by."""

    type: str
    id: str | None
    timestamp: str | None
    data: dict[str, Any]
    payload: bytes
    variables: Mapping[str, str] = MappingProxyType({})


class Fault(NamedTuple):
    """What is wrong, and where: a JSON Pointer (RFC 6901) into the body, empty for the whole."""

    path: str
    message: str


class ArrivalError(Exception):
    """Events that cannot be taken. `faults` are the first of what is wrong; `malformed`: it is no JSON."""

    def __init__(self, faults: list[Fault], *, malformed: bool = False) -> None:
        self.faults = faults[:MAX_FAULTS]
        self.malformed = malformed
        super().__init__("; ".join(f"{path}: {text}" if path else text for path, text in self.faults))


Check = Callable[[str, dict[str, Any]], list[Fault]]
"""What is wrong with an event of that type and its data, with paths into the event; see `intake`."""


def parse(body: bytes, check: Check) -> tuple[list[Arrived], bool]:
    """The events of a request, and whether it was a list. Raises ArrivalError.

    Needs nothing but its arguments, so that a large body may be read in a thread.
    """
    try:
        value = loads(body)
    except JsJsonError as error:
        raise ArrivalError([Fault(pointer(error.path), error.problem)], malformed=not error.path) from None
    if not isinstance(value, list):
        faults: list[Fault] = []
        one = _event(value, "", check, faults)
        if one is None or faults:
            raise ArrivalError(faults)
        return [one], False
    if not 1 <= len(value) <= MAX_EVENTS:
        raise ArrivalError([Fault("", f"found {len(value)} events, expected 1 to {MAX_EVENTS}")])
    faults = []
    found = []
    for index, item in enumerate(value):
        one = _event(item, f"/{index}", check, faults)
        if one is not None:
            found.append(one)
        if len(faults) >= MAX_FAULTS:
            break
    if faults:
        raise ArrivalError(faults)
    return found, True


def _event(value: Any, path: str, check: Check, faults: list[Fault]) -> Arrived | None:
    if not isinstance(value, dict):
        faults.append(Fault(path, "expected an event, an object with type and data"))
        return None
    before = len(faults)
    for name in value:
        if name not in _MEMBERS:
            expected = "expected id, type, timestamp and data"
            faults.append(Fault(path + pointer((name[:64],)), f"unknown member, {expected}"))
    name = "event" if "event" in value and "type" not in value else "type"
    kind = value.get(name)
    if not isinstance(kind, str) or not valid_name(kind):
        expected = f"expected a type such as work_order.created, at most {MAX_NAME} characters"
        faults.append(Fault(f"{path}/{name}", expected))
    elif "event" in value and name == "type" and value["event"] != kind:
        faults.append(Fault(f"{path}/event", "is another type than that of type"))
    identifier = value.get("id")
    if identifier is not None and not (isinstance(identifier, str) and ID.fullmatch(identifier)):
        faults.append(Fault(f"{path}/id", EXPECTED_ID))
    timestamp = value.get("timestamp")
    if timestamp is not None:
        try:
            timestamp = utc(timestamp)
        except ValueError:
            faults.append(Fault(f"{path}/timestamp", EXPECTED_TIME))
    data = value.get("data")
    if not isinstance(data, dict):
        faults.append(Fault(f"{path}/data", "expected an object"))
    if len(faults) > before or not isinstance(kind, str) or not isinstance(data, dict):
        return None
    faults += [Fault(path + fault.path, fault.message) for fault in check(kind, data)]
    return Arrived(kind, identifier, timestamp, data, dumps(data))


def utc(value: Any) -> str:
    """A time in UTC; one that is already stays as it is written. Raises ValueError."""
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise ValueError
    try:
        at = datetime.fromisoformat(value.upper())
        if value[-1] == "Z":
            return value
        return iso(at.astimezone(UTC))
    except OverflowError:
        raise ValueError from None


def iso(at: datetime) -> str:
    """A time in UTC as JavaScript's toISOString has it."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"
