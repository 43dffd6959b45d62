"""An HTTP server decides (`auth.http_auth`): who may connect, who is a super-user, who may use a topic.

It fails closed: what is not answered with 2xx within the time limit is denied. Redirects are not followed.
This module is imported where an `http_auth` is configured, and only there: with it comes the HTTP client.
"""

from __future__ import annotations

import hmac
import logging
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from urllib.parse import urlencode, urlsplit

import aiohttp
import msgspec

from bridge.broker.client import Client
from bridge.broker.hooks import ACCEPT
from bridge.config.settings import HttpAuth as Settings
from bridge.config.settings import HttpAuthRequest
from bridge.mqtt.packets import Connect
from bridge.mqtt.reasons import ReasonCode

log = logging.getLogger(__name__)

CACHED = 65_536
"""Answers about connections that are remembered, where `cache_ttl` asks for it."""
READ_BYTES = 65_536
"""Of a response's body that are read, and thrown away, to keep the connection."""
TELL_S = 10.0
"""Between two log lines about a server that does not answer."""
_PLACEHOLDER = re.compile(r"%([ucaPrpCdtAm])")
_ACCESS = {"subscribe": "1", "publish": "2"}


class HttpAuth:
    """The requests, and the connections to the server. Used in the loop that it was made in."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None
        self._key = secrets.token_bytes(32)
        self._good: OrderedDict[bytes, float] = OrderedDict()  # by digest of the request: until when
        self._told = -TELL_S
        self.requests = 0

    @property
    def authenticates(self) -> bool:
        """Whether it decides who may connect."""
        return self._settings.auth_req is not None

    @property
    def knows_superusers(self) -> bool:
        """Whether it says who is above the access rules."""
        return self._settings.super_req is not None

    @property
    def authorizes(self) -> bool:
        """Whether it decides who may use which topic."""
        return self._settings.acl_req is not None

    async def authenticate(self, client: Client, connect: Connect) -> int:
        """0, or the reason code of the refusal."""
        request = self._settings.auth_req
        assert request is not None  # noqa: S101
        if await self._remembered("auth_req", request, values(client, connect.password)):
            return ACCEPT
        return ReasonCode.BAD_USER_NAME_OR_PASSWORD if client.username else ReasonCode.NOT_AUTHORIZED

    async def is_superuser(self, client: Client, connect: Connect) -> bool:
        """Whether no access rules hold for the client."""
        request = self._settings.super_req
        assert request is not None  # noqa: S101
        return await self._remembered("super_req", request, values(client, connect.password))

    async def authorize(self, client: Client, action: str, topic: str) -> bool:
        """Whether the client may `publish` to a topic, or `subscribe` to a filter."""
        request = self._settings.acl_req
        assert request is not None  # noqa: S101
        given = values(client, None)
        given["t"] = topic
        given["A"] = _ACCESS[action]
        return await self._asked("acl_req", request, given)

    async def _remembered(self, name: str, request: HttpAuthRequest, given: Mapping[str, str]) -> bool:
        """Ask, unless the same was allowed less than `cache_ttl` ago."""
        ttl = self._settings.cache_ttl
        if not ttl:
            return await self._asked(name, request, given)
        parts = [name, *(text for pair in filled(request, given) for text in pair)]
        message = b"".join([f"{len(text)}:{text}".encode("utf-8", "surrogatepass") for text in parts])
        digest = hmac.digest(self._key, message, "sha256")
        until = self._good.get(digest)
        if until is not None and until > self._clock():
            return True
        if not await self._asked(name, request, given):
            return False
        self._good[digest] = self._clock() + ttl
        self._good.move_to_end(digest)
        if len(self._good) > CACHED:
            self._good.popitem(last=False)
        return True

    async def _asked(self, name: str, request: HttpAuthRequest, given: Mapping[str, str]) -> bool:
        self.requests += 1
        pairs = filled(request, given)
        headers = dict(request.headers)
        kind = next((v for k, v in request.headers if k.lower() == "content-type"), "")
        data: bytes | None = None
        query: list[tuple[str, str]] | None = None
        if request.method in ("GET", "DELETE"):
            query = pairs
        elif "json" in kind.lower():
            data = msgspec.json.encode(dict(pairs))
        else:
            data = urlencode(pairs).encode()
            if not kind:
                headers["content-type"] = "application/x-www-form-urlencoded"
        try:
            async with self._connected().request(
                request.method, request.url, data=data, params=query, headers=headers, allow_redirects=False
            ) as response:
                await response.content.read(READ_BYTES)
                allowed = 200 <= response.status < 300
                if not allowed and response.status >= 500:
                    self._tell(name, request, f"it answered {response.status}")
                return allowed
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            # Its text may hold the request's query, and that a password.
            what = "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
            self._tell(name, request, what)
            return False

    def _tell(self, name: str, request: HttpAuthRequest, what: str) -> None:
        now = self._clock()
        if now - self._told >= TELL_S:
            self._told = now
            host = urlsplit(request.url).netloc.rpartition("@")[2]
            log.warning("auth.http_auth.%s: %s: %s; clients are denied", name, host, what)

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            settings = self._settings
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=settings.pool_size, limit_per_host=0),
                timeout=aiohttp.ClientTimeout(
                    total=settings.timeout, sock_connect=min(settings.connect_timeout, settings.timeout)
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                headers={"user-agent": "hookmq"},
            )
        return self._session

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()


def values(client: Client, password: bytes | None) -> dict[str, str]:
    """What the placeholders stand for."""
    name, subject = client.certificate or ("", "")
    return {
        "u": client.username or "",
        "c": client.clientid,
        "P": (password or b"").decode("utf-8", "replace"),
        "a": client.peerhost,
        "r": "mqtt",
        "p": client.sockname.rpartition(":")[2],
        "C": name,
        "d": subject,
        "m": "",
        "t": "",
        "A": "",
    }


def filled(request: HttpAuthRequest, given: Mapping[str, str]) -> list[tuple[str, str]]:
    """The parameters with their placeholders filled in; what a value itself holds stays as it is."""
    return [(name, _PLACEHOLDER.sub(lambda found: given[found[1]], text)) for name, text in request.params]
