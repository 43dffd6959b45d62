"""Answers, good and bad: scripts for `Receiver.script`, or functions that make one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import count

from scripts.receiver.server import Exchange, Script, answer, response

HEAD = b"HTTP/1.1 200 OK\r\n"


def status(code: int, body: bytes = b"", headers: Sequence[tuple[str, str]] = ()) -> Script:
    """Answer with this status."""

    async def script(exchange: Exchange) -> None:
        await exchange.respond(code, body, headers)

    return script


def raw(data: bytes, *, close: bool = False) -> Script:
    """Answer with these bytes."""

    async def script(exchange: Exchange) -> None:
        await exchange.send(data)
        if close:
            exchange.close()

    return script


def slow_down(code: int, wait: Callable[[], str]) -> Script:
    """Answer with this status and the Retry-After that `wait` makes."""

    async def script(exchange: Exchange) -> None:
        await exchange.respond(code, headers=[("Retry-After", wait())])

    return script


def http_date(seconds: float) -> str:
    """An HTTP-date (RFC 9110 section 5.6.7) so many seconds from now, cut to whole seconds."""
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


def every(number: int, bad: Script, good: Script = answer) -> Script:
    """Every so many requests the bad answer; else the good one."""
    counter = count(1)

    async def script(exchange: Exchange) -> None:
        await (good if next(counter) % number else bad)(exchange)

    return script


def first(number: int, bad: Script, good: Script = answer) -> Script:
    """The bad answer to so many requests, and the good one from then on."""
    counter = count()

    async def script(exchange: Exchange) -> None:
        await (bad if next(counter) < number else good)(exchange)

    return script


# -- silence and ends --------------------------------------------------------------------------------------


async def hang(exchange: Exchange) -> None:
    """Never answer."""
    await exchange.hang()


async def hang_in_body(exchange: Exchange) -> None:
    """Promise 100 bytes, send 5, and go silent."""
    await exchange.send(HEAD + b"Content-Length: 100\r\n\r\nhello")
    await exchange.hang()


async def cut_in_body(exchange: Exchange) -> None:
    """Promise 100 bytes, send 5, and close."""
    await exchange.send(HEAD + b"Content-Length: 100\r\n\r\nhello")
    exchange.close()


async def reset(exchange: Exchange) -> None:
    """Reset the connection instead of answering."""
    exchange.reset()


async def reset_in_body(exchange: Exchange) -> None:
    """Promise 100 bytes, send 5, and reset the connection."""
    await exchange.send(HEAD + b"Content-Length: 100\r\n\r\nhello")
    await asyncio.sleep(0.02)  # a reset takes with it what has not been read yet
    exchange.reset()


async def close(exchange: Exchange) -> None:
    """Close the connection instead of answering."""
    exchange.close()


async def close_when_reused(exchange: Exchange) -> None:
    """Answer the first request of a connection; as the second one comes, close or reset it."""
    if exchange.number == 1:
        await answer(exchange)
    elif exchange.request.connection % 2:
        exchange.close()
    else:
        exchange.reset()


async def respond_and_close(exchange: Exchange) -> None:
    """Answer without a word about closing, and close: an idle connection that the server ends."""
    await answer(exchange)
    exchange.close()


async def respond_with_close(exchange: Exchange) -> None:
    """Answer with `Connection: close`, and close."""
    await exchange.respond(200, b"ok", [("Connection", "close")])
    exchange.close()


# -- responses ---------------------------------------------------------------------------------------------


async def continue_first(exchange: Exchange) -> None:
    """100 and 103, then 200."""
    await exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    await exchange.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n")
    await exchange.respond(200, b"ok")


async def chunked(exchange: Exchange) -> None:
    """A chunked response with a trailer, in several writes."""
    await exchange.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    await exchange.send(b"5\r\nhello\r\n")
    await exchange.send(b"0\r\nX-Trailer: 1\r\n\r\n")


async def close_delimited(exchange: Exchange) -> None:
    """A body without a length, ended by the end of the connection."""
    await exchange.send(HEAD + b"\r\nhello")
    exchange.close()


def drip_every(pause: float) -> Script:
    """A correct response, one byte at a time with a pause (seconds) after each."""

    async def script(exchange: Exchange) -> None:
        for byte in response(200, b"ok"):
            await exchange.send(bytes([byte]))
            await asyncio.sleep(pause)

    return script


drip = drip_every(0.001)


async def endless_body(exchange: Exchange) -> None:
    """200, and a body that never ends."""
    await exchange.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        await exchange.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")


async def endless_header(exchange: Exchange) -> None:
    """200, and headers that never end."""
    await exchange.send(HEAD)
    while True:
        await exchange.send(b"X-Header: value\r\n" * 256)
