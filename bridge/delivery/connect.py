"""How a connection to an endpoint is made: resolve, check, connect to the address that was checked, TLS.

* Every address is put to the egress guard at every connect, and the socket is opened to that very address;
  nothing is looked up a second time. Of a name's addresses the refused ones are passed over.
* Several addresses are tried in order, each `STAGGER_S` after the one before it or as soon as that has failed
  (RFC 8305); the first that answers is used. One that failed or was overtaken goes last while the answer
  of the resolver stands.
* Through a proxy the guard checks the proxy's address, and the endpoint's where its URL has a numeric one:
  its names are the proxy's to resolve.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Protocol

from bridge.config.settings import Egress, Trust
from bridge.delivery.egress import Guard
from bridge.delivery.errors import EndpointError
from bridge.delivery.faults import cause, explain
from bridge.delivery.proxy import Proxy, ProxyError
from bridge.delivery.resolver import Address, Lookup, Resolver, literal
from bridge.delivery.retry import ErrorKind
from bridge.delivery.sweep import Sweepers

STAGGER_S = 0.25


class ConnectError(Exception):
    """No connection could be made; `kind` says whose fault it is, the text is one line."""

    def __init__(self, kind: ErrorKind, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Progress:
    """How far the making of a connection has come, for the one who gives up waiting for it."""

    __slots__ = ("kind", "waits_for")

    def __init__(self) -> None:
        self.at("timeout", "")

    def at(self, kind: ErrorKind, waits_for: str) -> None:
        """The step that is under way: of which kind its time-out is, and what it waits for ("" is TCP)."""
        self.kind = kind
        self.waits_for = waits_for


class Destination(Protocol):
    """Where connections lead: a webhook's `Target`, or a broker."""

    host: str
    port: int
    ssl: ssl.SSLContext | None

    def scrub(self, text: str) -> str:
        """A peer's text without the secrets that were sent to it."""


class LocalBroker(Protocol):
    """The broker of this process, for publishers at it."""

    def publish(
        self,
        clientid: str,
        topic: str,
        payload: bytes,
        qos: int,
        retain: bool,
        content_type: str,
        user_property: list[tuple[str, str]],
        done: Callable[[], None],
    ) -> str:
        """Publish a message, which joins the journal's open batch; `done` is called once that is durable.

        Returns the name of the reason code if it is refused, and then `done` is not called. Raises ValueError
        for a topic or a message that the broker can never take.
        """


