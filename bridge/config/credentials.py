"""`webhook.credentials`: how HookMQ identifies itself to the receiver, each kind with what it needs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from bridge.config import url
from bridge.config.block import build, fields, read_block
from bridge.config.findings import Findings
from bridge.config.keys import CREDENTIALS
from bridge.config.node import Node
from bridge.config.settings import Credentials, Secret
from bridge.config.signing import revealed
from bridge.config.units import Bad

NEEDS: Mapping[str, tuple[str, ...]] = {
    "basic": ("username", "password"),  # RFC 7617
    "bearer": ("token",),  # RFC 6750
    "oauth2": ("token_url", "client_id", "client_secret"),  # RFC 6749 section 4.4
}
_MAY: Mapping[str, tuple[str, ...]] = {"basic": (), "bearer": (), "oauth2": ("scope",)}
_POSSIBLE = 'one object: credentials { kind = bearer, token = "…" }'
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def read(
    findings: Findings, node: Node | None, headers: Iterable[str], environ: Mapping[str, str]
) -> Credentials | None:
    """The credentials, or None where there are none or they are wrong (which is an error in `findings`).

    `headers` are the names of the other headers that requests will have.
    """
    if node is None:
        return None
    if not isinstance(node.value, dict):
        findings.wrong(node, _POSSIBLE, secret=True)
        return None
    start = len(findings.messages)
    values = read_block(findings, node, CREDENTIALS, node.key)
    given = fields(values, CREDENTIALS, Credentials)
    for key in CREDENTIALS.keys:
        if isinstance(given.get(key.field), Secret):
            _content(findings, values[key.name][0], key.name, given[key.field], environ)
    kind = given.get("kind")
    if kind is None:
        _no_kind(findings, node, given)
        return None
    _complete(findings, node, kind, values)
    if kind == "oauth2" and "token_url" in values:
        at, text = values["token_url"]
        try:
            given["token_url"], userinfo = url.split_credentials(url.check(text))
            if userinfo is not None:
                raise Bad("found a user or password in it, expected client_id and client_secret")
        except Bad as e:
            findings.error(at.place, at.key, str(e))
    if "username" in values and kind == "basic":
        at, text = values["username"]
        if ":" in text or _CONTROL.search(text):  # RFC 7617 section 2
            findings.wrong(at, "a user name without a colon and control characters")
    if any(name.lower() == "authorization" for name in headers):
        findings.error(
            node.place,
            node.key,
            "found beside an Authorization header (or a user and password in the url), expected one of them",
        )
    if any(m.level == "error" for m in findings.messages[start:]):
        return None
    used = {name: value for name, value in given.items() if name in ("kind", *NEEDS[kind], *_MAY[kind])}
    made = build(findings, Credentials, used, node)
    return made if isinstance(made, Credentials) else None


def _content(findings: Findings, node: Node, name: str, secret: Secret, environ: Mapping[str, str]) -> None:
    """A secret that goes into a header must not be able to end it."""
    text = revealed(findings, node, secret, environ)
    if text is None:
        return
    if name == "token" and not re.fullmatch(r"[\x21-\x7e]+", text):
        findings.wrong(node, "a token of printable ASCII without spaces", secret=True)
    elif _CONTROL.search(text):
        findings.wrong(node, "a text on one line, without control characters", secret=True)


def _no_kind(findings: Findings, node: Node, given: Mapping[str, Any]) -> None:
    if node.get("kind") is not None or not given:
        return
    likely = [kind for kind, needs in NEEDS.items() if set(needs) & given.keys()]
    hint = f"; did you mean kind = {likely[0]}?" if len(likely) == 1 else ""
    findings.error(
        node.place, node.key, f"found no kind in it, expected kind = basic, bearer or oauth2{hint}"
    )


def _complete(findings: Findings, node: Node, kind: str, values: Mapping[str, tuple[Node, Any]]) -> None:
    missing = [name for name in NEEDS[kind] if node.get(name) is None]
    if missing:
        findings.error(node.place, node.key, f"found no {' and no '.join(missing)}, which {kind} needs")
    for name, (child, _) in values.items():
        if name not in ("kind", *NEEDS[kind], *_MAY[kind]):
            findings.warn(child, f"it has no effect with kind = {kind}")
