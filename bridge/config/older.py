"""The older spellings of nanomq.conf, and keys in the wrong place, moved to where they stand today.

Three grammars meet here, all with the same meaning:

* classic `key=value` files (to NanoMQ 0.18, and EMQX 4's emqx_web_hook.conf), read by `classic`;
* the HOCON of NanoMQ 0.14 to 0.18 (`webhook.rule.message.publish`, `mqtt.session.msq_len`, `authorization`);
* single classic keys in a HOCON file (`web.hook.url = "…"`, `allow_anonymous = false` at the root).

`Older.take` is given one old key after the other and puts it into the tree of today.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bridge.config.findings import Findings
from bridge.config.keys import MQTT, ROOTS
from bridge.config.mask import snippet
from bridge.config.node import Node, put
from bridge.config.units import plain, quote

# old key → today's; a trailing dot moves everything below
_MOVED: dict[str, str] = {
    "tls.enable": "listeners.ssl.enable",
    "tls.keyfile": "listeners.ssl.keyfile",
    "tls.key": "listeners.ssl.keyfile",
    "tls.certfile": "listeners.ssl.certfile",
    "tls.cert": "listeners.ssl.certfile",
    "tls.cacertfile": "listeners.ssl.cacertfile",
    "tls.cacert": "listeners.ssl.cacertfile",
    "tls.key_password": "listeners.ssl.key_password",
    "tls.keypass": "listeners.ssl.key_password",
    "tls.verify_peer": "listeners.ssl.verify_peer",
    "tls.fail_if_no_peer_cert": "listeners.ssl.fail_if_no_peer_cert",
    "websocket.enable": "listeners.ws.enable",
    "websocket.bind": "listeners.ws.bind",
    "property_size": "mqtt.property_size",
    "client_max_packet_size": "mqtt.client_max_packet_size",
    "msq_len": "mqtt.max_mqueue_len",
    "qos_duration": "mqtt.retry_interval",
    "retry_interval": "mqtt.retry_interval",
    "max_mqueue_len": "mqtt.max_mqueue_len",
    "max_inflight_window": "mqtt.max_inflight_window",
    "max_awaiting_rel": "mqtt.max_awaiting_rel",
    "await_rel_timeout": "mqtt.await_rel_timeout",
    "keepalive_multiplier": "mqtt.keepalive_multiplier",
    "session_expiry_interval": "mqtt.session_expiry_interval",
    "expiry_interval": "mqtt.session_expiry_interval",
    "allow_anonymous": "auth.allow_anonymous",
    "no_match": "auth.no_match",
    "deny_action": "auth.deny_action",
    "password": "auth.password",
    "acl": "auth.acl",
    "http_auth": "auth.http_auth",
    "acl_nomatch": "auth.no_match",
    "acl_deny_action": "auth.deny_action",
    "enable_acl_cache": "auth.cache.enable",
    "acl_cache_max_size": "auth.cache.max_size",
    "acl_cache_ttl": "auth.cache.ttl",
    "auth.http.": "auth.http_auth.",
    "auth_http": "auth.http_auth",
    "auth_http.": "auth.http_auth.",
    "http_server.": "http_server.",
    "sqlite.": "sqlite.",
    "bridge.": "bridges.",
    "aws.bridge.": "bridges.aws.",
    "rule.": "rules.",
    "rule_option": "rules.option",
    "rule_option.": "rules.option.",
    "gateway.": "gateway.",
    "daemon": "system.daemon",
    "num_taskq_thread": "system.num_taskq_thread",
    "max_taskq_thread": "system.max_taskq_thread",
    "parallel": "system.parallel",
    "enable_ipc_internal": "system.enable_ipc_internal",
    "hook_ipc_url": "system.hook_ipc_url",
    "cmd_ipc_url": "system.cmd_ipc_url",
    "log.level": "log.level",
    "log.dir": "log.dir",
    "log.file": "log.file",
    "log.to": "log.to",
    "log.rotation.": "log.rotation.",
    "web.hook.enable": "webhook.enable",
    "web.hook.url": "webhook.url",
    "web.hook.api.url": "webhook.url",
    "web.hook.headers.": "webhook.headers.",
    "web.hook.body.encoding_of_payload_field": "webhook.body.encoding",
    "web.hook.body.encoding": "webhook.body.encoding",
    "web.hook.encode_payload": "webhook.body.encoding",
    "web.hook.pool_size": "webhook.pool_size",
    "web.hook.cancel_timeout": "webhook.cancel_timeout",
    "web.hook.request_timeout": "webhook.cancel_timeout",
    "web.hook.ssl.verify": "webhook.ssl.verify_peer",
    "web.hook.ssl.": "webhook.ssl.",
    "web.hook.tls.": "webhook.ssl.",
}
_SPECIAL = frozenset(
    {"url", "tls.url", "websocket.url", "websocket.tls_url", "max_packet_size", "keepalive_backoff"}
)
_ROOTS = frozenset(key.split(".")[0] for key in (*_MOVED, *_SPECIAL)) | {"authorization"}
_OFF = frozenset({"false", "off", "no"})
_SILENT = frozenset({"system", "bridges", "rules", "gateway", "http_server"})
"""Blocks whose own warning says all there is to say."""
_IDLE = {MQTT.name: MQTT.idle}
"""Keys without an effect: not worth showing as today's spelling."""
_SECURITY = frozenset({"allow_anonymous", "no_match", "deny_action", "password", "acl", "http_auth"})


