"""`auth.jwt`: passwords that are JSON Web Tokens, with EMQX's keys."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from bridge.config import certs
from bridge.config.block import build, fields, read_block
from bridge.config.findings import Findings
from bridge.config.keys import AUTH_JWT
from bridge.config.node import Node
from bridge.config.secret import SecretError, reveal
from bridge.config.settings import JwtAuth
from bridge.config.units import plain

MIN_SECRET_BYTES = 32
"""Of HS256, RFC 7518 section 3.2."""
_POSSIBLE = 'an object of claims and their values: verify_claims { username = "${username}" }'


def read(findings: Findings, node: Node | None, environ: Mapping[str, str]) -> JwtAuth | None:
    """The block; None where there is none, or it is switched off."""
    if node is None:
        return None
    start = len(findings.messages)
    values = read_block(findings, node, AUTH_JWT)
    if not isinstance(node.value, dict) or values.get("enable", (node, True))[1] is False:
        return None
    given = fields(values, AUTH_JWT, JwtAuth)
    given["verify_claims"] = _claims(findings, node.get("verify_claims"))
    _key(findings, node, values, environ)
    if any(m.level == "error" for m in findings.messages[start:]):
        return None
    made = build(findings, JwtAuth, given, node)
    return made if isinstance(made, JwtAuth) else None


def _claims(findings: Findings, node: Node | None) -> tuple[tuple[str, str], ...]:
    """An object, or EMQX's list of `{ name, value }`."""
    if node is None:
        return ()
    claims: dict[str, str] = {}
    if isinstance(node.value, dict):
        pairs: list[tuple[str | None, Node]] = [(name, child) for name, child in node.leaves()]
    elif isinstance(node.value, list):
        pairs = []
        for item in node.value:
            name, value = item.get("name"), item.get("value")
            if name is None or value is None:
                findings.wrong(item, "a claim { name = …, value = … }")
            else:
                pairs.append((plain(name), value))
    else:
        findings.wrong(node, _POSSIBLE)
        return ()
    for claim, child in pairs:
        text = plain(child)
        if not claim or not text:
            findings.wrong(child, "a text, which may hold ${username} and ${clientid}")
        else:
            claims[claim] = text
    return tuple(claims.items())


def _key(
    findings: Findings, node: Node, values: Mapping[str, tuple[Node, Any]], environ: Mapping[str, str]
) -> None:
    given = [name for name in ("secret", "public.keyfile") if name in values]
    if len(given) != 1:
        if not any(name in str(m.key) for m in findings.messages for name in ("jwt.secret", "jwt.public")):
            findings.error(
                node.place,
                node.key,
                f"found {' and '.join(given) or 'no key'} in it, expected either secret (HS256) or"
                " public.keyfile (RS256, ES256)",
            )
        return
    at, value = values[given[0]]
    if given[0] == "secret":
        try:
            secret = reveal(value, environ)
        except SecretError as error:
            findings.error(at.place, at.key, str(error))
            return
        raw = secret.encode()
        if values.get("secret_base64_encoded", (node, False))[1]:
            try:
                raw = base64.b64decode(secret, validate=True)
            except ValueError:
                findings.error(
                    at.place, at.key, "found a secret that is not base64, and secret_base64_encoded"
                )
                return
        if len(raw) < MIN_SECRET_BYTES:
            findings.error(
                at.place,
                at.key,
                f"found a secret of {len(raw)} bytes, expected at least {MIN_SECRET_BYTES}: a shorter one"
                " can be guessed by whoever has a token",
            )
        return
    certs.check_public_key(findings, at, value)
