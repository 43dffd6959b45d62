"""The `listeners` block: the sockets that clients connect to (INTEROP 1.3)."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Literal, cast

from bridge.config import certs
from bridge.config.block import build, fields, nearest, read_block
from bridge.config.findings import Findings
from bridge.config.keys import LISTENER_KINDS, LISTENER_TLS_KEYS, LISTENERS, Block
from bridge.config.kinds import URL_PATH
from bridge.config.node import Node, Place
from bridge.config.settings import Listener
from bridge.config.units import Bad, Range, quote

_Kind = Literal["tcp", "ssl", "ws", "wss"]
_PORTS: dict[_Kind, int] = {"tcp": 1883, "ssl": 8883, "ws": 8083, "wss": 8086}
_ANY = "0.0.0.0"  # noqa: S104  nanomq.conf's own default
_POSSIBLE = (
    "host:port such as 0.0.0.0:1883, [::]:1883, :1883 or 1883, a port from 0 to 65535 (0: any free one)"
)
_POSSIBLE_WEB = _POSSIBLE.replace("1883", "8083") + ", and a path: 0.0.0.0:8083/mqtt"
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")


def read(findings: Findings, node: Node | None) -> tuple[Listener, ...]:
    """All enabled listeners; that of NanoMQ's default where the file has none."""
    if node is None or node.is_null:
        return (Listener(kind="tcp"),)
    if not isinstance(node.value, dict):
        findings.wrong(node, 'an object: listeners.tcp { bind = "0.0.0.0:1883" }')
        return ()
    start = len(findings.messages)
    made: list[tuple[Node, Listener]] = []
    asked = False
    for kind, block in node.children.items():
        if block.is_null:
            continue
        if kind not in LISTENER_KINDS:
            near = nearest(kind, LISTENER_KINDS)
            hint = f"did you mean listeners.{near}?" if near else "known kinds: " + ", ".join(LISTENER_KINDS)
            findings.warn(block, f"unknown kind of listener, nothing listens for it; {hint}")
            continue
        if not isinstance(block.value, dict):
            findings.wrong(block, f'an object: listeners.{kind} {{ bind = "0.0.0.0:1883" }}')
            continue
        asked = True
        shared = _files_of_ssl(node) if kind == "wss" else {}
        made += _kind(findings, cast("_Kind", kind), block, shared)
    if any(m.level == "error" for m in findings.messages[start:]):
        return ()
    if not asked:
        return (Listener(kind="tcp"),)
    if not made:
        findings.error(
            node.place,
            "listeners",
            'no listener is left to open, expected listeners.tcp { bind = "0.0.0.0:1883" }',
        )
    _no_doubles(findings, made)
    return tuple(listener for _, listener in made)


_FILES = frozenset({"certfile", "keyfile", "cacertfile", "key_password", "cert", "key", "cacert", "keypass"})


def _files_of_ssl(node: Node) -> dict[str, Node]:
    """The TLS keys of `listeners.ssl`, which `wss` uses where it has no files of its own (INTEROP 1.3)."""
    ssl = node.get("ssl")
    known = {key.name for key in LISTENER_TLS_KEYS} | LISTENERS["ssl"].renamed.keys()
    return {name: child for name, child in ssl.children.items() if name in known} if ssl is not None else {}


def _kind(
    findings: Findings, kind: _Kind, block: Node, shared: dict[str, Node]
) -> list[tuple[Node, Listener]]:
    """The base listener of a kind and its named ones, side by side; `shared` where one has no files."""
    table = LISTENERS[kind]
    known = {key.name.partition(".")[0] for key in table.keys} | table.renamed.keys()
    own: dict[str, Node] = {}
    named: dict[str, Node] = {}
    for name, child in block.children.items():
        # an object without a single key of a listener is no listener, such as EMQX's tcp_options
        is_listener = isinstance(child.value, dict) and name not in known and bool(child.value.keys() & known)
        (named if is_listener else own)[name] = child
    made: list[tuple[Node, Listener]] = []
    if "bind" in own or not named:
        base = Node(own if _FILES & own.keys() else {**shared, **own}, block.key, block.place)
        made += _one(findings, kind, "default", base, table, named=False)
    else:
        for name, child in own.items():
            if name != "enable":
                findings.warn(
                    child, f"it has no effect: {block.key} has no bind of its own, only named listeners"
                )
    for name, child in named.items():
        whole = child
        if not _FILES & child.children.keys():
            whole = Node({**shared, **child.children}, child.key, child.place)
        made += _one(findings, kind, name, whole, table, named=True)
    return made


