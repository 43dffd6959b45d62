"""Certificates and keys that a configuration names: that they exist, can be read, and fit together."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from bridge.config.findings import Findings
from bridge.config.hocon import why
from bridge.config.node import Node


def check(findings: Findings, values: Mapping[str, tuple[Node, Any]]) -> None:
    """Errors for `keyfile`, `certfile`, `cacertfile`, `key_password` that cannot work.

    `values` are those that were given; that a server needs a key and a certificate is the caller's to say.
    """
    readable = True
    for name in ("cacertfile", "certfile", "keyfile"):
        if name in values:
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
    if "certfile" in values:
        _pair(findings, values)


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
