"""The HTTP server of the API: aiohttp in the loop that serves everything else, with a bound on each thing.

1. A connection counts: beyond `max_connections` it gets 503 and is closed. It has `IDLE_S` for the first
   request's head, and between two requests.
2. Who calls is decided from the head alone; nobody who is unknown has a body read.
3. A request waits for its turn (`limit_conn`), at most `QUEUE_S`; its body has `max_body` and `BODY_S`.
4. Whatever goes wrong is answered as RFC 9457 has it.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

from aiohttp import web

from bridge import __version__
from bridge.admin.access import CSRF_HEADER, NO_PAGE, Access, Page
from bridge.admin.dashboard.assets import Assets
from bridge.admin.problems import Problem, problem
from bridge.admin.routes import Call, Plant, Route
from bridge.admin.scopes import Principal
from bridge.admin.sessions import COOKIE
from bridge.broker.listeners import not_bound
from bridge.config.settings import HttpServer
from bridge.journal.store import StoreError

log = logging.getLogger(__name__)

IDLE_S = 30.0
BODY_S = 30.0
QUEUE_S = 10.0
HANDSHAKE_S = 10.0
CLOSE_S = 5.0
"""How long requests may take to end when HookMQ ends."""
MAX_LINE = 8190
MAX_FIELDS = 64
FULL_LOG_S = 10.0
SERVER = f"HookMQ/{__version__}"
_NOTHING_TO_READ = ("GET", "HEAD", "OPTIONS", "DELETE")
_SAFE = ("GET", "HEAD", "OPTIONS")
_NOBODY = Principal("", frozenset())


_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"
)


class AdminError(Exception):
    """The HTTP server cannot open; the text is one line with the key and the cause."""


class _Connection(web.RequestHandler):
    """aiohttp's, with a bound on how many there are, and errors of HTTP itself as problems."""

    __slots__ = ("_full",)

    def __init__(self, server: web.Server, loop: asyncio.AbstractEventLoop, full: Callable[[], bool]) -> None:
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=IDLE_S,
            access_log=None,  # type: ignore[arg-type]
            max_line_size=MAX_LINE,
            max_field_size=MAX_LINE,
            max_headers=MAX_FIELDS,
            lingering_time=2.0,
            auto_decompress=False,
        )
        self._full = full

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not self._full():
            super().connection_made(transport)
            return
        # aiohttp is told nothing: it would wait for a request.
        self._manager = None
        self._force_close = True
        stream = cast(asyncio.WriteTransport, transport)
        stream.write(_FULL)
        stream.close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if status >= 500:
            log.error("http_server: a request failed", exc_info=exc)
        response = problem(
            status, "this is not a request of HTTP/1.1" if status == 400 else "a fault of ours"
        )
        response.headers["Server"] = SERVER
        response.force_close()
        return response


