"""Business events that come by MQTT: `events.lift` on the real process, with real clients and a receiver."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from bridge.mqtt.packets import Properties, Puback, Publish, Pubrec, Will
from tests.integration.admin.calling import Api
from tests.integration.commands import asked, said
from tests.integration.mqtt_client import Client
from tests.integration.process import HookMQ, until
from tests.integration.receiver import Receiver, Request

PATTERN = "{enterprise}/{site}/{area}/{cell}/{event}"
TOPIC = "acme/chicago/fabrication/laser_cutting/operation/completed"
BODY = {
    "event": "operation.completed",
    "timestamp": "2024-01-15T10:30:00Z",
    "data": {"operation_id": "op-1", "operation_name": "Laser Cutting"},
}


def rule(topic: str = PATTERN, **more: str) -> str:
    return "{" + ", ".join(f'{key} = "{text}"' for key, text in {"topic": topic, **more}.items()) + "}"


def events(*rules: str, **settings: str) -> str:
    lines = "".join(f"  {key} = {value}\n" for key, value in settings.items())
    return f"events {{\n{lines}  lift = [{', '.join(rules or [rule()])}]\n}}\n"


def hook(url: str, *lines: str) -> str:
    return "\n".join(['webhooks.mes { types = ["*"]', f'  url = "{url}"', *lines, "}\n"])


def messages(url: str) -> str:
    """A webhook for the messages themselves."""
    return f'webhooks.mqtt {{ url = "{url}", events = [ {{ event = on_message_publish }} ] }}\n'


def named(requests: list[Request], *ids: str) -> bool:
    return {*ids} <= {request.json["id"] for request in requests}


async def test_the_seed_s_topic_becomes_an_event(tmp_path: Path) -> None:
    """Topic and payload of Eryxon's document, over MQTT 3.1.1 and 5, at each QoS."""
    async with (
        Receiver() as receiver,
        HookMQ(tmp_path, events(), hook(receiver.url(), "where = \"variables.site = 'chicago'\"")) as hookmq,
    ):
        assert "warning" not in hookmq.log.lower()
        for version in (4, 5):
            async with await Client.connect(hookmq.port, f"mes{version}", version=version) as client:
                for qos in (0, 1, 2):
                    await client.publish(TOPIC, json.dumps(BODY).encode(), qos=qos)
                await client.publish(TOPIC.replace("chicago", "berlin"), json.dumps(BODY).encode(), qos=1)
        requests = await receiver.wait_count(6)
        for request in requests:
            assert request.json["type"] == "operation.completed"
            assert request.json["timestamp"] == BODY["timestamp"]
            assert request.json["data"] == BODY["data"]
        assert len({request.json["id"] for request in requests}) == 6
        found = await asked(hookmq, "status")
        assert found["lifted"] == {"events": 8, "repeated": 0, "refused": 0}
        assert "8 messages became business events" in await said(hookmq, "status")
        assert len(receiver.requests) == 6


async def test_a_reload_takes_up_the_rules(tmp_path: Path) -> None:
    """Other ones, none, and some again where there were none; clients stay, and the counts go on."""
    payload = json.dumps(BODY["data"]).encode()
    async with Receiver() as receiver:
        mes = hook(receiver.url())
        async with (
            HookMQ(tmp_path, mes) as hookmq,
            await Client.connect(hookmq.port, "mes") as client,
        ):

            async def reload(text: str) -> list[str]:
                hookmq.configure(text, mes)
                done: dict[str, Any] = await asked(hookmq, "reload")
                assert done["applied"], done
                return list(done["changes"])

            async def lifted() -> Any:
                return (await asked(hookmq, "status"))["lifted"]

            changed = "events.lift: changed; it holds for the messages from now on"
            await client.publish("a/operation/completed", payload, qos=1)
            assert await lifted() is None
            assert await reload(events(rule("a/{event}"))) == [changed]
            await client.publish("a/operation/completed", payload, qos=1)
            assert await reload(events(rule("b/{event}"))) == [changed]
            await client.publish("a/operation/completed", payload, qos=1)
            await client.publish("b/operation/started", payload, qos=1)
            assert await lifted() == {"events": 2, "repeated": 0, "refused": 0}
            # what needs a restart is told so, and has no effect yet
            done = await reload(events(rule("c/{event}"), unknown="pass"))
            assert done == [changed, "events: changed, takes effect at the next start"]
            await client.publish("c/of/ours", payload, qos=1)
            await client.publish("c/operation/paused", payload, qos=1)
            assert await lifted() == {"events": 3, "repeated": 0, "refused": 1}
            again = events(rule("c/{event}"), unknown="pass")
            assert await reload(again) == ["events: changed, takes effect at the next start"]
            assert await reload("") == [changed]
            await client.publish("c/operation/resumed", payload, qos=1)
            assert await lifted() is None
            assert await reload(events(rule("d/{event}"))) == [changed]
            await client.publish("d/operation/resumed", payload, qos=1)
            assert (await lifted())["events"] == 4
            types = [request.json["type"] for request in await receiver.wait_count(4)]
            assert types == [f"operation.{name}" for name in ("completed", "started", "paused", "resumed")]


