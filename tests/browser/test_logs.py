"""Logs: filters that stand in the address, an entry with its history, one retried and all that match."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.browser.site import Site, Visitor
from tests.integration.receiver import status

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_filters_stand_in_the_address(site: Site, visitor: Visitor) -> None:
    topic = {"event": "on_message_publish", "topic": "logs/#"}
    good = await site.endpoint(site.name("Log, good"), [topic], "/logs-good")
    bad = await site.endpoint(
        site.name("Log, bad"), [topic], "/logs-bad", success=[299], retry={"schedule": [0]}
    )
    first = await site.client(site.name("logger"))
    await first.publish("logs/one", b'{"n": 1}', qos=1)
    await first.publish("logs/two", b'{"n": 2}', qos=1)
    await site.receiver.wait_for(lambda requests: sum(r.target.startswith("/logs-") for r in requests) >= 4)

    page = visitor.page
    await visitor.go("logs")
    await page.get_by_label("Endpoint").fill(bad)
    await page.get_by_label("Status").select_option("failed")
    await expect(page.locator("tbody tr")).to_have_count(2)
    await expect(page.locator("tbody tr").first).to_contain_text("Log, bad")  # its description, not its id
    await page.get_by_label("Topic").fill("logs/one")
    await expect(page.locator("tbody tr")).to_have_count(1)
    for part in (f"endpoint={bad}", "status=failed", "topic=logs%2Fone"):
        assert part in page.url

    # The address alone shows the same to somebody else.
    async with site.visit() as other:
        await other.page.goto(page.url)
        await expect(other.page.get_by_label("Endpoint")).to_have_value(bad)
        await expect(other.page.get_by_label("Status")).to_have_value("failed")
        await expect(other.page.locator("tbody tr")).to_have_count(1)
        await other.page.get_by_role("button", name="Clear").click()
        await expect(other.page.get_by_label("Endpoint")).to_have_value("")
        assert "endpoint=" not in other.page.url

    await page.get_by_label("Endpoint").fill(good)
    await expect(page.get_by_text("Nothing matches")).to_be_visible()
    await page.get_by_role("button", name="Clear the filters").click()
    await page.get_by_label("Client").fill("nobody-of-that-name")
    await expect(page.get_by_text("Nothing matches")).to_be_visible()


async def test_an_entry_shows_all_and_is_retried(site: Site, visitor: Visitor) -> None:
    identifier = await site.endpoint(
        site.name("Entry"),
        [{"event": "on_message_publish", "topic": "entry/#"}],
        "/entry",
        retry={"schedule": [0, "1h", "1h"], "jitter": 0},
        headers={"X-Line": "7"},
    )
    site.receiver.scripts.append(status(503, b"not now", [("X-Reason", "maintenance")]))
    client = await site.client(site.name("enterer"), username="line7")
    await client.publish("entry/1", b'{"temp": 81.5}', qos=1)
    await site.receiver.wait_for(lambda requests: [r for r in requests if r.target == "/entry"])

    page = visitor.page
    await page.goto(f"{site.api.url}/dashboard/#/logs?endpoint={identifier}")
    await page.locator("tbody .link-button").first.click()
    sheet = page.get_by_role("dialog")
    await expect(sheet).to_contain_text("Waiting")
    await expect(sheet.get_by_role("region", name="Payload")).to_contain_text('"topic": "entry/1"')
    await expect(sheet).to_contain_text("X-Line: 7")
    await expect(sheet).to_contain_text("HTTP/1.1 503")
    await expect(sheet.get_by_role("region", name="Response", exact=True)).to_contain_text(
        "X-Reason: maintenance"
    )
    await expect(sheet.get_by_role("region", name="Response body")).to_contain_text("not now")
    upcoming = sheet.get_by_role("region", name="Attempts to come")
    await expect(upcoming.get_by_role("listitem")).to_have_count(2)
    await expect(upcoming).to_contain_text("in 59 min")
    assert "entry=msg_" in page.url

    await sheet.get_by_role("button", name="Retry now").click()
    await expect(sheet).to_contain_text("Delivered")
    await expect(sheet).to_contain_text("Attempt 2")
    await page.reload()  # the address opens the entry again
    await expect(page.get_by_role("dialog")).to_contain_text("Delivered")
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    assert "entry=" not in page.url


async def test_all_that_match_are_retried(site: Site, visitor: Visitor) -> None:
    identifier = await site.endpoint(
        site.name("Retry all"),
        [{"event": "on_message_publish", "topic": "all/#"}],
        "/all",
        retry={"schedule": [0]},
        breaker={"failures": 1000},
    )
    site.receiver.scripts.extend([status(500)] * 3)
    client = await site.client(site.name("all"))
    for number in range(3):
        await client.publish("all/1", str(number).encode(), qos=1)
    await site.receiver.wait_for(lambda requests: sum(r.target == "/all" for r in requests) == 3)
    page = visitor.page
    await page.goto(f"{site.api.url}/dashboard/#/logs?endpoint={identifier}&status=failed")
    await expect(page.locator("tbody tr")).to_have_count(3)
    await page.get_by_role("button", name="Retry all that match").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text(identifier)
    await dialog.get_by_role("button", name="Retry them").click()
    await expect(page.locator(".toast")).to_contain_text("3 events will be sent again.")
    requests = await site.receiver.wait_for(lambda all_: sum(r.target == "/all" for r in all_) == 6)
    ids = [one.id for one in requests if one.target == "/all"]
    assert sorted(ids[:3]) == sorted(ids[3:])
