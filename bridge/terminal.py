"""A received request as text that is safe to print: one idea, what reaches a terminal.

A payload comes from whoever can publish. Rule kept here: no character of it that a terminal acts on (control
characters, escape sequences, marks that turn the direction of writing) is ever printed; each is shown as
`\\u001b`, as JSON would write it. So are line breaks, lest a body imitate the lines around it; only `pretty`
breaks lines, between the tokens of JSON.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from http import HTTPStatus

import msgspec

MAX_SHOWN_CHARACTERS = 65536  # of one body; the rest is counted, not printed

# C0, DEL and C1; then what reorders or breaks a line: bidirectional marks, embeddings and isolates, the line
# and paragraph separators, the byte order mark.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_JSON_TOKEN = re.compile(
    r'(?P<string>"(?:[^"\\]|\\.)*")(?P<colon>\s*:)?|(?P<number>-?\d[\d.eE+-]*)|(?P<word>true|false|null)'
)
_SHOWN_HEADERS = (
    "content-type",
    "content-encoding",
    "x-mes-signature",
    "x-eryxon-signature",
    "x-eryxon-event",
)
_SHOWN_PREFIXES = ("webhook-", "ce-")
_SECRET_HEADERS = ("authorization", "proxy-authorization", "cookie")

_BOLD, _DIM, _RED, _GREEN, _YELLOW, _BLUE, _MAGENTA, _CYAN = "1", "2", "31", "32", "33", "34", "35", "36"


def paint(text: str, code: str) -> str:
    """`text` in the ANSI style `code` (SGR parameters, such as `31` for red)."""
    return f"\x1b[{code}m{text}\x1b[0m"


def escape(text: str) -> str:
    """`text` with every character that a terminal acts on written as `\\uXXXX`."""
    if _UNSAFE.search(text) is None:
        return text
    return _UNSAFE.sub(lambda match: _SHORT.get(match[0]) or f"\\u{ord(match[0]):04x}", text)


class Request:
    """One request as it came. `at` is Unix time, `began` the performance counter, both in seconds.

    `whole` is False until all of it has come, and stays so for one that is refused.
    """

    __slots__ = ("at", "began", "body", "headers", "method", "target", "whole")

    def __init__(self) -> None:
        self.at = time.time()
        self.began = time.perf_counter()
        self.method = ""
        self.target = ""
        self.headers: list[tuple[str, str]] = []
        self.body = b""
        self.whole = False


class Renderer:
    """Turns requests into text.

    `color`: with ANSI colours. `pretty`: JSON bodies over several lines; otherwise as they were sent, on one.
    `headers`: names of the headers to show, `*` for all (then with secrets masked), none for no header; None
    for the usual ones (content type, webhook-id and its kin, signatures).
    """

    def __init__(
        self, *, color: bool = False, pretty: bool = False, headers: Iterable[str] | None = None
    ) -> None:
        self.color = color
        self._pretty = pretty
        self._names = _SHOWN_HEADERS if headers is None else tuple(name.lower() for name in headers)
        self._prefixes = _SHOWN_PREFIXES if headers is None else ()
        self._all = "*" in self._names

    def request(self, request: Request, status: int, elapsed: float) -> str:
        """The lines of one request, each ended by a line feed. `elapsed`: seconds until it was answered."""
        method = request.method
        clock = time.strftime("%H:%M:%S", time.localtime(request.at))
        took = f"{elapsed * 1000:.0f} ms" if elapsed >= 0.0005 else "<1 ms"
        target = " " + escape(request.target[:2048]) if request.target else ""
        if self.color:
            tint = _GREEN if status < 300 else _YELLOW if status < 500 else _RED
            clock, took = paint(clock, _DIM), paint(took, _DIM)
            method, target = paint(method, _BOLD), paint(target, _CYAN)
            first = f"{clock} {method}{target}  {paint(str(status), tint)}  {took}\n"
        else:
            first = f"{clock} {method}{target}  {status}  {took}\n"
        lines = [first]
        if self._names or self._prefixes:
            lines += [
                self._header(name, value) for name, value in request.headers if self._shown(name.lower())
            ]
        if request.body:
            lines.append(self._body(request.body))
        return "".join(lines)

    def _shown(self, name: str) -> bool:
        return self._all or name in self._names or name.startswith(self._prefixes)

    def _header(self, name: str, value: str) -> str:
        if self._all and name.lower() in _SECRET_HEADERS:
            value = "(masked)"
        name, value = escape(name[:256]), escape(value[:4096])
        return f"  {paint(name, _BLUE)}: {value}\n" if self.color else f"  {name}: {value}\n"

    def _body(self, body: bytes) -> str:
        is_json = False
        try:
            text = body.decode()
        except UnicodeDecodeError:
            text = body[:MAX_SHOWN_CHARACTERS].decode("utf-8", "backslashreplace")
            cut = len(body) > MAX_SHOWN_CHARACTERS
        else:
            several_lines = "\n" in text or "\r" in text
            if self._pretty or self.color or several_lines:
                try:
                    formatted = msgspec.json.format(body, indent=2 if self._pretty else -1).decode()
                    is_json = True
                except (msgspec.DecodeError, RecursionError):  # not JSON, or nested past all reason
                    pass
                else:
                    # As it was sent where that is one line: what the sender writes is what a reader debugs.
                    if self._pretty or several_lines:
                        text = formatted
            cut = len(text) > MAX_SHOWN_CHARACTERS
            text = text[:MAX_SHOWN_CHARACTERS]
        # Valid JSON has line breaks only between its tokens, so those of `pretty` are all our own.
        lines = [escape(line) for line in text.split("\n")] if is_json else [escape(text)]
        if is_json and self.color:
            lines = [_JSON_TOKEN.sub(_paint_token, line) for line in lines]
        if cut:
            note = f"… (cut here; the body has {len(body):,} bytes)"
            lines.append(paint(note, _DIM) if self.color else note)
        return "\n".join(lines) + "\n"


def _paint_token(match: re.Match[str]) -> str:
    if (string := match["string"]) is not None:
        colon = match["colon"]
        return paint(string, _BLUE) + colon if colon is not None else paint(string, _GREEN)
    return paint(match[0], _MAGENTA if match["number"] is not None else _YELLOW)


def reason_phrase(status: int) -> str:
    """The reason phrase of an HTTP status, RFC 9110 section 15; "Status" where none is registered."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Status"
