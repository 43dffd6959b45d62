"""`GET /metrics`, `/healthz`, `/readyz` of a real process; what is scraped is read by prometheus-client."""

from __future__ import annotations

import asyncio
import re
import resource
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from bridge.admin.metrics.exposition import OPENMETRICS, TEXT, negotiate
from bridge.admin.metrics.families import FAMILIES
from bridge.mqtt.packets import Publish
from tests.integration.admin.calling import Api, problem
from tests.integration.mqtt_client import Client
from tests.integration.process import HookMQ, until, webhook
from tests.integration.receiver import Receiver

BASES = {family.base for family in FAMILIES}
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Scrape:
    """The samples of one scrape."""

    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in parse_text(text)}
        self.samples: Samples = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        return self.samples[f"hookmq_{name}", tuple(sorted(labels.items()))]


async def scrape(api: Api) -> Scrape:
    answer = await api.get("/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == TEXT
    return Scrape(answer.text)


async def until_scraped(api: Api, condition: Any) -> Scrape:
    """Scrape until the condition holds."""
    end = time.monotonic() + 10
    while not condition(found := await scrape(api)):
        assert time.monotonic() < end, found.samples
        await asyncio.sleep(0.02)
    return found


async def test_a_plant_in_numbers(tmp_path: Path) -> None:
    async with Receiver() as good, Receiver(status=503) as bad:
        blocks = (
            f'webhooks.good {{ url = "{good.url()}", events = [{{event = on_message_publish, topic = "a/#"}},'
            " {event = on_client_connected}] }",
            f'webhooks.bad {{ url = "{bad.url()}", events = [{{event = on_message_publish, topic = "a/1"}}]'
            ", retry.schedule = [0s], breaker.failures = 1 }",
            'mqtt_publishers.uns { types = ["*"], server = "mqtt://127.0.0.1:1" }',
            'auth { allow_anonymous = true, password { "u" : "right" } }',
            "mqtt.max_mqueue_len = 1",
        )
        async with Api(tmp_path, *blocks) as api:
            before = await scrape(api)
            assert {name.removesuffix("_info") for name in before.families} >= BASES - {"hookmq_build"}
            assert before("mqtt_clients") == before("events_acknowledged_total") == 0
            client = await Client.connect(api.port, "c1")
            await client.subscribe("s/#", 1)
            for topic in ("a/1", "a/2", "elsewhere"):
                await client.publish(topic, b"x", qos=1)
            await client.publish("a/3", b"x", qos=2, retain=True)
            (await Client.connect(api.port, "c2", username="u", password=b"wrong", code=None)).abort()
            away = await Client.connect(api.port, "away", clean=False)
            await away.subscribe("q/#", 1)
            await away.disconnect()
            for _ in range(3):
                await client.publish("q/1", b"x", qos=1)
            await good.wait_count(5)  # three messages, two clients
            after = await until_scraped(api, lambda found: found("endpoint_dead_total", endpoint="bad") == 1)
            values = {
                ("events_total", ("event", "message.publish")): 3,
                ("events_total", ("event", "client.connected")): 2,
                ("mqtt_messages_received_total", ("qos", "1")): 6,
                ("mqtt_messages_received_total", ("qos", "2")): 1,
                ("mqtt_auth_failures_total", ("reason", "bad_username_or_password")): 1,
                ("mqtt_connections_refused_total", ("reason", "bad_username_or_password")): 1,
                ("mqtt_messages_dropped_total", ("reason", "queue_full")): 2,
                ("mqtt_clients",): 1,
                ("mqtt_sessions",): 2,
                ("mqtt_subscriptions",): 2,
                ("mqtt_retained_messages",): 1,
                ("mqtt_queued_messages",): 1,
                ("mqtt_messages_unsubscribed_total",): 4,
                ("endpoint_matched_total", ("endpoint", "good")): 5,
                ("endpoint_delivered_total", ("endpoint", "good")): 5,
                ("endpoint_attempts_total", ("endpoint", "good"), ("result", "success")): 5,
                ("endpoint_attempts_total", ("endpoint", "bad"), ("result", "5xx")): 1,
                ("endpoint_dead_letters", ("endpoint", "bad")): 1,
                ("endpoint_breaker_open", ("endpoint", "bad")): 1,
                ("endpoint_breaker_open", ("endpoint", "good")): 0,
                ("endpoints", ("state", "failing")): 1,
                ("publishers",): 1,
                ("publishers_connected",): 0,
                ("store_stalled",): 0,
                ("ready",): 1,
                ("attempt_seconds_count", ("result", "failure")): 1,
            }
            assert {key: after(key[0], **dict(key[1:])) for key in values} == values
            assert after("events_acknowledged_total") >= 5
            for name in ("commit_seconds", "sync_seconds", "ack_seconds", "delivery_seconds"):
                assert after(f"{name}_count") > 0
                assert after(f"{name}_bucket", le="+Inf") == after(f"{name}_count")
            assert after("store_bytes") > 0
            assert after("store_free_bytes") < after("store_disk_bytes")
            assert 0 < after("loop_longest_turn_seconds") < 60
            text = (await api.get("/metrics")).text
            # Nothing that outsiders choose, and nothing that nobody should know.
            for word in (
                "c1",
                "away",
                "a/1",
                "elsewhere",
                "wrong",
                "right",
                "s3cret",
                good.url(),
                "127.0.0.1",
            ):
                assert word not in re.sub(r"(?m)^#.*$", "", text), word


async def test_openmetrics_where_it_is_preferred(tmp_path: Path) -> None:
    async with Api(tmp_path, webhook("http://127.0.0.1:1/", "on_message_publish")) as api:
        prometheus = (
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1"
        )
        answer = await api.get("/metrics", headers={"Accept": prometheus})
        assert answer.headers["Content-Type"] == OPENMETRICS
        families = {family.name: family for family in parse_openmetrics(answer.text)}
        assert families.keys() >= BASES
        assert families["hookmq_ack_seconds"].unit == "seconds"
        assert families["hookmq_build"].type == "info"
        for family in FAMILIES:
            assert families[family.base].documentation == family.help
            assert families[family.base].type == family.kind


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("application/openmetrics-text", OPENMETRICS),
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", OPENMETRICS),
        ("text/plain, application/openmetrics-text", TEXT),
        ("application/openmetrics-text;q=0.1, text/plain;q=0.2", TEXT),
        ("application/openmetrics-text;q=nonsense, text/plain;q=0.2", TEXT),
    ],
)
def test_what_is_preferred(accept: str, expected: str) -> None:
    assert negotiate(accept) == expected


