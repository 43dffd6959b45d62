"""Placeholders in a request's head: its target and its header lines.

A value can never change what a head means:

* In the target every character but letters, digits and `-._~` is percent-encoded (RFC 3986 section 2.1), so
  that it adds no `/`, `?` or `#`. A path segment that would be empty is `undefined`, one that would be a dot
  segment (section 3.3) has its dots encoded twice: `%252E%252E`.
* In a header `%`, control characters, what is not ASCII, and spaces at a value's ends are percent-encoded.
* A value has at most MAX_VALUE characters: in a header it is cut there, while a target would be that of
  another resource, and is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from urllib.parse import quote, unquote_to_bytes

from bridge.events.placeholders import (
    Part,
    Placeholder,
    TemplateError,
    View,
    check_names,
    getter,
    has_placeholder,
    split,
    text_of,
)

MAX_VALUE = 4096
"""Characters that one placeholder puts into a head at most."""
URL_SAFE = "!$&'()*+,/:;=?@[]%~"
"""What of a URL as it is written stays as it is in a request target."""

_PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))
_HEADER_SAFE = _PRINTABLE.replace("%", "")
_CLOUDEVENTS_SAFE = _PRINTABLE.translate({ord(sign): None for sign in ' "%'})
# What of these needs no change at all, which is most of it: a look is cheaper than `quote`.
_SAFE_IN_TARGET = re.compile(rf"[A-Za-z0-9._~-]{{0,{MAX_VALUE}}}").fullmatch
_SAFE_IN_HEADER = re.compile(rf"(?! )[\x20-\x24\x26-\x7e]{{0,{MAX_VALUE}}}(?<! )").fullmatch
_SAFE_IN_CLOUDEVENTS = re.compile(rf"[!#$&-~]{{0,{MAX_VALUE}}}").fullmatch
_PART_OF_ESCAPE = re.compile(r"%[0-9A-F]?$")
_AUTHORITY = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://[^/?#]*")
FRAMING = frozenset(
    {"connection", "content-length", "expect", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)
"""Headers, in lower case, that say how a request stands on its connection: HookMQ's alone."""
# Those, and what says where a request goes; a client's data must not.
_FIXED = FRAMING | {"host", "proxy-connection"}


def _encoded(text: str, safe: str) -> str:
    """Percent-encoded, at most MAX_VALUE characters of whole characters."""
    made = quote(text[:MAX_VALUE], safe=safe)
    if len(made) <= MAX_VALUE:
        return made
    cut = unquote_to_bytes(_PART_OF_ESCAPE.sub("", made[:MAX_VALUE]))
    return quote(cut.decode("utf-8", "ignore"), safe=safe)


def header_value(text: str) -> str:
    """A value within a header."""
    if _SAFE_IN_HEADER(text):
        return text
    made = _encoded(text, _HEADER_SAFE)
    inner = made.strip(" ")
    if len(inner) == len(made):
        return made
    if not inner:
        return "%20" * len(made)
    before = len(made) - len(made.lstrip(" "))
    return "%20" * before + inner + "%20" * (len(made) - before - len(inner))


def cloudevents_value(text: str) -> str:
    """A CloudEvents attribute as a header (HTTP protocol binding 1.0.2, section 3.1.3.2)."""
    return text if _SAFE_IN_CLOUDEVENTS(text) else _encoded(text, _CLOUDEVENTS_SAFE)


