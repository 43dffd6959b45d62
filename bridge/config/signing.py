"""`webhook.signature`, `secret` and `secrets`: how requests are signed, and with what (INTEROP 3, 4, 5)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import Literal

from bridge.config.block import build, convert, fields, read_block
from bridge.config.findings import Findings
from bridge.config.keys import SCHEME, SIGNATURE, Key
from bridge.config.kinds import OURS, SOURCE, items
from bridge.config.node import Node
from bridge.config.secret import (
    PRIVATE_PREFIX,
    SecretError,
    check_standard,
    is_standard,
    place,
    reveal,
)
from bridge.config.settings import Endpoint, Secret, Signature

MAX_SECRETS = 8
MAX_SIGNATURES = 8
HEADERS = {"standard": "webhook-signature", "mes": "x-mes-signature", "eryxon": "x-eryxon-signature"}
"""The header of each scheme that has one of its own."""
OWN_SCHEME: Mapping[str, Literal["mes", "eryxon"]] = {"mes": "mes", "eryxon": "eryxon"}
"""By format: the scheme that signs its requests where none is configured and there is a secret."""

_WORD = Key("signature", SCHEME, Signature, "scheme")
_SECRET = Key("secrets", SOURCE, Endpoint, "secrets")
_RESERVED = OURS | {"host", "content-type", "user-agent", "authorization", "cookie"}
_EXPECTED = 'secret = "…", { env = NAME } or { file = "PATH" }'

Found = tuple[Node, Secret, str | None]
"""A secret, where it stands, and its text; None where that cannot be read."""


def read(
    findings: Findings,
    node: Node,
    secret: tuple[Node, Secret] | None,
    headers: Iterable[str],
    environ: Mapping[str, str],
    format_: str = "",
) -> tuple[tuple[Signature, ...], tuple[Secret, ...]]:
    """Signatures and secrets of the block `node`; `secret` is the value of its key of that name.

    `headers` are the names of the configured ones, `format_` is the body's. What does not fit together is an
    error in `findings`.
    """
    start = len(findings.messages)
    secrets = _secrets(findings, node, secret, environ)
    asked = node.get("signature")
    made = _signatures(findings, asked) if asked is not None else []
    _headers_differ(findings, node, made, headers)
    signatures = tuple(signature for _, signature in made)
    several = node.get("secrets")
    if made and node.get("secret") is None and (several is None or several.value == []):
        at = asked if asked is not None else node
        shown = "a signature" if len(made) > 1 else made[0][1].scheme
        findings.error(at.place, at.key, f"found {shown} and no secret, expected {node.key}.{_EXPECTED}")
    elif not made and not any(m.level == "error" for m in findings.messages[start:]):
        signatures = _implied(findings, node, secrets, format_)
    _fit(findings, [(at, one, text) for at, one, text in secrets if text is not None], made, signatures)
    return signatures, tuple(one for _, one, _ in secrets)


def _implied(findings: Findings, block: Node, secrets: list[Found], format_: str) -> tuple[Signature, ...]:
    """The signature that secrets mean by themselves: the format's own, else `standard`."""
    if format_ in OWN_SCHEME and secrets:
        if all((text or "").startswith(PRIVATE_PREFIX) for _, _, text in secrets):
            findings.error(
                secrets[0][0].place,
                secrets[0][0].key,
                f"found a secret for ed25519 (whsk_) with format = {format_}, expected one for HMAC, or"
                f" {block.key}.signature = standard",
            )
            return ()
        return (Signature(scheme=OWN_SCHEME[format_]),)
    for node, _, text in secrets:
        if not is_standard(text or ""):
            findings.error(
                node.place,
                node.key,
                f"found a secret and no signature, expected {block.key}.signature = standard, mes, eryxon or"
                " hmac (only a secret that begins with whsec_ or whsk_ means standard by itself)",
            )
            return ()
    return (Signature(),) if secrets else ()


def revealed(findings: Findings, node: Node, secret: Secret, environ: Mapping[str, str]) -> str | None:
    """The secret's text, or None where it cannot be read, which is an error in `findings`."""
    try:
        return reveal(secret, environ)
    except SecretError as e:
        at = node.get(e.source) or node
        findings.error(at.place, at.key, f"{e}, expected the secret there" if e.source != "value" else str(e))
        return None


# --- secrets ------------------------------------------------------------------------------------------------


