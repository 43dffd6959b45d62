"""docs/events.md and docs/events: a page for each event, whose bodies are those of a run.

`python -m scripts.capture_events` renews the bodies.
"""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest

from bridge.broker.hooks import Hooks
from bridge.config.load import load
from bridge.events.event import EMQX_ALL, HOOK_EVENTS, MESSAGE_EVENTS, TOPIC_EVENTS, EventType
from bridge.mqtt.reasons import CONNACK_CODES, ReasonCode, connack_name_v3, connack_name_v5, disconnect_name
from scripts.capture_events import BODY, CASES, PAGES, Bodies, renew, run, same

ROOT = Path(__file__).parents[2]
INDEX = (ROOT / "docs" / "events.md").read_text()
TEXTS = {kind: (PAGES / f"{kind.dotted}.md").read_text() for kind in HOOK_EVENTS}
Capture = tuple[Bodies, list[tuple[str, str]]]
ALL = pytest.mark.parametrize("kind", HOOK_EVENTS, ids=lambda kind: kind.dotted)


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    """A run like that of the pages."""
    return asyncio.run(run(tmp_path_factory.mktemp("events")))


def section(text: str, title: str) -> str:
    """What stands below a heading."""
    return re.split(r"^## ", text.partition(f"\n## {title}\n")[2], flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of a table, without its head."""
    lines = re.findall(r"^\| (.*) \|$", text, re.MULTILINE)
    return [line.split(" | ") for line in lines][1:]


def names(text: str) -> set[str]:
    """The first `name` of each cell of the tables of reasons, and all of a cell that lists several."""
    return {name for row in rows(text) for cell in row[:-1] for name in re.findall(r"`([a-z0-9_]+)`", cell)}


def test_every_event_has_its_page_and_no_page_is_left_over() -> None:
    assert {path.stem for path in PAGES.glob("*")} == {kind.dotted for kind in HOOK_EVENTS}


@ALL
def test_the_bodies_are_those_of_a_run(kind: EventType, captured: Capture) -> None:
    """But for times, ids and ports; their keys are the same, in the same order."""
    shown = {(name, case) for _, name, case, _, _ in BODY.findall(TEXTS[kind])}
    wanted = {(name, "") for name in ("nanomq", "emqx")}
    wanted |= {(name, case) for event, case in CASES if event == kind.dotted for name in ("nanomq", "emqx")}
    if kind is EventType.MESSAGE_PUBLISH:
        wanted.add(("cloudevents", ""))
    assert shown == wanted
    assert TEXTS[kind].count("```json") == len(wanted)
    assert renew(kind.dotted, TEXTS[kind], captured[0]) == TEXTS[kind]


def test_a_body_that_is_not_true_any_more_is_found(captured: Capture) -> None:
    """The test of the test."""
    bodies, _ = captured
    text = bodies["client.connack", "emqx", ""]
    assert same(text, re.sub(r'"timestamp":\d+', '"timestamp":1694681417717', text))
    for old, new in (
        ('"keepalive":60', '"keepalive":61'),
        ('"keepalive":60', '"keep_alive":60'),
        ('"keepalive":60,', ""),
        ('"timestamp":', '"timestamp":1'),
        ('"sockname":"127.0.0.1:', '"sockname":"127.0.0.1'),
        ('"clean_start":true', '"clean_start":1'),
    ):
        assert old in text
        changed = text.replace(old, new)
        assert not same(text, changed), new
        page = f"<!-- body: emqx -->\n```json\n{changed}\n```\n"
        assert renew("client.connack", page, bodies) != page
    first, second = list(json.loads(text).items())[:2]
    assert not same(json.dumps(dict([first, second])), json.dumps(dict([second, first])))


@ALL
def test_the_fields_are_those_of_the_body(kind: EventType, captured: Capture) -> None:
    table = rows(section(TEXTS[kind], "Fields"))
    body = json.loads(captured[0][kind.dotted, "emqx", ""])
    assert [row[0].strip("`") for row in table] == list(body)
    types = {str: "text", int: "number", bool: "true or false", dict: "object"}
    assert [row[1] for row in table] == [types[type(value)] for value in body.values()]
    assert f"| `event` | text | `{kind.dotted}` |" in TEXTS[kind]


@ALL
def test_the_configuration_asks_for_the_event(kind: EventType, tmp_path: Path) -> None:
    (text,) = re.findall(r"```hocon\n(.*?)```", TEXTS[kind], re.DOTALL)
    path = tmp_path / "nanomq.conf"
    path.write_text(text)
    report = load(path, {})
    assert report.messages == []
    assert report.settings is not None
    formats = ["nanomq", "emqx"] + (["cloudevents"] if kind is EventType.MESSAGE_PUBLISH else [])
    assert [endpoint.format for endpoint in report.settings.webhooks] == formats
    for endpoint in report.settings.webhooks:
        assert {rule.event for rule in endpoint.events} == {kind}
    filtered = [endpoint.events[0].topic for endpoint in report.settings.webhooks[:2]]
    assert filtered == [
        "plant/#" if kind in TOPIC_EVENTS else None,
        "plant/#" if kind in MESSAGE_EVENTS else None,
    ]


@ALL
def test_the_names_and_what_all_includes(kind: EventType) -> None:
    text = TEXTS[kind]
    assert text.startswith(f"# {kind.dotted}\n")
    assert f"`on_{kind.action}`" in text
    says = "`triggers = all` includes it." if kind in EMQX_ALL else "`triggers = all` does not include it"
    assert says in text


def test_the_index() -> None:
    table = {row[0]: row[1:] for row in rows(INDEX.partition("\n## ")[0])}
    assert list(table) == [f"[{kind.dotted}](events/{kind.dotted}.md)" for kind in HOOK_EVENTS]
    nanomq = {"message_publish", "client_connack", "client_disconnected"}  # INTEROP 1.1
    for kind, (spelling, _, in_all, filters, by_nanomq, _) in zip(HOOK_EVENTS, table.values(), strict=True):
        assert spelling == f"`on_{kind.action}`"
        assert in_all == ("yes" if kind in EMQX_ALL else "no")
        assert filters == (
            "`topic`, `topics`" if kind in MESSAGE_EVENTS else "`topic`" if kind in TOPIC_EVENTS else "–"
        )
        known = "sent" if kind.action in nanomq else "never sent"
        assert by_nanomq == (known if kind <= EventType.MESSAGE_ACKED else "unknown")


def test_the_configuration_of_the_index(tmp_path: Path) -> None:
    (text,) = re.findall(r"```hocon\n(.*?)```", INDEX, re.DOTALL)
    path = tmp_path / "nanomq.conf"
    path.write_text(text)
    report = load(path, {})
    assert report.messages == []
    assert report.settings is not None
    by_name = {endpoint.name: {r.event for r in endpoint.events} for endpoint in report.settings.webhooks}
    assert by_name["everything"] == set(HOOK_EVENTS)
    assert by_name["my_webhook"] == MESSAGE_EVENTS | {
        EventType.CLIENT_CONNECTED,
        EventType.CLIENT_DISCONNECTED,
    }


def test_the_order_of_events(captured: Capture) -> None:
    """Each order of the index happens in the run, one after the other and with nothing in between."""
    stories: dict[str, str] = {}
    for event, client in captured[1]:
        stories[client] = f"{stories.get(client, ' ')}{event} "
    table = rows(section(INDEX, "Their order"))
    assert len(table) == 9
    for what, events in table:
        wanted = f" {' '.join(re.findall(r'`([a-z_.]+)`', events))} "
        assert any(wanted in story for story in stories.values()), what


def test_the_reasons() -> None:
    """Those of the hooks, and of MQTT's reason codes."""
    for kind, hook in (
        (EventType.MESSAGE_DROPPED, Hooks.on_dropped),
        (EventType.MESSAGE_DELIVERY_DROPPED, Hooks.on_delivery_dropped),
    ):
        told = set(re.findall(r"`([a-z0-9_]+)`", hook.__doc__ or "")) - {"on_published"}
        assert len(told) >= 3
        assert names(section(TEXTS[kind], "Reasons")) == told
    old, new = set(), set()
    for cells in rows(section(TEXTS[EventType.CLIENT_CONNACK], "Reason codes")):
        one, two = (set(re.findall(r"`([a-z0-9_]+)`", cell)) for cell in cells[:2])
        old |= one
        new |= two
        if one and one != {"connection_accepted"}:
            # The pair is one refusal, told to clients of two versions.
            (code,) = {code for code in CONNACK_CODES if {connack_name_v5(code)} == two}
            assert {connack_name_v3(code)} == one
    assert old < {connack_name_v3(code) for code in range(6)}
    assert new < {connack_name_v5(code) for code in CONNACK_CODES}
    assert names(section(TEXTS[EventType.CLIENT_CHECK_AUTHN_COMPLETE], "Reason codes")) < new
    ours = {"tcp_closed", "takenover", "discarded", "internal_error"}
    ends = names(section(TEXTS[EventType.CLIENT_DISCONNECTED], "Reasons"))
    assert ours < ends
    assert ends - ours < {disconnect_name(code) for code in ReasonCode}


@pytest.mark.parametrize(
    "path", [ROOT / "docs" / "events.md", *PAGES.glob("*.md")], ids=lambda path: path.stem
)
def test_links(path: Path) -> None:
    """Files and their headings are there."""
    for target in set(re.findall(r"\]\((?!https://)([^)\s]+)", path.read_text())):
        name, _, heading = target.partition("#")
        found = path.parent / name if name else path
        assert found.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.*)$", found.read_text(), re.MULTILINE)
            assert heading in [re.sub(r"[^\w -]", "", t).replace(" ", "-").lower() for t in titles], target
