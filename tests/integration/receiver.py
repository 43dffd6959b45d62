"""The receiver of `scripts/receiver` for tests: it records every request as it came, and can be waited for.

    async with Receiver(status=204) as receiver:
        ... receiver.url("/hook?a=1") ...
        await receiver.wait_for(lambda rs: len(rs) == 3)

Every request is recorded (`requests`), whatever the answer. What is answered: `scripts` (one for each of the
next requests), else `script`, else `status` after `delay`. Ready-made scripts (scripts/receiver/answers.py):
`hang`, `hang_in_body`, `reset`, `chunked`, …
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from scripts.receiver import server
from scripts.receiver.answers import (
    chunked,
    close,
    close_delimited,
    continue_first,
    cut_in_body,
    drip,
    hang,
    hang_in_body,
    raw,
    reset,
    respond_and_close,
    respond_with_close,
    status,
)
from scripts.receiver.certificates import Certificates, make_certificates
from scripts.receiver.server import Exchange, Request, Script, answer, reset_connection, response

__all__ = [
    "Certificates",
    "Exchange",
    "Receiver",
    "Request",
    "Script",
    "answer",
    "chunked",
    "close",
    "close_delimited",
    "continue_first",
    "cut_in_body",
    "drip",
    "hang",
    "hang_in_body",
    "make_certificates",
    "raw",
    "reset",
    "reset_connection",
    "respond_and_close",
    "respond_with_close",
    "response",
    "status",
]


class Receiver(server.Receiver):
    """See the module. `ssl` makes it an https server."""

    def __init__(self, **keys: Any) -> None:
        super().__init__(**keys)
        self.requests: list[Request] = []
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def on_request(self, request: Request) -> None:
        """Record it."""
        self.requests.append(request)
        await self._notify()

    async def on_closed(self) -> None:
        """Tell who waits."""
        await self._notify()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    # -- waiting ---------------------------------------------------------------------------------------

    async def wait_for(
        self,
        condition: Callable[[list[Request]], object],
        timeout: float = 10.0,  # noqa: ASYNC109
    ) -> list[Request]:
        """Wait until the condition holds for the requests so far; TimeoutError says what there was."""
        try:
            async with asyncio.timeout(timeout), self._changed:
                await self._changed.wait_for(lambda: condition(self.requests))
        except TimeoutError:
            last = [(r.id, r.attempt, r.body[:80]) for r in self.requests[-3:]]
            raise TimeoutError(
                f"not within {timeout} s; {len(self.requests)} requests, the last: {last}"
            ) from None
        return self.requests

    async def wait_count(self, count: int, timeout: float = 10.0) -> list[Request]:  # noqa: ASYNC109
        """Wait for at least so many requests."""
        return await self.wait_for(lambda requests: len(requests) >= count, timeout)

    async def wait_closed(self, timeout: float = 10.0) -> None:  # noqa: ASYNC109
        """Wait until no connection is open."""
        await self.wait_for(lambda _: not self._writers, timeout)
