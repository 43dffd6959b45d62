"""The bench's clients: a run in which something is missing or comes twice has no figure."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bridge.mqtt.decoder import Decoder
from bridge.mqtt.encoder import encode
from bridge.mqtt.packets import Connack, Connect, Pingreq, Pingresp, Puback, Publish, Suback, Subscribe

ROOT = Path(__file__).resolve().parents[2]

Deliver = Callable[[int, Publish], list[Publish]]
"""What a subscriber gets for the n-th message."""


class Fake:
    """A broker that gives its subscribers what it is told to."""

    def __init__(self, deliver: Deliver, connack_s: float = 0.0) -> None:
        self.deliver = deliver
        self.connack_s = connack_s
        self.messages = 0
        self.connected = 0
        self.early = 0  # messages that came before all were connected
        self.subscribers: list[asyncio.StreamWriter] = []
        self.expected = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder = Decoder(max_packet_size=1 << 20)
        while data := await reader.read(65536):
            for packet in decoder.feed(data):
                if isinstance(packet, Connect):
                    self.connected += 1
                    await asyncio.sleep(self.connack_s * self.connected)
                    writer.write(encode(Connack(False, 0), 4))
                elif isinstance(packet, Subscribe):
                    self.subscribers.append(writer)
                    writer.write(encode(Suback(packet.packet_id, [1]), 4))
                elif isinstance(packet, Pingreq):
                    writer.write(encode(Pingresp(), 4))
                elif isinstance(packet, Publish):
                    self.messages += 1
                    self.early += self.connected < self.expected
                    writer.write(encode(Puback(packet.packet_id), 4))
                    for message in self.deliver(self.messages, packet):
                        for subscriber in self.subscribers:
                            subscriber.write(encode(message, 4))
        writer.close()


async def run(fake: Fake, *options: str) -> tuple[int, str, str]:
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "scripts.bench.traffic", str(port), "--count", "100", *options),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    server.close()
    return process.returncode or 0, out.decode(), err.decode()


def once(_: int, message: Publish) -> list[Publish]:
    return [message]


async def test_a_figure_counts_from_the_first_publish_to_the_last_receipt() -> None:
    fake = Fake(once, connack_s=0.02)
    fake.expected = 6
    code, out, err = await run(fake, "--publishers", "5", "--subscribers", "1")
    assert code == 0, err
    figure: dict[str, Any] = json.loads(out)
    assert figure["messages"] == 100
    assert 0 < figure["seconds"] < 5
    assert fake.early == 0  # else messages would count for which no time does


def twice(number: int, message: Publish) -> list[Publish]:
    return [message, message] if number == 50 else [message]


def less(number: int, message: Publish) -> list[Publish]:
    return [] if number == 50 else [message]


def again(number: int, message: Publish) -> list[Publish]:
    message.dup = number == 50
    return [message]


@pytest.mark.parametrize(
    ("deliver", "said"),
    [(twice, "101"), (less, "subscribers got [99]"), (again, "or DUP")],
)
async def test_what_is_missing_or_comes_twice_fails(deliver: Deliver, said: str) -> None:
    code, out, err = await run(Fake(deliver), "--publishers", "5", "--subscribers", "1", "--stall", "0.3")
    assert code == 1
    assert not out
    assert said in err


async def test_a_subscriber_that_is_closed_fails() -> None:
    fake = Fake(once)

    def closing(number: int, message: Publish) -> list[Publish]:
        if number == 50:
            fake.subscribers[0].close()
        return []

    fake.deliver = closing
    code, out, err = await run(fake, "--publishers", "5", "--subscribers", "1")
    assert (code, out) == (1, "")
    assert "sub-0: the broker closed the connection" in err