async def test_the_variables_are_fields_of_the_event(tmp_path: Path) -> None:
    """In the bodies of emqx, and in templates."""
    template = """body.template = "${variables.site} ${variables.tenant_id} ${variables.none} ${event}", \
body.type = text"""
    async with Receiver() as receiver:
        blocks = [
            events(),
            hook(receiver.url("/emqx"), "format = emqx"),
            f'webhooks.own {{ types = ["*"], url = "{receiver.url("/own")}", {template} }}',
        ]
        async with (
            HookMQ(tmp_path, *blocks) as hookmq,
            await Client.connect(hookmq.port, "mes") as client,
        ):
            await client.publish(TOPIC, json.dumps({**BODY, "tenant_id": "t7"}).encode(), qos=1)
            found = {request.target: request for request in await receiver.wait_count(2)}
            shown = found["/emqx"].json
            assert shown["variables"] == {
                "tenant_id": "t7",
                "enterprise": "acme",
                "site": "chicago",
                "area": "fabrication",
                "cell": "laser_cutting",
            }
            assert (shown["event"], shown["clientid"]) == ("operation.completed", "mes")
            assert found["/own"].body == b"chicago t7 undefined operation.completed"


async def test_where_type_id_timestamp_and_data_come_from(tmp_path: Path) -> None:
    rules = [
        rule("press/{press}/state/{state}", type="machine.{state}"),
        rule("erp/#"),  # the payload's own type
        rule("qm/+/result", type="quality.inspection_complete", id="meta.nr", timestamp="at", data="result"),
    ]
    async with Receiver() as receiver:
        blocks = [events(*rules, unknown="pass"), hook(receiver.url())]
        async with (
            HookMQ(tmp_path, *blocks) as hookmq,
            await Client.connect(hookmq.port, "c", version=5) as client,
        ):

            async def one(topic: str, payload: Any) -> dict[str, Any]:
                count = len(receiver.requests)
                await client.publish(topic, json.dumps(payload).encode(), qos=1)
                found: dict[str, Any] = (await receiver.wait_count(count + 1))[-1].json
                return found

            whole = {"id": "p1", "type": "x", "timestamp": "never", "b": 1.0, "0": []}
            made = await one("press/7/state/idle", whole)
            assert (made["type"], made["data"]) == ("machine.idle", {"0": [], **whole})
            assert made["id"].startswith("evt_")  # that of the payload may be a machine's
            made = await one("erp/a/b", {"id": "e1", "type": "work_order.created", "data": {"n": 1}})
            assert (made["id"], made["type"], made["data"]) == ("e1", "work_order.created", {"n": 1})
            payload = {"meta": {"nr": 4711}, "at": 1705314600123, "result": {"inspection": {}}, "data": {}}
            made = await one("qm/a/result", payload)
            assert (made["id"], made["timestamp"]) == ("4711", "2024-01-15T10:30:00.123Z")
            assert (made["type"], made["data"]) == ("quality.inspection_complete", payload["result"])


