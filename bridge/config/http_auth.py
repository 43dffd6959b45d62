"""`auth.http_auth`: the requests to an HTTP server that decides (INTEROP 1.3)."""

from __future__ import annotations

from typing import Any

from bridge.config import headers, url
from bridge.config.block import build, fields, read_block
from bridge.config.findings import Findings
from bridge.config.keys import HTTP_AUTH, HTTP_AUTH_REQUESTS, Block
from bridge.config.node import Node
from bridge.config.settings import HttpAuth, HttpAuthRequest
from bridge.config.units import Bad, plain, show_seconds

_NAMES = ("auth_req", "super_req", "acl_req")
_DEFAULT = {"clientid": "%c", "username": "%u"}
_PARAMS = {
    "auth_req": {**_DEFAULT, "password": "%P"},
    "super_req": {**_DEFAULT, "password": "%P"},
    "acl_req": {**_DEFAULT, "access": "%A", "ipaddr": "%a", "topic": "%t"},
}
"""What is sent where a request has no `params`, as in NanoMQ's own file."""


def read(findings: Findings, node: Node | None) -> HttpAuth | None:
    """The block; None where there is none, it is switched off, or it has no request."""
    if node is None:
        return None
    start = len(findings.messages)
    if isinstance(node.value, dict):
        node = Node(dict(node.value), node.key, node.place)
        _no_limit(findings, node)
    values = read_block(findings, node, HTTP_AUTH)
    if not isinstance(node.value, dict) or values.get("enable", (node, True))[1] is False:
        return None
    given: dict[str, Any] = fields(values, HTTP_AUTH, HttpAuth)
    for name, block in zip(_NAMES, HTTP_AUTH_REQUESTS, strict=True):
        given[name] = _request(findings, node.get(name), name, block)
    if any(m.level == "error" for m in findings.messages[start:]):
        return None
    if not any(given[name] for name in _NAMES):
        findings.warn(node, "it has no effect without auth_req, super_req or acl_req: nobody is asked")
        return None
    made = build(findings, HttpAuth, given, node)
    return made if isinstance(made, HttpAuth) else None


def _no_limit(findings: Findings, node: Node) -> None:
    """NanoMQ's `0s` waits for ever; a client that waits for ever is never let in."""
    for name in ("timeout", "connect_timeout"):
        child = node.get(name)
        if child is not None and (plain(child) or "").strip() in ("0", "0s"):
            default = HttpAuth.model_fields[name].default
            findings.warn(child, f"found no limit, {show_seconds(default)} is used")
            del node.children[name]


def _request(findings: Findings, node: Node | None, name: str, block: Block) -> HttpAuthRequest | None:
    if node is None:
        return None
    values = read_block(findings, node, block, node.key)
    if not isinstance(node.value, dict):
        return None
    given: dict[str, Any] = fields(values, block, HttpAuthRequest)
    made_headers = headers.read(findings, node.get("headers"))
    if "url" in values:
        at, text = values["url"]
        try:
            given["url"], authorization = url.split_credentials(url.check(text))
            if authorization is not None:
                made_headers = (*made_headers, ("Authorization", authorization))
        except Bad as e:
            findings.error(at.place, at.key, str(e))
            return None
    elif node.get("url") is None:
        findings.error(node.place, f"{node.key}.url", 'missing, expected url = "http://host:port/path"')
        return None
    else:
        return None
    given["headers"] = made_headers
    params = node.get("params")
    given["params"] = tuple(_PARAMS[name].items()) if params is None else _params(findings, params)
    made = build(findings, HttpAuthRequest, given, node)
    if not isinstance(made, HttpAuthRequest):
        return None
    if made.method in ("GET", "DELETE") and any("%P" in value for _, value in made.params):
        findings.warn(
            values["method"][0] if "method" in values else node,
            f"with {made.method} the password stands in the url, which servers and proxies log: use POST",
        )
    return made


def _params(findings: Findings, node: Node) -> tuple[tuple[str, str], ...]:
    """An object, or a classic `k=%c,k2=%u`."""
    possible = 'an object such as { clientid = "%c", username = "%u" }, or "clientid=%c,username=%u"'
    if isinstance(node.value, dict):
        made: dict[str, str] = {}
        for name, child in node.leaves():
            text = plain(child)
            if text is None:
                findings.wrong(child, "a text")
            else:
                made[name] = text
        return tuple(made.items())
    text = plain(node)
    pairs = [part.strip().partition("=") for part in (text or "").split(",") if part.strip()]
    if text is None or not all(name.strip() and equals for name, equals, _ in pairs):
        findings.wrong(node, possible)
        return ()
    return tuple([(name.strip(), value.strip()) for name, _, value in pairs])