class Network:
    """What all endpoints share: the egress guard, the resolver's cache, the timers of time limits, and the
    broker of this process, which the owner sets.

    Another `guard` counts from the next connect on; connections that are open stay.

    Raises EgressError for an entry of the settings that is no network.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        egress: Egress | None = None,
        *,
        lookup: Lookup | None = None,
    ) -> None:
        self.loop = loop
        self.guard = Guard(egress)
        self.resolver = Resolver(loop, lookup=lookup)
        self.sweepers = Sweepers(loop)
        self.local: LocalBroker | None = None

    def connector(
        self,
        target: Destination,
        *,
        name: str = "default",
        proxy: str | None = None,
        trust: Trust = "operator",
        key: str = "url",
    ) -> Connector:
        """The way to one endpoint, called `name` in errors; `key` is the setting that has its address.

        Raises EndpointError where its URL or its proxy has a numeric address that is refused, or the proxy's
        URL cannot work.
        """
        way = None
        if proxy is not None:
            try:
                way = Proxy(proxy)
            except ValueError as error:
                raise EndpointError(name, "proxy", str(error)) from None
            self._check(name, "proxy", way.host, trust)
        self._check(name, key, target.host, trust)
        return Connector(self, target, way, trust)

    def _check(self, name: str, key: str, host: str, trust: Trust) -> None:
        """A numeric address, in any spelling, or a name that always means this machine (RFC 6761)."""
        address = literal(host)
        lower = host.rstrip(".").lower()
        if address is not None:
            refusal = self.guard.refusal(address.host, trust)
        elif lower == "localhost" or lower.endswith(".localhost"):
            refusal = self.guard.refusal("127.0.0.1", trust) and self.guard.refusal("::1", trust)
        else:
            return
        if refusal is not None:
            raise EndpointError(name, key, refusal)

    def close(self) -> None:
        """End the lookups that run."""
        self.resolver.close()


class Connector:
    """Makes the connections to one endpoint."""

    __slots__ = ("_answer", "_fixed", "_last", "_literal", "_network", "_target", "_trust", "proxy")

    def __init__(self, network: Network, target: Destination, proxy: Proxy | None, trust: Trust) -> None:
        self.proxy = proxy
        self._network = network
        self._target = target
        self._trust = trust
        self._literal = literal(target.host)
        fixed = self._literal if proxy is None else literal(proxy.host)
        self._fixed = None if fixed is None else (fixed,)  # where nothing needs to be resolved
        self._answer: tuple[Address, ...] = ()
        self._last: set[Address] = set()  # of that answer: those that failed or were slow

    @property
    def sweepers(self) -> Sweepers:
        """What watches over time limits."""
        return self._network.sweepers

    @property
    def by_proxy(self) -> Proxy | None:
        """The proxy that requests are written to, and that answers some itself; None if there is a tunnel."""
        return self.proxy if self._target.ssl is None else None

    def head(self, head: bytes) -> bytes:
        """The constant head of requests, as the peer of the connection wants it."""
        if self.proxy is None or self._target.ssl is not None:
            return head
        return self.proxy.absolute(head, self._target.host, self._target.port)

    def scrub(self, text: str) -> str:
        """A peer's text without the secrets that were sent to it."""
        text = self._target.scrub(text)
        return self.proxy.scrub(text) if self.proxy is not None else text

    async def connect(self, protocol: asyncio.Protocol, limit: float, progress: Progress) -> None:
        """Connect `protocol` to the endpoint; `connection_made` means that a request can go out.

        `limit` in seconds spreads the tries of several addresses; the caller cancels what takes longer.
        Raises ConnectError.
        """
        target = self._target
        proxy = self.proxy
        if proxy is None:
            await self._reach(target.host, target.port, protocol, limit, progress)
            return
        if self._literal is not None:
            self._allowed((self._literal,), target.host)
        progress.at("proxy", f"the proxy {proxy.label}")
        try:
            await self._reach(proxy.host, proxy.port, protocol, limit, progress)
        except ConnectError as error:
            if error.kind in ("egress", "dns", "connect"):  # TLS is the endpoint's
                kind: ErrorKind = "egress" if error.kind == "egress" else "proxy"
                raise ConnectError(kind, f"proxy {proxy.label}: {error}") from None
            raise

    async def dial(self, limit: float, progress: Progress) -> socket.socket:
        """A TCP connection to the endpoint, for one who does the rest by himself; nothing blocks on it.

        `limit` as in `connect`. Raises ConnectError.
        """
        addresses = await self._addresses(self._target.host, progress)
        stagger = min(STAGGER_S, limit / (2 * len(addresses)))
        return await self._race(addresses, self._target.host, self._target.port, stagger)

    async def _reach(
        self, host: str, port: int, protocol: asyncio.Protocol, limit: float, progress: Progress
    ) -> None:
        """Connect to a host, the endpoint or its proxy, by one of its addresses that the guard allows."""
        loop = self._network.loop
        addresses = await self._addresses(host, progress)
        if self._target.ssl is None and len(addresses) == 1:
            address = addresses[0]
            try:
                await loop.create_connection(lambda: protocol, address.host, port)  # numeric: no lookup
            except OSError as error:
                raise ConnectError("connect", _failure(address, host, error)) from None
            return
        sock = await self._race(addresses, host, port, min(STAGGER_S, limit / (2 * len(addresses))))
        try:
            await self._upgrade(sock, protocol, limit, progress)
        except BaseException:
            sock.close()
            raise

    async def _upgrade(
        self, sock: socket.socket, protocol: asyncio.Protocol, limit: float, progress: Progress
    ) -> None:
        """From a TCP connection to one that takes requests: the proxy's tunnel, TLS."""
        target = self._target
        loop = self._network.loop
        if target.ssl is None:
            await loop.create_connection(lambda: protocol, sock=sock)
            return
        proxy = self.proxy
        if proxy is not None:
            progress.at("proxy", f"the answer of the proxy {proxy.label} to CONNECT")
            try:
                await proxy.tunnel(loop, sock, target.host, target.port)
            except (ProxyError, OSError) as error:
                raise ConnectError("connect", proxy.scrub(cause(error))) from None
        progress.at("timeout", "the TLS handshake")
        try:
            await loop.create_connection(
                lambda: protocol,
                sock=sock,
                ssl=target.ssl,
                server_hostname=target.host,
                ssl_handshake_timeout=limit + 60,  # the caller's comes first
            )
        except (OSError, ValueError) as error:
            raise ConnectError(*explain(error, tls=True)) from None

    # -- addresses -------------------------------------------------------------------------------------

    async def _addresses(self, host: str, progress: Progress) -> Sequence[Address]:
        """Those of a host that requests may go to, the best first. Raises ConnectError."""
        if self._fixed is not None:
            return self._allowed(self._fixed, host)
        if self.proxy is None:
            progress.at("dns", f"the address of {host}")
        try:
            found = await self._network.resolver.resolve(host)
        except (OSError, UnicodeError) as error:
            raise ConnectError("dns", cause(error)) from None
        if self.proxy is None:
            progress.at("timeout", "")
        allowed = self._allowed(found, host)
        if len(allowed) == 1:
            return allowed
        if found != self._answer:
            self._answer = found
            self._last.clear()
        return sorted(allowed, key=self._last.__contains__)

    def _allowed(self, addresses: Sequence[Address], host: str) -> Sequence[Address]:
        """Those that requests may go to. Raises ConnectError if there is none."""
        allowed: list[Address] = []
        refusal = ""
        for address in addresses:
            found = self._network.guard.refusal(address.host, self._trust)
            if found is None:
                allowed.append(address)
            elif not refusal:
                refusal = found if address.host == host else f"{host}: {found}"
        if not allowed:
            raise ConnectError("egress", refusal)
        return allowed

    async def _race(
        self, addresses: Sequence[Address], host: str, port: int, stagger: float
    ) -> socket.socket:
        """A TCP connection by the first address that takes it; each is tried `stagger` s after the last."""
        loop = self._network.loop
        waiting = list(reversed(addresses))
        tries: dict[asyncio.Task[socket.socket], Address] = {}
        failures: list[str] = []
        try:
            while waiting or tries:
                if waiting:
                    address = waiting.pop()
                    tries[loop.create_task(_dial(loop, address, port))] = address
                done, _ = await asyncio.wait(
                    tries, timeout=stagger if waiting else None, return_when=asyncio.FIRST_COMPLETED
                )
                for task in [task for task in tries if task in done]:
                    address = tries.pop(task)
                    try:
                        sock = task.result()
                    except OSError as error:
                        self._last.add(address)
                        failures.append(_failure(address, host, error))
                    else:
                        self._last.update(tries.values())
                        self._last.discard(address)
                        return sock
        finally:
            for task in tries:
                task.cancel()
                task.add_done_callback(_drop)
        self._last.clear()
        raise ConnectError("connect", "; ".join(failures))


async def _dial(loop: asyncio.AbstractEventLoop, address: Address, port: int) -> socket.socket:
    """A TCP connection to a numeric address."""
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.sock_connect(sock, (address.host, port))
    except BaseException:
        sock.close()
        raise
    return sock


def _drop(task: asyncio.Task[socket.socket]) -> None:
    """A connection that is not needed any more, though it may have been made."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()


def _failure(address: Address, host: str, error: Exception) -> str:
    """A try's failure; the address is told where the host is a name."""
    text = cause(error)
    return text if address.host == host else f"{address.host}: {text}"
