"""Topics of a Unified Namespace: the documents' examples, where values come from, none breaks out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.events.event import Event, EventType
from bridge.events.uns import KEYS, MAX_PATTERN, MAX_VALUE, VARIABLES, PatternError, clean, compile_topic
from bridge.mqtt.topics import matches, valid_topic_name

PAGE = (Path(__file__).parents[3] / "docs" / "unified-namespace.md").read_text()
PATTERN = "{enterprise}/{site}/{area}/{cell}/{event}"
ACME = {"enterprise": "acme", "site": "chicago", "area": "fabrication", "cell": "default"}


def event(data: Any, name: str = "operation.completed", **variables: str) -> Event:
    payload = data if isinstance(data, bytes) else json.dumps(data).encode()
    fields = {**variables, "id": "evt-1", "timestamp": "2024-01-15T10:30:00Z"}
    return Event(EventType.DOMAIN, 1, "mes", None, "", (1,), name, payload, data=fields)


def topic(pattern: str, one: Event, **settings: str) -> str:
    return compile_topic(pattern, settings)(one)


def test_the_documents_example() -> None:
    found = topic(PATTERN, event({"cell_name": "Laser Cutting"}), **ACME)
    assert found == "acme/chicago/fabrication/laser_cutting/operation/completed"


def test_the_table_of_the_page() -> None:
    rows = re.findall(r"^\| `(\{.*\})` \| `([a-z0-9_/]+)` \|$", PAGE, re.MULTILINE)
    assert len(rows) == 3
    for data, expected in rows:
        assert topic(PATTERN, event(json.loads(data)), **ACME) == expected


def test_the_page_lists_the_variables_and_where_they_are_looked_for() -> None:
    rows = re.findall(r"^\| `\{(\w+)\}` \|(.*?)\|(.*?)\|", PAGE, re.MULTILINE)
    assert [name for name, _, _ in rows if name != "event"] == list(KEYS)
    for name, keys, setting in rows:
        if name != "event":
            assert tuple(re.findall(r"`(\w+)`", keys)) == KEYS[name]
            assert setting.strip() in ("", f"`{name}`")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"cell": "A", "cell_name": "B"}, "a"),
        ({"cellName": "B"}, "b"),
        ({"CELL-NAME": "B"}, "b"),
        ({"cell": {"id": "c-1", "name": "Saw 2"}}, "saw_2"),
        ({"cell": {"id": 7}}, "7"),
        ({"workOrder": {"cell": "w"}}, "w"),
        ({"workOrder": {"cell": {"name": "w n"}}}, "w_n"),
        ({"cell": "", "cell_name": "B"}, "b"),  # one that is empty counts as absent
        ({"cell": "#", "workOrder": {"cell": "w"}}, "w"),
        ({"cell": None}, "own"),
        ({"cell": True}, "own"),
        ({"cell": ["x"]}, "own"),
        ({"deep": {"deeper": {"cell": "x"}}}, "own"),
        ([{"cell": "x"}], "own"),
        (b"not json", "own"),
        (b"", "own"),
        ({"cell": "x" * 300_000}, "own"),  # longer than is looked into
        ({"cell": 12.5}, "125"),
    ],
)
def test_where_a_value_is_found(data: Any, expected: str) -> None:
    assert topic("{cell}/x", event(data), cell="Own") == f"{expected}/x"


def test_what_the_topic_said_comes_first() -> None:
    """An event that was lifted from a message of MQTT has the variables of its topic."""
    found = topic("{site}/{cell}/{event}", event({"cell": "data"}, cell="From Topic", site=""), site="own")
    assert found == "own/from_topic/operation/completed"


def test_a_message_and_a_client() -> None:
    message = Event(EventType.MESSAGE_PUBLISH, 1, "c", None, "", (1,), "line/1", b'{"line": "L 1"}')
    assert topic("{line}/{event}", message) == "l_1/message/publish"
    # What else an event has in `data` is no variable.
    client = Event(
        EventType.CLIENT_CONNECTED, 1, "c", None, "", (1,), payload=b'{"line": "x"}', data={"line": "y"}
    )
    assert topic("{line}/{event}", client) == "client/connected"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("job.created", "job/created"), ("alive", "alive"), ("a.b.c", "a/bc"), ("A-1.B_2", "a-1/b_2")],
)
def test_the_event(name: str, expected: str) -> None:
    assert topic("x/{event}", event({}, name)) == f"x/{expected}"


def test_empty_levels_are_left_out() -> None:
    assert topic("{line}/{cell}//{event}/", event({}), line="", cell=" # ") == "operation/completed"
    assert topic("line-{line}/{event}", event({}), line="") == "line-/operation/completed"


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("", "expected levels"),
        ("//", "expected levels"),
        ("{event}" * 100, "at most 512"),
        ("a/" * 64 + "a", "64 levels"),
        ("$SYS/{event}", "begin with \\$"),
        ("{evnt}/x", "no variable is called {evnt}; there are enterprise"),
        ("{event", "found a single {"),
        ("event}", "found a single }"),
        ("{a/b}/x", "found a single {"),
        ("{}", "no variable is called {}"),
        ("a/+/{event}", "found \\+"),
        ("a/#", "found #"),
        ("a\0b", "U\\+0000"),
        ("a\nb", "U\\+000A"),
        ("\ud800", "U\\+D800"),
        ("{line}/{cell}", "may be empty"),
    ],
)
def test_no_pattern(pattern: str, said: str) -> None:
    with pytest.raises(PatternError, match=said):
        compile_topic(pattern, {})


HOSTILE = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        ["../#", "+", "#", "$SYS", "$share/g/#", "", " ", "/", "//", "a/b", "\0", "\ud800", "İ", "ß", "é" * 9]
    ),
    st.sampled_from(["x", "#", "/", "ü", "\U0001f600", " ", "İ"]).map(lambda one: one * 70_000),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.none(),
    st.lists(st.text(max_size=5), max_size=3),
)
DATA = st.dictionaries(
    st.one_of(st.sampled_from([key for keys in KEYS.values() for key in keys]), st.text(max_size=8)),
    st.one_of(HOSTILE, st.dictionaries(st.sampled_from(["name", "id", "cell", "site"]), HOSTILE, max_size=3)),
    max_size=8,
)


@given(st.text())
def test_a_cleaned_value_is_within_its_level(value: str) -> None:
    found = clean(value)
    assert re.fullmatch(r"[a-z0-9_-]*", found)
    assert len(found) <= MAX_VALUE
    assert clean(found) == found


@given(DATA, st.dictionaries(st.sampled_from(list(KEYS)), st.text(max_size=40), max_size=4))
def test_no_value_breaks_out(data: dict[str, Any], settings: dict[str, str]) -> None:
    """The fixed levels stay where they are, none is added but the event's, and the topic is a valid one."""
    one = event(json.dumps(data).encode())
    found = topic("fixed/{cell}/{site}/{line}/end/{event}", one, **settings)
    assert valid_topic_name(found)
    assert not found.startswith("$")
    levels = found.split("/")
    assert "" not in levels
    assert levels[0] == "fixed"
    assert levels[-3:] == ["end", "operation", "completed"]
    assert 4 <= len(levels) <= 7
    assert matches("fixed/#", found)


@given(st.lists(st.sampled_from([f"{{{name}}}" for name in VARIABLES]), min_size=1), DATA)
def test_the_longest_pattern_makes_no_topic_too_long(names: list[str], data: dict[str, Any]) -> None:
    pattern = "{event}/"
    for name in names * 60:
        if len(pattern) + len(name) <= MAX_PATTERN:
            pattern += name
    values = dict.fromkeys(KEYS, "x" * 70_000)
    assert valid_topic_name(topic(pattern, event({**data, **values}, "e" * 128), **values))


def test_a_value_of_any_length_costs_little() -> None:
    one = event({"cell": "y" * 200_000, **{f"k{n}": n for n in range(100)}})
    assert topic("{cell}/{event}", one) == "y" * MAX_VALUE + "/operation/completed"
