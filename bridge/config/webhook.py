"""The `webhook` block: one endpoint, its headers, its TLS and its events (INTEROP 1.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bridge.config import certs, credentials, policy, signing, url
from bridge.config.block import build, fields, nearest, read_block, warn_unknown
from bridge.config.findings import Findings
from bridge.config.keys import WEBHOOK, WEBHOOK_TLS
from bridge.config.kinds import OURS, TOKEN
from bridge.config.node import Node, merge
from bridge.config.older import events_snippet, rule_events
from bridge.config.settings import BacklogBound, Encoding, Endpoint, Rule, Tls
from bridge.config.units import Bad, plain
from bridge.events.event import BY_HOOK_NAME, TOPIC_EVENTS, EventType
from bridge.mqtt.topics import valid_topic_filter

_KNOWN_EVENTS = ", ".join(sorted(BY_HOOK_NAME))
_EVENT_KEYS = ("event", "topic")


def read(findings: Findings, node: Node | None, environ: Mapping[str, str]) -> tuple[Endpoint, ...]:
    """The endpoints of a file: one, or none where there is no block or it has errors.

    `environ` is where secrets of the form `{ env = NAME }` are looked for.
    """
    if node is None:
        return ()
    if not isinstance(node.value, dict):
        findings.wrong(node, 'one object: webhook { url = "http://…", events = [ … ] }')
        return ()
    start = len(findings.messages)
    values = read_block(findings, node, WEBHOOK)
    enable = values["enable"][1] if "enable" in values else True
    address: str | None = None
    authorization: str | None = None
    if "url" in values:
        url_node, text = values["url"]
        try:
            address, authorization = url.split_credentials(url.check(text))
        except Bad as e:
            findings.error(url_node.place, url_node.key, str(e))
    elif enable and node.get("url") is None:
        findings.error(
            node.place, "webhook.url", 'missing, expected the receiver: url = "http://host:port/path"'
        )
    headers = _headers(findings, node.children.get("headers"))
    if authorization is not None:
        if any(name.lower() == "authorization" for name, _ in headers):
            findings.warn(
                values["url"][0], "the url's user and password have no effect beside an Authorization header"
            )
        else:
            headers = (*headers, ("Authorization", authorization))
    names = [name for name, _ in headers]
    signatures, secrets = signing.read(findings, node, values.get("secret"), names, environ)
    identity = credentials.read(findings, node.get("credentials"), names, environ)
    proxy = _proxy(findings, values)
    parts = policy.read(findings, node, values)
    tls = _tls(findings, node, address)
    rules = _rules(findings, node, warn_none=enable)
    if address is None or _failed(findings, start):
        return ()
    given = fields(values, WEBHOOK, Endpoint)
    if "encoding" in given:
        given["encoding"] = Encoding(given["encoding"])
    bound = build(findings, BacklogBound, fields(values, WEBHOOK, BacklogBound), node)
    given |= {"url": address, "headers": headers, "tls": tls, "events": rules, "backlog": bound, **parts}
    given |= {"signature": signatures, "secrets": secrets, "credentials": identity, "proxy": proxy}
    endpoint = build(findings, Endpoint, given, node)
    return (endpoint,) if endpoint is not None else ()


def _proxy(findings: Findings, values: Mapping[str, tuple[Node, Any]]) -> str | None:
    if "proxy" not in values:
        return None
    node, text = values["proxy"]
    try:
        return url.check_proxy(text)
    except Bad as e:
        findings.error(node.place, node.key, str(e))
        return None


def _failed(findings: Findings, start: int) -> bool:
    return any(m.level == "error" for m in findings.messages[start:])


# --- headers ------------------------------------------------------------------------------------------------


def _headers(findings: Findings, node: Node | None) -> tuple[tuple[str, str], ...]:
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
        if name.lower() in headers:
            findings.warn(child, f"the header {name} is given twice; this value is used")
        headers[name.lower()] = (name, value.strip(" \t"))
    return tuple(headers.values())


# --- TLS ----------------------------------------------------------------------------------------------------


def _tls(findings: Findings, node: Node, address: str | None) -> Tls | None:
    ssl, other = node.get("ssl"), node.get("tls")
    block = merge(ssl, other) if ssl is not None and other is not None else ssl or other
    if block is None:
        return None
    if ssl is not None and other is not None:
        findings.warn(
            other if other is not None else block, "ssl and tls are both given; their keys are taken together"
        )
    values = read_block(findings, block, WEBHOOK_TLS)
    enabled = values["enable"][1] if "enable" in values else True
    if address is None or not isinstance(block.value, dict):
        return None
    if not address.startswith("https:"):
        if enabled and values.keys() - {"enable", "verify_peer"}:
            findings.warn(block, "it has no effect: the url begins with http://, expected https:// for TLS")
        return None
    if not enabled:
        findings.warn(
            block, "enable = false leaves out these files only: a url with https:// always uses TLS"
        )
        return None
    if "keyfile" in values and "certfile" not in values:
        key = values["keyfile"][0]
        findings.error(key.place, key.key, "found a key without a certificate, expected certfile too")
    certs.check(findings, values)
    if values.get("verify_peer", (block, True))[1] is False:
        findings.warn(
            values["verify_peer"][0],
            "the receiver's certificate is not checked: anyone on the way can read the events",
        )
    made = build(findings, Tls, fields(values, WEBHOOK_TLS, Tls), block)
    return made if isinstance(made, Tls) else None


# --- events -------------------------------------------------------------------------------------------------


def _rules(findings: Findings, node: Node, *, warn_none: bool) -> tuple[Rule, ...]:
    entries: list[Node] = []
    events = node.get("events")
    if events is not None:
        entries += _entries(findings, events)
    rules = node.get("rules")
    if rules is not None:
        found_rules = _entries(findings, rules)
        entries += found_rules
        findings.warn(
            rules, f"an older spelling, read as webhook.events; today: {events_snippet(found_rules)}"
        )
    rule = node.get("rule")
    if rule is not None:
        found_rules = rule_events(rule, findings)
        entries += found_rules
        findings.warn(rule, f"an older spelling (NanoMQ 0.14 to 0.18); today: {events_snippet(found_rules)}")
    if warn_none and not entries and (events is None or events.value == []):
        findings.warning(
            (events or node).place,
            "webhook.events",
            'no events: nothing will be sent; for example events = [ { event = "on_message_publish" } ]',
        )
    made = [_rule(findings, entry) for entry in entries]
    return tuple(r for r in made if r is not None)


def _entries(findings: Findings, node: Node) -> list[Node]:
    possible = 'a list: [ { event = "on_message_publish", topic = "foo/#" } ]'
    if not isinstance(node.value, list):
        findings.wrong(node, possible)
        return []
    entries = []
    for entry in node.value:
        if not isinstance(entry.value, dict):
            findings.wrong(entry, 'an object: { event = "on_message_publish", topic = "foo/#" }')
            continue
        action = entry.get("action")
        if action is None:
            entries.append(entry)
            continue
        members = {k: v for k, v in entry.children.items() if k != "action"}
        if "event" not in members:
            members = {"event": action, **members}
            renamed = Node(members, entry.key, entry.place)
            findings.warn(action, f"an older spelling; today: {events_snippet([renamed])[10:-1]}")
        else:
            findings.warn(action, "an older spelling of event, which is given too and wins")
        entries.append(Node(members, entry.key, entry.place))
    return entries


def _rule(findings: Findings, entry: Node) -> Rule | None:
    for name, child in entry.children.items():
        if name not in _EVENT_KEYS:
            warn_unknown(findings, child, name, entry.key, _EVENT_KEYS)
    node = entry.get("event")
    if node is None:
        findings.error(
            entry.place, entry.key, f"found no event in it, expected event = one of {_KNOWN_EVENTS}"
        )
        return None
    event = _event(findings, node)
    topic = entry.get("topic")
    text: str | None = None
    if topic is not None and not topic.broken:
        text = plain(topic)
        if text is None or not valid_topic_filter(text):
            findings.wrong(
                topic,
                "a topic filter of MQTT: levels between /, + for one whole level, # only as the last level",
            )
            return None
        if text.startswith("$share/"):
            findings.wrong(
                topic, "a topic filter without $share: a webhook is no member of a shared subscription"
            )
            return None
    if event is None:
        return None
    if text is not None and topic is not None and event not in TOPIC_EVENTS:
        findings.warn(
            topic, f"it has no effect: on_{event.action} has no topic; the event is sent for every client"
        )
        text = None
    return Rule(event=event, topic=text)


def _event(findings: Findings, node: Node) -> EventType | None:
    if node.broken:
        return None
    name = (plain(node) or "").strip().lower()
    event = BY_HOOK_NAME.get(name)
    if event is None:
        near = BY_HOOK_NAME.get(f"on_{name.replace('.', '_')}")
        guess = f"on_{near.action}" if near is not None else nearest(name, BY_HOOK_NAME)
        hint = f"; did you mean {guess}?" if guess else ""
        findings.wrong(node, f"one of {_KNOWN_EVENTS}{hint}")
    return event