def today(path: tuple[str, ...]) -> tuple[str, ...] | None:
    """Where an old key stands today; None for one that never was."""
    whole = ".".join(path)
    if whole in _MOVED:
        return tuple(_MOVED[whole].split("."))
    for n in range(len(path) - 1, 0, -1):
        head = ".".join(path[:n]) + "."
        if head in _MOVED:
            return (*_MOVED[head].rstrip(".").split("."), *path[n:])
    return None


@dataclass
class _Login:
    login: Node | None = None
    password: Node | None = None


class Older:
    """Puts old keys into a tree of today, and says so once for each block of today."""

    def __init__(self, findings: Findings, root: Node, *, file_is_classic: bool) -> None:
        self.findings = findings
        self.root = root
        self.classic = file_is_classic
        self.moved: dict[str, tuple[Node, str]] = {}  # today's block → the first old key in it
        self.events: list[Node] = []
        self.logins: dict[str, _Login] = {}
        self.acl: list[tuple[int, Node]] = []
        self.ruled = True  # not switched off by `acl_enable`

    # --- a HOCON file ---------------------------------------------------------------------------------------

    def hocon(self) -> None:
        """Move every old key of a HOCON tree."""
        root = self.root.children
        mqtt = self.root.get("mqtt")
        if mqtt is not None:
            self._mqtt(mqtt)
        auth = root.get("auth")
        if auth is not None and isinstance(auth.value, list):
            self._users(auth, "auth.password")
            root["auth"] = Node({}, "auth", auth.place)
        elif auth is not None:
            for name in [n for n in auth.children if n.isdigit() or n == "http"]:
                child = auth.children.pop(name)
                for path, leaf in leaves(child, ("auth", name)):
                    self.take(path, leaf)
        for name in [n for n in root if n in _ROOTS and n not in ROOTS]:
            node = root.pop(name)
            if name == "authorization":
                self._authorization(node)
            elif today((name,)) is not None or name in _SPECIAL:
                self.take((name,), node)
            else:
                for path, leaf in leaves(node, (name,)):
                    self.take(path, leaf)
        self.finish()

    def _mqtt(self, mqtt: Node) -> None:
        """`mqtt.session.*` of 0.14 to 0.18, and what concerns security and stands in `mqtt`."""
        session = mqtt.children.pop("session", None)
        if session is not None and not isinstance(session.value, dict):
            mqtt.children["session"] = session
            session = None
        for name, node in session.children.items() if session is not None else ():
            if today((name,)) is None and name not in _SPECIAL:
                put(self.root, ("mqtt", f"session.{name}"), node)
            else:
                self.take((name,), node)
        for name in [n for n in mqtt.children if n in _SECURITY or n == "keepalive_backoff"]:
            self.take((name,), mqtt.children.pop(name))

    def _authorization(self, node: Node) -> None:
        for name, child in node.children.items():
            if name != "sources":
                put_new(self.root, ("auth", name), child)
                self.findings.warn(child, f"an older spelling, read as auth.{name}")
        sources = node.get("sources")
        for source in sources.value if sources is not None and isinstance(sources.value, list) else ():
            enable = source.get("enable")
            if enable is not None and (plain(enable) or "").lower() == "false":
                continue
            kind = (plain(source.children["type"]) or "") if "type" in source.children else ""
            users, rules = source.get("users"), source.get("rules")
            if users is not None:
                self._users(users, "auth.password")
            if rules is not None:
                put_new(self.root, ("auth", "acl", "rules"), rules)
            if kind == "http" or source.get("auth_req") is not None:
                put_new(self.root, ("auth", "http_auth"), source)

    def _users(self, users: Node, where: str) -> None:
        """A list of `{username | login, password}`."""
        if not isinstance(users.value, list):
            self.findings.wrong(users, "a list [ { username = …, password = … } ]")
            return
        for user in users.value:
            login = _Login(user.get("login") or user.get("username"), user.get("password"))
            self.logins[user.key] = login
            if login.login is None or login.password is None:
                self.findings.wrong(user, "an object { username = …, password = … }")
                del self.logins[user.key]

    # --- one key --------------------------------------------------------------------------------------------

    def take(self, path: tuple[str, ...], node: Node) -> None:
        """Put one old key where it stands today."""
        whole = ".".join(path)
        if whole in _SPECIAL:
            self._special(whole, node)
            return
        if path[:3] == ("web", "hook", "rule"):
            self._rule(path[3:], node)
            return
        if len(path) == 3 and path[0] == "auth" and path[1].isdigit():
            login = self.logins.setdefault(path[1], _Login())
            if path[2] in ("login", "username"):
                login.login = node
                return
            if path[2] == "password":
                login.password = node
                return
        if whole == "acl_enable":
            if (plain(node) or "").strip().lower() in _OFF:
                self.findings.warn(node, "the access rules are switched off: they hold for nobody")
                self.ruled = False
            return
        if path[:2] == ("acl", "rule"):
            spec = _json_object(node)
            number = path[2] if len(path) == 3 and path[2].isdigit() else ""
            self.acl.append((int(number or len(self.acl)), spec if spec is not None else node))
            return
        target = today(path)
        if target is None and path[:2] == ("web", "hook"):
            target = ("webhook", *path[2:])
        if target is None and path[0] in ROOTS:
            target = path
        if target is None:
            put(self.root, path, node)  # unknown then and now: its reader says so
        else:
            self._put(target, node)

    def _special(self, whole: str, node: Node) -> None:
        text = (plain(node) or "").strip()
        if whole == "max_packet_size":
            # KiB in classic files and in 0.14 to 0.18, when it has no unit
            value = f"{text}KB" if text.isdigit() else text
            self._put(("mqtt", "max_packet_size"), Node(value, node.key, node.place, value))
        elif whole == "keepalive_backoff":
            # thousandths: 1250 is 1.25
            value = str(int(text) / 1000) if text.isdigit() and int(text) >= 100 else text
            self._put(("mqtt", "keepalive_multiplier"), Node(value, node.key, node.place, text))
        else:
            kind = {"url": "tcp", "tls.url": "ssl", "websocket.url": "ws", "websocket.tls_url": "wss"}[whole]
            scheme, _, rest = text.rpartition("://")
            if scheme.startswith("tls+") and "ws" not in scheme:
                kind = "ssl"
            elif "wss" in scheme or "ws" in scheme:
                kind = "wss" if "wss" in scheme or "tls" in scheme else "ws"
            self._put(("listeners", kind, "bind"), Node(rest, node.key, node.place, text))

    def _rule(self, path: tuple[str, ...], node: Node) -> None:
        """`web.hook.rule.<type>.<name>.<No> = {"action": "…", "topic": "…"}`."""
        if isinstance(node.value, str):
            spec = _json_object(node)
            if spec is None:
                self.findings.wrong(node, 'a rule such as {"action": "on_message_publish", "topic": "foo/#"}')
                return
            node = spec
        self.events.extend(rule_events(node, self.findings, path))
        self._mark(("webhook", "events"), node)

    def _put(self, target: tuple[str, ...], node: Node) -> None:
        key = ".".join(target)
        misplaced = target[0] == "auth" and target[-1] in _SECURITY and not self.classic
        existing = self.root.get(*target)
        strict = target == ("auth", "allow_anonymous") and (plain(node) or "").strip().lower() in _OFF
        if existing is not None and not strict:
            self.findings.warn(node, f"another spelling of {key}, which is given too and wins")
            return
        put(self.root, target, node)
        if misplaced:
            self.findings.warn(node, f"misplaced, honoured as {key}: it belongs in the block auth")
        elif existing is not None:
            self.findings.warn(node, f"{key} is given too; false, the stricter, is used")
        else:
            self._mark(target, node)

    def _mark(self, target: tuple[str, ...], node: Node) -> None:
        if target[0] not in _SILENT and target[0] != "log" and target[0] != "sqlite":
            self.moved.setdefault(target[0], (node, node.key))

    # --- the end --------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Put together what came in pieces, and show today's spelling of every block that was touched."""
        for name, login in self.logins.items():
            if login.login is None or login.password is None:
                half = login.login or login.password
                if half is not None:
                    missing = "password" if login.password is None else "login"
                    self.findings.error(half.place, half.key, f"found no auth.{name}.{missing} to go with it")
                continue
            user = plain(login.login)
            if not user:
                self.findings.wrong(login.login, "a user name")
                continue
            put(self.root, ("auth", "password", user), login.password)
            self._mark(("auth", "password"), login.login)
        if self.events:
            place = self.events[0].place
            listed = self.root.get("webhook", "events")
            events = list(listed.value) if listed is not None and isinstance(listed.value, list) else []
            put(self.root, ("webhook", "events"), Node([*events, *self.events], "webhook.events", place))
        if self.acl and self.ruled:
            rules = [rule for _, rule in sorted(self.acl, key=lambda numbered: numbered[0])]
            place = rules[0].place
            listed = Node(rules, "acl.rule", place)
            put_new(self.root, ("auth", "acl"), Node({"rules": listed}, "acl.rule", place))
            self._mark(("auth", "acl"), rules[0])
        auth = self.root.get("auth")
        if auth is not None and not self.ruled:
            auth.children.pop("no_match", None)
        self._tls_switch()
        for block, (node, key) in self.moved.items():
            shown = self.root.children.get(block)
            if shown is not None:
                idle = _IDLE.get(block, ())
                members = {name: child for name, child in shown.children.items() if name not in idle}
                shown = Node(members, shown.key, shown.place)
                text = "classic spelling" if self.classic else "an older spelling"
                self.findings.warning(node.place, key, f"{text}; today: {snippet(shown, block)}")

    def _tls_switch(self) -> None:
        """In classic files a TLS listener is off unless `tls.enable` says otherwise, and wss goes with it."""
        if not self.classic:
            return
        listeners = self.root.get("listeners")
        if listeners is None:
            return
        ssl, wss = listeners.get("ssl"), listeners.get("wss")
        off = Node(False, "tls.enable", listeners.place)
        if ssl is not None and "enable" not in ssl.children:
            ssl.children["enable"] = off
        enabled = ssl is not None and (plain(ssl.children["enable"]) or "").lower() == "true"
        if wss is not None and not enabled:
            wss.children["enable"] = off


