"""Traces: handed on from the publisher to the receiver, and told to a collector, also over a `kill -9`."""

from __future__ import annotations

import re
from pathlib import Path

from bridge.mqtt.packets import Publish
from tests.integration.admin.calling import Api
from tests.integration.collector import Collector
from tests.integration.mqtt_client import Client
from tests.integration.process import HookMQ, webhook
from tests.integration.receiver import Receiver, hang

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
CAME = f"00-{TRACE}-{PARENT}-01"
STATE = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"
PAIRS = [("traceparent", CAME), ("tracestate", STATE)]


async def test_what_a_publisher_sends_is_handed_on_without_tracing(tmp_path: Path) -> None:
    """No span is made, nothing is installed for it, and the context goes with the event, over a crash too."""
    hidden = tmp_path / "without" / "opentelemetry"  # in place of the package, as if there were none
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ImportError('not installed')")
    async with Receiver(status=503) as receiver:
        hooks = webhook(receiver.url(), "on_message_publish", extra="retry.schedule = [0s, 300ms, 1s]")
        env = {"PYTHONPATH": str(hidden.parent)}
        async with HookMQ(tmp_path, hooks, env=env) as hookmq:
            client = await Client.connect(hookmq.port, "press-7", version=5)
            await client.publish("line/1", b"9", qos=1, user_property=[("a", "b"), *PAIRS])
            await receiver.wait_count(1)
            hookmq.kill()
            receiver.status = 200
            await hookmq.start()
            requests = await receiver.wait_for(lambda rs: len(rs) >= 2)
            assert {request.header("traceparent") for request in requests} == {CAME}
            assert {request.header("tracestate") for request in requests} == {STATE}
            client = await Client.connect(hookmq.port, "press-7", version=5)
            count = len(receiver.requests)
            await client.publish("line/1", b"10", qos=1, user_property=[("traceparent", "00-xyz\r\nEvil: 1")])
            await client.publish("line/1", b"11", qos=1)
            last = (await receiver.wait_count(count + 2))[count:]
            assert [request.all("traceparent") + request.all("evil") for request in last] == [[], []]


async def test_one_trace_from_publish_to_delivered_over_a_crash(tmp_path: Path) -> None:
    async with Collector() as collector, Receiver(status=503) as receiver:
        hooks = webhook(receiver.url(), "on_message_publish", extra="retry.schedule = [0s, 2s]")
        async with HookMQ(tmp_path, hooks, collector.block(sample_ratio=0)) as hookmq:
            client = await Client.connect(hookmq.port, "press-7", version=5)
            await client.publish("line/1", b"9", qos=1, user_property=PAIRS)
            received, first = await collector.wait_spans(2)
            await client.publish("line/1", b"untraced", qos=1)  # its commit has the failure's row too
            assert (received.name, received.parent, received.error) == ("receive", PARENT, False)
            assert received.attributes["messaging.destination.name"] == "line/1"
            assert received.attributes["messaging.client.id"] == "press-7"
            assert received.resource["service.name"] == "hookmq"
            assert (first.name, first.parent, first.error) == ("POST", received.span, True)
            assert first.attributes["http.response.status_code"] == 503
            assert first.attributes["hookmq.endpoint"] == "default"
            hookmq.kill()
            receiver.status = 200
            await hookmq.start()
            *_, last = await collector.wait_spans(3)
            assert (last.name, last.parent, last.error) == ("POST", received.span, False)
            assert last.attributes["http.request.resend_count"] == 1
            requests = receiver.requests
        spans = collector.spans
        assert {span.trace for span in spans} == {TRACE}
        assert {span.state for span in spans} == {STATE}
        assert len({span.span for span in spans}) == 3
        traced = [request for request in requests if request.header("traceparent")]
        # What the receiver does is below the attempt that brought it.
        assert [request.header("traceparent") for request in traced] == [
            f"00-{TRACE}-{span.span}-01" for span in (first, last)
        ]
        assert [request.json["payload"] for request in traced] == ["9", "9"]
        ids = {f"msg_{request.id.removeprefix('msg_')}" for request in traced}
        assert ids == {span.attributes["messaging.message.id"] for span in spans}
        assert all(span.start <= span.end for span in spans)


async def test_a_trace_that_begins_here_and_one_that_is_not_sampled(tmp_path: Path) -> None:
    async with Collector() as collector, Receiver() as receiver:
        hooks = webhook(receiver.url(), "on_message_publish", "on_client_connected")
        async with HookMQ(tmp_path, hooks, collector.block(sample_ratio=1)) as hookmq:
            client = await Client.connect(hookmq.port, "c", version=5)
            await client.publish("a", b"1", user_property=[("traceparent", f"00-{TRACE}-{PARENT}-00")])
            spans = await collector.wait_spans(2)
            by_event = {span.attributes.get("hookmq.event"): span for span in spans}
            connected = by_event["client.connected"]
            assert connected.parent == ""
            requests = await receiver.wait_count(2)
            handed = {r.json["action"]: r.header("traceparent") for r in requests}
            assert handed["message_publish"] == f"00-{TRACE}-{PARENT}-00"
            assert handed["client_connected"].startswith(f"00-{connected.trace}-")
        assert TRACE not in {span.trace for span in collector.spans}


