"""How one endpoint's requests are made of events: its settings, bound once.

Formats: `nanomq`, `emqx`, `cloudevents`, `template`, `mes` and `eryxon`, each in a module of its own.
Placeholders in the URL and in header values go with any of them.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from bridge.events import emqx, eryxon, nanomq
from bridge.events.cloudevents import BATCHED, STRUCTURED, CloudEvents, wrapper
from bridge.events.emqx import make_fields
from bridge.events.eryxon import make_eryxon
from bridge.events.event import Event
from bridge.events.fields import Choice, make_choice
from bridge.events.head import check_header, compile_headers, compile_target
from bridge.events.interface import UNDEFINED, Format, FormatSettings, Origin
from bridge.events.mes import make_mes
from bridge.events.nanomq import make_nanomq, nanomq_body
from bridge.events.payload import FALLBACK, BodyCounts, Shown, make_payload
from bridge.events.placeholders import (
    TemplateError,
    View,
    check_names,
    has_placeholder,
    make_views,
    parses,
    split,
)
from bridge.events.template import CONTENT_TYPES, compile_body, needs_payload

__all__ = [
    "FALLBACK",
    "KEYS",
    "UNDEFINED",
    "BodyCounts",
    "Format",
    "FormatSettings",
    "Origin",
    "TemplateError",
    "check_header",
    "check_template",
    "has_placeholder",
    "is_detailed",
    "make_format",
    "nanomq_body",
]

KEYS = {"nanomq": nanomq.KEYS} | dict.fromkeys(
    ("emqx", "cloudevents", "template", "mes", "eryxon"), emqx.KEYS
)
"""By format: every key that `include` and `exclude` can name."""

_NOWHERE = Origin()
_Body = Callable[[int, Event], bytes]
_Views = Callable[[int, Event], View]
_encode = msgspec.json.Encoder().encode


def make_format(
    settings: FormatSettings, origin: Origin = _NOWHERE, counts: BodyCounts | None = None
) -> Format:
    """The format of one endpoint; `counts` gathers what could not go as configured.

    Raises ValueError for what can never work, TemplateError with its place in a template.
    """
    encoding = str(settings.encoding)
    counts = counts if counts is not None else BodyCounts()
    payload = make_payload(encoding, settings.base62_limit, counts)
    choose = make_choice(settings.include, settings.exclude)
    views: _Views | None = None
    if settings.format == "nanomq":
        made = Format(make_nanomq(payload, plain=encoding == "plain", keep=choose))
    elif settings.format == "emqx":
        made = Format(_emqx(settings, origin, payload, choose))
    elif settings.format == "cloudevents":
        return _batched(settings, origin, _cloudevents(settings, origin, choose))
    elif settings.format == "mes":
        made = Format(make_mes(settings, origin, counts, choose))
    elif settings.format == "eryxon":
        made = Format(make_eryxon(settings, origin, counts, choose))
        if settings.batch is None and settings.url:
            return made._replace(fill=_named(settings, origin))
    elif settings.format == "template":
        made, views = _template(settings, origin, payload, choose)
    else:
        raise ValueError(f"unknown format {settings.format!r}; possible: {', '.join(KEYS)}")
    return _batched(settings, origin, made._replace(fill=_fill(settings, origin, views)))


def is_detailed(settings: FormatSettings) -> bool:
    """Whether an endpoint shows, or decides by, more of an event than NanoMQ's bodies do."""
    return (
        settings.format != "nanomq"
        or settings.where is not None
        or has_placeholder(settings.url)
        or any(has_placeholder(value) for _, value in settings.headers)
    )


def check_template(text: str, kind: str) -> None:
    """Raises TemplateError for a template that cannot work: its place, and the fields that no event has.

    `kind` is json, text or form for a body, `header` for a header's value, `url` for a whole URL.
    """
    if kind == "url":
        compile_target(text)
    elif kind == "header":
        check_names(split(text))
    else:
        compile_body(text, kind)


def _emqx(
    settings: FormatSettings, origin: Origin, payload: Callable[[bytes], Shown], choose: Choice | None
) -> _Body:
    encode = _encode
    fields = make_fields(settings.name, origin, payload)
    if choose is None:
        return lambda seq, event: encode(fields(seq, event))
    chosen = choose
    return lambda seq, event: encode(chosen(fields(seq, event)))


