"""An attempt's request and response as text that may be kept and shown: secrets masked, lengths bounded."""

from __future__ import annotations

import re
from collections.abc import Callable

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

HEAD_BYTES = 2048
"""Bytes of a request that are kept for its head, and of a response's head."""
BODY_BYTES = 1024
"""Bytes of a response's body that are kept."""
MASK = "***"

# A signature is no secret: it proves that the sender has one.
_SECRET_NAME = re.compile(r"auth|cookie|key|pass|secret|token|credential", re.IGNORECASE)
_NO_SECRET = frozenset({"www-authenticate", "proxy-authenticate", "authentication-info"})
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

Scrub = Callable[[str], str]


def is_secret(name: str) -> bool:
    """Whether a header of that name carries a secret."""
    return _SECRET_NAME.search(name) is not None and name.lower() not in _NO_SECRET


def printable(data: bytes) -> str:
    """Foreign bytes as text; line breaks and tabs stay."""
    text = data.decode("utf-8", "replace").replace("\r\n", "\n")
    return _UNPRINTABLE.sub("\ufffd", text)


def request_head(request: bytes, scrub: Scrub) -> str:
    """The request line and the headers of a request, a line each. `scrub` takes out the endpoint's own
    secrets, wherever they stand."""
    end = request.find(b"\r\n\r\n", 0, HEAD_BYTES)
    lines = printable(request[: end if end >= 0 else HEAD_BYTES]).split("\n")
    return scrub("\n".join([lines[0], *(_masked(*line.partition(":")) for line in lines[1:])]))


def header_lines(request: bytes, scrub: Scrub) -> tuple[str, list[tuple[str, str]]]:
    """The same, whole: the request line, and each header's name and value."""
    first, *lines = printable(request.partition(b"\r\n\r\n")[0]).split("\n")
    found = []
    for line in lines:
        name, _, value = line.partition(":")
        found.append((name, MASK if is_secret(name) else scrub(value.strip())))
    return scrub(first), found


def _masked(name: str, colon: str, value: str) -> str:
    return f"{name}: {MASK}" if is_secret(name) else f"{name}{colon}{value}"


class _Reader:
    """Collects what llhttp finds: the first response that is none of 1xx, and nothing that follows it."""

    def __init__(self) -> None:
        self.status = 0
        self.version = ""
        self.reason = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self._parser: HttpResponseParser | None = HttpResponseParser(self)
        self.complete = False

    def feed(self, raw: bytes) -> None:
        """Read what came, all of it. Raises HttpParserError and HttpParserUpgrade."""
        assert self._parser is not None  # noqa: S101
        try:
            self._parser.feed_data(raw)
        finally:
            self._note()
            self._parser = None  # it knows us

    def _note(self) -> None:
        if not self.complete and self._parser is not None:
            self.status = self._parser.get_status_code()
            self.version = self._parser.get_http_version()

    def on_message_begin(self) -> None:
        if not self.complete:
            self.reason = b""
            self.headers = []
            self.body = b""

    def on_status(self, reason: bytes) -> None:
        if not self.complete:
            self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.complete:
            self.headers.append((name, value))

    def on_body(self, data: bytes) -> None:
        if not self.complete:
            self.body += data[: BODY_BYTES - len(self.body)]

    def on_message_complete(self) -> None:
        self._note()
        self.complete = self.status >= 200


def response_parts(raw: bytes, scrub: Scrub) -> tuple[int | None, str, str]:
    """Status, status line with headers, and the body's beginning, of the first bytes of a response.

    What is no HTTP at all is all body.
    """
    if not raw:
        return None, "", ""
    reader = _Reader()
    try:
        reader.feed(raw)
    except (HttpParserError, HttpParserUpgrade):
        if not reader.headers and not reader.reason and not reader.complete:
            return None, "", scrub(printable(raw[:BODY_BYTES]))
    status = reader.status
    line = f"HTTP/{reader.version} {status} {printable(reader.reason)}".rstrip()
    lines = [_masked(printable(n), ": ", printable(v)) for n, v in reader.headers]
    head = "\n".join([line, *(text.replace("\n", " ") for text in lines)])
    return status or None, scrub(head[:HEAD_BYTES]), scrub(printable(reader.body))
