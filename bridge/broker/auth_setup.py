"""From the `auth` block to what asks and decides; again at each reload."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bridge.broker.auth import Authentication, Memory
from bridge.broker.auth_access import Policy
from bridge.broker.auth_acl import Acl
from bridge.config.secret import SecretError, reveal
from bridge.config.settings import Auth, JwtAuth, Mqtt

if TYPE_CHECKING:
    from bridge.broker.auth_http import HttpAuth
    from bridge.broker.auth_jwt import Tokens
    from bridge.broker.server import Broker


class AuthError(Exception):
    """The `auth` block cannot work; the text is one line with the key, and holds no secret."""


class AuthSetup:
    """Holds what outlives a reload: what was found good, who failed, the connections to the HTTP server."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.memory = Memory(loop)
        self._http: HttpAuth | None = None
        self._leaving: list[HttpAuth] = []
        self._settings: Any = None

    def build(self, auth: Auth, mqtt: Mqtt, environ: Mapping[str, str] = os.environ) -> Authentication:
        """What `auth` asks for. Raises AuthError, and then nothing has changed."""
        http = self._http if auth.http_auth == self._settings else None
        if http is None and auth.http_auth is not None:
            from bridge.broker.auth_http import HttpAuth  # noqa: PLC0415  its HTTP client takes a moment

            http = HttpAuth(auth.http_auth)
        ask = http.authorize if http is not None and http.authorizes else None
        no_match = auth.no_match == "allow"
        ruled = bool(auth.acl) or not no_match or ask is not None
        policy = Policy(Acl(auth.acl), no_match, auth.cache, ask, ruled)
        tokens = _tokens(auth.jwt, policy, environ) if auth.jwt is not None else None
        if http is not self._http:
            if self._http is not None:
                self._leaving.append(self._http)
            self._http, self._settings = http, auth.http_auth
        return Authentication(
            allow_anonymous=auth.allow_anonymous,
            users={user: secret.get_secret_value().encode() for user, secret in auth.password},
            policy=policy,
            tokens=tokens,
            http=http,
            memory=self.memory,
            certificates=mqtt.peer_cert_as_username,
        )

    @staticmethod
    def apply(authentication: Authentication, auth: Auth, broker: Broker) -> None:
        """Have it hold for the clients that are connected, too: for what they do from now on."""
        broker.disconnect_denied = auth.deny_action == "disconnect"
        broker.disconnect_expired = auth.jwt is None or auth.jwt.disconnect_after_expire
        for connection in broker.connections:
            if connection.client is not None and connection.session is not None:
                authentication.rule(connection.client)

    async def close(self, *, leaving: bool = False) -> None:
        """Close the connections to the HTTP servers; `leaving`: only those of earlier settings."""
        left, self._leaving = self._leaving, []
        for http in left:
            await http.close()
        if not leaving:
            self.memory.close()
            if self._http is not None:
                await self._http.close()


def _tokens(settings: JwtAuth, policy: Policy, environ: Mapping[str, str]) -> Tokens:
    from bridge.broker.auth_jwt import KeyFault, Tokens, load_key  # noqa: PLC0415  with it comes cryptography

    if settings.secret is not None:
        try:
            secret = reveal(settings.secret, environ)
            key = (
                base64.b64decode(secret, validate=True) if settings.secret_base64_encoded else secret.encode()
            )
        except (SecretError, ValueError) as error:
            text = str(error) if isinstance(error, SecretError) else "the secret is not base64"
            raise AuthError(f"auth.jwt.secret: {text}") from None
        return Tokens(settings, key, "HS256", policy)
    path = settings.public_keyfile
    if path is None:
        raise AuthError("auth.jwt: found no key, expected secret or public.keyfile")
    try:
        public, algorithm = load_key(path.read_bytes())
    except OSError as error:
        raise AuthError(f"auth.jwt.public.keyfile: cannot read {path}: {error.strerror or error}") from None
    except KeyFault as error:
        raise AuthError(f"auth.jwt.public.keyfile: {path} {error}") from None
    return Tokens(settings, public, algorithm, policy)
