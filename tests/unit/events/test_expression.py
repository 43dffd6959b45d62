"""What conditions mean (docs/filters.md), one case a line."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.events.event import Event, EventType
from bridge.events.expression import compile_condition, compile_where
from bridge.mqtt.topics import matches

PAYLOAD = (
    b'{"temp": 81.5, "count": 3, "zero": 0, "one": 1.0, "on": true, "off": false, "none": null, "unit": "C",'
    b'"text": "It\'s \\"hot\\"", "number": "12.5", "a": {"b": {"c": "deep"}}, "list": [10, "x", {"y": true}],'
    b'"odd key": 1, "odd-key": 2, "in": 3, "big": 123456789012345678901234567890, "empty": "",'
    b'"tags": ["a", 2], "gr\xc3\xb6\xc3\x9fe": 5}'
)


def publish(payload: bytes = PAYLOAD, **fields: Any) -> Event:
    values: dict[str, Any] = {
        "type": int(EventType.MESSAGE_PUBLISH),
        "ts": 1_706_703_724_960,
        "clientid": "press-7",
        "username": "anna",
        "peername": "10.0.0.5:40123",
        "targets": (1,),
        "topic": "line/4/t",
        "payload": payload,
        "qos": 1,
        "retain": True,
    }
    return Event(**(values | fields))


EVENT = publish()

TRUE = """
clientid = 'press-7'
clientid == "press-7"
clientid != 'x'
clientid <> 'x'
username = 'anna'
topic = 'line/4/t'
qos = 1
qos = 1.0
qos >= 1 and qos <= 1
event = 'message.publish'
event = 'on_message_publish'
event in ('client.connected', 'ON_MESSAGE_PUBLISH')
event != 'message.dropped'
'message.publish' = event
flags.retain
flags.retain = true
not flags.dup
timestamp = 1706703724960
publish_received_at = timestamp
peerhost = '10.0.0.5'
peername = '10.0.0.5:40123'
payload.temp > 80
80 < payload.temp
payload.temp >= 81.5 && payload.temp <= 81.5
payload.temp != 80
payload.count = 3.0
payload.one = 1
payload.a.b.c = 'deep'
payload['a']['b'].c = 'deep'
payload."a".'b'["c"] = 'deep'
payload.list[0] = 10
payload.list[1] = 'x'
payload.list[-1].y
payload.list[-3] = 10
payload.list[2].y = true
payload['odd key'] = 1
payload['odd-key'] = 2
payload.in = 3
payload.größe = 5
payload.on
payload.on = true
payload.off = false
not payload.off
payload.big > 1e29
payload.big > 9223372036854775807
contains(payload, '"temp"')
payload != 'x'
length(payload) > 10
payload.missing = null
payload.none = null
payload.temp != null
null = payload.missing
null = null
exists(payload.none)
exists(payload.a.b.c)
exists(payload.list[2])
exists(clientid)
exists(flags.retain)
EXISTS(payload)
not exists(payload.missing)
not exists(payload.a.x)
not exists(payload.list[3])
not exists(payload.list[-4])
not exists(payload.temp.x)
not exists(reason)
reason = null
client_attrs.site = null
pub_props['User-Property'].site = null
payload.temp + 1 = 82.5
payload.temp - 1.5 = 80
payload.count * 2 = 6
payload.count / 2 = 1.5
payload.count / 2 * 2 = 3
7 % 3 = 1
-7 % 3 = -1
7 % -3 = 1
7.5 % 2 = 1.5
-payload.count = -3
- - 3 = 3
-(payload.count) + 3 = 0
1 + 2 * 3 = 7
(1 + 2) * 3 = 9
10 - 2 - 3 = 5
100 / 10 / 2 = 5
1/3*3 = 1
payload.count / payload.zero = null
payload.count % 0 = null
payload.count % payload.zero = null
payload.missing + 1 = null
payload.unit * 2 = null
payload.on + 1 = null
1e308 * 10 = null
9223372036854775807 + 1 = 9223372036854775808.0
payload.big * payload.big > 1e58
topic =~ 'line/+/t'
topic =~ 'line/#'
topic =~ '#'
topic =~ '+/+/+'
topic =~ 'line/4/t/#'
topic =~ "line/4/t"
topic !~ 'line/+'
topic !~ '+/t'
topic !~ 'LINE/#'
lower(topic) =~ 'line/#'
qos in (0, 1)
qos in [1.0]
qos not in (0, 2)
NOT qos IN (0, 2)
payload.unit in ('C', 'F')
payload.unit not in ('K')
payload.unit in ('C', 1, true)
payload.on in (true)
payload.count in (-3, 3)
payload.count not in (true, 4)
lower('ÄB') = 'äb'
upper(payload.unit) = 'C'
UPPER(clientid) = 'PRESS-7'
length('größe') = 5
length("''") = 2
length('""') = 2
length(""\"\") = 1
length(payload.list) = 3
length(payload.a) = 1
length(payload.empty) = 0
length(payload.temp) = null
contains(clientid, 'ress')
contains(payload.tags, 'a')
contains(payload.tags, 2.0)
not contains(payload.tags, '2')
not contains(payload.list, true)
not contains(payload.temp, 8)
starts_with(clientid, 'press-')
not starts_with(clientid, 'Press')
ends_with(topic, '/t')
starts_with(payload.missing, 'x') = false
number(payload.number) = 12.5
number(' 7 ') = 7
number('-1e3') = -1000
number('+.5') = 0.5
number('0x10') = null
number('1_000') = null
number('nan') = null
number('1e999') = null
number('') = null
number(payload.count) = 3
number(payload.on) = null
number(payload.unit) = null
topic_level(topic, 0) = 'line'
topic_level(topic, 1) = '4'
number(topic_level(topic, 1)) > 3
topic_level(topic, -1) = 't'
topic_level(topic, 3) = null
topic_level(topic, -4) = null
topic_level(topic, 0.5) = null
topic_level('/a', 0) = ''
'B' < 'a'
'a' < 'ä'
'a' < 'ab'
clientid > 'press'
payload.text = 'It\\'s "hot"'
payload.text = 'It''s "hot"'
payload.text = "It's ""hot\"""
'\\u00e4' = 'ä'
'\\ud83d\\ude00' = '😀'
length('\\n\\t\\\\\\/') = 4
true
not false
not not true
!false && !!true
true or payload.temp / 0 > 1
false or true and true
true or true and false
not false or true
not (true and false)
not true = false
TRUE AND NOT FALSE OR NULL = NULL
payload.on and payload.temp > 80 and topic =~ 'line/#' and qos = 1
payload.off or payload.none or payload.missing or payload.on
""".strip().splitlines()

FALSE = """
clientid = 'PRESS-7'
clientid = clientid and false
qos > 1
payload.temp < 80
payload.missing > 80
payload.missing < 80
payload.missing = 80
payload.missing != 80
payload.missing = payload.missing
payload.missing != payload.none
payload.none = 0
payload.none != 0
payload.none = false
payload.unit = 1
payload.unit != 1
payload.unit > 1
payload.number > 12
payload.number = 12.5
payload.on = 1
payload.on != 0
payload.on > 0
payload.zero = false
payload.zero != true
payload.one = true
payload.temp != 'x'
payload.a = payload.a
payload.a != payload.list
payload.a = 'x'
payload.list > payload.list
payload.on > payload.off
payload.temp = payload.unit
payload.temp != payload.unit
payload.temp
payload.unit
payload.list
payload.a
payload.none
payload.missing
payload.count and true
flags.dup
payload[0] = 1
payload.list.x = 1
payload.list['0'] = 10
payload.a[0] = 1
payload.none != null
topic !~ '#'
topic =~ 'line/4'
topic =~ 'line/4/t/+'
topic =~ '$SYS/#'
payload.temp =~ '#'
payload.temp !~ 'x'
payload.missing =~ '#'
payload.missing !~ 'x'
payload.missing in (1, 2)
payload.missing not in (1, 2)
payload.none in ('a')
payload.on in (1)
payload.one in (true)
payload.unit not in (1, 2)
payload.temp not in ('a', 'b')
payload.a in ('x')
qos in (0, 2)
not qos in (1)
contains(payload.unit, 1)
contains(clientid, payload.missing)
exists(payload.temp) and not exists(payload.temp)
exists(reason)
exists(payload.a.b.c.d)
false
not true
true and false
false and payload.temp > 0
reason = 'normal'
from_clientid = 'press-7'
1 > 2
'a' > 'b'
""".strip().splitlines()


@pytest.mark.parametrize("text", TRUE)
def test_true(text: str) -> None:
    assert compile_condition(text)(EVENT) is True


@pytest.mark.parametrize("text", FALSE)
def test_false(text: str) -> None:
    assert compile_condition(text)(EVENT) is False


@pytest.mark.parametrize(
    ("text", "payload", "expected"),
    [
        ("payload = 'on'", b"on", True),
        ("payload = ''", b"", True),
        ("payload != null", b"", True),
        ("number(payload) > 40", b"42.5", True),
        ("number(payload) > 40", b"4x", False),
        ("payload[0] = 1", b"[1, 2]", True),
        ("payload.temp > 1", b"42", False),
        ("payload.temp > 1", b'{"temp": 2', False),
        ("payload.temp > 1", b'{"temp": 2} ', True),
        ("payload.temp = null", b"", True),
        ("payload.temp = null", b'{"temp": NaN}', True),
        ("payload.temp = null", b'{"temp": 1e999}', True),
        ("payload.temp = 2", b'{"temp": 1, "temp": 2}', True),
        # not UTF-8
        ("payload = null", b"\xff", True),
        ("payload.a = null", b'{"a": "\xff"}', True),
        ("contains(payload, 'a')", b"a\xff", False),
        # at and above the bound of a mebibyte
        ("length(payload) = 1048576", b" " * 1_048_576, True),
        ("payload = null", b" " * 1_048_577, True),
        ("payload.a = 1", b'{"a":1}' + b" " * 1_048_569, True),
        ("payload.a = null", b'{"a":1}' + b" " * 1_048_570, True),
        # what a hostile device sends
        ("payload.a = null", b"[" * 100_000, True),
        ("payload.a = null", b'{"a":' * 100_000, True),
        ("payload.a * payload.a * payload.a = null", b'{"a":%s}' % (b"9" * 4300), True),
        ("payload.a > 1.5", b'{"a":%s}' % (b"9" * 4300), True),
        ("payload.a - 1.5 = null", b'{"a":%s}' % (b"9" * 4300), True),
        ("payload.a % 1.5 = null", b'{"a":%s}' % (b"9" * 4300), True),
        ("payload.a / 3 = null", b'{"a":%s}' % (b"9" * 4300), True),
        ("number(payload) = null", b"9" * 5000, True),
        ("upper(payload.a) != null", b'{"a":"%s"}' % ("ß".encode() * 1000), True),
    ],
)
def test_payloads(text: str, payload: bytes, expected: bool) -> None:
    assert compile_condition(text)(publish(payload)) is expected


@pytest.mark.parametrize(
    "topic", ["$SYS/a", "a", "/", "a/", "/a", "a/b/c", "$SYS", "a.b", "a\nb/c", "", "ab"]
)
@pytest.mark.parametrize(
    "topic_filter",
    ["#", "+", "+/+", "a/#", "/#", "/+", "+/#", "a/+", "$SYS/#", "$SYS/+", "a.b", "a/+/c", "+/b/#"],
)
def test_a_filter_matches_as_a_subscription_does(topic_filter: str, topic: str) -> None:
    event = publish(topic=topic)
    expected = topic != "" and matches(topic_filter, topic)
    assert compile_condition(f"topic =~ '{topic_filter}'")(event) is expected
    assert compile_condition(f"topic !~ '{topic_filter}'")(event) is (topic != "" and not expected)


def test_and_or_stop_at_the_first_operand_that_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def parse(payload: bytes) -> Any:
        asked.append(payload)
        return {"a": 1}

    monkeypatch.setattr("bridge.events.expression_fields.parse", parse)
    for text in (
        "qos = 0 and payload.a = 1",
        "qos = 1 or payload.a = 1",
        "qos = 0 and payload.a = 1 and true",
    ):
        compile_condition(text)(publish(b"{ }"))
    assert asked == []
    assert compile_condition("qos = 1 and payload.a = 1")(publish(b"{  }"))
    assert asked == [b"{  }"]


def test_what_a_condition_reads() -> None:
    where = compile_where("payload.a = 1 and (flags.retain or lower(clientid) = 'x') and qos in (1)")
    assert where.fields == {"payload", "flags.retain", "clientid", "qos"}
    assert not where.detailed
    for text in ("flags.dup", "id = 'x'", "peerhost = '::1'", "pub_props.x = 1", "exists(conn_props)"):
        assert compile_where(text).detailed
