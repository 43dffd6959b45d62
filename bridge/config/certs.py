"""Certificates and keys that a configuration names: that they exist, can be read, and fit together."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import SecretStr

from bridge.config.block import build, fields, read_block
from bridge.config.findings import Findings
from bridge.config.hocon import why
from bridge.config.keys import WEBHOOK_TLS
from bridge.config.node import Node, merge
from bridge.config.settings import Tls

MAX_KEY_BYTES = 65536


class Words(NamedTuple):
    """What messages about TLS call the other side, and the scheme that asks for it."""

    scheme: str  # with its colon
    plain: str
    always: str
    peer: str


def check(findings: Findings, values: Mapping[str, tuple[Node, Any]]) -> None:
    """Errors for `keyfile`, `certfile`, `cacertfile`, `key_password` that cannot work.

    `values` are those that were given; that a server needs a key and a certificate is the caller's to say.
    """
    readable = True
    for name in ("cacertfile", "crlfile", "certfile", "keyfile"):
        if values.get(name, (None, None))[1] is not None:
            readable = _readable(findings, *values[name]) and readable
    if not readable:
        return
    if "cacertfile" in values:
        node, path = values["cacertfile"]
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
        except (ssl.SSLError, OSError, ValueError):
            findings.error(
                node.place, node.key, f"found {path}, which holds no certificate, expected PEM certificates"
            )
    if values.get("crlfile", (None, None))[1] is not None:
        node, path = values["crlfile"]
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
        except (ssl.SSLError, OSError, ValueError):
            findings.error(
                node.place, node.key, f"found {path}, which is no certificate revocation list in PEM form"
            )
    if "certfile" in values:
        _pair(findings, values)


def check_public_key(findings: Findings, node: Node, path: Path) -> None:
    """Errors for a file that is no public key."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_KEY_BYTES)
    except (OSError, ValueError) as error:
        text = why(error) if isinstance(error, OSError) else "a NUL character in its path"
        findings.error(node.place, node.key, f"cannot read {path}: {text}, expected a PEM public key")
        return
    if b"PRIVATE KEY" in data:
        findings.error(node.place, node.key, f"{path} holds a private key, expected the public one")
    elif b"PUBLIC KEY" not in data:
        findings.error(node.place, node.key, f"{path} holds no PEM public key")


def read_client(findings: Findings, node: Node, name: str, address: str | None, words: Words) -> Tls | None:
    """The block `ssl` or `tls` of who connects to somebody; `name` is the one that messages call it.

    `address` is where to, None: it is wrong, or in this process.
    """
    one, other = node.get("ssl"), node.get("tls")
    block = merge(one, other) if one is not None and other is not None else one or other
    if block is None:
        return None
    values = read_block(findings, block, WEBHOOK_TLS, f"{node.key}.{name}")
    if address is None or not isinstance(block.value, dict):
        return None
    enabled = values["enable"][1] if "enable" in values else True
    if not address.startswith(words.scheme):
        if enabled and values.keys() - {"enable", "verify_peer"}:
            findings.warn(block, f"it has no effect: {words.plain} for TLS")
        return None
    if not enabled:
        findings.warn(block, f"enable = false leaves out these files only: {words.always} always uses TLS")
        return None
    if "keyfile" in values and "certfile" not in values:
        key = values["keyfile"][0]
        findings.error(key.place, key.key, "found a key without a certificate, expected certfile too")
    check(findings, values)
    if values.get("verify_peer", (block, True))[1] is False:
        findings.warn(
            values["verify_peer"][0],
            f"the {words.peer}'s certificate is not checked: anyone on the way can read the events",
        )
    made = build(findings, Tls, fields(values, WEBHOOK_TLS, Tls), block)
    return made if isinstance(made, Tls) else None


def _readable(findings: Findings, node: Node, path: Path) -> bool:
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as e:
        findings.error(node.place, node.key, f"cannot read {path}: {why(e)}, expected a readable PEM file")
        return False
    return True


def _pair(findings: Findings, values: Mapping[str, tuple[Node, Any]]) -> None:
    cert_node, cert = values["certfile"]
    key_node, key = values.get("keyfile", (cert_node, None))
    password: SecretStr | None = values["key_password"][1] if "key_password" in values else None

    def ask() -> str:  # without it OpenSSL would ask on the terminal
        return password.get_secret_value() if password is not None else ""

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, ask)
    except ssl.SSLError as e:
        reason = (e.reason or "").replace("_", " ").lower()
        if e.reason == "KEY_VALUES_MISMATCH":
            text = f"the key {key} does not belong to the certificate {cert}"
        elif key is not None and _encrypted(key):
            given = "does not open it" if password is not None else "is missing"
            text = f"the key {key} is encrypted, and key_password {given}"
        else:
            text = f"{key or cert} and {cert} are no private key and certificate in PEM form"
            text += f" ({reason})" if reason else ""
        findings.error(key_node.place, key_node.key, text)
    except (OSError, ValueError):
        text = f"{key or cert} and {cert} are no private key and certificate in PEM form"
        findings.error(key_node.place, key_node.key, text)


def _encrypted(path: Path) -> bool:
    head = path.read_bytes()[:65536]
    return b"ENCRYPTED" in head
