"""Listening sockets: from a `listeners` block to a server, or to one line that says why not."""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING

from bridge.broker.connection import Connection
from bridge.broker.layer import Factory
from bridge.broker.tls import Certificates, Tls, TlsError
from bridge.config.settings import Listener

if TYPE_CHECKING:
    from bridge.broker.server import Broker


class ListenError(Exception):
    """A listener cannot open; the text names its key, what was tried and the cause."""


def not_bound(error: OSError, host: str, port: int) -> str:
    """Why a port could not be bound, and what to do about it."""
    where = f"{host}:{port}"
    if error.errno == errno.EADDRINUSE:
        return f"{where} is in use by another program; stop it or choose another port"
    if error.errno == errno.EACCES:
        return f"{where}: permission denied; ports below 1024 need a privilege"
    return f"cannot listen on {where}: {error.strerror or error}"


class Listening:
    """One open listener."""

    def __init__(self, broker: Broker, listener: Listener) -> None:
        """Raises ListenError where its certificate cannot be used."""
        self.listener = listener
        self.addresses: list[str] = []  # host:port, an IPv6 host in brackets; once it is open
        self.certificates: Certificates | None = None
        self._broker = broker
        self._server: asyncio.Server | None = None
        if listener.tls:
            try:
                self.certificates = Certificates(listener)
            except TlsError as error:
                raise ListenError(str(error)) from None

    async def open(self) -> None:
        """Bind. Raises ListenError."""
        listener = self.listener
        try:
            self._server = await self._broker.loop.create_server(
                self._factory(),
                listener.host or None,
                listener.port,
                backlog=listener.backlog,
                start_serving=False,
            )
        except OSError as error:
            cause = not_bound(error, listener.host, listener.port)
            raise ListenError(f"{listener.key}.bind: {cause}") from None
        for sock in self._server.sockets:
            host, port = sock.getsockname()[:2]
            self.addresses.append(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")

    def _factory(self) -> Factory:
        """What is made for each network connection: the connection, in the layers that it speaks through."""
        broker, listener, certificates = self._broker, self.listener, self.certificates
        if not listener.web:
            if certificates is None:
                return lambda: Connection(broker, listener)

            def tls() -> asyncio.Protocol:
                connection = Connection(broker, listener)
                return Tls(connection, connection, certificates)

            return tls
        # aiohttp's masking comes with the whole of aiohttp: a tenth of a second, for those who want it.
        from bridge.broker.upgrade import Policy  # noqa: PLC0415
        from bridge.broker.websocket import WebSocket  # noqa: PLC0415

        policy = Policy(
            listener.path,
            tuple(origin.lower() for origin in listener.check_origins),
            listener.fail_if_no_subprotocol,
        )

        def web() -> asyncio.Protocol:
            connection = Connection(broker, listener)
            socket = WebSocket(connection, policy)
            return socket if certificates is None else Tls(connection, socket, certificates)

        return web

    async def serve(self) -> None:
        """Accept connections."""
        if self._server is not None:
            await self._server.start_serving()

    def close(self) -> None:
        """Accept no more."""
        if self._server is not None:
            self._server.close()
