"""Who calls the HTTP API: an API key or a JWT as a Bearer token (RFC 6750), or a password (RFC 7617).

An API key is good whatever `http_server.auth_type` says; `basic` and `jwt` are good where it says so, and may
do everything. A password can be guessed, so an address that has failed has to wait before it is looked at
again; a key or a token cannot, and is looked at always.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
from base64 import b64decode
from collections.abc import Callable
from hashlib import sha256
from math import ceil
from urllib.parse import urlsplit

import jwt

from bridge.admin.api_keys import PREFIX, ApiKeys
from bridge.admin.problems import Problem
from bridge.admin.scopes import ALL, Principal
from bridge.admin.throttle import Throttle
from bridge.config.secret import reveal
from bridge.config.settings import HttpServer

log = logging.getLogger(__name__)

MAX_HEADER = 8190
"""Characters of an Authorization header."""
JWT_LEEWAY_S = 30
"""Between the clock that made a token and ours."""
REALM = "HookMQ"


class AccessError(Exception):
    """The settings cannot work; the text is one line with the key."""


class Access:
    """Decides on each request, from its headers and its address alone: before its body is read."""

    def __init__(self, settings: HttpServer, keys: ApiKeys, clock: Callable[[], float]) -> None:
        """Raises AccessError. `clock` gives seconds that only grow."""
        self._keys = keys
        self._throttle = Throttle(clock)
        self._open = settings.auth_type == "no_auth"
        if self._open and not settings.loopback:  # the configuration has refused it; never without this line
            raise AccessError("http_server.auth_type: no_auth on an address that others can reach")
        self._basic: bytes | None = None
        if settings.auth_type == "basic" and settings.username and settings.password is not None:
            self._basic = _digest(f"{settings.username}:{reveal(settings.password)}".encode())
        self._public_key: jwt.PyJWK | object | None = None
        if settings.auth_type == "jwt":
            self._public_key = _load_key(settings)
        schemes = [f'Bearer realm="{REALM}"']
        if self._basic is not None:
            schemes.insert(0, f'Basic realm="{REALM}", charset="UTF-8"')
        self._challenge = ", ".join(schemes)

    def who(self, authorization: str | None, host: str | None, origin: str | None, address: str) -> Principal:
        """The caller. Raises Problem: 401, 403, 429."""
        _same_origin(origin, host)
        if authorization is None:
            if not self._open:
                raise self._refused("found no Authorization header")
            # Without a password it is the browser of this machine that a foreign page would send here, under
            # a name that it has made to point here.
            only_local(host)
            return Principal("anonymous", ALL)
        scheme, _, credentials = authorization[:MAX_HEADER].partition(" ")
        scheme, credentials = scheme.lower(), credentials.strip()
        waiting = self._throttle.wait(address)
        found: Principal | None = None
        if scheme == "bearer":
            found = (
                self._keys.find(credentials) if credentials.startswith(PREFIX) else self._token(credentials)
            )
        elif scheme == "basic" and not waiting:
            found = self._password(credentials)
        if found is not None:
            # A key is no proof that its owner knows the password, and so leaves the failures where they are.
            if scheme == "basic":
                self._throttle.passed(address)
            return found
        if waiting:
            raise Problem(
                429,
                "too many failed logins from this address",
                headers={"Retry-After": str(ceil(waiting)), "WWW-Authenticate": self._challenge},
            )
        self._throttle.failed(address)
        log.warning("http_server: a login from %s failed (%s)", address, scheme[:16] or "nothing given")
        raise self._refused("these credentials are not valid", error=scheme == "bearer")

    def _refused(self, detail: str, *, error: bool = False) -> Problem:
        challenge = self._challenge + (', error="invalid_token"' if error else "")
        return Problem(401, detail, headers={"WWW-Authenticate": challenge})

    def _password(self, credentials: str) -> Principal | None:
        try:
            given = b64decode(credentials, validate=True)
        except ValueError:
            return None
        # Digests have one length, so that the time of the comparison tells nothing.
        if self._basic is None or not hmac.compare_digest(_digest(given), self._basic):
            return None
        return Principal(given.partition(b":")[0].decode("utf-8", "replace"), ALL)

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
        subject = claims.get("sub")
        return Principal(subject[:256] if isinstance(subject, str) and subject else "jwt", ALL)


def _digest(text: bytes) -> bytes:
    return sha256(text).digest()


def _load_key(settings: HttpServer) -> object:
    path = settings.public_keyfile
    key = "http_server.jwt.public.keyfile"
    if path is None:
        raise AccessError(f"{key}: found none, expected the PEM file of an RS256 public key")
    try:
        return jwt.algorithms.RSAAlgorithm(jwt.algorithms.RSAAlgorithm.SHA256).prepare_key(path.read_bytes())
    except OSError as error:
        raise AccessError(f"{key}: cannot read {path}: {error.strerror or error}") from None
    except (ValueError, TypeError, jwt.PyJWTError):
        raise AccessError(f"{key}: {path} holds no RSA public key in PEM form") from None


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


def _same_origin(origin: str | None, host: str | None) -> None:
    """A browser sends along what it knows of the user, also for a foreign page: such a page is refused."""
    if origin is None:
        return
    try:
        own = urlsplit(origin).netloc.lower()
    except ValueError:
        own = ""
    if own != (host or "").lower():
        raise Problem(403, "this request comes from a page of another origin")
