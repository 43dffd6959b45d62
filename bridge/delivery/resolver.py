"""Names to addresses, with a cache that outlives a failing resolver.

* An answer is fresh for `FRESH_S` (getaddrinfo tells no TTL). After that it is looked up again, and used on
  for up to `STALE_S` while the resolver fails or takes longer than `PATIENCE_S` (RFC 8767, serve stale).
* "No such name" is an answer, not a failure: it ends what was cached.
* A name has one lookup at a time, for all who wait for it; a failure is told for `RETRY_S` before it is asked
  again. At most `MAX_LOOKUPS` run at once.
* A lookup runs in a daemon thread of its own: getaddrinfo cannot be interrupted, and neither the loop's
  executor nor the end of the process may wait half a minute for a name server that is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

FRESH_S = 30.0
STALE_S = 600.0
PATIENCE_S = 0.5
"""How long a connection waits for a lookup while an older answer is at hand."""
RETRY_S = 1.0
MAX_NAMES = 1024
"""Names whose answers are kept; the one that was not used for longest goes first."""
MAX_ADDRESSES = 16
"""Addresses of one name that are used."""
MAX_LOOKUPS = 16

_NO_SUCH_NAME = {
    getattr(socket, name) for name in ("EAI_NONAME", "EAI_NODATA", "EAI_ADDRFAMILY") if hasattr(socket, name)
}
if sys.platform == "darwin":  # there it also means that no name server could be reached
    _NO_SUCH_NAME = set()


class Address(NamedTuple):
    """A numeric address; a zone is part of `host` (`fe80::1%2`)."""

    family: int
    host: str


Lookup = Callable[[str], Awaitable[Sequence[Address]]]
"""All addresses of a name in the order of preference (RFC 6724). Raises OSError or UnicodeError."""


class _Entry:
    """What is known of one name."""

    __slots__ = ("addresses", "asked", "at", "error", "failed", "task")

    def __init__(self) -> None:
        self.addresses: tuple[Address, ...] = ()
        self.at = 0.0  # when they were found
        self.asked = 0.0  # when the lookup that runs was begun
        self.error: Exception | None = None  # of the last lookup
        self.failed = 0.0  # when
        self.task: asyncio.Task[None] | None = None  # the lookup that runs


class Resolver:
    """For the loop's thread only. `lookup` and `now` (monotonic, in seconds) stand in for the real ones."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        lookup: Lookup | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._loop = loop
        self._now = now
        self._lookup: Lookup = lookup if lookup is not None else self._in_thread
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(MAX_LOOKUPS)
        self.lookups = 0
        self.failures = 0
        self.stale = 0  # answers used beyond their freshness

    async def resolve(self, host: str) -> tuple[Address, ...]:
        """The addresses of a name, at least one; IPv6 and IPv4 alternate. A numeric address is itself.

        Raises OSError (`socket.gaierror`) or UnicodeError as getaddrinfo does.
        """
        name = host.lower()
        entry = self._entries.get(name)
        if entry is None:
            own = literal(host)
            if own is not None:
                return (own,)
            entry = self._entries[name] = _Entry()
            if len(self._entries) > MAX_NAMES:
                self._entries.popitem(last=False)
        else:
            self._entries.move_to_end(name)
        now = self._now()
        if entry.addresses and now - entry.at < FRESH_S:
            return entry.addresses
        usable = bool(entry.addresses) and now - entry.at < STALE_S
        if entry.error is not None and now - entry.failed < RETRY_S:
            if not usable:
                raise entry.error.with_traceback(None)
            self.stale += 1
            return entry.addresses
        task = entry.task
        if task is None:
            entry.asked = now
            task = entry.task = self._loop.create_task(self._ask(name, entry))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        # A lookup goes on when the one who asked has gone: the next one finds its answer.
        if usable:
            await asyncio.wait((task,), timeout=max(entry.asked + PATIENCE_S - now, 0))
            if not task.done():
                self.stale += 1
                return entry.addresses
        else:
            await asyncio.shield(task)
        if entry.error is None:
            return entry.addresses
        if entry.addresses and self._now() - entry.at < STALE_S:
            self.stale += 1
            return entry.addresses
        raise entry.error.with_traceback(None)

    def close(self) -> None:
        """End the lookups that run; their threads end by themselves."""
        for task in list(self._tasks):
            task.cancel()

    async def _ask(self, name: str, entry: _Entry) -> None:
        try:
            async with self._slots:
                self.lookups += 1
                found = tuple(await self._lookup(name))
            if not found:
                raise socket.gaierror(socket.EAI_NONAME, "the name has no address")
            entry.addresses = interleaved(found)
            entry.at = self._now()
            entry.error = None
        except Exception as error:
            self.failures += 1
            entry.error = error
            entry.failed = self._now()
            if isinstance(error, UnicodeError) or (
                isinstance(error, socket.gaierror) and error.errno in _NO_SUCH_NAME
            ):
                entry.addresses = ()
        finally:
            entry.task = None

    async def _in_thread(self, name: str) -> Sequence[Address]:
        loop = self._loop
        future: asyncio.Future[Sequence[Address]] = loop.create_future()

        def tell(found: Sequence[Address], error: Exception | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(found)
            else:
                future.set_exception(error)

        def work() -> None:
            found: Sequence[Address] = ()
            error: Exception | None = None
            try:
                found = _getaddrinfo(name)
            except Exception as caught:
                error = caught
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(tell, found, error)

        threading.Thread(target=work, name="hookmq-dns", daemon=True).start()
        return await future


def literal(host: str) -> Address | None:
    """The address that a host is, in any spelling that getaddrinfo takes (`0x7f.1`); None for a name."""
    try:
        return _getaddrinfo(host.replace("%25", "%", 1), socket.AI_NUMERICHOST)[0]
    except (OSError, UnicodeError, IndexError):
        return None


def interleaved(addresses: Sequence[Address]) -> tuple[Address, ...]:
    """The families by turns (RFC 8305 section 4), the first one's first, without doubles, bounded."""
    unique = dict.fromkeys(addresses)
    first = addresses[0].family
    queues = (
        [address for address in unique if address.family == first],
        [address for address in unique if address.family != first],
    )
    mixed: list[Address] = []
    for index in range(max(map(len, queues))):
        mixed += [queue[index] for queue in queues if index < len(queue)]
    return tuple(mixed[:MAX_ADDRESSES])


def _getaddrinfo(host: str, flags: int = 0) -> list[Address]:
    found: list[Address] = []
    for family, _, _, _, address in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=flags):
        if family in (socket.AF_INET, socket.AF_INET6):
            text = str(address[0])
            if family == socket.AF_INET6 and len(address) > 3 and address[3] and "%" not in text:
                text = f"{text}%{address[3]}"
            found.append(Address(int(family), text))
    return found
