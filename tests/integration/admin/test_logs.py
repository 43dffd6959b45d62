"""The log of attempts over HTTP: its filters, what an entry shows, and all that match sent again."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.integration.admin.calling import Api, problem
from tests.integration.mqtt_client import Client
from tests.integration.process import webhook
from tests.integration.receiver import Receiver

LOGS = "/api/v2/webhooks/logs"
ENDPOINTS = "/api/v2/webhooks/endpoints"


async def rows(api: Api, count: int, **filters: str) -> list[Any]:
    """The rows of the log that match, once there are as many."""
    end = time.monotonic() + 15
    while True:
        answer = await api.get(f"{LOGS}?{urlencode({'limit': 100, **filters})}")
        assert answer.status == 200, answer
        found: list[Any] = answer.json["data"]
        if len(found) >= count:
            assert len(found) == count, found
            return found
        assert time.monotonic() < end, found
        await asyncio.sleep(0.05)


async def test_each_filter(tmp_path: Path) -> None:
    async with (
        Receiver() as receiver,
        Api(tmp_path, webhook(receiver.url(), "on_message_publish", "on_client_connected")) as api,
    ):
        began = datetime.now(UTC) - timedelta(seconds=1)
        for name in ("press/1", "press'2"):
            client = await Client.connect(api.port, name)
            for topic in ("line/1/temp", "line/1/force", "line/2/temp", "$x/y"):
                await client.publish(topic, b"1", qos=1)
        whole = await rows(api, 8)  # what begins with $ is not for a rule without a topic
        assert {one["clientid"] for one in whole} == {"press/1", "press'2"}
        assert len(await rows(api, 4, client="press/1")) == 4
        assert await rows(api, 0, client="press") == []
        assert [one["topic"] for one in await rows(api, 4, topic="line/+/temp")] == [
            *("line/2/temp", "line/1/temp", "line/2/temp", "line/1/temp")
        ]
        assert len(await rows(api, 6, topic="line/#")) == 6
        assert len(await rows(api, 6, topic="#")) == 6  # connections have no topic
        assert len(await rows(api, 1, topic="line/2/temp", client="press'2")) == 1
        assert await rows(api, 0, topic="line") == []
        assert len(await rows(api, 2, type="client.*")) == 2
        assert len(await rows(api, 8, since=began.isoformat(), status="2xx")) == 8
        assert await rows(api, 0, until=began.isoformat()) == []
        middle = whole[4]["at"]
        newer, older = (
            (await api.get(f"{LOGS}?since={middle}")).json,
            (await api.get(f"{LOGS}?until={middle}")).json,
        )
        assert len(newer["data"]) + len(older["data"]) == 8
        for query in ("topic=a/%23/b", "since=yesterday", "status=none", "type=a%20b"):
            problem(await api.get(f"{LOGS}?{query}"), 422)

        paged: list[Any] = []
        cursor = ""
        while True:
            page = (await api.get(f"{LOGS}?limit=4&topic=line/%23{cursor}")).json
            paged += page["data"]
            if page["next"] is None:
                break
            cursor = f"&cursor={page['next']}"
        assert paged == await rows(api, 6, topic="line/#")


async def test_an_entry_shows_all_there_is(tmp_path: Path) -> None:
    extra = (
        'retry { schedule = [0, 2s, 1h, 2h], jitter = 0 }\n headers { X-Api-Key = "hidden-key", X-Plant = 7 }'
    )
    async with (
        Receiver(status=503) as receiver,
        Api(tmp_path, webhook(receiver.url(), "on_message_publish", extra=extra)) as api,
    ):
        client = await Client.connect(api.port, "press-1")
        await client.publish("line/1", b"<b>1</b>", qos=1)
        (row,) = await rows(api, 1)
        found = (await api.get(f"{ENDPOINTS}/default/deliveries/{row['delivery']}")).json
        assert found["state"] == "waiting"
        assert "<b>1</b>" in found["payload"]
        (attempt,) = found["attempts"]
        assert attempt["request"].startswith("POST /hook HTTP/1.1\n")
        assert "X-Plant: 7" in attempt["request"]
        assert "hidden-key" not in str(found)
        assert attempt["response"]["head"].startswith("HTTP/1.1 503")
        to_come = found["next_attempts"]
        assert [one["attempt"] for one in to_come] == [2, 3, 4]
        times = [datetime.fromisoformat(one["at"]) for one in to_come]
        assert timedelta(0) < times[0] - datetime.fromisoformat(attempt["at"]) < timedelta(seconds=4)
        assert times[1] - times[0] == timedelta(hours=1)
        assert times[2] - times[1] == timedelta(hours=2)
        await rows(api, 2)  # as it said
        found = (await api.get(f"{ENDPOINTS}/default/deliveries/{row['delivery']}")).json
        assert [one["attempt"] for one in found["attempts"]] == [2, 1]
        assert [one["attempt"] for one in found["next_attempts"]] == [3, 4]
        receiver.status = 200
        retried = await api.post(f"{ENDPOINTS}/default/deliveries/{row['delivery']}/retry")
        assert retried.status == 202
        await rows(api, 1, status="200")
        found = (await api.get(f"{ENDPOINTS}/default/deliveries/{row['delivery']}")).json
        assert (found["state"], found["next_attempts"]) == ("delivered", [])
