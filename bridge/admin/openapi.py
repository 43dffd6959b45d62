"""The OpenAPI 3.1 document of the API: put together from the routes, each of which describes itself."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web

from bridge import __version__
from bridge.admin.routes import Call, Route, problem_response
from bridge.admin.schemas import SCHEMAS
from bridge.admin.scopes import SCOPES
from bridge.admin.sessions import COOKIE

PATH = "/api/v2/openapi.json"
ALWAYS: Mapping[str, str] = {
    "401": "No credentials, or none that are valid.",
    "403": "The caller may not do this.",
    "429": "Too many failed logins from this address.",
    "500": "A fault of HookMQ's own.",
    "503": "Busy, or the store cannot be written at present; `Retry-After` says when to try again.",
}
"""Errors that every call may answer."""
WITH_BODY: Mapping[str, str] = {
    "400": "The body is not JSON, or not as described.",
    "408": "The body took too long.",
    "413": "The body is larger than `http_server.max_body`.",
    "415": "The body is of another type, or compressed.",
}
"""And those of calls that have a body."""


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """The document."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "HookMQ",
            "version": __version__,
            "description": "The HTTP API of HookMQ. Errors are RFC 9457 problems.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key (`hookmq api-key create`), or a JWT (RS256). Scopes: "
                    + "; ".join(f"`{name}`: {text}" for name, text in SCOPES.items()),
                },
                "basic": {"type": "http", "scheme": "basic"},
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": COOKIE,
                    "description": "The cookie of `POST /api/v2/session`. Requests that change something "
                    "need the session's `csrf` as `X-CSRF-Token` too.",
                },
            },
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    operation = dict(route.operation)
    errors = {**ALWAYS, **(WITH_BODY if route.media else {})}
    if route.probe:
        errors = {status: text for status, text in errors.items() if status in ("403", "500")}
    responses = {**operation.get("responses", {})}
    for status, text in errors.items():
        responses.setdefault(status, problem_response(text))
    operation["responses"] = dict(sorted(responses.items()))
    scopes = [route.scope] if route.scope is not None else []
    # OpenAPI 3.1: for schemes other than oauth2 the list names the roles that are needed.
    operation["security"] = (
        [] if route.public or route.probe else [{"bearer": scopes}, {"basic": []}, {"session": scopes}]
    )
    variables = re.findall(r"\{(\w+)\}", route.path)
    named = {one["name"] for one in operation.get("parameters", ()) if one.get("in") == "path"}
    if set(variables) != named:
        raise ValueError(f"{route.method} {route.path}: its variables are not those that it describes")
    return operation


def route(routes: Sequence[Route]) -> Route:
    """The route of the document of these routes and of itself."""
    described: list[bytes] = []

    async def handle(call: Call) -> web.Response:
        return web.Response(body=described[0], content_type="application/json")

    own = Route(
        "GET",
        PATH,
        None,
        handle,
        {
            "operationId": "getOpenApi",
            "summary": "This document.",
            "tags": ["api"],
            "responses": {
                "200": {
                    "description": "The OpenAPI 3.1 document.",
                    "content": {"application/json": {"schema": {"type": "object"}}},
                }
            },
        },
    )
    described.append(msgspec.json.encode(document([*routes, own])))
    return own
