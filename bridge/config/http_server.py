"""The `http_server` block: where the HTTP API listens, and who may use it (INTEROP 1.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge.config import certs
from bridge.config.block import build, fields, read_block
from bridge.config.findings import Findings
from bridge.config.hashes import check_hash
from bridge.config.keys import HTTP_SERVER
from bridge.config.node import Node
from bridge.config.secret import SecretError, reveal
from bridge.config.settings import HttpServer

WELL_KNOWN = "public"
"""The password in NanoMQ's and EMQX's own files."""


def read(findings: Findings, node: Node | None, environ: Mapping[str, str]) -> HttpServer | None:
    """The block; None where there is none, or it is switched off: then there is no HTTP API."""
    start = len(findings.messages)
    values = read_block(findings, node, HTTP_SERVER)
    if node is None or not isinstance(node.value, dict) or values.get("enable", (node, True))[1] is False:
        return None
    made = build(findings, HttpServer, fields(values, HTTP_SERVER, HttpServer), node)
    if any(m.level == "error" for m in findings.messages[start:]) or not isinstance(made, HttpServer):
        return None
    _check(findings, node, values, made, environ)
    return made


def _check(
    findings: Findings,
    node: Node,
    values: Mapping[str, tuple[Node, Any]],
    server: HttpServer,
    environ: Mapping[str, str],
) -> None:
    where = values.get("auth_type", (node, None))[0]
    if server.auth_type == "no_auth" and not server.loopback:
        findings.error(
            where.place,
            "http_server.auth_type",
            f"found no_auth, and ip_addr is {server.host}: whoever reaches that address could do everything;"
            " expected basic or jwt, or ip_addr = 127.0.0.1",
        )
    if "certfile" not in values and (given := values.keys() & {"keyfile", "key_password"}):
        at = values[min(given)][0]
        findings.error(at.place, at.key, "found it without a certificate, expected http_server.certfile too")
    certs.check(findings, values)
    if server.auth_type == "jwt":
        _key_file(findings, where, values)
    if server.auth_type == "basic":
        _password(findings, values, server, environ)


def _password(
    findings: Findings,
    values: Mapping[str, tuple[Node, Any]],
    server: HttpServer,
    environ: Mapping[str, str],
) -> None:
    given = [name for name in ("username", "password") if name in values]
    if len(given) == 1:
        missing = "password" if given == ["username"] else "username"
        findings.error(
            values[given[0]][0].place,
            f"http_server.{missing}",
            f"found none beside {given[0]}, expected both (or neither: then API keys alone are good)",
        )
        return
    if server.password is None:
        return
    at = values["password"][0]
    if server.username is not None and ":" in server.username:
        findings.error(
            values["username"][0].place,
            "http_server.username",
            "found a colon in it, which ends a user name in HTTP (RFC 7617), expected a name without one",
        )
    try:
        secret = reveal(server.password, environ)
    except SecretError as error:
        findings.error(at.place, "http_server.password", str(error))
        return
    check_hash(findings, at, secret)
    if secret == WELL_KNOWN and not server.loopback:
        findings.warn(at, f"everybody knows this password, and {server.host} can be reached from elsewhere")


def _key_file(findings: Findings, where: Node, values: Mapping[str, tuple[Node, Any]]) -> None:
    if "jwt.public.keyfile" not in values:
        findings.error(
            where.place,
            "http_server.jwt.public.keyfile",
            "found none, expected the PEM file of the public key that auth_type = jwt checks tokens with",
        )
        return
    node, path = values["jwt.public.keyfile"]
    certs.check_public_key(findings, node, path)
