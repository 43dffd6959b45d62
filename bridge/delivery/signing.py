"""The signature headers of an endpoint's requests, prepared once.

Schemes (`webhook.signature`), several of them at once if wished:
* `standard`: Standard Webhooks 1.0.0. `webhook-signature` is a list, separated by spaces, of `v1,<base64>`
  (HMAC-SHA256, a secret `whsec_…`) and `v1a,<base64>` (ed25519, a secret `whsk_…`) over `id.timestamp.body`:
  one for each secret, so that readers with the old and with the new one both verify.
* `mes`: `x-mes-signature`, the hex HMAC-SHA256 of the body.
* `eryxon`: `X-Eryxon-Signature`, `sha256=` and the hex HMAC-SHA256 of the body.
* `hmac`: header, prefix, encoding and the signed text as configured.

The last three have room for one value, and their readers look for one: the newest secret signs, keyed with
all its characters in UTF-8 (a `whsk_` is no HMAC key and is passed over).

What is signed is what is sent: the same body bytes, and the id and the timestamp of the same attempt's
headers. Keys are hashed into the inner and outer state of HMAC (RFC 2104) once, and a signature copies these.
"""

from __future__ import annotations

import re
from binascii import a2b_base64, b2a_base64, hexlify
from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING

from bridge.config.secret import HMAC_PREFIX, PRIVATE_PREFIX, SecretError, check_standard, reveal
from bridge.config.settings import Endpoint, Signature
from bridge.delivery.errors import EndpointError
from bridge.events.head import FRAMING

if TYPE_CHECKING:
    from hashlib import _Hash

Sign = Callable[[bytes, int, bytes], bytes]
"""From the end of the `webhook-id`, the attempt's Unix seconds and the body: the header lines of timestamp
and signatures, each with CRLF before it."""

_Value = Callable[[bytes, int, bytes], bytes]
_Mac = Callable[[bytes], bytes]
_BLOCK = 64  # bytes of a block of SHA-256
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 section 5.6.2
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_PLACEHOLDERS = {"id": b"%(id)b", "timestamp": b"%(timestamp)d", "body": b"%(body)b"}
_FIXED = {"standard": "webhook-signature", "mes": "x-mes-signature", "eryxon": "X-Eryxon-Signature"}
_TAKEN = FRAMING | {"host", "content-type", "user-agent", "authorization", "cookie"}


class SigningError(Exception):
    """A request could not be signed, a fault of our own; the text is one line without secrets."""


class Signer:
    """Signs the requests of one endpoint; `headers` are the names that it sets, in lower case.

    Raises EndpointError for secrets and settings that cannot sign.
    """

    __slots__ = ("headers", "sign")

    def __init__(self, endpoint: Endpoint, id_prefix: bytes) -> None:
        secrets = _secrets(endpoint)
        names: set[str] = set()
        parts: list[tuple[bytes, _Value]] = []
        lone = len(endpoint.signature) == 1
        for number, signature in enumerate(endpoint.signature):
            key = "signature" if lone else f"signature[{number}]"
            name = _header(endpoint.name, key, signature)
            if name.lower() in names:
                raise EndpointError(endpoint.name, key, f"the header {name} has a signature already")
            names.add(name.lower())
            try:
                parts.append((name.encode("ascii"), _scheme(signature, secrets, id_prefix)))
            except SecretError as error:
                raise EndpointError(endpoint.name, key, str(error)) from None
        self.headers = frozenset(names)
        self.sign = _lines(parts)
        if lone and endpoint.signature[0].scheme == "standard" and len(secrets) == 1:
            self.sign = _usual(secrets[0], id_prefix) or self.sign


def make_signer(endpoint: Endpoint, id_prefix: bytes) -> Signer | None:
    """The endpoint's signer, None if its requests are not signed. `id_prefix` begins each `webhook-id`."""
    return Signer(endpoint, id_prefix) if endpoint.signature else None


def _secrets(endpoint: Endpoint) -> list[str]:
    """The secrets, the newest first."""
    if not endpoint.secrets:
        raise EndpointError(
            endpoint.name, "secret", 'there is a signature but no secret; expected secret = "whsec_…"'
        )
    found = []
    for number, secret in enumerate(endpoint.secrets):
        key = "secret" if len(endpoint.secrets) == 1 else f"secrets[{number}]"
        try:
            text = reveal(secret)
            if text.startswith((HMAC_PREFIX, PRIVATE_PREFIX)):
                check_standard(text)
        except SecretError as error:
            raise EndpointError(endpoint.name, key, str(error)) from None
        found.append(text)
    return found


def _header(endpoint: str, key: str, signature: Signature) -> str:
    name = _FIXED.get(signature.scheme, signature.header)
    if not _TOKEN.fullmatch(name):
        raise EndpointError(endpoint, f"{key}.header", "not a header name (RFC 9110 section 5.1)")
    lower = name.lower()
    if signature.scheme == "hmac" and (lower in _TAKEN or lower.startswith("webhook-")):
        raise EndpointError(endpoint, f"{key}.header", f"{name} is a header of another meaning")
    if re.search(r"[^\t\x20-\x7e]", signature.prefix):
        raise EndpointError(endpoint, f"{key}.prefix", "it holds characters outside printable ASCII")
    return name


