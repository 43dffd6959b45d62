"""Classic configuration files: `key=value` lines (NanoMQ to 0.18, EMQX 4), which are not HOCON.

A value is all that follows the `=`: no comments, no substitutions, quotes not needed.
"""

from __future__ import annotations

import re
from pathlib import Path

from bridge.config.findings import Findings
from bridge.config.node import Node, Place
from bridge.config.older import Older

_LINE = re.compile(r"\s*([A-Za-z0-9_][A-Za-z0-9_.\-]*)\s*=[ \t]*(.*?)\s*$")
_STRUCTURE = re.compile(r'(^|[\s=:])[\[{]\s*(#.*)?$|^\s*[\]}]|^\s*include\s+"|:\s*\{|^\s*[\w."-]+\s*[{:]')
_MARK = re.compile(
    r"\s*(url\s*=\s*(tls\+)?(nmq|broker|mqtt)-?\w*[+:]|(tls|websocket|web\.hook|auth\.\d+|auth\.http|acl\.rule|bridge\.mqtt"
    r"|aws\.bridge)\.\w|(http_server|sqlite)\.enable\s*=|(msq_len|qos_duration|keepalive_backoff|num_taskq_thread"
    r"|max_taskq_thread|daemon|enable_ipc_internal|allow_anonymous|acl_nomatch|acl_deny_action|acl_enable"
    r"|(client_)?max_packet_size|property_size)\s*=)"
)

_TODAY = re.compile(r"(webhook|listeners|mqtt|auth\.(?!\d|http\.))[.\w]*\s*=")
"""Keys that only HOCON files have."""


def is_classic(text: str) -> bool:
    """Whether the text is nothing but `key=value` lines, with a key that only classic files have."""
    marked = False
    for line in text.splitlines():
        bare = line.strip()
        if not bare or bare.startswith("#"):
            continue
        match = _LINE.match(line)
        if match is None or _STRUCTURE.search(line) or re.fullmatch(r'".*"', match[2]) or _TODAY.match(bare):
            # a quoted value is HOCON's: classic files need no quotes, and HOCON reads both
            return False
        marked = marked or _MARK.match(line) is not None
    return marked


def read(path: Path, text: str, findings: Findings) -> Node:
    """The tree of a classic file, in today's shape; one warning for each block shows today's spelling."""
    root = Node({}, "", Place(path, 1))
    older = Older(findings, root, file_is_classic=True)
    lines = text.splitlines()
    first = next(
        (n for n, line in enumerate(lines, 1) if line.strip() and not line.strip().startswith("#")), 1
    )
    findings.warning(
        Place(path, first),
        "",
        "a classic key=value file (NanoMQ to 0.18), which is read; today's format: docs/configuration.md",
    )
    seen: dict[str, int] = {}
    entries: dict[str, Node] = {}
    for number, line in enumerate(lines, 1):
        bare = line.strip()
        if not bare or bare.startswith("#"):
            continue
        match = _LINE.match(line)
        if match is None:
            findings.error(
                Place(path, number), "", "found a line that is not key=value, expected key=value or # comment"
            )
            continue
        key, value = match[1], match[2]
        if len(value) >= 2 and value[0] == value[-1] == '"':
            value = value[1:-1]
        if key in seen:
            findings.warning(Place(path, number), key, f"given again; line {seen[key]} has no effect")
        seen[key] = number
        entries[key] = Node(value, key, Place(path, number), value)
    _drop_disabled(entries)
    for key, node in entries.items():
        if node.value == "":
            continue  # `key=` is a key that is not set
        older.take(tuple(key.split(".")), node)
    older.finish()
    return root


def _drop_disabled(entries: dict[str, Node]) -> None:
    """What a classic file switches off is not worth a word: http_server, auth.http, bridges, sqlite."""
    for switch in [k for k in entries if k.endswith((".enable", ".bridge_mode"))]:
        block = switch.rpartition(".")[0]
        if block in ("http_server", "auth.http", "sqlite") or "bridge" in block:
            off = str(entries[switch].value).strip().lower() == "false"
            for key in [k for k in entries if k.startswith(block + ".")]:
                if key == switch or (off and not key.endswith("mounted_file_path")):
                    del entries[key]
