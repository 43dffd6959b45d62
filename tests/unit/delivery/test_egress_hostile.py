"""Receivers and settings that mean harm: responses without end, injected lines, secrets in logs."""

from __future__ import annotations

import asyncio
import logging
import time
import tracemalloc

import pytest

from bridge.config.settings import Endpoint
from bridge.delivery.errors import EndpointError
from bridge.delivery.http import KEPT_BODY, MAX_HEAD, MAX_RESPONSE
from bridge.delivery.target import Target
from tests.integration import receiver as scripts
from tests.integration.receiver import Exchange, Receiver
from tests.unit.delivery.conftest import STORE_ID, Connect, until
from tests.unit.delivery.rig import Rig

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


# -- responses without end ---------------------------------------------------------------------------------


def endless(begin: bytes, more: bytes, sent: list[int]) -> scripts.Script:
    """`begin`, and then `more` for ever, as fast as it is taken."""

    async def script(exchange: Exchange) -> None:
        await exchange.send(begin)
        while True:
            await exchange.send(more)
            sent[0] += len(more)

    return script


@pytest.mark.parametrize(
    ("begin", "more", "kind"),
    [
        (b"", b"x" * 4096, "protocol"),
        (b"HTTP/1.1 200 ", b"O" * 4096, "protocol"),
        (HEAD, b"x" * 4096, "protocol"),  # a header's name
        (HEAD + b"X: ", b"x" * 4096, "protocol"),  # a header's value
        (HEAD, b"X: y\r\n" * 512, "protocol"),
        (HEAD + b"X: y\r\n", b" folded\r\n" * 512, "protocol"),
        (b"", b"HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n" * 128, "protocol"),
        (CHUNKED, b"f" * 4096, "protocol"),  # a chunk's size
        (CHUNKED, b"0" * 4096, None),
        (CHUNKED + b"1;", b"x" * 4096, None),  # a chunk's extension
        (CHUNKED + b"0\r\n", b"X: y\r\n" * 512, None),  # trailers
        (CHUNKED + b"0\r\nX: ", b"x" * 4096, None),
        (CHUNKED, b"1000\r\n" + b"x" * 4096 + b"\r\n", None),
        (HEAD + b"Content-Length: 99999999999999\r\n\r\n", b"x" * 4096, None),
        (HEAD + b"\r\n", b"x" * 4096, None),  # to the end of the connection
    ],
)
async def test_a_response_without_end_ends(
    receiver: Receiver, connect: Connect, begin: bytes, more: bytes, kind: str | None
) -> None:
    """Bounded in bytes long before the time limit; where the head was whole its status decides."""
    sent = [0]
    receiver.scripts.append(endless(begin, more, sent))
    client = connect(receiver.url(), timeout=20)
    began = time.monotonic()
    outcome = await client.outcome()
    assert time.monotonic() - began < 5
    assert outcome.error == kind
    if kind is None:
        assert outcome.ok
    await receiver.wait_closed()
    assert sent[0] < MAX_RESPONSE + (16 << 20)  # what the sockets hold on top
    assert (await client.outcome()).ok
    assert receiver.accepted == 2


async def test_what_is_kept_of_a_response_is_small(receiver: Receiver, connect: Connect) -> None:
    sent = [0]
    no = b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n"
    client = connect(receiver.url(), timeout=20)
    assert (await client.outcome()).ok
    tracemalloc.start()
    try:
        for _ in range(3):
            receiver.scripts.append(endless(no, b"1000\r\n" + b"\xff" * 4096 + b"\r\n", sent))
            outcome = await client.outcome()
            assert outcome.status == 500
            assert len(outcome.text) <= KEPT_BODY
        current, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert current < 2 * MAX_RESPONSE


@pytest.mark.parametrize(
    "whole",
    [
        HEAD + b"Content-Length: 1000\r\n\r\n" + b"x" * 1000,
        HEAD + b"X: " + b"x" * 1000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 100,
        CHUNKED + b"1\r\nx\r\n" * 1000,
        CHUNKED + b"0\r\n" + b"X: y\r\n" * 1000,
    ],
)
async def test_a_slow_drip_is_ended_by_the_time_limit_of_the_attempt(
    receiver: Receiver, connect: Connect, whole: bytes
) -> None:
    """Bytes that come extend no time limit."""

    async def drip(exchange: Exchange) -> None:
        for byte in whole:
            await exchange.send(bytes((byte,)))
            await asyncio.sleep(0.01)

    receiver.scripts.append(drip)
    client = connect(receiver.url(), timeout=0.4)
    began = time.monotonic()
    outcome = await client.outcome()
    assert 0.39 <= time.monotonic() - began < 2
    assert outcome.error == "timeout"
    assert outcome.text == "the response was not complete within 400 ms"
    await receiver.wait_closed()
    assert (await client.outcome()).ok


