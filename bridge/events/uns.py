"""Topics of a Unified Namespace (ISA-95, INTEROP 4): a pattern's variables, filled from each event.

A variable's value is, in this order:

1. what the topic said that the event came by (`Event.data` of a business event),
2. the event's data: a member named as `KEYS` has it, whatever its case and its `_` and `-` (`cell_name`,
   `cellName`); an object there counts by its own name, number, code or id (`cell.name`); then the same in the
   objects that the data holds (`workOrder.orderNumber`),
3. the publisher's setting, which has a default.

The data of a message is its payload, where that is a JSON object. A value is lower-cased, white space
becomes `_`, and all but `a-z`, `0-9`, `_` and `-` is removed, so that none can add a level or a wildcard. The
first dot of the event's name becomes `/`. Empty levels are left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bridge.events.event import MESSAGE_EVENTS, Event, EventType, event_name
from bridge.events.payload import parse

KEYS: Mapping[str, tuple[str, ...]] = {
    "enterprise": ("enterprise", "enterprise_name"),
    "site": ("site", "site_name", "plant", "plant_name"),
    "area": ("area", "area_name"),
    "cell": ("cell", "cell_name", "work_cell", "work_center"),
    "line": ("line", "line_name", "production_line"),
    "operation": ("operation", "operation_name", "operation_type"),
    "tenant_id": ("tenant_id", "tenant"),
    "job_number": ("job_number", "order_number"),
    "part_number": ("part_number", "product"),
}
"""By variable: the members of an event's data that have its value, the first one first."""
EVENT = "event"
VARIABLES = (*KEYS, EVENT)
MAX_PATTERN = 512
"""Characters of a pattern. With `MAX_VALUE` no topic is longer than MQTT allows (65,535 bytes)."""
MAX_LEVELS = 64
MAX_VALUE = 200
"""Characters of a value in a topic; what is longer is cut."""
MAX_PAYLOAD = 256 << 10
"""Bytes of data that is looked into: it is parsed in the loop."""

_PART = re.compile(r"\{([^{}/]*)\}|([^{}]+)|(.)", re.DOTALL)
_NOT_IN_LITERALS = re.compile("[+#\0-\x1f\x7f-\x9f\ud800-\udfff]")
_SPACE = re.compile(r"\s+")
_REMOVED = re.compile(r"[^a-z0-9_-]+")
_DOMAIN = int(EventType.DOMAIN)
_MESSAGES = frozenset(int(kind) for kind in MESSAGE_EVENTS)
_REMEMBERED = 4096
_OWN = ("name", "number", "code", "id")
"""The members of an object that stand for it."""


class PatternError(ValueError):
    """Not a topic pattern; the message says what is wrong and what was expected."""


def clean(value: str) -> str:
    """A value as it stands in a topic: within one level, possibly empty."""
    text = _SPACE.sub("_", value[: 4 * MAX_VALUE].strip().lower())
    return _REMOVED.sub("", text)[:MAX_VALUE]


def event_levels(name: str) -> str:
    """An event's name as `{event}` has it: `operation.completed` is `operation/completed`."""
    first, _, rest = name.partition(".")
    return "/".join([level for level in (clean(first), clean(rest)) if level])


def compile_topic(pattern: str, settings: Mapping[str, str]) -> Callable[[Event], str]:
    """What makes the topic of an event; `settings` are the values where an event has none.

    Raises PatternError. The function raises ValueError for an event whose topic would have no level.
    """
    levels = _levels(pattern)
    wanted = {name for level in levels for name, _ in level if name and name != EVENT}
    given = {name: clean(settings.get(name, "")) for name in wanted}
    names = {name: tuple(map(_plain, KEYS[name])) for name in wanted}

    def topic(event: Event) -> str:
        values = _values(event, names, given) if wanted else {}
        values[EVENT] = event_levels(event_name(event))
        made = ["".join([literal or values[name] for name, literal in level]) for level in levels]
        found = "/".join([level for level in made if level])
        if not found:
            raise ValueError(f"the topic of {pattern} has no level for this event")
        return found

    return topic


