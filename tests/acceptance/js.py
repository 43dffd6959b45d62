"""MQTT.js, by way of peer.js: one process per client, one JSON line for each thing that happens to it."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

LINE_LIMIT = 16 << 20
Line = dict[str, Any]


class Js:
    """A client on MQTT.js. `actions` are peer.js's; at each {"do": "stdin"} it waits for `go`."""

    def __init__(
        self, command: Sequence[str], library: str, port: int, version: int, *actions: Line, **options: object
    ) -> None:
        plan = {
            "library": library,
            "port": port,
            "protocolVersion": version,
            "options": options,
            "timeout": 20000,
            "actions": [{"do": "connect"}, *actions],
        }
        self._command = [*command, json.dumps(plan)]
        self.lines: list[Line] = []

    async def __aenter__(self) -> Self:
        self.process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_LIMIT,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        if error is not None:
            error.add_note(f"--- MQTT.js saw ---\n{self.lines}")

    async def until(self, event: str) -> Line:
        """Read on until this happens; the line that says so."""
        assert self.process.stdout is not None
        async with asyncio.timeout(20):
            while True:
                text = await self.process.stdout.readline()
                assert text, f"MQTT.js ended before {event!r}: {self.lines}"
                line: Line = json.loads(text)
                self.lines.append(line)
                if line["event"] == event:
                    return line

    def go(self) -> None:
        """Let it go on after {"do": "stdin"}."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")

    async def end(self) -> list[Line]:
        """Read to the end, which is a good one; all lines."""
        await self.until("end")
        assert await self.process.wait() == 0
        return self.lines

    def all(self, event: str) -> list[Line]:
        """The lines of one kind so far; payloads as bytes."""
        return [
            {**line, "payload": base64.b64decode(line["payload"])} if "payload" in line else line
            for line in self.lines
            if line["event"] == event
        ]


async def run(
    command: Sequence[str], library: str, port: int, version: int, *actions: Line, **options: object
) -> Js:
    """One client from CONNECT to its end."""
    async with Js(command, library, port, version, *actions, **options) as js:
        await js.end()
        return js