async def test_a_group_has_its_own_span_in_each_trace(tmp_path: Path) -> None:
    """Several events in one request: one request cannot carry several contexts, but each trace has an end."""
    async with Collector() as collector, Receiver() as receiver:
        hooks = webhook(
            receiver.url(), "on_message_publish", extra="batch { max_events = 3, max_wait = 500ms }"
        )
        async with HookMQ(tmp_path, hooks, collector.block(sample_ratio=1)) as hookmq:
            client = await Client.connect(hookmq.port, "c")
            for number in range(3):
                await client.publish("a", b"%d" % number, qos=1)
            spans = await collector.wait_spans(6)
            (request,) = await receiver.wait_count(1)
        assert request.header("traceparent") is None
        received = [span for span in spans if span.name == "receive"]
        posted = [span for span in spans if span.name == "POST"]
        assert {(s.trace, s.span) for s in received} == {(s.trace, s.parent) for s in posted}
        assert {s.attributes["messaging.batch.message_count"] for s in posted} == {3}


async def test_calls_of_the_api_and_publishers_go_on_in_the_trace(tmp_path: Path) -> None:
    """The header of a REST call; and out by MQTT, as a user property."""
    async with Receiver() as receiver:
        blocks = (
            f'webhooks.erp {{ url = "{receiver.url()}", types = ["*"]\n'
            '  events = [{event = on_message_publish, topic = "by/#"}] }',
            'mqtt_publishers.uns { types = ["work_order.*"] }',
        )
        async with Api(tmp_path, *blocks) as api:
            client = await Client.connect(api.port, "reader", version=5)
            await client.subscribe("#", 1)
            headers = {"traceparent": CAME, "tracestate": STATE}
            event = {"type": "work_order.created", "data": {"workOrder": {"id": "wo_1"}}}
            assert (await api.post("/api/v2/events", event, headers=headers)).status == 202
            message = {"topic": "by/api", "payload": "x", "qos": 1}
            assert (await api.post("/api/v5/publish", message, headers=headers)).status == 200
            requests = await receiver.wait_count(2)
            assert {request.header("traceparent") for request in requests} == {CAME}
            assert {request.header("tracestate") for request in requests} == {STATE}

            got = [await client.expect(Publish), await client.expect(Publish)]
            for publish in got:
                assert publish.properties is not None
                assert set(PAIRS) <= set(publish.properties.user_property or [])
            bad = await api.post("/api/v2/events", event, headers={"traceparent": "00-0-0-0"})
            assert bad.status == 202
            assert (await receiver.wait_count(3))[-1].header("traceparent") is None


async def test_a_configured_header_of_that_name_stays(tmp_path: Path) -> None:
    async with Receiver() as receiver:
        hooks = webhook(receiver.url(), "on_message_publish", extra='headers.Traceparent = "mine"')
        async with HookMQ(tmp_path, hooks) as hookmq:
            client = await Client.connect(hookmq.port, "c", version=5)
            await client.publish("a", b"1", user_property=PAIRS)
            (request,) = await receiver.wait_count(1)
            assert request.all("traceparent") == ["mine"]


async def test_a_collector_that_is_down_costs_spans_alone(tmp_path: Path) -> None:
    async with Collector() as collector, Receiver() as receiver:
        block = collector.block(sample_ratio=1, timeout="200ms")
        await collector.stop()
        async with Api(tmp_path, webhook(receiver.url(), "on_message_publish"), block) as api:
            client = await Client.connect(api.port, "c")
            for _ in range(100):
                await client.publish("a", b"x", qos=1)
            await receiver.wait_count(100)
            await api.said("tracing.endpoint: spans are lost")
            text = (await api.get("/metrics")).text
            assert 'hookmq_trace_spans_total{result="exported"} 0\n' in text
            assert "Traceback" not in api.log


async def test_a_collector_that_hangs_costs_spans_alone(tmp_path: Path) -> None:
    async with Collector() as collector, Receiver() as receiver:
        collector.script = hang
        block = collector.block(sample_ratio=1, max_queue_size=16)
        async with Api(tmp_path, webhook(receiver.url(), "on_message_publish"), block) as api:
            client = await Client.connect(api.port, "c")
            for _ in range(50):
                await client.publish("a", b"x", qos=1)
            await receiver.wait_count(50)
            text = (await api.get("/metrics")).text
            found = re.search(r'hookmq_trace_spans_total\{result="dropped"\} (\d+)', text)
            assert found
            assert int(found[1]) > 0
            assert "hookmq_trace_queue_spans 16\n" in text


async def test_without_the_extra_tracing_is_refused_at_the_start(tmp_path: Path) -> None:
    hidden = tmp_path / "without" / "opentelemetry"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ImportError('not installed')")
    hookmq = HookMQ(tmp_path, "tracing.enable = true", env={"PYTHONPATH": str(hidden.parent)})
    hookmq.spawn()
    assert await hookmq.ended() == 1
    assert "tracing.enable: found true, and OpenTelemetry is not installed" in hookmq.log
    assert "pip install 'hookmq[otel]'" in hookmq.log
