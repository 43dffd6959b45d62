"""Stored secrets that are hashes: whether they can be checked, told where the configuration has them."""

from __future__ import annotations

import re

import argon2

from bridge.config.findings import Findings
from bridge.config.node import Node

_BCRYPT = re.compile(r"\$2[aby]\$(0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}")
_SLOW_BCRYPT = 14
"""Rounds above which one check takes seconds."""
_OTHERS = re.compile(r"\$(1|5|6|7|y|apr1|pbkdf2[\w-]*|scrypt|s0)\$|\{(SSHA|SHA|CRYPT|PBKDF2)\w*\}|PBKDF2\$")


def check_hash(findings: Findings, node: Node, secret: str) -> None:
    """A hash that cannot be checked is an error; one of an unknown kind most likely a mistake."""
    if secret.startswith("$argon2"):
        try:
            argon2.extract_parameters(secret)
        except (argon2.exceptions.InvalidHashError, ValueError):
            findings.error(
                node.place,
                node.key,
                "found a damaged argon2 hash, expected it whole, as hookmq passwd writes it",
            )
    elif secret.startswith(("$2a$", "$2b$", "$2y$")):
        if _BCRYPT.fullmatch(secret) is None:
            findings.error(
                node.place,
                node.key,
                "found a damaged bcrypt hash, expected it whole, as hookmq passwd writes it",
            )
        elif int(secret[4:6]) > _SLOW_BCRYPT:
            findings.warn(
                node, f"a bcrypt hash of {int(secret[4:6])} rounds: each login takes seconds of a core"
            )
    elif _OTHERS.match(secret):
        findings.warn(
            node,
            "it looks like a hash of a kind that HookMQ does not know, and is taken as the password itself;"
            " argon2id and bcrypt are known (hookmq passwd)",
        )
