"""Headers of requests: names and values that HTTP allows, in their order and case as written."""

from __future__ import annotations

import re
from collections.abc import Callable

from bridge.config.findings import Findings
from bridge.config.kinds import OURS, TOKEN
from bridge.config.node import Node
from bridge.config.units import Bad, plain


def read(
    findings: Findings, node: Node | None, check: Callable[[str, str], None] | None = None
) -> tuple[tuple[str, str], ...]:
    """All headers of an object. `check` is given name and value of each, and raises Bad for a wrong one."""
    if node is None or node.is_null:
        return ()
    if not isinstance(node.value, dict):
        findings.wrong(node, 'an object: headers { content-type = "application/json" }', secret=True)
        return ()
    headers: dict[str, tuple[str, str]] = {}
    for name, child in node.leaves():
        if child.is_null or child.broken:
            continue
        if not TOKEN.fullmatch(name):
            findings.error(
                child.place,
                child.key,
                f'found the header name "{name}", expected letters, digits and !#$%&\'*+-.^_`|~ only',
            )
            continue
        value = plain(child)
        if value is None:
            findings.error(child.place, child.key, "found an object or a list, expected a text")
            continue
        wrong = re.search(r"[^\t\x20-\x7e]", value)
        if wrong is not None:
            what = "a line break" if wrong[0] in "\r\n" else f"the character U+{ord(wrong[0]):04X}"
            findings.error(
                child.place,
                child.key,
                f"found a value with {what} in it, expected printable ASCII on one line",
            )
            continue
        if name.lower() in OURS:
            findings.warn(child, "HookMQ sets this header itself; yours is left out")
            continue
        if check is not None:
            try:
                check(name, value)
            except Bad as e:
                findings.error(child.place, child.key, str(e))
                continue
        if name.lower() in headers:
            findings.warn(child, f"the header {name} is given twice; this value is used")
        headers[name.lower()] = (name, value.strip(" \t"))
    return tuple(headers.values())
