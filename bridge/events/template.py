"""Templates of bodies: `webhook.body.template`, of the types json, text and form.

* `json`: a placeholder within a string literal gives that string's content, escaped; objects and lists give
  their JSON as text, what is missing gives `undefined`. Elsewhere it gives a JSON value, what is missing
  gives null, and `${payload}` gives JSON if the payload is JSON, else a string. A template that would not be
  JSON with values in it is refused, so that a body is JSON whatever an event holds.
* `text`: as it is.
* `form`: percent-encoded (application/x-www-form-urlencoded).

Placeholders: `bridge.events.placeholders`. An empty template is `${.}`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from urllib.parse import quote

import msgspec

from bridge.events.fields import Choice
from bridge.events.payload import NOT_JSON, parse
from bridge.events.placeholders import (
    MISSING,
    Getter,
    Part,
    Placeholder,
    TemplateError,
    View,
    check_names,
    getter,
    split,
    text_of,
)

CONTENT_TYPES = {
    "json": "application/json",
    "text": "text/plain; charset=utf-8",
    "form": "application/x-www-form-urlencoded",
}
ALL = "${.}"

_encode = msgspec.json.Encoder().encode
_Piece = bytes | Callable[[View], bytes]


def compile_body(
    text: str | None, kind: str, *, encoded: bool = False, whole: Choice | None = None
) -> tuple[Callable[[View], bytes], list[tuple[int, Part]]]:
    """Makes bodies of views, and the template's parts. `encoded`: payloads stand as base64 or the like, also
    where they are JSON. Raises TemplateError.
    """
    text = text or ALL
    if kind not in CONTENT_TYPES:
        raise ValueError(f"unknown type of template {kind!r}; possible: {', '.join(CONTENT_TYPES)}")
    parts = split(text)
    check_names(parts)
    if kind == "json":
        pieces = _json_pieces(text, parts, encoded=encoded, whole=whole)
    else:
        as_text = _form if kind == "form" else _text
        pieces = [as_text(part, whole) for _, part in parts]
    return _joined(pieces), parts


def needs_payload(parts: Sequence[tuple[int, Part]], kind: str) -> bool:
    """Whether the payload has to be read as JSON."""
    return any(
        isinstance(part, Placeholder) and part.name == "payload" and (part.steps or kind == "json")
        for _, part in parts
    )


def _joined(pieces: list[_Piece]) -> Callable[[View], bytes]:
    def render(view: View) -> bytes:
        return b"".join([piece if isinstance(piece, bytes) else piece(view) for piece in pieces])

    return render


def _text(part: Part, whole: Choice | None) -> _Piece:
    if isinstance(part, str):
        return part.encode()
    get = getter(part, whole)
    return lambda view: text_of(get(view)).encode()


def _form(part: Part, whole: Choice | None) -> _Piece:
    if isinstance(part, str):
        return part.encode()
    get = getter(part, whole)
    return lambda view: quote(text_of(get(view)), safe="").encode()


# -- json --------------------------------------------------------------------------------------------------


def _json_pieces(
    text: str, parts: list[tuple[int, Part]], *, encoded: bool, whole: Choice | None
) -> list[_Piece]:
    pieces: list[_Piece] = []
    tried: list[tuple[int, str]] = []  # the template with values filled in, and where each part came from
    within = False
    for at, part in parts:
        if isinstance(part, str):
            pieces.append(part.encode())
            tried.append((at, part))
            within = _within(part, within=within)
            continue
        get = getter(part, whole)
        if within:
            pieces.append(_content(get))
        elif part.name == "payload" and not part.steps and not encoded:
            pieces.append(_payload_value)
        else:
            pieces.append(_value(get))
        tried.append((at, "x" if within else "null"))
    _check_json(text, tried)
    return pieces


def _within(part: str, *, within: bool) -> bool:
    """Whether the end of a part is inside a string literal."""
    escaped = False
    for sign in part:
        if not within:
            within = sign == '"'
        elif escaped:
            escaped = False
        elif sign == "\\":
            escaped = True
        elif sign == '"':
            within = False
    return within


def _content(get: Getter) -> Callable[[View], bytes]:
    return lambda view: _encode(text_of(get(view)))[1:-1]


def _value(get: Getter) -> Callable[[View], bytes]:
    def value(view: View) -> bytes:
        found = get(view)
        return b"null" if found is MISSING else _encode(found)

    return value


def _payload_value(view: View) -> bytes:
    if view.json is not NOT_JSON:
        return view.payload
    shown = view.fields.get("payload", MISSING)
    return b"null" if shown is MISSING else _encode(shown)


def _check_json(text: str, tried: list[tuple[int, str]]) -> None:
    """Raises TemplateError where the template is not JSON.

    A value in the place of `null` is a whole token as that is, and so can be nothing but a value too; within
    a string an escaped character is as good as the `x`.
    """
    sample = "".join([part for _, part in tried])
    try:
        json.loads(sample)
    except json.JSONDecodeError as error:
        raise TemplateError(f"not JSON: {error.msg}", _place(text, tried, error.pos)) from None
    except RecursionError:
        raise TemplateError("not JSON: nested too deeply", 0) from None
    # What Python's reader lets pass: NaN, Infinity, numbers beyond a double's range, half a surrogate pair.
    if parse(sample.encode()) is NOT_JSON:
        raise TemplateError(
            "not JSON: a number that is none (NaN, Infinity, 1e999) or half a surrogate pair", 0
        )


def _place(text: str, tried: list[tuple[int, str]], position: int) -> int:
    for at, part in tried:
        if position < len(part):
            return at + position if text.startswith(part, at) else at
        position -= len(part)
    return len(text)