def compile_target(url: str) -> tuple[Callable[[View], bytes], list[tuple[int, Part]]]:
    """Makes request targets of views, and the URL's parts. Raises TemplateError.

    What it makes raises ValueError for an event whose value is too long.
    """
    url = url.strip()
    parts = split(url)
    check_names(parts)
    masked = "".join(["x" * len(part.text) if isinstance(part, Placeholder) else part for _, part in parts])
    if "${$}" in url:
        raise TemplateError("`${$}` in a URL is written %24", url.find("${$}"))
    authority = _AUTHORITY.match(masked)
    if authority is None:
        raise TemplateError("expected http://host[:port]/path or https://…", 0)
    start = authority.end()
    end = masked.find("#", start)
    end = len(url) if end < 0 else end  # a fragment is not sent
    question = masked.find("?", start, end)
    path_end = end if question < 0 else question
    segments: list[list[Part]] = [[]]  # of the path, what stands between slashes
    query: list[Part] = []
    for at, part in parts:
        if isinstance(part, Placeholder):
            if at < start:
                raise TemplateError(
                    f"`{part.text}` stands before the path; scheme, user, host and port are fixed", at
                )
            if at >= end:
                raise TemplateError(f"`{part.text}` stands behind `#`, which is not sent", at)
            (segments[-1] if at < path_end else query).append(part)
            continue
        path = part[max(start - at, 0) : max(path_end - at, 0)]
        for number, piece in enumerate(path.split("/")):
            if number:
                segments.append([])
            if piece:
                segments[-1].append(piece)
        tail = part[max(path_end - at, 0) : max(end - at, 0)]
        if tail:
            query.append(tail)
    rendered = [_segment(each) for each in segments]
    behind = [_static(part) if isinstance(part, str) else _value(part) for part in query]

    def target(view: View) -> bytes:
        path = "/".join([each if isinstance(each, str) else each(view) for each in rendered])
        tail = "".join([each if isinstance(each, str) else each(view) for each in behind])
        return f"{path or '/'}{tail}".encode("ascii")

    return target, parts


_Piece = str | Callable[[View], str]


def _static(text: str) -> str:
    return quote(text, safe=URL_SAFE)


def _value(part: Placeholder) -> Callable[[View], str]:
    get = getter(part)

    def value(view: View) -> str:
        text = text_of(get(view))
        if _SAFE_IN_TARGET(text):
            return text
        made = quote(text, safe="")
        if len(made) > MAX_VALUE:
            raise ValueError(
                f"{part.text} has {len(made)} characters as the URL has them; expected {MAX_VALUE} at most"
            )
        return made

    return value


def _segment(parts: list[Part]) -> _Piece:
    pieces = [_static(part) if isinstance(part, str) else _value(part) for part in parts]
    if all(isinstance(piece, str) for piece in pieces):
        return "".join([piece for piece in pieces if isinstance(piece, str)])

    def segment(view: View) -> str:
        made = "".join([piece if isinstance(piece, str) else piece(view) for piece in pieces])
        if not made:
            return "undefined"
        if made[0] in ".%" and _is_dots(made):
            return _is_dots(made) + made[len(made.partition(";")[0]) :]
        return made

    return segment


def _is_dots(segment: str) -> str:
    """A dot segment with its dots encoded twice, empty for any other; parameters behind `;` do not count."""
    name = segment.partition(";")[0].upper().replace("%2E", ".")
    return "%252E" * len(name) if name in (".", "..") else ""


def compile_headers(
    headers: Sequence[tuple[str, str]],
) -> tuple[list[tuple[bytes, Callable[[View], str]]], list[tuple[int, Part]]]:
    """The headers whose values have placeholders: each as `CRLF name: ` and what makes its value."""
    lines: list[tuple[bytes, Callable[[View], str]]] = []
    held: list[tuple[int, Part]] = []
    for name, value in headers:
        if has_placeholder(value):
            check_header(name)
            parts = split(value.strip())
            check_names(parts)
            lines.append((f"\r\n{name}: ".encode(), _header(parts)))
            held += parts
    return lines, held


def check_header(name: str) -> None:
    """Raises ValueError for a header whose value a client's data must not be in."""
    lower = name.lower()
    if lower in _FIXED or lower.startswith("webhook-"):
        raise ValueError(f"{name} cannot have placeholders")


def _header(parts: list[tuple[int, Part]]) -> Callable[[View], str]:
    pieces: list[_Piece] = []
    for _, part in parts:
        if isinstance(part, str):
            pieces.append(part)
        else:
            get = getter(part)
            pieces.append(lambda view, get=get: header_value(text_of(get(view))))  # type: ignore[misc]

    def value(view: View) -> str:
        return "".join([piece if isinstance(piece, str) else piece(view) for piece in pieces])

    return value
