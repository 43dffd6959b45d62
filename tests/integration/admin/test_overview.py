"""What the overview tells: figures, what is wrong in words, the last hour; and the stream of it."""

from __future__ import annotations

import asyncio
import re
import time
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bridge.admin.dashboard import overview as module
from tests.integration.admin.calling import ADMIN, SERVER, Api, problem
from tests.integration.admin.test_sessions import Browser, sign_in
from tests.integration.admin.watching import Watch
from tests.integration.mqtt_client import Client
from tests.integration.process import webhook
from tests.integration.receiver import Receiver

PATH = "/api/v2/overview"
LIVE = "/api/v2/live/overview"
BASIC = {"Authorization": "Basic " + b64encode(":".join(ADMIN).encode()).decode()}
FIGURES = {
    *("at", "clients", "sessions", "messages_in_per_s", "events_in_per_s", "deliveries_per_s"),
    *("failures_per_s", "backlog", "oldest_waiting_s", "dead", "store_bytes"),
}


async def overview(api: Api, condition: Callable[[Any], object] = bool, **keys: Any) -> Any:
    """The overview, once the condition holds for it."""
    end = time.monotonic() + 20
    while True:
        answer = await api.get(PATH + "?history=false", **keys)
        assert answer.status == 200, answer
        if condition(answer.json):
            return answer.json
        assert time.monotonic() < end, answer.text
        await asyncio.sleep(0.2)


def texts(document: Any) -> list[str]:
    return [one["text"] for one in document["problems"]]


async def test_the_figures(tmp_path: Path) -> None:
    async with (
        Receiver() as receiver,
        Api(tmp_path, webhook(receiver.url(), "on_message_publish", note='"ERP"')) as api,
    ):
        client = await Client.connect(api.port, "c1")
        for number in range(40):
            await client.publish("a/b", str(number).encode(), qos=1)
        await receiver.wait_count(40)
        found = await overview(api, lambda one: one["deliveries_per_s"] > 0 and one["backlog"] == 0)
        assert found.keys() == FIGURES | {
            *("version", "uptime_s", "backlog_bytes", "store_bound_bytes", "problems", "endpoints"),
            *("endpoints_total", "endpoint_states"),
        }
        assert (found["clients"], found["sessions"], found["dead"]) == (1, 1, 0)
        assert found["messages_in_per_s"] > 0
        assert found["oldest_waiting_s"] is None
        assert 0 < found["store_bytes"] < found["store_bound_bytes"]
        assert found["endpoints_total"] == 1
        assert found["endpoint_states"] == {"on": 1}
        (row,) = found["endpoints"]
        assert (row["id"], row["kind"], row["description"], row["state"]) == (
            "default",
            "endpoint",
            "ERP",
            "on",
        )
        assert row["success_share"] == 1
        assert [one for one in found["problems"] if one["severity"] != "warning"] == []
        whole = (await api.get(PATH)).json
        assert whole["history"]["every_s"] == module.EVERY_S
        for point in whole["history"]["points"]:
            assert point.keys() == FIGURES


async def test_the_last_hour_grows(api: Api) -> None:
    end = time.monotonic() + 20
    while len(points := (await api.get(PATH)).json["history"]["points"]) < 2:
        assert time.monotonic() < end
        await asyncio.sleep(0.3)
    first, second = (datetime.fromisoformat(one["at"]) for one in points[:2])
    assert timedelta(seconds=4) < second - first < timedelta(seconds=8)


