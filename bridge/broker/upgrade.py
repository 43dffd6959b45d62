"""The opening handshake of a WebSocket (RFC 6455 section 4.2), without I/O.

The client has to offer the subprotocol `mqtt` ([MQTT-6.0.0-3]), and `mqtt` is what we choose
([MQTT-6.0.0-4]). `mqttv3.1` is what MQTT 3.1 had, before there was a rule. Extensions are not negotiated.
"""

from __future__ import annotations

import base64
import binascii
from hashlib import sha1
from typing import NamedTuple

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

MAX_HEAD = 16 * 1024
"""Bytes of the request's head; a browser's cookies take some."""
SUBPROTOCOLS = ("mqtt", "mqttv3.1")
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_PHRASES = {
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    426: "Upgrade Required",
    431: "Request Header Fields Too Large",
}


class Policy(NamedTuple):
    """What a listener asks for."""

    path: str = "/mqtt"
    origins: tuple[str, ...] = ()  # allowed ones; empty: all. A request without Origin is no browser's
    need_subprotocol: bool = True


class Answer(NamedTuple):
    """The response, and what came behind the request; `refused` says why, for the log."""

    response: bytes
    rest: bytes
    refused: str | None


class Refused(Exception):
    """The request is none for a WebSocket here."""

    def __init__(self, status: int, why: str, *fields: str) -> None:
        super().__init__(why)
        self.status = status
        self.why = why
        self.fields = fields


class Upgrade:
    """One request; bytes in, an answer out once its head is whole."""

    __slots__ = ("_head", "_policy")

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._head = b""

    def feed(self, data: bytes) -> Answer | None:
        """None while more of the head is to come."""
        start = max(0, len(self._head) - 3)
        head = self._head + data
        end = head.find(b"\r\n\r\n", start, MAX_HEAD)
        try:
            if end < 0:
                if len(head) >= MAX_HEAD:
                    raise Refused(431, f"the request's head is longer than {MAX_HEAD} bytes")
                self._head = head
                return None
            request = _Request()
            request.parse(head[: end + 4])
            return Answer(self._accept(request), head[end + 4 :], None)
        except Refused as refused:
            return Answer(_refusal(refused), b"", f"{refused.status} {refused.why}")

    def _accept(self, request: _Request) -> bytes:
        """The response 101. Raises Refused."""
        policy = self._policy
        if request.method != "GET":
            raise Refused(405, "expected the method GET", "Allow: GET")
        if request.path != policy.path:
            raise Refused(404, "there is no MQTT at this path")
        if request.version != "1.1" or len(request.all("host")) != 1:
            raise Refused(400, "expected HTTP/1.1 and one Host")
        if "websocket" not in request.words("upgrade") or "upgrade" not in request.words("connection"):
            raise Refused(426, "expected a request for a WebSocket", "Upgrade: websocket")
        if request.all("sec-websocket-version") != ["13"]:
            raise Refused(426, "expected Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 13")
        keys = request.all("sec-websocket-key")
        if len(keys) != 1 or not _is_key(keys[0]):
            raise Refused(400, "expected one Sec-WebSocket-Key of 16 bytes in base64")
        if policy.origins:
            for origin in request.all("origin"):
                if origin.lower() not in policy.origins:
                    raise Refused(403, "this origin is not allowed (websocket.check_origins)")
        lines = [
            "HTTP/1.1 101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {accept_of(keys[0])}",
        ]
        offered = request.words("sec-websocket-protocol", lower=False)
        chosen = next((name for name in SUBPROTOCOLS if name in offered), None)
        if chosen is not None:
            lines.append(f"Sec-WebSocket-Protocol: {chosen}")
        elif offered or policy.need_subprotocol:
            raise Refused(400, "expected Sec-WebSocket-Protocol: mqtt [MQTT-6.0.0-3]")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


class _Request:
    """A request's head, read by llhttp."""

    def __init__(self) -> None:
        self.method = ""
        self.path = ""
        self.version = ""
        self._fields: list[tuple[str, str]] = []
        self._target = b""

    def parse(self, head: bytes) -> None:
        """Raises Refused."""
        parser = HttpRequestParser(self)
        try:
            parser.feed_data(head)
        except HttpParserUpgrade:
            pass
        except HttpParserError:
            raise Refused(400, "this is not a request of HTTP/1.1") from None
        self.method = parser.get_method().decode("latin-1")
        self.version = parser.get_http_version()
        self.path = self._target.decode("latin-1").partition("?")[0]

    # httptools calls these.

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name.decode("latin-1").lower(), value.decode("latin-1").strip()))

    def all(self, name: str) -> list[str]:
        """The values of a field, one for each line."""
        return [value for field, value in self._fields if field == name]

    def words(self, name: str, *, lower: bool = True) -> list[str]:
        """The elements of a field that is a list."""
        words = [word.strip() for value in self.all(name) for word in value.split(",")]
        return [word.lower() if lower else word for word in words if word]


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


def accept_of(key: str) -> str:
    """Sec-WebSocket-Accept for a Sec-WebSocket-Key."""
    return base64.b64encode(sha1(key.encode("latin-1") + _GUID, usedforsecurity=False).digest()).decode()


def _refusal(refused: Refused) -> bytes:
    body = f"{refused.why}\n".encode()
    fields = "".join(f"{field}\r\n" for field in refused.fields)
    head = (
        f"HTTP/1.1 {refused.status} {_PHRASES[refused.status]}\r\n{fields}"
        f"Content-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("latin-1") + body
