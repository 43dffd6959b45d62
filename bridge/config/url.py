"""The URL of an endpoint: what is possible, and its user and password as a header."""

from __future__ import annotations

import base64
import re
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit, urlunsplit

from bridge.config import mask
from bridge.config.units import Bad, quote

_POSSIBLE = "http://host[:port][/path] or https://host[:port][/path]"
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)\.?")


def check(text: str) -> str:
    """A URL as requests will use it. Raises `Bad` with what was found and what is possible."""
    shown = quote(mask.url(text))
    if re.search(r"[\x00-\x20\x7f]", text):
        raise Bad(
            f"found {shown} with a space or control character in it, expected {_POSSIBLE} (a space is %20)"
        )
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text):
        host = text.lstrip("/")
        hint = f'; did you mean "http://{mask.url("//" + host)[2:]}"?' if re.match(r"[\w\[]", host) else ""
        if text.lower() in ("http:", "https:"):
            hint = "; behind // an unquoted value is a comment: put the URL into quotes"
        raise Bad(f"found {shown} without http:// or https://, expected {_POSSIBLE}{hint}")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        # a / in a password that is not percent-encoded ends the authority there: hide up to the last @
        shown = quote(re.sub(r"(?<=//).*@", f"{mask.MASK}@", mask.url(text)))
        raise Bad(
            f"found {shown}, whose host or port is wrong, expected {_POSSIBLE}, a port from 1 to 65535"
        ) from None
    if parts.scheme.lower() not in ("http", "https"):
        raise Bad(f"found {shown}, expected {_POSSIBLE}")
    if port == 0:
        raise Bad(f"found {shown} with port 0, expected a port from 1 to 65535")
    if not parts.hostname:
        raise Bad(f"found {shown} without a host, expected {_POSSIBLE}")
    if parts.fragment or text.endswith("#"):
        raise Bad(
            f"found {shown} with a fragment (#…), which is never sent to a server, expected {_POSSIBLE}"
        )
    if not text.isascii() and not parts._replace(netloc="").geturl().isascii():
        raise Bad(f"found {shown} with a character outside ASCII, expected it percent-encoded")
    return urlunsplit(parts._replace(scheme=parts.scheme.lower(), netloc=_netloc(parts, shown)))


def check_proxy(text: str) -> str:
    """The URL of an HTTP proxy, as `http://[user:password@]host:port`. Raises `Bad`; it shows no password."""
    possible = "http://[user:password@]host:port (reserved characters of a password percent-encoded)"
    shown = quote(re.sub(r"^([A-Za-z][A-Za-z0-9+.-]*://)?.*@", lambda m: f"{m[1] or ''}{mask.MASK}@", text))
    try:
        parts = urlsplit(check(text))
        port = parts.port
    except Bad:
        raise Bad(f"found {shown}, expected {possible}") from None
    if parts.scheme != "http":
        raise Bad(f"found {shown}, expected {possible}; a proxy that is reached over TLS is not supported")
    if port is None:
        raise Bad(f"found {shown} without a port, expected {possible}")
    if parts.path not in ("", "/") or parts.query:
        raise Bad(f"found {shown} with a path, expected {possible}")
    return f"http://{parts.netloc}"


def _netloc(parts: SplitResult, shown: str) -> str:
    """The authority, its host in ASCII (IDNA)."""
    user, at, rest = parts.netloc.rpartition("@")
    host = parts.hostname or ""
    if ":" in host:
        return user + at + rest
    try:
        host = host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError:
        host = ""
    if (
        not host
        or len(host) > 253
        or not all(_LABEL.fullmatch(label) for label in host.rstrip(".").split("."))
    ):
        raise Bad(f"found {shown}, whose host is no name or address, expected {_POSSIBLE}")
    return f"{user}{at}{host}" + (f":{parts.port}" if parts.port is not None else "")


def split_credentials(text: str) -> tuple[str, str | None]:
    """A checked URL without its user and password, and an Authorization header's value that carries them."""
    parts = urlsplit(text)
    if "@" not in parts.netloc:
        return text, None
    userinfo, _, rest = parts.netloc.rpartition("@")
    user, _, password = userinfo.partition(":")
    pair = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
    return urlunsplit(parts._replace(netloc=rest)), "Basic " + base64.b64encode(pair).decode("ascii")
