"""`on_full = refuse`: lifecycle events have a reserve beyond the bound, and an end."""

from __future__ import annotations

import json
from pathlib import Path

from tests.integration.mqtt_client import Client
from tests.integration.process import HookMQ, until, webhook
from tests.integration.receiver import Receiver

BOUND = 1 << 16


async def test_lifecycle_events_have_a_reserve_and_no_more(tmp_path: Path) -> None:
    async with Receiver(delay=600) as receiver:
        block = webhook(
            receiver.url(),
            "on_message_publish",
            "on_client_connack",
            pool_size=1,
            cancel_timeout=600_000,
            extra="backlog { max_bytes = 64KB, on_full = refuse }",
        )
        async with HookMQ(tmp_path, block) as hookmq:
            client = await Client.connect(hookmq.port, "filler", version=5)
            accepted = 0
            while (await client.publish("t", b"x" * 4000, qos=1)) < 0x80:
                accepted += 1
            assert BOUND // 5000 <= accepted <= BOUND // 4000 + 2
            connects = 0
            while "the reserve is full" not in hookmq.log:
                connects += 1
                visitor = await Client.connect(hookmq.port, f"visitor-{connects}")
                await visitor.disconnect()
                assert connects < 1000
            for number in range(50):  # still served, though nobody is told
                late = await Client.connect(hookmq.port, f"late-{number}")
                await late.disconnect()

            receiver.delay = 0
            receiver.close_connections()
            await until(
                lambda: len({r.id for r in receiver.requests}) >= accepted + connects, "all is delivered", 20
            )
            bodies = [json.loads(r.body) for r in receiver.requests]
            published = [b for b in bodies if b["action"] == "message_publish"]
            names = {b["clientid"] for b in bodies if b["action"] == "client_connack"}
            assert len(published) >= accepted
            assert "visitor-1" in names
            assert not any(name.startswith("late") for name in names)
            await hookmq.said("has room again")
            again = await client.publish("t", b"x", qos=1)
            assert again < 0x80
            await client.disconnect()
