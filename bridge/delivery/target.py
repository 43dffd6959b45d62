"""Where an endpoint's requests go and what is the same in all of them, prepared once.

* The request target is the URL's path (`/` if it has none) and query, as written; a fragment is dropped.
* Where request target and some header lines differ from event to event (`bridge.events.formats.Format.fill`),
  marks stand for them in the head; `bridge.delivery.compose` puts them in.
* GET and DELETE have no content, and nothing that describes it (RFC 9110 sections 8 and 9.3).
* User and password in the URL become `Authorization: Basic` (RFC 7617) and show in no log. Credentials of
  the settings replace them.
* Configured headers keep their order and case. One that is also ours (Host, Content-Type, User-Agent,
  Authorization) replaces ours; those that frame the message or name the event are left out with a warning.
"""

from __future__ import annotations

import re
import ssl
from base64 import b64encode
from collections import deque
from urllib.parse import quote, unquote_to_bytes, urlsplit

from bridge import __version__
from bridge.config.settings import Endpoint
from bridge.delivery.credentials import authorization, has_authorization
from bridge.delivery.errors import EndpointError
from bridge.delivery.signing import make_signer
from bridge.delivery.tls import shared_context
from bridge.events.head import FRAMING, URL_SAFE
from bridge.events.interface import Format
from bridge.events.placeholders import has_placeholder

__all__ = ["DEFAULT_PORTS", "LINES_MARK", "TARGET_MARK", "EndpointError", "Target"]

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 section 5.6.2
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_PLACEHOLDER = re.compile(r"\$\{[^}]*\}")
_QUOTED_PLACEHOLDER = re.compile(r"\$%7B(.*?)%7D")
_SECRET_HEADER = re.compile(r"auth|cookie|key|pass|secret|sign|token", re.IGNORECASE)
_SECRET_LENGTH = 4  # what is shorter would be masked in every other word
DEFAULT_PORTS = {"http": 80, "https": 443}
BODILESS = frozenset({"GET", "DELETE", "OPTIONS"})
"""Methods whose requests have no content."""
TARGET_MARK = b"\0"
"""In a head: the request target of the event stands here."""
LINES_MARK = b"\1"
"""In a head: the header lines of the event stand here. Nothing configured can hold a control character."""


