"""The reader's side of signatures (`hookmq listen --verify`): does one fit, and if not, what is wrong.

It is written from the specifications alone and shares no code with what signs. Headers: `webhook-signature`
(Standard Webhooks 1.0.0: `v1` HMAC-SHA256, `v1a` ed25519), `x-mes-signature` (hex HMAC-SHA256 of the body),
`x-eryxon-signature` (`sha256=` and the same), and headers of the caller's choice.

A signature that does not fit says nothing about why. So the usual mistakes are tried out: a secret taken
literally or decoded, another content, a body that was written anew on its way, hex for base64.
"""

from __future__ import annotations

import hmac
import re
import time
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import NamedTuple

import msgspec

TOLERANCE_S = 300
"""How far a reader lets `webhook-timestamp` be from its own clock (Standard Webhooks 1.0.0)."""
MAX_TRIED_BYTES = 1 << 20
"""A longer body is checked, but no mistakes are tried out on it."""

STANDARD, MES, ERYXON = "webhook-signature", "x-mes-signature", "x-eryxon-signature"
_PLACEHOLDER = re.compile(r"\{(id|timestamp|body)\}")
_HEX = re.compile(r"(?<![0-9A-Za-z])[0-9a-fA-F]{64}(?![0-9A-Za-z])")
_BASE64 = re.compile(r"[0-9A-Za-z+/]{43}=")
_LITERAL = "its key is the decoded base64 of the secret, expected all its characters as they stand"
_DECODED = "its key is the secret's characters as they stand, expected the base64 behind whsec_ decoded"

Headers = Sequence[tuple[str, str]]


class VerifyError(Exception):
    """A secret or a template cannot be used; the text is one sentence without the secret."""


class Verdict(NamedTuple):
    """On one header of a request. `ok` is None where it could not be checked."""

    ok: bool | None
    text: str


class _Secret(NamedTuple):
    """`number` counts from 1."""

    number: int
    text: bytes | None = None  # as it stands: the key of HMAC
    key: bytes | None = None  # what the base64 behind whsec_ stands for: the key of v1
    public: Callable[[bytes, bytes], None] | None = None  # verifies v1a; raises if it does not fit


