"""Abuse protection: an endpoint is asked before it is sent its first event.

"HTTP 1.1 Web Hooks for Event Delivery" of CloudEvents 1.0.2, section 4:

* An OPTIONS request to the endpoint's URL says who asks (`WebHook-Request-Origin`, the host part of the
  node's name) and how many requests a minute it would like (`WebHook-Request-Rate`, where `rate_limit` is
  set). The answer allows it if it is 2xx and its `WebHook-Allowed-Origin` is that name or `*`.
* `WebHook-Allowed-Rate` bounds the requests a minute; `*`, or no such header, leaves it at `rate_limit`.
* Until it is allowed nothing is delivered, and waiting is no attempt. It is asked again after each
  `breaker.probe_interval`. Once allowed it is not asked again in this process.
* Deliveries carry `WebHook-Request-Origin` too (section 4.1.2).

Permission by callback (section 4.1.3) is not asked for.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from typing import NamedTuple

from bridge.config.settings import Endpoint
from bridge.delivery.connect import Connector
from bridge.delivery.errors import EndpointError
from bridge.delivery.exchange import Answer, ExchangeError, exchange
from bridge.delivery.faults import plain_text
from bridge.delivery.oauth2 import TokenSource
from bridge.delivery.retry import Outcome
from bridge.delivery.target import Target

log = logging.getLogger(__name__)

_DNS = re.compile(r"[0-9A-Za-z_-]+(\.[0-9A-Za-z_-]+)*\.?")
_RATE = re.compile(rb"0*([1-9][0-9]{0,8})")
_SHOWN = 100  # characters of a header that are told


class Asked(NamedTuple):
    """One request for permission, for the attempt log. Times are loop time in seconds; `outcome` is None
    where it was given."""

    number: int
    began: float
    ended: float
    address: str
    request: bytes
    response: bytes
    outcome: Outcome | None


def sender_name(endpoint: Endpoint, node: str) -> str:
    """The `WebHook-Request-Origin` of an endpoint's requests; empty if they have none.

    Raises EndpointError.
    """
    if not endpoint.abuse_protection:
        return ""
    name = node.rpartition("@")[2]
    if not _DNS.fullmatch(name):
        raise EndpointError(
            endpoint.name,
            "abuse_protection",
            f"node.name is {node!r}, expected a host name behind its @: HookMQ gives that as its own",
        )
    return name


class Permission:
    """Asks one endpoint. For the loop's thread only.

    `granted` says whether events may go; until then `reason` says why not. `per_minute` is the rate that the
    endpoint allows, None if it sets none. `on_granted` and `on_asked` are the owner's.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        origin: str,
        target: Target,
        connector: Connector,
        tokens: TokenSource | None,
        loop: asyncio.AbstractEventLoop,
        *,
        random: Callable[[], float],
    ) -> None:
        self.granted = False
        self.reason = "it was not asked yet"
        self.per_minute: int | None = None
        self.on_granted: Callable[[], None] = _nothing
        self.on_asked: Callable[[Asked], None] = _untold
        self._name = endpoint.name
        self._origin = origin.encode("ascii").lower()
        self._rate = endpoint.rate_limit.per_second if endpoint.rate_limit is not None else None
        self._every_s = endpoint.breaker.probe_interval
        self._timeout_s = endpoint.cancel_timeout / 1000
        self._target = target
        self._connector = connector
        self._tokens = tokens
        self._loop = loop
        self._random = random
        self._number = 0
        self._told = False
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def start(self) -> None:
        """Ask now, unless it was allowed or is being asked."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self.granted and self._task is None and not self._closed:
            self._task = self._loop.create_task(self._ask())

    def pause(self) -> None:
        """Ask no more until `start`: the endpoint is switched off."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def close(self) -> None:
        """Ask no more."""
        self._closed = True
        self.pause()

    async def wait(self) -> str:
        """Wait for the answer if one is awaited; why events may not go, empty if they may."""
        if not self.granted and self._task is not None:
            await asyncio.wait((self._task,))
        return "" if self.granted else self.reason

    # -- one request -----------------------------------------------------------------------------------

    async def _ask(self) -> None:
        try:
            self.reason = await self._request()
        except Exception as error:  # a fault of our own must not end the asking
            log.exception("webhook %s: asking for permission", self._name)
            self.reason = f"it could not be asked: {type(error).__name__}"
        finally:
            self._task = None
        if self._closed:
            return
        if not self.reason:
            self.granted = True
            if self._told:
                log.warning("webhook %s: it allows events now", self._name)
            self.on_granted()
            return
        if not self._told:
            self._told = True
            log.warning(
                "webhook %s: it does not allow events (abuse_protection): %s; it is asked again every %g s",
                *(self._name, self.reason, self._every_s),
            )
        self._timer = self._loop.call_later(self._every_s * (1 + 0.1 * self._random()), self.start)

    async def _request(self) -> str:
        """Why events may not go; empty if they may."""
        token: bytes | None = None
        if self._tokens is not None:
            missing = await self._tokens.wait()
            if missing:
                return f"no token from {missing}"
            token = self._tokens.value
        request = self._make(token)
        self._number += 1
        began = self._loop.time()
        raw, address = b"", ""
        try:
            answer = await exchange(self._connector, request, self._loop, self._timeout_s)
        except ExchangeError as error:
            raw, address = error.raw, error.address
            outcome = Outcome(error=error.kind, text=self._connector.scrub(str(error)))
            reason = outcome.text
        else:
            raw, address = answer.raw, answer.address
            reason = self._connector.scrub(self._read(answer))
            outcome = Outcome(status=answer.status, text=reason)
            if answer.status == 401 and self._tokens is not None:
                self._tokens.refused(latest=token == self._tokens.value)
        self.on_asked(
            Asked(
                *(self._number, began, self._loop.time(), address, request, raw),
                outcome if reason else None,
            )
        )
        return reason

    def _make(self, token: bytes | None) -> bytes:
        rate = b""
        if self._rate is not None:  # "*" is no value of the request
            rate = b"WebHook-Request-Rate: %d\r\n" % max(int(self._rate * 60), 1)
        return b"%b\r\n%bConnection: close\r\n\r\n" % (
            self._connector.head(self._target.options(token)),
            rate,
        )

    def _read(self, answer: Answer) -> str:
        """Why the answer is no permission; empty if it is one."""
        if not 200 <= answer.status < 300:
            return f"it answered OPTIONS with status {answer.status}"
        allowed = answer.header(b"webhook-allowed-origin")
        if allowed is None:
            return f"it answered OPTIONS with status {answer.status}, but without WebHook-Allowed-Origin"
        if allowed != b"*" and allowed.lower() != self._origin:
            return f"it allows {_shown(allowed)}, this is {self._origin.decode()}"
        rate = answer.header(b"webhook-allowed-rate")
        if rate is None or rate == b"*":
            self.per_minute = None
            return ""
        found = _RATE.fullmatch(rate)
        if found is None:
            return f"its WebHook-Allowed-Rate is {_shown(rate)}, expected requests per minute, or *"
        self.per_minute = int(found[1])
        return ""


def _shown(value: bytes) -> str:
    return repr(plain_text(value)[:_SHOWN])


def _nothing() -> None:
    """Until the owner has set its own."""


def _untold(asked: Asked) -> None:
    """Until the owner has set its own."""
