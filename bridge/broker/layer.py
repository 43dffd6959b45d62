"""What stands between the network and a connection: TLS, WebSocket.

A layer is a protocol to what is below it and a transport to what is above, so that `Connection` speaks to
each as to a socket. The lowest one has the connection counted before it does any work for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from bridge.broker.connection import Connection

_NOBODY = asyncio.Protocol()


class Layer(asyncio.Protocol, asyncio.Transport):
    """Passes on what it has nothing to do with, both ways. `_upper` is the next layer, or the connection."""

    __slots__ = ("_closing", "_connection", "_transport", "_upper", "_writable")

    _transport: asyncio.Transport

    def __init__(self, connection: Connection, upper: asyncio.Protocol) -> None:
        self._connection = connection
        self._upper = upper
        self._closing = False
        self._writable = True

    # -- towards the connection ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if isinstance(transport, Layer) or self._connection.accepted(self._transport):
            self.begin()

    def begin(self) -> None:
        """The layer below is open, and the connection is within its limits."""

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        upper, self._upper = self._upper, _NOBODY
        upper.connection_lost(exc)
        # Layers and connection refer to each other; without this only the garbage collector would end them.
        if hasattr(self, "_transport"):  # not before the handshake of the layer below
            self._connection.transport = self._transport

    def pause_writing(self) -> None:
        self._writable = False
        self._upper.pause_writing()

    def resume_writing(self) -> None:
        self._writable = True
        self._upper.resume_writing()

    # -- towards the network ---------------------------------------------------------------------------

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def is_closing(self) -> bool:
        return self._closing or self._transport.is_closing()

    def abort(self) -> None:
        self._closing = True
        self._transport.abort()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._transport.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return self._transport.get_write_buffer_size()


Factory = Callable[[], asyncio.Protocol]
"""Makes the protocol of one accepted network connection."""
