"""Environment variables over the file: `HOOKMQ_WEBHOOK__URL=…` sets `webhook.url`.

Two underscores are a dot, and case does not matter. A value is plain text, or HOCON where it begins with
`{`, `[` or a quote. In `webhook.headers` an underscore is a hyphen (`…HEADERS__X_API_KEY` is `x-api-key`); in
a webhook's name it may be one (`HOOKMQ_WEBHOOKS__LINE_1__URL` is `webhooks.line-1.url` where that is there).
The names of users are taken as written.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bridge.config import body, hocon
from bridge.config.findings import Findings
from bridge.config.node import Node, Place, join, merge, put

PREFIX = "HOOKMQ_"
_NO_KEYS = frozenset({"HOOKMQ_CI"})
"""Variables with the prefix that others read."""


def apply(root: Node, environ: Mapping[str, str], findings: Findings) -> None:
    """Put every `HOOKMQ_*` variable into the tree; messages name the variable instead of file and line."""
    for variable in sorted(v for v in environ if v.upper().startswith(PREFIX) and v not in _NO_KEYS):
        path = _path(root, variable[len(PREFIX) :])
        place = Place(Path(variable))
        key = ""
        for name in path:
            key = join(key, name)
        if not path or not all(path):
            findings.warning(place, "", "names no key, expected a name such as HOOKMQ_WEBHOOK__URL")
            continue
        node = _value(environ[variable], environ, place, key, findings)
        if node is None:
            continue
        if path[-1] == "body":
            node = body.whole(Node({"body": node}, key, place)).children["body"]
        existing = root.get(*path)
        put(root, path, merge(existing, node) if existing is not None else node)


def _path(root: Node, name: str) -> tuple[str, ...]:
    """The key that a variable names: as the file spells it where the file has it, else in lower case."""
    path: list[str] = []
    at: Node | None = root
    for part in name.split("__"):
        known = {k.lower(): k for k in at.children} if at is not None else {}
        lower = part.lower()
        if path == ["webhook", "headers"] or (path[:1] == ["webhooks"] and path[2:] == ["headers"]):
            lower = lower.replace("_", "-")
        if path in (["webhooks"], ["mqtt_publishers"]) and lower not in known:
            lower = next((name for name in known if name.replace("-", "_") == lower), lower)
        if path == ["auth", "password"]:
            path.append(part)  # a user's name has a case of its own
        else:
            path.append(known.get(lower, lower))
        at = at.children.get(path[-1]) if at is not None else None
    return tuple(path)


def _value(text: str, environ: Mapping[str, str], place: Place, key: str, findings: Findings) -> Node | None:
    if not text.lstrip().startswith(("{", "[", '"')):
        return Node(text, key, place, text)
    own = Findings()
    tree = hocon.read(place.file, "value = " + text.strip(), environ, own)
    for message in own.messages:
        findings.error(place, key, message.text.replace(" of value", f" of {key}"))
    value = tree.get("value") if tree is not None else None
    if value is None or (tree is not None and len(tree.children) != 1):
        if not own.messages:
            findings.error(place, key, "found more or less than one value, expected one HOCON value")
        return None
    return _moved(value, key, place)


def _moved(node: Node, key: str, place: Place) -> Node:
    """The same tree under another key, all of it at the variable."""
    if isinstance(node.value, dict):
        return Node({n: _moved(c, join(key, n), place) for n, c in node.value.items()}, key, place)
    if isinstance(node.value, list):
        return Node([_moved(c, f"{key}[{i}]", place) for i, c in enumerate(node.value)], key, place)
    return Node(node.value, key, place, node.raw, node.broken)
