"""Load from the test's own process: publishers that know what was acknowledged, and a receiver that is fast
enough for them and remembers what it was sent."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple, cast

from bridge.mqtt.encoder import encode_connect, encode_publish
from bridge.mqtt.packets import Connect, Will
from tests.integration.process import until

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
_HEAD = re.compile(rb"webhook-id: (\S+)\r\n.*webhook-attempt: (\d+)\r\nContent-Length: (\d+)\r\n", re.DOTALL)


class Post(NamedTuple):
    """One request: its id, attempt, body, and when it came (monotonic seconds)."""

    id: bytes
    attempt: int
    body: bytes
    at: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Sink:
    """A receiver that answers 200 at once, or while `holding` not at all until `release`."""

    def __init__(self) -> None:
        self.posts: list[Post] = []
        self.holding = False
        self.port = 0
        self._held: list[asyncio.Transport] = []
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Sink:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Answerer(self), "127.0.0.1", self.port, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def held(self) -> int:
        """Requests without an answer."""
        return len(self._held)

    def answer(self, transport: asyncio.Transport) -> None:
        """Answer, or hold."""
        if self.holding:
            self._held.append(transport)
        else:
            transport.write(_ANSWER)

    def release(self) -> None:
        """Answer all that is held, and hold no more."""
        self.holding = False
        held, self._held = self._held, []
        for transport in held:
            if not transport.is_closing():
                transport.write(_ANSWER)

    def counts(self) -> Counter[bytes]:
        """How often each id came."""
        return Counter(post.id for post in self.posts)

    def watch(self, mark: bytes) -> Callable[[], bool]:
        """Whether a body that holds the mark came since this call; each body is looked at once."""
        begin = len(self.posts)

        def came() -> bool:
            nonlocal begin
            for index in range(begin, len(self.posts)):
                if mark in self.posts[index].body:
                    return True
            begin = len(self.posts)
            return False

        return came

    async def wait_for(self, condition: Callable[[], object], what: str, timeout: float = 20.0) -> None:  # noqa: ASYNC109
        """Wait for the condition."""
        try:
            await until(condition, what, timeout)
        except TimeoutError as error:
            error.add_note(f"{len(self.posts)} posts, {len(self.counts())} ids; last: {self.posts[-3:]}")
            raise


class _Answerer(asyncio.Protocol):
    """One connection; requests come one at a time, as webhooks do."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.rest += data
        end = self.rest.find(b"\r\n\r\n")
        if end < 0:
            return
        found = _HEAD.search(self.rest, 0, end + 2)
        assert found, self.rest
        body = self.rest[end + 4 :]
        if len(body) < int(found[3]):
            return
        self.rest = b""
        self.sink.posts.append(Post(found[1], int(found[2]), body, time.monotonic()))
        self.sink.answer(self.transport)


class Publisher(asyncio.Protocol):
    """An MQTT 3.1.1 client that keeps `window` QoS 1 messages unacknowledged until `stop`.

    Payloads are `<clientid>:<number>`, padded with spaces to `size` bytes. `acked` of `sent` messages were
    acknowledged: acknowledgements keep the order of the messages ([MQTT-4.6.0-2]), which is checked.
    """

    def __init__(self, clientid: str, window: int, *, size: int = 0, topic: str = "load") -> None:
        self.clientid = clientid
        self.sent = 0
        self.acked = 0
        self.closed = False
        self.connected = False
        self.stopped = False
        self.slowest = 0.0  # seconds from a message to its acknowledgement
        self.latest = 0.0  # when the latest acknowledgement came (monotonic seconds)
        self._window = window
        self._size = size
        self._topic = topic
        self._times: list[float] = []

    @classmethod
    async def start(
        cls, port: int, clientid: str, window: int = 32, *, will: Will | None = None, **keys: Any
    ) -> Publisher:
        """Connect and begin."""
        loop = asyncio.get_running_loop()
        made = await loop.create_connection(lambda: cls(clientid, window, **keys), "127.0.0.1", port)
        publisher = made[1]
        publisher.transport.write(encode_connect(Connect(client_id=clientid, will=will)))
        await until(lambda: publisher.connected, "CONNACK")
        return publisher

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._rest = b""

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        if not self.connected:
            assert data == b"\x20\x02\0\0"
            self.connected = True
            self.latest = time.monotonic()
            self._send(self._window)
            return
        whole = len(data) // 4
        self._rest = data[whole * 4 :]
        now = self.latest = time.monotonic()
        for at in range(0, whole * 4, 4):
            packet_id = self.acked % 65535 + 1
            assert data[at : at + 4] == b"\x40\x02" + packet_id.to_bytes(2, "big"), data[at : at + 4]
            self.slowest = max(self.slowest, now - self._times[self.acked])
            self.acked += 1
        if not self.stopped:
            self._send(whole)

    def _send(self, number: int) -> None:
        packets = []
        for _ in range(number):
            payload = f"{self.clientid}:{self.sent}".ljust(self._size).encode()
            packets.append(encode_publish(4, self._topic, payload, 1, False, False, self.sent % 65535 + 1))
            self.sent += 1
        self._times += [time.monotonic()] * number
        self.transport.write(b"".join(packets))

    async def stop(self, timeout: float = 20.0) -> None:  # noqa: ASYNC109
        """Send no more, and wait for the acknowledgements that are missing."""
        self.stopped = True
        await until(lambda: self.acked == self.sent or self.closed, "all is acknowledged", timeout)
        assert not self.closed

    def payloads(self) -> set[str]:
        """What was acknowledged."""
        return {f"{self.clientid}:{number}" for number in range(self.acked)}
