"""The calls on what is made over the API, the same for every kind: list, make, show, change, delete."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from aiohttp import web

from bridge.admin.managed import Changed, Conflict, Forbidden, Invalid, Made, ManagedSettings, NotThere
from bridge.admin.pages import PAGE_PARAMETERS, page_of, read_cursor, write_cursor
from bridge.admin.problems import Problem, answer
from bridge.admin.routes import (
    JSON_TYPES,
    PATCH_TYPES,
    Call,
    Plant,
    Route,
    decode_object,
    json_content,
    problem_response,
    schema,
)
from bridge.config.json_node import Fault
from bridge.config.settings import Trust
from bridge.events.cloudevents import timestamp
from bridge.journal.store import StoreError

Of = Callable[[Plant], ManagedSettings[Any]]
_TAG = re.compile(r'\*|(?:W/)?"[^"]*"')


@contextmanager
def _told() -> Any:
    """What goes wrong with managed settings, as problems."""
    try:
        yield
    except NotThere as error:
        raise Problem(404, str(error)) from None
    except Invalid as error:
        raise Problem(422, str(error), errors=fault_members(error.faults)) from None
    except Conflict as error:
        raise Problem(409, str(error)) from None
    except Forbidden as error:
        raise Problem(403, str(error)) from None
    except Changed as error:
        raise Problem(412, str(error)) from None
    except StoreError as error:
        raise Problem(
            503, f"the store cannot be used now, nothing was changed: {error}", headers={"Retry-After": "5"}
        ) from None


def told() -> AbstractContextManager[None]:
    """Turns what `ManagedSettings` raises into problems."""
    found: AbstractContextManager[None] = _told()
    return found


def trust(call: Call) -> Trust:
    """Whose it is that the caller makes."""
    return "operator" if call.principal.may("admin") else "tenant"


def fault_members(faults: list[Fault]) -> list[dict[str, str]]:
    return [fault._asdict() for fault in faults]


def _versions(call: Call) -> list[str] | None:
    """The entity tags of If-Match (RFC 9110 section 13.1.1); None without it."""
    value = call.headers.get("If-Match")
    return None if value is None else _TAG.findall(value[:4096])


class Crud:
    """The calls on one kind at `path`. `of` gives its managed settings, `noun` is what people call it, and
    `name` begins the names of its schemas: `<name>Settings`, `<name>Patch`, `<name>`, `<name>Changed` and
    `<name>Page`. `parameter` is the path's id."""

    def __init__(self, path: str, of: Of, noun: str, name: str, prefix: str) -> None:
        self.path = path
        self.one = path + "/{id}"
        self.of = of
        self.noun = noun
        self.name = name
        self.parameter: Mapping[str, Any] = {
            "name": "id",
            "in": "path",
            "required": True,
            "description": f"Of one made over the API `{prefix}…`, of one of the file its name.",
            "schema": {"type": "string", "minLength": 1},
        }

    def shown(self, call: Call, identifier: str, made: Made | None = None, status: int = 200) -> web.Response:
        """The answer that shows one. Raises NotThere."""
        managed = self.of(call.plant)
        body = managed.show(identifier)
        headers = {}
        version = managed.version(identifier)
        if version is not None:
            headers["ETag"] = version
        if made is not None:
            if made.secret is not None:
                body["secret"] = made.secret
            if made.expires is not None:
                body["old_secret_expires"] = timestamp(made.expires)
            body["warnings"] = fault_members(made.warnings)
        if status == 201:
            headers["Location"] = f"{self.path}/{identifier}"
        return answer(body, status, headers=headers)

    async def _list(self, call: Call) -> web.Response:
        limit, cursor = page_of(call.query)
        managed = self.of(call.plant)
        ids = managed.ids()
        begin = 0
        if cursor is not None:
            (last,) = read_cursor(cursor, str)
            begin = ids.index(last) + 1 if last in ids else len(ids)
        chosen = ids[begin : begin + limit]
        lanes = {lane.name: lane for lane in call.plant.webhooks.lanes}
        more = begin + limit < len(ids)
        return answer(
            {
                "data": [managed.show(one, lanes) for one in chosen],
                "next": write_cursor(chosen[-1]) if more else None,
                "total": len(ids),
            }
        )

    async def _create(self, call: Call) -> web.Response:
        call.must_be_able_to_store()
        document = decode_object(call.body)
        with told():
            made = self.of(call.plant).create(
                document, trust(call), call.principal.name, may=call.principal.may
            )
        await call.stored()
        with told():
            return self.shown(call, made.id, made, 201)

    async def _get(self, call: Call) -> web.Response:
        with told():
            return self.shown(call, call.path["id"])

    async def _patch(self, call: Call) -> web.Response:
        call.must_be_able_to_store()
        patch = decode_object(call.body)
        with told():
            made = await self.of(call.plant).change(
                call.path["id"], patch, trust(call), _versions(call), may=call.principal.may
            )
            await call.stored()
            return self.shown(call, made.id, made)

    async def _delete(self, call: Call) -> web.Response:
        call.must_be_able_to_store()
        with told():
            await self.of(call.plant).delete(call.path["id"], trust(call), _versions(call))
        await call.stored()
        return web.Response(status=204)

    def changed(self, text: str) -> dict[str, Any]:
        """The response that shows one after a change."""
        return {"description": text, "headers": ETAG, "content": json_content(f"{self.name}Changed")}

    def routes(self, tag: str, texts: Mapping[str, str]) -> Sequence[Route]:
        """The calls. `texts` are the descriptions of `create` and `change`."""
        noun, name = self.noun, self.name
        missing = problem_response(f"No {noun} has this id.")
        conflict = problem_response("It is one of the file, or there are too many.")
        changed = problem_response("It has changed since.")
        invalid = problem_response("Settings that cannot be; `errors` has the path of each fault.")
        return (
            Route(
                *("GET", self.path, "endpoints:read", self._list),
                {
                    "operationId": f"list{name}s",
                    "summary": f"All {noun}s, those of the file first.",
                    "tags": [tag],
                    "parameters": list(PAGE_PARAMETERS),
                    "responses": {
                        "200": {"description": "A page of them.", "content": json_content(f"{name}Page")},
                        "422": problem_response("A limit or a cursor that is none."),
                    },
                },
            ),
            Route(
                *("POST", self.path, "endpoints:write", self._create),
                {
                    "operationId": f"create{name}",
                    "summary": f"Make an {noun}." if noun[0] in "aeiou" else f"Make a {noun}.",
                    "description": texts["create"],
                    "tags": [tag],
                    "requestBody": {"required": True, "content": json_content(f"{name}Settings")},
                    "responses": {
                        "201": {
                            "description": "Made.",
                            "headers": {**ETAG, "Location": {"schema": {"type": "string"}}},
                            "content": json_content(f"{name}Changed"),
                        },
                        "409": conflict,
                        "422": invalid,
                    },
                },
                JSON_TYPES,
            ),
            Route(
                *("GET", self.one, "endpoints:read", self._get),
                {
                    "operationId": f"get{name}",
                    "summary": f"One {noun}.",
                    "tags": [tag],
                    "parameters": [self.parameter],
                    "responses": {
                        "200": {"description": "It.", "headers": ETAG, "content": json_content(name)},
                        "404": missing,
                    },
                },
            ),
            Route(
                *("PATCH", self.one, "endpoints:write", self._patch),
                {
                    "operationId": f"change{name}",
                    "summary": "Change one: JSON Merge Patch (RFC 7396), null for the default.",
                    "description": texts["change"],
                    "tags": [tag],
                    "parameters": [self.parameter, _IF_MATCH],
                    "requestBody": {
                        "required": True,
                        "content": {kind: {"schema": schema(f"{name}Patch")} for kind in sorted(PATCH_TYPES)},
                    },
                    "responses": {
                        "200": self.changed("Changed."),
                        "404": missing,
                        "409": conflict,
                        "412": changed,
                        "422": invalid,
                    },
                },
                PATCH_TYPES,
            ),
            Route(
                *("DELETE", self.one, "endpoints:write", self._delete),
                {
                    "operationId": f"delete{name}",
                    "summary": "Delete one, with what waits for it and its dead letters.",
                    "tags": [tag],
                    "parameters": [self.parameter, _IF_MATCH],
                    "responses": {
                        "204": {"description": "Deleted."},
                        "404": missing,
                        "409": conflict,
                        "412": changed,
                    },
                },
            ),
        )


_IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "description": "The `ETag` that it was seen with: it is changed only if it still is at that.",
    "schema": {"type": "string"},
}
ETAG = {"ETag": {"schema": {"type": "string"}, "description": "Of those of the API alone."}}
