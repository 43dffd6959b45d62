"""The bounds of the HTTP server, and what goes wrong in HTTP itself: always as RFC 9457 has it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

from bridge.config.settings import HttpServer
from tests.integration.admin.calling import SERVER, Api, problem
from tests.integration.process import webhook
from tests.integration.receiver import Receiver

MESSAGE = {"topic": "a", "payload": "x"}
SMALL = SERVER.replace("{", "{ max_body = 2KB, limit_conn = 1,", 1)


# Somebody who wants what is published, so that it is stored.
WANTED = webhook("http://127.0.0.1:9", "on_message_publish")


async def exchange(api: Api, data: bytes) -> bytes:
    """Bytes in, all bytes out until the server closes."""
    host, _, port = api.url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(data)
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()


async def test_paths_methods_and_types(api: Api) -> None:
    problem(await api.get("/nothing"), 404)
    problem(await api.get("/api/v2/nothing"), 404)
    answer = await api.get("/api/v5/publish")
    problem(answer, 405)
    assert answer.headers["Allow"] == "POST"
    assert (await api.call("HEAD", "/api/v2/openapi.json")).text == ""
    for path in ("/api/v5/publish", "/api/v2/events"):
        problem(await api.post(path, data=b"{}", headers={"Content-Type": "text/plain"}), 415)
        problem(await api.post(path, MESSAGE, headers={"Content-Encoding": "gzip"}), 415)
    for answer in (await api.get("/nothing"), await api.get("/api/v2/openapi.json")):
        assert answer.headers["Server"].startswith("HookMQ/")
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_body_that_is_too_large(tmp_path: Path) -> None:
    async def drops() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b"x" * 1024

    async with Api(tmp_path, server=SMALL) as api:
        json = {"Content-Type": "application/json"}
        for path in ("/api/v5/publish", "/api/v4/mqtt/publish", "/api/v2/events"):
            problem(await api.post(path, data=b"x" * 2049, headers=json), 413)
            problem(await api.post(path, data=drops(), headers=json), 413)  # chunked: no length is given
        assert (await api.post("/api/v5/publish", {"topic": "a", "payload": "x" * 1900})).status == 202


async def test_what_is_no_http(api: Api) -> None:
    for data in (b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 20000 + b"\r\n\r\n"):
        head, _, body = (await exchange(api, data)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.")
        assert b" 400 " in head.split(b"\r\n")[0]
        assert b"application/problem+json" in head
        assert b"aiohttp" not in head
        assert b'"status":400' in body
    assert "Traceback" not in api.log


async def test_nobody_unknown_has_a_body_read(api: Api) -> None:
    """The answer is there before the body is."""
    head = (
        b"POST /api/v2/events HTTP/1.1\r\nHost: a\r\n"
        b"Content-Type: application/json\r\nContent-Length: 9000\r\n\r\n"
    )
    assert b" 401 " in (await exchange(api, head)).split(b"\r\n")[0]


async def test_requests_wait_for_their_turn(tmp_path: Path) -> None:
    async with Api(tmp_path, WANTED, "sqlite.sync_delay = 200ms", server=SMALL) as api:
        begin = time.monotonic()
        answers = await asyncio.gather(*(api.post("/api/v5/publish", MESSAGE) for _ in range(4)))
        assert [answer.status for answer in answers] == [202] * 4
        assert time.monotonic() - begin >= 0.8  # `limit_conn` is 1: one sync after another


async def test_connections_are_bounded(api: Api) -> None:
    host, _, port = api.url.removeprefix("http://").rpartition(":")
    opened = [await asyncio.open_connection(host, int(port)) for _ in range(HttpServer().max_connections)]
    try:
        found = b""
        for _ in range(50):
            reader, writer = await asyncio.open_connection(host, int(port))
            opened.append((reader, writer))
            try:
                async with asyncio.timeout(0.2):
                    found = await reader.read()
                break
            except TimeoutError:
                continue
        assert found.startswith(b"HTTP/1.1 503 ")
    finally:
        for _, writer in opened:
            writer.close()
    assert f"{HttpServer().max_connections} connections are open" in api.log

    async def served() -> bool:
        return (await api.get("/api/v2/openapi.json")).status == 200

    end = time.monotonic() + 10
    while not await served():
        assert time.monotonic() < end


async def test_a_request_under_way_is_answered_at_the_end(tmp_path: Path) -> None:
    async with (
        Receiver() as receiver,
        Api(tmp_path, webhook(receiver.url(), "on_message_publish"), "sqlite.sync_delay = 1s") as api,
    ):
        slow = asyncio.create_task(api.post("/api/v5/publish", MESSAGE))
        await receiver.wait_count(1)  # committed, and delivered, but not yet synced
        assert not slow.done()
        assert await api.stop() == 0
        assert (await slow).status == 202


async def test_a_store_that_is_full(tmp_path: Path) -> None:
    """What was not stored is not acknowledged: 503 says so, and that it may be sent again."""
    # A file that may not grow further stands for a disk without room.
    prefix = ("sh", "-c", 'ulimit -f 256; exec "$0" "$@"')
    async with Api(tmp_path, WANTED, prefix=prefix) as api:
        body = {"topic": "a", "payload": "x" * 60_000}
        for _ in range(60):
            answer = await asyncio.wait_for(api.post("/api/v5/publish", body), 40)
            if answer.status == 503:
                break
            assert answer.status == 202
        problem(answer, 503)
        assert int(answer.headers["Retry-After"]) > 0