async def test_an_id_is_taken_once_by_whatever_way(tmp_path: Path) -> None:
    """By MQTT and by REST, and after `kill -9`."""
    body = {"id": "evt-1", "type": "operation.completed", "data": {}}
    async with Receiver() as receiver, Api(tmp_path, events(), hook(receiver.url())) as api:
        client = await Client.connect(api.port, "c")
        for _ in range(3):
            await client.publish(TOPIC, json.dumps(body).encode(), qos=1)
        assert (await api.post("/api/v2/events", body)).json == {"ids": ["evt-1"], "repeated": 1}
        api.kill()
        await api.start()
        client = await Client.connect(api.port, "c")
        await client.publish(TOPIC, json.dumps(body).encode(), qos=1)
        assert (await api.post("/api/v2/events", {**body, "id": "evt-2"})).json["repeated"] == 0
        await client.publish(TOPIC, json.dumps({**body, "id": "evt-2"}).encode(), qos=2)
        await client.publish(TOPIC, json.dumps({**body, "id": "evt-3"}).encode(), qos=2)
        await receiver.wait_for(lambda requests: named(requests, "evt-1", "evt-2", "evt-3"))
        assert len({request.id for request in receiver.requests}) == 3
        assert (await asked(api, "status"))["lifted"] == {"events": 1, "repeated": 2, "refused": 0}
        client.abort()


async def test_what_is_acknowledged_is_stored(tmp_path: Path) -> None:
    """`kill -9` while publishing: whatever had its PUBACK comes, as message and as event."""
    async with Receiver() as receiver:
        blocks = [events(), hook(receiver.url("/mes")), messages(receiver.url("/mqtt"))]
        async with HookMQ(tmp_path, *blocks) as hookmq:
            for life in range(2):
                acknowledged: list[str] = []

                async def publish(n: int, life: int = life, acknowledged: list[str] = acknowledged) -> None:
                    client = await Client.connect(hookmq.port, f"c{n}")
                    for count in range(10_000):
                        name = f"{life}.{n}.{count}"
                        await client.publish(TOPIC, json.dumps({"id": name, "data": {}}).encode(), qos=1)
                        acknowledged.append(name)

                tasks = [asyncio.create_task(publish(n)) for n in range(8)]
                await until(lambda acknowledged=acknowledged: len(acknowledged) >= 400, "400 of them")
                hookmq.kill()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await hookmq.start()

                def came(requests: list[Request], wanted: frozenset[str] = frozenset(acknowledged)) -> bool:
                    made = {r.json["id"] for r in requests if r.target == "/mes"}
                    sent = {json.loads(r.json["payload"])["id"] for r in requests if r.target == "/mqtt"}
                    return wanted <= made and wanted <= sent

                await receiver.wait_for(came, 20)


async def test_large_payloads(tmp_path: Path) -> None:
    """Read beside the loop, in the order of its client, while others go on; by REST too."""
    rows = [{"id": f"row-{number}", "value": number / 7} for number in range(20_000)]
    large = json.dumps({**BODY["data"], "rows": rows}).encode()
    assert 512 << 10 < len(large) < 1 << 20
    extra = "max_in_flight = 1"
    async with Receiver() as receiver:
        blocks = [events(), hook(receiver.url(), extra)]
        async with Api(tmp_path, *blocks) as api:
            mes = await Client.connect(api.port, "mes", version=5)
            other = await Client.connect(api.port, "other", version=5)
            first, second, third = mes.next_id(), mes.next_id(), mes.next_id()
            mes.send(Publish(TOPIC, large, 1, packet_id=first))
            mes.send(Publish(TOPIC.replace("completed", "started"), b"{}", 1, packet_id=second))
            mes.send(Publish("elsewhere", large, 1, packet_id=third))
            began = asyncio.get_running_loop().time()
            await other.publish("other", b"x", qos=1)  # is not held up by it for long
            assert asyncio.get_running_loop().time() - began < 5
            for number in (first, second, third):
                assert (await mes.expect(Puback)).packet_id == number
            got = await receiver.wait_count(2, 20)
            assert [request.json["type"] for request in got] == ["operation.completed", "operation.started"]
            assert got[0].json["data"] == json.loads(large)
            body = {"topic": TOPIC, "payload": large.decode(), "qos": 1}
            assert (await api.post("/api/v5/publish", body)).status == 202
            got = await receiver.wait_for(
                lambda requests: any(request.json["data"] == got[0].json["data"] for request in requests[2:])
            )
            most = b'{"x": "' + b"x" * (1 << 20) + b'"}'
            await mes.publish(TOPIC, most, qos=1)
            await api.said("expected at most 1048576")
            assert (await asked(api, "status"))["lifted"] == {"events": 3, "repeated": 0, "refused": 1}


