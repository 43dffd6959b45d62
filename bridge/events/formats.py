"""How one endpoint's requests are made of events: its settings, bound once."""

from __future__ import annotations

import msgspec

from bridge.events.emqx import make_fields
from bridge.events.fields import make_choice
from bridge.events.interface import UNDEFINED, Format, FormatSettings, Origin
from bridge.events.nanomq import make_nanomq, nanomq_body
from bridge.events.payload import FALLBACK, BodyCounts, make_payload

__all__ = [
    "FALLBACK",
    "UNDEFINED",
    "BodyCounts",
    "Format",
    "FormatSettings",
    "Origin",
    "is_detailed",
    "make_format",
    "nanomq_body",
]

_NOWHERE = Origin()


def make_format(
    settings: FormatSettings, origin: Origin = _NOWHERE, counts: BodyCounts | None = None
) -> Format:
    """The format of one endpoint; `counts` gathers what could not go as configured.

    Raises ValueError for what can never work.
    """
    encoding = str(settings.encoding)
    payload = make_payload(encoding, settings.base62_limit, counts if counts is not None else BodyCounts())
    choose = make_choice(settings.include, settings.exclude)
    if settings.format == "nanomq":
        return Format(make_nanomq(payload, plain=encoding == "plain", keep=choose))
    if settings.format == "emqx":
        encode = msgspec.json.Encoder().encode
        fields = make_fields(settings.name, origin, payload)
        if choose is None:
            return Format(lambda seq, event: encode(fields(seq, event)))
        chosen = choose
        return Format(lambda seq, event: encode(chosen(fields(seq, event))))
    raise ValueError(f"format {settings.format!r} is not there yet")


def is_detailed(settings: FormatSettings) -> bool:
    """Whether an endpoint shows, or decides by, more of an event than NanoMQ's bodies do."""
    return settings.format != "nanomq" or settings.where is not None
