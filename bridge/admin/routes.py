"""What the HTTP API consists of: one `Route` for each call, which its handler and its documentation share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, Protocol

import msgspec
from aiohttp import web

from bridge.admin.endpoints import Endpoints
from bridge.admin.problems import Problem
from bridge.admin.publishers import Publishers
from bridge.admin.scopes import Principal
from bridge.broker.server import Broker
from bridge.broker.system_topics import SystemTopics
from bridge.config.settings import Settings
from bridge.delivery.attempts import AttemptRecorder
from bridge.delivery.rates import Rates
from bridge.delivery.replays import Replays
from bridge.delivery.webhooks import Webhooks
from bridge.journal.journal import Journal
from bridge.journal.retention import Retention
from bridge.sources.intake import Intake

STORED_S = 30.0
"""How long an answer waits for the store before the caller is told that nobody knows."""
JSON_TYPES = frozenset({"application/json"})
PATCH_TYPES = JSON_TYPES | {"application/merge-patch+json"}
"""Of a change: JSON Merge Patch, RFC 7396."""
JSON_OR_FORM = JSON_TYPES | {"application/x-www-form-urlencoded", "text/plain"}
"""What `curl -d` says of JSON when it is told nothing: NanoMQ's own examples do so."""


class Plant(Protocol):
    """What the handlers need of the process."""

    journal: Journal
    broker: Broker
    system: SystemTopics
    endpoints: Endpoints
    publishers: Publishers
    webhooks: Webhooks
    retention: Retention
    rates: Rates
    replays: Replays
    settings: Settings

    @property
    def attempts(self) -> AttemptRecorder | None:
        """The attempt log, if there is one."""

    @property
    def intake(self) -> Intake:
        """The way in for business events."""

    def message_id(self, number: int) -> str:
        """The id of the message of that number, as events show it."""


class Call(NamedTuple):
    """One request, with its caller known and its body read."""

    plant: Plant
    principal: Principal
    peername: str  # "address:port"
    path: Mapping[str, str]  # the path's variables
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    async def stored(self) -> None:
        """Wait until all that joined the journal so far is durable. Raises Problem (503)."""
        journal = self.plant.journal
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        journal.after(_finish, done)
        try:
            async with asyncio.timeout(STORED_S):
                await done
        except TimeoutError:
            raise Problem(
                503,
                "the store does not answer: whether this was stored is not known, send it again later",
                headers={"Retry-After": "5"},
            ) from None

    def must_be_able_to_store(self) -> None:
        """Raises Problem (503) while the store refuses to write: nothing was done then."""
        if self.plant.journal.stalled:
            raise Problem(
                503, "the store refuses to write at present: nothing was taken", headers={"Retry-After": "5"}
            )


def _finish(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


Handler = Callable[[Call], Awaitable[web.Response]]


class Route(NamedTuple):
    """One call of the API.

    `path` has its variables in braces. `scope` None: whoever is known may call it. `operation` is its
    Operation Object of OpenAPI 3.1, without what every call has: the security, and the errors 401, 403, 429,
    500 and 503. `media` are the types of a body that are taken; empty: there is no body. `members` are those
    that its errors have beside those of RFC 9457, by status and detail.
    """

    method: str
    path: str
    scope: str | None
    handler: Handler
    operation: Mapping[str, Any]
    media: frozenset[str] = frozenset()
    members: Callable[[int, str], dict[str, Any]] | None = None


def decode_json(body: bytes) -> Any:
    """The body as JSON. Raises Problem (400)."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, f"the body is not JSON: {error}") from None


def decode_object(body: bytes, *, empty: bool = False) -> dict[str, Any]:
    """The body as a JSON object; `empty`: none at all is one without members. Raises Problem (400, 422)."""
    if empty and not body.strip():
        return {}
    value = decode_json(body)
    if not isinstance(value, dict):
        raise Problem(422, "expected an object", errors=[{"path": "", "message": "expected an object"}])
    return value


def schema(name: str) -> dict[str, str]:
    """A reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def json_content(name: str) -> dict[str, Any]:
    """The content of a body or a response in JSON of that schema."""
    return {"application/json": {"schema": schema(name)}}


def problem_response(text: str) -> dict[str, Any]:
    """A response in the form of RFC 9457."""
    return {"description": text, "content": {"application/problem+json": {"schema": schema("Problem")}}}