BAD: list[tuple[str, bytes, str, int]] = [
    (TOPIC, b"", "", 0),  # deletes a retained message
    (TOPIC, b"21.5", "expected a JSON object", 0x99),
    (TOPIC, b"{", "not JSON", 0x99),
    (TOPIC, b"\xff\xfe", "not UTF-8", 0x99),
    (TOPIC, b'{"data": {"n": 9007199254740993}}', "/data/n", 0x99),
    (TOPIC, b'{"id": "a b", "data": {}}', "/id", 0x99),
    (TOPIC, b'{"timestamp": "noon", "data": {}}', "/timestamp", 0x99),
    (TOPIC, b'{"data": {"n": 9007199254740993, "x": "' + b"x" * (256 << 10) + b'"}}', "/data/n", 0x99),
    (TOPIC.replace("operation", "no_such"), b'{"data": {}}', "no_such.completed, which is not in", 0x83),
    (TOPIC.replace("operation", "no such"), b'{"data": {}}', "expected a type such as", 0x83),
    (
        TOPIC.replace("operation/completed", "work_order/created"),
        b'{"workOrder": 7}',
        "/data/workOrder",
        0x99,
    ),
]


@pytest.mark.parametrize("check", ["warn", "refuse"])
async def test_what_is_no_event(check: str, tmp_path: Path) -> None:
    """The message goes on, or its publisher is told: by what the settings say and MQTT can."""
    async with Receiver() as receiver:
        blocks = [events(check=check), hook(receiver.url("/mes")), messages(receiver.url("/mqtt"))]
        async with HookMQ(tmp_path, *blocks) as hookmq:
            await _no_events(hookmq, receiver, check)


async def _no_events(hookmq: HookMQ, receiver: Receiver, check: str) -> None:
    gone_on = 0
    warned = b'{"workOrder": 7}'  # a warning, and the event is taken
    old = await Client.connect(hookmq.port, "old")
    new = await Client.connect(hookmq.port, "new", version=5)
    for topic, payload, _, code in BAD:
        for qos in (0, 1, 2):
            await old.publish(topic, payload, qos=qos)  # acknowledged, as ever
        gone_on += 3
        expected = 0 if check == "warn" and code == 0x99 else code
        for qos, kind in ((1, Puback), (2, Pubrec)):
            number = new.next_id()
            new.send(Publish(topic, payload, qos, packet_id=number))
            answer = await new.expect(kind)
            # PUBACK says so where nobody has subscribed; PUBREC comes before that is known.
            told = expected or (0x10 if kind is Puback else 0)
            assert (answer.packet_id, answer.reason_code) == (number, told), (
                topic,
                payload[:50],
                qos,
                answer,
            )
            gone_on += not expected
    taken = 5 if check == "warn" else 0
    await receiver.wait_count(gone_on + taken, 20)
    made = [request.json for request in receiver.requests if request.target == "/mes"]
    assert [one["data"] for one in made] == [json.loads(warned)] * taken
    assert len([r for r in receiver.requests if r.target == "/mqtt"]) == gone_on
    shown = (await asked(hookmq, "status"))["lifted"]
    assert shown["refused"] == 5 * (len(BAD) - (2 if check == "warn" else 1))
    # A line for the first of them, with its topic and cause; how many come after it: tests/unit/sources.
    lines = [line for line in hookmq.log.splitlines() if "no event came of" in line]
    assert TOPIC in lines[0]
    assert BAD[1][2] in lines[0]
    old.abort()
    new.abort()


