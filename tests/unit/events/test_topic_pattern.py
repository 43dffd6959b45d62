"""Topic patterns with variables: which topics they have, and what the variables are in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.events.topic_pattern import PatternError, PatternTable, parse

UNS = "{enterprise}/{site}/{area}/{cell}/{event}"


@pytest.mark.parametrize(
    ("pattern", "topic", "variables"),
    [
        (
            UNS,
            "acme/chicago/fabrication/laser_cutting/operation/completed",
            {
                "enterprise": "acme",
                "site": "chicago",
                "area": "fabrication",
                "cell": "laser_cutting",
                "event": "operation.completed",
            },
        ),
        (UNS, "a/b/c/d/e", {"enterprise": "a", "site": "b", "area": "c", "cell": "d", "event": "e"}),
        (UNS, "a/b/c/d", None),
        (UNS, "a/b/c/d/e/f/g", None),
        ("{event}", "a", {"event": "a"}),
        ("{event}", "a/b.c", {"event": "a.b.c"}),
        ("{event}/{line}", "a/b", {"event": "a", "line": "b"}),
        ("{event}/{line}", "a/b/c", {"event": "a.b", "line": "c"}),
        ("x/{event}/y", "x/a/b/y", {"event": "a.b"}),
        ("x/{event}/y", "x/y", None),
        ("x/{event}/y", "x/a/b/z", None),
        ("a/+/{b}/#", "a/1/2/3/4", {"b": "2"}),
        ("a/+/{b}/#", "a/1/2", {"b": "2"}),
        ("a/+/{b}/#", "a/1", None),
        ("#", "a/b", {}),
        ("a/b", "a/b", {}),
        ("a/{b}", "a/", {"b": ""}),
        ("{a}/{b}", "/", {"a": "", "b": ""}),
        ("{a}/b", "$SYS/b", None),  # [MQTT-4.7.2-1]
        ("#", "$SYS/b", None),
        ("$SYS/{b}", "$SYS/x", {"b": "x"}),
    ],
)
def test_topics(pattern: str, topic: str, variables: dict[str, str] | None) -> None:
    found = parse(pattern)
    assert PatternTable([found]).find(topic) == (None if variables is None else 0)
    if variables is not None:
        assert found.variables(topic) == variables


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("a/{b}c", "whole level"),
        ("a/{b", "whole level"),
        ("a/b}", "whole level"),
        ("{a}{b}", "whole level"),
        ("{}/a", "lower-case letters"),
        ("{Site}/a", "lower-case letters"),
        ("{site-1}", "lower-case letters"),
        ("{a}/{a}", "twice"),
        ("{event}/{event}", "twice"),
        ("{id}/a", "an event has its own"),
        ("{event}/#", "cannot be told"),
        ("a/b+", "stand alone"),
        ("a/#/b", "stand alone"),
        ("", "stand alone"),
        ("a\0", "stand alone"),
        ("/".join("a" * 129), "stand alone"),
        ("/".join(["{event}", *"a" * 127]), "stand alone"),
        ("$share/g/{a}", "shared subscription"),
    ],
)
def test_what_is_no_pattern(pattern: str, text: str) -> None:
    with pytest.raises(PatternError, match=text):
        parse(pattern, ("id", "timestamp"))


def test_the_first_of_several_counts() -> None:
    table = PatternTable(map(parse, ["a/b", "{x}/{event}", "a/{y}", "#"]))
    assert [table.find(topic) for topic in ("a/b", "a/c", "a/b/c", "a", "$x")] == [0, 1, 1, 3, None]


LEVEL = st.text(st.characters(exclude_characters="/+#{}\0", codec="utf-8"), min_size=1, max_size=4)


@given(values=st.lists(LEVEL, min_size=1, max_size=5), event=st.lists(LEVEL, min_size=1, max_size=2))
def test_what_is_put_in_comes_out(values: list[str], event: list[str]) -> None:
    names = "abcde"[: len(values)]
    pattern = parse("x/" + "/".join(f"{{{name}}}" for name in names) + "/{event}")
    topic = "/".join(["x", *values, *event])
    assert PatternTable([pattern]).find(topic) == 0
    assert pattern.variables(topic) == {**dict(zip(names, values, strict=True)), "event": ".".join(event)}