async def test_a_drip_of_one_byte_a_second(receiver: Receiver, connect: Connect) -> None:
    async def drip(exchange: Exchange) -> None:
        for byte in HEAD:
            await exchange.send(bytes((byte,)))
            await asyncio.sleep(1)

    receiver.scripts.append(drip)
    outcome = await connect(receiver.url(), timeout=2.2).outcome()
    assert outcome.error == "timeout"


async def test_a_request_that_is_not_read_is_ended_too(connect: Connect) -> None:
    async def sip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        await ended.wait()

    ended = asyncio.Event()
    server = await asyncio.start_server(sip, "127.0.0.1", 0, limit=1024)
    async with server:
        client = connect(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", timeout=0.4)
        outcome = await client.outcome(b"x" * 20_000_000)
        assert (outcome.error, outcome.text) == ("timeout", "no response within 400 ms")
        assert not client.pool.connections
        client.pool.close()
        ended.set()


def test_the_bounds_are_in_proportion() -> None:
    assert KEPT_BODY < MAX_HEAD < MAX_RESPONSE


# -- injected lines ----------------------------------------------------------------------------------------

INJECTED = "x\r\nX-Injected: 1", "x\nX-Injected: 1", "x\rX-Injected: 1", "x\0y", "x\x7fy", "x\x0by"


def make(**settings: object) -> Target:
    return Target(Endpoint(**({"name": "mes", "url": "http://h/"} | settings)), STORE_ID)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", INJECTED)
def test_nothing_of_a_url_or_a_header_can_begin_a_line(text: str) -> None:
    for settings in (
        {"url": f"http://h/{text}"},
        {"url": f"http://h/?q={text}"},
        {"url": f"http://{text}/"},
        {"url": f"http://user:{text}@h/"},
        {"url": f"http://h:80{text}/"},
        {"headers": (("X", text),)},
        {"headers": ((text, "x"),)},
        {"headers": ((f"X: y{text}", "x"),)},
    ):
        with pytest.raises(EndpointError) as caught:
            make(**settings)
        assert "\n" not in str(caught.value)
        assert "\r" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["x%0d%0aX-Injected:1", "x%0aX-Injected:1", "x\u2028X", "x\u0085X", "x\u560d\u560aX"]
)
def test_what_looks_like_a_line_break_later_stays_encoded(text: str) -> None:
    lines = make(url=f"http://u{text}:p{text}@h/{text}?{text}", headers=(("X", text),)).head.split(b"\r\n")
    assert len(lines) == len(make(headers=(("X", "y"), ("Authorization", "z"))).head.split(b"\r\n"))
    assert b"\n" not in b"".join(lines)
    assert not any(line.startswith(b"X-Injected") for line in lines)


# -- secrets and logs --------------------------------------------------------------------------------------


async def test_credentials_of_urls_reach_no_log_and_no_row(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """Every way in which an attempt fails, with credentials in the endpoint's URL and the proxy's."""
    secrets = ("hunter2", "hunter3", "hunter4", "dXNlcjpodW50ZXIy", "cHJveHk6aHVudGVyMw")

    async def echo(exchange: Exchange) -> None:
        request = exchange.request
        text = "\n".join([request.target, *(f"{name}: {value}" for name, value in request.headers)])
        await exchange.respond(500, text.encode())

    receiver.script = echo
    at = f"127.0.0.1:{receiver.port}"
    proxy = f"http://proxy:hunter3@{at}"
    urls = [
        (f"http://user:hunter2@{at}/?token=hunter4", None),
        (f"http://user:hunter2@{at}/?token=hunter4", proxy),
        (f"https://user:hunter2@{at}/?token=hunter4", proxy),
        (f"https://user:hunter2@{at}/?token=hunter4", None),
        ("http://user:hunter2@127.0.0.1:1/?token=hunter4", None),
        ("http://user:hunter2@does-not-exist.invalid/?token=hunter4", None),
        (f"http://user:hunter2@{at}/?token=hunter4", "http://proxy:hunter3@does-not-exist.invalid:1"),
        (f"http://user:hunter2@{at}/?token=hunter4", "http://proxy:hunter3@127.0.0.1:1"),
    ]
    caplog.set_level(logging.DEBUG)
    for number, (url, way) in enumerate(urls):
        rig = Rig(url, name=f"e{number}", proxy=way, cancel_timeout=1000).start()
        try:
            rig.publish("x")
            rig.flush()
            await until(lambda lane=rig.lane: lane.failed)
            rig.flush()
        finally:
            await rig.lane.stop(0)
        rows = rig.store.retries(rig.lane.id)
        assert len(rows) == 1
        assert rows[0].error
        for secret in secrets:
            assert secret not in repr(rows)
    assert len(caplog.records) >= len(urls)
    for secret in secrets:
        assert secret not in caplog.text
