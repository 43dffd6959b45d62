"""What a lane sends with, by the kind of its receiver: format, place, transport, authorization."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from bridge.config.settings import AnyEndpoint, Endpoint, MqttPublisher, Trust
from bridge.delivery.connect import Network
from bridge.delivery.errors import EndpointError
from bridge.delivery.handing_on import none
from bridge.delivery.mqtt import wire_mqtt
from bridge.delivery.oauth2 import TokenSource, make_token_source
from bridge.delivery.permission import Permission, sender_name
from bridge.delivery.pool import Pool
from bridge.delivery.retry import Policy
from bridge.delivery.target import BODILESS, Target
from bridge.delivery.transport import Place, Tokens, Transport
from bridge.events.formats import BodyCounts, Format, Origin, make_format
from bridge.telemetry.trace_context import TRACEPARENT


class Wiring(NamedTuple):
    """See the module. `tokens` and `permission` are None where none are needed."""

    target: Place
    transport: Transport
    format: Format
    tokens: Tokens | None = None
    permission: Permission | None = None


class _PoolTokens:
    """A source of tokens, and the pool whose requests carry them."""

    def __init__(self, source: TokenSource, pool: Pool) -> None:
        self.on_token: Callable[[], None] = _nothing
        self.start = source.start
        self.ready = source.ready
        self.wait = source.wait
        self.close = source.close
        self._source = source
        self._pool = pool
        source.on_token = self._arrived

    def refused(self, request: bytes) -> bool:
        """See `Tokens`."""
        return self._source.refused(latest=self._pool.latest(request))

    def _arrived(self) -> None:
        if self._source.value is not None:
            self._pool.authorize(self._source.value)
            self.on_token()


def wire(
    endpoint: AnyEndpoint,
    origin: Origin,
    counts: BodyCounts,
    policy: Policy,
    network: Network,
    loop: asyncio.AbstractEventLoop,
    *,
    clock: Callable[[], float],
    random: Callable[[], float],
    trust: Trust,
) -> Wiring:
    """For one receiver; `counts` gathers what its bodies could not have as configured.

    Raises EndpointError.
    """
    made = _format(endpoint, origin, counts)
    if isinstance(endpoint, MqttPublisher):
        target, transport = wire_mqtt(endpoint, made, origin, network, loop, trust=trust)
        return Wiring(target, transport, made)
    return _http(endpoint, made, origin, policy, network, loop, clock=clock, random=random, trust=trust)


def _http(
    endpoint: Endpoint,
    made: Format,
    origin: Origin,
    policy: Policy,
    network: Network,
    loop: asyncio.AbstractEventLoop,
    *,
    clock: Callable[[], float],
    random: Callable[[], float],
    trust: Trust,
) -> Wiring:
    name = sender_name(endpoint, origin.node)
    target = Target(endpoint, origin.store_id, made, origin=name)
    connector = network.connector(target, name=endpoint.name, proxy=endpoint.proxy, trust=trust)
    size = endpoint.pool_size
    if endpoint.max_in_flight is not None and endpoint.batch is None:
        size = min(size, endpoint.max_in_flight)
    pool = Pool(
        *(target, size, endpoint.cancel_timeout / 1000, loop),
        clock=clock,
        connector=connector,
        success=policy.success,
    )
    if any(key.lower() == TRACEPARENT for key, _ in endpoint.headers):
        pool.trace_of = none
    source = make_token_source(endpoint, target, network, loop, trust=trust)
    permission = None
    if name:
        permission = Permission(*(endpoint, name, target, connector, source, loop), random=random)
    return Wiring(target, pool, made, _PoolTokens(source, pool) if source is not None else None, permission)


def _format(endpoint: AnyEndpoint, origin: Origin, counts: BodyCounts) -> Format:
    """The receiver's format. Raises EndpointError for what can never work."""
    try:
        made = make_format(endpoint, origin, counts)
    except ValueError as error:
        raise EndpointError(endpoint.name, "format", str(error)) from None
    if endpoint.batch is not None and endpoint.method in BODILESS:
        raise EndpointError(endpoint.name, "batch", f"{endpoint.method} has no body for several events")
    return made


def _nothing() -> None:
    """Until the owner has set its own."""