class Verifier:
    """Checks requests with any of the secrets: `whsec_…`, `whpk_…` (or `whsk_…`), or a text that keys HMAC.

    `headers` are further headers with an HMAC-SHA256 in hex or base64 at their end, over `template`. `clock`
    is Unix time in seconds. Raises VerifyError.
    """

    def __init__(
        self,
        secrets: Sequence[str],
        *,
        headers: Sequence[str] = (),
        template: str = "{body}",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._secrets = [_parse(number, text) for number, text in enumerate(secrets, 1)]
        self._own = tuple(dict.fromkeys(name.lower() for name in headers))
        if "{body}" not in template:
            raise VerifyError(
                f"the template {template!r} has no {{body}}: no signature would cover the body."
            )
        self._template = template
        self._clock = clock

    def check(self, headers: Headers, body: bytes) -> list[Verdict]:
        """One verdict for each signature header; one that says so where there is none."""
        values: dict[str, list[str]] = {}
        for name, value in headers:
            values.setdefault(name.lower(), []).append(value.strip(" \t"))
        verdicts = []
        for name in dict.fromkeys((STANDARD, MES, ERYXON, *self._own)):
            if name in values:
                if name == STANDARD:
                    verdicts.append(self._standard(values, body))
                else:
                    verdicts.append(self._hmac(name, values, body))
        if not verdicts:
            *names, last = (STANDARD, MES, ERYXON, *self._own)
            return [Verdict(False, f"signature missing: no {', '.join(names)} or {last} header")]
        return verdicts

    # -- Standard Webhooks -----------------------------------------------------------------------------

    def _standard(self, values: dict[str, list[str]], body: bytes) -> Verdict:
        for name in ("webhook-id", "webhook-timestamp"):
            if name not in values:
                return _wrong(STANDARD, f"there is no {name} header, and it is part of what is signed")
        id_, timestamp = values["webhook-id"][0], values["webhook-timestamp"][0]
        content = f"{id_}.{timestamp}.".encode("latin-1") + body
        found = [part.partition(",") for value in values[STANDARD] for part in value.split()]
        signatures = [(version, text) for version, comma, text in found if comma and version in ("v1", "v1a")]
        text = " ".join(values[STANDARD])
        if not signatures:
            cause = self._mistake(STANDARD, text, values, body)
            return _wrong(STANDARD, cause or "it holds no signature v1,<base64> or v1a,<base64>")
        for version, signature in signatures:
            for secret in self._secrets:
                if _fits(secret, version, signature, content):
                    cause = self._too_far(timestamp)
                    if cause is not None:
                        return _wrong(STANDARD, f"it fits ({version}{self._which(secret)}), but {cause}")
                    return Verdict(True, f"signature ok: {STANDARD} ({version}{self._which(secret)})")
        cause = self._mistake(STANDARD, text, values, body) if "v1" in dict(signatures) else None
        return _wrong(STANDARD, cause or self._no_key({version for version, _ in signatures}))

    def _no_key(self, versions: set[str]) -> str:
        has = {"v1": any(s.key is not None for s in self._secrets)}
        has["v1a"] = any(s.public is not None for s in self._secrets)
        if any(has[version] for version in versions):
            return self._none_fits()
        prefixes = {"v1": "whsec_", "v1a": "whpk_"}
        wanted = " or ".join(prefixes[version] for version in sorted(versions))
        return f"it has {' and '.join(sorted(versions))}, which needs a secret that begins with {wanted}"

    def _too_far(self, timestamp: str) -> str | None:
        if not re.fullmatch(r"\d{1,15}", timestamp):
            return f"webhook-timestamp {timestamp[:40]!r} is no number of seconds"
        distance = int(timestamp) - self._clock()
        if abs(distance) <= TOLERANCE_S:
            return None
        where = "ahead of" if distance > 0 else "behind"
        hint = "; it looks like milliseconds" if distance > 1e11 else ""
        return (
            f"webhook-timestamp is {abs(distance):.0f} s {where} this machine's clock, "
            f"readers allow {TOLERANCE_S} s{hint}"
        )

    # -- HMAC over a text ------------------------------------------------------------------------------

    def _hmac(self, name: str, values: dict[str, list[str]], body: bytes) -> Verdict:
        template = self._template if name in self._own else "{body}"
        for needed in ("id", "timestamp"):
            if f"{{{needed}}}" in template and f"webhook-{needed}" not in values:
                return _wrong(name, f"there is no webhook-{needed} header, and it is part of what is signed")
        keyed = [secret for secret in self._secrets if secret.text is not None]
        if not keyed:
            return Verdict(
                None, f"signature not checked: {name} needs the secret for HMAC, not an ed25519 key"
            )
        content = _filled(template, values, body)
        for value in values[name]:
            for secret in keyed:
                mac = hmac.digest(secret.text or b"", content, "sha256")
                form = self._form(name, value, mac)
                if form is not None:
                    return Verdict(True, f"signature ok: {name} ({form}{self._which(secret)})")
        value = ", ".join(values[name])
        return _wrong(name, self._mistake(name, value, values, body) or self._none_fits())

    def _form(self, name: str, value: str, mac: bytes) -> str | None:
        """How the value shows the MAC, None if it does not, or not as this header has it."""
        if name == MES and name not in self._own:
            return "hex" if _same(value, mac.hex()) else None
        if name == ERYXON and name not in self._own:
            return "sha256=hex" if _same(value, f"sha256={mac.hex()}") else None
        for encoding, text in (("hex", mac.hex()), ("base64", _base64(mac))):
            if _same(value[-len(text) :], text):
                prefix = value[: -len(text)]
                return f"{prefix}{encoding}" if prefix else encoding
        return None

    # -- what is wrong ---------------------------------------------------------------------------------

    def _which(self, secret: _Secret) -> str:
        return f", secret {secret.number} of {len(self._secrets)}" if len(self._secrets) > 1 else ""

    def _none_fits(self) -> str:
        which = "the secret does not fit" if len(self._secrets) == 1 else "none of the secrets fits"
        return f"{which}: it is another secret, or something was changed on the way"

    def _mistake(self, name: str, value: str, values: dict[str, list[str]], body: bytes) -> str | None:
        """The usual mistake that explains a signature that does not fit; None if none does."""
        if len(body) > MAX_TRIED_BYTES:
            return None
        macs = {bytes.fromhex(text): "hex" for text in _HEX.findall(value)}
        macs |= {a2b_base64(text): "base64" for text in _BASE64.findall(value)}
        if not macs:
            expected = "64 hex digits or 44 characters of base64"
            return f"its {len(value)} characters hold no HMAC-SHA256, expected {expected}"
        expected = "{id}.{timestamp}.{body}" if name == STANDARD else "{body}"
        if name in self._own:
            expected = self._template
        templates = dict.fromkeys((expected, "{body}", "{timestamp}.{body}", "{id}.{timestamp}.{body}"))
        for (change, other), template in product(_bodies(body), templates):
            content = _filled(template, values, other)
            for secret in self._secrets:
                for decoded, key in ((False, secret.text), (True, secret.key)):
                    if key is not None and (mac := hmac.digest(key, content, "sha256")) in macs:
                        said = (
                            [f"it fits {change}: the body was changed after it was signed"] if change else []
                        )
                        if template != expected:
                            said.append(f"it signs {template}, expected {expected}")
                        if decoded != (name == STANDARD):
                            said.append(_LITERAL if decoded else _DECODED)
                        if not said:
                            said.append(f"the HMAC fits, in {macs[mac]}, expected {self._expected(name)}")
                        return "; ".join(said) + self._which(secret)
        return None

    def _expected(self, name: str) -> str:
        forms = {
            STANDARD: "v1,<base64>",
            MES: "64 lower-case hex digits alone",
            ERYXON: "sha256=<lower-case hex>",
        }
        return "it at the end, in hex or base64" if name in self._own else forms[name]


def _parse(number: int, text: str) -> _Secret:
    if not text:
        raise VerifyError(f"secret {number} is empty.")
    prefix = next((p for p in ("whsec_", "whpk_", "whsk_") if text.startswith(p)), None)
    if prefix is None:
        return _Secret(number, text=text.encode("utf-8", "surrogateescape"))
    try:
        data = a2b_base64(text[len(prefix) :].encode("ascii"), strict_mode=True)
    except (Base64Error, UnicodeEncodeError):
        raise VerifyError(f"secret {number}: what follows {prefix} is not base64.") from None
    if prefix == "whsec_":
        if not data:
            raise VerifyError(f"secret {number}: nothing follows whsec_.")
        return _Secret(number, text=text.encode(), key=data)
    sizes = (32,) if prefix == "whpk_" else (32, 64)
    if len(data) not in sizes:
        raise VerifyError(
            f"secret {number}: {prefix} is followed by {len(data)} bytes, expected an ed25519 key."
        )
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415  an extra
    except ImportError:
        raise VerifyError(
            f"secret {number}: {prefix} (ed25519) needs the package cryptography: "
            "pip install 'hookmq[ed25519]'."
        ) from None
    if prefix == "whpk_":
        return _Secret(number, public=ed25519.Ed25519PublicKey.from_public_bytes(data).verify)
    private = ed25519.Ed25519PrivateKey.from_private_bytes(data[:32])
    return _Secret(number, public=private.public_key().verify)


def _fits(secret: _Secret, version: str, text: str, content: bytes) -> bool:
    if version == "v1":
        return secret.key is not None and _same(text, _base64(hmac.digest(secret.key, content, "sha256")))
    if secret.public is None:
        return False
    try:
        secret.public(a2b_base64(text.encode("ascii"), strict_mode=True), content)
    except Exception:  # cryptography's InvalidSignature, and what is not base64 or not 64 bytes
        return False
    return True


def _filled(template: str, values: dict[str, list[str]], body: bytes) -> bytes:
    """The signed text; a header that is missing counts as empty."""
    parts = {
        "id": values.get("webhook-id", [""])[0].encode("latin-1", "replace"),
        "timestamp": values.get("webhook-timestamp", [""])[0].encode("latin-1", "replace"),
        "body": body,
    }
    made, end = b"", 0
    for match in _PLACEHOLDER.finditer(template):
        made += template[end : match.start()].encode() + parts[match[1]]
        end = match.end()
    return made + template[end:].encode()


def _bodies(body: bytes) -> Iterator[tuple[str, bytes]]:
    """The body, and what is made of one on its way, each with a word for it."""
    yield "", body
    if body.strip() != body:
        yield "the body without the white space around it", body.strip()
    try:
        compact = msgspec.json.format(body, indent=-1)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        pass
    else:
        if compact != body:
            yield "the body as compact JSON", compact
        spaced = msgspec.json.format(body, indent=0)
        if spaced != body:
            yield "the body as JSON with spaces", spaced
    if not body.endswith(b"\n"):
        yield "the body with a line feed at its end", body + b"\n"
    if body:
        yield "an empty body", b""


def _wrong(name: str, cause: str) -> Verdict:
    return Verdict(False, f"signature wrong: {name}: {cause}")


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode())


def _base64(data: bytes) -> str:
    return b2a_base64(data, newline=False).decode("ascii")
