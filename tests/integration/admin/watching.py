"""Reading Server-Sent Events, and connections that do not read."""

from __future__ import annotations

import asyncio
import json
from types import TracebackType
from typing import Any, NamedTuple, Self

import aiohttp

from tests.integration.admin.calling import Api


class Sent(NamedTuple):
    """One event."""

    event: str
    data: Any
    id: str


class Watch:
    """A reader of one stream; what has come is in `events`."""

    def __init__(
        self, api: Api, path: str, *, auth: str | None = None, headers: dict[str, str] | None = None
    ):
        self._api = api
        self._path = path
        self._headers = dict(headers or {})
        if auth is not None:
            self._headers["Authorization"] = f"Bearer {auth}"
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Condition()
        self._session = aiohttp.ClientSession()
        self.events: list[Sent] = []
        self.comments = 0
        self.ended = False
        self.response: aiohttp.ClientResponse | None = None

    async def __aenter__(self) -> Self:
        self.response = await self._session.get(self._api.url + self._path, headers=self._headers)
        assert self.response.status == 200, await self.response.text()
        assert self.response.content_type == "text/event-stream"
        self._task = asyncio.create_task(self._read(self.response))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
        if self.response is not None:
            self.response.close()
        await self._session.close()

    async def _read(self, response: aiohttp.ClientResponse) -> None:
        found: dict[str, str] = {}
        try:
            async for line in response.content:
                text = line.decode().rstrip("\n")
                if text.startswith(":"):
                    self.comments += 1
                elif text:
                    name, _, value = text.partition(": ")
                    found[name] = value
                else:
                    if "data" in found:
                        sent = Sent(found["event"], json.loads(found["data"]), found.get("id", ""))
                        self.events.append(sent)
                    found = {}
                    async with self._changed:
                        self._changed.notify_all()
        except aiohttp.ClientError:
            pass
        self.ended = True
        async with self._changed:
            self._changed.notify_all()

    async def until(self, condition: Any, timeout: float = 15.0) -> list[Sent]:  # noqa: ASYNC109
        """Wait until the condition holds for the events so far."""
        try:
            async with asyncio.timeout(timeout), self._changed:
                await self._changed.wait_for(lambda: condition(self.events))
        except TimeoutError:
            raise TimeoutError(
                f"not within {timeout} s: {len(self.events)} events, {self.events[-3:]}"
            ) from None
        return self.events

    async def until_ended(self, timeout: float = 15.0) -> None:  # noqa: ASYNC109
        """Wait for the end."""
        async with asyncio.timeout(timeout), self._changed:
            await self._changed.wait_for(lambda: self.ended)
