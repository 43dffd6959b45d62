"""A receiver that answers 200 as fast as this machine allows, and keeps what it was sent for measuring.

Run in a process of its own: `python -m scripts.bench.sink`. It prints its port, then obeys lines on stdin:

* `count` prints how many requests and how many distinct webhook-ids came;
* `actions` prints what each client did, in the order of the webhook-ids (JSON);
* `latency` prints the milliseconds from each payload's stamp to its receipt (sorted, JSON) and forgets them;
* `hold` stops answering, `release` answers all that was held and goes on, `reset` forgets all.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import uvloop

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class State:
    """What the sink has seen."""

    def __init__(self) -> None:
        self.requests = 0
        self.ids: set[bytes] = set()
        self.latencies: list[float] = []
        self.lifecycle: list[tuple[bytes, bytes]] = []  # webhook-id and body
        self.hold = False
        self.held: list[Sink] = []


class Sink(asyncio.Protocol):
    """One connection; requests come one at a time, as webhooks do."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.rest:
            data = self.rest + data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self.rest = data
            return
        at = data.find(b"Content-Length: ")
        length = int(data[at + 16 : data.index(b"\r\n", at)])
        if len(data) < end + 4 + length:
            self.rest = data
            return
        self.rest = b""
        state = self.state
        state.requests += 1
        at = data.find(b"webhook-id: ")
        if at >= 0:
            webhook_id = data[at + 12 : data.index(b"\r\n", at)]
            state.ids.add(webhook_id)
            if b'"action":"client_' in data:
                state.lifecycle.append((webhook_id, data[end + 4 :]))
        at = data.find(b"@", end)
        if at >= 0:
            stamp = data[at + 1 : data.index(b"@", at + 1)]
            state.latencies.append(time.monotonic_ns() / 1e6 - int(stamp) / 1e6)
        if state.hold:
            state.held.append(self)
        else:
            self.transport.write(ANSWER)  # type: ignore[attr-defined]


def obey(state: State, line: str) -> str | None:
    """Act on one line from stdin; returns what to print."""
    if line == "count":
        return f"{state.requests} {len(state.ids)}"
    if line == "actions":
        actions: dict[str, list[str]] = {}
        for _, body in sorted(state.lifecycle):
            event = json.loads(body)
            actions.setdefault(event["clientid"], []).append(event["action"])
        return json.dumps(actions)
    if line == "latency":
        found = sorted(state.latencies)
        state.latencies = []
        return json.dumps(found)
    if line == "hold":
        state.hold = True
    elif line == "release":
        state.hold = False
        held, state.held = state.held, []
        for sink in held:
            sink.transport.write(ANSWER)  # type: ignore[attr-defined]
    elif line == "reset":
        state.requests = 0
        state.ids.clear()
        state.lifecycle.clear()
        state.latencies = []
    return "ok"


async def main() -> None:
    """Serve until stdin ends."""
    state = State()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Sink(state), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        answer = obey(state, line.decode().strip())
        if answer is not None:
            print(answer, flush=True)


if __name__ == "__main__":
    uvloop.run(main())
