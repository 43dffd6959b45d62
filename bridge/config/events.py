"""What an endpoint is sent: `events`, and `triggers` with `topics` (INTEROP 1.1, 2.1)."""

from __future__ import annotations

from bridge.config.block import nearest, warn_unknown
from bridge.config.findings import Findings
from bridge.config.kinds import items
from bridge.config.node import Node, found
from bridge.config.older import events_snippet, rule_events
from bridge.config.settings import Rule
from bridge.config.units import plain
from bridge.events.event import BY_HOOK_NAME, BY_NAME, HOOK_EVENTS, MESSAGE_EVENTS, TOPIC_EVENTS, EventType
from bridge.events.names import find, matching
from bridge.mqtt.topics import valid_topic_filter

MAX_TOPICS = 10_000
_KNOWN_EVENTS = ", ".join(sorted(BY_HOOK_NAME))
_DOTTED = ", ".join(sorted(kind.dotted for kind in HOOK_EVENTS))
_EVENT_KEYS = ("event", "topic")
_TRIGGERS = 'all, or a list of events and patterns such as ["message.publish", "client.*"]'


def read(findings: Findings, node: Node, *, warn_none: bool) -> tuple[Rule, ...]:
    """The rules of the block `node`, none twice; `warn_none`: a block without any is worth a warning."""
    entries: list[Node] = []
    today = f"{node.key}.events"
    events, triggers, topics = node.get("events"), node.get("triggers"), node.get("topics")
    if events is not None:
        entries += _entries(findings, events)
    rules = node.get("rules")
    if rules is not None:
        found_rules = _entries(findings, rules)
        entries += found_rules
        findings.warn(rules, f"an older spelling, read as {today}; today: {events_snippet(found_rules)}")
    rule = node.get("rule")
    if rule is not None:
        found_rules = rule_events(rule, findings)
        entries += found_rules
        findings.warn(rule, f"an older spelling (NanoMQ 0.14 to 0.18); today: {events_snippet(found_rules)}")
    none = not entries and triggers is None and topics is None
    if warn_none and none and (events is None or events.value == []):
        findings.warning(
            (events or node).place,
            today,
            'no events: nothing will be sent; for example events = [ { event = "on_message_publish" } ]',
        )
    made = [_rule(findings, entry) for entry in entries]
    made += _triggered(findings, triggers, topics, beside=events if entries else None)
    return tuple(dict.fromkeys(r for r in made if r is not None))


def read_list(findings: Findings, entries: list[Node]) -> tuple[Rule, ...]:
    """The rules of objects `{ event = …, topic = … }`, none twice."""
    made = [_rule(findings, entry) for entry in entries]
    return tuple(dict.fromkeys(rule for rule in made if rule is not None))


# --- triggers -----------------------------------------------------------------------------------------------


def _triggered(
    findings: Findings, triggers: Node | None, topics: Node | None, beside: Node | None
) -> list[Rule | None]:
    """EMQX's way: events, and topic filters for those of messages. Topics alone mean `message.publish`."""
    filters = _topics(findings, topics)
    if triggers is None:
        if topics is None or not filters:
            return []
        if beside is not None:
            findings.error(
                topics.place,
                topics.key,
                "found beside events and without triggers, expected topic = … in each event, or triggers",
            )
            return []
        return [Rule(event=EventType.MESSAGE_PUBLISH, topic=topic) for topic in filters]
    kinds: dict[EventType, None] = {}
    words = items(triggers)
    if not words:
        findings.wrong(triggers, _TRIGGERS)
    for word in words:
        text = plain(word)
        meant = matching(text) if text is not None else ()
        if not meant:
            near = nearest((text or "").strip().lower(), BY_NAME)
            hint = f"; did you mean {near}?" if near else ""
            shown = f"; {found(word)} is none" if len(words) > 1 and word.place is triggers.place else ""
            findings.wrong(
                word if isinstance(triggers.value, list) else triggers,
                f"{_TRIGGERS}{shown}; events: {_DOTTED}{hint}",
            )
        kinds |= dict.fromkeys(meant)
    if topics is not None and filters and kinds and not MESSAGE_EVENTS & kinds.keys():
        findings.warn(
            topics, "it has no effect: triggers has no message event, and the others are sent for every topic"
        )
    return [
        Rule(event=kind, topic=topic)
        for kind in kinds
        for topic in (filters if filters and kind in MESSAGE_EVENTS else (None,))
    ]


def _topics(findings: Findings, node: Node | None) -> tuple[str, ...]:
    """The topic filters; none of them means every topic."""
    if node is None:
        return ()
    nodes = node.value if isinstance(node.value, list) else [node]
    if len(nodes) > MAX_TOPICS:
        findings.error(
            node.place, node.key, f"found {len(nodes)} topic filters, expected at most {MAX_TOPICS}"
        )
        return ()
    made = [_filter(findings, child) for child in nodes if not child.broken]
    return tuple(dict.fromkeys(topic for topic in made if topic is not None))


def _filter(findings: Findings, node: Node) -> str | None:
    text = plain(node)
    if text is None or not valid_topic_filter(text):
        findings.wrong(
            node, "a topic filter of MQTT: levels between /, + for one whole level, # only as the last level"
        )
        return None
    if text.startswith("$share/"):
        findings.wrong(node, "a topic filter without $share: a webhook is no member of a shared subscription")
        return None
    return text


# --- events -------------------------------------------------------------------------------------------------


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
        text = _filter(findings, topic)
        if text is None:
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
    event = find(name)
    if event is None:
        guess = nearest(name, BY_NAME if "." in name else BY_HOOK_NAME)
        hint = f"; did you mean {guess}?" if guess else ""
        findings.wrong(node, f"one of {_KNOWN_EVENTS}{hint}")
    return event
