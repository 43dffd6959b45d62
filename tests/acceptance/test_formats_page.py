"""docs/formats.md: every configuration on it gives the request that is shown below it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from bridge.config.load import load
from bridge.config.settings import Endpoint
from bridge.events.event import HOOK_EVENTS, Event, EventType
from bridge.events.formats import Format, Origin, TemplateError, check_template, make_format

PAGE = (Path(__file__).parents[2] / "docs" / "formats.md").read_text()
ORIGIN = Origin("hookmq@plant", "0f3a9c21d4b7")
SEQ = 0x100001001
FACTS = dict(re.findall(r"^(client id|user name|topic|payload|QoS) +(.*)$", PAGE, re.MULTILINE))
EVENT = Event(
    int(EventType.MESSAGE_PUBLISH),
    1706703724960,
    FACTS["client id"],
    FACTS["user name"],
    "127.0.0.1:61003",
    (1,),
    FACTS["topic"],
    FACTS["payload"].encode(),
    int(FACTS["QoS"]),
    False,
    {"id": "0006054DC3E940F8F445000038A60002"},
)
EXAMPLES = re.findall(r"```hocon\n(.*?)```\n+```(json|http)\n(.*?)```", PAGE, re.DOTALL)


def endpoint(text: str, folder: Path) -> Endpoint:
    """The webhook of a configuration."""
    path = folder / "nanomq.conf"
    path.write_text(text)
    report = load(path, {})
    assert [str(message) for message in report.messages if "webhook" in str(message)] == []
    assert report.settings is not None
    (found,) = report.settings.webhooks
    return found


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == PAGE.count("```hocon") == 6


@pytest.mark.parametrize(("config", "language", "shown"), EXAMPLES)
def test_an_example(config: str, language: str, shown: str, tmp_path: Path) -> None:
    made = make_format(endpoint(config, tmp_path), ORIGIN)
    body = made.body(SEQ, EVENT).decode()
    if language == "json":
        assert body == shown.removesuffix("\n")
        return
    assert made.fill is not None
    target, lines = made.fill(SEQ, EVENT)
    assert f"POST {target.decode()}{lines.decode()}".replace("\r\n", "\n") == shown.removesuffix("\n")


def test_a_header_is_decoded_once() -> None:
    value = re.search(r"^X-Temperature: (.*)$", PAGE, re.MULTILINE)
    assert value
    assert unquote(value[1]) == "81.5 °C"


def test_the_table_of_fields() -> None:
    rows = dict(re.findall(r"^\| `([a-z_.]+)` \| `([a-z_ ]+)` \|$", PAGE, re.MULTILINE))
    assert set(rows) == {kind.dotted for kind in HOOK_EVENTS}
    body = make_format(Endpoint(url="http://h/", format="emqx"), ORIGIN).body
    for kind in HOOK_EVENTS:
        event = Event(int(kind), 1, "c", "u", "127.0.0.1:1", (1,), "t")
        sent = set(json.loads(body(1, event)))
        assert sent == {*rows[kind.dotted].split(), "event", "timestamp", "node", "metadata"}, kind


def test_every_placeholder_of_the_page_can_be_used() -> None:
    found = set(re.findall(r"\$\{[^}…]*\}", PAGE)) - {"${x}"}
    assert len(found) > 12
    for placeholder in found:
        check_template(placeholder, "text")


def test_the_error_of_the_page() -> None:
    ((template, shown),) = re.findall(r"for the template `(.*)`:\n\n```\n(.*)\n```", PAGE)
    with pytest.raises(TemplateError) as error:
        check_template(template, "json")
    assert str(error.value) == shown


def test_python_reader(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    examples = [text for text, _, _ in EXAMPLES if "format = cloudevents" in text]
    assert len(examples) == 2
    for config in examples:
        made: Format = make_format(endpoint(config, tmp_path), ORIGIN)
        headers = {"content-type": made.content_type}
        if made.fill is not None:
            lines = made.fill(SEQ, EVENT)[1].decode().split("\r\n")[1:]
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        found = names["read"](headers, made.body(SEQ, EVENT))
        assert found.get_data() == {"temp": 81.5, "unit": "°C", "tools": [{"id": 'T"9'}]}
        assert found.get_subject() == FACTS["topic"]
