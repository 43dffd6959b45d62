"""Access rules: `auth.acl.rules` of nanomq.conf, and classic `acl.rule.<No>` (INTEROP 1.3).

A rule that is not understood is an error: who it is for, or what it allows, would not be what was meant.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from bridge.config.block import build, nearest
from bridge.config.findings import Findings
from bridge.config.node import Node, found
from bridge.config.settings import AclRule, AclWho
from bridge.config.units import plain
from bridge.mqtt.topics import valid_topic_filter

MAX_DEPTH = 8
"""`and` and `or` inside one another."""
_WHO = ("username", "clientid", "ipaddr", "ipaddrs", "and", "or")
_RULE = ("permit", "action", "topics", "topic", *_WHO)
_EXAMPLE = '{ permit = deny, username = "#", action = subscribe, topics = ["$SYS/#"] }'


def read(findings: Findings, acl: Node | None, misplaced: Node | None) -> tuple[AclRule, ...]:
    """The rules in their order. `misplaced` are rules that stand straight in `auth`."""
    rules = _listed(findings, acl)
    if misplaced is not None:
        if rules is not None:
            findings.warn(misplaced, "misplaced, and auth.acl.rules is given too and wins")
        else:
            findings.warn(misplaced, "misplaced, honoured as auth.acl.rules: it belongs in auth.acl")
            rules = misplaced
    if rules is None:
        return ()
    if not isinstance(rules.value, list):
        findings.wrong(rules, f"a list of rules: rules = [ {_EXAMPLE} ]")
        return ()
    made = [_rule(findings, node) for node in rules.value]
    return tuple([rule for rule in made if rule is not None])


def _listed(findings: Findings, acl: Node | None) -> Node | None:
    """The list in the block `acl`, which may be that list itself; None where there is none, or it is off."""
    if acl is None or isinstance(acl.value, list):
        return acl
    if not isinstance(acl.value, dict):
        findings.wrong(acl, f"an object: acl {{ rules = [ {_EXAMPLE} ] }}")
        return None
    for name, child in acl.children.items():
        if name not in ("rules", "enable"):
            near = nearest(name, ("rules", "enable"))
            hint = f"; did you mean auth.acl.{near}?" if near else "; known keys of auth.acl: rules, enable"
            findings.warn(child, f"unknown key, it has no effect{hint}")
    enable = acl.get("enable")
    if enable is not None and (plain(enable) or "").strip().lower() in ("false", "off", "no"):
        if acl.get("rules") is not None:
            findings.warn(enable, "the access rules are switched off: they hold for nobody")
        return None
    return acl.get("rules")


def _rule(findings: Findings, node: Node) -> AclRule | None:
    start = len(findings.messages)
    if not isinstance(node.value, dict):
        findings.wrong(node, f"a rule such as {_EXAMPLE}")
        return None
    given = _who(findings, node, _RULE, 0)
    for name, choices in (("permit", ("allow", "deny")), ("action", ("publish", "subscribe", "pubsub"))):
        child = node.get(name)
        word = (plain(child) or "").strip().lower() if child is not None else ""
        if child is None and name == "permit":
            findings.error(node.place, f"{node.key}.permit", "missing, expected allow or deny")
        elif child is not None and word not in choices:
            findings.wrong(child, ", ".join(choices[:-1]) + " or " + choices[-1])
        elif child is not None:
            given[name] = word
    topics = node.get("topics")
    single = node.get("topic")
    if topics is None and single is not None:
        findings.warn(single, "another spelling, honoured as topics")
        topics = single
    elif single is not None:
        findings.error(single.place, single.key, "found beside topics, expected topics alone")
    if topics is not None:
        given["topics"] = _topics(findings, topics)
    if any(m.level == "error" for m in findings.messages[start:]):
        return None
    made = build(findings, AclRule, given, node)
    return made if isinstance(made, AclRule) else None


def _who(findings: Findings, node: Node, known: tuple[str, ...], depth: int) -> dict[str, Any]:
    """Whom a rule, or a member of `and` and `or`, is for."""
    given: dict[str, Any] = {}
    if depth > MAX_DEPTH:
        findings.error(node.place, node.key, f"found and/or more than {MAX_DEPTH} deep, expected fewer")
        return given
    for name, child in node.children.items():
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean {near}?" if near else "known are " + ", ".join(known)
            findings.error(
                child.place, child.key, f"unknown key, without which the rule would be another one; {hint}"
            )
        elif child.is_null or child.broken:
            continue
        elif name in ("username", "clientid"):
            text = plain(child)
            if not text:
                findings.wrong(child, f"a {name}, or # for anyone")
            elif text != "#":
                given[name] = text
        elif name in ("ipaddr", "ipaddrs"):
            given["ipaddr"] = _networks(findings, child)
        elif name in ("and", "or"):
            given["all_of" if name == "and" else "any_of"] = _members(findings, child, depth)
    return given


def _members(findings: Findings, node: Node, depth: int) -> tuple[AclWho, ...]:
    possible = f'a list of one or more, such as {node.key} = [ {{ username = "a" }}, {{ clientid = "b" }} ]'
    if not isinstance(node.value, list) or not node.value:
        findings.wrong(node, possible)
        return ()
    made: list[AclWho] = []
    for child in node.value:
        if not isinstance(child.value, dict) or not child.value:
            findings.wrong(child, f"an object with {', '.join(_WHO)}")
            continue
        one = build(findings, AclWho, _who(findings, child, _WHO, depth + 1), child)
        if isinstance(one, AclWho):
            made.append(one)
    return tuple(made)


def _networks(findings: Findings, node: Node) -> tuple[str, ...]:
    """Addresses and networks in CIDR form; none where `#`, any address, is among them."""
    possible = 'an address or a network, such as "10.0.0.7" or "10.0.0.0/8", several as a list, or # for any'
    networks: list[str] = []
    anyone = False
    for item in node.value if isinstance(node.value, list) else [node]:
        text = (plain(item) or "").strip()
        if text == "#":
            anyone = True
            continue
        try:
            networks.append(str(ipaddress.ip_network(text)))
        except ValueError:
            try:
                meant = f"; did you mean {ipaddress.ip_network(text, strict=False)}?"
            except ValueError:
                meant = ""
            findings.error(node.place, node.key, f"found {found(item)}, expected {possible}{meant}")
    if not networks and not anyone and isinstance(node.value, list) and not node.value:
        findings.wrong(node, possible)
    return () if anyone else tuple(dict.fromkeys(networks))


def _topics(findings: Findings, node: Node) -> tuple[str, ...]:
    possible = 'topic filters such as ["a/#", "@b/+", "c/${clientid}"]; without the key: every topic'
    items = node.value if isinstance(node.value, list) else [node]
    if not items:
        findings.wrong(node, possible)
    patterns: list[str] = []
    for item in items:
        text = plain(item)
        if text is None or not text.removeprefix("@"):
            findings.wrong(item, possible)
        elif text.removeprefix("@").startswith("$share/"):
            findings.error(
                item.place, item.key, f"found {found(item)}, expected the filter alone that is shared"
            )
        elif text.startswith("@") or valid_topic_filter(text, 1 << 16):
            patterns.append(text)
        else:
            findings.error(
                item.place,
                item.key,
                f"found {found(item)}, which is no topic filter (# stands alone at the end, + alone in its"
                f" level), expected {possible}",
            )
    return tuple(dict.fromkeys(patterns))
