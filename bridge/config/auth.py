"""The `auth` block: who may connect, and who may publish and subscribe where (INTEROP 1.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from bridge.config import acl, auth_jwt, http_auth
from bridge.config.block import build, fields, read_block
from bridge.config.findings import Findings
from bridge.config.hashes import check_hash
from bridge.config.keys import AUTH
from bridge.config.node import Node
from bridge.config.secret import SecretError, resolve
from bridge.config.settings import AclCache, Auth
from bridge.config.units import plain


def read(findings: Findings, node: Node | None, environ: Mapping[str, str]) -> Auth:
    """The block; NanoMQ's defaults let everybody do everything."""
    start = len(findings.messages)
    values = read_block(findings, node, AUTH)
    if node is None or not isinstance(node.value, dict):
        return Auth()
    password_node = node.get("password")
    given: dict[str, Any] = fields(values, AUTH, Auth)
    given["password"] = _passwords(findings, password_node) if password_node is not None else ()
    given["acl"] = acl.read(findings, node.get("acl"), node.get("rules"))
    given["cache"] = build(findings, AclCache, fields(values, AUTH, AclCache), node) or AclCache()
    given["jwt"] = auth_jwt.read(findings, node.get("jwt"), environ)
    given["http_auth"] = http_auth.read(findings, node.get("http_auth"))
    made = build(findings, Auth, given, node)
    if not isinstance(made, Auth):
        return Auth()
    if not any(m.level == "error" for m in findings.messages[start:]):
        _sense(findings, node, values, made)
    return made


def _sense(findings: Findings, node: Node, values: Mapping[str, tuple[Node, Any]], made: Auth) -> None:
    """What is right key by key, and most likely not meant as a whole."""
    asks = made.http_auth is not None and made.http_auth.auth_req is not None
    authorizes = made.http_auth is not None and made.http_auth.acl_req is not None
    if not made.allow_anonymous and not made.password and made.jwt is None and not asks:
        where = values["allow_anonymous"][0] if "allow_anonymous" in values else node
        findings.warn(
            where,
            "found false, and neither password, jwt nor http_auth.auth_req is given: no client can connect",
        )
    if made.no_match == "deny" and not made.acl and not authorizes and made.jwt is None:
        findings.warn(
            values["no_match"][0], "found deny, and there is no access rule: nobody may publish or subscribe"
        )


def _passwords(findings: Findings, node: Node) -> tuple[tuple[str, SecretStr], ...]:
    possible = 'user names and secrets: password { "user" : "secret" } or password = { include "pwd.conf" }'
    if not isinstance(node.value, dict):
        findings.wrong(node, possible, secret=True)
        return ()
    users: dict[str, SecretStr] = {}
    for name, child in node.leaves():
        if child.broken:
            continue
        secret = plain(child)
        if secret is None or not secret:
            findings.error(
                child.place,
                child.key,
                "found no secret, expected a text that is not empty (an include needs no key)",
            )
            continue
        try:
            secret = resolve(secret)
        except SecretError as error:
            findings.error(child.place, child.key, str(error))
            continue
        if len(name.encode()) > 65535 or not name:
            findings.error(
                child.place, child.key, "found a user name of the wrong length, expected 1 to 65535 bytes"
            )
            continue
        check_hash(findings, child, secret)
        users[name] = SecretStr(secret)
    return tuple(users.items())