async def test_a_will_is_lifted(tmp_path: Path) -> None:
    async with (
        Receiver() as receiver,
        HookMQ(tmp_path, events(), hook(receiver.url())) as hookmq,
    ):
        will = Will(TOPIC, json.dumps({"id": "w", "data": {}}).encode(), 1, False, Properties())
        client = await Client.connect(hookmq.port, "mes", version=5, will=will)
        client.abort()
        assert (await receiver.wait_count(1))[0].json["id"] == "w"
        # one that is no event ends nothing
        will = Will(TOPIC, b"gone", 1, False, Properties())
        client = await Client.connect(hookmq.port, "mes", version=5, will=will)
        client.abort()
        await hookmq.said("no event came of")


async def test_a_full_endpoint_refuses(tmp_path: Path) -> None:
    """`on_full = refuse` holds for the events of messages as for messages."""
    async with Receiver(status=503) as receiver:
        bound = "backlog { max_bytes = 64KB, on_full = refuse }"
        async with (
            HookMQ(tmp_path, events(), hook(receiver.url(), bound)) as hookmq,
            await Client.connect(hookmq.port, "mes", version=5) as client,
        ):
            code = 0
            for count in range(20):
                payload = {"id": f"e{count}", "data": {"x": "x" * 16384}}
                number = client.next_id()
                client.send(Publish(TOPIC, json.dumps(payload).encode(), 1, packet_id=number))
                code = (await client.expect(Puback)).reason_code
                if code & 0x80:
                    break
            assert code == 0x97
            client.send(Publish("elsewhere", b"x", 1, packet_id=client.next_id()))
            assert (await client.expect(Puback)).reason_code & 0x80 == 0


async def test_what_is_published_by_rest_is_lifted_too(tmp_path: Path) -> None:
    async with Receiver() as receiver, Api(tmp_path, events(), hook(receiver.url())) as api:
        payload = json.dumps({**BODY, "id": "r1"})
        for path in ("/api/v5/publish", "/api/v4/mqtt/publish"):
            answer = await api.post(path, {"topic": TOPIC, "payload": payload, "qos": 1})
            assert answer.status in (200, 202)
        wrong = {"topic": TOPIC.replace("operation", "no_such"), "payload": payload, "qos": 1}
        answer = await api.post("/api/v5/publish", wrong)
        assert (answer.status, answer.json["reason_code"]) == (400, 0x83)
        assert "implementation_specific_error" in answer.json["message"]
        assert (await api.post("/api/v4/mqtt/publish", wrong)).status == 200  # 3.1.1: it goes on
        answer = await api.post("/api/v4/mqtt/publish", {**wrong, "properties": {}})
        assert (answer.status, answer.json["code"]) == (400, 108)
        assert (await receiver.wait_count(1))[0].json["id"] == "r1"
        assert (await asked(api, "status"))["lifted"] == {"events": 1, "repeated": 1, "refused": 3}


async def test_what_hookmq_publishes_itself_is_not_lifted(tmp_path: Path) -> None:
    """A publisher on the very topics that are lifted: each event goes out once, and comes back never."""
    publisher = "mqtt_publishers.uns { enterprise = acme, site = chicago, area = fabrication }"
    async with Receiver() as receiver, Api(tmp_path, events(), publisher, hook(receiver.url())) as api:
        client = await Client.connect(api.port, "mes")
        async with await Client.connect(api.port, "uns") as subscriber:
            await subscriber.subscribe("acme/#", qos=1)
            await client.publish(TOPIC, json.dumps({**BODY, "id": "m1"}).encode(), qos=1)
            assert (await api.post("/api/v2/events", {**BODY, "id": "r1"})).status == 202
            # From the machine, from the publisher because of it, and from the publisher because of REST.
            topics = []
            for _ in range(3):
                message = await subscriber.expect(Publish)
                subscriber.send(Puback(message.packet_id or 0))
                topics.append(message.topic)
            assert sorted(topics)[1:] == [TOPIC, TOPIC]
            assert topics.count("acme/chicago/fabrication/default/operation/completed") == 1
            await until(lambda: len(receiver.requests) == 2, "both events")
            await client.publish(TOPIC, json.dumps({**BODY, "id": "m2"}).encode(), qos=1)
            await receiver.wait_for(lambda requests: named(requests, "m1", "r1", "m2"))
        assert (await asked(api, "status"))["lifted"] == {"events": 2, "repeated": 0, "refused": 0}
        assert len(receiver.requests) == 3
        client.abort()