def _template(
    settings: FormatSettings, origin: Origin, payload: Callable[[bytes], Shown], choose: Choice | None
) -> tuple[Format, _Views]:
    kind = settings.template_type
    encoded = settings.encoding not in ("plain", "json")
    render, parts = compile_body(settings.template, kind, encoded=encoded, whole=choose)
    needs = needs_payload(parts, kind) or _head_parses(settings)
    views = make_views(make_fields(settings.name, origin, payload), parses=needs)
    return Format(lambda seq, event: render(views(seq, event)), CONTENT_TYPES[kind]), views


def _cloudevents(settings: FormatSettings, origin: Origin, choose: Choice | None) -> Format:
    given = settings.cloudevents
    payload = make_payload("plain", 0, BodyCounts())  # of a message's fields, which are not shown
    fields = make_fields(settings.name, origin, payload)
    events = CloudEvents(origin, given.source, given.type_prefix, fields, choose)
    if given.mode == "structured":
        return Format(events.structured, STRUCTURED, _fill(settings, origin, None))
    if settings.batch is not None:
        raise ValueError("CloudEvents of mode binary cannot stand in a batch; expected mode = structured")
    configured = frozenset(name.lower() for name, _ in settings.headers)
    lines = events.binary_lines(configured)
    own = _fill(settings, origin, None, always=True)
    assert own is not None  # noqa: S101  always

    def fill(seq: int, event: Event) -> tuple[bytes, bytes]:
        target, configured_lines = own(seq, event)
        return target, configured_lines + lines(seq, event)

    return Format(events.binary_body, "", fill)


def _named(settings: FormatSettings, origin: Origin) -> Callable[[int, Event], tuple[bytes, bytes]] | None:
    """What fills the head of Eryxon's requests: the event's name, where no configured header has it."""
    if any(name.lower() == eryxon.HEADER.lower() for name, _ in settings.headers):
        return _fill(settings, origin, None)
    own = _fill(settings, origin, None, always=True)
    assert own is not None  # noqa: S101  always
    line = eryxon.event_line

    def fill(seq: int, event: Event) -> tuple[bytes, bytes]:
        target, lines = own(seq, event)
        return target, lines + line(event)

    return fill


def _batched(settings: FormatSettings, origin: Origin, made: Format) -> Format:
    """The format of a batch's elements. What is not JSON cannot be one."""
    batch = settings.batch
    if batch is None:
        return made
    if settings.format == "template" and settings.template_type != "json":
        raise ValueError(
            f"a template of type {settings.template_type} cannot stand in a batch; expected json"
        )
    if made.fill is not None:
        raise ValueError("placeholders in the url or in headers cannot go with a batch: it has one head")
    if batch.format != "cloudevents-batch":
        return made._replace(content_type="application/json")
    if settings.format == "cloudevents":
        return made._replace(content_type=BATCHED)
    given = settings.cloudevents
    is_nanomq = settings.format == "nanomq"
    return Format(
        wrapper(origin, given.source, given.type_prefix, made.body, nanomq=is_nanomq), content_type=BATCHED
    )


def _head_parses(settings: FormatSettings) -> bool:
    if not settings.url:
        return False
    return parses(compile_target(settings.url)[1]) or parses(compile_headers(settings.headers)[1])


def _fill(
    settings: FormatSettings, origin: Origin, views: _Views | None, *, always: bool = False
) -> Callable[[int, Event], tuple[bytes, bytes]] | None:
    """What fills the head; None where nothing in it differs from event to event, unless `always`."""
    headers, _ = compile_headers(settings.headers)
    if not always and not headers and not has_placeholder(settings.url):
        return None
    target, _ = compile_target(settings.url)
    if not has_placeholder(settings.url):
        fixed = target(View({}, None, b""))
        target = lambda view: fixed  # noqa: E731
        if not headers:
            return lambda seq, event: (fixed, b"")
    if views is None:
        payload = make_payload("plain", 0, BodyCounts())  # what the body cannot have is counted for the body
        fields = make_fields(settings.name, origin, payload)
        views = make_views(fields, parses=_head_parses(settings))
    view_of = views

    def fill(seq: int, event: Event) -> tuple[bytes, bytes]:
        view = view_of(seq, event)
        lines = b"".join([name + value(view).encode() for name, value in headers])
        return target(view), lines

    return fill
