"""Placeholders in templates: `${clientid}`, `${payload.list[0].x}`, `${.}`.

* The first name is one of EMQX's fields (`bridge.events.emqx`); `${.clientid}` is the same as `${clientid}`,
  and `${.}` is all of them.
* `.name` goes into an object, `[0]` or `.0` takes an element of a list, counted from 0.
* Behind `payload` the way goes into the payload as JSON.
* `${$}` is a dollar sign: `${$}{x}` gives `${x}`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

import msgspec

from bridge.events import emqx
from bridge.events.emqx import Fields, FieldsOf
from bridge.events.event import Event
from bridge.events.interface import UNDEFINED
from bridge.events.payload import NOT_JSON, parse

MISSING: Any = object()
"""The value of a placeholder that an event has nothing for."""

_FIRST = re.compile(r"\.?([^.\[\]\"\\\x00-\x20\x7f{}$]+)")
_STEP = re.compile(r"\.([^.\[\]\"\\\x00-\x1f\x7f{}$]+)|\[([0-9]{1,9})\]")
_POSITION = re.compile(r"[0-9]{1,9}")
_HAS_PARTS = re.compile(r"payload|flags|metadata|variables|client_attrs|\w+_props")

_encode = msgspec.json.Encoder().encode


class TemplateError(ValueError):
    """A fault of a template; `at` is its offset in characters, from 0."""

    def __init__(self, message: str, at: int) -> None:
        super().__init__(f"offset {at}: {message}")
        self.message = message
        self.at = at


class Placeholder(NamedTuple):
    """`name` is empty for `${.}`. A step has its position in a list, None where it is a name only."""

    at: int
    text: str
    name: str
    steps: tuple[tuple[str, int | None], ...] = ()


Part = str | Placeholder


def has_placeholder(text: str) -> bool:
    """Whether a text differs from event to event, or has to be looked at because of `${$}`."""
    return "${" in text


def split(text: str) -> list[tuple[int, Part]]:
    """The parts of a template with their offsets. Raises TemplateError."""
    parts: list[tuple[int, Part]] = []
    done = 0
    while True:
        at = text.find("${", done)
        if at < 0:
            if done < len(text):
                parts.append((done, text[done:]))
            return parts
        if at > done:
            parts.append((done, text[done:at]))
        end = text.find("}", at)
        if end < 0:
            raise TemplateError("`${` without its `}`; a dollar sign before `{` is written `${$}`", at)
        done = end + 1
        inner = text[at + 2 : end]
        parts.append((at, "$" if inner == "$" else _placeholder(at, inner)))


def _placeholder(at: int, inner: str) -> Placeholder:
    text = "${" + inner + "}"
    if inner == ".":
        return Placeholder(at, text, "")
    first = _FIRST.match(inner)
    steps: list[tuple[str, int | None]] = []
    end = first.end() if first else 0
    while first and end < len(inner):
        step = _STEP.match(inner, end)
        if step is None:
            break
        name = step[1] if step[1] is not None else step[2]
        steps.append((name, int(name) if _POSITION.fullmatch(name) else None))
        end = step.end()
    if first is None or end < len(inner):
        raise TemplateError(
            f"`{text[:60]}` is not a placeholder;"
            " expected ${field}, ${payload.key}, ${payload.list[0]} or ${.}",
            at,
        )
    return Placeholder(at, text, first[1], tuple(steps))


def check_names(parts: Sequence[tuple[int, Part]]) -> None:
    """Raises TemplateError for the first place of fields that no event has, and names them all."""
    held = [part for _, part in parts if isinstance(part, Placeholder) and part.name]
    unknown = [part for part in held if part.name not in emqx.KEYS]
    if unknown:
        names = list(dict.fromkeys(part.name for part in unknown))
        near = get_close_matches(names[0], emqx.KEYS, n=1) if len(names) == 1 else []
        meant = f"did you mean {near[0]}? " if near else ""
        raise TemplateError(
            f"unknown field{'s' if len(names) > 1 else ''} {', '.join(names)[:200]}; {meant}"
            f"possible: {', '.join(sorted(emqx.KEYS))}",
            unknown[0].at,
        )
    for part in held:
        if part.steps and not _HAS_PARTS.fullmatch(part.name):
            raise TemplateError(f"`{part.text}`: {part.name} has no parts", part.at)


class View(NamedTuple):
    """One event as placeholders see it; `json` is the payload's value if a placeholder needs it."""

    fields: Fields
    json: Any
    payload: bytes


def make_views(fields: FieldsOf, *, parses: bool) -> Callable[[int, Event], View]:
    """The view of an event. The last one is kept: a body and its head are made one after the other."""
    last_seq: int = -1
    last_event: Event | None = None
    last: View | None = None

    def view(seq: int, event: Event) -> View:
        nonlocal last_seq, last_event, last
        if last is None or event is not last_event or seq != last_seq:
            payload = event.payload
            last = View(fields(seq, event), parse(payload) if parses else NOT_JSON, payload)
            last_seq, last_event = seq, event
        return last

    return view


Getter = Callable[[View], Any]


def parses(parts: Sequence[tuple[int, Part]]) -> bool:
    """Whether a placeholder goes into the payload."""
    return any(isinstance(part, Placeholder) and part.name == "payload" and part.steps for _, part in parts)


def getter(placeholder: Placeholder, whole: Callable[[Fields], Fields] | None = None) -> Getter:
    """What a placeholder's value is in a view, or MISSING; `whole` chooses the keys of `${.}`."""
    name, steps = placeholder.name, placeholder.steps
    if not name:
        return (lambda view: whole(view.fields)) if whole is not None else (lambda view: view.fields)
    if not steps:
        return lambda view: view.fields.get(name, MISSING)
    if name == "payload":
        return lambda view: MISSING if view.json is NOT_JSON else _walk(view.json, steps)
    return lambda view: _walk(view.fields.get(name, MISSING), steps)


def _walk(value: Any, steps: tuple[tuple[str, int | None], ...]) -> Any:
    for key, position in steps:
        if isinstance(value, dict):
            value = value.get(key, MISSING)
        elif isinstance(value, list) and position is not None and position < len(value):
            value = value[position]
        else:
            return MISSING
    return value


def text_of(value: Any) -> str:
    """A value as text: objects and lists as compact JSON, what is missing as EMQX has it."""
    if type(value) is str:
        return value
    if value is MISSING:
        return UNDEFINED
    if isinstance(value, msgspec.Raw):
        return bytes(value).decode()
    return _encode(value).decode()
