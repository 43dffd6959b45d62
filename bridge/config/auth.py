"""The `auth` block: who may connect. What this version does not enforce is said loudly (INTEROP 1.3)."""

from __future__ import annotations

from pydantic import SecretStr

from bridge.config.block import fields, read_block
from bridge.config.findings import Findings
from bridge.config.keys import AUTH
from bridge.config.node import Node
from bridge.config.secret import SecretError, resolve
from bridge.config.settings import Auth
from bridge.config.units import plain

_EVERYONE = "every client that may connect may publish and subscribe everywhere"


def read(findings: Findings, node: Node | None) -> Auth:
    """Who may connect: passwords, and whether clients without a user name are let in (default: yes)."""
    values = read_block(findings, node, AUTH)
    if node is None or not isinstance(node.value, dict):
        return Auth()
    anonymous = fields(values, AUTH, Auth).get("allow_anonymous", True)
    password_node = node.get("password")
    password = _passwords(findings, password_node) if password_node is not None else ()
    enforced = _not_enforced(findings, node)
    if not anonymous and not password:
        text = "found false, and no password is given: no client can connect"
        if not enforced:
            text += " (http_auth is not asked in this version)"
        where = values["allow_anonymous"][0] if "allow_anonymous" in values else node
        findings.warn(where, text)
    return Auth(allow_anonymous=anonymous, password=password)


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
        users[name] = SecretStr(secret)
    return tuple(users.items())


def _not_enforced(findings: Findings, node: Node) -> bool:
    """Warnings for access rules; False where http_auth would have decided who may connect."""
    for name, choices in (("no_match", ("allow", "deny")), ("deny_action", ("ignore", "disconnect"))):
        child = node.get(name)
        if child is None or child.broken:
            continue
        word = (plain(child) or "").strip().lower()
        if word not in choices:
            findings.wrong(child, " or ".join(choices))
        elif word == "deny":
            findings.warn(child, f"NOT ENFORCED in this version: nothing is denied; {_EVERYONE}")
        elif name == "no_match":
            findings.warn(child, f"not enforced in this version, which has no access rules; {_EVERYONE}")
        else:
            findings.warn(
                child, "not enforced in this version, which has no access rules and so denies nothing"
            )
    for name in ("acl", "rules"):
        child = node.get(name)
        if child is not None:
            text = f"NOT ENFORCED in this version: the rules are read over; {_EVERYONE}"
            findings.warn(
                child, text if name == "acl" else f"misplaced (they belong in auth.acl), and {text}"
            )
    http = node.get("http_auth")
    if http is not None:
        findings.warn(
            http,
            "NOT ENFORCED in this version: the HTTP server is never asked; who may connect is decided by"
            f" allow_anonymous and password alone, and {_EVERYONE}",
        )
    return http is None
