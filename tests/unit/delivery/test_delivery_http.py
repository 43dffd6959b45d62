"""The HTTP/1.1 connection and the pool, against a real receiver on real sockets."""

from __future__ import annotations

import asyncio
import gc
import re
import socket
import time

import pytest

from bridge.delivery import http, pool
from bridge.delivery.http import KEPT_BODY, MAX_HEAD, MAX_RESPONSE
from tests.integration import receiver as scripts
from tests.integration.receiver import Exchange, Receiver
from tests.unit.delivery.conftest import STORE_ID, Client, Connect, until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


# -- the request -------------------------------------------------------------------------------------------


async def test_a_request_is_what_the_specification_says(receiver: Receiver, connect: Connect) -> None:
    client = connect(
        receiver.url("/a/b%20c?q=1&r=%2F", userinfo="us%40er:p%3Aw@"),
        headers=(("X-One", "1"), ("x-TWO", "Wärme"), ("X-One", "again")),
    )
    before = int(time.time())
    assert (await client.outcome('{"ä":1}'.encode())).ok
    request = receiver.requests[0]
    assert (request.method, request.target, request.version) == ("POST", "/a/b%20c?q=1&r=%2F", "HTTP/1.1")
    assert request.body == '{"ä":1}'.encode()
    names = [name for name, _ in request.headers]
    assert names == [
        *("Host", "X-One", "x-TWO", "X-One", "Authorization", "Content-Type", "User-Agent"),
        *("webhook-id", "webhook-timestamp", "webhook-attempt", "Content-Length"),
    ]
    assert request.all("x-one") == ["1", "again"]
    assert request.header("x-two") == "Wärme"
    assert request.header("host") == f"127.0.0.1:{receiver.port}"
    assert request.header("authorization") == "Basic dXNAZXI6cDp3"  # us@er:p:w
    assert request.header("content-type") == "application/json"
    assert re.fullmatch(r"HookMQ/\d+\.\d+.*", request.header("user-agent") or "")
    assert request.header("webhook-id") == f"msg_{STORE_ID}_0000000000000001"
    assert before <= int(request.header("webhook-timestamp") or 0) <= int(time.time())
    assert request.header("webhook-attempt") == "1"
    assert request.header("content-length") == "8"


async def test_a_url_without_a_path_means_slash(receiver: Receiver, connect: Connect) -> None:
    assert (await connect(receiver.url("")).outcome()).ok
    assert (await connect(receiver.url("?a=b")).outcome()).ok
    assert [request.target for request in receiver.requests] == ["/", "/?a=b"]


async def test_an_empty_and_a_large_body_arrive_whole(receiver: Receiver, connect: Connect) -> None:
    client = connect(receiver.url())
    large = bytes(range(256)) * 40_000  # 10 MB, more than any socket buffer
    for body in (b"", large, b"x"):
        assert (await client.outcome(body)).ok
    assert [request.body for request in receiver.requests] == [b"", large, b"x"]
    assert receiver.accepted == 1


async def test_one_connection_is_kept_alive_with_one_request_in_flight(
    receiver: Receiver, connect: Connect
) -> None:
    client = connect(receiver.url())
    client.send(count=200)
    await client.wait(200)
    assert receiver.accepted == 1
    assert receiver.most_busy == 1
    assert [seq for seq, _ in client.outcomes] == list(range(1, 201))
    assert all(outcome.ok for _, outcome in client.outcomes)


async def test_connections_are_opened_when_needed_and_no_more_than_the_pool_has(
    receiver: Receiver, connect: Connect
) -> None:
    client = connect(receiver.url(), size=4)
    for _ in range(5):
        await client.outcome()
    assert receiver.accepted == 1
    receiver.delay = 0.02
    client.send(count=20)
    await client.wait(25)
    assert receiver.accepted == 4
    assert receiver.most_busy == 4
    assert client.pool.in_flight == 0


# -- responses ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "ok"),
    [(200, True), (201, True), (202, True), (204, True), (226, True), (299, True)]
    + [
        (code, False)
        for code in (300, 301, 302, 307, 308, 400, 401, 404, 410, 413, 429, 500, 502, 503, 504, 599)
    ],
)
async def test_2xx_is_success_and_nothing_else(
    receiver: Receiver, connect: Connect, code: int, ok: bool
) -> None:
    receiver.script = scripts.status(code, headers=[("Location", "/elsewhere")])
    client = connect(receiver.url())
    for _ in range(2):  # the connection stays in use after either
        outcome = await client.outcome()
        assert outcome.ok is ok
        assert outcome.status == (200 if ok else code)
    assert [request.target for request in receiver.requests] == ["/hook", "/hook"]  # nothing was followed
    assert receiver.accepted == 1