def _levels(pattern: str) -> list[list[tuple[str, str]]]:
    """The levels, each of parts: a variable's name and "", or "" and a text. Raises PatternError."""
    example = "expected levels such as {enterprise}/{site}/{area}/{cell}/{event}"
    if not pattern.strip("/") or len(pattern) > MAX_PATTERN or pattern.count("/") >= MAX_LEVELS:
        raise PatternError(f"{example}, at most {MAX_PATTERN} characters and {MAX_LEVELS} levels")
    if pattern.startswith("$"):
        raise PatternError(f"topics that begin with $ are the broker's own (MQTT section 4.7.2); {example}")
    found: list[list[tuple[str, str]]] = []
    sure = False  # there is always a level
    for level in pattern.split("/"):
        parts: list[tuple[str, str]] = []
        for match in _PART.finditer(level):
            name, text, other = match.groups()
            if other is not None:
                raise PatternError(f"a variable stands in braces, {{site}}; found a single {other}")
            if text is not None:
                wrong = _NOT_IN_LITERALS.search(text)
                if wrong is not None:
                    shown = wrong[0] if wrong[0] in "+#" else f"U+{ord(wrong[0]):04X}"
                    raise PatternError(f"found {shown}, which cannot stand in a topic; {example}")
                parts.append(("", text))
            elif name in VARIABLES:
                parts.append((name, ""))
            else:
                raise PatternError(f"no variable is called {{{name[:40]}}}; there are {', '.join(VARIABLES)}")
            sure = sure or text is not None or name == EVENT
        if parts:
            found.append(parts)
    if not sure:
        raise PatternError("all levels may be empty; expected {event} or a text in it")
    return found


def _values(event: Event, names: Mapping[str, tuple[str, ...]], given: Mapping[str, str]) -> dict[str, str]:
    """The values of these variables, cleaned."""
    own: Mapping[str, Any] = {}
    data: Any = None
    if event.type == _DOMAIN:
        own = event.data or {}
    if (event.type == _DOMAIN or event.type in _MESSAGES) and 2 < len(event.payload) <= MAX_PAYLOAD:
        data = parse(event.payload)
    objects = _objects(data) if isinstance(data, dict) else []
    return {
        name: _text(own.get(name)) or (_find(objects, keys) if objects else "") or given[name]
        for name, keys in names.items()
    }


def _objects(data: dict[str, Any]) -> list[dict[str, Any]]:
    """The data and the objects in it, with plain keys; of keys that are the same the first one counts."""
    found: list[dict[str, Any]] = []
    for one in (data, *[value for value in data.values() if isinstance(value, dict)]):
        plain: dict[str, Any] = {}
        for key, value in one.items():
            plain.setdefault(_plain(key), value)
        found.append(plain)
    return found


def _find(objects: list[dict[str, Any]], keys: tuple[str, ...]) -> str:
    for one in objects:
        for key in keys:
            value = one.get(key)
            text = _of_object(value, keys) if isinstance(value, dict) else _text(value)
            if text:
                return text
    return ""


def _of_object(value: dict[str, Any], keys: tuple[str, ...]) -> str:
    """What an object is called: its name, what else says it, or its number, code or id."""
    plain = {_plain(key): inner for key, inner in value.items()}
    return next(filter(None, _texts(plain, (_OWN[0], *keys, *_OWN[1:]))), "")


def _texts(value: Mapping[str, Any], keys: tuple[str, ...]) -> Iterator[str]:
    for key in keys:
        yield _text(value.get(key))


def _text(value: Any) -> str:
    """A text or a number, cleaned; empty for anything else."""
    if isinstance(value, str):
        return clean(value)
    return clean(str(value)) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def _plain(key: str) -> str:
    """A member's name as it is compared; events have few, so that they are remembered."""
    known = _plain_names.get(key)
    if known is None:
        known = key.replace("_", "").replace("-", "").lower()
        if len(key) <= MAX_VALUE and len(_plain_names) < _REMEMBERED:
            _plain_names[key] = known
    return known


_plain_names: dict[str, str] = {}
