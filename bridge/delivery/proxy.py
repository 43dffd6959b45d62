"""An HTTP proxy on the way to an endpoint (RFC 9110 sections 7.6 and 9.3.6, RFC 9112 section 3.2.2).

* `http` endpoints: the request goes to the proxy in absolute form, with `Proxy-Authorization`.
* `https` endpoints: a tunnel by CONNECT; TLS inside it is the endpoint's, and the proxy sees no request.
* Names are resolved by the proxy. Its own faults carry the kind `proxy` and name it without its credentials.
"""

from __future__ import annotations

import asyncio
import re
import socket
from base64 import b64encode
from urllib.parse import unquote_to_bytes, urlsplit

from bridge.delivery.faults import plain_text

MAX_ANSWER = 64 << 10
"""Bytes of a proxy's answer to CONNECT, interim responses included."""

SECRET_LENGTH = 4
"""What is shorter would be masked in every other word."""

_POSSIBLE = "expected http://[user:password@]host[:port]"
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: ([^\r\n]*))?(?:\r\n|$)")
_UNUSABLE = re.compile(r"[\x00-\x20\x7f]")


class ProxyError(Exception):
    """A proxy refused the tunnel, or its answer is none; one line that names the proxy."""


class Proxy:
    """A proxy's URL, checked. Raises ValueError that says what is wrong with it, without its credentials."""

    __slots__ = ("_secrets", "authorization", "host", "label", "port")

    def __init__(self, url: str) -> None:
        if _UNUSABLE.search(url):
            raise ValueError(f"white space or control characters; {_POSSIBLE}")
        try:
            parts = urlsplit(url)
            port = parts.port
            host = parts.hostname or ""
        except ValueError:
            raise ValueError(f"its host or port is wrong; {_POSSIBLE}") from None
        if parts.scheme.lower() != "http":
            raise ValueError(f"only a proxy that is spoken to in plain HTTP is supported; {_POSSIBLE}")
        if not host or port == 0 or parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ValueError(f"it needs a host, and has neither path nor query; {_POSSIBLE}")
        try:
            self.host = host if host.isascii() else host.encode("idna").decode("ascii")
        except UnicodeError:
            raise ValueError(f"its host is not a valid name; {_POSSIBLE}") from None
        self.port = port if port is not None else 80
        self.label = authority(self.host, self.port)
        self.authorization = b""
        self._secrets: list[str] = []
        if parts.username is not None:
            user, password = (unquote_to_bytes(part or "") for part in (parts.username, parts.password))
            pair = b64encode(user + b":" + password)
            self.authorization = b"Proxy-Authorization: Basic " + pair
            shown = (pair.decode("ascii"), password.decode("utf-8", "replace"))
            self._secrets = [secret for secret in shown if len(secret) >= SECRET_LENGTH]

    def scrub(self, text: str) -> str:
        """The proxy's text without the credentials that were sent to it."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def absolute(self, head: bytes, host: str, port: int) -> bytes:
        """The head of a request to an `http` endpoint, as the proxy wants it.

        `head` begins with the request line in origin form, and ends inside its last header line.
        """
        method, path, rest = head.split(b" ", 2)
        version, lines = rest.split(b"\r\n", 1)
        extra = self.authorization + b"\r\n" if self.authorization else b""
        target = authority(host, port).removesuffix(":80")
        return b"%b http://%b%b %b\r\n%b%b" % (method, target.encode("ascii"), path, version, extra, lines)

    async def tunnel(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, host: str, port: int
    ) -> None:
        """Have the proxy connect `sock` through to an endpoint. Raises ProxyError and OSError."""
        target = authority(host, port).encode("ascii")
        extra = self.authorization + b"\r\n" if self.authorization else b""
        await loop.sock_sendall(sock, b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (target, target, extra))
        data = b""
        received = looked = 0
        while True:
            end = data.find(b"\r\n\r\n", looked)
            if end < 0:
                looked = max(len(data) - 3, 0)
                if received > MAX_ANSWER:
                    raise ProxyError(f"its answer to CONNECT is longer than {MAX_ANSWER} bytes")
                more = await loop.sock_recv(sock, 4096)
                if not more:
                    raise ProxyError("it closed the connection instead of answering CONNECT")
                received += len(more)
                data += more
                continue
            found = _STATUS.match(data)
            if found is None:
                raise ProxyError("its answer to CONNECT is not HTTP/1.1")
            data = data[end + 4 :]
            looked = 0
            status = int(found[1])
            if status >= 200:
                break
        if status >= 300:
            raise ProxyError(refused(status, plain_text((found[2] or b"")[:100])))
        if data:  # in a tunnel the client speaks first
            raise ProxyError("it sent something behind its answer to CONNECT")


def refused(status: int, reason: str = "") -> str:
    """In words, what a proxy's refusal means."""
    if status == 407:
        return "it wants other credentials (407 Proxy Authentication Required)"
    return f"it answered CONNECT with {status} {reason}".rstrip()


def authority(host: str, port: int) -> str:
    """`host:port`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
