"""A kill is no power cut, so the system calls are asked: no acknowledgement is written before the sync that
covers its message."""

from __future__ import annotations

import asyncio
import random
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from bridge.mqtt.packets import Puback, Publish, Pubrec
from tests.integration.load import Sink
from tests.integration.mqtt_client import Client
from tests.integration.process import HookMQ, until, webhook

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="strace is a program of Linux")

_CALL = re.compile(r"^(\d+) +(\w+)\((.*)$", re.DOTALL)
_RESUMED = re.compile(r"^(\d+) +<\.\.\. (\w+) resumed>(.*)$", re.DOTALL)
_RESULT = re.compile(r"\) += (-?\d+)")
_CLIENT = re.compile(r"\d+<TCP:\[127\.0\.0\.1:\d+->127\.0\.0\.1:(\d+)\]>, (.*)", re.DOTALL)
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')


@dataclass
class Call:
    """One system call: the lines of the trace at which it began and was over, and its result."""

    name: str
    text: str
    began: int
    ended: int = 1 << 60
    result: int = -1


def calls(trace: str) -> list[Call]:
    """The calls in order of their beginning; those that other threads interrupted are put together."""
    found: list[Call] = []
    open_calls: dict[str, Call] = {}
    for number, line in enumerate(trace.splitlines()):
        if match := _RESUMED.match(line):
            call = open_calls.pop(match[1])
            call.text += match[3]
        elif match := _CALL.match(line):
            call = Call(match[2], match[3], number)
            found.append(call)
            if line.endswith("<unfinished ...>"):
                open_calls[match[1]] = call
                continue
        else:
            continue
        call.ended = number
        if results := _RESULT.findall(call.text):
            call.result = int(results[-1])
    return found


def unescaped(text: str) -> bytes:
    """The data of a call's string argument, which strace writes as C does."""
    return text.encode("latin-1").decode("unicode_escape").encode("latin-1")


@pytest.mark.parametrize("block", ["", "sqlite.sync_delay = 5ms"], ids=["in the loop", "in a thread"])
async def test_no_acknowledgement_before_its_sync(
    tmp_path: Path, command: Callable[[str], str], block: str
) -> None:
    trace = tmp_path / "trace"
    # -D: strace is a grandchild, so that signals reach HookMQ itself.
    names = "fdatasync,fsync,pwrite64,write,writev,sendto,sendmsg"
    prefix = (command("strace"), "-D", "-f", "-yy", "-s", "1000000", "-e", f"trace={names}", "-o", str(trace))
    rng = random.Random(5)
    total = 300
    async with (
        Sink() as sink,
        HookMQ(tmp_path, webhook(sink.url, "on_message_publish"), block, prefix=prefix) as hookmq,
    ):
        clients = [await Client.connect(hookmq.port, f"c{n}") for n in range(3)]
        ports = [client.writer.get_extra_info("sockname")[1] for client in clients]

        async def publish(number: int) -> None:
            """Messages in bursts of different length; the packet id tells which one an answer is for."""
            client = clients[number]
            qos = 2 if number == 2 else 1
            packet_id = 1
            while packet_id <= total // 3:
                burst = min(rng.randint(1, 9), total // 3 + 1 - packet_id)
                ids = range(packet_id, packet_id + burst)
                client.send(*(Publish("t", b"<%d/%d>" % (number, n), qos=qos, packet_id=n) for n in ids))
                for _ in ids:
                    await client.expect(Puback if qos == 1 else Pubrec)
                packet_id += burst

        await asyncio.gather(*(publish(n) for n in range(3)))
        await sink.wait_for(lambda: len(sink.posts) == total, f"{total} requests")
        await hookmq.stop()
        await until(
            lambda: "+++ exited with 0 +++" in trace.read_text(errors="replace")[-200:], "the trace's end"
        )

    found = calls(trace.read_text(encoding="latin-1"))
    wal = [call for call in found if "hookmq.db-wal>" in call.text.partition(",")[0]]
    writes = [call for call in wal if call.name == "pwrite64"]
    syncs = [call for call in wal if call.name == "fdatasync" and call.result == 0]
    stored: dict[tuple[int, int], int] = {}  # message: the line at which its first write was over
    for call in writes:
        for match in re.finditer(r"<(\d)/(\d+)>", call.text):
            stored.setdefault((int(match[1]), int(match[2])), call.ended)
    assert len(stored) == total
    answered = 0
    for call in found:
        target = _CLIENT.match(call.text)
        if target is None or int(target[1]) not in ports:
            continue
        number = ports.index(int(target[1]))
        data = b"".join(unescaped(text) for text in _STRING.findall(target[2]))
        if data[:1] == b"\x20":
            continue  # CONNACK
        assert len(data) % 4 == 0
        for at in range(0, len(data), 4):
            assert data[at : at + 2] == (b"\x50\x02" if number == 2 else b"\x40\x02")
            written = stored[(number, int.from_bytes(data[at + 2 : at + 4], "big"))]
            assert any(written < sync.began and sync.ended < call.began for sync in syncs), call
            answered += 1
    assert answered == total
    assert len(syncs) < len(writes)