def _secrets(
    findings: Findings, node: Node, secret: tuple[Node, Secret] | None, environ: Mapping[str, str]
) -> list[Found]:
    several = node.get("secrets")
    if several is None:
        return [(*secret, revealed(findings, *secret, environ))] if secret is not None else []
    if node.get("secret") is not None:
        findings.error(
            several.place,
            several.key,
            f"found beside {node.key}.secret, expected one of the two: secrets = [new, old]",
        )
        return []
    nodes = several.value if isinstance(several.value, list) else [several]
    if len(nodes) > MAX_SECRETS:
        findings.error(
            several.place,
            several.key,
            f"found {len(nodes)} secrets, expected at most {MAX_SECRETS}: every one adds a signature",
        )
        return []
    made: list[Found] = []
    for child in nodes:
        one = None if child.broken else convert(findings, child, _SECRET)
        if one is None:
            continue
        text = revealed(findings, child, one, environ)
        if text is not None and any(text == other for _, _, other in made):
            findings.warn(child, "the same secret again; it is used once")
            continue
        made.append((child, one, text))
    return made


def _fit(
    findings: Findings,
    secrets: list[tuple[Node, Secret, str]],
    made: list[tuple[Node, Signature]],
    signatures: tuple[Signature, ...],
) -> None:
    """Whether the secrets can sign by every scheme that is asked for."""
    if any(signature.scheme == "standard" for signature in signatures):
        for node, secret, text in secrets:
            what = "found a secret (not shown)" if secret.value is not None else f"{place(secret)} holds one"
            wrong = None
            try:
                check_standard(text)
                if text.startswith(PRIVATE_PREFIX) and find_spec("cryptography") is None:
                    wrong = "ed25519 needs the package cryptography: pip install 'hookmq[ed25519]'"
            except SecretError as e:
                wrong = str(e)
            if wrong is not None:
                findings.error(node.place, node.key, f"{what} that cannot sign as standard: {wrong}")
    if secrets and all(text.startswith(PRIVATE_PREFIX) for _, _, text in secrets):
        for node, signature in made:
            if signature.scheme != "standard":
                findings.error(
                    node.place,
                    node.key,
                    f"found {signature.scheme} and no secret but ed25519 (whsk_), expected one for HMAC",
                )


# --- signatures ---------------------------------------------------------------------------------------------


def _signatures(findings: Findings, node: Node) -> list[tuple[Node, Signature]]:
    entries = items(node) if not isinstance(node.value, dict) else [node]
    if len(entries) > MAX_SIGNATURES:
        findings.error(
            node.place, node.key, f"found {len(entries)} signatures, expected at most {MAX_SIGNATURES}"
        )
        return []
    made: list[tuple[Node, Signature]] = []
    for entry in entries:
        one = _signature(findings, entry)
        if one is not None:
            made.append((entry, one))
    return made


def _signature(findings: Findings, node: Node) -> Signature | None:
    if node.broken or node.is_null:
        return None
    if not isinstance(node.value, dict):
        scheme = convert(findings, node, _WORD)
        return Signature(scheme=scheme) if scheme is not None else None
    start = len(findings.messages)
    values = read_block(findings, node, SIGNATURE, re.sub(r"\[\d+\]$", "", node.key))
    if any(m.level == "error" for m in findings.messages[start:]):
        return None
    given = fields(values, SIGNATURE, Signature)
    spoken = [
        values[key.name][0]
        for key in SIGNATURE.keys
        if key.name != "scheme" and key.name in values and values[key.name][1] != key.default
    ]
    if "scheme" not in given:
        if spoken:
            findings.error(
                node.place,
                node.key,
                "found no scheme in it, expected scheme = hmac for a signature of your own",
            )
        return None
    if given["scheme"] != "hmac":
        for child in spoken:
            findings.warn(child, f"it has no effect with scheme = {given['scheme']}, only with hmac")
        given = {"scheme": given["scheme"]}
    made = build(findings, Signature, given, node)
    return made if isinstance(made, Signature) else None


def _headers_differ(
    findings: Findings, block: Node, made: list[tuple[Node, Signature]], configured: Iterable[str]
) -> None:
    seen: dict[str, str] = {name.lower(): f"{block.key}.headers has" for name in configured}
    for node, signature in made:
        header = HEADERS.get(signature.scheme, signature.header)
        name = header.lower()
        at = node.get("header") or node
        if signature.scheme == "hmac" and (name in _RESERVED or name.startswith("webhook-")):
            findings.error(
                at.place, at.key, f"found {header}, which is no signature's header, expected another name"
            )
        elif name in seen:
            findings.error(
                at.place,
                at.key,
                f"the signature goes into the header {header}, which {seen[name]} too, expected it once",
            )
        seen.setdefault(name, "another signature has")