class Target:
    """Host, port, TLS and the constant part of every request of one endpoint.

    Raises EndpointError for a URL, a header or a certificate file that cannot work. `label` names the
    endpoint in logs: scheme, host, port and path, without user, password and query. `warnings` are for the
    log. `sign` makes the signature headers of a request, None where it has none; `has_body` is False where
    the method has no content. `head` ends inside its last line, the `webhook-id`, unless `store_id` is None:
    then it has none. Where `form` has a `fill` the marks stand in the head. `origin` is this sender's name
    for an endpoint with `abuse_protection`.
    """

    __slots__ = (
        *("_resource", "_secrets", "_tokens", "fill", "has_body", "head", "host", "label", "port", "sign"),
        *("ssl", "warnings"),
    )

    def __init__(
        self, endpoint: Endpoint, store_id: str | None, form: Format | None = None, *, origin: str = ""
    ) -> None:
        self.warnings: list[str] = []
        self._secrets: set[str] = set()
        self._tokens: deque[str] = deque(maxlen=4)
        self.fill = form.fill if form is not None else None
        self.has_body = endpoint.method not in BODILESS
        scheme, authority, request_target, credentials = self._parse(endpoint)
        path = request_target.partition("?")[0]
        self.label = f"{scheme}://{authority}{_QUOTED_PLACEHOLDER.sub(_as_written, path)}"
        self.ssl = self._context(endpoint, scheme)
        prefix = f"msg_{store_id}_".encode()  # of every webhook-id
        signer = make_signer(endpoint, prefix)
        self.sign = signer.sign if signer is not None else None
        if endpoint.secrets and signer is None:
            self.warnings.append(
                f"webhook {endpoint.name}: there is a secret and no signature: requests are not signed"
            )
        signed = signer.headers if signer is not None else frozenset[str]()
        credentials = self._credentials(endpoint, credentials)
        content_type = form.content_type if form is not None else "application/json"
        lines = self._headers(endpoint, authority, credentials, signed, content_type)
        if origin:
            lines.append(f"WebHook-Request-Origin: {origin}".encode("ascii"))
        where = self._resource = request_target.encode("ascii")
        if origin and has_placeholder(endpoint.url):
            raise EndpointError(
                endpoint.name,
                "abuse_protection",
                "the url holds a placeholder, and permission can be asked for one URL alone",
            )
        if self.fill is not None:
            where = TARGET_MARK
            lines[-1] += LINES_MARK
        if store_id is not None:
            lines.append(b"webhook-id: " + prefix)
        self.head = f"{endpoint.method} ".encode("ascii") + where + b" HTTP/1.1\r\n" + b"\r\n".join(lines)

    def scrub(self, text: str) -> str:
        """A receiver's text without the secrets that were sent to it; a server may echo a request."""
        for secret in sorted((*self._secrets, *self._tokens), key=len, reverse=True):
            text = text.replace(secret, "***")
        return text

    def hide(self, value: str) -> None:
        """A secret that a server may echo."""
        if len(value) >= _SECRET_LENGTH:
            self._secrets.add(value)

    def hide_token(self, value: str) -> None:
        """A secret of the moment: the last few are remembered."""
        if len(value) >= _SECRET_LENGTH:
            self._tokens.append(value)

    def authorized(self, value: bytes) -> bytes:
        """`head` with this value of `Authorization`."""
        lines, last = self.head.rsplit(b"\r\n", 1)
        return b"%b\r\nAuthorization: %b\r\n%b" % (lines, value, last)

    def options(self, value: bytes | None) -> bytes:
        """The head of an OPTIONS request to the URL, with the configured headers and, if it is given, this
        value of `Authorization`."""
        head = self.head if value is None else self.authorized(value)
        _, *lines, _ = head.replace(LINES_MARK, b"").split(b"\r\n")
        lines = [line for line in lines if not line.lower().startswith(b"content-type:")]
        return b"OPTIONS %b HTTP/1.1\r\n%b" % (self._resource, b"\r\n".join(lines))

    def _parse(self, endpoint: Endpoint) -> tuple[str, str, str, bytes | None]:
        """Scheme, authority for Host, request target, and credentials; sets host and port."""
        possible = "expected http://host[:port]/path or https://…"
        url = endpoint.url.strip()
        try:
            parts = urlsplit(url)
            port = parts.port
            host = parts.hostname
        except ValueError as error:
            raise EndpointError(endpoint.name, "url", f"{error}; {possible}") from None
        scheme = parts.scheme.lower()
        if scheme not in DEFAULT_PORTS:
            raise EndpointError(endpoint.name, "url", f"scheme {scheme!r} is not supported; {possible}")
        if not host:
            raise EndpointError(endpoint.name, "url", f"no host; {possible}")
        if port == 0:
            raise EndpointError(endpoint.name, "url", f"port 0 cannot be reached; {possible}")
        if not host.isascii():
            try:
                host = host.encode("idna").decode("ascii")
            except UnicodeError:
                raise EndpointError(endpoint.name, "url", f"host {host!r} is not a valid name") from None
        if _CONTROL.search(url) or re.search(r"\s", host):
            raise EndpointError(endpoint.name, "url", f"white space or control characters; {possible}")
        self.host = host
        self.port = port if port is not None else DEFAULT_PORTS[scheme]
        authority = f"[{host}]" if ":" in host else host
        if self.port != DEFAULT_PORTS[scheme]:
            authority += f":{self.port}"
        request_target = quote(parts.path, safe=URL_SAFE) or "/"
        if parts.query:
            request_target += "?" + quote(parts.query, safe=URL_SAFE)
            for pair in parts.query.split("&"):
                for text in _PLACEHOLDER.split(pair.partition("=")[2]):
                    self.hide(text)
                    self.hide(unquote_to_bytes(text).decode("utf-8", "replace"))
        credentials = None
        if parts.username is not None:
            encoded = b64encode(
                unquote_to_bytes(parts.username) + b":" + unquote_to_bytes(parts.password or "")
            )
            credentials = b"Basic " + encoded
            self.hide(encoded.decode("ascii"))
            self.hide(unquote_to_bytes(parts.password or "").decode("utf-8", "replace"))
        return scheme, authority, request_target, credentials

    def _headers(
        self,
        endpoint: Endpoint,
        authority: str,
        credentials: bytes | None,
        signed: frozenset[str],
        content_type: str,
    ) -> list[bytes]:
        """The header lines without their CRLF: Host, the configured ones, then our defaults.

        Those with a placeholder are left to `fill`.
        """
        configured: list[bytes] = []
        names: set[str] = set()
        for name, value in endpoint.headers:
            key = f"headers.{name}"
            lower = name.lower()
            if not _TOKEN.fullmatch(name):
                raise EndpointError(endpoint.name, key, "not a header name (RFC 9110 section 5.1)")
            filled = self.fill is not None and has_placeholder(value)
            if lower in FRAMING or lower in signed or lower.startswith("webhook-"):
                if filled:
                    raise EndpointError(
                        endpoint.name, key, "it is set by HookMQ alone and cannot hold a placeholder"
                    )
                self.warnings.append(f"webhook {endpoint.name}: {key} is set by HookMQ alone and is left out")
                continue
            if _CONTROL.search(value):
                raise EndpointError(endpoint.name, key, "the value holds a control character")
            if lower == "content-type" and not self.has_body:
                if filled:
                    raise EndpointError(endpoint.name, key, f"{endpoint.method} has no body to describe")
                self.warnings.append(
                    f"webhook {endpoint.name}: {key} is left out, {endpoint.method} has no body"
                )
                continue
            names.add(lower)
            if _SECRET_HEADER.search(name):
                for text in _PLACEHOLDER.split(value.strip()):
                    self.hide(text.strip())
                    self.hide(text.strip().rpartition(" ")[2])  # behind `Bearer` or `Basic`
            if not filled:
                configured.append(f"{name}: {value.strip()}".encode())
        lines = [] if "host" in names else [f"Host: {authority}".encode("ascii")]
        lines += configured
        if credentials is not None and "authorization" not in names:
            lines.append(b"Authorization: " + credentials)
        if content_type and self.has_body and "content-type" not in names:
            lines.append(f"Content-Type: {content_type}".encode("ascii"))
        if "user-agent" not in names:
            lines.append(f"User-Agent: HookMQ/{__version__}".encode("ascii"))
        return lines

    def _credentials(self, endpoint: Endpoint, from_url: bytes | None) -> bytes | None:
        """The value of Authorization, if it stays the same; the URL's is weaker than the settings'."""
        if endpoint.credentials is None:
            return from_url
        if has_authorization(endpoint):
            self.warnings.append(
                f"webhook {endpoint.name}: credentials have no effect beside headers.Authorization"
            )
        given = authorization(endpoint)
        if given is None:
            return None
        value, secrets = given
        for secret in secrets:
            self.hide(secret)
        return value

    def _context(self, endpoint: Endpoint, scheme: str) -> ssl.SSLContext | None:
        tls = endpoint.tls if endpoint.tls is not None and endpoint.tls.enable else None
        if scheme == "http":
            if tls is not None:
                self.warnings.append(
                    f"webhook {endpoint.name}: tls has no effect, the url begins with http://; write https://"
                )
            return None
        return shared_context(endpoint.name, tls)


def _as_written(found: re.Match[str]) -> str:
    """A placeholder of the path for people."""
    return "${" + found[1] + "}"