async def test_what_is_wrong_in_words(tmp_path: Path) -> None:
    breaker = "breaker { failures = 2 }\n  retry { schedule = [0, 1h] }"
    async with (
        Receiver(status=500) as receiver,
        Api(
            tmp_path,
            webhook(receiver.url("/?token=hidden"), "on_message_publish", extra=breaker, note='"ERP"'),
            'webhooks.dead { url = "http://127.0.0.1:9/", events = [{event = on_message_publish}], '
            "retry { schedule = [0] } }",
            'mqtt_publishers.uns { server = "mqtt://127.0.0.1:9", events = ["work_order.*"] }',
        ) as api,
    ):
        assert "There is no endpoint: events go nowhere" not in texts(await overview(api))
        client = await Client.connect(api.port, "c1")
        for number in range(4):
            await client.publish("a", str(number).encode(), qos=1)
        event = {"type": "work_order.created", "data": {"workOrder": {"id": "wo_1"}}}
        assert (await api.post("/api/v2/events", event)).status == 202

        def all_there(found: Any) -> bool:
            whole = "\n".join(texts(found))
            return "has failed for" in whole and "dead letter" in whole and "no connection" in whole

        found = await overview(api, all_there)
        by_text = {one["text"]: one for one in found["problems"]}
        failing = next(one for text, one in by_text.items() if text.startswith("Endpoint “ERP” has"))
        assert failing["severity"] == "error"
        assert "the last time with status 500" in failing["text"]
        assert failing["link"] == "#/endpoints/default"
        assert abs(datetime.now(UTC) - datetime.fromisoformat(failing["since"])) < timedelta(seconds=60)
        dead = next(one for text, one in by_text.items() if "dead letter" in text)
        assert re.fullmatch(r"Endpoint dead: (1 dead letter|[2-4] dead letters)", dead["text"])
        assert dead["link"] == "#/dead?endpoint=dead"
        publisher = next(one for text, one in by_text.items() if text.startswith("Publisher uns has no"))
        assert publisher["link"] == "#/publishers/uns"
        severities = [one["severity"] for one in found["problems"]]
        assert severities == sorted(severities, key=["error", "warning", "info"].index)
        assert "hidden" not in str(found)

        await api.post("/api/v2/webhooks/endpoints/default/disable")
        found = await overview(
            api, lambda one: any(text.startswith("Endpoint “ERP” is switched") for text in texts(one))
        )
        off = next(one for one in found["problems"] if one["text"].startswith("Endpoint “ERP” is switched"))
        assert off["severity"] == "warning"
        assert off["text"] == "Endpoint “ERP” is switched off: by hand (the API); 4 events wait"
        assert found["endpoint_states"]["off"] == 1
        assert found["backlog"] >= 4
        assert found["dead"] >= 1


async def test_nothing_is_there(api: Api) -> None:
    found = await overview(api)
    assert {
        "severity": "info",
        "text": "There is no endpoint: events go nowhere",
        "link": "#/endpoints",
        "since": None,
    } in found["problems"]


async def test_a_backlog_that_is_nearly_full_or_given_up(tmp_path: Path) -> None:
    async with (
        Receiver() as receiver,
        Api(
            tmp_path,
            webhook(
                receiver.url(), "on_message_publish", extra="backlog { max_bytes = 64KB }\n pool_size = 1"
            ),
        ) as api,
    ):
        client = await Client.connect(api.port, "c1")
        await api.post("/api/v2/webhooks/endpoints/default/disable")
        for _ in range(14):
            await client.publish("a", b"x" * 4096, qos=1)
        await overview(api, lambda one: any("of its bound of 64 KB" in text for text in texts(one)))
        for _ in range(8):
            await client.publish("a", b"x" * 4096, qos=1)
        await overview(api, lambda one: any("events were given up" in text for text in texts(one)))


async def test_a_certificate_that_runs_out(tmp_path: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - timedelta(days=80))
        .not_valid_after(now + timedelta(days=9, hours=1))
        .sign(key, hashes.SHA256())
    )
    certificate, private = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    listener = f'listeners.ssl {{ bind = "127.0.0.1:0", certfile = "{certificate}", keyfile = "{private}" }}'
    async with Api(tmp_path, listener) as api:
        found = await overview(api, lambda one: any("certificate" in text for text in texts(one)))
        text = next(text for text in texts(found) if "certificate" in text)
        assert "in 9 days: listeners.ssl.certfile" in text


