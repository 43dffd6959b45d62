from __future__ import annotations

import pytest

from bridge.config.scan import MAX_DEPTH, circle, scan

TEXT = '''\
mqtt { max_packet_size = 10MB  # a comment { with = brackets
  a.b = 1 } // another }
listeners.tcp
{
  bind = http://x // a comment
}
webhook = {
  events : [
    { event = "on_x"
      topic = "a/}#"
    }
    {event=b} {event=c}, {event=d}
  ]
  headers { "x.y" = 007, z : "q" }
}
log.to = [file
  console]
x = """a
b = 1"""
y = 3
mqtt.a.b = 2
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("mqtt", "max_packet_size"), 1),
        (("listeners",), 3),
        (("listeners", "tcp"), 3),
        (("listeners", "tcp", "bind"), 5),
        (("webhook", "events"), 8),
        (("webhook", "events", 0), 9),
        (("webhook", "events", 0, "event"), 9),
        (("webhook", "events", 0, "topic"), 10),
        (("webhook", "events", 1, "event"), 12),
        (("webhook", "events", 3, "event"), 12),
        (("webhook", "headers", "x.y"), 14),
        (("webhook", "headers", "z"), 14),
        (("log", "to", 0), 16),
        (("log", "to", 1), 17),
        (("x",), 18),
        (("y",), 20),
        (("mqtt", "a", "b"), 21),  # the last definition wins
    ],
)
def test_line_of(path: tuple[str | int, ...], line: int) -> None:
    assert scan(TEXT).spots[path].line == line


def test_no_key_is_found_in_comments_and_strings() -> None:
    assert ("b",) not in scan(TEXT).spots
    assert ("mqtt", "with") not in scan(TEXT).spots


def test_text_of_unquoted_values_is_kept() -> None:
    spots = scan(TEXT).spots
    assert spots["mqtt", "max_packet_size"].raw == "10MB"
    assert spots["webhook", "headers", "x.y"].raw == "007"
    assert spots["webhook", "events", 0, "event"].raw is None


def test_adjacent_objects_of_a_list_are_parted() -> None:
    text = "a = [{b=1} {b=2}{b=3}\n{b=4}]"
    edits = scan(text).edits
    assert [text[start:end] + new for start, end, new in edits] == [",", ","]


def test_escapes_that_pyhocon_leaves() -> None:
    text = 'a = "caf\\u00e9\\/\tx\\"y"'
    assert [new for _, _, new in scan(text).edits] == ["é", "/", "\\t"]


def test_includes() -> None:
    text = 'a = { include "x.conf" }\ninclude required(file("y.conf"))\ninclude url("http://h")\ninclude = 1'
    found = [(i.line, i.form, i.target, text[i.start : i.end]) for i in scan(text).includes]
    assert found == [
        (1, "", "x.conf", 'include "x.conf"'),
        (2, "file", "y.conf", 'include required(file("y.conf"))'),
        (3, "url", "http://h", 'include url("http://h")'),
    ]


def test_what_is_never_closed() -> None:
    assert scan("a {\n b = [\n 1\n").unclosed == [("[", 2, "a.b"), ("{", 1, "a")]


def test_depth_is_bounded() -> None:
    assert scan("a=" + "[" * (MAX_DEPTH + 1)).too_deep == 1
    assert scan("a=" + "[" * MAX_DEPTH).too_deep is None


@pytest.mark.parametrize(
    "text", ["", "{", "}", "a", "a.", '"', '"""', "a = ${", "= 1", "][", "a = \\", "a {,}}"]
)
def test_nothing_stops_the_walk(text: str) -> None:
    scan(text)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a = ${b}\nb = 1", None),
        ("a = 1\na = ${a}2", None),  # a key that names itself: its earlier value
        ("a { x = 1, y = ${a.x} }", None),
        ("b { x = 1 }\nc = ${b} { x = ${b.x} }", None),
        ("a = ${b}\nb = ${c}\nc = ${a}", 1),
        ("x = 1\na { b = ${a} }", 2),
        ("a { b = ${c} }\nc { d = ${?a} }", 1),
        ('a."b c" = ${a."b c".d}', 1),
    ],
)
def test_circles(text: str, line: int | None) -> None:
    assert circle(scan(text)) == line