# -- who may ask -------------------------------------------------------------------------------------------


async def test_a_scope_of_its_own(tmp_path: Path) -> None:
    async with Api(tmp_path) as api:
        key = await api.key("prometheus", "metrics:read")
        assert (await api.get("/metrics", auth=key)).status == 200
        problem(await api.get("/api/v4/clients", auth=key), 403)
        problem(await api.get("/metrics", auth=await api.key("other", "clients:read")), 403)
        problem(await api.get("/metrics", auth=None), 401)


async def test_open_on_loopback_where_the_settings_say_so(tmp_path: Path) -> None:
    async with Api(tmp_path, "prometheus.enable_basic_auth = false") as api:
        assert (await api.get("/metrics", auth=None)).status == 200
        problem(await api.get("/api/v4/clients", auth=None), 401)
        foreign = await api.get("/metrics", auth=None, headers={"Host": "rebound.example"})
        problem(foreign, 403)


async def test_open_elsewhere_is_refused(tmp_path: Path) -> None:
    hookmq = HookMQ(
        tmp_path,
        'http_server { port = 0, ip_addr = "0.0.0.0", username = a, password = b }',
        "prometheus.enable_basic_auth = false",
    )
    hookmq.spawn()
    assert await hookmq.ended() != 0
    assert "prometheus.enable_basic_auth: found false, and http_server.ip_addr is 0.0.0.0" in hookmq.log


# -- health ------------------------------------------------------------------------------------------------