async def test_who_may_see_what(api: Api) -> None:
    nothing = await api.key("sender", "events:write")
    problem(await api.get(PATH, auth=nothing), 403)
    problem(await api.get(LIVE, auth=nothing), 403)
    problem(await api.get(LIVE, auth=None), 401)
    viewer = await api.key("viewer", "endpoints:read")
    both = await api.key("both", "endpoints:read", "clients:read")
    assert (await overview(api, auth=viewer))["clients"] is None
    assert (await overview(api, auth=viewer))["messages_in_per_s"] is None
    assert (await overview(api, auth=both))["clients"] == 0
    async with Watch(api, LIVE, auth=viewer) as one, Watch(api, LIVE, auth=both) as other:
        assert (await one.until(len))[0].data["clients"] is None
        assert (await other.until(len))[0].data["clients"] == 0
    for query in ("?history=maybe", "?history="):
        problem(await api.get(PATH + query), 422)
    for seconds in ("0", "x", "-1", "1.5", "86401", "999999999999"):
        problem(await api.get(f"{LIVE}?seconds={seconds}"), 422)


async def test_one_second_after_another(api: Api) -> None:
    async with Watch(api, LIVE, headers=BASIC) as watch:
        events = await watch.until(lambda found: len(found) >= 4)
        assert {one.event for one in events} == {"overview"}
        times = [datetime.fromisoformat(one.data["at"]) for one in events]
        gaps = [(b - a).total_seconds() for a, b in pairwise(times[1:])]
        assert all(0.4 < gap < 3 for gap in gaps), gaps
        assert "history" not in events[0].data
        assert watch.response is not None
        assert watch.response.headers["Cache-Control"] == "no-store"
    answer = await api.get(LIVE + "?seconds=1")
    assert answer.status == 200
    assert "event: overview\n" in answer.text


async def test_it_ends_with_the_session(api: Api) -> None:
    browser = Browser(api, await sign_in(api))
    async with Watch(api, LIVE, headers={"Cookie": browser.cookie}) as watch:
        await watch.until(len)
        await browser.change("DELETE", "/api/v2/session")
        await watch.until_ended()
    key = await api.key("viewer", "endpoints:read")
    async with Watch(api, LIVE, auth=key) as watch:
        await watch.until(len)
        await api.hookmq("api-key", "revoke", "viewer")
        await watch.until_ended()


async def test_it_ends_with_the_process(tmp_path: Path) -> None:
    async with Api(tmp_path) as api, Watch(api, LIVE, headers=BASIC) as watch:
        await watch.until(len)
        began = time.monotonic()
        assert await api.stop() == 0
        assert time.monotonic() - began < 4
        await watch.until_ended()


async def test_watchers_are_bounded_and_take_no_turn(tmp_path: Path) -> None:
    server = SERVER.replace("{", "{ limit_conn = 1,", 1)
    async with Api(tmp_path, server=server) as api:
        watches = [Watch(api, LIVE, headers=BASIC) for _ in range(64)]
        try:
            for watch in watches:
                await watch.__aenter__()
            assert (await api.get(PATH)).status == 200  # `limit_conn` is 1
            refused = await api.get(LIVE)
            problem(refused, 503)
            assert refused.headers["Retry-After"] == "5"
            await watches[0].__aexit__(None, None, None)

            async def again() -> bool:
                return (await api.get(LIVE + "?seconds=1")).status == 200

            end = time.monotonic() + 20
            while not await again():
                assert time.monotonic() < end
                await asyncio.sleep(0.1)
        finally:
            for watch in watches:
                await watch.__aexit__(None, None, None)


@pytest.mark.parametrize("path", [LIVE])
async def test_head_has_no_stream(api: Api, path: str) -> None:
    answer = await api.call("HEAD", path)
    assert (answer.status, answer.text) == (200, "")
    assert answer.headers["Content-Type"] == "text/event-stream"
