"""Who calls the HTTP API: an API key or a JWT as a Bearer token (RFC 6750), a password (RFC 7617), or a page
of the dashboard, by its session's cookie.

An API key is good whatever `http_server.auth_type` says; `basic` and `jwt` are good where it says so, and may
do everything. A password can be guessed, so an address that has failed has to wait before it is looked at
again; a key or a token cannot, and is looked at always.

A browser sends a cookie along for whatever page asks. So a page of another site is refused, and a request
that changes something needs the token of its session too, which no other page can know.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
import secrets
import time
from base64 import b64decode
from collections.abc import Awaitable, Callable
from functools import partial
from math import ceil
from typing import NamedTuple
from urllib.parse import urlsplit

import jwt

from bridge.admin.api_keys import PREFIX, ApiKeys
from bridge.admin.passwords import AdminPassword
from bridge.admin.problems import Problem
from bridge.admin.scopes import ALL, Principal
from bridge.admin.sessions import Sessions
from bridge.admin.throttle import Throttle
from bridge.broker.auth_hashes import Busy
from bridge.config.secret import reveal
from bridge.config.settings import HttpServer

log = logging.getLogger(__name__)

MAX_HEADER = 8190
"""Characters of an Authorization header."""
JWT_LEEWAY_S = 30
"""Between the clock that made a token and ours."""
REALM = "HookMQ"
CSRF_HEADER = "X-CSRF-Token"


class AccessError(Exception):
    """The settings cannot work; the text is one line with the key."""


class Page(NamedTuple):
    """What a browser tells beside Origin; texts are empty where it tells nothing."""

    safe: bool = True  # GET, HEAD, OPTIONS: nothing is changed
    token: str = ""  # of the session's cookie
    csrf: str = ""
    site: str = ""  # Sec-Fetch-Site
    scripted: bool = False  # a script asks: no dialog for a password is to open


NO_PAGE = Page()


class Access:
    """Decides on each request, from its headers and its address alone: before its body is read."""

    def __init__(self, settings: HttpServer, keys: ApiKeys, clock: Callable[[], float]) -> None:
        """Raises AccessError and SecretError. `clock` gives seconds that only grow."""
        self._keys = keys
        self._clock = clock
        self._throttle = Throttle(clock)
        self._loopback = settings.loopback
        self.sessions = Sessions(clock)
        self.csrf = secrets.token_urlsafe(32)  # where nobody has to sign in
        self._generation = 0
        self._open = False
        self._password: AdminPassword | None = None
        self._public_key: jwt.PyJWK | object | None = None
        self._public_pem = b""
        self._take(*self._read(settings))

    # -- settings --------------------------------------------------------------------------------------

    def _read(self, settings: HttpServer) -> tuple[str, AdminPassword | None, bytes]:
        kind = settings.auth_type
        if kind == "no_auth" and not (settings.loopback and self._loopback):
            # The configuration has refused it; never without this line.
            raise AccessError("http_server.auth_type: no_auth on an address that others can reach")
        password = None
        if kind == "basic" and settings.username and settings.password is not None:
            password = AdminPassword(settings.username, reveal(settings.password), self._clock)
        return kind, password, _read_key(settings) if kind == "jwt" else b""

    def _take(self, kind: str, password: AdminPassword | None, pem: bytes) -> None:
        self._open = kind == "no_auth"
        self._password = password
        self._public_pem = pem
        self._public_key = _load_key(pem) if pem else None
        schemes = [f'Bearer realm="{REALM}"']
        self._bearer = schemes[0]
        if password is not None:
            schemes.insert(0, f'Basic realm="{REALM}", charset="UTF-8"')
        self._challenge = ", ".join(schemes)

    def take_up(self, settings: HttpServer) -> bool:
        """Decide by these settings from now on; whether they are other ones. Then those who have signed in
        with a password or a token have to do so again. Raises AccessError and SecretError, and then nothing
        has changed."""
        kind, password, pem = self._read(settings)
        before = None if self._password is None else self._password.digest
        after = None if password is None else password.digest
        if (self._open, before, self._public_pem) == (kind == "no_auth", after, pem):
            return False
        self.close()
        self._generation += 1
        self._take(kind, password, pem)
        return True

    def close(self) -> None:
        """Check no passwords any more."""
        if self._password is not None:
            self._password.close()

    @property
    def open(self) -> bool:
        """Whether nobody has to say who he is."""
        return self._open

    # -- who calls -------------------------------------------------------------------------------------

    def who(
        self,
        authorization: str | None,
        host: str | None,
        origin: str | None,
        address: str,
        page: Page = NO_PAGE,
    ) -> Principal | Awaitable[Principal]:
        """The caller. Raises Problem: 401, 403, 429, 503."""
        _same_site(origin, host, page.site)
        if authorization is None:
            return self._without_header(host, origin, page)
        scheme, _, credentials = authorization[:MAX_HEADER].partition(" ")
        scheme, credentials = scheme.lower(), credentials.strip()
        if scheme == "basic":
            try:
                user, _, password = b64decode(credentials, validate=True).partition(b":")
            except ValueError:
                user = password = b""
            return self.by_password(user, password, address, scripted=page.scripted)
        found = self._by_bearer(credentials) if scheme == "bearer" else None
        return self._admitted(found, address, scheme, scripted=page.scripted)

    def _without_header(self, host: str | None, origin: str | None, page: Page) -> Principal:
        session = self.sessions.find(page.token)
        if session is not None:
            if not page.safe:
                _same_token(page.csrf, session.csrf)
            return session.principal
        if not self._open:
            raise self._refused(
                "the session has ended" if page.token else "found no Authorization header",
                scripted=page.scripted,
            )
        self.check_host(host)
        if origin is not None and not page.safe:
            _same_token(page.csrf, self.csrf)
        return Principal("anonymous", ALL, partial(self._is_generation, self._generation))

    def check_host(self, host: str | None) -> None:
        """Without a password it is the browser of this machine that a foreign page would send here, under a
        name that it has made to point here. Raises Problem (403)."""
        if self._open:
            only_local(host)

    def check_page(self, host: str | None, origin: str | None, page: Page) -> None:
        """For a call that nobody has to be known for: it comes from no other page. Raises Problem (403)."""
        _same_site(origin, host, page.site)
        self.check_host(host)

    def by_password(
        self, user: bytes, password: bytes, address: str, *, scripted: bool
    ) -> Principal | Awaitable[Principal]:
        """Whoever has that password. Raises Problem: 401, 429, 503."""
        wait = self._throttle.wait(address)
        if wait:
            raise self._must_wait(wait, scripted=scripted)
        known = self._password
        if known is None:
            return self._admitted(None, address, "basic", scripted=scripted)
        name = user.decode("utf-8", "replace")
        if not known.under_way(user, password):
            fits = known.check(user, password)
            if not isinstance(fits, bool):
                # Counted before it is known: a hundred at the same time are a hundred guesses.
                self._throttle.failed(address)
                return self._hashed(fits, name, address, scripted=scripted)
            found = self._principal(name) if fits else None
            return self._admitted(found, address, "basic", scripted=scripted)
        again = known.check(user, password)
        assert not isinstance(again, bool)  # noqa: S101  it is under way
        return self._hashed(again, name, address, scripted=scripted)

    async def _hashed(self, fits: Awaitable[bool], name: str, address: str, *, scripted: bool) -> Principal:
        generation = self._generation
        try:
            good = await fits
        except Busy:
            text = "too many passwords wait to be checked"
            raise Problem(503, text, headers={"Retry-After": "5"}) from None
        if good and generation == self._generation:
            self._throttle.passed(address)
            return self._principal(name)
        self._tell(address, "basic")
        raise self._refused("these credentials are not valid", scripted=scripted)

    def by_token(self, token: str, address: str) -> Principal:
        """Whoever has that API key or JWT, for a page. Raises Problem: 401, 429."""
        return self._admitted(self._by_bearer(token.strip()), address, "bearer", scripted=True)

    def _admitted(self, found: Principal | None, address: str, scheme: str, *, scripted: bool) -> Principal:
        if found is not None:
            # A key is no proof that its owner knows the password, and so leaves the failures where they are.
            if scheme == "basic":
                self._throttle.passed(address)
            return found
        wait = self._throttle.wait(address)
        if wait:
            raise self._must_wait(wait, scripted=scripted)
        self._throttle.failed(address)
        self._tell(address, scheme)
        raise self._refused("these credentials are not valid", error=scheme == "bearer", scripted=scripted)

    def _tell(self, address: str, scheme: str) -> None:
        log.warning("http_server: a login from %s failed (%s)", address, scheme[:16] or "nothing given")

    def _must_wait(self, wait: float, *, scripted: bool) -> Problem:
        challenge = self._bearer if scripted else self._challenge
        return Problem(
            429,
            "too many failed logins from this address",
            headers={"Retry-After": str(ceil(wait)), "WWW-Authenticate": challenge},
        )

    def _refused(self, detail: str, *, error: bool = False, scripted: bool = False) -> Problem:
        challenge = self._bearer if scripted else self._challenge
        challenge += ', error="invalid_token"' if error else ""
        return Problem(401, detail, headers={"WWW-Authenticate": challenge})

    # -- credentials -----------------------------------------------------------------------------------

    def _is_generation(self, generation: int) -> bool:
        return generation == self._generation

    def _principal(self, name: str) -> Principal:
        return Principal(name, ALL, partial(self._is_generation, self._generation))

    def _by_bearer(self, credentials: str) -> Principal | None:
        if credentials.startswith(PREFIX):
            return self._keys.find(credentials)
        return self._token(credentials)

    def _token(self, token: str) -> Principal | None:
        if self._public_key is None:
            return None
        try:
            claims = jwt.decode(
                token,
                self._public_key,  # type: ignore[arg-type]
                algorithms=["RS256"],  # and never what the token itself says
                leeway=JWT_LEEWAY_S,
                options={"verify_aud": False, "verify_iss": False},
            )
        except jwt.PyJWTError:
            return None
        subject, ends, generation = claims.get("sub"), claims.get("exp"), self._generation

        def valid() -> bool:
            alive = ends is None or time.time() < float(ends) + JWT_LEEWAY_S
            return alive and generation == self._generation

        return Principal(subject[:256] if isinstance(subject, str) and subject else "jwt", ALL, valid)


def _read_key(settings: HttpServer) -> bytes:
    path = settings.public_keyfile
    key = "http_server.jwt.public.keyfile"
    if path is None:
        raise AccessError(f"{key}: found none, expected the PEM file of an RS256 public key")
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise AccessError(f"{key}: cannot read {path}: {error.strerror or error}") from None
    try:
        _load_key(pem)
    except (ValueError, TypeError, jwt.PyJWTError):
        raise AccessError(f"{key}: {path} holds no RSA public key in PEM form") from None
    return pem


def _load_key(pem: bytes) -> object:
    return jwt.algorithms.RSAAlgorithm(jwt.algorithms.RSAAlgorithm.SHA256).prepare_key(pem)


def only_local(host: str | None) -> None:
    """Where nobody has to say who he is: refuse a foreign page that has made its own name point here.

    Raises Problem (403).
    """
    if not _is_local(_host_name(host)):
        raise Problem(403, "found a foreign name in the Host header, expected localhost or 127.0.0.1")


def _host_name(host: str | None) -> str | None:
    if not host:
        return None
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return host


def _is_local(name: str | None) -> bool:
    if name is None or name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _same_site(origin: str | None, host: str | None, site: str) -> None:
    """A browser sends along what it knows of the user, also for a foreign page: such a page is refused."""
    if site and site not in ("same-origin", "none"):
        raise Problem(403, "this request comes from a page of another origin")
    if origin is None:
        return
    try:
        own = urlsplit(origin).netloc.lower()
    except ValueError:
        own = ""
    if own != (host or "").lower():
        raise Problem(403, "this request comes from a page of another origin")


def _same_token(given: str, expected: str) -> None:
    if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode()):
        raise Problem(
            403, f"found no {CSRF_HEADER} of this session: GET /api/v2/session says which one is expected"
        )
