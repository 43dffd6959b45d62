"""The `Authorization` header of an endpoint with `webhook.credentials` that stay the same: basic and bearer.

An `Authorization` among the endpoint's own headers is stronger than its credentials.
"""

from __future__ import annotations

import re
from base64 import b64encode

from bridge.config.secret import SecretError, reveal
from bridge.config.settings import Endpoint, Secret
from bridge.delivery.errors import EndpointError

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_TOKEN = re.compile(r"[\x21-\x7e]+")


def has_authorization(endpoint: Endpoint) -> bool:
    """Whether the endpoint's own headers hold an `Authorization`."""
    return any(name.lower() == "authorization" for name, _ in endpoint.headers)


def authorization(endpoint: Endpoint) -> tuple[bytes, list[str]] | None:
    """The header's value, and the secrets in it, for basic (RFC 7617) and bearer (RFC 6750).

    None where there is none, or where it comes from elsewhere (OAuth2). Raises EndpointError.
    """
    credentials = endpoint.credentials
    if credentials is None or credentials.kind == "oauth2" or has_authorization(endpoint):
        return None
    if credentials.kind == "bearer":
        token = needed(endpoint, "token", credentials.token)
        if not usable_token(token):
            raise EndpointError(
                endpoint.name, "credentials.token", "it holds characters outside printable ASCII, or spaces"
            )
        return b"Bearer " + token.encode("ascii"), [token]
    user = credentials.username
    if not user:
        raise EndpointError(endpoint.name, "credentials.username", "it is missing")
    if ":" in user or _CONTROL.search(user):
        raise EndpointError(endpoint.name, "credentials.username", "it holds a colon or control characters")
    password = "" if credentials.password is None else needed(endpoint, "password", credentials.password)
    if _CONTROL.search(password):
        raise EndpointError(endpoint.name, "credentials.password", "it holds control characters")
    pair = b64encode(f"{user}:{password}".encode())
    return b"Basic " + pair, [pair.decode("ascii"), password]


def needed(endpoint: Endpoint, key: str, secret: Secret | None) -> str:
    """A secret of the credentials. Raises EndpointError."""
    if secret is None:
        raise EndpointError(endpoint.name, f"credentials.{key}", "it is missing")
    try:
        return reveal(secret)
    except SecretError as error:
        raise EndpointError(endpoint.name, f"credentials.{key}", str(error)) from None


def usable_token(token: str) -> bool:
    """Whether a token can stand in a header: printable ASCII, without spaces."""
    return _TOKEN.fullmatch(token) is not None