@pytest.mark.parametrize(
    ("script", "connections"),
    [
        (scripts.continue_first, 1),
        (scripts.chunked, 1),
        (scripts.drip, 1),
        (scripts.close_delimited, 3),
        (scripts.respond_with_close, 3),
        (scripts.raw(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", close=True), 3),
        (scripts.raw(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"), 1),
        (scripts.raw(b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"), 1),
        (scripts.raw(b"HTTP/1.1 204 No Content\r\n\r\n"), 1),
        (scripts.raw(b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 2\r\n\r\nok"), 1),
        (scripts.raw(OK + b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"), 3),  # a response too many
        (scripts.raw(OK + b"garbage"), 3),
    ],
)
async def test_responses_that_are_success(
    receiver: Receiver, connect: Connect, script: scripts.Script, connections: int
) -> None:
    receiver.script = script
    client = connect(receiver.url())
    for _ in range(3):
        outcome = await client.outcome()
        assert outcome.ok, outcome
    assert receiver.accepted == connections
    assert len(receiver.requests) == 3


@pytest.mark.parametrize(
    ("script", "kind", "text"),
    [
        (scripts.reset, "reset", "before a response"),
        (scripts.close, "reset", "before a response"),
        (scripts.cut_in_body, "reset", "inside the response"),
        (scripts.raw(b"HTTP/1.1 200 OK\r\nContent-Le", close=True), "reset", "inside the response"),
        (
            scripts.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", close=True),
            "reset",
            "inside the response",
        ),
        (scripts.raw(b"SSH-2.0-OpenSSH_9.6\r\n"), "protocol", "not an HTTP/1.1 response"),
        (
            scripts.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"),
            "protocol",
            "not an HTTP",
        ),
        (
            scripts.raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
            "protocol",
            "101",
        ),
        (
            scripts.raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * MAX_HEAD + b"\r\n\r\n"),
            "protocol",
            "head is longer",
        ),
        (scripts.raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 4000), "protocol", "head is longer"),
        (scripts.raw(b"HTTP/1.1 200 OK\r\n" + b"X-Header: value\r\n" * 5000), "protocol", "head is longer"),
    ],
)
async def test_responses_that_are_failures(
    receiver: Receiver, connect: Connect, script: scripts.Script, kind: str, text: str
) -> None:
    receiver.scripts.append(script)
    client = connect(receiver.url())
    outcome = await client.outcome()
    assert (outcome.ok, outcome.status, outcome.error) == (False, None, kind)
    assert text in outcome.text
    assert (await client.outcome()).ok  # on a new connection
    assert receiver.accepted == 2
    assert len(receiver.requests) == 2


@pytest.mark.parametrize("script", [scripts.hang, scripts.hang_in_body])
async def test_the_time_limit_ends_an_attempt_and_its_connection(
    receiver: Receiver, connect: Connect, script: scripts.Script
) -> None:
    receiver.scripts.append(script)
    client = connect(receiver.url(), timeout=0.15)
    began = time.monotonic()
    outcome = await client.outcome()
    assert 0.145 <= time.monotonic() - began < 1.5  # uvloop's clock ticks in milliseconds
    assert outcome.error == "timeout"
    assert "150 ms" in outcome.text
    assert (await client.outcome()).ok
    assert receiver.accepted == 2


async def test_a_response_that_drips_beyond_the_time_limit_is_a_timeout(
    receiver: Receiver, connect: Connect
) -> None:
    async def endless(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await exchange.send(b"1\r\nx\r\n")
            await asyncio.sleep(0.01)

    receiver.scripts.append(endless)
    client = connect(receiver.url(), timeout=0.2)
    outcome = await client.outcome()
    assert outcome.error == "timeout"
    assert "not complete" in outcome.text
    await receiver.wait_closed()


async def test_the_time_limit_includes_connecting(connect: Connect) -> None:
    """A listener whose queue is full: the kernel answers no SYN."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
            client = connect(f"http://127.0.0.1:{port}/", timeout=0.2)
            outcome = await client.outcome()
        finally:
            for filler in fillers:
                filler.close()
    assert outcome.error == "timeout"
    assert outcome.text == "no connection within 200 ms"


async def test_a_response_body_is_read_to_its_end_but_kept_only_up_to_a_bound(
    receiver: Receiver, connect: Connect
) -> None:
    receiver.scripts.append(scripts.status(500, b"no\n room \x00\xff" + b"x" * 300_000))
    client = connect(receiver.url())
    outcome = await client.outcome()
    assert outcome.status == 500
    assert outcome.text.startswith("no room \ufffd\ufffdxxx")
    assert len(outcome.text) <= KEPT_BODY
    assert (await client.outcome()).ok
    assert receiver.accepted == 1


async def test_a_server_that_echoes_the_request_brings_no_secret_into_an_outcome(
    receiver: Receiver, connect: Connect
) -> None:
    async def echo(exchange: Exchange) -> None:
        request = exchange.request
        headers = "\n".join(f"{name}: {value}" for name, value in request.headers)
        await exchange.respond(500, f"{request.target}\n{headers}".encode())

    receiver.script = echo
    client = connect(
        receiver.url("/hook?token=hunter%402&x=1", userinfo="user:hunter3@"),
        headers=(("X-Api-Key", "hunter4"), ("Cookie", "session=hunter5"), ("X-Plant", "north")),
    )
    text = (await client.outcome()).text
    assert "X-Plant: north" in text
    assert "/hook?token=***&x=1" in text
    assert "hunter" not in text
    assert "dXNlcjpodW50ZXIz" not in text
    bearer = connect(receiver.url(), headers=(("Authorization", "Bearer hunter6"),))
    assert "hunter" not in (await bearer.outcome()).text


@pytest.mark.parametrize("code", [200, 500])
async def test_a_body_without_end_is_cut_and_the_status_decides(
    receiver: Receiver, connect: Connect, code: int
) -> None:
    sent = 0

    async def flood(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.send(f"HTTP/1.1 {code} X\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        while True:
            await exchange.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            sent += 65536

    receiver.scripts.append(flood)
    client = connect(receiver.url())
    assert (await client.outcome()).status == code
    await receiver.wait_closed()
    assert sent < 16 * MAX_RESPONSE  # what the sockets hold, and no more
    assert (await client.outcome()).ok


async def test_a_response_before_the_request_was_sent_counts_and_the_connection_is_not_reused(
    connect: Connect,
) -> None:
    heads: list[bytes] = []

    async def refuse_early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        small = b"Content-Length: 2\r\n" in heads[-1]
        writer.write(b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n" % (b"200 OK" if small else b"413 Too Large"))
        await reader.read(-1 if not small else 2)  # but reads no body to answer it
        writer.close()

    server = await asyncio.start_server(refuse_early, "127.0.0.1", 0, limit=1 << 16)
    async with server:
        client = connect(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        outcome = await client.outcome(b"x" * 20_000_000)
        assert outcome.status == 413
        assert (await client.outcome()).ok
    assert len(heads) == 2


async def test_identical_responses_are_not_confused_with_longer_ones(
    receiver: Receiver, connect: Connect
) -> None:
    """The remembered response must not swallow one that begins alike, nor a failure that follows."""
    nonsense = scripts.raw(b"HTTP/1.1 nonsense")
    receiver.script = scripts.raw(OK)
    client = connect(receiver.url())
    found = []
    for script in (None, None, scripts.status(500), None, scripts.raw(OK + OK), None, nonsense, None):
        if script is not None:
            receiver.scripts.append(script)
        outcome = await client.outcome()
        found.append(outcome.status or outcome.error)
    assert found == [200, 200, 500, 200, 200, 200, "protocol", 200]


async def test_a_part_of_a_response_that_looks_like_the_remembered_one(
    receiver: Receiver, connect: Connect
) -> None:
    client = connect(receiver.url())
    receiver.scripts.append(scripts.raw(OK))
    assert (await client.outcome()).ok
    assert client.pool.memo == OK

    async def quote(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 500 No\r\nContent-Length: %d\r\n\r\n" % (2 * len(OK)))
        for _ in range(2):
            await asyncio.sleep(0.05)  # in a segment of its own
            await exchange.send(OK)

    receiver.scripts.append(quote)
    outcome = await client.outcome()
    assert outcome.status == 500
    await receiver.send_unasked(OK)
    await receiver.wait_closed()
    await until(lambda: not client.pool.connections)
    assert len(client.outcomes) == 2


# -- connections that end between requests -----------------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_connection_closed_while_idle_costs_no_attempt(
    receiver: Receiver, connect: Connect, how: str
) -> None:
    client = connect(receiver.url(), size=3)
    receiver.delay = 0.02
    client.send(count=3)
    await client.wait(3)
    receiver.close_connections(reset=how == "reset")
    client.send(count=3)  # at once: the loop has not seen the ends yet
    await client.wait(6)
    assert all(outcome.ok for _, outcome in client.outcomes)
    assert [request.attempt for request in receiver.requests] == [1] * 6
    assert receiver.accepted == 6
    assert client.pool.resent == 3


async def test_a_server_that_closes_after_each_response_costs_no_attempt(
    receiver: Receiver, connect: Connect
) -> None:
    receiver.script = scripts.respond_and_close
    client = connect(receiver.url(), size=4)
    client.send(count=100)
    await client.wait(100)
    assert all(outcome.ok for _, outcome in client.outcomes)
    assert len({request.id for request in receiver.requests}) == 100


async def test_it_is_sent_again_once_and_then_it_counts(receiver: Receiver, connect: Connect) -> None:
    client = connect(receiver.url())
    assert (await client.outcome()).ok
    receiver.script = scripts.close
    outcome = await client.outcome()
    assert outcome.error == "reset"
    assert len(receiver.requests) == 3  # one, and the second one twice
    assert receiver.requests[1].id == receiver.requests[2].id


async def test_a_connection_that_ends_inside_a_response_counts_also_when_reused(
    receiver: Receiver, connect: Connect
) -> None:
    client = connect(receiver.url())
    assert (await client.outcome()).ok
    receiver.script = scripts.cut_in_body
    assert (await client.outcome()).error == "reset"
    assert len(receiver.requests) == 2


async def test_bytes_that_nobody_asked_for_close_the_connection(receiver: Receiver, connect: Connect) -> None:
    client = connect(receiver.url())
    assert (await client.outcome()).ok
    await receiver.send_unasked(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
    await receiver.wait_closed()
    await until(lambda: not client.pool.connections)
    assert (await client.outcome()).ok
    assert len(receiver.requests) == 2


async def test_idle_connections_end(
    receiver: Receiver, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "IDLE_S", 0.1)
    client = connect(receiver.url(), size=3, timeout=0.5)
    receiver.delay = 0.02
    client.send(count=3)
    await client.wait(3)
    assert receiver.open == 3
    await receiver.wait_closed()
    await until(lambda: not client.pool.connections)
    assert client.pool._timer is None  # an idle pool has no timer
    assert (await client.outcome()).ok


async def test_an_idle_connection_does_not_expire_under_a_request(
    receiver: Receiver, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "IDLE_S", 0.15)
    client = connect(receiver.url(), timeout=5.0)
    assert (await client.outcome()).ok
    receiver.delay = 0.4
    assert (await client.outcome()).ok
    assert receiver.accepted == 1


# -- endpoints that cannot be reached ----------------------------------------------------------------------


async def test_a_refused_connection_fails_one_attempt_and_does_not_spin(
    receiver: Receiver, connect: Connect
) -> None:
    await receiver.stop()
    client = connect(receiver.url(), size=1)
    client.send(count=1000)
    await client.wait(3)
    began = time.monotonic()
    assert (client.outcomes[0][1].error, client.outcomes[0][1].status) == ("connect", None)
    await client.wait(5)
    assert time.monotonic() - began > 0.1  # pauses of 0.1, 0.2 s …
    assert len(client.outcomes) < 10
    await receiver.start()
    await client.wait(1000)
    assert sum(outcome.ok for _, outcome in client.outcomes) > 990


async def test_connects_that_fail_together_count_as_one_for_the_pause(
    receiver: Receiver, connect: Connect
) -> None:
    await receiver.stop()
    client = connect(receiver.url(), size=16)
    client.send(count=16)
    await client.wait(16)
    assert client.pool._pause == pool.PAUSE_MIN_S


async def test_a_name_that_does_not_exist_is_dns(connect: Connect) -> None:
    outcome = await connect("http://does-not-exist.invalid/").outcome()
    assert outcome.error == "dns"
    assert outcome.text


async def test_closing_ends_everything_and_leaves_nothing_behind(
    receiver: Receiver, connect: Connect
) -> None:
    receiver.script = scripts.hang
    client = connect(receiver.url(), size=3)
    client.send(count=3)
    await receiver.wait_count(3)
    other = Client(receiver.url())  # still connecting when it is closed
    other.send()
    client.pool.close()
    other.pool.close()
    await receiver.wait_closed()
    assert client.pool.in_flight == other.pool.in_flight == 0
    await asyncio.sleep(0)
    client.send()
    assert client.pool.free() is None
    assert client.outcomes == []


async def test_a_closed_connection_needs_no_garbage_collector(receiver: Receiver, connect: Connect) -> None:
    receiver.script = scripts.respond_with_close
    client = connect(receiver.url())
    gc.collect()
    gc.disable()
    try:
        client.send(count=20)
        await client.wait(20)
        await receiver.wait_closed()
        await until(
            lambda: not any(isinstance(found, http.Connection) for found in gc.get_objects()), within=3
        )
    finally:
        gc.enable()


def test_foreign_text_is_one_printable_line() -> None:
    assert http.plain_text(b"a\r\n\tb\x1b[31m\xff\xc2\x85c") == "a b\ufffd[31m\ufffd c"
