"""`bridges.mqtt`: NanoMQ's files as they are, and what cannot be."""

from __future__ import annotations

import pytest

from bridge.config.settings import BridgeSubscription
from tests.unit.config.conftest import Read

SUBSCRIPTION = 'subscription = [{ remote_topic = "a/#", local_topic = "", qos = 2 }]'


def test_nanomq_s_own_block(read: Read) -> None:
    report = read(
        'bridges.mqtt.e { server = "mqtt-tcp://h:1884", proto_ver = 5, clean_start = false, keepalive = 30s,'
        ' username = u, password = p, max_parallel_processes = 2, resend_interval = 5000,'
        f' forwards = [{{ remote_topic = "x", local_topic = "y" }}], {SUBSCRIPTION} }}'
    )  # fmt: skip
    assert report.errors == []
    assert sorted(m.key for m in report.warnings) == [
        "bridges.mqtt.e.forwards",
        "bridges.mqtt.e.max_parallel_processes",
        "bridges.mqtt.e.resend_interval",
    ]
    assert report.settings is not None
    (one,) = report.settings.bridges
    assert (one.server, one.proto_ver, one.keepalive) == ("mqtt://h:1884", 5, 30)
    assert one.subscription == (BridgeSubscription(remote_topic="a/#", qos=2),)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"bridges.mqtt.e {{ {SUBSCRIPTION} }}", "found no server"),
        (f'bridges.mqtt.e {{ server = "http://h", {SUBSCRIPTION} }}', "expected mqtt://host"),
        (f'bridges.mqtt.e {{ server = "mqtt://u:secret@h", {SUBSCRIPTION} }}', "with a user in it"),
        ('bridges.mqtt.e { server = "mqtt://h", subscription = [{ qos = 1 }] }', "found no remote_topic"),
        ('bridges.mqtt.e { server = "mqtt://h", subscription = [{ topic = "a/#/b" }] }', "a topic filter"),
        ('bridges.mqtt.e { server = "mqtt://h", subscription = [{ topic = "$share//b" }] }', "share name"),
        (
            'bridges.mqtt.e { server = "mqtt://h", subscription = [{ topic = a, local_topic = "b/#" }] }',
            "without + and #",
        ),
        (f'bridges.mqtt.e {{ server = "mqtt://h", password = x, {SUBSCRIPTION} }}', "without a username"),
    ],
)
def test_what_cannot_be(read: Read, text: str, problem: str) -> None:
    report = read(text)
    assert len(report.errors) == 1
    assert problem in report.errors[0].text
    assert "secret" not in report.errors[0].text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('bridges.mqtt.e { server = "mqtt://h" }', "no subscription: nothing comes of it"),
        (f'bridges.mqtt.e {{ server = "mqtt-quic://h", {SUBSCRIPTION} }}', "HookMQ speaks no QUIC"),
        ("bridges.aws.x { a = 1 }", "HookMQ has bridges.mqtt alone"),
        ("bridges.mqtt.nodes = [{ name = e }]", "an older spelling"),
        (f'bridges.mqtt.e {{ server = "mqtt://h", clean_start = true, {SUBSCRIPTION} }}', "is lost"),
    ],
)
def test_what_has_no_effect(read: Read, text: str, problem: str) -> None:
    report = read(text)
    assert [problem in m.text for m in report.warnings] == [True]
    assert report.errors == []


def test_what_is_switched_off_is_not_worth_a_word(read: Read) -> None:
    assert read.lines('bridges.mqtt.e { enable = false, server = "mqtt-tcp://h", forwards = [] }') == []
