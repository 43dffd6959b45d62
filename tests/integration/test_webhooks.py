"""Several webhooks of one file in a real process: each its own events, bodies, signature and fate."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from pathlib import Path

import standardwebhooks
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from tests.integration.commands import asked, given
from tests.integration.mqtt_client import Client
from tests.integration.process import HookMQ
from tests.integration.receiver import Receiver, Request

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def three(default: Receiver, line: Receiver, alarms: Receiver) -> str:
    """Three webhooks: NanoMQ's bodies signed as MES has it, EMQX's, and templates signed as standard."""
    return f"""
    node.name = "hookmq@plant"
    webhook {{
      url = "{default.url()}"
      events = [ {{ event = on_message_publish, topic = "line1/#" }} {{ event = "client.connack" }} ]
      signature = mes
      secret = "any text"
    }}
    webhooks.line1 {{
      url = "{line.url()}"
      format = emqx
      payload = json
      triggers = all
      topics = ["line1/#"]
      ordering = client
      batch.enable = false
    }}
    webhooks {{
      alarms {{
        note = "to the shift leader"
        url = "{alarms.url()}/${{topic}}?c=${{clientid}}"
        method = put
        headers.x-event = "${{event}}"
        topics = ["+/temperature", "line2/#"]
        where = "payload.value > 80"
        body = \"\"\"{{"text": "${{clientid}}: ${{payload.value}} degrees", "raw": ${{payload}}}}\"\"\"
        signature = standard
        secret = {{ env = ALARM_SECRET }}
        retry.schedule = [0s]
      }}
      off {{ url = "{alarms.url("/off")}", triggers = all, enable = false }}
    }}
    """


def names(receiver: Receiver) -> list[str]:
    return [r.json.get("event") or r.json["action"] for r in receiver.requests]


def headers(request: Request) -> dict[str, str]:
    return {name.lower(): value for name, value in request.headers}


async def test_three_webhooks_to_three_receivers(tmp_path: Path) -> None:
    async with (
        Receiver() as default,
        Receiver() as line,
        Receiver() as alarms,
        HookMQ(tmp_path, three(default, line, alarms), env={"ALARM_SECRET": SECRET}) as hookmq,
    ):
        assert hookmq.stdout.splitlines()[2:-1] == [
            f"  webhook    default: {default.url()}",
            "  events     on_message_publish (line1/#), on_client_connack",
            f"  webhook    line1: {line.url()}",
            "  events     all messages (line1/#) and events",
            f"  webhook    alarms: {alarms.url()}/${{topic}}",
            "  events     on_message_publish (+/temperature, line2/#)",
        ]
        client = await Client.connect(hookmq.port, "c1")
        await client.publish("line1/temperature", b'{"value": 81.5}', qos=1)
        await client.publish("line1/temperature", b'{"value": 20}', qos=1)
        await client.publish("line2/oven/door", b'{"value": 99, "open": "\\"yes\\""}', qos=1)
        await client.publish("elsewhere", b"x", qos=1)
        await client.disconnect()

        await default.wait_count(3)
        assert sorted(names(default)) == ["client_connack", "message_publish", "message_publish"]
        for request in default.requests:
            digest = hmac.new(b"any text", request.body, hashlib.sha256).hexdigest()
            assert request.header("x-mes-signature") == digest

        # Authorization is asked for every publish; of the messages only line1's are sent.
        await line.wait_count(11)
        await line.wait_for(lambda rs: rs[-1].json["event"] == "client.disconnected")
        assert names(line) == [
            "client.connected",
            "client.connack",
            *["client.check_authz_complete", "message.publish", "message.dropped"] * 2,
            "client.check_authz_complete",
            "client.check_authz_complete",
            "client.disconnected",
        ]
        published = line.requests[3].json
        assert published["payload"] == {"value": 81.5}
        assert (published["node"], published["metadata"]) == ("hookmq@plant", {"rule_id": "line1_WH_D"})
        assert line.requests[3].header("webhook-signature") is None

        await alarms.wait_count(2)
        by_target = {request.target: request for request in alarms.requests}
        hot = by_target["/hook/line1%2Ftemperature?c=c1"]
        door = by_target["/hook/line2%2Foven%2Fdoor?c=c1"]
        assert (hot.method, hot.header("x-event")) == ("PUT", "message.publish")
        assert hot.json == {"text": "c1: 81.5 degrees", "raw": {"value": 81.5}}
        assert door.json == {"text": "c1: 99 degrees", "raw": {"value": 99, "open": '"yes"'}}
        for request in alarms.requests:
            standardwebhooks.Webhook(SECRET).verify(request.body, headers(request))

        # One event, one id, wherever it goes.
        sent = next(r for r in default.requests if r.json.get("payload") == '{"value": 81.5}')
        assert sent.id == line.requests[3].id == hot.id
        assert await hookmq.stop() == 0
        assert len(default.requests) + len(line.requests) + len(alarms.requests) == 16


async def test_one_that_fails_holds_up_no_other_and_the_commands_tell_them_apart(tmp_path: Path) -> None:
    async with (
        Receiver() as default,
        Receiver() as line,
        Receiver(status=500) as alarms,
        HookMQ(tmp_path, three(default, line, alarms), env={"ALARM_SECRET": SECRET}) as hookmq,
    ):
        client = await Client.connect(hookmq.port, "c1")
        for _ in range(3):
            await client.publish("line1/temperature", b'{"value": 100}', qos=1)
        await client.disconnect()
        await default.wait_count(4)
        await line.wait_count(12)
        await hookmq.said("gave up event")

        async def dead() -> list[int]:
            return [one["dead"] for one in (await asked(hookmq, "status"))["endpoints"]]

        async with asyncio.timeout(10):
            while await dead() != [0, 0, 3]:  # noqa: ASYNC110  it happens in another process
                await asyncio.sleep(0.02)
        status = await asked(hookmq, "status")
        assert [one["name"] for one in status["endpoints"]] == ["default", "line1", "alarms"]
        assert [one["delivered"] for one in status["endpoints"]] == [4, 12, 0]
        listed = await asked(hookmq, "endpoints")
        assert [(one["name"], one["format"], one["note"]) for one in listed] == [
            ("default", "nanomq", ""),
            ("line1", "emqx", ""),
            ("alarms", "template", "to the shift leader"),
        ]
        table = (await given("endpoints", "--store", str(hookmq.data))).stdout
        assert "all messages (line1/#) and events" in table

        of_alarms = await asked(hookmq, "log", "--endpoint", "alarms", "--event", "message.publish")
        assert len(of_alarms) == 3
        both = await asked(hookmq, "log", "--event", "$events/message_dropped")
        assert {row["endpoint"] for row in both} == {"line1"}
        assert {row["endpoint"] for row in await asked(hookmq, "dead", "list", "--each")} == {"alarms"}

        unnamed = await given("send-test", "--store", str(hookmq.data))
        assert unnamed.stderr == (
            "hookmq: name one endpoint (--endpoint); there are: default, line1, alarms\n"
        )
        await given("send-test", "--endpoint", "line1", "--event", "client.ping", "--store", str(hookmq.data))
        assert line.requests[-1].json["event"] == "client.ping"

        alarms.status = 204
        assert (await asked(hookmq, "dead", "replay", "--all"))["taken"] == 3
        await alarms.wait_for(lambda rs: len(rs) >= 6)
        assert await dead() == [0, 0, 0]


async def test_each_goes_on_where_it_was_under_its_name(tmp_path: Path) -> None:
    """After a restart with one webhook more, one gone and one renamed."""
    async with Receiver() as one, Receiver() as two, Receiver() as three_:
        two.status = 503

        def block(name: str, receiver: Receiver) -> str:
            return (
                f'webhooks.{name} {{ url = "{receiver.url()}", topics = ["a"], retry.schedule = [0s, 1h] }}'
            )

        async with HookMQ(tmp_path, block("one", one), block("two", two)) as hookmq:
            client = await Client.connect(hookmq.port, "c1")
            await client.publish("a", b"first", qos=1)
            await one.wait_count(1)
            await two.wait_count(1)
            assert await hookmq.stop() == 0
            two.status = 204
            hookmq.configure(block("three", three_), block("one", one))
            await hookmq.start()
            assert "  kept       1 events for two, which is not served at present" in hookmq.stdout
            client = await Client.connect(hookmq.port, "c1")
            await client.publish("a", b"second", qos=1)
            await one.wait_count(2)
            await three_.wait_count(1)
            assert three_.requests[0].json["payload"] == "second"
            assert len(two.requests) == 1
            await hookmq.stop()


async def test_cloudevents_in_batches_for_their_reader(tmp_path: Path) -> None:
    async with Receiver() as receiver:
        conf = f"""webhooks.cloud {{
          url = "{receiver.url()}", format = cloudevents, triggers = ["message.publish", "client.connected"]
          cloudevents {{ source = "/plant/7", type_prefix = "com.example." }}
          batch {{ max_events = 3, max_wait = 10s }}
        }}"""
        async with HookMQ(tmp_path, conf) as hookmq:
            client = await Client.connect(hookmq.port, "c1")
            await client.publish("a/b", b'{"t": 1}', qos=1)
            await client.publish("a/b", b"text", qos=1)
            await receiver.wait_count(1)
            [request] = receiver.requests
            kind = (request.header("content-type") or "").partition(";")[0]
            assert kind == "application/cloudevents-batch+json"
            reader = JSONFormat()
            events = [reader.read(CloudEvent, json.dumps(each)) for each in request.json]
            assert [event.get_type() for event in events] == [
                "com.example.client.connected",
                "com.example.message.publish",
                "com.example.message.publish",
            ]
            assert {event.get_source() for event in events} == {"/plant/7"}
            assert [event.get_data() for event in events[1:]] == [{"t": 1}, "text"]


async def test_a_file_with_a_fault_in_one_of_them_starts_none(tmp_path: Path) -> None:
    hookmq = HookMQ(
        tmp_path,
        'webhook { url = "http://127.0.0.1:9", topics = ["a"] }',
        'webhooks.b { url = "http://127.0.0.1:9", topics = ["a"], where = "payload.t >" }',
        'webhooks.c { url = "http://127.0.0.1:9/${topik}", topics = ["a"] }',
    )
    code, _, errors = await hookmq.run()
    assert code == 1
    assert f"{hookmq.conf}:4: error: webhooks.b.where: at column " in errors
    assert f"{hookmq.conf}:5: error: webhooks.c.url: at column 20: unknown field topik" in errors


async def test_a_hundred_webhooks_start_in_few_lines(tmp_path: Path) -> None:
    async with Receiver() as receiver:
        conf = "".join(
            f'webhooks.w{n} {{ url = "{receiver.url(f"/{n}")}", topics = ["t/{n}"], pool_size = 1 }}\n'
            for n in range(100)
        )
        async with HookMQ(tmp_path, conf) as hookmq:
            assert hookmq.stdout.count("  webhook    ") == 20
            assert "  webhooks   80 more (hookmq endpoints)\n" in hookmq.stdout
            client = await Client.connect(hookmq.port, "c1")
            for n in range(100):
                await client.publish(f"t/{n}", b"x", qos=1)
            await receiver.wait_count(100)
            assert {r.target for r in receiver.requests} == {f"/{n}" for n in range(100)}
            assert all(r.json["topic"] == f"t{r.target}" for r in receiver.requests)
