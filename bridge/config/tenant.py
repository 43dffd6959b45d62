"""What a tenant may not have in its settings: files of the server, and more room than the default."""

from __future__ import annotations

from collections.abc import Iterable

from bridge.config.findings import Findings
from bridge.config.keys import Block
from bridge.config.node import Node
from bridge.config.settings import AnyEndpoint
from bridge.config.units import show_seconds, show_size

MAX_TIMEOUT = 30_000
"""ms, of one attempt."""
_NO_FILES = "the value itself: only who has all rights may name a file or a variable of the server"
_NO_PATHS = "none: only who has all rights may name a file of the server"
_TLS_FILES = ("cacertfile", "certfile", "keyfile", "cacert", "cert", "key")
_BOUNDED = (
    ("cancel_timeout", "cancel_timeout", None),
    ("max_parked", "max_parked", None),
    ("backlog.max_bytes", "max_bytes", "backlog"),
    ("backlog.max_age", "max_age", "backlog"),
    ("dead.max_bytes", "max_bytes", "dead"),
    ("dead.max_age", "max_age", "dead"),
    ("attempts.successes", "successes", "attempts"),
    ("attempts.max_age", "max_age", "attempts"),
    ("attempts.max_rows", "max_rows", "attempts"),
)
"""What costs the machine: a tenant may have the default at most. Key, field, and part of the settings."""


def no_files(findings: Findings, root: Node, secrets: Iterable[Node | None]) -> None:
    """Before anything is read: a file that could be named could be sent away, or felt for. `secrets` are the
    members that hold one."""
    for node in secrets:
        if node is not None and isinstance(node.value, dict):
            findings.wrong(node, _NO_FILES, secret=True)
            node.broken = True
    for name in ("ssl", "tls"):
        block = root.get(name)
        for file in _TLS_FILES:
            node = block.get(file) if block is not None else None
            if node is not None:
                findings.wrong(node, _NO_PATHS, secret=True)
                node.broken = True


def bound(
    findings: Findings,
    root: Node,
    block: Block,
    receiver: AnyEndpoint,
    default: AnyEndpoint,
    more: tuple[str, str],
) -> None:
    """What would cost others: more room than `default` has, and turning publishers away. `more` is a further
    key with its field."""
    for name, field, part in ((*more, None), *_BOUNDED):
        value, most = (
            getattr(one if part is None else getattr(one, part), field) for one in (receiver, default)
        )
        if name == "cancel_timeout":
            most = MAX_TIMEOUT
        if value > most:
            limit = show_size(most) if name.endswith("bytes") else str(most)
            limit = show_seconds(most) if name.endswith("age") else limit
            names = [name, *(other for other, today in block.also.items() if today == name)]
            found = [root.get(*one.split(".")) for one in names]
            node = next((one for one in found if one is not None), root)
            findings.wrong(node, f"at most {limit}: more is for those who have all rights")
    if receiver.backlog.on_full == "refuse":
        node = root.get("backlog", "on_full") or root
        findings.wrong(node, "expire: turning publishers away is for those who have all rights")
