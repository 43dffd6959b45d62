"""The process's side of the control socket: accepts clients, reads one request each, writes what it answers.

It runs in the loop that serves MQTT and HTTP, so whatever answers has to work in small slices. Nothing here
is bound to the number of events: requests, replies, clients and times have bounds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import stat
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import msgspec

from bridge.control.protocol import MAX_REPLY, MAX_REQUEST, ControlError, address, supported
from bridge.delivery.errors import Refused

__all__ = ["Answer", "ControlServer", "Refused", "Request"]

log = logging.getLogger(__name__)

MAX_CLIENTS = 16
REQUEST_S = 10.0
"""How long a client may take to send its request."""
WRITE_S = 30.0
"""How long a client may take to read a line."""

Answer = Callable[[str, dict[str, Any]], AsyncGenerator[dict[str, Any], None]]
"""Answers a command: yields `{"progress": …}`, `{"rows": …}` and at last `{"result": …}`. Raises Refused."""


class Request(msgspec.Struct, forbid_unknown_fields=True):
    """One request."""

    command: str
    args: dict[str, Any] = {}


class ControlServer:
    """Made by `open`; `close` removes the socket."""

    def __init__(self, path: Path, server: asyncio.Server, clients: _Clients) -> None:
        """For `open`."""
        self.path = path
        self._server = server
        self._clients = clients

    @classmethod
    async def open(cls, path: Path, answer: Answer) -> ControlServer:
        """Listen at `path`, mode 0600. Raises ControlError.

        The caller holds the store's lock, so a socket that is there already is that of a process now gone.
        """
        if not supported():
            raise ControlError("this system has no Unix sockets")
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        clients = _Clients(answer)
        try:
            _bind(sock, path)
            server = await asyncio.start_unix_server(clients.accept, sock=sock, limit=MAX_REQUEST)
        except OSError as error:
            sock.close()
            raise ControlError(f"{path}: {error.strerror or error}") from error
        except BaseException:
            sock.close()
            raise
        return cls(path, server, clients)

    def close(self) -> None:
        """Remove the socket, and end what is being answered."""
        with contextlib.suppress(OSError):
            self.path.unlink()
        self._server.close()
        for task in self._clients.tasks:
            task.cancel()


def _bind(sock: socket.socket, path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ControlError(f"{path} is in the way: it is not a socket")
        path.unlink()
    with address(path) as name:
        mask = os.umask(0o177)  # nobody else may open it, not even for a moment
        try:
            sock.bind(name)
        finally:
            os.umask(mask)


class _Clients:
    def __init__(self, answer: Answer) -> None:
        self.tasks: set[asyncio.Task[None]] = set()
        self._answer = answer

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client, from its request to the last line for it."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101
        self.tasks.add(task)
        try:
            if len(self.tasks) > 4 * MAX_CLIENTS:
                writer.transport.abort()
                return
            # Read first: an end with something unread would take our answer with it.
            request = await _read(reader)
            if len(self.tasks) > MAX_CLIENTS:
                await _write(writer, {"error": f"{MAX_CLIENTS} commands are running already"})
            elif isinstance(request, str):
                await _write(writer, {"error": request})
            elif request is not None:
                await self._serve(request, reader, writer)
        except (OSError, TimeoutError):
            writer.transport.abort()
        finally:
            self.tasks.discard(task)
            writer.close()

    async def _serve(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        work = asyncio.ensure_future(self._work(request, writer))
        gone = asyncio.ensure_future(reader.read(1))  # a client has nothing more to say: it is its end
        try:
            await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                work.cancel()
                await asyncio.wait((work,))
            if not work.cancelled():
                work.result()
        finally:
            work.cancel()
            gone.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await gone

    async def _work(self, request: Request, writer: asyncio.StreamWriter) -> None:
        try:
            async with contextlib.aclosing(self._answer(request.command, request.args)) as lines:
                async for line in lines:
                    await _write(writer, line)
        except Refused as error:
            await _write(writer, {"error": str(error)})
        except (OSError, TimeoutError):
            raise
        except Exception:
            log.exception("the command %r failed", request.command)
            await _write(writer, {"error": "HookMQ itself made a mistake: its log has more"})


async def _read(reader: asyncio.StreamReader) -> Request | str | None:
    """The request; a text says why it is none; None: the client has gone."""
    try:
        async with asyncio.timeout(REQUEST_S):
            line = await reader.readline()
    except ValueError:
        return f"the request is longer than {MAX_REQUEST} bytes"
    if not line.endswith(b"\n"):
        return None
    try:
        return msgspec.json.decode(line, type=Request)
    except msgspec.MsgspecError as error:
        return f"not a request: {error}"


async def _write(writer: asyncio.StreamWriter, line: dict[str, Any]) -> None:
    data = msgspec.json.encode(line)
    if len(data) >= MAX_REPLY:
        data = msgspec.json.encode({"error": f"the answer is longer than {MAX_REPLY} bytes"})
    writer.write(data + b"\n")
    async with asyncio.timeout(WRITE_S):
        await writer.drain()