def put_new(root: Node, target: tuple[str, ...], node: Node) -> None:
    """`put`, unless today's spelling is there already."""
    if root.get(*target) is None:
        put(root, target, node)


def leaves(node: Node, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Node]]:
    """The scalars and lists below an object; a rule `{action, topic}` is one leaf."""
    if isinstance(node.value, dict) and not ({"action", "event"} & node.value.keys()):
        for name, child in node.value.items():
            yield from leaves(child, (*path, name))
    else:
        yield path, node


def _json_object(node: Node) -> Node | None:
    """The object that a classic value holds as JSON, or None."""
    try:
        spec = json.loads(str(node.value))
    except (ValueError, RecursionError):
        return None
    return _from_json(spec, node) if isinstance(spec, dict) else None


def _from_json(value: Any, node: Node) -> Node:
    if isinstance(value, dict):
        return Node({k: _from_json(v, node) for k, v in value.items()}, node.key, node.place)
    if isinstance(value, list):
        return Node([_from_json(v, node) for v in value], node.key, node.place)
    return Node(value, node.key, node.place, None if isinstance(value, str) else json.dumps(value))


def rule_events(node: Node, findings: Findings, path: tuple[str, ...] = ()) -> list[Node]:
    """The rules below `webhook.rule`: objects `{action, topic}`, in lists or by number, as today's events.

    NanoMQ's documentation also writes one rule in two objects, `[{action = …}, {topic = …}]`; and the path
    itself names the event where nothing else does (`rule.message.publish` is `on_message_publish`).
    """
    events: list[Node] = []
    if isinstance(node.value, list):
        for child in node.value:
            topic = child.children.get("topic")
            only_topic = topic is not None and len(child.children) == 1
            if only_topic and events and "topic" not in events[-1].children and topic is not None:
                events[-1].children["topic"] = topic
            else:
                events.extend(rule_events(child, findings, path))
    elif isinstance(node.value, dict) and ({"action", "event", "topic"} & node.value.keys()):
        children = {("event" if name == "action" else name): child for name, child in node.value.items()}
        words = [p for p in path if not re.fullmatch(r"\d+", p)]
        if "event" not in children and len(words) == 2:
            children = {"event": Node("on_" + "_".join(words), node.key, node.place), **children}
        events.append(Node(children, node.key, node.place))
    elif isinstance(node.value, dict):
        for name, child in node.value.items():
            events.extend(rule_events(child, findings, (*path, name)))
    elif not node.is_null:
        findings.wrong(node, 'a rule such as { action = "on_message_publish", topic = "foo/#" }')
    return events


def events_snippet(events: list[Node]) -> str:
    """Rules as today's list of events, ready to paste."""
    shown = []
    for event in events:
        parts = [
            f"{n} = {quote(plain(event.children[n]) or '')}"
            for n in ("event", "topic")
            if n in event.children
        ]
        shown.append("{ " + ", ".join(parts) + " }")
    return "events = [" + ", ".join(shown) + "]"
