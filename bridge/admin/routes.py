"""What the HTTP API consists of: one `Route` for each call, which its handler and its documentation share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec
from aiohttp import web

from bridge.admin.access import NO_PAGE, Access, Page
from bridge.admin.endpoints import Endpoints
from bridge.admin.problems import Problem
from bridge.admin.publishers import Publishers
from bridge.admin.scopes import Principal
from bridge.broker.hooks import Hooks
from bridge.broker.server import Broker
from bridge.broker.system_topics import SystemTopics
from bridge.config.settings import Settings
from bridge.delivery.again import Jobs
from bridge.delivery.attempts import AttemptRecorder
from bridge.delivery.rates import Rates
from bridge.delivery.replays import Replays
from bridge.delivery.webhooks import Webhooks
from bridge.events.event import Event
from bridge.journal.journal import Journal
from bridge.journal.retention import Retention
from bridge.sources.intake import Intake
from bridge.telemetry.trace_context import TRACEPARENT, TRACESTATE, context

if TYPE_CHECKING:
    from bridge.admin.server import AdminServer
    from bridge.sources.lift import Lifter

if TYPE_CHECKING:
    from bridge.admin.dashboard.live import Live

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
    jobs: Jobs
    settings: Settings
    admin: AdminServer | None

    @property
    def lifter(self) -> Lifter | None:
        """What makes business events of MQTT messages, if anything does."""

    @property
    def spans(self) -> Mapping[str, int]:
        """Spans by what became of them: exported, failed, dropped. Empty: none are made."""

    @property
    def spans_waiting(self) -> int:
        """Spans that wait for their endpoint."""

    @property
    def longest_checkpoint(self) -> float:
        """The longest that the loop stood still for a checkpoint of the store, in seconds."""

    def not_ready(self) -> list[str]:
        """Why clients should not come at present, in words that tell nothing secret; empty: they may."""

    def listen(self, hooks: Hooks | None, tap: Callable[[Event], None] | None) -> None:
        """Have these hooks called, and `tap` with business events, while somebody watches; None: nobody
        does."""

    @property
    def live(self) -> Live:
        """What the dashboard looks at."""

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
    page: Page = NO_PAGE
    access: Access | None = None
    secure: bool = False  # by HTTPS, here or at a proxy in front

    @property
    def trace(self) -> str | None:
        """The W3C trace context of the request (`Event.trace`); None where it has none that is valid."""
        if TRACEPARENT not in self.headers:
            return None
        return context(*[_lines(self.headers, name) for name in (TRACEPARENT, TRACESTATE)])

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


def _lines(headers: Mapping[str, str], name: str) -> list[str]:
    """All lines of a header; aiohttp's mapping has the first one at its name."""
    getall = getattr(headers, "getall", None)
    if getall is not None:
        return list(getall(name, ()))
    return [headers[name]] if name in headers else []


def _finish(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


Handler = Callable[[Call], Awaitable[web.StreamResponse]]


class Route(NamedTuple):
    """One call of the API.

    `path` has its variables in braces. `scope` None: whoever is known may call it. `operation` is its
    Operation Object of OpenAPI 3.1, without what every call has: the security, and the errors 401, 403, 429,
    500 and 503. `media` are the types of a body that are taken; empty: there is no body. `members` are those
    that its errors have beside those of RFC 9457, by status and detail. `public`: whoever is not known may
    call it too. `probe`: nobody is asked who calls, and nobody waits for a turn.
    """

    method: str
    path: str
    scope: str | None
    handler: Handler
    operation: Mapping[str, Any]
    media: frozenset[str] = frozenset()
    members: Callable[[int, str], dict[str, Any]] | None = None
    public: bool = False
    probe: bool = False


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


TRACE_PARAMETERS: tuple[Mapping[str, Any], ...] = tuple(
    {
        "name": name,
        "in": "header",
        "description": "W3C Trace Context: goes with the event to every receiver. What is not valid is "
        "taken for absent.",
        "schema": {"type": "string"},
    }
    for name in (TRACEPARENT, TRACESTATE)
)


def schema(name: str) -> dict[str, str]:
    """A reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def json_content(name: str) -> dict[str, Any]:
    """The content of a body or a response in JSON of that schema."""
    return {"application/json": {"schema": schema(name)}}


def problem_response(text: str) -> dict[str, Any]:
    """A response in the form of RFC 9457."""
    return {"description": text, "content": {"application/problem+json": {"schema": schema("Problem")}}}