class AdminServer:
    """Made by `open`."""

    def __init__(
        self,
        settings: HttpServer,
        routes: Sequence[Route],
        access: Access,
        plant: Plant,
        assets: Assets | None = None,
    ) -> None:
        """For `open`."""
        self.address = ""  # http://127.0.0.1:8081, once it is open
        self._settings = settings
        self.access = access
        self._plant = plant
        self._turns = asyncio.Semaphore(settings.limit_conn)
        self._max_connections = settings.max_connections
        self._secure = settings.certfile is not None
        self._full_logged = float("-inf")
        self.answered: dict[int, int] = {}  # requests since the start, by status
        self._loop = asyncio.get_running_loop()
        self._sockets: asyncio.Server | None = None
        application = web.Application(
            middlewares=[self._errors], client_max_size=settings.max_body, logger=log
        )
        for route in routes:
            application.router.add_route(route.method, route.path, self._handler(route))
            if route.method == "GET":
                application.router.add_route("HEAD", route.path, self._handler(route))
        if assets is not None:
            assets.mount(application.router)
        self._application = application
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=CLOSE_S)

    @classmethod
    async def open(
        cls,
        settings: HttpServer,
        routes: Sequence[Route],
        access: Access,
        plant: Plant,
        assets: Assets | None = None,
    ) -> AdminServer:
        """Bind; `serve` follows. Raises AdminError."""
        server = cls(settings, routes, access, plant, assets)
        await server._bind()
        return server

    async def _bind(self) -> None:
        settings = self._settings
        await self._runner.setup()
        manager = self._runner.server
        assert manager is not None  # noqa: S101
        context = _tls(settings)
        try:
            self._sockets = await self._loop.create_server(
                lambda: _Connection(manager, self._loop, self._full),
                "127.0.0.1" if settings.host == "localhost" else settings.host,
                settings.port,
                start_serving=False,
                ssl=context,
                ssl_handshake_timeout=None if context is None else HANDSHAKE_S,
            )
        except OSError as error:
            await self._runner.cleanup()
            cause = not_bound(error, settings.host, settings.port)
            raise AdminError(f"http_server.port: {cause}") from None
        host, port = self._sockets.sockets[0].getsockname()[:2]
        scheme = "http" if context is None else "https"
        self.address = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    async def serve(self) -> None:
        """Accept connections."""
        if self._sockets is not None:
            await self._sockets.start_serving()

    def stop_accepting(self) -> None:
        """Accept no more connections."""
        if self._sockets is not None:
            self._sockets.close()

    async def close(self) -> None:
        """End: what is being answered may take `CLOSE_S`."""
        self.stop_accepting()
        await self._runner.cleanup()
        self.access.close()

    def _full(self) -> bool:
        manager = self._runner.server
        if manager is None or len(manager.connections) < self._max_connections:
            return False
        now = self._loop.time()
        if now - self._full_logged > FULL_LOG_S:
            self._full_logged = now
            log.warning("http_server: %d connections are open, new ones are closed", self._max_connections)
        return True

    # -- one request -----------------------------------------------------------------------------------

    @web.middleware
    async def _errors(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            response = await handler(request)
        except Problem as error:
            response = error.response()
        except web.HTTPMethodNotAllowed as error:
            allowed = ", ".join(sorted(error.allowed_methods))
            detail = f"found the method {request.method}, expected {allowed}"
            response = problem(405, detail, headers={"Allow": allowed})
        except web.HTTPNotFound:
            response = problem(404, "there is nothing at this path")
        except web.HTTPException as error:
            response = problem(error.status, error.reason or "this request cannot be answered")
        except asyncio.CancelledError:
            raise
        except StoreError as error:
            log.warning("http_server: %s %s: the store: %s", request.method, request.path, error)
            detail = "the store cannot be used at present"
            response = problem(503, detail, headers={"Retry-After": "5"})
        except Exception:
            log.exception("http_server: %s %s failed", request.method, request.path)
            response = problem(500, "HookMQ itself made a mistake: its log has more")
        self.answered[response.status] = self.answered.get(response.status, 0) + 1
        response.headers["Server"] = SERVER
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    def _handler(self, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                return await self._answer(route, request)
            except Problem as error:
                if route.members is not None:
                    error.members = {**route.members(error.status, error.detail), **error.members}
                raise

        return handle

    async def _answer(self, route: Route, request: web.Request) -> web.StreamResponse:
        headers = request.headers
        peer = request.transport.get_extra_info("peername") if request.transport is not None else None
        host, port = peer[:2] if peer else ("", 0)
        if route.probe:
            peername = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            return await route.handler(
                Call(self._plant, _NOBODY, peername, request.match_info, request.query, headers, b"")
            )
        page = _page(request)
        principal = await self._caller(route, request, host, page)
        if route.scope is not None and not principal.may(route.scope):
            raise Problem(403, f"this needs the scope {route.scope}, which the caller has not")
        if route.media and request.body_exists:  # clients give what is nothing a type of their own
            _check_media(request, route.media)
        try:
            async with asyncio.timeout(QUEUE_S):
                await self._turns.acquire()
        except TimeoutError:
            detail = f"{self._settings.limit_conn} requests are being answered already"
            raise Problem(503, detail, headers={"Retry-After": "1"}) from None
        try:
            body = await self._body(request) if request.method not in _NOTHING_TO_READ else b""
            call = Call(
                self._plant,
                principal,
                f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
                request.match_info,
                request.query,
                headers,
                body,
                page,
                self.access,
                self._secure or headers.get("Origin", "").startswith("https://"),
            )
            return await route.handler(call)
        finally:
            self._turns.release()

    async def _caller(self, route: Route, request: web.Request, address: str, page: Page) -> Principal:
        headers = request.headers
        host, origin = headers.get("Host"), headers.get("Origin")
        if route.public:
            self.access.check_page(host, origin, page)
            return _NOBODY
        found = self.access.who(headers.get("Authorization"), host, origin, address, page)
        return found if isinstance(found, Principal) else await found

    async def _body(self, request: web.Request) -> bytes:
        limit = self._settings.max_body
        too_large = Problem(413, f"the body is longer than {limit} bytes", headers={"Connection": "close"})
        if request.content_length is not None and request.content_length > limit:
            raise too_large
        try:
            async with asyncio.timeout(BODY_S):
                return await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise too_large from None
        except TimeoutError:
            detail = f"the body was not there after {BODY_S:.0f} s"
            raise Problem(408, detail, headers={"Connection": "close"}) from None
        except web.RequestPayloadError:
            raise Problem(400, "the body broke off, or is not as its head says") from None


def _tls(settings: HttpServer) -> ssl.SSLContext | None:
    """For HTTPS, TLS 1.2 and later; None without a certificate. Raises AdminError."""
    if settings.certfile is None:
        return None
    password = settings.key_password
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(
            settings.certfile,
            settings.keyfile,
            lambda: password.get_secret_value() if password is not None else "",
        )
    except (OSError, ssl.SSLError) as error:
        raise AdminError(f"http_server.certfile: {error}") from None
    return context


def _page(request: web.Request) -> Page:
    """What a browser tells of the page that asks. Programs tell nothing, and pay nothing."""
    headers = request.headers
    token = request.cookies.get(COOKIE, "") if "Cookie" in headers else ""
    mode = headers.get("Sec-Fetch-Mode", "")
    scripted = bool(token) or headers.get("X-Requested-With") == "hookmq" or mode not in ("", "navigate")
    site = headers.get("Sec-Fetch-Site", "")
    if not (scripted or mode or site or "Origin" in headers):
        return NO_PAGE
    return Page(
        request.method in _SAFE,
        token,
        headers.get(CSRF_HEADER, ""),
        site,
        scripted,
    )


def _check_media(request: web.Request, media: frozenset[str]) -> None:
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Problem(
            415, "the body is compressed, expected it as it is", headers={"Accept-Encoding": "identity"}
        )
    # Where nothing is said, aiohttp says application/octet-stream.
    found = request.content_type if "Content-Type" in request.headers else "application/json"
    if found not in media:
        raise Problem(
            415,
            f"found the content type {found[:80]!r}, expected application/json",
            headers={"Accept": "application/json"},
        )
