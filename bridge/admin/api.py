"""The HTTP API put together: its routes, who may call them, and the server."""

from __future__ import annotations

import asyncio

from bridge.admin import (
    brokers,
    clients,
    delivery_routes,
    endpoint_routes,
    events,
    health,
    job_routes,
    openapi,
    preview,
    publish,
    publisher_routes,
    retained,
    signing_in,
)
from bridge.admin.access import Access, AccessError
from bridge.admin.api_keys import ApiKeys
from bridge.admin.dashboard import calls as dashboard
from bridge.admin.dashboard.assets import Assets
from bridge.admin.routes import Plant, Route
from bridge.admin.server import AdminError, AdminServer
from bridge.config.secret import SecretError
from bridge.config.settings import HttpServer


def all_routes(*, open_metrics: bool = False) -> list[Route]:
    """Every call of the API, and that of the document which describes them all.

    `open_metrics`: /metrics asks for no credentials.
    """
    routes = [
        *health.routes(open_metrics=open_metrics),
        *signing_in.ROUTES,
        *dashboard.ROUTES,
        *events.ROUTES,
        *endpoint_routes.ROUTES,
        *delivery_routes.ROUTES,
        *preview.ROUTES,
        *job_routes.ROUTES,
        *publisher_routes.ROUTES,
        *publish.ROUTES,
        *clients.ROUTES,
        *retained.ROUTES,
        *brokers.ROUTES,
    ]
    return [*routes, openapi.route(routes)]


def take_up(server: AdminServer, settings: HttpServer) -> bool:
    """Decide who may call by these settings; whether they are other ones. Raises AdminError, and then nothing
    has changed."""
    try:
        return server.access.take_up(settings)
    except AccessError as error:
        raise AdminError(str(error)) from None
    except SecretError as error:
        raise AdminError(f"http_server.password: {error}") from None


async def open_api(settings: HttpServer, keys: ApiKeys, plant: Plant) -> AdminServer:
    """Bind the API's port; `serve` follows. Raises AdminError, one line with the key and the cause."""
    try:
        access = Access(settings, keys, asyncio.get_running_loop().time)
    except AccessError as error:
        raise AdminError(str(error)) from None
    except SecretError as error:
        raise AdminError(f"http_server.password: {error}") from None
    routes = all_routes(open_metrics=not plant.settings.prometheus.enable_basic_auth)
    return await AdminServer.open(settings, routes, access, plant, Assets())
