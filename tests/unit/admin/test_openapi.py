"""Routes and document belong together, and the document is one of OpenAPI 3.1."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import msgspec
import pytest

from bridge.admin.api import all_routes
from bridge.admin.openapi import PATH, document
from bridge.admin.publish import PublishEmqx, PublishNanomq, PublishProperties
from bridge.admin.schemas import SCHEMAS
from bridge.admin.scopes import SCOPES

ROUTES = all_routes()
DOCUMENT = document(ROUTES)


def walk(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner)


def test_every_route_is_in_the_document_and_no_other() -> None:
    found = {(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert found == {(route.method, route.path) for route in ROUTES}
    assert len(ROUTES) == len(found)
    assert PATH in DOCUMENT["paths"]
    json.dumps(DOCUMENT)


def test_every_reference_leads_somewhere() -> None:
    used = {part["$ref"] for part in walk(DOCUMENT) if "$ref" in part}
    assert {ref.removeprefix("#/components/schemas/") for ref in used} == set(SCHEMAS)


OTHER_MEDIA = {
    ("/metrics", "200"): ["text/plain", "application/openmetrics-text"],
    ("/readyz", "503"): ["application/json"],  # the same as where it is ready
}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_an_operation(route: Any) -> None:
    operation = DOCUMENT["paths"][route.path][route.method.lower()]
    assert operation["operationId"]
    assert operation["summary"].endswith(".")
    assert operation["tags"]
    assert ("requestBody" in operation) == bool(route.media)
    if route.probe:  # asks nobody who calls
        assert operation["security"] == []
        assert not {"401", "429"} & operation["responses"].keys()
    else:
        assert {"401", "403", "429", "503"} <= operation["responses"].keys()
    assert any(status < "300" for status in operation["responses"])
    if route.media:
        assert {"400", "413", "415"} <= operation["responses"].keys()
    for status, response in operation["responses"].items():
        kinds = ["application/json" if status < "300" else "application/problem+json"]
        if status < "300" and route.path.startswith("/api/v2/live/"):
            kinds = ["text/event-stream"]
        kinds = OTHER_MEDIA.get((route.path, status), kinds)
        assert list(response.get("content", dict.fromkeys(kinds))) == kinds
    assert route.scope is None or route.scope in SCOPES
    if route.public or route.probe:
        assert operation["security"] == []
    else:
        assert operation["security"][0] == {"bearer": [route.scope] if route.scope else []}


def test_operation_ids_are_unique() -> None:
    ids = [op["operationId"] for methods in DOCUMENT["paths"].values() for op in methods.values()]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_one_of_draft_2020_12(name: str) -> None:
    whole = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": SCHEMAS}}
    jsonschema_rs.Draft202012Validator(whole)
    for part in walk(SCHEMAS[name]):
        for pattern in [part["pattern"]] if isinstance(part.get("pattern"), str) else []:
            re.compile(pattern)


@pytest.mark.parametrize(
    ("name", "struct"),
    [
        ("PublishEmqx", PublishEmqx),
        ("PublishNanomq", PublishNanomq),
        ("PublishProperties", PublishProperties),
    ],
)
def test_a_message_s_schema_has_the_members_that_are_read(name: str, struct: Any) -> None:
    fields = msgspec.structs.fields(struct)
    assert SCHEMAS[name]["properties"].keys() == {field.name for field in fields}
    required = {field.name for field in fields if field.required}
    assert set(SCHEMAS[name].get("required", ())) - {"topic"} == required - {"topic"}
