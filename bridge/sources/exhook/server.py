"""The gRPC server that EMQX calls: `emqx.exhook.v2` and `v3`, service `HookProvider` (INTEROP 2.4).

* EMQX is told at its start which hooks the rules want, with the topic filters of those about messages.
* A call is answered when its events are durable, and at once where nobody wants them.
* Nobody is authenticated or authorized here: those hooks are never registered, and whatever has a value is
  answered with IGNORE, which leaves everything as it is.
* A message is known by EMQX's id: one that comes again is answered and not stored again, over a restart too.
* What cannot be stored is not acknowledged: RESOURCE_EXHAUSTED for a full endpoint, UNAVAILABLE while the
  store refuses to write. EMQX's `failed_action` decides what becomes of the message there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError

from bridge import __version__
from bridge.config.settings import ExHook
from bridge.events.event import HOOK_EVENTS, MESSAGE_EVENTS, Event, EventType
from bridge.sources.exhook.happened import HOOKS, Hook
from bridge.sources.exhook.messages import MESSAGES
from bridge.sources.recorder import NotTaken, Recorder
from bridge.sources.remembered import Remembered

log = logging.getLogger(__name__)

VERSIONS = ("v2", "v3")
MAX_FILTERS = 1000
"""Topic filters of one hook that EMQX is told; with more it is to send all messages, since it tries each
filter on each of them."""
MAX_NODES = 1000
"""Nodes of EMQX whose registered hooks are remembered."""
COMPARE_S = 1.0
"""After a change of rules, until it is looked at what EMQX was told: others may follow."""
STOP_S = 2.0
"""That calls have to end when HookMQ stops."""
KEEPALIVE_MS = 30_000
"""Silence after which a connection is asked for a sign of life."""
MESSAGE_SPACE = "exhook-message"
LOADED_SPACE = "exhook-loaded"
_IGNORE = b"\x08\x01"  # ValuedResponse{type = IGNORE}; CONTINUE without a value is a warning in EMQX
_EMPTY = b""  # EmptySuccess
_ONCE = frozenset({EventType.MESSAGE_PUBLISH, EventType.MESSAGE_DROPPED})
"""Events that happen once to a message; it may be delivered and acknowledged any number of times."""
_VALUED = frozenset({"OnMessagePublish", "OnClientAuthenticate", "OnClientAuthorize"})
_GIVEN = frozenset(hook.type for hook in HOOKS.values())

Handler = Callable[[bytes, Any], Awaitable[bytes]]


class ExHookError(Exception):
    """The server cannot be started; the text is one line with the key and the cause."""


class ExHookServer:
    """`sources.exhook`. For the loop's thread."""

    def __init__(self, settings: ExHook, recorder: Recorder, loop: asyncio.AbstractEventLoop) -> None:
        self.address = ""
        self.counts = {"calls": 0, "events": 0, "repeated": 0, "refused": 0, "malformed": 0}
        self._settings = settings
        self._recorder = recorder
        self._loop = loop
        self._seen = Remembered(recorder.journal, MESSAGE_SPACE)
        self._loaded = dict(recorder.journal.store.load(LOADED_SPACE))
        self._told_refused = 0.0
        self._comparing: asyncio.TimerHandle | None = None
        self._server: Any = None

    async def start(self) -> str:
        """Open the port; the address that it has. Raises ExHookError."""
        settings = self._settings
        server = self._server = grpc.aio.server(
            maximum_concurrent_rpcs=settings.max_concurrent_calls,
            options=[
                ("grpc.so_reuseport", 0),  # one port, one process
                ("grpc.max_receive_message_length", settings.max_message_size),
                ("grpc.max_concurrent_streams", settings.max_concurrent_calls),
                ("grpc.max_allowed_incoming_connections", settings.max_connections),
                ("grpc.keepalive_time_ms", KEEPALIVE_MS),
                ("grpc.http2.min_recv_ping_interval_without_data_ms", 5000),
                ("grpc.primary_user_agent", f"hookmq/{__version__}"),
            ],
        )
        server.add_generic_rpc_handlers((_Calls(self._handlers()),))
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        place = f"{host}:{settings.port}"
        try:
            if settings.certfile is None:
                port = server.add_insecure_port(place)
            else:
                port = server.add_secure_port(place, self._credentials())
        except RuntimeError:
            raise ExHookError(
                f"sources.exhook.bind: cannot listen on {place}, expected an address of this machine and a"
                " port that nobody else has"
            ) from None
        await server.start()
        self.address = f"{host}:{port}"
        self.rules_changed()
        return self.address

    def _credentials(self) -> Any:
        settings = self._settings

        def read(name: str) -> bytes:
            path = getattr(settings, name)
            try:
                data: bytes = path.read_bytes()
            except OSError as error:
                raise ExHookError(f"sources.exhook.{name}: {path}: {error.strerror}") from None
            return data

        certificate = read("certfile")
        key = read("keyfile") if settings.keyfile is not None else certificate
        authority = read("cacertfile") if settings.cacertfile is not None else None
        return grpc.ssl_server_credentials(
            [(key, certificate)],
            root_certificates=authority,
            require_client_auth=settings.verify_peer,
        )

    async def stop(self) -> None:
        """Take no more calls, and let those that wait for the store end."""
        if self._comparing is not None:
            self._comparing.cancel()
        if self._server is not None:
            await self._server.stop(STOP_S)

    # -- what EMQX is to call --------------------------------------------------------------------------

    def hooks(self) -> list[tuple[str, list[str]]]:
        """The hooks that the rules want and ExHook has, with the filters of those about messages; no filter
        means all topics."""
        rules = self._recorder.rules
        found = []
        for hook in HOOKS.values():
            if rules.wants(hook.type):
                filters = rules.filters(hook.type) if hook.type in MESSAGE_EVENTS else set()
                if "#" in filters:  # which no `$` topic matches
                    filters = {one for one in filters if one == "#" or one.startswith("$")}
                found.append((hook.name, sorted(filters) if len(filters) <= MAX_FILTERS else []))
        return found

    def _response(self) -> bytes:
        response = MESSAGES["LoadedResponse"]()
        for name, topics in self.hooks():
            response.hooks.add(name=name, topics=topics)
        made: bytes = response.SerializeToString()
        return made

    def rules_changed(self) -> None:
        """EMQX asks for its hooks only when it loads the server: say so, soon, where it calls others than
        are wanted."""
        if self._loaded and self._comparing is None:
            self._comparing = self._loop.call_later(COMPARE_S, self._compare)

    def _compare(self) -> None:
        self._comparing = None
        wanted = self._response()
        stale = [node for node, given in self._loaded.items() if given != wanted]
        if stale:
            log.warning(
                "sources.exhook: other events are wanted than EMQX %s was told to send; expected that its"
                " ExHook server is disabled and enabled again there",
                ", ".join(sorted(stale)[:5]) + (" and more" if len(stale) > 5 else ""),
            )

    async def _provider_loaded(self, request: Any) -> bytes:
        response = self._response()
        meta, broker = request.meta, request.broker
        node = meta.node or "emqx"
        missing = [
            kind.dotted for kind in HOOK_EVENTS if kind not in _GIVEN and self._recorder.rules.wants(kind)
        ]
        names = ", ".join(name for name, _ in self.hooks()) or "none"
        log.info("EMQX %s (%s) asks for its hooks: %s", node, meta.version or broker.version, names)
        if missing:
            log.warning(
                "sources.exhook: %s: EMQX's ExHook does not tell of it, and no event of it will come",
                ", ".join(missing),
            )
        self._recorder.check()
        if node not in self._loaded and len(self._loaded) >= MAX_NODES:
            self._forget(next(iter(self._loaded)))
        self._loaded[node] = response
        self._recorder.journal.put(LOADED_SPACE, node, response)
        return response

    async def _provider_unloaded(self, request: Any) -> bytes:
        node = request.meta.node or "emqx"
        log.info("EMQX %s sends nothing more", node)
        self._forget(node)
        return _EMPTY

    def _forget(self, node: str) -> None:
        if self._loaded.pop(node, None) is not None:
            self._recorder.journal.put(LOADED_SPACE, node, None)

    # -- the calls -------------------------------------------------------------------------------------

    def _handlers(self) -> dict[str, Handler]:
        """By the method's whole name."""
        calls = {name: self._event_call(hook, name in _VALUED) for name, hook in HOOKS.items()}
        calls["OnProviderLoaded"] = self._call("ProviderLoadedRequest", self._provider_loaded)
        calls["OnProviderUnloaded"] = self._call("ProviderUnloadedRequest", self._provider_unloaded)
        calls["OnClientAuthenticate"] = calls["OnClientAuthorize"] = _ignore
        return {
            f"/emqx.exhook.{version}.HookProvider/{name}": call
            for version in VERSIONS
            for name, call in calls.items()
        }

    def _event_call(self, hook: Hook, valued: bool) -> Handler:
        once = hook.type in _ONCE
        answer = _IGNORE if valued else _EMPTY

        async def take(request: Any) -> bytes:
            self.counts["calls"] += 1
            if self._take(hook, hook.build(request), once):
                await self._recorder.stored()
            return answer

        return self._call(hook.request, take)

    def _take(self, hook: Hook, events: Any, once: bool) -> bool:
        """Whether the answer has to wait for the store. Raises NotTaken."""
        waits = False
        for event in events:
            text = _identity(event) if once else None
            if text is not None and self._seen.find(text) is not None:
                self._recorder.check()
                self.counts["repeated"] += 1
                waits = True  # for the first one, which may not be durable yet
            elif self._recorder.record(event):
                self.counts["events"] += 1
                waits = True
                if text is not None:
                    self._seen.add(text)
        return waits

    def _call(self, message: str, take: Callable[[Any], Awaitable[bytes]]) -> Handler:
        parse = MESSAGES[message].FromString

        async def call(data: bytes, context: Any) -> bytes:
            try:
                return await take(parse(data))
            except DecodeError:
                self.counts["malformed"] += 1
                await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, f"the request is no {message}")
            except NotTaken as error:
                self._refused(str(error))
                full = not self._recorder.journal.stalled
                code = grpc.StatusCode.RESOURCE_EXHAUSTED if full else grpc.StatusCode.UNAVAILABLE
                await _abort(context, code, str(error))

        return call

    def _refused(self, why: str) -> None:
        self.counts["refused"] += 1
        now = self._loop.time()
        if now >= self._told_refused:
            self._told_refused = now + 60
            log.warning("sources.exhook: calls are refused, EMQX's failed_action decides: %s", why)


async def _abort(context: Any, code: Any, text: str) -> NoReturn:
    await context.abort(code, text)
    raise AssertionError  # abort has raised


async def _ignore(data: bytes, context: Any) -> bytes:
    """Whoever is authenticated or authorized: we have nothing to say."""
    return _IGNORE


def _identity(event: Event) -> str | None:
    """What a message's event is known by when it comes again; None where EMQX gave no id."""
    identifier = event.data.get("id") if event.data else None
    return None if identifier is None else f"{event.type}\0{identifier}"


class _Calls(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Finds the call of a method's name; requests and answers are bytes."""

    def __init__(self, handlers: dict[str, Handler]) -> None:
        self._handlers = {
            name: grpc.unary_unary_rpc_method_handler(handler) for name, handler in handlers.items()
        }
        self._told = False

    def service(self, handler_call_details: Any) -> Any:
        """The handler, or None: UNIMPLEMENTED."""
        method = handler_call_details.method
        found = self._handlers.get(method)
        if found is None and not self._told:
            self._told = True
            log.warning(
                "sources.exhook: somebody calls %.200r, expected emqx.exhook.v2 or v3 (EMQX 5.0 and later)",
                method,
            )
        return found
