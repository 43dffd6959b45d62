"""Business events: in every format, in conditions, and who wants which."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bridge.config.settings import BatchPolicy, CloudEvents, Endpoint
from bridge.delivery.ordering import key_function
from bridge.events.event import (
    BY_NAME,
    EMQX_ALL,
    HOOK_EVENTS,
    MESSAGE_EVENTS,
    Event,
    EventType,
    event_name,
    event_variables,
)
from bridge.events.expression import ExpressionError, compile_condition
from bridge.events.formats import Format, Origin, is_detailed, make_format
from bridge.events.names import find, matching
from bridge.events.rules import CACHE_TOPICS, Rules
from tests.unit.events.emqx_samples import sample

SEQ = 0x100001001
ORIGIN = Origin("hookmq@plant", "0f3a9c21d4b7")
DATA = b'{"workOrder":{"id":"wo-1","quantity":100,"product":"Gr\xc3\xbc\xc3\x9fe"}}'
EVENT = Event(
    EventType.DOMAIN,
    1705314600123,
    "mes",
    None,
    "",
    (1,),
    "work_order.created",
    DATA,
    data={"id": "evt-123", "timestamp": "2024-01-15T10:30:00Z", "site": "chicago"},
)


def made(format_: str, **given: Any) -> Format:
    return make_format(Endpoint(**({"url": "http://h/x", "name": "w", "format": format_} | given)), ORIGIN)


def test_it_is_no_hook() -> None:
    assert EventType.DOMAIN == 22
    assert EventType.DOMAIN not in HOOK_EVENTS
    assert EventType.DOMAIN not in {*BY_NAME.values(), *EMQX_ALL, *MESSAGE_EVENTS}
    assert find("domain") is find("on_domain") is None
    assert EventType.DOMAIN not in matching("*")
    assert event_name(EVENT) == "work_order.created"
    assert event_name(sample(EventType.CLIENT_CONNACK)) == "client.connack"


# -- formats -------------------------------------------------------------------------------------------------


def test_mes() -> None:
    format_ = made("mes")
    assert format_.body(SEQ, EVENT) == (
        b'{"id":"evt-123","type":"work_order.created","timestamp":"2024-01-15T10:30:00Z","data":'
        + DATA
        + b"}"
    )
    assert format_.content_type == "application/json"
    assert format_.fill is None


def test_eryxon() -> None:
    format_ = made("eryxon")
    assert format_.body(SEQ, EVENT) == (
        b'{"event":"work_order.created","timestamp":"2024-01-15T10:30:00Z","data":' + DATA + b"}"
    )
    assert format_.content_type == "application/json"
    assert format_.fill is not None
    assert format_.fill(SEQ, EVENT) == (b"/x", b"\r\nX-Eryxon-Event: work_order.created")
    connack = sample(EventType.CLIENT_CONNACK)
    assert format_.fill(SEQ, connack) == (b"/x", b"\r\nX-Eryxon-Event: client.connack")


def test_a_header_of_ones_own_replaces_eryxons() -> None:
    assert made("eryxon", headers=(("x-eryxon-event", "mine"),)).fill is None
    filled = made("eryxon", headers=(("x-eryxon-event", "a-${event}"),)).fill
    assert filled is not None
    assert filled(SEQ, EVENT) == (b"/x", b"\r\nx-eryxon-event: a-work_order.created")


def test_a_name_cannot_break_out_of_the_header() -> None:
    event = EVENT.__class__(EventType.DOMAIN, 1, "", None, "", (1,), "a\r\nX-Evil: 1", b"{}")
    fill = made("eryxon").fill
    assert fill is not None
    assert fill(SEQ, event)[1] == b"\r\nX-Eryxon-Event: a%0D%0AX-Evil: 1"


@pytest.mark.parametrize("format_", ["mes", "eryxon"])
def test_in_a_batch(format_: str) -> None:
    batched = made(format_, batch=BatchPolicy())
    assert batched.fill is None
    assert batched.body(SEQ, EVENT) == made(format_).body(SEQ, EVENT)


def test_without_id_and_timestamp_it_has_the_requests() -> None:
    event = Event(EventType.DOMAIN, 1705314600123, "", None, "", (1,), "a.b", b"{}")
    assert json.loads(made("mes").body(SEQ, event)) == {
        "id": "msg_0f3a9c21d4b7_0000000100001001",
        "type": "a.b",
        "timestamp": "2024-01-15T10:30:00.123Z",
        "data": {},
    }


@pytest.mark.parametrize("kind", HOOK_EVENTS, ids=lambda kind: kind.dotted)
def test_what_happens_at_the_broker_has_emqxs_fields(kind: EventType) -> None:
    event = sample(kind, payload=b'{"t":21.50}')
    shown = json.loads(made("mes", encoding="json").body(SEQ, event))
    assert shown["data"] == json.loads(made("emqx", encoding="json").body(SEQ, event))
    assert (shown["id"], shown["type"]) == ("msg_0f3a9c21d4b7_0000000100001001", kind.dotted)
    assert list(shown) == ["id", "type", "timestamp", "data"]
    other = json.loads(made("eryxon", encoding="json").body(SEQ, event))
    assert other == {"event": kind.dotted, "timestamp": shown["timestamp"], "data": shown["data"]}


def test_some_keys_only_of_the_broker_s_events() -> None:
    event = sample(EventType.MESSAGE_PUBLISH)
    chosen = made("mes", include=("topic", "qos"))
    assert set(json.loads(chosen.body(SEQ, event))["data"]) == {"topic", "qos"}
    assert chosen.body(SEQ, EVENT) == made("mes").body(SEQ, EVENT)


def test_a_payload_that_javascript_would_change_is_text() -> None:
    event = sample(EventType.MESSAGE_PUBLISH, payload=b'{"n":12345678901234567890}')
    assert json.loads(made("mes", encoding="json").body(SEQ, event))["data"]["payload"] == (
        '{"n":12345678901234567890}'
    )


def test_cloudevents() -> None:
    shown = json.loads(made("cloudevents", cloudevents=CloudEvents(type_prefix="com.x.")).body(SEQ, EVENT))
    assert shown == {
        "specversion": "1.0",
        "id": "msg_0f3a9c21d4b7_0000000100001001",
        "source": "/hookmq/hookmq@plant",
        "type": "com.x.work_order.created",
        "time": "2024-01-15T10:30:00Z",
        "subject": "mes",
        "clientid": "mes",
        "messageid": "evt-123",
        "datacontenttype": "application/json",
        "data": json.loads(DATA),
    }
    binary = made("cloudevents", cloudevents=CloudEvents(mode="binary"))
    assert binary.body(SEQ, EVENT) == DATA
    assert binary.fill is not None
    lines = binary.fill(SEQ, EVENT)[1]
    assert b"\r\nce-type: hookmq.work_order.created\r\n" in lines
    assert lines.endswith(b"\r\nContent-Type: application/json")


@pytest.mark.parametrize("format_", ["nanomq", "mes"])
def test_in_a_cloudevents_batch(format_: str) -> None:
    shown = json.loads(made(format_, batch=BatchPolicy(format="cloudevents-batch")).body(SEQ, EVENT))
    assert (shown["type"], shown["time"]) == ("hookmq.work_order.created", "2024-01-15T10:30:00Z")
    assert shown["data"] == json.loads(made(format_).body(SEQ, EVENT))


def test_emqx_nanomq_and_templates() -> None:
    shown = json.loads(made("emqx", encoding="json").body(SEQ, EVENT))
    assert list(shown) == sorted(shown, reverse=True)
    assert (shown["event"], shown["id"], shown["clientid"]) == ("work_order.created", "evt-123", "mes")
    assert shown["payload"] == json.loads(DATA)
    assert shown["variables"] == {"site": "chicago"}
    assert json.loads(made("nanomq").body(SEQ, EVENT)) == {
        "ts": 1705314600123,
        "action": "work_order.created",
        "from_username": "undefined",
        "from_client_id": "mes",
        "payload": DATA.decode(),
    }
    template = '{"e":"${event}","n":${payload.workOrder.quantity},"id":"${id}","s":"${variables.site}"}'
    assert made("template", template=template).body(SEQ, EVENT) == (
        b'{"e":"work_order.created","n":100,"id":"evt-123","s":"chicago"}'
    )


def test_variables_are_those_of_the_topic_alone() -> None:
    assert event_variables(EVENT) == {"site": "chicago"}
    without = Event(EventType.DOMAIN, 1, "", None, "", (1,), "a", b"{}", data={"id": "x", "timestamp": "t"})
    assert event_variables(without) == {}
    assert not compile_condition("exists(variables)")(without)
    assert event_variables(sample(EventType.MESSAGE_ACKED)) == {}


# -- conditions and orders -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "wanted"),
    [
        ("event = 'work_order.created'", True),
        ("event = 'work_order.started'", False),
        ("payload.workOrder.quantity >= 100", True),
        ("payload.workOrder.quantity > 100", False),
        ("clientid = 'mes' and id = 'evt-123'", True),
        ("variables.site = 'chicago'", True),
        ("variables.site = 'berlin'", False),
        ("exists(variables.site) and not exists(variables.id) and not exists(variables.area)", True),
        ("event = 'made.up_by_us'", False),
    ],
)
def test_conditions(where: str, wanted: bool) -> None:
    assert compile_condition(where)(EVENT) is wanted


def test_a_misspelt_hook_is_still_found() -> None:
    with pytest.raises(ExpressionError, match=r"client\.connected"):
        compile_condition("event = 'client.conected'")


def test_orders() -> None:
    keys = {name: key_function(name)(EVENT) for name in ("none", "client", "topic")}
    assert keys == {"none": "", "client": "mes", "topic": "topic:work_order.created"}
    tricky = Event(EventType.DOMAIN, 1, "mes", None, "", (1,), "a", b"{}", data={"to_clientid": "x"})
    assert key_function("client")(tricky) == "mes"


# -- who wants which -----------------------------------------------------------------------------------------


def test_patterns_of_types() -> None:
    rules = Rules(
        [(7, EventType.MESSAGE_PUBLISH, "#")],
        types=[(3, "work_order.*"), (1, "work_order.created"), (2, "*"), (4, "job.[cs]*"), (1, "*.created")],
    )
    assert rules.wants(EventType.DOMAIN)
    assert rules.targets(EventType.DOMAIN, "work_order.created") == (1, 2, 3)
    assert rules.targets(EventType.DOMAIN, "work_order.started") == (2, 3)
    assert rules.targets(EventType.DOMAIN, "job.completed") == (2, 4)
    assert rules.targets(EventType.DOMAIN, "job.updated") == (2,)
    assert rules.targets(EventType.DOMAIN, "work_order") == (2,)
    assert rules.targets(EventType.MESSAGE_PUBLISH, "work_order.created") == (7,)
    assert rules.lanes(EventType.DOMAIN) == (1, 2, 3, 4)


def test_nobody_wants_a_type() -> None:
    rules = Rules([(1, EventType.MESSAGE_PUBLISH, "#")])
    assert not rules.wants(EventType.DOMAIN)
    assert rules.targets(EventType.DOMAIN, "work_order.created") == ()


def test_what_is_remembered_is_bounded() -> None:
    rules = Rules(types=[(1, "a.*")])
    for number in range(CACHE_TOPICS + 10):
        assert rules.targets(EventType.DOMAIN, f"a.{number}") == (1,)
    rules.targets(EventType.DOMAIN, "a." + "x" * 1000)
    remembered = rules.cache(EventType.DOMAIN)
    assert 0 < len(remembered) <= CACHE_TOPICS
    assert all(len(name) < 300 for name in remembered)
    assert rules.targets(EventType.DOMAIN, "a.0") is rules.targets(EventType.DOMAIN, "a.0")


def test_they_are_detailed_formats() -> None:
    assert is_detailed(Endpoint(url="http://h/", format="mes"))
