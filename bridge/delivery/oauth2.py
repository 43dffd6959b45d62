"""OAuth2 client credentials (RFC 6749 section 4.4): one token for all requests to an endpoint.

* The client identifies itself by HTTP Basic authentication (section 2.3.1). A server that refuses that is
  asked with id and secret in the form, at once, and then always.
* One request at a time, for all who wait. While there is no token nothing is sent, and waiting is no attempt.
* The token is renewed after `RENEW_AT` of its life if it was used, so that it never runs out under load. One
  that nobody uses runs out, and the next one is asked for when an event wants it.
* An endpoint's 401 gives the token up, once in `FORCED_S`: the request goes out again with the next one, as
  the same attempt. A 401 to a token that has just come counts as a failed attempt.
* A server that fails is asked again after waits that double up to `RETRY_MAX_S`; the log says so once, and
  again every `LOG_EVERY_S`.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random as _random
from base64 import b64encode
from collections.abc import Callable
from typing import Any
from urllib.parse import quote_plus, urlencode

import msgspec

from bridge.config.settings import Endpoint, Trust
from bridge.delivery.connect import Connector, Network
from bridge.delivery.credentials import has_authorization, needed, usable_token
from bridge.delivery.errors import EndpointError
from bridge.delivery.exchange import ExchangeError, exchange
from bridge.delivery.faults import plain_text
from bridge.delivery.target import Target

log = logging.getLogger(__name__)

TIMEOUT_S = 10.0
"""Of one request for a token, connecting included."""
RENEW_AT = 0.8
FORCED_S = 60.0
RETRY_MIN_S = 1.0
RETRY_MAX_S = 60.0
LOG_EVERY_S = 600.0
MAX_TOKEN = 16 << 10
MAX_LIFE_S = 10 * 365 * 86400.0


class TokenError(Exception):
    """No token: one line that says why, without secrets. `refused`: the server does not know the client."""

    def __init__(self, text: str, *, refused: bool = False) -> None:
        super().__init__(text)
        self.refused = refused


class _Answer(msgspec.Struct):
    """RFC 6749 section 5.1. `expires_in` is a number of seconds; some servers send it as a string."""

    access_token: str
    token_type: str = "bearer"  # noqa: S105  the type's name
    expires_in: float | str | None = None


class _Refusal(msgspec.Struct):
    """RFC 6749 section 5.2."""

    error: str = ""
    error_description: str = ""


def make_token_source(
    endpoint: Endpoint,
    target: Target,
    network: Network,
    loop: asyncio.AbstractEventLoop,
    *,
    trust: Trust = "operator",
    now: Callable[[], float] | None = None,
    call_later: Callable[..., asyncio.TimerHandle] | None = None,
    random: Callable[[], float] = _random.random,
) -> TokenSource | None:
    """The endpoint's source of tokens; None where its credentials are others. Raises EndpointError.

    TLS, proxy and egress guard are those of the endpoint. `now` and `call_later` are the loop's unless given.
    """
    credentials = endpoint.credentials
    if credentials is None or credentials.kind != "oauth2" or has_authorization(endpoint):
        return None
    if not credentials.token_url:
        raise EndpointError(endpoint.name, "credentials.token_url", "it is missing")
    if "@" in credentials.token_url.partition("://")[2].partition("/")[0]:
        raise EndpointError(
            endpoint.name,
            "credentials.token_url",
            "user and password in it; expected client_id and client_secret beside it",
        )
    server = Endpoint(
        name=endpoint.name,
        url=credentials.token_url,
        headers=(("Content-Type", "application/x-www-form-urlencoded"), ("Accept", "application/json")),
        tls=endpoint.tls,
    )
    try:
        where = Target(server, None)
        connector = network.connector(where, name=endpoint.name, proxy=endpoint.proxy, trust=trust)
    except EndpointError as error:
        key = "credentials.token_url" if error.key == "url" else error.key
        raise EndpointError(endpoint.name, key, error.cause) from None
    return TokenSource(
        *(endpoint, target, where, connector, loop),
        now=now or loop.time,
        call_later=call_later or loop.call_later,
        random=random,
    )


class TokenSource:
    """The token of one endpoint. For the loop's thread only. Raises EndpointError.

    `target` is the endpoint's, which learns what to keep out of logs; `where` and `connector` lead to the
    server that gives tokens. `value` is what stands in `Authorization`, None while there is no token;
    `on_token` is called when a new one has come.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        target: Target,
        where: Target,
        connector: Connector,
        loop: asyncio.AbstractEventLoop,
        *,
        now: Callable[[], float],
        call_later: Callable[..., asyncio.TimerHandle],
        random: Callable[[], float],
    ) -> None:
        credentials = endpoint.credentials
        if credentials is None or not credentials.client_id:
            raise EndpointError(endpoint.name, "credentials.client_id", "it is missing")
        secret = needed(endpoint, "client_secret", credentials.client_secret)
        self.value: bytes | None = None
        self.on_token: Callable[[], None] = _nothing
        self.requests = 0
        self.failures = 0
        self._name = endpoint.name
        self._target = target
        self._where = where
        self._connector = connector
        self._loop = loop
        self._now = now
        self._call_later = call_later
        self._random = random
        form = {"grant_type": "client_credentials"}
        if credentials.scope:
            form["scope"] = credentials.scope
        pair = b64encode(f"{quote_plus(credentials.client_id)}:{quote_plus(secret)}".encode())
        in_form = form | {"client_id": credentials.client_id, "client_secret": secret}
        self._by_header = (b"Authorization: Basic " + pair + b"\r\n", urlencode(form).encode())
        self._by_form = (b"", urlencode(in_form).encode())
        self._use_form = False
        for text in (secret, quote_plus(secret), pair.decode("ascii")):
            target.hide(text)
        self._ends = 0.0
        self._renew_at = 0.0
        self._forced = -math.inf
        self._wanted = False  # asked for since the last one came
        self._in_a_row = 0
        self._cause = ""  # of the last failure
        self._next_log = 0.0
        self._told = False
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._pausing = False  # the timer is the pause after a failure
        self._closed = False

    # -- for the lane ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Ask for the first token, before an event wants it."""
        self._wanted = True
        self._begin()

    def ready(self) -> bool:
        """Whether there is a token to send with; if not, `on_token` will tell."""
        self._wanted = True
        now = self._now()
        if now >= self._renew_at:
            self._begin()
        if self.value is not None and now >= self._ends:
            self.value = None
        return self.value is not None

    async def wait(self) -> str:
        """Wait for a token, or for a request for one to fail; the cause, empty if there is a token."""
        if not self.ready() and self._task is not None:
            await asyncio.wait((self._task,))
        return "" if self.value is not None else self._cause or "not asked for yet"

    def refused(self, *, latest: bool) -> bool:
        """The endpoint answered 401; whether the request is to be sent again.

        `latest`: it had been sent with the newest token there was.
        """
        if self.value is None or not latest:
            return True
        now = self._now()
        if now - self._forced < FORCED_S:
            return False
        self._forced = now
        self.value = None
        self._renew_at = now
        self._wanted = True
        self._begin()
        return True

    def close(self) -> None:
        """Ask for no more."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- when to ask -----------------------------------------------------------------------------------

    def _begin(self) -> None:
        if self._task is None and not self._pausing and not self._closed:
            self._task = self._loop.create_task(self._renew())

    def _at_time(self) -> None:
        self._timer = None
        self._pausing = False
        if self._wanted:
            self._begin()

    def _arm(self, delay: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._call_later(delay, self._at_time)

    async def _renew(self) -> None:
        begun = self._now()
        try:
            token, life = await self._ask()
        except TokenError as error:
            self._task = None
            if not self._closed:
                self._failed(str(error))
            return
        except BaseException:
            self._task = None
            raise
        self._task = None
        if self._closed:
            return
        self._target.hide_token(token)
        self.value = b"Bearer " + token.encode("ascii")
        self._ends = begun + life
        self._renew_at = begun + life * RENEW_AT
        self._wanted = False
        if life < math.inf:
            self._arm(max(self._renew_at - self._now(), 0.0))
        if self._told:
            log.info("webhook %s: %s gives tokens again", self._name, self._where.label)
        self._in_a_row = 0
        self._next_log = 0.0
        self._told = False
        self.on_token()

    def _failed(self, text: str) -> None:
        self.failures += 1
        self._in_a_row += 1
        self._cause = f"{self._where.label}: {text}"
        now = self._now()
        if now >= self._next_log:
            self._next_log = now + LOG_EVERY_S
            self._told = True
            effect = "events wait" if self.value is None else "the present one is used on"
            log.warning("webhook %s: no token from %s, %s: %s", self._name, self._where.label, effect, text)
        wait = min(RETRY_MIN_S * 2 ** min(self._in_a_row - 1, 16), RETRY_MAX_S)
        self._pausing = True
        self._arm(wait * (1 + 0.1 * self._random()))

    # -- one request -----------------------------------------------------------------------------------

    async def _ask(self) -> tuple[str, float]:
        """A token and its life in seconds, from one request or two. Raises TokenError."""
        try:
            return await self._request(self._use_form)
        except TokenError as error:
            if not error.refused:
                raise
            first = error
        try:
            found = await self._request(not self._use_form)
        except TokenError:
            raise first from None  # what the usual way was refused for says more
        self._use_form = not self._use_form
        return found

    async def _request(self, use_form: bool) -> tuple[str, float]:
        self.requests += 1
        header, form = self._by_form if use_form else self._by_header
        head = self._connector.head(self._where.head)
        request = b"%b\r\n%bConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (
            *(head, header, len(form), form),
        )
        try:
            answer = await exchange(self._connector, request, self._loop, TIMEOUT_S)
        except ExchangeError as error:
            raise TokenError(str(error)) from None
        return self._read(answer.status, answer.body)

    def _read(self, status: int, body: bytes) -> tuple[str, float]:
        if status != 200:
            raise self._refusal(status, body)
        try:
            answer = msgspec.json.decode(body, type=_Answer)
        except msgspec.DecodeError:
            raise TokenError("its answer is not the JSON of a token (RFC 6749 section 5.1)") from None
        if answer.token_type.lower() != "bearer":
            kind = plain_text(answer.token_type.encode("utf-8", "replace"))[:50]
            raise TokenError(f"it gives tokens of the type {kind}, expected bearer")
        if not usable_token(answer.access_token) or len(answer.access_token) > MAX_TOKEN:
            raise TokenError(f"its token cannot stand in a header, or is longer than {MAX_TOKEN} bytes")
        return answer.access_token, _life(answer.expires_in)

    def _refusal(self, status: int, body: bytes) -> TokenError:
        try:
            told = msgspec.json.decode(body, type=_Refusal)
        except msgspec.DecodeError:
            told = _Refusal()
        words = ": ".join(filter(None, (told.error, told.error_description)))
        text = self._target.scrub(plain_text(words.encode("utf-8", "replace")))[:200]
        refused = status == 401 or (status == 400 and told.error == "invalid_client")
        return TokenError(f"status {status} {text}".rstrip(), refused=refused)


def _life(expires_in: float | str | None) -> float:
    """Seconds that a token lives; without end where the server does not say, until a 401."""
    try:
        life = float(expires_in) if expires_in is not None else math.inf
    except ValueError:
        return math.inf
    return min(max(life, 1.0), MAX_LIFE_S) if math.isfinite(life) and life > 0 else math.inf


def _nothing(*_: Any) -> None:
    """Until the owner has set its own."""
