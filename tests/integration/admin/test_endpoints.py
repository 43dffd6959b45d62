"""Endpoints made over the API, by its front door: made, served, changed, deleted, and there after kill -9."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.integration.admin.calling import Api, problem
from tests.integration.receiver import Receiver

PATH = "/api/v2/webhooks/endpoints"
EVENT = {"type": "work_order.created", "data": {"workOrder": {"id": "wo_1", "orderNumber": "1"}}}


async def make(api: Api, url: str, **more: Any) -> dict[str, Any]:
    """An endpoint for all work orders unless `more` says otherwise."""
    answer = await api.post(PATH, {"url": url, "events": ["work_order.*"], **more})
    assert answer.status == 201, answer
    found: dict[str, Any] = answer.json
    return found


async def test_made_served_and_there_after_kill_9(tmp_path: Path) -> None:
    async with Receiver() as receiver, Api(tmp_path) as api:
        made = await make(api, receiver.url("/hook"))
        assert made["id"].startswith("ep_")
        assert made["secret"]
        api.kill()
        await api.start()
        assert (await api.post("/api/v2/events", EVENT)).status == 202
        await receiver.wait_count(1)
        shown = await api.get(f"{PATH}/{made['id']}")
        assert shown.status == 200
        assert "secret" not in shown.json
        assert (await api.call("DELETE", f"{PATH}/{made['id']}")).status == 204
        problem(await api.get(f"{PATH}/{made['id']}"), 404)
