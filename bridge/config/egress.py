"""The `egress` block: the networks that requests may and may not go to."""

from __future__ import annotations

import ipaddress

from bridge.config.block import build, fields, read_block
from bridge.config.findings import Findings
from bridge.config.keys import EGRESS
from bridge.config.node import Node
from bridge.config.settings import Egress


def read(findings: Findings, node: Node | None) -> Egress:
    """The networks; without a block nothing is added to the guard's own rules."""
    values = read_block(findings, node, EGRESS)
    if node is None:
        return Egress()
    made = build(findings, Egress, fields(values, EGRESS, Egress), node)
    if not isinstance(made, Egress):
        return Egress()
    for allowed in made.allow:
        for denied in made.deny:
            if _inside(allowed, denied):
                findings.warn(
                    values["allow"][0], f"{allowed} has no effect: egress.deny has {denied}, and is stronger"
                )
    return made


def _inside(inner: str, outer: str) -> bool:
    a, b = ipaddress.ip_network(inner), ipaddress.ip_network(outer)
    if isinstance(a, ipaddress.IPv4Network) and isinstance(b, ipaddress.IPv4Network):
        return a.subnet_of(b)
    if isinstance(a, ipaddress.IPv6Network) and isinstance(b, ipaddress.IPv6Network):
        return a.subnet_of(b)
    return False
