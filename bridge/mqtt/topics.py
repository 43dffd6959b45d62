"""Topic names and topic filters, section 4.7, and the names of shared subscriptions, section 4.8.2.

The two indexes over them have files of their own: `TopicTree` (filters, found by a topic name) and
`TopicMap` (topic names, found by a filter).
"""

from __future__ import annotations

from bridge.mqtt.topic_map import TopicMap
from bridge.mqtt.topic_tree import TopicTree

__all__ = ["TopicMap", "TopicTree", "matches", "parse_shared", "valid_topic_filter", "valid_topic_name"]

MAX_TOPIC_SIZE = 65_535  # bytes of UTF-8 [MQTT-4.7.3-3]
_SHARE = "$share/"


def _valid_size_and_characters(text: str) -> bool:
    """[MQTT-4.7.3-1] at least one character, [-2] no U+0000, [-3] at most 65,535 bytes."""
    if not text or "\0" in text:
        return False
    if text.isascii():
        return len(text) <= MAX_TOPIC_SIZE
    try:
        return len(text.encode()) <= MAX_TOPIC_SIZE
    except UnicodeEncodeError:  # a lone surrogate [MQTT-1.5.4-1]
        return False


def valid_topic_name(topic: str, max_levels: int | None = None) -> bool:
    """Whether one can publish to `topic`: no wildcards [MQTT-4.7.1-1], at most `max_levels` levels."""
    if "+" in topic or "#" in topic or not _valid_size_and_characters(topic):
        return False
    return max_levels is None or topic.count("/") < max_levels


def valid_topic_filter(filter: str, max_levels: int = 201) -> bool:
    """Whether one can subscribe to `filter`.

    `#` is the last level and stands alone in it [MQTT-4.7.1-1]; `+` stands alone in its level
    [MQTT-4.7.1-2]; at most `max_levels` levels. `$share/…` is not looked into: see `parse_shared`.
    """
    if not _valid_size_and_characters(filter) or filter.count("/") >= max_levels:
        return False
    if "#" in filter and (filter.index("#") != len(filter) - 1 or filter[-2:-1] not in ("", "/")):
        return False
    return "+" not in filter or all(level == "+" or "+" not in level for level in filter.split("/"))


def parse_shared(filter: str) -> tuple[str, str] | None:
    """Group and real filter of `$share/<group>/<filter>`; `None` when it is no shared subscription.

    Raises `ValueError` when the group is empty or holds a wildcard [MQTT-4.8.2-1], or when no filter
    follows it [MQTT-4.8.2-2]. The real filter is checked by `valid_topic_filter`, as any other.
    """
    if not filter.startswith(_SHARE):
        return None
    group, slash, real = filter[len(_SHARE) :].partition("/")
    if not group or "+" in group or "#" in group:
        raise ValueError("the share name must have at least one character and no wildcard [MQTT-4.8.2-1]")
    if not slash or not real:
        raise ValueError("the share name must be followed by / and a topic filter [MQTT-4.8.2-2]")
    return group, real


def matches(filter: str, topic: str) -> bool:
    """Whether a valid topic filter matches a valid topic name, section 4.7.2 included.

    A filter that begins with a wildcard matches no topic that begins with `$` [MQTT-4.7.2-1].
    """
    if filter == topic:
        return True
    if topic.startswith("$") and filter[:1] in ("+", "#"):
        return False
    levels = topic.split("/")
    wanted = filter.split("/")
    for at, level in enumerate(wanted):
        if level == "#":  # matches its parent, too
            return True
        if at == len(levels) or (level != "+" and level != levels[at]):
            return False
    return len(wanted) == len(levels)
