"""`events.lift`: rules, and what is said of those that cannot be."""

from __future__ import annotations

import pytest

from bridge.config.mask import effective
from bridge.config.settings import Lift
from tests.unit.config.conftest import Read, shown

POSSIBLE = 'a topic with variables such as "{enterprise}/{site}/{area}/{cell}/{event}"'


def test_rules(read: Read) -> None:
    text = """events {
      unknown = pass
      lift = [
        { topic = "{site}/{event}" }
        { topic = "press/{press}/{state}", type = "machine.{state}", id = header.nr, timestamp = ts, data = d}
      ]
    }"""
    report = read(text)
    assert shown(report) == []
    assert report.settings is not None
    assert report.settings.events.lift == (
        Lift(topic="{site}/{event}"),
        Lift(topic="press/{press}/{state}", type="machine.{state}", id="header.nr", timestamp="ts", data="d"),
    )
    again = read(effective(report.settings))
    assert shown(again) == []
    assert again.settings is not None
    assert again.settings.events == report.settings.events


@pytest.mark.parametrize("text", ["", "lift = []", "lift = null", "lift {}", "lift { topic = null }"])
def test_no_rule(read: Read, text: str) -> None:
    report = read(f"events {{ {text} }}")
    assert shown(report) == []
    assert report.settings is not None
    assert report.settings.events.lift == ()
    assert "# lift is not set" in effective(report.settings)


def test_one_rule_needs_no_list(read: Read) -> None:
    report = read('events.lift { topic = "a/{event}" }')
    assert shown(report) == []
    assert report.settings is not None
    assert report.settings.events.lift == (Lift(topic="a/{event}"),)


def test_by_a_variable_of_the_environment(read: Read) -> None:
    report = read("", {"HOOKMQ_EVENTS__LIFT": '[{topic = "a/{event}"}]'})
    assert [m for m in shown(report) if "error" in m] == []
    assert report.settings is not None
    assert report.settings.events.lift == (Lift(topic="a/{event}"),)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("3", "error: events.lift[0]: found 3, expected a list: ["),
        ("{}", 'error: events.lift[0]: found no topic in it, expected topic = "plant/{site}/{event}"'),
        ("{ topic = 7 }", None),
        (
            '{ topic = "a/{b}c" }',
            f'error: events.lift[0].topic: found "a/{{b}}c", expected {POSSIBLE}; a variable is',
        ),
        ('{ topic = "{id}" }', "no variable can be called id: an event has its own"),
        ('{ topic = "" }', f'error: events.lift[0].topic: found "", expected {POSSIBLE}'),
        (
            '{ topic = "a/{b}", type = "x.{c}" }',
            "error: events.lift[0].type: found {c}, expected variables of its topic: {b}",
        ),
        ('{ topic = "a", type = "x.{c}" }', "expected variables of its topic: it has none"),
        ('{ topic = "a", type = "a b" }', "expected a type such as work_order.created, or with variables"),
        (
            '{ topic = "a", type = work_order.createt }',
            "warning: events.lift[0].type: no type is called work_order.createt, so no event comes of it;"
            " did you mean work_order.created?",
        ),
        ('{ topic = "a", id = "a..b" }', "expected a member of the payload, such as msg_id"),
        (
            '{ topic = "a", typ = x }',
            "warning: events.lift[0].typ: unknown key, it has no effect; did you mean events.lift.type?",
        ),
        ('{ topic = "a" }, { topic = "a" }', "warning: events.lift[1]: it has no effect: a rule before it"),
    ],
)
def test_messages(read: Read, rule: str, message: str | None) -> None:
    lines = read.lines(f"events {{\nlift = [ {rule} ]\n}}")
    if message is None:
        assert lines == []
    else:
        (line,) = lines
        assert line.startswith("2: ")
        assert message in line


def test_a_type_of_ones_own_is_known_where_any_may_come(read: Read) -> None:
    assert read.lines('events {\nunknown = pass\nlift = [ { topic = "a", type = "my.own" } ]\n}') == []


def test_too_many_rules(read: Read) -> None:
    rules = ",".join(f'{{ topic = "a/{n}" }}' for n in range(1001))
    assert read.lines(f"events.lift = [{rules}]") == [
        "1: error: events.lift: found 1001 rules, expected at most 1000"
    ]