async def test_health_asks_nobody(tmp_path: Path) -> None:
    async with Api(tmp_path) as api:
        assert (await api.get("/healthz", auth=None)).json == {"status": "ok"}
        ready = await api.get("/readyz", auth=None)
        assert ready.status == 200
        assert ready.json == {"status": "ready", "not_ready": []}
        for path in ("/healthz", "/readyz"):
            # With credentials that are wrong too, and from anywhere: it tells nothing.
            answer = await api.get(path, auth="hmq_wrong", headers={"Host": "pod.example"})
            assert answer.status == 200
            problem(await api.post(path, auth=None), 405)


async def test_a_full_store_is_not_ready(tmp_path: Path) -> None:
    """The loop turns all the while, so that /healthz is content."""
    async with Receiver() as receiver, Api(tmp_path, webhook(receiver.url(), "on_message_publish")) as api:
        client = await Client.connect(api.port, "c1")
        await client.publish("a", b"x", qos=1)
        # No file may grow beyond what is there: what a full disk does to the store.
        size = max(path.stat().st_size for path in api.data.iterdir())
        resource.prlimit(api.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        sending = asyncio.create_task(_send_many(client))
        answer = None
        for _ in range(500):
            answer = await api.get("/readyz", auth=None)
            if answer.status == 503:
                break
            await asyncio.sleep(0.01)
        assert answer is not None
        assert answer.status == 503
        assert answer.json == {"status": "not ready", "not_ready": ["the store refuses to write"]}
        assert (await api.get("/healthz", auth=None)).status == 200
        found = await scrape(api)
        assert (found("ready"), found("store_stalled")) == (0, 1)
        resource.prlimit(api.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await sending
        await until_scraped(api, lambda found: found("ready") == 1)


async def _send_many(client: Client) -> None:
    """More than the store has room for; it ends when the store writes again."""
    for _ in range(100):
        client.send(Publish("a", b"x" * 60_000, 1, False, False, client.next_id()))
        await client.writer.drain()


async def test_one_that_is_about_to_end_is_not_ready(tmp_path: Path) -> None:
    """On a connection that was open before: new ones are not accepted any more."""
    async with Receiver() as receiver:
        receiver.delay = 2.0  # a request in flight, which the end waits for
        async with Api(tmp_path, webhook(receiver.url(), "on_message_publish")) as api:
            client = await Client.connect(api.port, "c1")
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session:
                async with session.get(api.url + "/readyz") as answer:
                    assert answer.status == 200
                await client.publish("a", b"x", qos=1)
                await receiver.wait_count(1)
                assert api.process is not None
                api.process.terminate()
                await api.said("SIGTERM: stopping")
                try:
                    async with session.get(api.url + "/readyz") as answer:
                        assert answer.status == 503
                        assert "HookMQ is about to end" in (await answer.json())["not_ready"]
                except aiohttp.ClientError:
                    pass  # it was closed already: as good an answer
            await until(lambda: not api.running, "it ends", 15)


# -- many --------------------------------------------------------------------------------------------------

MANY = 1010


async def test_above_a_thousand_endpoints_there_is_another(tmp_path: Path) -> None:
    async with Receiver() as receiver:
        hooks = "\n".join(
            f'webhooks.w{n} {{ url = "{receiver.url()}", events = [{{event = on_message_publish,'
            f' topic = "a/{n}"}}] }}'
            for n in range(MANY)
        )
        api = Api(tmp_path, hooks)
        api.start_s = 60  # to read the file takes most of it
        async with api:
            client = await Client.connect(api.port, "c1")
            for number in (3, 1003, 1004):
                await client.publish(f"a/{number}", b"x", qos=1)
            await receiver.wait_count(3)
            found = await until_scraped(
                api, lambda found: found("endpoint_delivered_total", endpoint="other") == 2
            )
            assert found("endpoint_delivered_total", endpoint="w3") == 1
            named = {
                dict(labels)["endpoint"]
                for name, labels in found.samples
                if name == "hookmq_endpoint_matched_total"
            }
            assert len(named) == 1001
            assert found("endpoint_backlog_bound_bytes", endpoint="other") == 10 * (1 << 30)
            assert sum(len(family.samples) for family in found.families.values()) > 20_000