def _one(
    findings: Findings, kind: _Kind, name: str, node: Node, table: Block, *, named: bool
) -> list[tuple[Node, Listener]]:
    start = len(findings.messages)
    values = read_block(findings, node, table)
    if values.get("enable", (node, True))[1] is False:
        return []
    given = fields(values, table, Listener)
    given.pop("host", None)
    host, port = _ANY, _PORTS[kind]
    web = kind in ("ws", "wss")
    if named and node.get("bind") is None:
        possible = _POSSIBLE_WEB if web else _POSSIBLE
        findings.error(node.place, node.key, f"found no bind, expected bind = {possible}")
    elif "bind" in values:
        bind, text = values["bind"]
        try:
            if web:
                host, port, path = parse_web_bind(text)
                if path is not None:
                    other = values.get("websocket.mqtt_path")
                    if other is not None and other[1] != path:
                        findings.warn(other[0], f"the path {path} in bind is given too and wins")
                    given["path"] = path
            else:
                host, port = parse_bind(text)
        except Bad as e:
            findings.error(bind.place, bind.key, str(e))
    if kind in ("ssl", "wss"):
        _check_tls(findings, node, values)
    if any(m.level == "error" for m in findings.messages[start:]):
        return []
    listener = build(
        findings, Listener, {**given, "kind": kind, "name": name, "host": host, "port": port}, node
    )
    return [(values.get("bind", (node, None))[0], listener)] if listener is not None else []


def _check_tls(findings: Findings, node: Node, values: dict[str, tuple[Node, object]]) -> None:
    hint = "; those of listeners.ssl would do" if node.key.startswith("listeners.wss") else ""
    missing = [name for name in ("certfile", "keyfile") if node.get(name) is None and name not in values]
    # the older spellings cert and key have been read under today's names
    if missing:
        findings.error(
            node.place,
            node.key,
            f"found no {' and no '.join(missing)}, expected both: a TLS listener cannot work without"
            f" (or {node.key}.enable = false){hint}",
        )
    else:
        certs.check(findings, values)
    if values.get("verify_peer", (node, False))[1] is True and "cacertfile" not in values:
        verify = values["verify_peer"][0]
        findings.error(
            verify.place, verify.key, "found true without cacertfile, expected the authority of the clients"
        )
    revoked = values.get("crlfile")
    asked = values.get("verify_peer", (node, False))[1] is True
    if revoked is not None and revoked[1] is not None and not asked:
        findings.warn(revoked[0], "it has no effect without verify_peer = true: clients show no certificate")
    demand = values.get("fail_if_no_peer_cert", (node, False))
    if demand[1] is True and values.get("verify_peer", (node, False))[1] is not True:
        findings.warn(
            demand[0], "it has no effect without verify_peer = true: clients are not asked for a certificate"
        )


def parse_web_bind(text: str) -> tuple[str, int, str | None]:
    """As `parse_bind`, with the path of a WebSocket behind it, or None without one. Raises `Bad`."""
    bare = text.strip()
    at = bare.find("/", bare.find("://") + 3 if "://" in bare else 0)
    if at < 0:
        return (*parse_bind(text, _POSSIBLE_WEB), None)
    try:
        path = URL_PATH.read(Node(bare[at:], "", Place(Path())), Range())
    except Bad as e:
        raise Bad(f"found {quote(text)}, expected behind the port {e}") from None
    return (*parse_bind(bare[:at], _POSSIBLE_WEB), path)


def parse_bind(text: str, possible: str = _POSSIBLE) -> tuple[str, int]:
    """`host:port`, `[ipv6]:port`, `:port` or `port` → host and port. Raises `Bad`."""
    shown = f"found {quote(text)}, expected {possible}"
    bare = text.strip()
    scheme, _, rest = bare.rpartition("://")
    if scheme:
        raise Bad(
            f"found {quote(text)}, expected it without {scheme}://: {possible}; did you mean {quote(rest)}?"
        )
    match = re.fullmatch(r"(?:(?P<host>\[[^\[\]]*\]|[^:\[\]/]*):)?(?P<port>\d{1,5})", bare)
    if match is None or int(match["port"]) > 65535:
        raise Bad(shown)
    host = match["host"] or ""
    if host.startswith("["):
        try:
            return str(ipaddress.IPv6Address(host[1:-1])), int(match["port"])
        except ValueError:
            raise Bad(shown) from None
    if host in ("", "*"):
        return _ANY, int(match["port"])
    if re.fullmatch(r"[\d.]+", host):
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            raise Bad(shown) from None
    elif not all(_LABEL.fullmatch(label) for label in host.rstrip(".").split(".")):
        raise Bad(shown)
    return host, int(match["port"])


def _no_doubles(findings: Findings, made: list[tuple[Node, Listener]]) -> None:
    seen: dict[tuple[str, int], Listener] = {}
    for node, listener in made:
        at = (listener.host, listener.port)
        if listener.port and at in seen:
            other = seen[at]
            findings.error(
                node.place,
                node.key,
                f"found {listener.host}:{listener.port}, which listeners.{other.kind} has already",
            )
        seen[at] = listener
