"""Dead letters: grouped, shown, replayed, purged."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.browser.site import Site, Visitor
from tests.integration.receiver import status

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def made(site: Site, name: str, count: int) -> str:
    """An endpoint with so many dead letters."""
    identifier = await site.endpoint(
        site.name(name),
        [{"event": "on_message_publish", "topic": f"{name}/#"}],
        f"/{name}",
        retry={"schedule": [0]},
        breaker={"failures": 1000},
    )
    site.receiver.scripts.extend([status(422, b"unknown article")] * count)
    client = await site.client(site.name(name))
    for number in range(count):
        await client.publish(f"{name}/1", str(number).encode(), qos=1)
    await site.receiver.wait_for(lambda requests: sum(r.target == f"/{name}" for r in requests) == count)
    return identifier


async def test_grouped_shown_and_replayed(site: Site, visitor: Visitor) -> None:
    identifier = await made(site, "deadreplay", 3)
    page = visitor.page
    await page.goto(f"{site.api.url}/dashboard/#/dead?endpoint={identifier}")
    group = page.locator("tbody tr")
    await expect(group).to_have_count(1)
    await expect(group).to_contain_text("422")
    await expect(group.locator("td.num").first).to_have_text("3")
    await group.get_by_role("link").first.click()
    await expect(page.locator("tbody tr")).to_have_count(3)
    await page.locator("tbody .link-button").first.click()
    await expect(page.get_by_role("dialog")).to_contain_text("Dead letter")
    await expect(page.get_by_role("dialog")).to_contain_text("unknown article")
    await page.keyboard.press("Escape")

    await page.get_by_role("checkbox").first.check()
    await page.get_by_role("button", name="Replay 1").click()
    await page.get_by_role("dialog").get_by_role("button", name="Replay").click()
    await expect(page.locator("tbody tr")).to_have_count(2)
    await page.get_by_role("button", name="Replay all").click()
    await page.get_by_role("dialog").get_by_role("button", name="Replay").click()
    await expect(page.get_by_text("None is left")).to_be_visible()
    requests = await site.receiver.wait_for(lambda all_: sum(r.target == "/deadreplay" for r in all_) == 6)
    ids = [one.id for one in requests if one.target == "/deadreplay"]
    assert sorted(ids[:3]) == sorted(ids[3:])


async def test_purged_after_a_question(site: Site, visitor: Visitor) -> None:
    identifier = await made(site, "deadpurge", 2)
    page = visitor.page
    await page.goto(f"{site.api.url}/dashboard/#/dead?endpoint={identifier}")
    await page.get_by_role("button", name="Purge 2").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("2 events will never be delivered")
    await dialog.get_by_role("button", name="Cancel").click()
    await expect(page.locator("tbody tr")).to_have_count(1)
    await page.get_by_role("button", name="Purge 2").click()
    await dialog.get_by_role("button", name="Purge").click()
    await expect(page.locator("tbody tr")).to_have_count(0)
    stats = await site.api.get(f"/api/v2/webhooks/endpoints/{identifier}/stats")
    assert stats.json["dead"] == 0
    assert sum(one.target == "/deadpurge" for one in site.receiver.requests) == 2
