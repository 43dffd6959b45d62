"""`where` in a running HookMQ: only events that meet it arrive, and what nobody wants is not stored."""

from __future__ import annotations

import json
from pathlib import Path

from bridge.mqtt.packets import Properties, Publish
from tests.integration.mqtt_client import Client
from tests.integration.process import HookMQ, webhook
from tests.integration.receiver import Receiver, Request


def where(text: str) -> str:
    """The line of the file; HOCON takes JSON's strings."""
    return f"where = {json.dumps(text)}"


def named(name: str, receiver: Receiver, condition: str | None, *events: str) -> str:
    block = webhook(receiver.url(f"/{name}"), *events, extra=where(condition) if condition else "")
    return block.replace("webhook {", f"webhooks.{name} {{", 1)


def of(requests: list[Request], name: str) -> list[str]:
    """The payloads that a webhook got, in order."""
    return [request.json["payload"] for request in requests if request.target == f"/{name}"]


async def test_only_what_meets_the_condition_arrives(tmp_path: Path) -> None:
    """The issue's own condition, and one of each kind of field, beside a webhook that takes all."""
    publish = "on_message_publish"
    async with Receiver() as receiver:
        blocks = [
            named("all", receiver, None, publish),
            named("hot", receiver, "payload.temp > 80 and topic =~ 'line/+/t'", publish),
            named("who", receiver, "clientid in ('c2') or username = 'anna'", f"{publish} line/#"),
            named("text", receiver, 'starts_with(payload, "plain") and qos = 1', publish),
            named("kept", receiver, "flags.retain", publish),
            named("never", receiver, "qos > 1 and qos < 1", publish),
            named("five", receiver, "pub_props['User-Property'].site = 'north'", publish),
        ]
        async with HookMQ(tmp_path, *blocks) as hookmq:
            one = await Client.connect(hookmq.port, "c1")
            two = await Client.connect(hookmq.port, "c2", version=5)
            hot, cold = b'{"temp": 80.5}', b'{"temp": 80}'
            sent = [
                (one, Publish("line/1/t", hot, 1)),
                (one, Publish("line/1/t", cold, 1)),
                (one, Publish("line/1/x", hot, 1)),
                (two, Publish("line/2/t", b'{"temp": "90"}', 1, retain=True)),
                (one, Publish("other", b"plain 1", 1)),
                (one, Publish("other", b"plain 0", 0)),
                (one, Publish("other", b"\xff", 1)),
                (two, Publish("other", b'{"temp": 99}', 2)),
                (two, Publish("p", b"north", 1, properties=Properties(user_property=[("site", "north")]))),
                (two, Publish("p", b"south", 1, properties=Properties(user_property=[("site", "south")]))),
                (one, Publish("last", b"plain end", 1)),
            ]
            for client, message in sent:
                await client.publish(
                    message.topic,
                    message.payload,
                    message.qos,
                    retain=message.retain,
                    properties=message.properties,
                )
            await receiver.wait_for(
                lambda rs: len(of(rs, "all")) == len(sent) and "plain end" in of(rs, "text")
            )
            got = {
                name: sorted(of(receiver.requests, name))
                for name in ("hot", "who", "text", "kept", "never", "five")
            }
            assert got == {
                "hot": ['{"temp": 80.5}'],
                "who": ['{"temp": "90"}'],
                "text": ["plain 1", "plain end"],
                "kept": ['{"temp": "90"}'],
                "never": [],
                "five": ["north"],
            }


async def test_conditions_on_clients_and_their_names(tmp_path: Path) -> None:
    """Lifecycle events, whose condition may name the event in either spelling."""
    events = ("on_client_connected", "on_client_disconnected", "on_session_subscribed", "on_client_connack")
    condition = (
        "(event = 'on_client_disconnected' and reason != 'normal') or (event = 'session.subscribed' and "
        "topic_level(topic, 0) = 'line' and qos > 0) or (event = 'client.connected' and keepalive < 30)"
    )
    async with Receiver() as receiver:
        block = webhook(receiver.url(), *events, extra=where(condition), pool_size=1)
        async with HookMQ(tmp_path, block) as hookmq:
            good = await Client.connect(hookmq.port, "good", keepalive=60)
            await good.subscribe("line/#", 0)
            await good.subscribe("other", 1)
            await good.disconnect()
            bad = await Client.connect(hookmq.port, "bad", keepalive=20)
            await bad.subscribe("line/#", 1)
            bad.abort()
            await receiver.wait_for(lambda rs: any(r.json["action"] == "client_disconnected" for r in rs))
            assert [(r.json["action"], r.json["clientid"]) for r in receiver.requests] == [
                ("client_connected", "bad"),
                ("session_subscribed", "bad"),
                ("client_disconnected", "bad"),
            ]


async def test_what_only_a_condition_refuses_is_not_stored(tmp_path: Path) -> None:
    async with Receiver() as receiver:
        block = webhook(receiver.url(), "on_message_publish a/#", extra=where("payload.keep"), pool_size=1)
        async with HookMQ(tmp_path, block) as hookmq:
            client = await Client.connect(hookmq.port, "c")
            for number in range(50):
                await client.publish("a/b", b'{"keep": 0, "mark": "refused-%d"}' % number, qos=1)
                await client.publish("b", b'{"keep": true, "mark": "unasked-%d"}' % number, qos=1)
            await client.publish("a/b", b'{"keep": true, "mark": "wanted-1"}', qos=1)
            await receiver.wait_count(1)
            assert await hookmq.stop() == 0
        stored = b"".join(path.read_bytes() for path in hookmq.data.iterdir() if path.is_file())
        assert b"wanted-1" in stored  # delivered, and kept for a replay
        assert b"refused-" not in stored
        assert b"unasked-" not in stored
        assert len(receiver.requests) == 1


async def test_a_fault_is_told_at_start(tmp_path: Path) -> None:
    block = webhook("http://127.0.0.1:9/", "on_message_publish", extra=where("payload.temp >> 80"))
    hookmq = HookMQ(tmp_path, block)
    code, out, err = await hookmq.run()
    assert code != 0
    assert "at column 14: found `>>`, expected a value" in out + err
    assert "where" in out + err