# -- schemes -----------------------------------------------------------------------------------------------


def _scheme(signature: Signature, secrets: list[str], id_prefix: bytes) -> _Value:
    """What stands in the header of one scheme. Raises SecretError."""
    if signature.scheme == "standard":
        return _standard(secrets, id_prefix)
    newest = next((text for text in secrets if not text.startswith(PRIVATE_PREFIX)), None)
    if newest is None:
        raise SecretError(f"{signature.scheme} needs a secret for HMAC, and whsk_ is for ed25519")
    mac = make_mac(newest.encode("utf-8", "surrogateescape"))
    if signature.scheme == "mes":
        return lambda name, timestamp, body: hexlify(mac(body))
    if signature.scheme == "eryxon":
        return lambda name, timestamp, body: b"sha256=" + hexlify(mac(body))
    prefix = signature.prefix.lstrip(" \t").encode("ascii")
    text = _template(signature.template)
    base64 = signature.encoding == "base64"

    def value(name: bytes, timestamp: int, body: bytes) -> bytes:
        made = mac(text % {b"id": id_prefix + name, b"timestamp": timestamp, b"body": body})
        return prefix + (b2a_base64(made, newline=False) if base64 else hexlify(made))

    return value


def _standard(secrets: list[str], id_prefix: bytes) -> _Value:
    for text in secrets:
        check_standard(text)
    makers = [
        (b"v1a,", _ed25519(_key(text))) if text.startswith(PRIVATE_PREFIX) else (b"v1,", make_mac(_key(text)))
        for text in secrets
    ]

    def value(name: bytes, timestamp: int, body: bytes) -> bytes:
        content = b"%b%b.%d.%b" % (id_prefix, name, timestamp, body)
        return b" ".join([version + b2a_base64(make(content), newline=False) for version, make in makers])

    return value


def _lines(parts: list[tuple[bytes, _Value]]) -> Sign:
    def sign(name: bytes, timestamp: int, body: bytes) -> bytes:
        lines = [b"\r\n%b: %b" % (header, value(name, timestamp, body)) for header, value in parts]
        return b"\r\nwebhook-timestamp: %d" % timestamp + b"".join(lines)

    return sign


def _usual(secret: str, id_prefix: bytes) -> Sign | None:
    """`standard` with one secret for HMAC, without a step too many; None for another secret."""
    if not secret.startswith(HMAC_PREFIX):
        return None
    inner, outer = _states(_key(secret))
    inner.update(id_prefix)
    begin, end = inner.copy, outer.copy
    second = -1
    dotted = lines = b""

    def sign(name: bytes, timestamp: int, body: bytes) -> bytes:
        nonlocal second, dotted, lines
        if timestamp != second:
            dotted = b".%d." % timestamp
            lines = b"\r\nwebhook-timestamp: %d\r\nwebhook-signature: v1," % timestamp
            second = timestamp
        first = begin()
        first.update(name + dotted + body)
        last = end()
        last.update(first.digest())
        return lines + b2a_base64(last.digest(), newline=False)

    return sign


def _template(text: str) -> bytes:
    """The signed text as a format for bytes. Raises SecretError."""
    unknown = [name for name in _PLACEHOLDER.findall(text) if name not in _PLACEHOLDERS]
    if unknown:
        raise SecretError(
            f"template: {{{unknown[0]}}} is not known, expected {{id}}, {{timestamp}} and {{body}}"
        )
    if "{body}" not in text:
        raise SecretError("template: it has no {body}, so the body would not be signed")
    made, end = b"", 0
    for match in _PLACEHOLDER.finditer(text):
        made += text[end : match.start()].encode().replace(b"%", b"%%") + _PLACEHOLDERS[match[1]]
        end = match.end()
    return made + text[end:].encode().replace(b"%", b"%%")


# -- keys --------------------------------------------------------------------------------------------------


def _key(secret: str) -> bytes:
    """The bytes that the base64 behind the prefix stands for."""
    return a2b_base64(secret.partition("_")[2])


def _states(key: bytes) -> tuple[_Hash, _Hash]:
    """The two states of HMAC-SHA256 with this key: the inner one, and the outer one."""
    if len(key) > _BLOCK:
        key = sha256(key).digest()
    key = key.ljust(_BLOCK, b"\0")
    return sha256(key.translate(_INNER)), sha256(key.translate(_OUTER))


def make_mac(key: bytes) -> _Mac:
    """HMAC-SHA256 with this key (RFC 2104)."""
    inner, outer = _states(key)

    def mac(content: bytes) -> bytes:
        first = inner.copy()
        first.update(content)
        second = outer.copy()
        second.update(first.digest())
        return second.digest()

    return mac


def _ed25519(key: bytes) -> _Mac:
    """Signatures with a private key: its seed, or seed and public key. Raises SecretError."""
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415  an extra
            Ed25519PrivateKey,
        )
    except ImportError:
        raise SecretError(
            "a whsk_ secret (ed25519) needs the package cryptography: pip install 'hookmq[ed25519]'"
        ) from None
    private = Ed25519PrivateKey.from_private_bytes(key[:32])
    if key[32:] not in (b"", private.public_key().public_bytes_raw()):
        raise SecretError("the two halves of the whsk_ secret do not belong together")
    return private.sign
