"""The `sources` block: other ways in than our own broker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge.config import certs
from bridge.config.block import build, fields, read_block, warn_unknown
from bridge.config.findings import Findings
from bridge.config.keys import EXHOOK
from bridge.config.listeners import parse_bind
from bridge.config.node import Node
from bridge.config.settings import ExHook, Sources
from bridge.config.units import Bad

_KINDS = ("exhook",)
_POSSIBLE = (
    "host:port such as 0.0.0.0:9000, [::]:9000, :9000 or 9000, a port from 0 to 65535 (0: any free one)"
)


def read(findings: Findings, node: Node | None) -> Sources:
    """The sources; without a block there are none."""
    if node is None:
        return Sources()
    if not isinstance(node.value, dict):
        findings.wrong(node, 'an object: sources.exhook { bind = "0.0.0.0:9000" }')
        return Sources()
    for name, child in node.children.items():
        if name not in _KINDS and not child.is_null:
            warn_unknown(findings, child, name, "sources", _KINDS, _KINDS)
    return Sources(exhook=_exhook(findings, node.get("exhook")))


def _exhook(findings: Findings, node: Node | None) -> ExHook | None:
    start = len(findings.messages)
    values = read_block(findings, node, EXHOOK)
    if node is None or not isinstance(node.value, dict) or values.get("enable", (node, True))[1] is False:
        return None
    given = fields(values, EXHOOK, ExHook)
    if "bind" in values:
        bind, text = values["bind"]
        try:
            given["host"], given["port"] = parse_bind(text, _POSSIBLE)
        except Bad as error:
            findings.error(bind.place, bind.key, str(error))
    _check_tls(findings, values)
    if any(m.level == "error" for m in findings.messages[start:]):
        return None
    made = build(findings, ExHook, given, node)
    return made if isinstance(made, ExHook) else None


def _check_tls(findings: Findings, values: Mapping[str, tuple[Node, Any]]) -> None:
    others = sorted({"keyfile", "cacertfile"} & values.keys())
    if "certfile" not in values and others:
        at = values[others[0]][0]
        findings.error(at.place, at.key, "found it without a certificate, expected certfile too")
    verify = values.get("verify_peer")
    if verify is not None and verify[1] is True and "cacertfile" not in values:
        findings.error(
            verify[0].place,
            verify[0].key,
            "found true without cacertfile, expected the authority of EMQX's certificates",
        )
    certs.check(findings, values)
