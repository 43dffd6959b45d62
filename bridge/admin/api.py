"""The HTTP API put together: its routes, who may call them, and the server."""

from __future__ import annotations

import asyncio

from bridge.admin import (
    brokers,
    clients,
    delivery_routes,
    endpoint_routes,
    events,
    openapi,
    publish,
    publisher_routes,
    retained,
)
from bridge.admin.access import Access, AccessError
from bridge.admin.api_keys import ApiKeys
from bridge.admin.routes import Plant, Route
from bridge.admin.server import AdminError, AdminServer
from bridge.config.secret import SecretError
from bridge.config.settings import HttpServer


def all_routes() -> list[Route]:
    """Every call of the API, and that of the document which describes them all."""
    routes = [
        *events.ROUTES,
        *endpoint_routes.ROUTES,
        *delivery_routes.ROUTES,
        *publisher_routes.ROUTES,
        *publish.ROUTES,
        *clients.ROUTES,
        *retained.ROUTES,
        *brokers.ROUTES,
    ]
    return [*routes, openapi.route(routes)]


async def open_api(settings: HttpServer, keys: ApiKeys, plant: Plant) -> AdminServer:
    """Bind the API's port; `serve` follows. Raises AdminError, one line with the key and the cause."""
    try:
        access = Access(settings, keys, asyncio.get_running_loop().time)
    except AccessError as error:
        raise AdminError(str(error)) from None
    except SecretError as error:
        raise AdminError(f"http_server.password: {error}") from None
    return await AdminServer.open(settings, all_routes(), access, plant)
